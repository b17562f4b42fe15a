//! Control flow against the world: what runs side by side, what is stopped, what waits, and crashes amid all of it.

use std::{collections::BTreeMap, num::NonZeroU32};

use signalbox_model::{ids::WorkflowName, record::RecordBody};

use super::{
    support::{Reply, Target, World, code_of, finished, output_of},
    *,
};
use crate::execution::{ConcurrencyLimit, ConcurrencyLimits};

#[tokio::test(flavor = "multi_thread")]
async fn branches_and_iterations_call_at_the_same_time_and_no_more_than_may() {
    let target = Target::start(|call| match call.path.as_str() {
        "/slow" => Reply::After(Duration::from_millis(300), 200),
        _ => Reply::After(Duration::from_millis(40), 200),
    })
    .await;
    let mut world = World::start().await;
    // One execution runs, whatever it has under way.
    world.concurrency_max = 1;
    let definition = format!(
        r#"
trigger: {{manual: {{}}}}
steps:
  - id: both
    parallel:
      branches:
        - name: slow
          steps: [{{id: slow, http: {{url: "http://{addr}/slow"}}}}]
        - name: many
          steps:
            - id: each
              forEach:
                items: lists.range(9)
                concurrency: 3
                steps:
                  - {{id: call, http: {{url: "http://{addr}/item", text: "${{{{ item }}}}"}}}}
                  - {{id: made, transform: {{expression: "[index, steps.call.output.status]"}}}}
"#,
        addr = target.addr
    );
    let execution = world.accept(&definition, "one", "{}").await;
    world.run();
    let facts = world.finished(&execution).await;
    let output = output_of(&facts);
    assert_eq!(output["slow"]["status"], 200);
    let many: Vec<_> = (0..9).map(|n| json!([n, 200])).collect();
    assert_eq!(output["many"], json!(many));
    let most = target.most_at_once();
    assert!((3..=4).contains(&most), "{most} at once");
    // Each run has a key of its own.
    let calls = target.calls();
    let keys: std::collections::BTreeSet<_> = calls
        .iter()
        .map(|call| call.header("idempotency-key").to_owned())
        .collect();
    assert_eq!(keys.len(), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_failure_drops_the_requests_of_the_others() {
    let target = Target::start(|call| match call.path.as_str() {
        "/bad" => Reply::After(Duration::from_millis(50), 404),
        _ => Reply::Never,
    })
    .await;
    let mut world = World::start().await;
    let definition = format!(
        r#"
trigger: {{manual: {{}}}}
steps:
  - id: both
    parallel:
      branches:
        - {{name: a, steps: [{{id: never, timeout: 3600s, http: {{url: "http://{addr}/never"}}}}]}}
        - {{name: b, steps: [{{id: bad, http: {{url: "http://{addr}/bad"}}}}]}}
finally:
  steps: [{{id: tidy, http: {{url: "http://{addr}/bad", text: "${{{{ execution.error.code }}}}"}}}}]
"#,
        addr = target.addr
    );
    let execution = world.accept(&definition, "one", "{}").await;
    world.run();
    let facts = world.finished(&execution).await;
    assert_eq!(code_of(&facts), "HTTP_STATUS");
    let state = |id: &str| {
        facts.iter().find_map(|fact| match fact {
            Fact::StepFinished { step, state, .. } if step.step.as_str() == id => Some(*state),
            _ => None,
        })
    };
    assert_eq!(state("never"), Some(StepState::Cancelled));
    assert_eq!(state("both"), Some(StepState::Failed));
    // What ran finally failed too, and the first error stands.
    assert_eq!(state("tidy"), Some(StepState::Failed));
    assert_eq!(target.calls().last().unwrap().body, "HTTP_STATUS");
    tokio::time::timeout(PATIENCE, world.stop()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_leaves_its_place_and_outlives_a_crash() {
    let mut world = World::start().await;
    world.concurrency_max = 1;
    let waits = "trigger: {manual: {}}\nsteps: [{id: w, wait: {duration: 1.5s}}]";
    let execution = world.accept(waits, "waits", "{}").await;
    world.run();
    let quick = "trigger: {manual: {}}\nsteps: [{id: quick, transform: {expression: '1'}}]";
    let other = world.accept(quick, "quick", "{}").await;
    assert_eq!(output_of(&world.finished(&other).await), json!(1));
    let started = loop {
        let records = world.records(&execution).await;
        if let Some(record) = records.get(1) {
            break record.time;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    world.crash().await;
    world.run();
    world.finished(&execution).await;
    let records = world.records(&execution).await;
    let took = records.last().unwrap().time.duration_since(started);
    assert!(took >= jiff::SignedDuration::from_millis(1500), "{took}");
    // It waited once, although its process died.
    assert_eq!(records.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn crashes_amid_iterations_repeat_runs_by_their_own_keys_only() {
    let target = Target::start(|call| match call.body.as_str() {
        "7" => Reply::After(Duration::from_millis(2), 404),
        n if n.len() == 1 => Reply::After(Duration::from_millis(3), 200),
        _ => Reply::After(Duration::from_millis(8), 200),
    })
    .await;
    let mut world = World::start().await;
    let definition = format!(
        r#"
trigger: {{manual: {{}}}}
steps:
  - id: each
    onError: {{continue: true}}
    forEach:
      items: lists.range(40)
      concurrency: 4
      failFast: false
      steps:
        - {{id: call, http: {{url: "http://{addr}/", text: "${{{{ item }}}}"}}}}
        - {{id: status, transform: {{expression: steps.call.output.status + index}}}}
  - {{id: last, transform: {{expression: "[steps.each.output, steps.each.error.message]"}}}}
"#,
        addr = target.addr
    );
    let mut executions = Vec::new();
    for n in 0..3 {
        executions.push(world.accept(&definition, &n.to_string(), "{}").await);
    }
    for round in 1..8 {
        world.run();
        target.called(round * 12).await;
        world.crash().await;
    }
    world.run();
    let expected: Vec<_> = (0..40)
        .map(|n| if n == 7 { json!(null) } else { json!(200 + n) })
        .collect();
    let why = "item 7: step \"call\": the server answered 404";
    for execution in &executions {
        let facts = world.finished(execution).await;
        assert_eq!(finished(&facts).0, ExecutionState::Succeeded);
        assert_eq!(output_of(&facts), json!([expected, why]));
    }
    // One key for each run of each execution, and one body for each key.
    let mut bodies: BTreeMap<String, String> = BTreeMap::new();
    for call in target.calls() {
        let key = call.header("idempotency-key").to_owned();
        let body = bodies.entry(key).or_insert_with(|| call.body.clone());
        assert_eq!(*body, call.body);
    }
    assert_eq!(bodies.len(), 3 * 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_lets_all_that_is_under_way_finish_and_starts_nothing() {
    let target = Target::start(|call| match call.body.as_str() {
        "0" | "1" => Reply::After(Duration::from_millis(300), 200),
        _ => Reply::text(200, ""),
    })
    .await;
    let mut world = World::start().await;
    let definition = format!(
        r#"
trigger: {{manual: {{}}}}
steps:
  - id: each
    forEach:
      items: lists.range(4)
      concurrency: 2
      steps: [{{id: call, http: {{url: "http://{addr}/", text: "${{{{ item }}}}"}}}}]
"#,
        addr = target.addr
    );
    let execution = world.accept(&definition, "one", "{}").await;
    world.run();
    target.called(2).await;
    world.stop().await;
    assert_eq!(target.calls().len(), 2);
    let facts = world.facts(&execution).await;
    let ends = facts
        .iter()
        .filter(|fact| matches!(fact, Fact::StepFinished { .. }));
    assert_eq!(ends.count(), 2, "{facts:?}");
    world.run();
    let facts = world.finished(&execution).await;
    assert_eq!(finished(&facts).0, ExecutionState::Succeeded);
    // None was interrupted, so none is marked as a repeat.
    let repeated = |fact: &&Fact| matches!(fact, Fact::AttemptStarted { repeated: true, .. });
    assert_eq!(facts.iter().filter(repeated).count(), 0);
    assert_eq!(target.calls().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_execution_ends_its_waits_at_once_and_its_requests_soon() {
    let target = Target::start(|call| match call.path.as_str() {
        "/slow" => Reply::After(Duration::from_millis(300), 200),
        _ => Reply::text(200, ""),
    })
    .await;
    let mut world = World::start().await;
    let waits = "trigger: {manual: {}}\nsteps: [{id: w, wait: {duration: 3600s}}]";
    let calls = format!(
        r#"
trigger: {{manual: {{}}}}
steps:
  - {{id: slow, http: {{url: "http://{addr}/slow"}}}}
  - {{id: never, http: {{url: "http://{addr}/never"}}}}
finally:
  steps: [{{id: tidy, http: {{url: "http://{addr}/tidy", text: "${{{{ execution.state }}}}"}}}}]
"#,
        addr = target.addr
    );
    let waits = world.accept(waits, "waits", "{}").await;
    let calls = world.accept(&calls, "calls", "{}").await;
    let early = "trigger: {manual: {}}\nsteps: [{id: a, transform: {expression: '1'}}]";
    let early = world.accept(early, "early", "{}").await;
    // One of them has not even begun.
    world.cancel(&early).await;
    world.run();
    target.called(1).await;
    for execution in [&waits, &calls] {
        world.cancel(execution).await;
    }
    for execution in [&waits, &calls, &early] {
        let facts = world.finished(execution).await;
        assert_eq!(finished(&facts).0, ExecutionState::Cancelled);
        assert_eq!(code_of(&facts), "CANCELLED");
    }
    assert_eq!(world.facts(&early).await.len(), 1);
    let paths: Vec<_> = target.calls().into_iter().map(|call| call.path).collect();
    assert_eq!(paths, ["/slow", "/tidy"]);
    assert_eq!(target.calls()[1].body, "CANCELLED");
}

#[tokio::test(flavor = "multi_thread")]
async fn executions_that_wait_long_are_left_to_the_spool_and_go_on_in_time() {
    const WAITING: usize = 40;
    let mut world = World::start().await;
    // Fewer than a tenth of them have a place in memory.
    world.concurrency_max = 1;
    // Longer than what is waited for in memory.
    let waits = "trigger: {manual: {}}\nsteps: [{id: w, wait: {duration: 7s}}]";
    let mut executions = Vec::new();
    for n in 0..WAITING {
        executions.push(world.accept(waits, &n.to_string(), "{}").await);
    }
    let forever = "trigger: {manual: {}}\nsteps: [{id: w, wait: {duration: 3600s}}]";
    let forever = world.accept(forever, "forever", "{}").await;
    world.run();
    let parked = async |count: u64| {
        let wait = async {
            while world.spool().stats().parked_executions != count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap();
    };
    parked(WAITING as u64 + 1).await;
    let quick = "trigger: {manual: {}}\nsteps: [{id: quick, transform: {expression: '1'}}]";
    let other = world.accept(quick, "quick", "{}").await;
    assert_eq!(output_of(&world.finished(&other).await), json!(1));

    world.crash().await;
    assert_eq!(world.spool().stats().parked_executions, WAITING as u64 + 1);
    world.run();
    for execution in &executions {
        let facts = world.finished(execution).await;
        assert_eq!(finished(&facts).0, ExecutionState::Succeeded);
        let records = world.records(execution).await;
        let waited = |fact: &Fact| matches!(fact, Fact::StepStarted { .. });
        let at = |of: &dyn Fn(&Fact) -> bool| {
            let found = records.iter().find(|record| match &record.body {
                RecordBody::Execution { fact, .. } => of(fact),
                _ => false,
            });
            found.unwrap().time
        };
        let ended = |fact: &Fact| matches!(fact, Fact::StepFinished { .. });
        let took = at(&ended).duration_since(at(&waited));
        assert!(took >= jiff::SignedDuration::from_secs(7), "{took}");
        // Nobody looks for them every few seconds only.
        assert!(took < jiff::SignedDuration::from_secs(10), "{took}");
    }
    let left = world.spool().stats().parked_executions;
    assert_eq!(left, 1);
    world.cancel(&forever).await;
    let facts = world.finished(&forever).await;
    assert_eq!(finished(&facts).0, ExecutionState::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_runs_as_many_as_it_may_and_the_others_do_not_wait_for_it() {
    const LIMITED: usize = 30;
    let target = Target::start(|_| Reply::After(Duration::from_millis(30), 200)).await;
    let free = Target::start(|_| Reply::After(Duration::from_millis(1), 200)).await;
    let mut world = World::start().await;
    let of = |addr| {
        format!(
            "trigger: {{manual: {{}}}}\nsteps: [{{id: call, http: {{url: \"http://{addr}/\"}}}}]"
        )
    };
    let limited = of(target.addr);
    let mut executions = Vec::new();
    for n in 0..LIMITED {
        executions.push(world.accept(&limited, &n.to_string(), "{}").await);
    }
    let others = world.accept(&of(free.addr), "other", "{}").await;
    let workflow = world.workflow(&limited);
    world.limits = Arc::new(Limits(workflow, 2.try_into().unwrap()));
    world.run();
    world.finished(&others).await;
    // It came last, and there are places for 16.
    assert!(target.calls().len() < LIMITED / 2);
    for execution in &executions {
        let facts = world.finished(execution).await;
        assert_eq!(finished(&facts).0, ExecutionState::Succeeded);
    }
    assert_eq!(target.most_at_once(), 2);
    // In the order in which they came, two at a time.
    let mut started = Vec::new();
    for execution in &executions {
        started.push(world.records(execution).await[0].time);
    }
    assert!(started.windows(3).all(|three| three[0] <= three[2]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_whose_steps_hang_leaves_places_to_others() {
    let hangs = Target::start(|_| Reply::Never).await;
    let mut world = World::start().await;
    world.concurrency_max = 32;
    let of = |addr| {
        format!(
            "trigger: {{manual: {{}}}}\nsteps: [{{id: call, http: {{url: \"http://{addr}/\"}}}}]"
        )
    };
    for n in 0..40 {
        world.accept(&of(hangs.addr), &n.to_string(), "{}").await;
    }
    world.run();
    // One eighth of them is kept.
    hangs.called(28).await;
    let answers = Target::start(|_| Reply::text(200, "")).await;
    let mut others = Vec::new();
    for n in 0..8 {
        others.push(world.accept(&of(answers.addr), &n.to_string(), "{}").await);
    }
    for other in &others {
        let facts = world.finished(other).await;
        assert_eq!(finished(&facts).0, ExecutionState::Succeeded);
    }
    assert_eq!((hangs.calls().len(), hangs.most_at_once()), (28, 28));
    assert!(answers.most_at_once() <= 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_that_is_alone_goes_on_as_places_become_free() {
    let target = Target::start(|_| Reply::After(Duration::from_millis(20), 200)).await;
    let mut world = World::start().await;
    world.concurrency_max = 8;
    let definition = format!(
        "trigger: {{manual: {{}}}}\nsteps: [{{id: wait, wait: {{duration: 0.01s}}}}, {{id: call, http: {{url: \"http://{}/\"}}}}]",
        target.addr
    );
    let mut executions = Vec::new();
    for n in 0..200 {
        executions.push(world.accept(&definition, &n.to_string(), "{}").await);
    }
    world.run();
    let began = std::time::Instant::now();
    for execution in &executions {
        let facts = world.finished(execution).await;
        assert_eq!(finished(&facts).0, ExecutionState::Succeeded);
    }
    // Each of some thirty times that nobody said so would have cost five seconds.
    assert!(began.elapsed() < Duration::from_secs(40), "{began:?}");
    assert!(target.most_at_once() >= 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_cancelled_while_it_waits_for_its_turn_ends_at_once() {
    let target = Target::start(|_| Reply::Never).await;
    let mut world = World::start().await;
    let slow = format!(
        "trigger: {{manual: {{}}}}\nsteps: [{{id: call, timeout: 60s, http: {{url: \"http://{}/\"}}}}]",
        target.addr
    );
    let workflow = world.workflow(&slow);
    world.limits = Arc::new(Limits(workflow, 1.try_into().unwrap()));
    world.accept(&slow, "running", "{}").await;
    world.run();
    target.called(1).await;
    let mut waiting = Vec::new();
    for n in 0..3 {
        waiting.push(world.accept(&slow, &n.to_string(), "{}").await);
    }
    for execution in &waiting[1..] {
        world.cancel(execution).await;
    }
    for execution in &waiting[1..] {
        let facts = world.finished(execution).await;
        assert_eq!(finished(&facts).0, ExecutionState::Cancelled);
        assert_eq!(facts.len(), 1, "nothing of it has begun: {facts:?}");
    }
    // The others wait as before.
    assert!(world.facts(&waiting[0]).await.is_empty());
    assert_eq!(target.calls().len(), 1);
}

#[derive(Debug)]
struct AllDeleted;

impl ConcurrencyLimits for AllDeleted {
    fn executions_max(&self, _workflow: &WorkflowName) -> ConcurrencyLimit {
        ConcurrencyLimit::Unknown
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_deleted_workflow_no_more_run_at_once_than_its_definition_says() {
    let target = Target::start(|_| Reply::After(Duration::from_millis(200), 200)).await;
    let free = Target::start(|_| Reply::After(Duration::from_millis(200), 200)).await;
    let mut world = World::start().await;
    world.limits = Arc::new(AllDeleted);
    let of = |addr, limit: &str| {
        format!(
            "trigger: {{manual: {{}}}}\n{limit}\nsteps: [{{id: call, http: {{url: \"http://{addr}/\"}}}}]"
        )
    };
    let mut executions = Vec::new();
    for n in 0..12 {
        let limited = of(target.addr, "concurrency: {maxExecutions: 3}");
        executions.push(world.accept(&limited, &n.to_string(), "{}").await);
        executions.push(world.accept(&of(free.addr, ""), &n.to_string(), "{}").await);
    }
    world.run();
    for execution in &executions {
        let facts = world.finished(execution).await;
        assert_eq!(finished(&facts).0, ExecutionState::Succeeded);
    }
    // On a busy machine the third may come late.
    assert!((2..=3).contains(&target.most_at_once()));
    assert!(free.most_at_once() > 3, "{}", free.most_at_once());
}

#[derive(Debug)]
struct Limits(WorkflowName, NonZeroU32);

impl ConcurrencyLimits for Limits {
    fn executions_max(&self, workflow: &WorkflowName) -> ConcurrencyLimit {
        (*workflow == self.0).then_some(self.1).into()
    }
}
