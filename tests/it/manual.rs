//! RunWorkflow: an execution without a message, once for each request id.

use signalbox_proto::v1::{ExecutionState, RunWorkflowRequest, TriggerKind};
use signalbox_tests::{
    planes::{Options, Planes},
    target::Target,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_manual_run_retries_its_step_and_is_one_execution() {
    let target = Target::start(|number, _| if number == 0 { 503 } else { 200 }).await;
    let (_planes, api) = Planes::start(Options::default()).await;
    let spec = format!(
        r#"
trigger:
  manual: {{}}
steps:
  - id: call
    retry: {{maxAttempts: 3, initialBackoff: 0.1s}}
    http:
      url: http://{}/pay/${{{{ event.json.order }}}}
      json:
        order: ${{{{ event.json.order }}}}
  - id: done
    succeed:
      output: ${{{{ steps.call.output.json }}}}
"#,
        target.addr
    );
    api.create_workflow("pay", &spec).await;
    let request = RunWorkflowRequest {
        name: "projects/default/workflows/pay".into(),
        input: Some(signalbox_proto::convert::definition::from_json(
            &serde_json::json!({"order": 7}),
        )),
        request_id: uuid::Uuid::new_v4().to_string(),
    };
    let first = api
        .workflows()
        .run_workflow(request.clone())
        .await
        .unwrap()
        .into_inner();
    let again = api
        .workflows()
        .run_workflow(request)
        .await
        .unwrap()
        .into_inner();
    assert_eq!(first.name, again.name);

    let done = api
        .execution_in(&first.name, ExecutionState::Succeeded)
        .await;
    assert_eq!(done.trigger(), TriggerKind::Manual);
    assert_eq!(done.output_json, r#"{"ok":true}"#);
    let call = &done.steps[0];
    assert_eq!(call.attempts.len(), 2);
    assert_eq!(call.attempts[0].error.as_ref().unwrap().code, "HTTP_STATUS");
    assert!(call.attempts[0].retry_time.is_some());
    assert!(call.attempts[1].error.is_none());

    let calls = target.calls();
    assert_eq!(calls.len(), 2);
    assert!(calls.iter().all(|call| call.target == "/pay/7"));
    let key = &calls[0].headers["idempotency-key"];
    assert!(!key.is_empty());
    assert_eq!(key, &calls[1].headers["idempotency-key"]);
    assert_eq!(api.all_executions("").await.unwrap().len(), 1);
}
