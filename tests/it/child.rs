//! Executions that steps start, with real processes: kills at any time start none twice and lose no end, a cancelled parent
//! takes its children with it, and a retry keeps what children gave.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
    time::Duration,
};

use signalbox_proto::v1::{
    CancelExecutionRequest, Execution, ExecutionState, RetryExecutionRequest, RetryMode,
    RunWorkflowRequest, TriggerKind,
};
use signalbox_tests::{
    api::Api,
    planes::{Options, Planes},
    process::binary,
    target::Target,
    wait,
};

async fn run(api: &Api, workflow: &str) -> String {
    let request = RunWorkflowRequest {
        name: format!("projects/default/workflows/{workflow}"),
        ..RunWorkflowRequest::default()
    };
    let run = api.workflows().run_workflow(request).await;
    run.unwrap().into_inner().name
}

/// Until `count` children of an execution are shown that are all in `state`.
async fn children_in(api: &Api, name: &str, count: usize, state: ExecutionState) -> Execution {
    wait::until("the children", Duration::from_secs(30), || async {
        let execution = api.execution(name).await.map_err(|s| s.to_string())?;
        let children = &execution.children;
        if children.len() == count && children.iter().all(|child| child.state() == state) {
            Ok(execution)
        } else {
            Err(format!("{execution:?}"))
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn kills_start_no_child_twice_and_lose_no_end() {
    const ITEMS: usize = 12;
    let target = Target::start(|_, _| 200).await;
    let (mut planes, api) = Planes::start(Options::default()).await;
    let inner = format!(
        r#"
trigger:
  manual: {{inputs: [{{name: item, type: integer, required: true}}]}}
steps:
  - {{id: pause, wait: {{duration: 0.2s}}}}
  - {{id: call, http: {{url: "http://{}/${{{{ event.json.item }}}}", method: POST}}}}
  - {{id: gives, transform: {{expression: event.json.item * 10}}}}
"#,
        target.addr
    );
    api.create_workflow("inner", &inner).await;
    let outer = format!(
        r#"
trigger: {{manual: {{}}}}
steps:
  - id: each
    forEach:
      items: lists.range({ITEMS})
      concurrency: 3
      steps:
        - {{id: call, runWorkflow: {{workflow: inner, input: {{item: "${{{{ item }}}}"}}}}}}
        - {{id: got, transform: {{expression: steps.call.output.output}}}}
"#
    );
    api.create_workflow("outer", &outer).await;
    let name = run(&api, "outer").await;
    for round in 1..=4 {
        wait::until("some calls", Duration::from_secs(30), || async {
            let calls = target.calls().len();
            (calls >= round * 2)
                .then_some(())
                .ok_or_else(|| format!("{calls} calls"))
        })
        .await;
        planes.data.kill();
        planes.data.start().await;
    }
    let parent = api.execution_in(&name, ExecutionState::Succeeded).await;
    let expected: Vec<_> = (0..ITEMS).map(|n| n * 10).collect();
    assert_eq!(
        parent.output_json,
        serde_json::to_string(&expected).unwrap()
    );

    // One child for each item, and one key for each child.
    assert_eq!(parent.children.len(), ITEMS);
    let mut keys: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for call in target.calls() {
        let of_path = keys.entry(call.target.clone()).or_default();
        of_path.insert(call.headers["idempotency-key"].clone());
    }
    assert_eq!(keys.len(), ITEMS);
    assert!(keys.values().all(|keys| keys.len() == 1), "{keys:?}");

    // They name each other.
    let steps: BTreeSet<_> = parent.children.iter().map(|c| c.step.clone()).collect();
    let expected: BTreeSet<_> = (0..ITEMS).map(|n| format!("call[{n}]")).collect();
    assert_eq!(steps, expected);
    let child = api.execution(&parent.children[0].name).await.unwrap();
    assert_eq!(child.parent, name);
    assert_eq!(child.parent_step, parent.children[0].step);
    assert_eq!(child.trigger(), TriggerKind::Workflow);
    assert_eq!(child.workflow, "projects/default/workflows/inner");
    let id = name.rsplit('/').next().unwrap();
    let listed = api.all_executions(&format!("parent == \"{id}\"")).await;
    assert_eq!(listed.unwrap().len(), ITEMS);
    assert_eq!(api.all_executions("").await.unwrap().len(), ITEMS + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_parent_takes_those_with_it_that_it_waits_for() {
    let (mut planes, api) = Planes::start(Options::default()).await;
    let last = "
trigger: {manual: {}}
steps: [{id: go, wait: {signal: {name: go}}}]
";
    api.create_workflow("last", last).await;
    let middle = "
trigger: {manual: {}}
timeout: 86400s
steps: [{id: call, runWorkflow: {workflow: last}}]
";
    api.create_workflow("middle", middle).await;
    let first = "
trigger: {manual: {}}
timeout: 86400s
steps:
  - {id: leave, runWorkflow: {workflow: last, wait: false}}
  - {id: call, runWorkflow: {workflow: middle}}
";
    api.create_workflow("first", first).await;
    let name = run(&api, "first").await;
    let parent = children_in(&api, &name, 2, ExecutionState::Waiting).await;
    assert_eq!(parent.state(), ExecutionState::Waiting);
    let of_step = |step: &str| {
        let child = parent.children.iter().find(|child| child.step == step);
        child.unwrap().name.clone()
    };
    let (left, middle) = (of_step("leave"), of_step("call"));
    let middle_before = children_in(&api, &middle, 1, ExecutionState::Waiting).await;
    let last = middle_before.children[0].name.clone();

    // The people's view names both ways.
    let get = |name: &str| {
        let output = Command::new(binary("signalbox"))
            .env("SIGNALBOX_ENDPOINT", &planes.control.endpoint)
            .env("SIGNALBOX_TOKEN", planes.control.token("viewer"))
            .args(["executions", "get", name.rsplit('/').next().unwrap()])
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let shown = get(&middle);
    assert!(
        shown.contains(&format!("parent     {name}, step call\n")),
        "{shown}"
    );
    let expected = format!("child      {last} of step call: last, WAITING\n");
    assert!(shown.contains(&expected), "{shown}");

    // The node is killed as soon as it can have heard of it.
    let cancel = CancelExecutionRequest {
        name: name.clone(),
        force: false,
    };
    api.executions().cancel_execution(cancel).await.unwrap();
    planes.data.kill();
    planes.data.start().await;
    for name in [&name, &middle, &last] {
        let ended = api.execution_in(name, ExecutionState::Cancelled).await;
        assert_eq!(ended.error.unwrap().code, "CANCELLED");
    }
    let left = api.execution(&left).await.unwrap();
    assert_eq!(left.state(), ExecutionState::Waiting);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_keeps_what_children_gave() {
    // The second is refused once.
    let target = Target::start(|number, call| match (number, call.target.as_str()) {
        (0..=1, "/two") => 404,
        _ => 200,
    })
    .await;
    let (_planes, api) = Planes::start(Options::default()).await;
    let inner = format!(
        r#"
trigger: {{manual: {{}}}}
steps: [{{id: call, http: {{url: "http://{}/${{{{ event.json }}}}", method: POST}}}}]
"#,
        target.addr
    );
    api.create_workflow("inner", &inner).await;
    let outer = "
trigger: {manual: {}}
steps:
  - {id: one, runWorkflow: {workflow: inner, input: one}}
  - {id: two, runWorkflow: {workflow: inner, input: two}}
  - {id: both, transform: {expression: '[steps.one.output.output.status, steps.two.output.state]'}}
";
    api.create_workflow("outer", outer).await;
    let name = run(&api, "outer").await;
    let failed = api.execution_in(&name, ExecutionState::Failed).await;
    let error = failed.error.unwrap();
    assert_eq!(error.code, "CHILD_FAILED");
    assert!(
        error.message.contains(&failed.children[1].name),
        "{error:?}"
    );
    let request = RetryExecutionRequest {
        name: name.clone(),
        mode: RetryMode::FromFailed.into(),
        version: None,
        request_id: uuid::Uuid::new_v4().to_string(),
    };
    let retry = api.executions().retry_execution(request).await.unwrap();
    let retry = retry.into_inner().name;
    let done = api.execution_in(&retry, ExecutionState::Succeeded).await;
    assert_eq!(done.output_json, r#"[200,"SUCCEEDED"]"#);
    let kept: Vec<_> = done.steps.iter().map(|step| step.kept).collect();
    assert_eq!(kept, [true, false, false]);
    assert_eq!(done.children.len(), 1);
    assert_ne!(done.children[0].name, failed.children[1].name);
    let paths: Vec<_> = target.calls().into_iter().map(|call| call.target).collect();
    assert_eq!(paths, ["/one", "/two", "/two"]);
}
