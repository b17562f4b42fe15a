//! A collector that is not there; alone in its file because `init` is once per process.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::time::{Duration, Instant};

use signalbox_runtime::telemetry::{self, FLUSH_TIMEOUT, TelemetryArgs};
use tokio::net::TcpListener;

/// Accepts connections and never speaks: worse than a closed port, which fails at once.
async fn black_hole() -> (String, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    (
        format!("http://{}", listener.local_addr().unwrap()),
        listener,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_collector_neither_blocks_work_nor_the_end() {
    let (endpoint, _listener) = black_hole().await;
    let args = TelemetryArgs {
        otlp_endpoint: Some(endpoint),
        log: Some("off".to_owned()),
        ..TelemetryArgs::default()
    };
    let guard = telemetry::init("signalbox-test", &args).unwrap();
    let begun = Instant::now();
    // More than the exporter's queue holds.
    for _ in 0..10_000 {
        tracing::info_span!("lost").in_scope(|| {});
    }
    assert!(begun.elapsed() < Duration::from_secs(5), "work went on");

    let begun = Instant::now();
    guard.shutdown().await;
    assert!(begun.elapsed() < FLUSH_TIMEOUT + Duration::from_secs(2));
}
