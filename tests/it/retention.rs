//! History is bounded: large values are recorded truncated, and what is over goes when its time is.

use std::time::Duration;

use futures::{StreamExt as _, stream};
use serde_json::{Value, json};
use signalbox_proto::v1::{
    Execution, ExecutionState, GetExecutionEventRequest, GetProjectRequest, Project,
    RetryExecutionRequest, RunWorkflowRequest, UpdateProjectRequest,
};
use signalbox_tests::{
    api::Api,
    planes::{Options, Planes},
    target::{Reply, Target},
    wait,
};
use tonic::{Code, Status};

use crate::local_stack::synced;

/// A look every ten seconds, and a slow machine.
const LIMIT: Duration = Duration::from_secs(60);

async fn keep(api: &Api, seconds: Option<i64>) -> Result<Project, Status> {
    let request = UpdateProjectRequest {
        project: Some(Project {
            name: "projects/default".into(),
            history_retention: seconds.map(|seconds| prost_types::Duration { seconds, nanos: 0 }),
            ..Project::default()
        }),
        ..UpdateProjectRequest::default()
    };
    Ok(api.projects().update_project(request).await?.into_inner())
}

async fn run(api: &Api, workflow: &str) -> String {
    let request = RunWorkflowRequest {
        name: format!("projects/default/workflows/{workflow}"),
        ..RunWorkflowRequest::default()
    };
    let answer = api.workflows().run_workflow(request).await.unwrap();
    answer.into_inner().name
}

/// Whether the event of an execution is kept.
async fn has_event(api: &Api, name: &str) -> bool {
    let request = GetExecutionEventRequest {
        name: format!("{name}/event"),
    };
    match api.executions().get_execution_event(request).await {
        Ok(_) => true,
        Err(status) if status.code() == Code::NotFound => false,
        Err(status) => panic!("{status:?}"),
    }
}

async fn post(planes: &Planes, key: &str, workflow: &str, id: &str) {
    let url = planes.endpoint(workflow, "webhook", key);
    let client = reqwest::Client::new();
    let request = client.post(url).header("idempotency-key", id);
    let answer = request.json(&json!({"n": id})).send().await.unwrap();
    assert_eq!(answer.status(), 200);
}

/// Waits until as many executions have ended as there are.
async fn ended(api: &Api, count: usize) -> Vec<Execution> {
    wait::until("the executions to end", LIMIT, || async {
        let filter = r#"state == "SUCCEEDED""#;
        let all = api.all_executions(filter).await;
        let all = all.map_err(|status| status.to_string())?;
        if all.len() == count {
            Ok(all)
        } else {
            Err(all.len().to_string())
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_output_is_shown_truncated_and_read_whole() {
    const BYTES: usize = 300 * 1024;
    let large =
        Target::answering(|_, _| Reply::json(200, format!("\"{}\"", "é".repeat(BYTES / 2)))).await;
    let small = Target::start(|number, _| if number == 0 { 404 } else { 200 }).await;
    let (_planes, api) = Planes::start(Options::default()).await;
    let spec = format!(
        r#"
trigger: {{manual: {{}}}}
steps:
  - {{id: first, http: {{url: "http://{}/large"}}}}
  - {{id: last, http: {{url: "http://{}/", json: "${{{{ size(steps.first.output.json) }}}}"}}}}
"#,
        large.addr, small.addr
    );
    api.create_workflow("large", &spec).await;
    let name = run(&api, "large").await;
    let failed = api.execution_in(&name, ExecutionState::Failed).await;
    let first = &failed.steps[0];
    assert_eq!(first.input_truncated_bytes, 0);
    // The body stands in it twice: as text and as what it says.
    assert!(first.output_truncated_bytes > 2 * BYTES as i64, "{first:?}");
    assert!(first.output_json.len() <= 256 * 1024);
    let shown: Value = serde_json::from_str(&first.output_json).unwrap();
    assert_eq!(shown["truncated"]["bytes"], first.output_truncated_bytes);
    let start = shown["truncated"]["start"].as_str().unwrap();
    assert!(
        start.starts_with("{\"") && start.len() > 200 * 1024,
        "{}",
        start.len()
    );

    let request = RetryExecutionRequest {
        name,
        request_id: uuid::Uuid::new_v4().to_string(),
        ..RetryExecutionRequest::default()
    };
    let retry = api.executions().retry_execution(request).await.unwrap();
    let retry = retry.into_inner().name;
    let done = api.execution_in(&retry, ExecutionState::Succeeded).await;
    assert!(done.steps[0].kept);
    assert_eq!(
        done.steps[0].output_truncated_bytes,
        first.output_truncated_bytes
    );
    assert_eq!(large.calls().len(), 1, "its result was kept");
    let bodies: Vec<_> = small.calls().into_iter().map(|call| call.body).collect();
    assert_eq!(bodies, [(BYTES / 2).to_string(), (BYTES / 2).to_string()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_over_goes_when_its_time_is_and_what_waits_stays() {
    let (planes, api) = Planes::start(Options::default()).await;
    let key = api.create_key("sender").await;
    let quick = "trigger: {webhook: {apiKeys: [sender]}}\nsteps: [{id: a, transform: {expression: event.json.n}}]\n";
    let slow = "trigger: {manual: {}}\nsteps: [{id: a, wait: {duration: 3600s}}]\n";
    api.create_workflow("quick", quick).await;
    api.create_workflow("slow", slow).await;
    synced(&api).await;
    let waiting = run(&api, "slow").await;
    api.execution_in(&waiting, ExecutionState::Waiting).await;
    post(&planes, &key, "quick", "one").await;
    let over = ended(&api, 1).await.remove(0).name;
    assert!(has_event(&api, &over).await);
    assert_eq!(api.all_deliveries("quick").await.unwrap().len(), 1);

    let name = || "projects/default".to_owned();
    let get = GetProjectRequest { name: name() };
    let before = api.projects().get_project(get).await.unwrap().into_inner();
    assert_eq!(before.history_retention, None);
    let month = 30 * 24 * 3600;
    assert_eq!(before.effective_history_retention.unwrap().seconds, month);
    let denied = keep(&planes.api("editor"), Some(1)).await.unwrap_err();
    assert_eq!(denied.code(), Code::PermissionDenied);
    let wrong = keep(&api, Some(0)).await.unwrap_err();
    assert_eq!(wrong.code(), Code::InvalidArgument);
    let after = keep(&api, Some(1)).await.unwrap();
    assert_eq!(after.effective_history_retention.unwrap().seconds, 1);

    wait::until("what is over to go", LIMIT, || async {
        let left = api.all_executions("").await;
        let left = left.map_err(|status| status.to_string())?;
        let deliveries = api.all_deliveries("quick").await;
        let deliveries = deliveries.map_err(|status| status.to_string())?;
        match (&left[..], &deliveries[..]) {
            ([one], []) if one.name == waiting => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let gone = api.execution(&over).await.unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
    assert!(!has_event(&api, &over).await);
    assert!(planes.control.log().contains("deleted history"));

    // What comes then is kept as before; a copy of what is gone starts nothing, as its node remembers it.
    keep(&api, None).await.unwrap();
    post(&planes, &key, "quick", "one").await;
    post(&planes, &key, "quick", "two").await;
    let two = ended(&api, 1).await.remove(0);
    assert_eq!(two.message_id, "two");
    let waits = api.execution(&waiting).await.unwrap();
    assert_eq!(waits.state(), ExecutionState::Waiting);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_that_is_killed_while_it_purges_leaves_whole_executions() {
    const COUNT: usize = 450;
    let (mut planes, api) = Planes::start(Options::default()).await;
    let key = api.create_key("sender").await;
    let spec = "
trigger: {webhook: {apiKeys: [sender]}}
steps: [{id: a, transform: {expression: event.json.n}}, {id: b, transform: {expression: '1'}}]
";
    api.create_workflow("quick", spec).await;
    synced(&api).await;
    let post_all = async |name: &str, count: usize| {
        let posts = (0..count).map(|number| {
            let (planes, key) = (&planes, &key);
            let id = format!("{name}{number}");
            async move { post(planes, key, "quick", &id).await }
        });
        stream::iter(posts)
            .buffer_unordered(16)
            .collect::<Vec<()>>()
            .await;
    };
    post_all("old", COUNT).await;
    ended(&api, COUNT).await;
    keep(&api, Some(1)).await.unwrap();

    for _ in 0..3 {
        // A look comes a second after the start: this ends in the middle of the purge, or after it.
        wait::until("the purge to begin", LIMIT, || async {
            let left = api.all_executions("").await;
            match left.map_err(|status| status.to_string())?.len() {
                COUNT => Err(COUNT.to_string()),
                _ => Ok(()),
            }
        })
        .await;
        planes.control.kill();
        planes.control.start().await;
        for execution in api.all_executions("").await.unwrap() {
            match api.execution(&execution.name).await {
                Ok(whole) => assert_eq!(whole.steps.len(), 2, "{whole:?}"),
                // It went meanwhile.
                Err(status) => assert_eq!(status.code(), Code::NotFound, "{status:?}"),
            }
        }
    }
    let post_all = async |name: &str, count: usize| {
        for number in 0..count {
            post(&planes, &key, "quick", &format!("{name}{number}")).await;
        }
    };
    // What is reported while there is a purge is purged in its turn, and the node has nothing left to report.
    post_all("more", 50).await;
    wait::until("all of it to go", LIMIT, || async {
        let left = api.all_executions("").await;
        match left.map_err(|status| status.to_string())?.len() {
            0 => Ok(()),
            count => Err(count.to_string()),
        }
    })
    .await;
    keep(&api, None).await.unwrap();
    post_all("last", 1).await;
    assert_eq!(ended(&api, 1).await[0].message_id, "last0");
}
