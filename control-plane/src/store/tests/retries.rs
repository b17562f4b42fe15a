//! Executions that retry others; typed inputs.

use signalbox_model::ids::ExecutionName;

use super::*;
use crate::{
    app::{RetryMode, RetryRequest, RetryVersion},
    store::rows::Execution,
};

pub(super) fn definition_of(steps: &str) -> NewWorkflow {
    let yaml = format!("trigger: {{manual: {{}}}}\nsteps:\n{steps}");
    let spec: v1::WorkflowSpec = json::from_yaml_str(&yaml).unwrap();
    NewWorkflow {
        display_name: String::new(),
        description: String::new(),
        labels: Default::default(),
        definition: Definition {
            workflow: Arc::new(definition::workflow(&spec, &project()).unwrap()),
            source: definition::encode(&spec).to_vec(),
        },
    }
}

pub(super) const TWO: &str =
    "  - {id: a, transform: {expression: '1'}}\n  - {id: b, transform: {expression: '2'}}\n";

pub(super) fn name(id: &str) -> ExecutionName {
    format!("projects/default/executions/{id}").parse().unwrap()
}

pub(super) fn finished(step: &str, state: StepState) -> Fact {
    Fact::StepFinished {
        step: step.parse().unwrap(),
        state,
        output: (state == StepState::Succeeded).then(|| JsonText::from_value(&1.into())),
        error: (state == StepState::Failed).then(|| Failure::new("EXPRESSION", "no")),
    }
}

pub(super) fn started(step: &str) -> Fact {
    Fact::StepStarted {
        step: step.parse().unwrap(),
        kind: "transform".into(),
        input: JsonText::from_value(&serde_json::Value::Null),
    }
}

/// An execution of `w` whose second step failed, at node n1.
async fn failed(app: &App, id: &str) {
    let error = Failure::new("EXPRESSION", "no");
    let end = Fact::Finished {
        state: ExecutionState::Failed,
        output: None,
        error: Some(error),
    };
    let facts = [
        Fact::Started,
        started("a"),
        finished("a", StepState::Succeeded),
        started("b"),
        finished("b", StepState::Failed),
        end,
    ];
    let certificate = RecordBody::Certificate(Certificate {
        sha256: "ab".into(),
        pem: "PEM".into(),
    });
    let bodies = [certificate, accepted(id)].into_iter();
    let bodies = bodies.chain(facts.map(|of| fact(id, of)));
    let records: Vec<_> = (1..)
        .zip(bodies)
        .map(|(at, body)| record(at, body))
        .collect();
    let last = records.len() as u64;
    app.apply_records(&node("n1"), id, &records, last, decode_any)
        .await
        .unwrap();
}

pub(super) fn request(mode: RetryMode, request_id: &str) -> RetryRequest<'_> {
    RetryRequest {
        mode,
        version: RetryVersion::Same,
        may_run_unpublished: false,
        request_id,
        traceparent: None,
    }
}

pub(super) async fn retry(
    app: &App,
    of: &str,
    request: RetryRequest<'_>,
) -> Result<Execution, Error> {
    let changed = definition::changed_steps;
    let detail = app
        .retry_execution(&actor(), &name(of), request, decode, changed)
        .await?;
    Ok(detail.execution)
}

fn reason(error: Error) -> &'static str {
    match error {
        Error::Precondition { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_retry_keeps_event_and_results_until_its_node_has_them() {
    each_database(async |store| {
        let app = app(store.clone());
        let id = "w".parse().unwrap();
        app.create_workflow(&actor(), &project(), &id, definition_of(TWO), true, "")
            .await
            .unwrap();
        failed(&app, "x1").await;
        let request_id = uuid::Uuid::new_v4().to_string();
        let asked = || request(RetryMode::FromFailed, &request_id);
        let made = retry(&app, "x1", asked()).await.unwrap();
        assert_eq!(retry(&app, "x1", asked()).await.unwrap().id, made.id);
        assert_eq!(made.retry_of.as_deref(), Some("x1"));
        assert_eq!(made.state, "QUEUED");
        assert_eq!(made.trigger_kind, "AMAZON_SNS");
        assert_eq!(made.message_id, "m-x1");
        assert_eq!(made.api_key.as_deref(), Some("k"));
        let detail = app.execution(&name("x1")).await.unwrap();
        assert_eq!(detail.retried_by, std::slice::from_ref(&made.id));
        failed(&app, "x2").await;
        let other = retry(&app, "x2", asked()).await.unwrap_err();
        assert!(matches!(other, Error::Invalid(_)), "{other:?}");

        // Its event is there at once, with its proof.
        let (_, before, _) = app.event(&name("x1")).await.unwrap();
        let (_, event, pem) = app.event(&name(&made.id)).await.unwrap();
        assert_eq!(
            (event.body, event.scope_json),
            (before.body, before.scope_json)
        );
        assert_eq!(event.signing_cert_url, before.signing_cert_url);
        assert_eq!(pem.as_deref(), Some("PEM"));

        let taken = app.commands_for(&node("n2"), false).await.unwrap();
        let [command] = &taken[..] else {
            panic!("{taken:?}");
        };
        let order = app.retry_order(command).await.unwrap().unwrap();
        assert_eq!(order.accepted.execution, name(&made.id));
        let RecordBody::Accepted(original) = accepted("x1") else {
            unreachable!();
        };
        assert_eq!(order.accepted.event.signature, original.event.signature);
        assert_eq!(order.accepted.event.scope, original.event.scope);
        assert_eq!(order.accepted.event.api_key, original.event.api_key);
        let kept = Fact::StepKept {
            step: "a".parse().unwrap(),
            kind: "transform".into(),
            input: JsonText::from_value(&serde_json::Value::Null),
            state: StepState::Succeeded,
            output: Some(JsonText::from_value(&1.into())),
            error: None,
        };
        assert_eq!(order.facts, [Fact::Started, kept.clone()]);

        // The node reports that it has it, and goes on.
        let bodies = [
            RecordBody::Accepted(Box::new(order.accepted)),
            fact(&made.id, Fact::Started),
            fact(&made.id, kept),
            fact(&made.id, started("b")),
        ];
        let records: Vec<_> = (1..)
            .zip(bodies)
            .map(|(at, body)| record(at, body))
            .collect();
        app.apply_records(&node("n2"), "i", &records, 4, decode_any)
            .await
            .unwrap();
        assert!(app.retry_order(command).await.unwrap().is_none());
        let detail = app.execution(&name(&made.id)).await.unwrap();
        assert_eq!(detail.execution.node.as_deref(), Some("n2"));
        assert_eq!(detail.execution.retry_of.as_deref(), Some("x1"));
        let steps: Vec<_> = detail
            .steps
            .iter()
            .map(|(row, _)| {
                (
                    &row.step[..],
                    &row.state[..],
                    row.is_kept,
                    row.end_time_us.is_some(),
                )
            })
            .collect();
        assert_eq!(
            steps,
            [
                ("a", "SUCCEEDED", true, true),
                ("b", "RUNNING", false, false)
            ]
        );
        let running = retry(&app, &made.id, request(RetryMode::Whole, "")).await;
        assert_eq!(reason(running.unwrap_err()), "EXECUTION_RUNNING");
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_retried_is_refused_with_its_reason() {
    each_database(async |store| {
        let app = app(store.clone());
        let wname: WorkflowName = "projects/default/workflows/w".parse().unwrap();
        let create = async |steps: &str| {
            let new = definition_of(steps);
            app.create_workflow(&actor(), &project(), &wname.workflow, new, true, "")
                .await
                .unwrap();
        };
        create(TWO).await;
        failed(&app, "x1").await;
        let from_failed = |version| RetryRequest {
            version,
            ..request(RetryMode::FromFailed, "")
        };
        let missing = retry(&app, "none", from_failed(RetryVersion::Same)).await;
        assert!(
            matches!(missing, Err(Error::NotFound { .. })),
            "{missing:?}"
        );
        let unpublished = retry(&app, "x1", from_failed(RetryVersion::Number(7))).await;
        assert!(
            matches!(unpublished, Err(Error::Denied { .. })),
            "{unpublished:?}"
        );
        let by_editor = |version| RetryRequest {
            may_run_unpublished: true,
            ..from_failed(version)
        };
        let missing = retry(&app, "x1", by_editor(RetryVersion::Number(7))).await;
        assert!(
            matches!(missing, Err(Error::NotFound { .. })),
            "{missing:?}"
        );
        let wrong = retry(&app, "x1", from_failed(RetryVersion::Number(0))).await;
        assert!(matches!(wrong, Err(Error::Invalid(_))), "{wrong:?}");

        let update = async |steps: &str| {
            let new = definition_of(steps);
            let done = app.update_workflow(&actor(), &wname, new, true, "").await;
            done.unwrap();
        };
        update(&TWO.replace("'1'", "'3'")).await;
        let changed = retry(&app, "x1", from_failed(RetryVersion::Latest)).await;
        assert_eq!(reason(changed.unwrap_err()), "STEPS_CHANGED");
        update(&format!(
            "  - {{id: z, transform: {{expression: '0'}}}}\n{TWO}"
        ))
        .await;
        let moved = retry(&app, "x1", from_failed(RetryVersion::Latest)).await;
        assert_eq!(reason(moved.unwrap_err()), "STEPS_CHANGED");
        update(&TWO.replace("'2'", "'4'")).await;
        let made = retry(&app, "x1", from_failed(RetryVersion::Latest)).await;
        assert_eq!(made.unwrap().version, 4);
        // What is not published, operators run by no number, and the latest is none of it.
        let draft = definition_of(&TWO.replace("'2'", "'5'"));
        let draft = app
            .update_workflow(&actor(), &wname, draft, false, "")
            .await;
        assert_eq!(draft.unwrap().latest_version, 5);
        let latest = retry(&app, "x1", from_failed(RetryVersion::Latest)).await;
        assert_eq!(latest.unwrap().version, 4);
        let denied = retry(&app, "x1", from_failed(RetryVersion::Number(5))).await;
        assert!(
            matches!(
                &denied,
                Err(Error::Denied {
                    reason: "ROLE_TOO_LOW",
                    ..
                })
            ),
            "{denied:?}"
        );
        let made = retry(&app, "x1", by_editor(RetryVersion::Number(5))).await;
        assert_eq!(made.unwrap().version, 5);
        // What ran was published once.
        app.publish_workflow(&actor(), &wname, 3, "", decode)
            .await
            .unwrap();
        let four = RetryRequest {
            version: RetryVersion::Number(4),
            ..request(RetryMode::Whole, "")
        };
        let older = retry(&app, "x1", four.clone()).await;
        assert!(matches!(older, Err(Error::Denied { .. })), "{older:?}");

        app.set_workflow_enabled(&actor(), &wname, false, "")
            .await
            .unwrap();
        let disabled = retry(&app, "x1", from_failed(RetryVersion::Same)).await;
        assert_eq!(reason(disabled.unwrap_err()), "DISABLED");
        app.delete_workflow(&actor(), &wname, "").await.unwrap();
        let deleted = retry(&app, "x1", from_failed(RetryVersion::Same)).await;
        assert_eq!(reason(deleted.unwrap_err()), "RESOURCE_DELETED");
        app.purge_workflow(&actor(), &wname, "").await.unwrap();
        create(TWO).await;
        let gone = retry(&app, "x1", from_failed(RetryVersion::Same)).await;
        assert_eq!(reason(gone.unwrap_err()), "VERSION_GONE");
        let whole = RetryRequest {
            version: RetryVersion::Latest,
            ..request(RetryMode::Whole, "")
        };
        let whole = retry(&app, "x1", whole).await.unwrap();

        // One that no node took can be cancelled, and retried then.
        let cancelled = app
            .cancel_execution(&actor(), &name(&whole.id), Cancel::Ask)
            .await;
        assert_eq!(cancelled.unwrap().execution.state, "CANCELLED");
        assert!(store.retry(&name(&whole.id)).await.unwrap().is_none());
        let again = retry(&app, &whole.id, from_failed(RetryVersion::Same)).await;
        assert_eq!(again.unwrap().retry_of, Some(whole.id));
        // One that no event came with cannot.
        let run = app
            .run_workflow(&actor(), &wname, run("{}", ""), decode)
            .await
            .unwrap();
        app.cancel_execution(&actor(), &name(&run.id), Cancel::Ask)
            .await
            .unwrap();
        let none = retry(&app, &run.id, request(RetryMode::Whole, "")).await;
        assert_eq!(reason(none.unwrap_err()), "NO_EVENT");
    })
    .await;
}

#[tokio::test]
async fn a_run_is_held_to_its_declared_inputs() {
    let dir = tempfile::tempdir().unwrap();
    let app = app(sqlite(dir.path()).await);
    let wname: WorkflowName = "projects/default/workflows/w".parse().unwrap();
    let trigger = "manual: {inputs: [{name: n, type: integer, required: true}, {name: s, type: string, default: x}]}";
    let new = spec(trigger, "event.json.n");
    app.create_workflow(&actor(), &project(), &wname.workflow, new, true, "")
        .await
        .unwrap();
    let begin = async |input: &str| {
        app.run_workflow(&actor(), &wname, run(input, ""), decode)
            .await
    };
    for (input, field) in [
        ("null", "input.n"),
        (r#"{"n": "1"}"#, "input.n"),
        (r#"{"n": 1, "m": 2}"#, "input.m"),
        ("[]", "input"),
    ] {
        match begin(input).await {
            Err(Error::Invalid(violations)) => assert_eq!(violations.0[0].field, field, "{input}"),
            other => panic!("{input}: {other:?}"),
        }
    }
    begin(r#"{"n": 1}"#).await.unwrap();
    let taken = app.commands_for(&node("n1"), false).await.unwrap();
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].input_json, r#"{"n":1,"s":"x"}"#);
}
