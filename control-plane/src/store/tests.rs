//! Use cases over real databases: SQLite, and PostgreSQL in a private cluster.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{collections::BTreeSet, path::Path, sync::Arc};

use signalbox_model::{
    event::{Event, EventScope, SignatureProof, TriggerKind},
    execution::{ExecutionState, Fact, Failure, JsonText, StepState},
    ids::{ApiKeyName, NodeId, ProjectId, WorkflowName},
    limits as limits_of,
    record::{
        Accepted, Certificate, Delivery, Record, RecordBody, SequencedRecord, SubscriptionChange,
        SubscriptionState, Verdict,
    },
    workflow::Workflow as Valid,
};
use signalbox_proto::{
    convert::{definition, json},
    v1,
};

use signalbox_test_postgres::Postgres;

use super::*;
use crate::{
    app::{App, Definition, Limits, NewKey, NewWorkflow, RunRequest, Settings, etag},
    crypto::MasterKey,
};

mod audit;
mod batches;
mod calls;
mod children;
mod deleted;
mod enrollment;
mod key_rotation;
mod key_scopes;
mod key_uses;
mod labels;
mod limits;
mod links;
mod lists;
mod lost;
mod methods;
mod near;
mod plans;
mod projects;
mod replicas;
mod resources;
mod retention;
mod retries;
mod schedules;
mod secrets;
mod signals;
mod tokens;
mod usage;
mod values;

async fn sqlite(dir: &Path) -> Store {
    Store::open_sqlite(&dir.join("db.sqlite")).await.unwrap()
}

/// Deliveries that [`app`] keeps.
const DELIVERIES_KEPT: u64 = 25;
/// Size in bytes up to which [`app`] records values whole.
const VALUE_MAX_BYTES: usize = 2_000;

fn app(store: Store) -> App {
    let settings = Settings {
        public_webhook_url: "https://hooks.example.com/".into(),
        reveal_enabled: true,
        deliveries_kept_max: DELIVERIES_KEPT,
        history_value_max_bytes: VALUE_MAX_BYTES,
        history_retention: limits_of::HISTORY_RETENTION,
        deleted_retention: limits_of::DELETED_RETENTION,
        quotas: Limits::USUAL,
    };
    App::new(store, MasterKey::new(&[7; 32]).unwrap(), settings)
}

fn actor() -> Actor {
    Actor {
        subject: "tester".into(),
        request_id: None,
        trace_id: None,
    }
}

fn project() -> ProjectId {
    ProjectId::default_project()
}

fn spec(trigger: &str, expression: &str) -> NewWorkflow {
    let yaml = format!(
        "trigger: {{{trigger}}}\nsteps: [{{id: a, transform: {{expression: {expression}}}}}]"
    );
    NewWorkflow {
        display_name: "A workflow".into(),
        ..written(&yaml)
    }
}

/// A workflow without a display name, as YAML has its definition.
fn written(yaml: &str) -> NewWorkflow {
    let spec: v1::WorkflowSpec = json::from_yaml_str(yaml).unwrap();
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

fn run<'a>(input: &str, request_id: &'a str) -> RunRequest<'a> {
    RunRequest {
        input: JsonText::try_from(input.to_owned()).unwrap(),
        request_id,
        traceparent: None,
    }
}

fn decode(source: &[u8]) -> Result<Valid, signalbox_model::violation::Violations> {
    definition::decode(source, &project())
}

async fn each_database(test: impl AsyncFn(Store)) {
    let dir = tempfile::tempdir().unwrap();
    test(sqlite(dir.path()).await).await;
    let postgres = Postgres::start();
    test(Store::open_url(&postgres.url()).await.unwrap()).await;
}

#[tokio::test]
async fn keys_and_workflows_live_by_their_rules_on_both_databases() {
    each_database(async |store| {
        let app = app(store);
        let id = "k".parse().unwrap();
        let request_id = uuid::Uuid::new_v4().to_string();
        let (key, value) = app
            .create_key(&actor(), &project(), &id, NewKey::default(), &request_id)
            .await
            .unwrap();
        let (again, same) = app
            .create_key(&actor(), &project(), &id, NewKey::default(), &request_id)
            .await
            .unwrap();
        assert_eq!(
            (key.clone(), value.expose()),
            (again, same.expose()),
            "a repeated request makes nothing new"
        );
        let other = app
            .create_key(&actor(), &project(), &id, NewKey::default(), "")
            .await;
        assert!(
            matches!(other, Err(Error::AlreadyExists { .. })),
            "{other:?}"
        );
        let elsewhere = "nowhere".parse().unwrap();
        let missing = app
            .create_key(&actor(), &elsewhere, &id, NewKey::default(), "")
            .await;
        assert!(matches!(missing, Err(Error::NotFound { .. })));
        assert!(!format!("{key:?}").contains(&value.expose()[8..]));

        let name: ApiKeyName = "projects/default/apiKeys/k".parse().unwrap();
        assert_eq!(
            app.reveal_key(&actor(), &name).await.unwrap().expose(),
            value.expose()
        );

        let wid = "w".parse().unwrap();
        let wname: WorkflowName = "projects/default/workflows/w".parse().unwrap();
        let unknown = spec("webhook: {apiKeys: [nobody]}", "'1'");
        let refused = app
            .create_workflow(&actor(), &project(), &wid, unknown, true, "")
            .await
            .unwrap_err();
        assert!(
            refused
                .to_string()
                .contains("spec.trigger.webhook.apiKeys[0]"),
            "{refused}"
        );
        let first = spec("webhook: {apiKeys: [k]}", "'1'");
        let row = app
            .create_workflow(&actor(), &project(), &wid, first.clone(), true, "")
            .await
            .unwrap();
        assert_eq!((row.latest_version, row.published_version), (1, 1));
        let same = app
            .update_workflow(&actor(), &wname, first.clone(), true, "")
            .await
            .unwrap();
        assert_eq!(same, row, "what is the same writes nothing");
        let second = spec("webhook: {apiKeys: [k]}", "'2'");
        let row2 = app
            .update_workflow(&actor(), &wname, second, false, &etag(row.revision))
            .await
            .unwrap();
        assert_eq!((row2.latest_version, row2.published_version), (2, 1));
        let stale = app
            .update_workflow(&actor(), &wname, first, false, &etag(row.revision))
            .await;
        assert!(matches!(stale, Err(Error::Stale { .. })), "{stale:?}");
        let published = app
            .publish_workflow(&actor(), &wname, 0, "", decode)
            .await
            .unwrap();
        assert_eq!(published.published_version, 2);
        assert_eq!(
            app.versions(&wname, &Page::first(10))
                .await
                .unwrap()
                .rows
                .len(),
            2
        );
        let access = app.webhook(&wname, decode).await.unwrap();
        assert_eq!(
            access.url,
            "https://hooks.example.com/v1/projects/default/workflows/w/webhook"
        );

        let in_use = app.delete_key(&actor(), &name, "").await;
        assert!(
            matches!(
                in_use,
                Err(Error::Precondition {
                    reason: "REFERENCED",
                    ..
                })
            ),
            "{in_use:?}"
        );
        let revoked = app.revoke_key(&actor(), &name, "").await.unwrap();
        assert!(revoked.revoke_time_us.is_some());
        assert!(app.reveal_key(&actor(), &name).await.is_err());
        app.delete_workflow(&actor(), &wname, "").await.unwrap();
        app.delete_key(&actor(), &name, "").await.unwrap();
        assert!(app.key(&name).await.unwrap().deletion.is_some());
        app.purge_key(&actor(), &name, "").await.unwrap();
        assert!(matches!(app.key(&name).await, Err(Error::NotFound { .. })));

        let secret: signalbox_model::ids::SecretName =
            "projects/default/secrets/s".parse().unwrap();
        let row = app
            .create_secret(&actor(), &project(), &secret.secret, b"hunter22")
            .await
            .unwrap();
        assert!(!row.ciphertext.windows(8).any(|part| part == b"hunter22"));
        app.update_secret(&actor(), &secret, b"hunter33", &etag(row.revision))
            .await
            .unwrap();
        app.delete_secret(&actor(), &secret, "").await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn the_change_log_tells_each_resource_once_in_order() {
    each_database(async |store| {
        let app = app(store.clone());
        let start = *store.revision().borrow();
        for id in ["a", "b", "c"] {
            app.create_key(
                &actor(),
                &project(),
                &id.parse().unwrap(),
                NewKey::default(),
                "",
            )
            .await
            .unwrap();
        }
        let name = |id: &str| format!("projects/default/apiKeys/{id}").parse().unwrap();
        app.revoke_key(&actor(), &name("a"), "").await.unwrap();
        app.delete_key(&actor(), &name("b"), "").await.unwrap();
        let (changes, reached) = store.changes_since(start, 100).await.unwrap();
        assert_eq!(reached, *store.revision().borrow());
        assert_eq!(reached, start + 5);
        let told: Vec<_> = changes
            .iter()
            .map(|change| match change {
                ConfigChange::Upsert(ConfigEntry::Key(row)) => {
                    format!("{} {}", row.id, row.revoke_time_us.is_some())
                }
                ConfigChange::Delete(name) => format!("gone {name}"),
                ConfigChange::Upsert(_) => "?".to_owned(),
            })
            .collect();
        assert_eq!(
            told,
            ["c false", "a true", "gone projects/default/apiKeys/b"]
        );
        // In parts, too.
        let (first, part) = store.changes_since(start, 1).await.unwrap();
        assert_eq!(first.len(), 1);
        let (rest, whole) = store.changes_since(part, 100).await.unwrap();
        assert_eq!((rest.len(), whole), (2, reached));
    })
    .await;
}

fn node(id: &str) -> NodeId {
    id.parse().unwrap()
}

fn record(sequence: u64, body: RecordBody) -> SequencedRecord {
    SequencedRecord {
        sequence,
        record: Record {
            time: Timestamp::now(),
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
            body,
        },
    }
}

fn accepted(id: &str) -> RecordBody {
    RecordBody::Accepted(Box::new(Accepted {
        execution: format!("projects/default/executions/{id}").parse().unwrap(),
        workflow: "projects/default/workflows/w".parse().unwrap(),
        version: 1,
        event: Event {
            trigger: TriggerKind::AmazonSns,
            api_key: Some("projects/default/apiKeys/k".parse().unwrap()),
            scope: EventScope {
                message: "hi".into(),
                subject: None,
                attributes: Default::default(),
                topic_arn: Some("arn:t".into()),
                message_id: format!("m-{id}"),
                timestamp: "2026-11-24T00:00:00Z".into(),
            },
            body: "{}".into(),
            content_type: None,
            source_address: None,
            signature: Some(SignatureProof {
                version: 2,
                signing_cert_url: "https://x".into(),
                certificate_sha256: "ab".into(),
            }),
            received_at: Timestamp::now(),
        },
        parent: None,
    }))
}

fn fact(id: &str, fact: Fact) -> RecordBody {
    RecordBody::Execution {
        execution: format!("projects/default/executions/{id}").parse().unwrap(),
        fact,
    }
}

fn whole_execution(id: &str) -> Vec<RecordBody> {
    let step: signalbox_model::ids::StepInstance = "call".parse().unwrap();
    let text = |text: &str| JsonText::try_from(text.to_owned()).unwrap();
    vec![
        RecordBody::Certificate(Certificate {
            sha256: "ab".into(),
            pem: "PEM".into(),
        }),
        accepted(id),
        fact(id, Fact::Started),
        fact(
            id,
            Fact::StepStarted {
                step: step.clone(),
                kind: "http".into(),
                input: text("{\"a\":1}"),
            },
        ),
        fact(
            id,
            Fact::AttemptStarted {
                step: step.clone(),
                number: 1,
                repeated: false,
            },
        ),
        fact(
            id,
            Fact::AttemptFailed {
                step: step.clone(),
                number: 1,
                error: Failure::new("TIMEOUT", "late"),
                retry_at: Timestamp::now(),
            },
        ),
        fact(
            id,
            Fact::AttemptStarted {
                step: step.clone(),
                number: 2,
                repeated: false,
            },
        ),
        fact(
            id,
            Fact::AttemptStarted {
                step: step.clone(),
                number: 2,
                repeated: true,
            },
        ),
        fact(
            id,
            Fact::StepFinished {
                step,
                state: StepState::Succeeded,
                output: Some(text("2")),
                error: None,
            },
        ),
        fact(
            id,
            Fact::StepFinished {
                step: "skipped".parse().unwrap(),
                state: StepState::Skipped,
                output: None,
                error: None,
            },
        ),
        fact(
            id,
            Fact::Finished {
                state: ExecutionState::Succeeded,
                output: Some(text("2")),
                error: None,
            },
        ),
    ]
}

fn decode_any(
    _: &WorkflowName,
    source: &[u8],
) -> Result<Valid, signalbox_model::violation::Violations> {
    decode(source)
}

#[tokio::test]
async fn runs_of_a_step_are_told_apart_and_an_execution_waits_when_all_of_it_does() {
    each_database(async |store| {
        let app = app(store);
        let start = |step: &str, kind: &str, input: &str| {
            let input = JsonText::try_from(input.to_owned()).unwrap();
            let (step, kind) = (step.parse().unwrap(), kind.to_owned());
            fact("x1", Fact::StepStarted { step, kind, input })
        };
        let attempt = |step: &str, number| {
            let step = step.parse().unwrap();
            let repeated = false;
            fact(
                "x1",
                Fact::AttemptStarted {
                    step,
                    number,
                    repeated,
                },
            )
        };
        let end = |step: &str, state, error: Option<&str>| {
            let step = step.parse().unwrap();
            let error = error.map(|code| Failure::new(code, "why"));
            fact(
                "x1",
                Fact::StepFinished {
                    step,
                    state,
                    output: None,
                    error,
                },
            )
        };
        let failed = fact(
            "x1",
            Fact::AttemptFailed {
                step: "call[0]".parse().unwrap(),
                number: 1,
                error: Failure::new("TIMEOUT", "late"),
                retry_at: Timestamp::now(),
            },
        );
        let name = "projects/default/executions/x1".parse().unwrap();
        let mut sequence = 0;
        for (body, state) in [
            (accepted("x1"), "QUEUED"),
            (fact("x1", Fact::Started), "RUNNING"),
            (start("each", "forEach", r#"{"items":[1,2]}"#), "RUNNING"),
            (start("call[0]", "http", "null"), "RUNNING"),
            (attempt("call[0]", 1), "RUNNING"),
            (
                start("pause[1]", "wait", r#"{"until":"2999-01-01T00:00:00Z"}"#),
                "RUNNING",
            ),
            (failed, "WAITING"),
            (attempt("call[0]", 2), "RUNNING"),
            (end("call[0]", StepState::Succeeded, None), "WAITING"),
            (
                end("pause[1]", StepState::Cancelled, Some("CANCELLED")),
                "RUNNING",
            ),
            (end("each", StepState::Failed, Some("X")), "RUNNING"),
            (
                fact(
                    "x1",
                    Fact::Ending {
                        state: ExecutionState::Failed,
                        output: None,
                        error: Some(Failure::new("X", "why")),
                    },
                ),
                "RUNNING",
            ),
        ] {
            sequence += 1;
            let records = [record(sequence, body)];
            app.apply_records(&node("n1"), "i", &records, sequence, decode_any)
                .await
                .unwrap();
            let found = app.execution(&name).await.unwrap().execution.state;
            assert_eq!(found, state, "after record {sequence}");
        }
        let detail = app.execution(&name).await.unwrap();
        let steps: Vec<_> = detail
            .steps
            .iter()
            .map(|(step, attempts)| (step.step.as_str(), step.state.as_str(), attempts.len()))
            .collect();
        assert_eq!(
            steps,
            [
                ("each", "FAILED", 0),
                ("call[0]", "SUCCEEDED", 2),
                ("pause[1]", "CANCELLED", 0)
            ]
        );
    })
    .await;
}

#[tokio::test]
async fn a_cancelled_execution_is_asked_for_until_its_end_is_reported() {
    each_database(async |store| {
        let app = app(store);
        let apply = async |sequence, body| {
            let records = [record(sequence, body)];
            app.apply_records(&node("n1"), "i", &records, sequence, decode_any)
                .await
                .unwrap();
        };
        apply(1, accepted("x1")).await;
        apply(2, fact("x1", Fact::Started)).await;
        let name = "projects/default/executions/x1".parse().unwrap();
        let asked = async |of: &str| {
            let all = app.cancellations_for(&node(of), None, 10).await.unwrap();
            all.into_iter().map(|row| row.id).collect::<Vec<_>>()
        };
        assert!(asked("n1").await.is_empty());
        let first = app
            .cancel_execution(&actor(), &name, Cancel::Ask)
            .await
            .unwrap()
            .execution;
        assert_eq!((first.state.as_str(), first.end_time_us), ("RUNNING", None));
        // A second time changes nothing.
        let again = app
            .cancel_execution(&actor(), &name, Cancel::Ask)
            .await
            .unwrap()
            .execution;
        assert_eq!(again.cancel_time_us, first.cancel_time_us);
        assert_eq!(asked("n1").await, ["x1"]);
        assert!(asked("n2").await.is_empty());
        apply(3, fact("x1", Fact::Cancelling)).await;
        assert_eq!(asked("n1").await, ["x1"]);
        let end = Fact::Finished {
            state: ExecutionState::Cancelled,
            output: None,
            error: Some(Failure::new("CANCELLED", "why")),
        };
        apply(4, fact("x1", end)).await;
        assert!(asked("n1").await.is_empty());
        let ended = app
            .cancel_execution(&actor(), &name, Cancel::Ask)
            .await
            .unwrap_err();
        assert!(
            matches!(
                ended,
                Error::Precondition {
                    reason: "EXECUTION_ENDED",
                    ..
                }
            ),
            "{ended}"
        );
        let nothing = "projects/default/executions/none".parse().unwrap();
        let missing = app
            .cancel_execution(&actor(), &nothing, Cancel::Ask)
            .await
            .unwrap_err();
        assert!(matches!(missing, Error::NotFound { .. }), "{missing}");
    })
    .await;
}

#[tokio::test]
async fn records_are_folded_once_whatever_is_repeated() {
    each_database(async |store| {
        let app = app(store);
        let records: Vec<_> = (1..)
            .zip(whole_execution("x1"))
            .map(|(n, body)| record(n, body))
            .collect();
        let apply = async |from: &str, records: &[SequencedRecord]| {
            let last = records.last().unwrap().sequence;
            app.apply_records(&node(from), "i", records, last, decode_any)
                .await
                .unwrap()
        };
        // Overlapping batches, as after connections that broke before the acknowledgement.
        assert_eq!(apply("n1", &records[..4]).await, 4);
        assert_eq!(apply("n1", &records[..7]).await, 7);
        assert_eq!(apply("n1", &records).await, 11);
        assert_eq!(apply("n1", &records).await, 11);
        assert_eq!(app.report_cursor(&node("n1"), "i").await.unwrap(), 11);
        assert_eq!(app.report_cursor(&node("n1"), "another").await.unwrap(), 0);

        let name = "projects/default/executions/x1".parse().unwrap();
        let detail = app.execution(&name).await.unwrap();
        assert_eq!(detail.execution.state, "SUCCEEDED");
        assert_eq!(detail.execution.output_json.as_deref(), Some("2"));
        assert_eq!(
            detail.execution.trace_id.as_deref(),
            Some("0af7651916cd43dd8448eb211c80319c")
        );
        assert!(!detail.execution.is_unsigned);
        let steps: Vec<_> = detail
            .steps
            .iter()
            .map(|(step, _)| (step.step.as_str(), step.state.as_str()))
            .collect();
        assert_eq!(steps, [("call", "SUCCEEDED"), ("skipped", "SKIPPED")]);
        let attempts: Vec<_> = detail.steps[0]
            .1
            .iter()
            .map(|attempt| {
                (
                    attempt.number,
                    attempt.error_code.as_deref(),
                    attempt.repeated,
                    attempt.end_time_us.is_some(),
                )
            })
            .collect();
        assert_eq!(
            attempts,
            [(1, Some("TIMEOUT"), false, true), (2, None, true, true)]
        );
        let (_, event, certificate) = app.event(&name).await.unwrap();
        assert_eq!(event.body, b"{}");
        assert_eq!(certificate.as_deref(), Some("PEM"));

        // Another node accepted a copy: the first one's history stands, and the second shows as a delivery.
        let copy: Vec<_> = [
            accepted("x1"),
            fact("x1", Fact::Started),
            fact(
                "x1",
                Fact::Finished {
                    state: ExecutionState::Failed,
                    output: None,
                    error: None,
                },
            ),
        ]
        .into_iter()
        .zip(1..)
        .map(|(body, n)| record(n, body))
        .collect();
        apply("n2", &copy).await;
        let detail = app.execution(&name).await.unwrap();
        assert_eq!(
            (
                detail.execution.state.as_str(),
                detail.execution.node.as_deref()
            ),
            ("SUCCEEDED", Some("n1"))
        );
        let deliveries = app
            .deliveries(
                &project(),
                None,
                &DeliveryFilter::default(),
                &Page::first(10),
            )
            .await
            .unwrap();
        assert_eq!(deliveries.rows.len(), 1);
        assert_eq!(deliveries.rows[0].reason, "accepted-at-another-node");
    })
    .await;
}

#[tokio::test]
async fn a_node_that_lost_its_store_reports_anew_what_it_had_begun() {
    each_database(async |store| {
        let app = app(store);
        let records: Vec<_> = (1..)
            .zip(whole_execution("x1"))
            .map(|(n, body)| record(n, body))
            .collect();
        let apply = async |incarnation: &str, records: &[SequencedRecord]| {
            let last = records.last().unwrap().sequence;
            app.apply_records(&node("n1"), incarnation, records, last, decode_any)
                .await
                .unwrap()
        };
        // As far as its second attempt; then all of it, from another store.
        apply("lost", &records[..7]).await;
        assert_eq!(apply("new", &records).await, 11);
        let name = "projects/default/executions/x1".parse().unwrap();
        let found = app.execution(&name).await.unwrap();
        assert_eq!(found.execution.state, "SUCCEEDED");
        assert_eq!(found.steps.len(), 2);
        assert_eq!(found.steps[0].1.len(), 2);
        // What has ended is not begun again, whoever runs it again.
        assert_eq!(apply("newer", &records[..7]).await, 7);
        let again = app.execution(&name).await.unwrap();
        assert_eq!(again.execution, found.execution);
        assert_eq!(again.steps, found.steps);
    })
    .await;
}

#[tokio::test]
async fn the_first_confirmed_topic_binds_and_no_other() {
    each_database(async |store| {
        let app = app(store.clone());
        app.create_key(
            &actor(),
            &project(),
            &"k".parse().unwrap(),
            NewKey::default(),
            "",
        )
        .await
        .unwrap();
        let wname: WorkflowName = "projects/default/workflows/w".parse().unwrap();
        let open = spec("amazonSns: {apiKeys: [k]}", "'1'");
        app.create_workflow(&actor(), &project(), &wname.workflow, open, true, "")
            .await
            .unwrap();
        let before = *store.revision().borrow();
        let change = |topic: &str, state| {
            RecordBody::Subscription(Box::new(SubscriptionChange {
                workflow: wname.clone(),
                topic_arn: topic.to_owned(),
                subscription_arn: None,
                state,
                confirm_attempts: 1,
                last_error: None,
            }))
        };
        let records = [
            record(1, change("arn:one", SubscriptionState::Pending)),
            record(2, change("arn:one", SubscriptionState::Confirmed)),
            record(3, change("arn:two", SubscriptionState::Confirmed)),
        ];
        app.apply_records(&node("n1"), "i", &records, 3, decode_any)
            .await
            .unwrap();
        let (found, _) = app.workflow(&wname).await.unwrap();
        assert_eq!(found.row.bound_topic.as_deref(), Some("arn:one"));
        assert!(*store.revision().borrow() > before, "the nodes are told");
        let listed = app
            .subscriptions(&project(), None, &Page::first(10))
            .await
            .unwrap();
        assert_eq!(listed.rows.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn several_topics_may_bind_in_one_report() {
    each_database(async |store| {
        let app = app(store.clone());
        app.create_key(
            &actor(),
            &project(),
            &"k".parse().unwrap(),
            NewKey::default(),
            "",
        )
        .await
        .unwrap();
        let names: Vec<WorkflowName> = ["v", "w"]
            .map(|id| format!("projects/default/workflows/{id}").parse().unwrap())
            .into();
        for name in &names {
            let open = spec("amazonSns: {apiKeys: [k]}", "'1'");
            app.create_workflow(&actor(), &project(), &name.workflow, open, true, "")
                .await
                .unwrap();
        }
        let before = *store.revision().borrow();
        let records: Vec<_> = (1..)
            .zip(&names)
            .map(|(sequence, name)| {
                let change = SubscriptionChange {
                    workflow: name.clone(),
                    topic_arn: format!("arn:{}", name.workflow),
                    subscription_arn: None,
                    state: SubscriptionState::Confirmed,
                    confirm_attempts: 1,
                    last_error: None,
                };
                record(sequence, RecordBody::Subscription(Box::new(change)))
            })
            .collect();
        app.apply_records(&node("n1"), "i", &records, 2, decode_any)
            .await
            .unwrap();
        for name in &names {
            let (found, _) = app.workflow(name).await.unwrap();
            assert_eq!(
                found.row.bound_topic,
                Some(format!("arn:{}", name.workflow))
            );
        }
        // Whoever follows changes one at a time misses none.
        let (first, reached) = store.changes_since(before, 1).await.unwrap();
        let (rest, head) = store.changes_since(reached, 10).await.unwrap();
        assert_eq!((first.len(), rest.len()), (1, 1));
        assert_eq!(head, *store.revision().borrow());
    })
    .await;
}

#[tokio::test]
async fn commands_stay_with_the_node_they_were_given_to() {
    each_database(async |store| {
        let app = app(store);
        let wname: WorkflowName = "projects/default/workflows/w".parse().unwrap();
        let manual = spec("manual: {}", "'1'");
        app.create_workflow(&actor(), &project(), &wname.workflow, manual, true, "")
            .await
            .unwrap();
        let request_id = uuid::Uuid::new_v4().to_string();
        let made = app
            .run_workflow(&actor(), &wname, run("{}", &request_id), decode)
            .await
            .unwrap();
        let again = app
            .run_workflow(&actor(), &wname, run("{}", &request_id), decode)
            .await
            .unwrap();
        assert_eq!(made.id, again.id);
        assert_eq!(made.state, "QUEUED");
        let taken = app.commands_for(&node("n1"), false).await.unwrap();
        assert_eq!(taken.len(), 1);
        assert!(
            app.commands_for(&node("n2"), true)
                .await
                .unwrap()
                .is_empty(),
            "it is another's"
        );
        assert!(
            app.commands_for(&node("n1"), false)
                .await
                .unwrap()
                .is_empty()
        );
        assert_eq!(
            app.commands_for(&node("n1"), true).await.unwrap().len(),
            1,
            "told again after a reconnect"
        );
        app.command_answered(&node("n2"), &taken[0].id, true)
            .await
            .unwrap();
        assert_eq!(
            app.commands_for(&node("n1"), true).await.unwrap().len(),
            1,
            "only its own answer counts"
        );
        app.command_answered(&node("n1"), &taken[0].id, false)
            .await
            .unwrap();
        assert_eq!(
            app.commands_for(&node("n2"), false).await.unwrap().len(),
            1,
            "refused, so free"
        );
        app.command_answered(&node("n2"), &taken[0].id, true)
            .await
            .unwrap();
        assert!(
            app.commands_for(&node("n2"), true)
                .await
                .unwrap()
                .is_empty()
        );
    })
    .await;
}

#[tokio::test]
async fn pages_neither_skip_nor_repeat_while_others_write() {
    each_database(async |store| {
        let app = app(store);
        let mut sequence = 0;
        let mut add = async |id: String| {
            sequence += 1;
            let records = [record(sequence, accepted(&id))];
            app.apply_records(&node("n1"), "i", &records, sequence, decode_any)
                .await
                .unwrap();
        };
        for n in 0..25 {
            add(format!("x{n}")).await;
        }
        let mut seen = Vec::new();
        let mut next = None;
        let mut late = 0;
        loop {
            let page = Page {
                after: next.take(),
                ..Page::first(10)
            };
            let found = app
                .executions(&project(), &ExecutionFilter::default(), &page)
                .await
                .unwrap();
            seen.extend(found.rows.into_iter().map(|row| row.id));
            next = found.next;
            if next.is_none() {
                break;
            }
            late += 1;
            add(format!("late{late}")).await;
        }
        let unique: BTreeSet<_> = seen.iter().collect();
        assert_eq!(unique.len(), seen.len(), "none twice");
        assert!(
            (0..25).all(|n| unique.contains(&format!("x{n}"))),
            "none skipped"
        );
        let filter = ExecutionFilter {
            message_id: Some("m-x7".into()),
            ..ExecutionFilter::default()
        };
        let found = app
            .executions(&project(), &filter, &Page::first(10))
            .await
            .unwrap();
        assert_eq!(found.rows.len(), 1);
        let all = ExecutionFilter::default();
        let store = app.store();
        let beginning = (0, String::new());
        let since = store
            .executions_changed_since(&project(), &all, &beginning, 100)
            .await
            .unwrap();
        assert_eq!(since.len(), 27);
        assert!(
            since
                .windows(2)
                .all(|pair| pair[0].history <= pair[1].history)
        );
    })
    .await;
}

#[tokio::test]
async fn deliveries_are_found_by_their_verdict() {
    each_database(async |store| {
        let app = app(store);
        let delivery = |id: &str, verdict, reason: &str| {
            RecordBody::Delivery(Box::new(Delivery {
                id: id.parse().unwrap(),
                workflow: "projects/default/workflows/w".parse().unwrap(),
                verdict,
                reason: reason.into(),
                detail: String::new(),
                http_status: 403,
                message_type: "Notification".into(),
                message_id: "m".into(),
                topic_arn: String::new(),
                source_address: String::new(),
                execution: None,
            }))
        };
        let records = [
            record(1, delivery("d1", Verdict::Rejected, "signature-invalid")),
            record(2, delivery("d2", Verdict::Accepted, "")),
        ];
        app.apply_records(&node("n1"), "i", &records, 2, decode_any)
            .await
            .unwrap();
        let filter = DeliveryFilter {
            verdict: Some("REJECTED".into()),
            ..DeliveryFilter::default()
        };
        let workflow = "w".parse().unwrap();
        let found = app
            .deliveries(&project(), Some(&workflow), &filter, &Page::first(10))
            .await
            .unwrap();
        assert_eq!(found.rows.len(), 1);
        assert_eq!(found.rows[0].reason, "signature-invalid");
    })
    .await;
}

#[tokio::test]
async fn a_database_opens_again_and_one_that_is_too_new_does_not() {
    let dir = tempfile::tempdir().unwrap();
    let incarnation = sqlite(dir.path()).await.incarnation().to_owned();
    let store = sqlite(dir.path()).await;
    assert_eq!(store.incarnation(), incarnation);
    store
        .db
        .execute_unprepared(
            "INSERT INTO seaql_migrations VALUES ('m29991231_000001_from_the_future', 0)",
        )
        .await
        .unwrap();
    // An upgrade is under way, and the later version leaves this one able to work.
    let store = sqlite(dir.path()).await;
    assert_eq!(store.incarnation(), incarnation);
    let raise = format!(
        "UPDATE counters SET value = {} WHERE name = 'schema-compatibility'",
        signalbox_migrations::level() + 1
    );
    store.db.execute_unprepared(&raise).await.unwrap();
    assert!(
        matches!(store.refresh().await, Err(Error::OutOfService { .. })),
        "one that runs already stops working, too"
    );
    let error = Store::open_sqlite(&dir.path().join("db.sqlite"))
        .await
        .unwrap_err();
    assert!(matches!(error, OpenError::NewerSchema { .. }), "{error:?}");
}

#[tokio::test]
async fn migrations_go_back_and_forth_on_both_databases() {
    use sea_orm_migration::MigratorTrait as _;
    each_database(async |store| {
        signalbox_migrations::Migrator::down(&store.db, None)
            .await
            .unwrap();
        signalbox_migrations::Migrator::up(&store.db, None)
            .await
            .unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_run_that_no_node_has_is_cancelled_at_once_and_another_when_it_is_known_whose_it_is() {
    each_database(async |store| {
        let app = app(store);
        let wname: WorkflowName = "projects/default/workflows/w".parse().unwrap();
        let manual = spec("manual: {}", "'1'");
        app.create_workflow(&actor(), &project(), &wname.workflow, manual, true, "")
            .await
            .unwrap();
        let begin = async || {
            app.run_workflow(&actor(), &wname, run("{}", ""), decode)
                .await
                .unwrap()
                .id
        };
        let cancel = async |id: &str| {
            let name = format!("projects/default/executions/{id}").parse().unwrap();
            app.cancel_execution(&actor(), &name, Cancel::Ask)
                .await
                .unwrap()
                .execution
        };
        let cancelled = cancel(&begin().await).await;
        assert_eq!(cancelled.state, "CANCELLED");
        assert!(cancelled.end_time_us.is_some());
        assert_eq!(cancelled.error_code.as_deref(), Some("CANCELLED"));
        let taken = app.commands_for(&node("n1"), false).await.unwrap();
        assert!(taken.is_empty(), "nobody starts it");

        let id = begin().await;
        assert_eq!(app.commands_for(&node("n1"), false).await.unwrap().len(), 1);
        assert_eq!(cancel(&id).await.state, "QUEUED");
        let asked = async || {
            let all = app.cancellations_for(&node("n1"), None, 10).await.unwrap();
            all.into_iter().map(|row| row.id).collect::<Vec<_>>()
        };
        assert!(asked().await.is_empty(), "it is not known who has it");
        app.apply_records(&node("n1"), "i", &[record(1, accepted(&id))], 1, decode_any)
            .await
            .unwrap();
        assert_eq!(asked().await, [id]);
    })
    .await;
}
