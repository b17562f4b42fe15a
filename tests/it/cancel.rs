//! CancelExecution: an execution that waits ends at once, its finally steps run, and nothing else does.

use signalbox_proto::v1::{CancelExecutionRequest, ExecutionState, RunWorkflowRequest};
use signalbox_tests::{
    planes::{Options, Planes},
    target::Target,
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
                .cancel_execution(CancelExecutionRequest { name })
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
