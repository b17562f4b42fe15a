//! CancelExecution: an execution that waits ends at once, its finally steps run, and nothing else does. What no node knows any more
//! ends without one.

use std::time::Duration;

use signalbox_proto::v1::{
    CancelExecutionRequest, ExecutionState, RetryExecutionRequest, RetryMode, RunWorkflowRequest,
    StepState,
};
use signalbox_tests::{
    cli::Cli,
    planes::{Options, Planes},
    target::Target,
    wait,
};
use tonic::Code;

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_execution_is_cancelled_and_says_so_on_its_way_out() {
    let target = Target::start(|_, _| 200).await;
    let (_planes, api) = Planes::start(Options::default()).await;
    let spec = format!(
        r#"
trigger:
  manual: {{}}
steps:
  - {{id: pause, wait: {{duration: 3600s}}}}
  - {{id: never, http: {{url: "http://{addr}/never"}}}}
finally:
  steps:
    - {{id: report, http: {{url: "http://{addr}/report", json: {{state: "${{{{ execution.state }}}}"}}}}}}
"#,
        addr = target.addr
    );
    api.create_workflow("slow", &spec).await;
    let request = RunWorkflowRequest {
        name: "projects/default/workflows/slow".into(),
        ..RunWorkflowRequest::default()
    };
    let run = api.workflows().run_workflow(request).await;
    let name = run.unwrap().into_inner().name;
    api.execution_in(&name, ExecutionState::Waiting).await;

    let cancel = || {
        let (mut executions, name) = (api.executions(), name.clone());
        async move {
            executions
                .cancel_execution(CancelExecutionRequest { name, force: false })
                .await
        }
    };
    let asked = cancel().await.unwrap().into_inner();
    assert!(asked.cancel_time.is_some());
    let ended = api.execution_in(&name, ExecutionState::Cancelled).await;
    assert_eq!(ended.error.as_ref().unwrap().code, "CANCELLED");
    let steps: Vec<_> = ended
        .steps
        .iter()
        .map(|step| step.step_id.as_str())
        .collect();
    assert_eq!(steps, ["pause", "report"]);

    let calls = target.calls();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].target, "/report");
    assert!(String::from_utf8_lossy(&calls[0].body).contains("CANCELLED"));
    let late = cancel().await.unwrap_err();
    assert_eq!(late.code(), Code::FailedPrecondition);
}

/// Waits for an hour.
const WAITS: &str = "
trigger: {manual: {}}
steps: [{id: pause, wait: {duration: 3600s}}]
";

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lost_store_or_a_lost_node_had_is_ended_and_can_be_run_again() {
    let (mut planes, api) = Planes::start(Options::default()).await;
    api.create_workflow("slow", WAITS).await;
    let run = async || {
        let request = RunWorkflowRequest {
            name: "projects/default/workflows/slow".into(),
            ..RunWorkflowRequest::default()
        };
        let run = api.workflows().run_workflow(request).await;
        let name = run.unwrap().into_inner().name;
        api.execution_in(&name, ExecutionState::Waiting).await;
        name
    };
    let cancel = async |name: &str, force| {
        let name = name.to_owned();
        let request = CancelExecutionRequest { name, force };
        api.executions().cancel_execution(request).await
    };
    let (first, second) = (run().await, run().await);
    let connected = cancel(&first, true).await.unwrap_err();
    assert_eq!(connected.code(), Code::FailedPrecondition);
    assert!(connected.message().contains("is connected"), "{connected}");

    // The same node, without its store.
    planes.data.kill();
    for entry in std::fs::read_dir(&planes.data.data_dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if name == "intake" {
            std::fs::remove_dir_all(&path).unwrap();
        } else if name.starts_with("spool.sqlite") {
            std::fs::remove_file(&path).unwrap();
        }
    }
    let asked = cancel(&first, false).await.unwrap().into_inner();
    assert_eq!(asked.state(), ExecutionState::Waiting);
    planes.data.start().await;
    let ended = api.execution_in(&first, ExecutionState::Cancelled).await;
    assert_eq!(ended.error.unwrap().code, "NODE_LOST");
    assert_eq!(ended.steps[0].state(), StepState::Cancelled);

    // A node that never comes back, and another.
    planes.data.kill();
    std::fs::remove_dir_all(&planes.data.data_dir).unwrap();
    planes.data.start().await;
    let asked = cancel(&second, false).await.unwrap().into_inner();
    assert_eq!(asked.state(), ExecutionState::Waiting);
    let cli = Cli::new(&planes.control, "operator");
    let forced = ["executions", "cancel", &second, "--force"];
    wait::until("the end by force", Duration::from_secs(20), || async {
        match cli.run(&forced).await {
            // Nobody has noticed yet that the node is gone.
            ended if ended.stderr.contains("is connected") => Err(ended.stderr),
            ended => {
                assert_eq!(ended.code, Some(0), "{ended:?}");
                Ok(())
            }
        }
    })
    .await;
    let ended = api.execution_in(&second, ExecutionState::Cancelled).await;
    assert_eq!(ended.error.unwrap().code, "NODE_LOST");
    let request = RetryExecutionRequest {
        name: second,
        mode: RetryMode::Whole.into(),
        ..RetryExecutionRequest::default()
    };
    let again = api.executions().retry_execution(request).await.unwrap();
    let again = again.into_inner().name;
    api.execution_in(&again, ExecutionState::Waiting).await;
}
