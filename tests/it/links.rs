//! Links for approvals: what a browser, and a scanner of mail, does with them.

use reqwest::{Client, Method, Response, StatusCode};
use signalbox_proto::v1::{
    ApprovalLinks, CreateApprovalLinksRequest, ExecutionState, RunWorkflowRequest,
};
use signalbox_tests::{
    api::Api,
    planes::{Options, Planes},
    process::free_port,
};
use tonic::{Code, Status};

const ASK: &str = r#"
trigger: {manual: {}}
steps:
  - id: ask
    approval: {message: "Ship <b>${{ event.json }}</b>?", approvers: [the desk], rejectedIsOutput: true}
  - {id: said, transform: {expression: "[steps.ask.output.decision, steps.ask.output.by]"}}
"#;

async fn asked(api: &Api) -> String {
    let request = RunWorkflowRequest {
        name: "projects/default/workflows/ask".into(),
        ..RunWorkflowRequest::default()
    };
    let run = api.workflows().run_workflow(request).await;
    let name = run.unwrap().into_inner().name;
    api.execution_in(&name, ExecutionState::Waiting).await;
    name
}

async fn links(api: &Api, name: &str, label: &str) -> Result<ApprovalLinks, Status> {
    let request = CreateApprovalLinksRequest {
        name: name.to_owned(),
        step: String::new(),
        label: label.to_owned(),
    };
    let made = api.executions().create_approval_links(request).await;
    made.map(tonic::Response::into_inner)
}

async fn send(method: Method, url: &str) -> Response {
    let client = Client::builder().build().unwrap();
    client.request(method, url).send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_decides_once_and_only_by_its_button() {
    let port = free_port();
    let public = format!("http://127.0.0.1:{port}");
    let options = Options {
        control_plane: vec!["--public-url".to_owned(), format!("{public}/")],
        control_plane_port: Some(port),
        ..Options::default()
    };
    let (planes, api) = Planes::start(options).await;
    api.create_workflow("ask", ASK).await;
    let name = asked(&api).await;
    let viewer = links(&planes.api("viewer"), &name, "ann").await;
    assert_eq!(viewer.unwrap_err().code(), Code::PermissionDenied);
    let nobody = links(&api, &name, "").await.unwrap_err();
    assert_eq!(nobody.code(), Code::InvalidArgument);
    let made = links(&planes.api("operator"), &name, "ann").await.unwrap();
    assert_eq!(made.step, "ask");
    assert!(made.expire_time.is_some());
    assert!(
        made.approve_url
            .starts_with(&format!("{public}/approvals/"))
    );
    assert!(!format!("{made:?}").contains("eyJ"), "links are secrets");

    // Scanners look, and nothing happens.
    for method in [Method::GET, Method::HEAD, Method::GET] {
        let page = send(method.clone(), &made.approve_url).await;
        assert_eq!(page.status(), StatusCode::OK);
        let policy = page.headers()["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'"), "{policy}");
        assert_eq!(page.headers()["cache-control"], "no-store");
        assert_eq!(page.headers()["referrer-policy"], "no-referrer");
        let text = page.text().await.unwrap();
        if method == Method::GET {
            let shown = [
                "Ship &lt;b&gt;&lt;/b&gt;?",
                "<button>Approve</button>",
                "the desk",
                "ann",
            ];
            assert!(shown.iter().all(|part| text.contains(part)), "{text}");
        }
    }
    let put = send(Method::PUT, &made.approve_url).await;
    assert_eq!(put.status(), StatusCode::METHOD_NOT_ALLOWED);
    let waiting = api.execution(&name).await.unwrap();
    assert_eq!(
        (waiting.state(), waiting.signals.len()),
        (ExecutionState::Waiting, 0)
    );

    // A link is no token, and a token no link.
    let token = made.approve_url.rsplit('/').next().unwrap();
    let as_token = Api::new(&planes.control.endpoint, token);
    let refused = as_token.execution(&name).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
    let mut forged = made.approve_url.clone();
    forged.pop();
    for wrong in [
        format!("{public}/approvals/{}", planes.control.token("admin")),
        format!("{public}/approvals/"),
        forged,
    ] {
        for method in [Method::GET, Method::POST] {
            let page = send(method, &wrong).await;
            assert_eq!(page.status(), StatusCode::NOT_FOUND);
        }
    }

    // The button; pressed twice; and the other one then.
    for _ in 0..2 {
        let page = send(Method::POST, &made.reject_url).await;
        assert_eq!(page.status(), StatusCode::OK);
        assert!(page.text().await.unwrap().contains("Rejected."));
    }
    for method in [Method::POST, Method::GET] {
        let page = send(method, &made.approve_url).await;
        assert_eq!(page.status(), StatusCode::CONFLICT);
        assert!(
            page.text()
                .await
                .unwrap()
                .contains("There is nothing to decide")
        );
    }
    let ended = api.execution_in(&name, ExecutionState::Succeeded).await;
    assert_eq!(ended.output_json, r#"["REJECTED","link:ann"]"#);
    assert_eq!(ended.signals.len(), 1);
    // None more are made, and none of it stands in the log.
    let late = links(&api, &name, "ann").await.unwrap_err();
    assert_eq!(late.code(), Code::FailedPrecondition);
    assert!(!planes.control.log().contains(token));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_links_are_made_that_would_lead_nowhere() {
    let (_planes, api) = Planes::start(Options::default()).await;
    api.create_workflow("ask", ASK).await;
    let name = asked(&api).await;
    let refused = links(&api, &name, "ann").await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("--public-url"), "{refused:?}");
}
