//! RetryExecution: what had succeeded is not done again, and what failed is.

use std::collections::BTreeMap;

use signalbox_proto::{
    convert::{json, status::ApiError},
    v1::{
        Execution, ExecutionState, GetExecutionEventRequest, RetryExecutionRequest, RetryMode,
        RunWorkflowRequest, TriggerKind, UpdateWorkflowRequest, Workflow, WorkflowSpec,
        retry_execution_request::Version,
    },
};
use signalbox_tests::{
    api::Api,
    planes::{Options, Planes},
    target::{Call, Target},
};
use tonic::{Code, Status};

use crate::local_stack::synced;

async fn retry(api: &Api, request: RetryExecutionRequest) -> Result<Execution, Status> {
    let answer = api.executions().retry_execution(request).await?;
    Ok(answer.into_inner())
}

fn from_failed(name: &str) -> RetryExecutionRequest {
    RetryExecutionRequest {
        name: name.to_owned(),
        mode: RetryMode::FromFailed.into(),
        version: None,
        request_id: uuid::Uuid::new_v4().to_string(),
    }
}

/// How often each path was called.
fn counts(calls: &[Call]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for call in calls {
        *counts.entry(call.target.as_str()).or_default() += 1;
    }
    counts
}

fn reason(status: &Status) -> String {
    let error = ApiError::from(status.clone());
    error.reason.unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_does_what_failed_and_nothing_else_again() {
    // The second item is refused the first time.
    let target = Target::start(|number, call| match (number, call.target.as_str()) {
        (0..=2, "/item/2") => 404,
        _ => 200,
    })
    .await;
    let (mut planes, api) = Planes::start(Options::default()).await;
    let key = api.create_key("sender").await;
    let spec = format!(
        r#"
trigger:
  webhook: {{apiKeys: [sender]}}
steps:
  - {{id: first, http: {{url: "http://{addr}/first", json: {{order: "${{{{ event.json.order }}}}"}}}}}}
  - id: each
    forEach:
      items: event.json.items
      concurrency: 1
      failFast: false
      steps:
        - {{id: call, http: {{url: "http://{addr}/item/${{{{ item }}}}", method: POST}}}}
  - {{id: last, http: {{url: "http://{addr}/last", json: {{first: "${{{{ steps.first.output.status }}}}"}}}}}}
"#,
        addr = target.addr
    );
    api.create_workflow("orders", &spec).await;
    synced(&api).await;
    let posted = reqwest::Client::new()
        .post(planes.endpoint("orders", "webhook", &key))
        .header("idempotency-key", "order-7")
        .json(&serde_json::json!({"order": 7, "items": [1, 2, 3]}))
        .send()
        .await
        .unwrap();
    assert_eq!(posted.status(), 200);
    let answer: serde_json::Value = posted.json().await.unwrap();
    let name = answer["execution"].as_str().unwrap().to_owned();
    api.execution_in(&name, ExecutionState::Failed).await;
    assert_eq!(target.calls().len(), 4);

    // The node is away when it is asked for, and gets it when it is back.
    planes.data.kill();
    let request = from_failed(&name);
    let asked = retry(&api, request.clone()).await.unwrap();
    assert_eq!(asked.state(), ExecutionState::Queued);
    assert_ne!(asked.name, name);
    let again = retry(&api, request).await.unwrap();
    assert_eq!(again.name, asked.name);
    planes.data.start().await;
    let done = api
        .execution_in(&asked.name, ExecutionState::Succeeded)
        .await;

    let calls = target.calls();
    let expected = [
        ("/first", 1),
        ("/item/1", 1),
        ("/item/2", 2),
        ("/item/3", 1),
        ("/last", 1),
    ];
    assert_eq!(counts(&calls), expected.into());
    let last = calls.iter().find(|call| call.target == "/last").unwrap();
    assert_eq!(last.body, r#"{"first":200}"#);
    let keys: Vec<_> = calls
        .iter()
        .filter(|call| call.target == "/item/2")
        .map(|call| &call.headers["idempotency-key"])
        .collect();
    assert_ne!(keys[0], keys[1], "another execution, another key");

    // They name each other, and the event is the same.
    assert_eq!(done.retry_of, name);
    let failed = api.execution(&name).await.unwrap();
    assert_eq!(failed.retried_by, [done.name.as_str()]);
    assert_eq!(failed.state(), ExecutionState::Failed);
    let kept: Vec<_> = done
        .steps
        .iter()
        .map(|step| (step.step_id.as_str(), &step.indexes[..], step.kept))
        .collect();
    assert_eq!(
        kept,
        [
            ("first", &[][..], true),
            ("each", &[], false),
            ("call", &[0], true),
            ("call", &[2], true),
            ("call", &[1], false),
            ("last", &[], false),
        ]
    );
    assert_eq!(done.trigger(), TriggerKind::Webhook);
    let event = async |name: &str| {
        let request = GetExecutionEventRequest {
            name: format!("{name}/event"),
        };
        let answer = api.executions().get_execution_event(request).await;
        let mut event = answer.unwrap().into_inner();
        event.name = String::new();
        event
    };
    let (before, after) = (event(&name).await, event(&done.name).await);
    assert_eq!(before, after);
    assert_eq!(after.message_id, "order-7");
    assert_eq!(after.api_key, "projects/default/apiKeys/sender");

    // Now nothing of it has failed; all of it can be done again even so.
    let nothing = retry(&api, from_failed(&done.name)).await.unwrap_err();
    assert_eq!(reason(&nothing), "NOTHING_FAILED", "{nothing:?}");
    let whole = RetryExecutionRequest {
        mode: RetryMode::Whole.into(),
        ..from_failed(&done.name)
    };
    let whole = retry(&api, whole).await.unwrap();
    api.execution_in(&whole.name, ExecutionState::Succeeded)
        .await;
    assert_eq!(target.calls().len(), calls.len() + 5);
    let denied = retry(&planes.api("viewer"), from_failed(&name)).await;
    assert_eq!(denied.unwrap_err().code(), Code::PermissionDenied);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_version_runs_an_old_event_and_keeps_what_it_has_unchanged() {
    let target = Target::start(|_, call| if call.target == "/bad" { 404 } else { 200 }).await;
    let (_planes, api) = Planes::start(Options::default()).await;
    let spec = |first: &str, second: &str| {
        format!(
            r#"
trigger: {{manual: {{}}}}
steps:
  - {{id: first, http: {{url: "http://{addr}/{first}"}}}}
  - {{id: second, http: {{url: "http://{addr}/{second}"}}}}
"#,
            addr = target.addr
        )
    };
    api.create_workflow("two", &spec("a", "bad")).await;
    let update = async |spec: String| {
        let spec: WorkflowSpec = json::from_yaml_str(&spec).unwrap();
        let workflow = Workflow {
            name: "projects/default/workflows/two".into(),
            spec: Some(spec),
            ..Workflow::default()
        };
        let request = UpdateWorkflowRequest {
            workflow: Some(workflow),
            publish: true,
            ..UpdateWorkflowRequest::default()
        };
        api.workflows().update_workflow(request).await.unwrap();
    };
    let run = RunWorkflowRequest {
        name: "projects/default/workflows/two".into(),
        ..RunWorkflowRequest::default()
    };
    let run = api.workflows().run_workflow(run).await.unwrap();
    let name = run.into_inner().name;
    api.execution_in(&name, ExecutionState::Failed).await;

    update(spec("a", "good")).await;
    // The version that ran is not the published one any more: it fails as it did, and the kept step is not done again.
    let same = retry(&api, from_failed(&name)).await.unwrap();
    let same = api.execution_in(&same.name, ExecutionState::Failed).await;
    assert_eq!(same.workflow_version, 1);
    let latest = RetryExecutionRequest {
        version: Some(Version::Latest(true)),
        ..from_failed(&name)
    };
    let latest = retry(&api, latest).await.unwrap();
    let latest = api
        .execution_in(&latest.name, ExecutionState::Succeeded)
        .await;
    assert_eq!(latest.workflow_version, 2);
    let counted = |path: &str| counts(&target.calls()).get(path).copied();
    assert_eq!(
        (counted("/a"), counted("/bad"), counted("/good")),
        (Some(1), Some(2), Some(1))
    );

    update(spec("b", "good")).await;
    let changed = RetryExecutionRequest {
        version: Some(Version::WorkflowVersion(3)),
        ..from_failed(&name)
    };
    let refused = retry(&api, changed.clone()).await.unwrap_err();
    assert_eq!(reason(&refused), "STEPS_CHANGED");
    assert!(refused.message().contains("first"), "{refused:?}");
    let whole = RetryExecutionRequest {
        mode: RetryMode::Whole.into(),
        ..changed
    };
    let whole = retry(&api, whole).await.unwrap();
    let whole = api
        .execution_in(&whole.name, ExecutionState::Succeeded)
        .await;
    assert_eq!(whole.workflow_version, 3);
    assert_eq!((counted("/a"), counted("/b")), (Some(1), Some(1)));
    let none = RetryExecutionRequest {
        version: Some(Version::WorkflowVersion(9)),
        ..from_failed(&name)
    };
    assert_eq!(retry(&api, none).await.unwrap_err().code(), Code::NotFound);

    let slow = "trigger: {manual: {}}\nsteps: [{id: pause, wait: {duration: 3600s}}]\n";
    api.create_workflow("slow", slow).await;
    let run = RunWorkflowRequest {
        name: "projects/default/workflows/slow".into(),
        ..RunWorkflowRequest::default()
    };
    let run = api.workflows().run_workflow(run).await.unwrap();
    let name = run.into_inner().name;
    let running = retry(&api, from_failed(&name)).await.unwrap_err();
    assert_eq!(running.code(), Code::FailedPrecondition);
    assert_eq!(reason(&running), "EXECUTION_RUNNING");
}
