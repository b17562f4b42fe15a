//! Secrets from outside: created by the API, sent by a step, echoed by the server that was called, and found nowhere else: in
//! no file, log, trace, metric, record or answer of either plane. A node that starts without its control plane has them; the
//! master key is rotated below them.

use std::{process::Command, time::Duration};

use signalbox_proto::v1::{
    self, CreateSecretRequest, DeleteSecretRequest, Execution, ExecutionState, RunWorkflowRequest,
    Secret, UpdateSecretRequest, ValidateWorkflowRequest,
};
use signalbox_tests::{
    api::Api,
    otlp::Receiver,
    planes::{Options, Planes},
    process::binary,
    target::Target,
    wait,
};
use tonic::Code;

const LIMIT: Duration = Duration::from_secs(20);

async fn create(api: &Api, id: &str, value: &str) {
    let request = CreateSecretRequest {
        parent: "projects/default".into(),
        secret_id: id.into(),
        secret: Some(Secret {
            value: value.as_bytes().to_vec().into(),
            ..Secret::default()
        }),
    };
    let made = api.secrets().create_secret(request).await.unwrap();
    assert!(made.into_inner().value.is_empty());
}

async fn update(api: &Api, id: &str, value: &str) {
    let request = UpdateSecretRequest {
        secret: Some(Secret {
            name: format!("projects/default/secrets/{id}"),
            value: value.as_bytes().to_vec().into(),
            ..Secret::default()
        }),
    };
    api.secrets().update_secret(request).await.unwrap();
}

async fn run(api: &Api) -> Execution {
    let request = RunWorkflowRequest {
        name: "projects/default/workflows/login".into(),
        ..RunWorkflowRequest::default()
    };
    let run = api.workflows().run_workflow(request).await;
    let name = run.unwrap().into_inner().name;
    api.execution_in(&name, ExecutionState::Succeeded).await
}

/// The files of the planes, their logs included, that hold one of `texts`.
pub(crate) fn on_disk(planes: &Planes, texts: &[&str]) -> String {
    // The intake log alone has 128 MiB: what searches it must be fast, and this is not in a test's own code.
    let mut grep = Command::new("grep");
    grep.args([
        "--recursive",
        "--files-with-matches",
        "--text",
        "--fixed-strings",
    ]);
    for text in texts {
        grep.args(["-e", text]);
    }
    let found = grep.arg(planes.dir()).output().unwrap();
    assert!(matches!(found.status.code(), Some(0 | 1)), "{found:?}");
    String::from_utf8(found.stdout).unwrap()
}

fn spec(target: &Target) -> String {
    format!(
        r#"
trigger:
  manual: {{}}
steps:
  - id: call
    http:
      url: http://{addr}/hooks/${{{{ secrets["hook-path"] }}}}
      headers:
        X-Token: ${{{{ secrets.token }}}}
        X-Basic: Basic ${{{{ base64.encode(bytes("user:" + secrets.token)) }}}}
      json: {{half: "${{{{ secrets.token.substring(0, 9) }}}}", plain: shown}}
  - id: done
    succeed:
      output:
        said: ${{{{ steps.call.output.json }}}}
"#,
        addr = target.addr
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_sent_and_found_nowhere_else() {
    let (token, path) = ("first-s3cret-t0ken", "T0123/B4567/s3cretpath");
    let receiver = Receiver::start().await;
    let target = Target::echoing().await;
    let more = vec![
        "--otlp-endpoint".to_owned(),
        format!("http://{}", receiver.addr),
        "--log".to_owned(),
        "debug".to_owned(),
    ];
    let (mut planes, api) = Planes::start(Options {
        control_plane: more.clone(),
        data_plane: more,
        ..Options::default()
    })
    .await;
    create(&api, "token", token).await;
    create(&api, "hook-path", path).await;
    api.create_workflow("login", &spec(&target)).await;
    let execution = run(&api).await;

    // The server was sent them, and sent them back.
    let call = &target.calls()[0];
    assert_eq!(call.target, format!("/hooks/{path}"));
    assert_eq!(call.headers["x-token"], token);
    let coded = "dXNlcjpmaXJzdC1zM2NyZXQtdDBrZW4=";
    assert_eq!(call.headers["x-basic"], format!("Basic {coded}"));
    let body = String::from_utf8_lossy(&call.body).into_owned();
    assert!(body.contains("\"half\":\"first-s3c\""), "{body}");

    let shown = format!("{execution:?}");
    assert!(
        shown.contains("/hooks/***") && shown.contains("shown"),
        "{shown}"
    );
    let output: serde_json::Value = serde_json::from_str(&execution.output_json).unwrap();
    let said = &output["said"];
    assert_eq!(said["target"], "/hooks/***");
    assert_eq!(said["headers"]["x-token"], "***");
    assert!(
        said["headers"]["x-basic"].as_str().unwrap().contains("***"),
        "{said}"
    );

    let spans = wait::until("the attempt's span", LIMIT, || {
        let dump = receiver.dump();
        async move {
            if dump.contains("/hooks/***") {
                Ok(dump)
            } else {
                Err("not yet".to_owned())
            }
        }
    })
    .await;
    let metrics = planes.data.metrics().await;
    for hidden in [token, path, coded, "s3cret-t0ken", "s3cretpath"] {
        for (what, text) in [
            ("the execution", &shown),
            ("a span", &spans),
            ("a metric", &metrics),
        ] {
            assert!(!text.contains(hidden), "{hidden} in {what}: {text}");
        }
    }
    // Also not when all that is in memory is on the disk.
    planes.data.kill();
    planes.control.kill();
    let texts = [token, path, coded];
    assert_eq!(on_disk(&planes, &texts), "");
    assert_ne!(on_disk(&planes, &["/hooks/***"]), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_value_reaches_the_node_and_a_cold_start_keeps_it() {
    let target = Target::echoing().await;
    let (mut planes, api) = Planes::start(Options::default()).await;
    create(&api, "token", "first-token-value").await;
    create(&api, "hook-path", "some-path-part").await;
    let spec = spec(&target);
    api.create_workflow("login", &spec).await;
    run(&api).await;
    update(&api, "token", "second-token-value").await;
    api.synced(LIMIT).await;
    run(&api).await;
    let sent = |n: usize| target.calls()[n].headers["x-token"].clone();
    assert_eq!(
        [sent(0), sent(1)],
        ["first-token-value", "second-token-value"]
    );

    // A command is taken, then the control plane goes, and the node with it: it goes on alone.
    let key = api.create_key("sender").await;
    let hooked = spec.replace("manual: {}", "webhook: {apiKeys: [sender]}");
    api.create_workflow("hooked", &hooked).await;
    api.synced(LIMIT).await;
    planes.control.kill();
    planes.data.kill();
    planes.data.start().await;
    let answer = reqwest::Client::new()
        .post(planes.endpoint("hooked", "webhook", &key))
        .json(&serde_json::json!({}))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    wait::until("the call", LIMIT, || {
        let calls = target.calls().len();
        async move {
            if calls == 3 {
                Ok(())
            } else {
                Err(format!("{calls} calls"))
            }
        }
    })
    .await;
    assert_eq!(sent(2), "second-token-value");
    assert_eq!(on_disk(&planes, &["second-token-value"]), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_that_do_not_exist_are_refused_and_those_in_use_are_kept() {
    let target = Target::echoing().await;
    let (_planes, api) = Planes::start(Options::default()).await;
    create(&api, "token", "first-token-value").await;
    let text = spec(&target);
    let spec: v1::WorkflowSpec = signalbox_proto::convert::json::from_yaml_str(&text).unwrap();
    let validate = |spec: &v1::WorkflowSpec| {
        let (mut workflows, spec) = (api.workflows(), Some(spec.clone()));
        async move {
            let parent = "projects/default".to_owned();
            let request = ValidateWorkflowRequest {
                parent,
                spec,
                ..Default::default()
            };
            let answer = workflows.validate_workflow(request).await.unwrap();
            answer.into_inner().violations
        }
    };
    let found = validate(&spec).await;
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].field, "steps[0].http.url");
    assert!(
        found[0]
            .description
            .contains("secrets/hook-path does not exist")
    );
    // What is wrong otherwise hides none of them, nor is it hidden.
    let mut wrong = spec.clone();
    if let Some(v1::step::Action::Http(http)) = &mut wrong.steps[0].action {
        http.method = "FETCH".to_owned();
    }
    let found = validate(&wrong).await;
    let fields: Vec<_> = found.iter().map(|found| found.field.as_str()).collect();
    assert_eq!(
        fields,
        ["steps[0].http.method", "steps[0].http.url"],
        "{found:?}"
    );
    let request = v1::CreateWorkflowRequest {
        parent: "projects/default".to_owned(),
        workflow_id: "login".to_owned(),
        workflow: Some(v1::Workflow {
            spec: Some(wrong),
            ..Default::default()
        }),
        ..Default::default()
    };
    let refused = api.workflows().create_workflow(request).await.unwrap_err();
    let refused = signalbox_proto::convert::status::ApiError::from(refused).violations;
    let fields: Vec<_> = refused.iter().map(|found| found.field.as_str()).collect();
    let expected = ["method", "url"].map(|name| format!("workflow.spec.steps[0].http.{name}"));
    assert_eq!(fields, expected, "{refused:?}");
    create(&api, "hook-path", "some-path-part").await;
    assert!(validate(&spec).await.is_empty());
    api.create_workflow("login", &text).await;
    let request = DeleteSecretRequest {
        name: "projects/default/secrets/token".into(),
        etag: String::new(),
    };
    let refused = api.secrets().delete_secret(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(
        refused
            .message()
            .contains("projects/default/workflows/login"),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_master_key_is_rotated_below_keys_and_secrets() {
    let target = Target::echoing().await;
    let (mut planes, api) = Planes::start(Options {
        // What is rotated is the database in the folder.
        sqlite: true,
        ..Options::default()
    })
    .await;
    create(&api, "token", "first-token-value").await;
    create(&api, "hook-path", "some-path-part").await;
    let value = api.create_key("sender").await;
    api.create_workflow("login", &spec(&target)).await;
    let master_key = planes.control.data_dir.join("master.key");
    let before = std::fs::read(&master_key).unwrap();
    let rotate = |planes: &Planes| {
        Command::new(binary("signalbox-control-plane"))
            .arg("rotate-master-key")
            .arg("--data-dir")
            .arg(&planes.control.data_dir)
            .output()
            .unwrap()
    };
    let in_use = rotate(&planes);
    assert_eq!(in_use.status.code(), Some(64));
    let why = String::from_utf8_lossy(&in_use.stderr).into_owned();
    assert!(why.contains("is in use by process"), "{why}");

    planes.control.kill();
    let rotated = rotate(&planes);
    assert!(rotated.status.success(), "{rotated:?}");
    let said = String::from_utf8_lossy(&rotated.stdout).into_owned();
    assert!(said.contains("1 API keys and 2 secrets"), "{said}");
    assert_ne!(std::fs::read(&master_key).unwrap(), before);
    planes.control.start().await;
    let request = v1::RevealApiKeyRequest {
        name: "projects/default/apiKeys/sender".into(),
    };
    let revealed = api.keys().reveal_api_key(request).await.unwrap();
    assert_eq!(revealed.into_inner().value, value);
    // A node that has nothing yet is sent what was sealed anew.
    planes.data.kill();
    let mut other = planes.another_node();
    other.start().await;
    run(&api).await;
    assert_eq!(target.calls()[0].headers["x-token"], "first-token-value");

    // The old key opens nothing any more, and says so at the start.
    planes.control.kill();
    std::fs::write(&master_key, before).unwrap();
    let refused = Command::new(binary("signalbox-control-plane"))
        .args([
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
            "--data-dir",
        ])
        .arg(&planes.control.data_dir)
        .output()
        .unwrap();
    assert_eq!(refused.status.code(), Some(64));
    let why = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(why.contains("is not the one"), "{why}");
}
