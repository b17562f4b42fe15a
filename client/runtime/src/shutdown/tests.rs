#![allow(clippy::unwrap_used, clippy::expect_used)]
use tokio::sync::oneshot;

use super::*;

const LONG: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn tasks_that_finish_are_drained() {
    let shutdown = Shutdown::new();
    let (finished, seen) = oneshot::channel();
    let scope = shutdown.clone();
    shutdown.spawn(async move {
        scope.stopping().await;
        finished.send(()).unwrap();
    });
    assert_eq!(shutdown.drain(LONG).await, DrainOutcome::Drained);
    seen.await.unwrap();
    assert!(shutdown.is_forced(), "what outlives the drain ends with it");
}

#[tokio::test(start_paused = true)]
async fn the_deadline_forces_tasks_that_obey() {
    let shutdown = Shutdown::new();
    let scope = shutdown.clone();
    shutdown.spawn(async move { scope.forced().await });
    let begun = tokio::time::Instant::now();
    let outcome = shutdown.drain(Duration::from_secs(7)).await;
    assert_eq!(outcome, DrainOutcome::Forced { remaining: 0 });
    assert_eq!(begun.elapsed().as_secs(), 7);
}

#[tokio::test(start_paused = true)]
async fn tasks_that_do_not_obey_are_counted_and_left() {
    let shutdown = Shutdown::new();
    shutdown.spawn(std::future::pending::<()>());
    let begun = tokio::time::Instant::now();
    let outcome = shutdown.drain(Duration::from_secs(7)).await;
    assert_eq!(outcome, DrainOutcome::Forced { remaining: 1 });
    assert_eq!(begun.elapsed().as_secs(), 8);
}

#[tokio::test]
async fn a_child_ends_with_its_parent_but_not_the_other_way() {
    let parent = Shutdown::new();
    let (first, second) = (parent.child(), parent.child());
    assert_eq!(first.drain(LONG).await, DrainOutcome::Drained);
    assert!(!parent.is_stopping() && !second.is_stopping());
    parent.stop();
    second.stopping().await;
    parent.stop_token().cancelled().await;
    assert!(!second.is_forced());
}

#[tokio::test(start_paused = true)]
async fn a_nested_scope_ends_earlier_and_is_waited_for() {
    let shutdown = Shutdown::new();
    let nested = shutdown.nested();
    nested.stop();
    assert!(!shutdown.is_stopping());
    nested.ended().await;

    let nested = shutdown.nested();
    let (finished, mut seen) = oneshot::channel();
    let scope = nested.clone();
    nested.spawn(async move {
        scope.stopping().await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        finished.send(()).unwrap();
    });
    assert_eq!(shutdown.drain(LONG).await, DrainOutcome::Drained);
    assert_eq!(seen.try_recv(), Ok(()));

    let shutdown = Shutdown::new();
    let nested = shutdown.nested();
    let scope = nested.clone();
    nested.spawn(async move { scope.forced().await });
    let outcome = shutdown.drain(Duration::from_secs(7)).await;
    assert_eq!(outcome, DrainOutcome::Forced { remaining: 0 });
}
