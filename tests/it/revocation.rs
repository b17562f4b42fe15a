//! I8: what is revoked or disabled stops within a second of the answer.

use std::time::{Duration, Instant};

use signalbox_proto::v1::{DisableWorkflowRequest, EnableWorkflowRequest, RevokeApiKeyRequest};
use signalbox_tests::planes::{Options, Planes};

use crate::local_stack::synced;

const SPEC: &str = "
trigger:
  webhook:
    apiKeys: [first, second]
steps:
  - id: only
    transform:
      expression: event.message
";

async fn post(url: &str) -> reqwest::Response {
    reqwest::Client::new()
        .post(url)
        .json(&serde_json::json!({"a": 1}))
        .send()
        .await
        .unwrap()
}

async fn becomes(url: &str, status: u16) -> Duration {
    let start = Instant::now();
    loop {
        let found = post(url).await.status();
        if found == status {
            return start.elapsed();
        }
        assert!(
            start.elapsed() < Duration::from_secs(1),
            "still {found}, expected {status}"
        );
        // What is taken meanwhile is run and reported, too.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn revocation_and_disabling_take_effect_within_a_second() {
    let (planes, api) = Planes::start(Options::default()).await;
    let first = api.create_key("first").await;
    let second = api.create_key("second").await;
    api.create_workflow("hook", SPEC).await;
    synced(&api).await;
    let with = |key: &str| planes.endpoint("hook", "webhook", key);
    assert_eq!(post(&with(&first)).await.status(), 200);
    assert_eq!(post(&with(&second)).await.status(), 200);

    api.keys()
        .revoke_api_key(RevokeApiKeyRequest {
            name: "projects/default/apiKeys/first".into(),
            ..Default::default()
        })
        .await
        .unwrap();
    let took = becomes(&with(&first), 401).await;
    eprintln!("revoked at the node {took:?} after the answer");
    let refused = post(&with(&first)).await;
    assert!(refused.headers().contains_key("www-authenticate"));
    assert_eq!(
        refused.headers()["content-type"],
        "application/problem+json"
    );
    assert!(!refused.text().await.unwrap().contains(&first));
    assert_eq!(post(&with(&second)).await.status(), 200);

    let name = "projects/default/workflows/hook".to_owned();
    api.workflows()
        .disable_workflow(DisableWorkflowRequest {
            name: name.clone(),
            ..Default::default()
        })
        .await
        .unwrap();
    let took = becomes(&with(&second), 429).await;
    eprintln!("disabled at the node {took:?} after the answer");
    assert!(
        post(&with(&second))
            .await
            .headers()
            .contains_key("retry-after")
    );
    api.workflows()
        .enable_workflow(EnableWorkflowRequest {
            name,
            ..Default::default()
        })
        .await
        .unwrap();
    becomes(&with(&second), 200).await;
}
