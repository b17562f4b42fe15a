//! What executions are told.

use signalbox_model::{
    execution::JsonText,
    limits,
    signal::{ApprovalDecision, Signal, SignalKind},
};

use super::*;
use crate::{app::Telling, store::Awaited};

fn name(id: &str) -> signalbox_model::ids::ExecutionName {
    format!("projects/default/executions/{id}").parse().unwrap()
}

fn go(payload: &str) -> Telling {
    Telling::Named {
        name: "go".parse().unwrap(),
        payload: JsonText::try_from(payload.to_owned()).unwrap(),
    }
}

fn decide(step: Option<&str>, decision: ApprovalDecision) -> Telling {
    Telling::Decision {
        step: step.map(|step| step.parse().unwrap()),
        decision,
        comment: "as it is".into(),
    }
}

fn started(step: &str, kind: &str, input: serde_json::Value) -> RecordBody {
    fact(
        "x1",
        Fact::StepStarted {
            step: step.parse().unwrap(),
            kind: kind.to_owned(),
            input: JsonText::from_value(&input),
        },
    )
}

fn ask(step: &str, deadline: &str) -> RecordBody {
    let input = serde_json::json!({"message": "sure?", "approvers": ["ann"], "deadline": deadline});
    started(step, "approval", input)
}

struct World {
    app: App,
    sequence: std::cell::Cell<u64>,
}

impl World {
    async fn start(store: Store) -> Self {
        let world = Self {
            app: app(store),
            sequence: 0.into(),
        };
        world.apply("n1", accepted("x1")).await;
        world.apply("n1", fact("x1", Fact::Started)).await;
        world
    }

    async fn apply(&self, from: &str, body: RecordBody) {
        let sequence = self.sequence.get() + 1;
        self.sequence.set(sequence);
        self.app
            .apply_records(
                &node(from),
                "i",
                &[record(sequence, body)],
                sequence,
                decode_any,
            )
            .await
            .unwrap();
    }

    async fn tell(&self, telling: Telling) -> Result<crate::store::rows::Signal, Error> {
        self.tell_as(telling, "").await
    }

    async fn tell_as(
        &self,
        telling: Telling,
        request_id: &str,
    ) -> Result<crate::store::rows::Signal, Error> {
        let name = name("x1");
        self.app
            .signal_execution(&actor(), &name, telling, request_id, Some("tp".into()))
            .await
    }

    /// What a node is to tell.
    async fn to_tell(&self, of: &str) -> Vec<Signal> {
        let all = self.app.signals_for(&node(of), 10).await.unwrap();
        all.into_iter()
            .map(|(execution, signal, traceparent)| {
                assert_eq!(execution, name("x1").to_string());
                assert_eq!(traceparent.as_deref(), Some("tp"));
                signal
            })
            .collect()
    }
}

fn reason(error: &Error) -> &'static str {
    match error {
        Error::Precondition { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

const LATER: &str = "2999-01-01T00:00:00Z";

#[tokio::test]
async fn a_signal_is_told_until_its_node_reports_that_it_has_it() {
    each_database(async |store| {
        let world = World::start(store).await;
        let row = world.tell(go("{\"n\": 1}")).await.unwrap();
        assert_eq!((row.actor.as_str(), row.take_time_us), ("tester", None));
        let told = world.to_tell("n1").await;
        let [signal] = &told[..] else {
            panic!("{told:?}")
        };
        assert_eq!(signal.id.as_str(), row.id);
        assert_eq!(signal.by, "tester");
        assert_eq!(signal.at.as_microsecond(), row.create_time_us);
        let SignalKind::Named { name: of, payload } = &signal.kind else {
            panic!("{signal:?}")
        };
        assert_eq!((of.as_str(), payload.as_str()), ("go", "{\"n\": 1}"));
        assert!(world.to_tell("n2").await.is_empty());
        assert_eq!(
            world.to_tell("n1").await,
            told,
            "again until it is reported"
        );

        let taken = Fact::SignalReceived(Box::new(signal.clone()));
        world.apply("n1", fact("x1", taken)).await;
        assert!(world.to_tell("n1").await.is_empty());
        let detail = world.app.execution(&name("x1")).await.unwrap();
        assert!(detail.signals[0].take_time_us.is_some());
        // Its node lost it: it begins anew, and is told anew.
        world.apply("n1", accepted("x1")).await;
        assert_eq!(world.to_tell("n1").await, told);

        let end = Fact::Finished {
            state: ExecutionState::Succeeded,
            output: None,
            error: None,
        };
        world.apply("n1", fact("x1", end)).await;
        assert!(world.to_tell("n1").await.is_empty(), "it has ended");
        assert_eq!(
            reason(&world.tell(go("1")).await.unwrap_err()),
            "EXECUTION_ENDED"
        );
        let nothing = world
            .app
            .signal_execution(&actor(), &name("none"), go("1"), "", None)
            .await;
        assert!(matches!(nothing, Err(Error::NotFound { .. })));
    })
    .await;
}

#[tokio::test]
async fn a_repeated_request_tells_nothing_new() {
    each_database(async |store| {
        let world = World::start(store).await;
        let request = uuid::Uuid::new_v4().to_string();
        let first = world.tell_as(go("1"), &request).await.unwrap();
        let upper = request.to_uppercase();
        assert_eq!(world.tell_as(go("1"), &upper).await.unwrap(), first);
        let other = world.tell_as(go("2"), &request).await.unwrap_err();
        assert!(matches!(other, Error::Invalid(_)), "{other}");
        assert!(world.tell_as(go("1"), "no uuid").await.is_err());
        assert_eq!(world.to_tell("n1").await.len(), 1);

        let long = format!("\"{}\"", "x".repeat(limits::SIGNAL_PAYLOAD_MAX_BYTES));
        let long = world.tell(go(&long)).await.unwrap_err();
        assert!(long.to_string().contains("signal.payload_json"), "{long}");
        for _ in 1..limits::EXECUTION_SIGNALS_MAX {
            world.tell(go("1")).await.unwrap();
        }
        let many = world.tell(go("1")).await.unwrap_err();
        assert!(matches!(many, Error::Exhausted { .. }), "{many}");
        // A repetition is none more.
        assert_eq!(world.tell_as(go("1"), &request).await.unwrap(), first);
    })
    .await;
}

#[tokio::test]
async fn the_first_decision_is_the_only_one() {
    use ApprovalDecision::{Approved, Rejected};
    each_database(async |store| {
        let world = World::start(store).await;
        let refused = async |telling: Telling| match world.tell(telling).await.unwrap_err() {
            Error::Invalid(violations) => violations.to_string(),
            error => reason(&error).to_owned(),
        };
        assert_eq!(refused(decide(None, Approved)).await, "NOT_WAITING");
        assert_eq!(
            refused(decide(Some("ask[0]"), Approved)).await,
            "NOT_WAITING"
        );
        world
            .apply("n1", started("call", "http", serde_json::json!({})))
            .await;
        let other = refused(decide(Some("call"), Approved)).await;
        assert!(other.contains("no approval"), "{other}");
        world.apply("n1", ask("ask[0]", LATER)).await;
        world.apply("n1", ask("ask[1]", LATER)).await;
        let several = refused(decide(None, Approved)).await;
        assert!(several.contains("ask[0], ask[1]"), "{several}");

        let request = uuid::Uuid::new_v4().to_string();
        let told = world.tell_as(decide(Some("ask[1]"), Rejected), &request);
        let told = told.await.unwrap();
        assert_eq!(told.step.as_deref(), Some("ask[1]"));
        assert_eq!(
            refused(decide(Some("ask[1]"), Approved)).await,
            "ALREADY_DECIDED"
        );
        let again = world.tell_as(decide(Some("ask[1]"), Rejected), &request);
        assert_eq!(again.await.unwrap(), told);

        let finished = fact(
            "x1",
            Fact::StepFinished {
                step: "ask[1]".parse().unwrap(),
                state: StepState::Failed,
                output: None,
                error: Some(Failure::new("REJECTED", "no")),
            },
        );
        world.apply("n1", finished).await;
        assert_eq!(
            refused(decide(Some("ask[1]"), Approved)).await,
            "ALREADY_DECIDED"
        );
        // The only one that still waits.
        let told = world.tell(decide(None, Approved)).await.unwrap();
        assert_eq!(told.step.as_deref(), Some("ask[0]"));
        world.apply("n1", ask("late", "2020-01-01T00:00:00Z")).await;
        assert_eq!(
            refused(decide(Some("late"), Approved)).await,
            "APPROVAL_EXPIRED"
        );
    })
    .await;
}

#[tokio::test]
async fn what_is_waited_for_is_shown() {
    each_database(async |store| {
        let world = World::start(store).await;
        let input = serde_json::json!({"signal": "go", "deadline": null});
        world.apply("n1", started("paid", "wait", input)).await;
        let listed = async || {
            let filter = ExecutionFilter::default();
            let page = Page::first(10);
            let page = world.app.executions(&project(), &filter, &page).await;
            let rows = page.unwrap().rows;
            let awaited = world.app.awaited(&rows).await.unwrap();
            (
                rows[0].state.clone(),
                awaited.get("x1").cloned().unwrap_or_default(),
            )
        };
        let (state, awaited) = listed().await;
        assert_eq!(state, "WAITING");
        let [
            Awaited {
                signal: Some(signal),
                deadline: None,
                ..
            },
        ] = &awaited[..]
        else {
            panic!("{awaited:?}")
        };
        assert_eq!(signal, "go");
        world.apply("n1", ask("ask", LATER)).await;
        let until = serde_json::json!({"until": LATER});
        world.apply("n1", started("pause", "wait", until)).await;
        let (_, awaited) = listed().await;
        assert_eq!(
            awaited.len(),
            2,
            "a time is nothing from outside: {awaited:?}"
        );
        let ask = &awaited[1];
        assert_eq!((ask.step.as_str(), ask.message.as_str()), ("ask", "sure?"));
        assert_eq!(ask.approvers, ["ann"]);
        assert_eq!(ask.deadline.unwrap().to_string(), LATER);
        world
            .apply("n1", started("call", "http", serde_json::json!({})))
            .await;
        assert_eq!(listed().await.0, "RUNNING");
    })
    .await;
}

#[tokio::test]
async fn what_it_is_told_is_kept_without_the_secrets_that_it_names() {
    each_database(async |store| {
        let world = World::start(store).await;
        for (id, value) in [("token", "s3cret+value"), ("other", "another-s3cret")] {
            let (id, value) = (id.parse().unwrap(), value.as_bytes());
            world
                .app
                .create_secret(&actor(), &project(), &id, value)
                .await
                .unwrap();
        }
        let yaml = "trigger: {manual: {}}\nsteps: [{id: a, http: {url: 'https://x.test/${{ secrets.token }}'}}]";
        let spec: v1::WorkflowSpec = json::from_yaml_str(yaml).unwrap();
        let new = NewWorkflow {
            definition: Definition {
                workflow: Arc::new(definition::workflow(&spec, &project()).unwrap()),
                source: definition::encode(&spec).to_vec(),
            },
            ..super::spec("manual: {}", "'1'")
        };
        world
            .app
            .create_workflow(&actor(), &project(), &"w".parse().unwrap(), new, true, "")
            .await
            .unwrap();

        let payload = r#"{"n":12345678901234567890,"a":["s3cret%2Bvalue","another-s3cret"]}"#;
        let request = "7d1f2a86-0d5c-4bf3-8a6e-0b3e2d5b1c11";
        let row = world.tell_as(go(payload), request).await.unwrap();
        let kept: serde_json::Value = serde_json::from_str(&row.payload_json.unwrap()).unwrap();
        assert_eq!(kept["a"], serde_json::json!(["***", "another-s3cret"]));
        // The same request again says the same.
        let again = world.tell_as(go(payload), request).await.unwrap();
        assert_eq!(again.id, row.id);
        // What holds none is kept as it is written.
        let plain = r#"{"n": 12345678901234567890123}"#;
        let row = world.tell(go(plain)).await.unwrap();
        assert_eq!(row.payload_json.as_deref(), Some(plain));

        world.apply("n1", ask("ask", LATER)).await;
        let told = Telling::Decision {
            step: None,
            decision: ApprovalDecision::Approved,
            comment: "by s3cret&#43;value".into(),
        };
        let row = world.tell(told).await.unwrap();
        assert_eq!(row.comment.as_deref(), Some("by ***"));
        let told = format!("{:?}", world.to_tell("n1").await);
        assert!(!told.contains("s3cret%2Bvalue") && !told.contains("s3cret&#43;"), "{told}");
    })
    .await;
}

#[tokio::test]
async fn a_decision_is_not_taken_that_its_node_may_hear_of_too_late() {
    each_database(async |store| {
        let world = World::start(store).await;
        let in_hours = |hours| {
            let at = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(hours);
            (at + jiff::SignedDuration::from_mins(-1)).to_string()
        };
        world.apply("n1", ask("soon", &in_hours(1))).await;
        world.apply("n1", ask("later", &in_hours(2))).await;
        let refused = world
            .tell(decide(Some("soon"), ApprovalDecision::Rejected))
            .await
            .unwrap_err();
        assert!(matches!(refused, Error::Unavailable { .. }), "{refused}");
        // Of the other it hears when it is back.
        world
            .tell(decide(Some("later"), ApprovalDecision::Rejected))
            .await
            .unwrap();
        world
            .app
            .node_connected(&node("n1"), Arrival::by("s1", 1))
            .await
            .unwrap();
        let taken = world
            .tell(decide(Some("soon"), ApprovalDecision::Approved))
            .await
            .unwrap();
        assert_eq!(taken.decision.as_deref(), Some("APPROVED"));
    })
    .await;
}
