//! Places of those that run: who comes back to one, and who needs none.

use std::collections::HashSet;

use super::{
    support::{Reply, Target, World, attempts, finished, output_of},
    *,
};

/// The first attempt of each fails, and what comes after it hangs.
async fn fails_then_hangs() -> (Target, Arc<AtomicUsize>) {
    let seen = std::sync::Mutex::new(HashSet::new());
    let hung = Arc::new(AtomicUsize::new(0));
    let count = hung.clone();
    let target = Target::start(move |call| {
        let key = call.header("idempotency-key").to_owned();
        if seen.lock().unwrap().insert(key) {
            return Reply::text(503, "");
        }
        count.fetch_add(1, Ordering::SeqCst);
        Reply::Never
    });
    (target.await, hung)
}

async fn until(count: &AtomicUsize, least: usize) {
    let wait = async {
        while count.load(Ordering::SeqCst) < least {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap();
}

const SOON: &str =
    "timeout: 3600s\n    retry: {maxAttempts: 5, initialBackoff: 0.1s, maxBackoff: 0.1s}";

#[tokio::test(flavor = "multi_thread")]
async fn those_that_come_back_leave_the_places_that_are_kept() {
    let (target, hung) = fails_then_hangs().await;
    let mut world = World::start().await;
    // Two of them are kept, and one for each workflow that has none.
    world.concurrency_max = 16;
    let hangs = http_step(&format!("http://{}/", target.addr), SOON);
    for n in 0..40 {
        world.accept(&hangs, &format!("hangs {n}"), "{}").await;
    }
    world.run();
    until(&hung, 14).await;
    for n in 0..3 {
        let quick = "trigger: {manual: {}}\nsteps: [{id: quick, transform: {expression: '1'}}]";
        let quick = world.accept(quick, &format!("quick {n}"), "{}").await;
        assert_eq!(output_of(&world.finished(&quick).await), json!(1));
        // One that waits and comes back, too.
        let waits = "trigger: {manual: {}}\nsteps: [{id: w, wait: {duration: 0.1s}}]";
        let waits = world.accept(waits, &format!("waits {n}"), "{}").await;
        let facts = world.finished(&waits).await;
        assert_eq!(finished(&facts).0, ExecutionState::Succeeded);
    }
    assert_eq!(hung.load(Ordering::SeqCst), 14);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_waits_for_a_place_ends_when_it_is_cancelled() {
    let (target, hung) = fails_then_hangs().await;
    let mut world = World::start().await;
    world.concurrency_max = 1;
    let hangs = http_step(&format!("http://{}/", target.addr), SOON);
    let mut all = Vec::new();
    for n in 0..3 {
        all.push(world.accept(&hangs, &n.to_string(), "{}").await);
    }
    world.run();
    // One of them has the place, and those that began before want it in a moment.
    until(&hung, 1).await;
    let mut others = Vec::new();
    for execution in all {
        if attempts(&world.facts(&execution).await).len() == 1 {
            others.push(execution);
        }
    }
    assert!(!others.is_empty());
    for execution in &others {
        world.cancel(execution).await;
        let facts = world.finished(execution).await;
        assert_eq!(finished(&facts).0, ExecutionState::Cancelled);
        // The other one waits for the place by now.
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    // None of them began anything on its way.
    assert_eq!(hung.load(Ordering::SeqCst), 1);
}
