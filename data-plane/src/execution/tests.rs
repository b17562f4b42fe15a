#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    num::NonZeroUsize,
    sync::atomic::{AtomicU32, Ordering},
};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use signalbox_model::{
    event::{Event, EventScope, TriggerKind},
    record::Accepted,
};
use signalbox_proto::convert::json;

use super::*;
use crate::{
    egress::{Egress, EgressPolicy},
    spool::{Accept, SqliteSpool, SqliteSpoolConfig},
};

/// A service that fails in a way that its path names.
async fn faulty() -> (std::net::SocketAddr, Arc<AtomicU32>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let calls = Arc::new(AtomicU32::new(0));
    let counted = calls.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let calls = counted.clone();
            let service = service_fn(move |request: Request<Incoming>| {
                let number = calls.fetch_add(1, Ordering::SeqCst);
                async move {
                    let (status, body) = match request.uri().path() {
                        "/first-503" if number == 0 => (503, "busy".to_owned()),
                        "/slow" => {
                            tokio::time::sleep(Duration::from_secs(30)).await;
                            (200, String::new())
                        }
                        "/large" => (200, "x".repeat(2 * 1024 * 1024)),
                        "/missing" => (404, "no such thing".to_owned()),
                        _ => (200, "{\"n\":9007199254740993}".to_owned()),
                    };
                    let mut response = Response::new(Full::new(Bytes::from(body)));
                    *response.status_mut() = ::http::StatusCode::from_u16(status).unwrap();
                    response
                        .headers_mut()
                        .insert("set-cookie", ::http::HeaderValue::from_static("s=1"));
                    Ok::<_, std::convert::Infallible>(response)
                }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    (address, calls)
}

fn accept(yaml: &str) -> Accept {
    let spec: signalbox_proto::v1::WorkflowSpec = json::from_yaml_str(yaml).unwrap();
    Accept {
        accepted: Accepted {
            execution: "projects/default/executions/x1".parse().unwrap(),
            workflow: "projects/default/workflows/w".parse().unwrap(),
            version: 1,
            event: Event {
                trigger: TriggerKind::Manual,
                api_key: None,
                scope: EventScope {
                    message: "{}".into(),
                    subject: None,
                    attributes: std::collections::BTreeMap::new(),
                    topic_arn: None,
                    message_id: "m".into(),
                    timestamp: String::new(),
                },
                body: Bytes::new(),
                content_type: None,
                source_address: None,
                signature: None,
                received_at: Timestamp::now(),
            },
        },
        content_digest: [0; 32],
        certificate: None,
        definition: definition::encode(&spec),
        delivery: None,
        traceparent: None,
        deduplicate_until: Timestamp::MAX,
    }
}

/// Runs one workflow to its end; gives its facts.
async fn run(yaml: &str, allow: &[&str]) -> Vec<Fact> {
    let dir = tempfile::tempdir().unwrap();
    let spool: Arc<dyn Spool> =
        Arc::new(SqliteSpool::open(dir.path(), SqliteSpoolConfig::default()).unwrap());
    let policy = EgressPolicy {
        allow: allow.iter().map(|net| net.parse().unwrap()).collect(),
    };
    let performer = HttpPerformer::new(Egress::new(policy).unwrap());
    let config = ExecutionConfig {
        concurrency_max: NonZeroUsize::new(4).unwrap(),
    };
    let runtime = Arc::new(ExecutionRuntime::new(
        spool.clone(),
        Arc::new(performer),
        &config,
    ));
    spool.accept(accept(yaml)).await.unwrap();
    let shutdown = Shutdown::new();
    shutdown.spawn(runtime.run(shutdown.clone()));
    let mut head = spool.head();
    let facts = loop {
        let facts: Vec<Fact> = spool
            .unreported(0, 1000, usize::MAX)
            .await
            .unwrap()
            .into_iter()
            .filter_map(|sequenced| match sequenced.record.body {
                RecordBody::Execution { fact, .. } => Some(fact),
                _ => None,
            })
            .collect();
        if matches!(facts.last(), Some(Fact::Finished { .. })) {
            break facts;
        }
        tokio::time::timeout(Duration::from_secs(20), head.changed())
            .await
            .unwrap()
            .unwrap();
    };
    shutdown.drain(Duration::from_secs(5)).await;
    facts
}

fn call(address: std::net::SocketAddr, path: &str, more: &str) -> String {
    format!(
        "trigger: {{manual: {{}}}}\nsteps:\n  - id: call\n    {more}\n    http: {{url: \"http://{address}{path}\"}}\n"
    )
}

fn end(facts: &[Fact]) -> (ExecutionState, Option<Value>, Option<String>) {
    match facts.last() {
        Some(Fact::Finished {
            state,
            output,
            error,
        }) => (
            *state,
            output
                .as_ref()
                .map(signalbox_model::execution::JsonText::to_value),
            error.as_ref().map(|error| error.code.clone()),
        ),
        other => panic!("{other:?}"),
    }
}

const LOOPBACK: [&str; 1] = ["127.0.0.0/8"];

#[tokio::test]
async fn a_service_that_recovers_is_asked_again() {
    let (address, calls) = faulty().await;
    let yaml = call(
        address,
        "/first-503",
        "retry: {maxAttempts: 2, initialBackoff: 0.01s}",
    );
    let facts = run(&yaml, &LOOPBACK).await;
    let (state, output, _) = end(&facts);
    assert_eq!(state, ExecutionState::Succeeded);
    let output = output.unwrap();
    assert_eq!(output["status"], 200);
    assert_eq!(
        output["json"]["n"], 9_007_199_254_740_993_i64,
        "digits are kept"
    );
    assert!(output["headers"].get("set-cookie").is_none());
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    assert!(
        facts
            .iter()
            .any(|fact| matches!(fact, Fact::AttemptFailed { number: 1, .. }))
    );
}

#[tokio::test]
async fn faults_are_told_apart() {
    let (address, _) = faulty().await;
    let code = |path: &'static str, more: &'static str| async move {
        end(&run(&call(address, path, more), &LOOPBACK).await)
            .2
            .unwrap()
    };
    assert_eq!(code("/slow", "timeout: 0.2s").await, "TIMEOUT");
    assert_eq!(code("/large", "timeout: 10s").await, "RESPONSE_TOO_LARGE");
    assert_eq!(code("/missing", "timeout: 10s").await, "HTTP_STATUS");
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let refused = run(&call(closed, "/", "timeout: 5s"), &LOOPBACK).await;
    assert_eq!(end(&refused).2.unwrap(), "CONNECTION");
}

#[tokio::test]
async fn addresses_that_are_not_allowed_are_not_reached() {
    let (address, calls) = faulty().await;
    let facts = run(&call(address, "/", "timeout: 5s"), &[]).await;
    assert_eq!(end(&facts).2.unwrap(), "EGRESS_DENIED");
    let named = format!("localhost:{}", address.port());
    let yaml = format!(
        "trigger: {{manual: {{}}}}\nsteps:\n  - id: call\n    http: {{url: \"http://{named}/\"}}\n"
    );
    assert_eq!(end(&run(&yaml, &[]).await).2.unwrap(), "EGRESS_DENIED");
    assert_eq!(calls.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_definition_that_no_longer_decodes_fails_its_execution() {
    let dir = tempfile::tempdir().unwrap();
    let spool: Arc<dyn Spool> =
        Arc::new(SqliteSpool::open(dir.path(), SqliteSpoolConfig::default()).unwrap());
    let mut bad = accept("trigger: {manual: {}}\nsteps: [{id: a, transform: {expression: '1'}}]\n");
    bad.definition = Bytes::from_static(b"\xff\xff");
    spool.accept(bad).await.unwrap();
    let performer = HttpPerformer::new(Egress::new(EgressPolicy::default()).unwrap());
    let config = ExecutionConfig {
        concurrency_max: NonZeroUsize::new(1).unwrap(),
    };
    let runtime = Arc::new(ExecutionRuntime::new(
        spool.clone(),
        Arc::new(performer),
        &config,
    ));
    let shutdown = Shutdown::new();
    shutdown.spawn(runtime.run(shutdown.clone()));
    let mut head = spool.head();
    head.wait_for(|head| *head >= 2).await.unwrap();
    let records = spool.unreported(1, 10, usize::MAX).await.unwrap();
    assert!(format!("{records:?}").contains("DEFINITION"), "{records:?}");
    shutdown.drain(Duration::from_secs(5)).await;
}
