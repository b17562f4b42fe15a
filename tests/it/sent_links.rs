//! Links to an approval that a step of the same execution sends: they decide, whatever is killed and whoever is away meanwhile, and
//! are found nowhere but where they were sent.

use std::time::Duration;

use reqwest::{Client, Method, StatusCode};
use serde_json::Value;
use signalbox_proto::v1::{
    Execution, ExecutionState, NamedSignal, RunWorkflowRequest, SignalExecutionRequest,
    signal_execution_request::Kind,
};
use signalbox_tests::{
    api::Api,
    planes::{Options, Planes},
    process::free_port,
    target::Target,
    wait,
};

use crate::secrets::on_disk;

const LIMIT: Duration = Duration::from_secs(20);

/// What it sends is sent back.
fn spec(trigger: &str, target: &Target, between: &str) -> String {
    format!(
        r#"
trigger: {trigger}
steps:
  - id: tell
    http:
      url: http://{addr}/tell
      json: {{approve: "${{{{ approvals.ask.approveUrl }}}}", reject: "${{{{ approvals.ask.rejectUrl }}}}"}}
{between}
  - id: ask
    approval: {{message: Ship it?, rejectedIsOutput: true}}
  - id: said
    transform: {{expression: "[steps.ask.output.decision, steps.ask.output.by, steps.tell.output.json.body]"}}
"#,
        addr = target.addr
    )
}

/// The links of one message: to approve, to reject.
struct Sent {
    approve: String,
    reject: String,
}

impl Sent {
    /// Those of the request `number`, from 0, once it has come.
    async fn of(target: &Target, number: usize) -> Self {
        let body = wait::until("the message", LIMIT, || async {
            let calls = target.calls();
            let call = calls.get(number).ok_or(format!("{} calls", calls.len()))?;
            Ok(call.body.clone())
        });
        let body: Value = serde_json::from_slice(&body.await).unwrap();
        let url = |name: &str| body[name].as_str().unwrap().to_owned();
        Self {
            approve: url("approve"),
            reject: url("reject"),
        }
    }

    fn tokens(&self) -> [&str; 2] {
        [&self.approve, &self.reject].map(|url| url.rsplit('/').next().unwrap())
    }
}

async fn send(method: Method, url: &str) -> (StatusCode, String) {
    let client = Client::builder().build().unwrap();
    let answer = client.request(method, url).send().await.unwrap();
    (answer.status(), answer.text().await.unwrap())
}

async fn run(api: &Api) -> String {
    let request = RunWorkflowRequest {
        name: "projects/default/workflows/ask".into(),
        ..RunWorkflowRequest::default()
    };
    let run = api.workflows().run_workflow(request).await;
    run.unwrap().into_inner().name
}

async fn asks(api: &Api, name: &str) -> Execution {
    wait::until("the approval to wait", LIMIT, || async {
        let execution = api.execution(name).await.map_err(|s| s.to_string())?;
        match &execution.awaited[..] {
            [one] if one.step_id == "ask" => Ok(execution),
            _ => Err(format!("{execution:?}")),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn links_that_a_step_sends_decide_and_are_found_nowhere_else() {
    let target = Target::echoing().await;
    let port = free_port();
    let public = format!("http://127.0.0.1:{port}");
    let log = ["--log", "debug"].map(str::to_owned);
    let mut control_plane = vec!["--public-url".to_owned(), format!("{public}/")];
    control_plane.extend(log.clone());
    let (mut planes, api) = Planes::start(Options {
        control_plane,
        control_plane_port: Some(port),
        data_plane: log.into(),
        ..Options::default()
    })
    .await;
    let gate = "  - {id: gate, wait: {signal: {name: go}}}";
    api.create_workflow("ask", &spec("{manual: {}}", &target, gate))
        .await;
    let name = run(&api).await;
    api.execution_in(&name, ExecutionState::Waiting).await;
    let sent = Sent::of(&target, 0).await;
    for url in [&sent.approve, &sent.reject] {
        assert!(url.starts_with(&format!("{public}/approvals/")), "{url}");
    }
    // Whoever may look sees that links were sent, and none of them.
    let seen = planes.api("viewer").execution(&name).await.unwrap();
    let seen = format!("{seen:?}");
    assert!(seen.contains("/approvals/***"), "{seen}");

    // Sooner than the approval.
    for method in [Method::GET, Method::POST] {
        let (status, page) = send(method, &sent.approve).await;
        assert_eq!(status, StatusCode::CONFLICT);
        assert!(page.contains("come back in a moment"), "{page}");
    }
    let waiting = api.execution(&name).await.unwrap();
    assert_eq!(waiting.signals, [], "nothing was told");

    planes.data.kill();
    planes.data.start().await;
    let go = SignalExecutionRequest {
        name: name.clone(),
        kind: Some(Kind::Signal(NamedSignal {
            name: "go".into(),
            payload_json: "null".into(),
        })),
        request_id: String::new(),
    };
    api.executions().signal_execution(go).await.unwrap();
    asks(&api, &name).await;
    let (status, page) = send(Method::GET, &sent.approve).await;
    assert_eq!(status, StatusCode::OK);
    let shown = ["Ship it?", "<button>Approve</button>", "tell"];
    assert!(shown.iter().all(|part| page.contains(part)), "{page}");
    let mut forged = sent.approve.clone();
    forged.pop();
    let (status, _) = send(Method::POST, &forged).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    for _ in 0..2 {
        let (status, page) = send(Method::POST, &sent.approve).await;
        assert_eq!(status, StatusCode::OK);
        assert!(page.contains("Approved."), "{page}");
    }
    let (status, page) = send(Method::POST, &sent.reject).await;
    assert_eq!(status, StatusCode::CONFLICT);
    assert!(page.contains("There is nothing to decide"), "{page}");

    let ended = api.execution_in(&name, ExecutionState::Succeeded).await;
    let output: Value = serde_json::from_str(&ended.output_json).unwrap();
    assert_eq!(
        (&output[0], &output[1]),
        (&"APPROVED".into(), &"link:tell".into())
    );
    assert!(
        output[2].as_str().unwrap().contains("/approvals/***"),
        "{output}"
    );
    assert_eq!(ended.signals.len(), 2);
    assert_eq!(target.calls().len(), 1);
    let ended = format!("{ended:?}");
    let metrics = planes.data.metrics().await;
    for token in sent.tokens() {
        for (what, text) in [("seen", &seen), ("the end", &ended), ("metrics", &metrics)] {
            assert!(!text.contains(token), "{what}: {text}");
        }
    }
    // Also not when all that is in memory is on the disk.
    planes.data.kill();
    planes.control.kill();
    assert_eq!(on_disk(&planes, &sent.tokens()), "");
    assert_ne!(on_disk(&planes, &["/approvals/***"]), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_starts_alone_sends_links_that_count_when_the_control_plane_is_back() {
    let target = Target::echoing().await;
    let port = free_port();
    let (mut planes, api) = Planes::start(Options {
        control_plane: vec![
            "--public-url".to_owned(),
            format!("http://127.0.0.1:{port}"),
        ],
        control_plane_port: Some(port),
        ..Options::default()
    })
    .await;
    let key = api.create_key("sender").await;
    let trigger = "{webhook: {apiKeys: [sender]}}";
    api.create_workflow("ask", &spec(trigger, &target, ""))
        .await;
    api.synced(LIMIT).await;
    planes.control.kill();
    planes.data.kill();
    planes.data.start().await;
    let answer = Client::new()
        .post(planes.endpoint("ask", "webhook", &key))
        .json(&serde_json::json!({}))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let answer: Value = answer.json().await.unwrap();
    let name = answer["execution"].as_str().unwrap().to_owned();
    let sent = Sent::of(&target, 0).await;
    planes.control.start().await;
    // Until the node has told of it there is nothing to decide.
    wait::until("the page", LIMIT, || async {
        match send(Method::GET, &sent.reject).await {
            (StatusCode::OK, _) => Ok(()),
            (StatusCode::CONFLICT, page) if page.contains("come back in a moment") => Err(page),
            other => panic!("{other:?}"),
        }
    })
    .await;
    let (status, _) = send(Method::POST, &sent.reject).await;
    assert_eq!(status, StatusCode::OK);
    let ended = api.execution_in(&name, ExecutionState::Succeeded).await;
    assert!(
        ended.output_json.starts_with(r#"["REJECTED","link:tell""#),
        "{ended:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_whose_links_would_lead_nowhere_says_what_is_to_be_set() {
    let target = Target::echoing().await;
    let port = free_port();
    let (mut planes, api) = Planes::start(Options {
        control_plane_port: Some(port),
        ..Options::default()
    })
    .await;
    api.create_workflow("ask", &spec("{manual: {}}", &target, ""))
        .await;
    let failed = api
        .execution_in(&run(&api).await, ExecutionState::Failed)
        .await;
    let error = failed.error.unwrap();
    assert_eq!(error.code, "LINKS_OFF");
    assert!(error.message.contains("--public-url"), "{error:?}");
    assert!(target.calls().is_empty());

    // It is told with the next stream.
    planes.control.kill();
    let url = format!("http://127.0.0.1:{port}");
    planes.control.add_args(["--public-url", &url]);
    planes.control.start().await;
    let name = run(&api).await;
    let sent = Sent::of(&target, 0).await;
    asks(&api, &name).await;
    let (status, _) = send(Method::POST, &sent.approve).await;
    assert_eq!(status, StatusCode::OK);
    api.execution_in(&name, ExecutionState::Succeeded).await;
}
