//! Real signals to a real process; alone in its file because signals belong to the process.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::process::Command;
use std::time::Duration;

use signalbox_runtime::shutdown::{DrainOutcome, Shutdown};

const PATIENCE: Duration = Duration::from_secs(20);

fn send(signal: &str) {
    let kill = format!("kill -{signal} {}", std::process::id());
    assert!(
        Command::new("sh")
            .arg("-c")
            .arg(kill)
            .status()
            .unwrap()
            .success()
    );
}

#[tokio::test]
async fn the_first_signal_stops_and_the_second_forces() {
    let shutdown = Shutdown::from_signals().unwrap();
    assert!(!shutdown.is_stopping());
    send("TERM");
    tokio::time::timeout(PATIENCE, shutdown.stopping())
        .await
        .expect("SIGTERM stops");
    assert!(!shutdown.is_forced());

    let scope = shutdown.clone();
    shutdown.spawn(async move { scope.forced().await });
    let draining = shutdown.clone();
    let drain = tokio::spawn(async move { draining.drain(Duration::from_secs(3600)).await });
    // Sending blocks this thread: the drain must have begun before.
    while !shutdown.tasks().is_closed() {
        tokio::task::yield_now().await;
    }
    send("INT");
    let outcome = tokio::time::timeout(PATIENCE, drain)
        .await
        .expect("SIGINT forces long before the deadline")
        .unwrap();
    assert_eq!(outcome, DrainOutcome::Forced { remaining: 0 });
}
