//! The planes are apart: the node goes on accepting and running, and what it did is reported when they meet again.

use std::time::Duration;

use signalbox_proto::v1::{ExecutionState, RevokeApiKeyRequest};
use signalbox_tests::{
    planes::{Options, Planes},
    process::free_port,
    proxy::Proxy,
    wait,
};

use crate::local_stack::synced;

const SPEC: &str = "
trigger:
  webhook:
    apiKeys: [sender]
steps:
  - id: only
    transform:
      expression: event.json.n
";

async fn post(url: &str, n: usize) -> u16 {
    reqwest::Client::new()
        .post(url)
        .header("idempotency-key", format!("n{n}"))
        .json(&serde_json::json!({"n": n}))
        .send()
        .await
        .map_or(0, |answer| answer.status().as_u16())
}

/// The status of a POST that is never taken, and why.
async fn refused(url: &str) -> (u16, String) {
    let answer = reqwest::Client::new().post(url).json("").send().await;
    let answer = answer.unwrap();
    let status = answer.status().as_u16();
    assert_eq!(answer.headers().contains_key("retry-after"), status == 503);
    let problem: serde_json::Value = answer.json().await.unwrap();
    let kind = problem["type"].as_str().unwrap();
    (status, kind.rsplit('/').next().unwrap().to_owned())
}

async fn all_succeed(api: &signalbox_tests::api::Api, expected: usize) {
    wait::until("all executions", Duration::from_secs(60), || {
        let api = api.clone();
        async move {
            let all = api.all_executions("").await.map_err(|s| s.to_string())?;
            let done = all
                .iter()
                .filter(|e| e.state() == ExecutionState::Succeeded)
                .count();
            if done == expected && all.len() == expected {
                Ok(())
            } else {
                Err(format!(
                    "{done} of {} succeeded, expected {expected}",
                    all.len()
                ))
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_network_and_cold_starts_lose_and_repeat_nothing() {
    let port = free_port();
    let proxy = Proxy::start(([127, 0, 0, 1], port).into()).await;
    let (mut planes, api) = Planes::start(Options {
        control_plane_port: Some(port),
        control_plane_seen_as: Some(format!("http://{}", proxy.addr)),
        ..Options::default()
    })
    .await;
    let key = api.create_key("sender").await;
    api.create_workflow("hook", SPEC).await;
    synced(&api).await;
    let url = planes.endpoint("hook", "webhook", &key);
    for n in 0..10 {
        assert_eq!(post(&url, n).await, 200);
    }
    all_succeed(&api, 10).await;
    let revoked = api.create_key("revoked").await;
    let name = "projects/default/apiKeys/revoked".to_owned();
    let request = RevokeApiKeyRequest {
        name,
        ..Default::default()
    };
    api.keys().revoke_api_key(request).await.unwrap();
    synced(&api).await;

    // Cut for longer than the heartbeats' patience (30 s), so that the connection is given up, not just stalled.
    proxy.cut();
    let until = tokio::time::Instant::now() + Duration::from_secs(35);
    // Made meanwhile: the node has not heard of them, so that it says "later", not "no" (I4).
    let newer = api.create_key("newer").await;
    api.create_workflow("newer", &SPEC.replace("sender", "newer"))
        .await;
    let of = |workflow: &str, key: &str| planes.endpoint(workflow, "webhook", key);
    let unheard = [of("hook", &newer), of("newer", &newer), of("newer", &key)];
    let of_revoked = of("hook", &revoked);
    let unknown = [of("hook", "sbk_unknown"), of("nowhere", &key)];
    let not_yet = (503, "not-in-sync".to_owned());
    wait::until("the node to say that", Duration::from_secs(20), || async {
        match refused(&unheard[0]).await {
            answer if answer == not_yet => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let mut n = 10;
    while tokio::time::Instant::now() < until {
        assert_eq!(
            post(&url, n).await,
            200,
            "the node accepts without its control plane"
        );
        assert_eq!(post(&url, n).await, 200, "and knows a copy");
        n += 1;
        for url in &unheard {
            assert_eq!(refused(url).await, not_yet);
        }
        let known = refused(&of_revoked).await;
        assert_eq!(known, (401, "key-revoked".to_owned()));
        tokio::time::sleep(Duration::from_millis(250)).await;
    }

    // A cold start of the node while the control plane is away: the last known good is on disk.
    planes.data.kill();
    planes.data.start().await;
    for _ in 0..10 {
        assert_eq!(post(&url, n).await, 200);
        assert_eq!(
            post(&url, n - 5).await,
            200,
            "a copy from before the restart"
        );
        n += 1;
        for url in &unheard {
            assert_eq!(refused(url).await, not_yet);
        }
    }

    // The control plane restarts meanwhile; then the network mends.
    planes.control.terminate(Duration::from_secs(20));
    planes.control.kill();
    planes.control.start().await;
    proxy.mend();
    wait::until(
        "what was made meanwhile",
        Duration::from_secs(60),
        || async {
            match post(&unheard[1], n).await {
                200 => Ok(()),
                other => Err(other.to_string()),
            }
        },
    )
    .await;
    all_succeed(&api, n + 1).await;
    // In touch, it knows what there is not.
    wait::until(
        "the node to be in touch",
        Duration::from_secs(20),
        || async {
            match (refused(&unknown[0]).await.0, refused(&unknown[1]).await.0) {
                (401, 404) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        },
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn either_plane_may_start_first() {
    let mut planes = Planes::new(Options::default());
    // The data plane first: it has never synced, so it says "later", not "no" (I4).
    planes.control.start().await;
    planes.write_node_token();
    planes.control.terminate(Duration::from_secs(20));
    planes.control.kill();
    planes.data.spawn();
    let url = planes.endpoint("hook", "webhook", "sbk_unknown");
    wait::until("a retriable refusal", Duration::from_secs(10), || {
        let url = url.clone();
        async move {
            match post(&url, 1).await {
                503 => Ok(()),
                other => Err(format!("{other}")),
            }
        }
    })
    .await;
    planes.control.start().await;
    let api = planes.api("admin");
    let key = api.create_key("sender").await;
    api.create_workflow("hook", SPEC).await;
    planes.data.ready().await;
    synced(&api).await;
    assert_eq!(
        post(&planes.endpoint("hook", "webhook", &key), 1).await,
        200
    );
    all_succeed(&api, 1).await;
}
