//! What executions are told: while they wait, before, and across crashes.

use jiff::Timestamp;
use signalbox_model::{
    execution::JsonText,
    ids::ExecutionName,
    signal::{ApprovalDecision, Signal, SignalKind},
};

use super::{
    support::{Reply, Target, World, code_of, output_of},
    *,
};
use crate::spool::Told;

fn named(id: &str, payload: i64) -> Signal {
    Signal {
        id: id.parse().unwrap(),
        kind: SignalKind::Named {
            name: "go".parse().unwrap(),
            payload: JsonText::from_value(&json!(payload)),
        },
        by: "ann".to_owned(),
        at: Timestamp::UNIX_EPOCH,
    }
}

fn decided(id: &str, step: &str, decision: ApprovalDecision) -> Signal {
    Signal {
        id: id.parse().unwrap(),
        kind: SignalKind::Decision {
            step: step.parse().unwrap(),
            decision,
            comment: "as it is".to_owned(),
        },
        by: "bob".to_owned(),
        at: Timestamp::UNIX_EPOCH,
    }
}

impl World {
    /// Tells an execution as the stream from the control plane does.
    async fn tell(&self, execution: &ExecutionName, signal: Signal) -> Told {
        let spool = self.spool();
        let from = (spool.as_ref() as &dyn Spool, self.secrets.as_ref());
        let told = self
            .wakes
            .tell(from, (execution, signal), Timestamp::now(), None);
        told.await.unwrap().unwrap()
    }

    /// Until a run of a step has started.
    async fn started(&self, execution: &ExecutionName, run: &str) {
        let mut head = self.spool().head();
        let wait = async {
            loop {
                let facts = self.facts(execution).await;
                let is_it = |fact: &Fact| matches!(fact, Fact::StepStarted { step, .. } if step.to_string() == run);
                if facts.iter().any(is_it) {
                    return;
                }
                head.changed().await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap();
    }
}

const TWO: &str = r#"
trigger: {manual: {}}
steps:
  - {id: a, wait: {signal: {name: go}}}
  - {id: b, wait: {signal: {name: go}}}
  - {id: both, transform: {expression: "[steps.a.output.payload, steps.b.output.payload]"}}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_signal_wakes_its_execution_and_no_other() {
    let mut world = World::start().await;
    let one = world.accept(TWO, "one", "{}").await;
    let other = world.accept(TWO, "other", "{}").await;
    world.run();
    world.started(&one, "a").await;
    world.started(&other, "a").await;
    assert_ne!(world.tell(&one, named("s1", 1)).await, Told::Gone);
    world.started(&one, "b").await;
    // A copy is none.
    assert_ne!(world.tell(&one, named("s1", 1)).await, Told::Gone);
    assert_ne!(world.tell(&one, named("s2", 2)).await, Told::Gone);
    assert_eq!(output_of(&world.finished(&one).await), json!([1, 2]));
    assert_eq!(world.tell(&one, named("s3", 3)).await, Told::Gone);
    let facts = world.facts(&other).await;
    assert!(
        !facts
            .iter()
            .any(|fact| matches!(fact, Fact::StepFinished { .. }))
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_before_it_runs_is_kept() {
    let mut world = World::start().await;
    let execution = world.accept(TWO, "one", "{}").await;
    assert_eq!(
        world.tell(&execution, named("s1", 1)).await,
        Told::Unclaimed
    );
    assert_eq!(
        world.tell(&execution, named("s2", 2)).await,
        Told::Unclaimed
    );
    world.run();
    assert_eq!(output_of(&world.finished(&execution).await), json!([1, 2]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_a_signal_and_the_end_loses_none_and_takes_none_twice() {
    let target = Target::start(|_| Reply::json(200, &json!({}))).await;
    let mut world = World::start().await;
    let definition = format!(
        r#"
trigger: {{manual: {{}}}}
steps:
  - {{id: a, wait: {{signal: {{name: go}}}}}}
  - {{id: call, http: {{url: "http://{}/", text: "${{{{ steps.a.output.payload }}}}"}}}}
  - {{id: b, wait: {{signal: {{name: go}}}}}}
  - {{id: both, transform: {{expression: "[steps.a.output.payload, steps.b.output.payload]"}}}}
"#,
        target.addr
    );
    let execution = world.accept(&definition, "one", "{}").await;
    world.run();
    world.started(&execution, "a").await;
    world.crash().await;
    // While nobody runs it; and a copy when somebody does.
    assert_eq!(
        world.tell(&execution, named("s1", 1)).await,
        Told::Unclaimed
    );
    world.run();
    world.started(&execution, "b").await;
    assert_ne!(world.tell(&execution, named("s1", 1)).await, Told::Gone);
    world.crash().await;
    world.run();
    // Durable, and nobody was woken before the crash.
    let spool = world.spool();
    let told = spool.tell(execution.clone(), named("s2", 2), Timestamp::now(), None);
    told.await.unwrap();
    drop(spool);
    world.crash().await;
    world.run();
    let facts = world.finished(&execution).await;
    assert_eq!(output_of(&facts), json!([1, 2]));
    let told = facts
        .iter()
        .filter(|fact| matches!(fact, Fact::SignalReceived(_)));
    assert_eq!(told.count(), 2);
    assert_eq!(target.calls().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn approvals_are_decided_each_for_itself_and_once() {
    let mut world = World::start().await;
    let definition = r#"
trigger: {manual: {}}
steps:
  - id: each
    forEach:
      items: "['x', 'y']"
      steps:
        - {id: ask, approval: {message: "ship ${{ item }}?", rejectedIsOutput: true}}
        - {id: said, transform: {expression: "[steps.ask.output.decision, steps.ask.output.by]"}}
"#;
    let execution = world.accept(definition, "one", "{}").await;
    world.run();
    for run in ["ask[0]", "ask[1]"] {
        world.started(&execution, run).await;
    }
    use ApprovalDecision::{Approved, Rejected};
    world
        .tell(&execution, decided("s1", "ask[1]", Approved))
        .await;
    world
        .tell(&execution, decided("s2", "ask[1]", Rejected))
        .await;
    world
        .tell(&execution, decided("s3", "ask[0]", Rejected))
        .await;
    let facts = world.finished(&execution).await;
    let expected = json!([["REJECTED", "bob"], ["APPROVED", "bob"]]);
    assert_eq!(output_of(&facts), expected);

    let definition = "
trigger: {manual: {}}
steps: [{id: ask, approval: {message: sure?}}]
";
    let execution = world.accept(definition, "two", "{}").await;
    world.started(&execution, "ask").await;
    world.tell(&execution, decided("s1", "ask", Rejected)).await;
    let facts = world.finished(&execution).await;
    assert_eq!(code_of(&facts), "REJECTED");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_answers_in_time() {
    let mut world = World::start().await;
    let definition = "
trigger: {manual: {}}
steps:
  - {id: w, wait: {signal: {name: go, timeout: 0.05s, onTimeout: continue}}}
  - {id: ask, approval: {message: sure?, timeout: 0.05s, onTimeout: approve}}
  - {id: both, transform: {expression: '[steps.w.output.timedOut, steps.ask.output.decision]'}}
";
    let execution = world.accept(definition, "one", "{}").await;
    world.run();
    let facts = world.finished(&execution).await;
    assert_eq!(output_of(&facts), json!([true, "APPROVED"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_in_the_spool_is_told_too_and_while_it_goes_there() {
    const MANY: usize = 60;
    let mut world = World::start().await;
    world.concurrency_max = 1;
    let definition = "
trigger: {manual: {}}
steps: [{id: a, wait: {signal: {name: go}}}, {id: b, transform: {expression: steps.a.output.payload}}]
";
    let mut executions = Vec::new();
    for n in 0..MANY {
        executions.push(world.accept(definition, &n.to_string(), "{}").await);
    }
    world.run();
    // Each at another moment: some wait to begin, some are about to leave the memory, and the others have.
    for (n, execution) in executions.iter().enumerate() {
        assert_ne!(world.tell(execution, named("s1", 1)).await, Told::Gone);
        tokio::time::sleep(Duration::from_micros(300 * (n as u64 % 7))).await;
    }
    for execution in &executions {
        assert_eq!(output_of(&world.finished(execution).await), json!(1));
    }
    let last = world.accept(definition, "last", "{}").await;
    let parked = async {
        while world.spool().stats().parked_executions != 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, parked).await.unwrap();
    let told_at = std::time::Instant::now();
    assert_eq!(world.tell(&last, named("s1", 1)).await, Told::Unclaimed);
    world.finished(&last).await;
    // Nobody looks for it every few seconds only.
    assert!(told_at.elapsed() < Duration::from_secs(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_is_told_is_journalled_without_its_secrets() {
    let target = Target::start(|_| Reply::json(200, &json!({}))).await;
    let config = super::secrets::Config::new();
    config.set("default", "token", "first+s3cret");
    config.set("default", "other", "another-s3cret");
    let mut world = World::start().await;
    world.secrets = config.store.clone();
    let definition = format!(
        r#"
trigger: {{manual: {{}}}}
steps:
  - {{id: call, http: {{url: "http://{}/", headers: {{X-Token: "${{{{ secrets.token }}}}"}}}}}}
  - {{id: wait, wait: {{signal: {{name: go}}}}}}
  - {{id: ask, approval: {{message: sure?}}}}
"#,
        target.addr
    );
    let execution = world.accept(&definition, "one", "{}").await;
    world.run();
    world.started(&execution, "wait").await;
    // What was sent is sent back after it was replaced.
    config.set("default", "token", "second+s3cret");
    let payload =
        r#"{"n":12345678901234567890,"a":["first%2Bs3cret","second+s3cret","another-s3cret"]}"#;
    let kind = SignalKind::Named {
        name: "go".parse().unwrap(),
        payload: JsonText::try_from(payload.to_owned()).unwrap(),
    };
    let told = Signal {
        kind,
        ..named("s1", 1)
    };
    world.tell(&execution, told).await;
    world.started(&execution, "ask").await;
    let mut told = decided("s2", "ask", ApprovalDecision::Approved);
    if let SignalKind::Decision { comment, .. } = &mut told.kind {
        *comment = "with first&#43;s3cret".to_owned();
    }
    world.tell(&execution, told).await;
    let facts = world.finished(&execution).await;
    let told: Vec<_> = facts
        .iter()
        .filter_map(|fact| match fact {
            Fact::SignalReceived(signal) => Some(&signal.kind),
            _ => None,
        })
        .collect();
    let [
        SignalKind::Named { payload, .. },
        SignalKind::Decision { comment, .. },
    ] = told[..]
    else {
        panic!("{told:?}")
    };
    assert_eq!(
        payload.to_value()["a"],
        json!(["***", "***", "another-s3cret"])
    );
    assert_eq!(comment, "with ***");
    world.stop().await;
    for value in [
        "first+s3cret",
        "first%2Bs3cret",
        "first&#43;s3cret",
        "second+s3cret",
    ] {
        assert!(!world.some_file_holds(value), "{value}");
    }
}
