//! Signals and approvals from outside: the API, the command line, a node that is killed between a signal and the end, and
//! one that is away when the signal is sent.

use std::{process::Command, time::Duration};

use signalbox_proto::v1::{
    self, ExecutionState, NamedSignal, RunWorkflowRequest, SignalExecutionRequest,
    signal_execution_request::Kind,
};
use signalbox_tests::{
    api::Api,
    planes::{Options, Planes},
    process::binary,
    target::Target,
    wait,
};
use tonic::{Code, Status};

async fn run(api: &Api, workflow: &str) -> String {
    let request = RunWorkflowRequest {
        name: format!("projects/default/workflows/{workflow}"),
        ..RunWorkflowRequest::default()
    };
    let run = api.workflows().run_workflow(request).await;
    run.unwrap().into_inner().name
}

fn go(name: &str, payload: &str) -> SignalExecutionRequest {
    SignalExecutionRequest {
        name: name.to_owned(),
        kind: Some(Kind::Signal(NamedSignal {
            name: "go".into(),
            payload_json: payload.into(),
        })),
        request_id: uuid::Uuid::new_v4().to_string(),
    }
}

async fn tell(api: &Api, request: &SignalExecutionRequest) -> Result<v1::Signal, Status> {
    let told = api.executions().signal_execution(request.clone()).await;
    told.map(tonic::Response::into_inner)
}

/// Until a step has begun to wait.
async fn awaits(api: &Api, name: &str, step: &str) -> v1::Execution {
    wait::until("the step to wait", Duration::from_secs(20), || async {
        let execution = api.execution(name).await.map_err(|s| s.to_string())?;
        let is_it = |awaited: &v1::Awaited| awaited.step_id == step;
        if execution.awaited.iter().any(is_it) {
            Ok(execution)
        } else {
            Err(format!("{execution:?}"))
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn no_kill_loses_a_signal_or_takes_one_twice() {
    let target = Target::start(|_, _| 200).await;
    let (mut planes, api) = Planes::start(Options::default()).await;
    let spec = format!(
        r#"
trigger:
  manual: {{}}
steps:
  - {{id: first, wait: {{signal: {{name: go}}}}}}
  - {{id: call, http: {{url: "http://{}/", text: "${{{{ steps.first.output.payload }}}}"}}}}
  - {{id: second, wait: {{signal: {{name: go, timeout: 86400s}}}}}}
  - {{id: third, wait: {{signal: {{name: go}}}}}}
  - {{id: all, transform: {{expression: "[steps.first, steps.second, steps.third].map(s, s.output.payload)"}}}}
"#,
        target.addr
    );
    api.create_workflow("gate", &spec).await;
    let name = run(&api, "gate").await;
    let waiting = awaits(&api, &name, "first").await;
    assert_eq!(waiting.state(), ExecutionState::Waiting);
    assert_eq!(waiting.awaited[0].signal, "go");

    // Killed as soon as it can have the first; the same request again, as after a lost answer.
    let first = go(&name, "1");
    let told = tell(&api, &first).await.unwrap();
    planes.data.kill();
    assert_eq!(tell(&api, &first).await.unwrap(), told);
    // While the node is away.
    tell(&api, &go(&name, "{\"n\": 2}")).await.unwrap();
    planes.data.start().await;
    let waiting = awaits(&api, &name, "third").await;
    let listed = api.all_executions("state == \"WAITING\"").await.unwrap();
    assert_eq!(listed[0].awaited, waiting.awaited);
    assert!(
        waiting
            .signals
            .iter()
            .all(|signal| signal.take_time.is_some())
    );

    // Killed after it reported that it has it, maybe before it went on; and the control plane is another process then.
    let third = go(&name, "3");
    tell(&api, &third).await.unwrap();
    planes.data.kill();
    planes.control.kill();
    planes.control.start().await;
    planes.data.start().await;
    let ended = api.execution_in(&name, ExecutionState::Succeeded).await;
    assert_eq!(ended.output_json, "[1,{\"n\":2},3]");
    assert_eq!(ended.signals.len(), 3);
    assert!(ended.awaited.is_empty());
    let keys: std::collections::BTreeSet<_> = target
        .calls()
        .iter()
        .map(|call| call.headers["idempotency-key"].clone())
        .collect();
    assert_eq!(keys.len(), 1);

    let again = tell(&api, &third).await.unwrap();
    assert_eq!(again.signal_id, ended.signals[2].signal_id);
    let late = tell(&api, &go(&name, "4")).await.unwrap_err();
    assert_eq!(late.code(), Code::FailedPrecondition);
}

#[tokio::test(flavor = "multi_thread")]
async fn signals_are_for_operators_and_well_formed() {
    let (planes, api) = Planes::start(Options::default()).await;
    let spec = "
trigger: {manual: {}}
steps: [{id: ask, approval: {message: sure?}}, {id: go, wait: {signal: {name: go}}}]
";
    api.create_workflow("ask", spec).await;
    let name = run(&api, "ask").await;
    awaits(&api, &name, "ask").await;
    let viewer = tell(&planes.api("viewer"), &go(&name, "1")).await;
    assert_eq!(viewer.unwrap_err().code(), Code::PermissionDenied);
    let refused = |request: SignalExecutionRequest| {
        let api = api.clone();
        async move { tell(&api, &request).await.unwrap_err() }
    };
    let mut nobody = go("projects/default/executions/none", "1");
    assert_eq!(refused(nobody.clone()).await.code(), Code::NotFound);
    nobody.name = name.clone();
    nobody.kind = None;
    assert_eq!(refused(nobody).await.code(), Code::InvalidArgument);
    for payload in ["{", &"1".repeat(70_000)] {
        let status = refused(go(&name, payload)).await;
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
        assert!(
            status.message().contains("signal.payload_json"),
            "{status:?}"
        );
    }
    let decide = |step: &str, verdict: v1::ApprovalVerdict| SignalExecutionRequest {
        name: name.clone(),
        kind: Some(Kind::Decision(v1::ApprovalDecision {
            step: step.into(),
            verdict: verdict.into(),
            comment: String::new(),
        })),
        request_id: String::new(),
    };
    use v1::ApprovalVerdict::{Approved, Unspecified};
    assert_eq!(
        refused(decide("go", Approved)).await.code(),
        Code::FailedPrecondition
    );
    assert_eq!(
        refused(decide("ask[", Approved)).await.code(),
        Code::InvalidArgument
    );
    assert_eq!(
        refused(decide("", Unspecified)).await.code(),
        Code::InvalidArgument
    );
    let by_operator = tell(&planes.api("operator"), &decide("", Approved)).await;
    assert_eq!(by_operator.unwrap().by, "operator");
    let twice = refused(decide("ask", Approved)).await;
    assert_eq!(twice.code(), Code::FailedPrecondition);
    assert!(twice.message().contains("APPROVED"), "{twice:?}");
    awaits(&api, &name, "go").await;
}

struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

fn signalbox(planes: &Planes, arguments: &[&str]) -> Ran {
    let output = Command::new(binary("signalbox"))
        .env("SIGNALBOX_ENDPOINT", &planes.control.endpoint)
        .env("SIGNALBOX_TOKEN", planes.control.token("operator"))
        .args(arguments)
        .output()
        .unwrap();
    Ran {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn approvals_are_decided_at_the_command_line() {
    let (planes, api) = Planes::start(Options::default()).await;
    let spec = r#"
trigger: {manual: {}}
steps:
  - id: ask
    approval: {message: "Ship it, ${{ execution.version }}?", approvers: [the desk], timeout: 3600s, rejectedIsOutput: true}
  - id: sure
    approval: {message: Sure?}
  - {id: said, transform: {expression: "[steps.ask.output.decision, steps.ask.output.comment, steps.sure.output.by]"}}
"#;
    api.create_workflow("ship", spec).await;
    let name = run(&api, "ship").await;
    let id = name.rsplit('/').next().unwrap();
    let waiting = awaits(&api, &name, "ask").await;
    let [awaited] = &waiting.awaited[..] else {
        panic!("{waiting:?}")
    };
    assert_eq!(awaited.message, "Ship it, 1?");
    assert_eq!(awaited.approvers, ["the desk"]);
    assert!(awaited.deadline.is_some() && awaited.signal.is_empty());
    let shown = signalbox(&planes, &["executions", "get", id]).stdout;
    assert!(
        shown.contains("approval of step ask") && shown.contains("Ship it, 1?"),
        "{shown}"
    );

    let wrong = signalbox(&planes, &["executions", "approve", id, "--step", "sure"]);
    assert_ne!(wrong.code, 0);
    assert!(
        wrong.stderr.contains("no step \"sure\" has begun"),
        "{}",
        wrong.stderr
    );
    let wrong = signalbox(
        &planes,
        &[
            "executions",
            "signal",
            id,
            "--signal",
            "go",
            "--payload",
            "{",
        ],
    );
    assert_ne!(wrong.code, 0);
    assert!(wrong.stderr.contains("is no JSON"), "{}", wrong.stderr);
    let arguments = ["executions", "reject", id, "--comment", "not on a Friday"];
    let told = signalbox(&planes, &arguments);
    assert_eq!((told.code, told.stderr.as_str()), (0, ""));
    assert!(
        told.stdout.contains("step ask is REJECTED"),
        "{}",
        told.stdout
    );
    awaits(&api, &name, "sure").await;
    let late = signalbox(&planes, &["executions", "approve", id, "--step", "ask"]);
    assert!(late.stderr.contains("REJECTED"), "{}", late.stderr);
    let told = signalbox(&planes, &["executions", "approve", id]);
    assert_eq!(told.code, 0, "{}", told.stderr);
    let ended = api.execution_in(&name, ExecutionState::Succeeded).await;
    let output: serde_json::Value = serde_json::from_str(&ended.output_json).unwrap();
    assert_eq!(output[0], "REJECTED");
    assert_eq!(output[1], "not on a Friday");
    let v1::Signal { by, take_time, .. } = &ended.signals[1];
    assert_eq!(output[2], by.as_str());
    assert!(take_time.is_some());

    let name = run(&api, "ship").await;
    let id = name.rsplit('/').next().unwrap();
    awaits(&api, &name, "ask").await;
    assert_eq!(signalbox(&planes, &["executions", "approve", id]).code, 0);
    awaits(&api, &name, "sure").await;
    assert_eq!(signalbox(&planes, &["executions", "reject", id]).code, 0);
    let ended = api.execution_in(&name, ExecutionState::Failed).await;
    assert_eq!(ended.error.unwrap().code, "REJECTED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callback_that_sends_a_secret_back_is_recorded_without_it() {
    let target = Target::echoing().await;
    let (mut planes, api) = Planes::start(Options::default()).await;
    let create = v1::CreateSecretRequest {
        parent: "projects/default".into(),
        secret_id: "token".into(),
        secret: Some(v1::Secret {
            value: b"s3cret+callback".to_vec().into(),
            ..v1::Secret::default()
        }),
    };
    api.secrets().create_secret(create).await.unwrap();
    let spec = format!(
        r#"
trigger: {{manual: {{}}}}
steps:
  - {{id: call, http: {{url: "http://{}/", headers: {{X-Token: "${{{{ secrets.token }}}}"}}}}}}
  - {{id: wait, wait: {{signal: {{name: go}}}}}}
  - {{id: all, transform: {{expression: steps.wait.output.payload}}}}
"#,
        target.addr
    );
    api.create_workflow("callback", &spec).await;
    let name = run(&api, "callback").await;
    awaits(&api, &name, "wait").await;
    let payload = r#"{"sent":"s3cret\u002Bcallback"}"#;
    let told = tell(&api, &go(&name, payload)).await.unwrap();
    let ended = api.execution_in(&name, ExecutionState::Succeeded).await;
    assert_eq!(ended.output_json, r#"{"sent":"***"}"#);
    assert_eq!(ended.signals[0].signal_id, told.signal_id);
    let shown = format!("{told:?} {ended:?}");
    assert!(!shown.contains("s3cret"), "{shown}");
    planes.data.kill();
    planes.control.kill();
    for text in ["s3cret+callback", "002Bcallback"] {
        let mut grep = Command::new("grep");
        grep.args([
            "--recursive",
            "--files-with-matches",
            "--text",
            "--fixed-strings",
            "-e",
            text,
        ]);
        let found = grep.arg(planes.dir()).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&found.stdout), "", "{text}");
    }
}
