//! Executions that steps start.

use std::{
    collections::BTreeMap,
    num::NonZeroU32,
    sync::{Mutex, atomic::AtomicBool},
};

use signalbox_model::{
    child::Parent,
    config::PublishedVersion,
    event::TriggerKind,
    ids::{ExecutionName, ProjectId, WorkflowName},
    record::{Accepted, RecordBody},
};
use signalbox_proto::{
    convert::{definition, json},
    v1,
};

use super::*;
use crate::execution::{ConcurrencyLimit, ConcurrencyLimits, Unavailable, WorkflowSource};

/// The workflows of a node.
#[derive(Debug, Default)]
struct Shelf(Mutex<BTreeMap<String, PublishedVersion>>);

impl Shelf {
    fn put(&self, id: &str, definition: &str) {
        let spec: v1::WorkflowSpec = json::from_yaml_str(definition).unwrap();
        let source = definition::encode(&spec);
        let workflow = definition::decode(&source, &ProjectId::default_project()).unwrap();
        let version = PublishedVersion::read(3, &workflow, source);
        self.0.lock().unwrap().insert(id.to_owned(), version);
    }
}

impl WorkflowSource for Shelf {
    fn runnable(&self, workflow: &WorkflowName) -> Result<PublishedVersion, Unavailable> {
        let found = self
            .0
            .lock()
            .unwrap()
            .get(workflow.workflow.as_str())
            .cloned();
        found.ok_or(Unavailable::Unknown)
    }
}

async fn world_with(workflows: &[(&str, &str)]) -> (World, Arc<Shelf>) {
    let shelf = Arc::new(Shelf::default());
    for (id, definition) in workflows {
        shelf.put(id, definition);
    }
    let mut world = World::start().await;
    world.workflows = shelf.clone();
    (world, shelf)
}

impl World {
    /// The executions that steps of `parent` started, in that order.
    async fn children(&self, parent: &ExecutionName) -> Vec<Accepted> {
        let all = self.spool().unreported(0, 100_000, usize::MAX >> 1).await;
        let all = all.unwrap().into_iter();
        all.filter_map(|record| match record.record.body {
            RecordBody::Accepted(accepted) => Some(*accepted),
            _ => None,
        })
        .filter(|accepted| {
            let above = accepted.parent.as_ref().map(|parent| &parent.execution);
            above == Some(parent)
        })
        .collect()
    }

    /// Until steps of `parent` have started `count` executions; the last of them.
    async fn child(&self, parent: &ExecutionName, count: usize) -> ExecutionName {
        let mut head = self.spool().head();
        let wait = async {
            loop {
                let children = self.children(parent).await;
                if let Some(child) = children.get(count - 1) {
                    return child.execution.clone();
                }
                head.changed().await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap()
    }

    async fn parked(&self, count: u64) {
        let wait = async {
            while self.spool().stats().parked_executions != count {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.unwrap();
    }
}

const ADD: &str = r#"
trigger: {manual: {inputs: [{name: a, type: integer, required: true}, {name: b, type: integer, default: 10}]}}
steps: [{id: sum, transform: {expression: "event.json.a + event.json.b"}}]
"#;

const ASK: &str = r#"
trigger: {manual: {}}
steps:
  - id: call
    runWorkflow: {workflow: add, input: {a: "${{ event.json.n }}"}}
  - {id: twice, transform: {expression: steps.call.output.output * 2}}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_step_gives_what_its_child_gives() {
    let (mut world, _) = world_with(&[("add", ADD)]).await;
    let parent = world.accept(ASK, "one", r#"{"n": 4}"#).await;
    world.run();
    let facts = world.finished(&parent).await;
    assert_eq!(output_of(&facts), json!(28));
    let children = world.children(&parent).await;
    let [child] = &children[..] else {
        panic!("{children:?}")
    };
    assert_eq!(
        (child.workflow.to_string().as_str(), child.version),
        ("projects/default/workflows/add", 3)
    );
    let above = Parent {
        execution: parent.clone(),
        step: "call".parse().unwrap(),
        attempt: 1,
        waits: true,
        depth: 1,
    };
    assert_eq!(child.parent.as_deref(), Some(&above));
    assert_eq!(child.event.trigger, TriggerKind::Workflow);
    assert_eq!(
        child.event.scope.to_value()["json"],
        json!({"a": 4, "b": 10})
    );
    assert_eq!(
        output_of(&world.finished(&child.execution).await),
        json!(14)
    );
    let output = facts.iter().find_map(|fact| match fact {
        Fact::StepFinished { step, output, .. } if step.step.as_str() == "call" => output.clone(),
        _ => None,
    });
    assert_eq!(
        output.unwrap().to_value(),
        json!({"execution": child.execution.to_string(), "state": "SUCCEEDED", "output": 14})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_anywhere_starts_no_child_twice_and_loses_no_end() {
    let definition = r#"
trigger: {manual: {}}
steps:
  - id: each
    forEach:
      items: "[1, 2]"
      steps: [{id: call, runWorkflow: {workflow: ask, input: {n: "${{ item }}"}}}]
  - {id: all, transform: {expression: "steps.each.output.map(one, one.output)"}}
"#;
    // Each of them journals some four times, whichever comes first.
    let mut was_cut = 0;
    for after in 0.. {
        let mut has_ended = true;
        for is_written in [false, true] {
            let (mut world, _) = world_with(&[("add", ADD), ("ask", ASK)]).await;
            let parent = world.accept(definition, "one", "{}").await;
            let cut = Flaky::cut(world.spool(), after, is_written);
            world.run_on(cut.clone());
            let is_cut = tokio::select! {
                () = cut.was_cut() => true,
                _ = world.finished(&parent) => false,
            };
            drop(cut);
            if is_cut {
                has_ended = false;
                was_cut += 1;
                world.crash().await;
                world.run();
            }
            let facts = world.finished(&parent).await;
            assert_eq!(output_of(&facts), json!([22, 24]), "{after} {is_written}");
            let children = world.children(&parent).await;
            assert_eq!(children.len(), 2, "{after} {is_written}");
            for child in &children {
                let facts = world.finished(&child.execution).await;
                let ends = |facts: &[Fact]| {
                    let ends = facts.iter().filter(|f| matches!(f, Fact::ChildEnded(_)));
                    ends.count()
                };
                assert_eq!(ends(&facts), 1);
                assert_eq!(world.children(&child.execution).await.len(), 1);
            }
            world.stop().await;
        }
        if has_ended {
            break;
        }
    }
    assert!(was_cut > 20, "{was_cut}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_a_child_takes_no_place() {
    #[derive(Debug)]
    struct One;
    impl ConcurrencyLimits for One {
        fn executions_max(&self, _workflow: &WorkflowName) -> ConcurrencyLimit {
            NonZeroU32::new(1).into()
        }
    }
    // It runs itself, four deep; each may run alone only.
    let down = r#"
trigger: {manual: {}}
steps:
  - id: end
    condition:
      rules: [{if: event.json.n == 0, steps: [{id: bottom, succeed: {output: ["bottom"]}}]}]
  - {id: call, runWorkflow: {workflow: down, input: {n: "${{ event.json.n - 1 }}"}}}
  - {id: up, transform: {expression: "steps.call.output.output + [event.json.n]"}}
"#;
    let (mut world, _) = world_with(&[("down", down)]).await;
    world.concurrency_max = 1;
    world.limits = Arc::new(One);
    let mut all = Vec::new();
    for n in 0..5 {
        all.push(world.accept(down, &n.to_string(), r#"{"n": 4}"#).await);
    }
    world.run();
    for execution in &all {
        let output = output_of(&world.finished(execution).await);
        assert_eq!(output, json!(["bottom", 1, 2, 3, 4]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn there_is_a_deepest_child() {
    let down = r#"
trigger: {manual: {}}
steps: [{id: call, if: event.json != 1, runWorkflow: {workflow: down}}]
"#;
    let (mut world, _) = world_with(&[("down", down)]).await;
    let mut execution = world.accept(down, "one", "{}").await;
    world.run();
    assert_eq!(code_of(&world.finished(&execution).await), "CHILD_FAILED");
    for depth in 1..=8 {
        let children = world.children(&execution).await;
        assert_eq!(children.len(), 1);
        assert_eq!(children[0].parent.as_ref().unwrap().depth, depth);
        execution = children[0].execution.clone();
    }
    assert_eq!(code_of(&world.finished(&execution).await), "CHILD_DEPTH");
    assert_eq!(world.children(&execution).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_that_comes_later_is_run_by_a_later_attempt() {
    let (mut world, shelf) = world_with(&[]).await;
    let retried = ASK.replace(
        "id: call",
        "id: call\n    retry: {maxAttempts: 20, initialBackoff: 0.05s, multiplier: 1}",
    );
    let plain = world.accept(ASK, "one", r#"{"n": 4}"#).await;
    let parent = world.accept(&retried, "two", r#"{"n": 4}"#).await;
    let mistaken = world.accept(ASK, "three", r#"{"n": "x"}"#).await;
    world.run();
    let facts = world.finished(&plain).await;
    assert_eq!(
        finished(&facts).1.unwrap().to_string(),
        "CHILD_UNAVAILABLE: step \"call\": projects/default/workflows/add does not exist, or has not reached this node"
    );
    shelf.put("add", ADD);
    assert_eq!(output_of(&world.finished(&parent).await), json!(28));
    assert_eq!(world.children(&parent).await.len(), 1);
    world.finished(&mistaken).await;
    let mistaken = world.accept(ASK, "four", r#"{"n": "x"}"#).await;
    let error = finished(&world.finished(&mistaken).await)
        .1
        .unwrap()
        .to_string();
    assert!(
        error.starts_with(
            "CHILD_INPUT: step \"call\": projects/default/workflows/add does not take its input: "
        ) && error.contains("input.a: is \"x\"; expected an integer"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn each_attempt_runs_another_child() {
    let fails = Arc::new(AtomicBool::new(true));
    let switch = fails.clone();
    let target = Target::start(move |_| match switch.swap(false, Ordering::SeqCst) {
        true => Reply::text(404, ""),
        false => Reply::text(200, "fine"),
    })
    .await;
    let call = http_step(&format!("http://{}/", target.addr), "");
    let (mut world, _) = world_with(&[("call", &call)]).await;
    let definition = r#"
trigger: {manual: {}}
steps:
  - id: run
    retry: {maxAttempts: 2, initialBackoff: 0.01s}
    runWorkflow: {workflow: call}
"#;
    let parent = world.accept(definition, "one", "{}").await;
    world.run();
    let facts = world.finished(&parent).await;
    assert_eq!(output_of(&facts)["output"]["body"], "fine");
    assert_eq!(attempts(&facts), [(1, false), (2, false)]);
    let children = world.children(&parent).await;
    assert_eq!(children.len(), 2);
    assert_ne!(children[0].execution, children[1].execution);
    let calls = target.calls();
    assert_ne!(
        calls[0].header("idempotency-key"),
        calls[1].header("idempotency-key")
    );
}

const WAITS: &str = "
trigger: {manual: {}}
steps: [{id: long, wait: {duration: 3600s}}]
finally: {steps: [{id: tidy, transform: {expression: execution.state}}]}
";

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_step_is_the_end_of_the_child_that_it_waits_for() {
    let middle = "
trigger: {manual: {}}
steps: [{id: call, runWorkflow: {workflow: waits}}]
";
    let definition = "
trigger: {manual: {}}
steps:
  - {id: leave, runWorkflow: {workflow: waits, wait: false}}
  - {id: call, runWorkflow: {workflow: middle}}
";
    let (mut world, _) = world_with(&[("waits", WAITS), ("middle", middle)]).await;
    let parent = world.accept(definition, "one", "{}").await;
    world.run();
    let middle = world.child(&parent, 2).await;
    let last = world.child(&middle, 1).await;
    // All of them are in the spool only.
    world.parked(4).await;
    world.cancel(&parent).await;
    for execution in [&parent, &middle, &last] {
        let facts = world.finished(execution).await;
        assert_eq!(finished(&facts).0, ExecutionState::Cancelled, "{execution}");
    }
    let facts = world.facts(&last).await;
    let tidied = facts.iter().any(|fact| {
        matches!(fact, Fact::StepFinished { step, state: StepState::Succeeded, .. } if step.step.as_str() == "tidy")
    });
    assert!(tidied, "{facts:?}");
    // What was not waited for goes on.
    world.parked(1).await;
    let left = world.children(&parent).await[0].execution.clone();
    assert!(!world.facts(&left).await.iter().any(Fact::is_told));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_whose_parent_ran_out_of_time_ends_also_after_a_crash() {
    let definition = "
trigger: {manual: {}}
steps:
  - {id: call, totalTimeout: 0.3s, onError: {continue: true}, runWorkflow: {workflow: waits}}
  - {id: why, transform: {expression: steps.call.error.code}}
";
    for is_written in [false, true] {
        // The start, the child's, its waiting, and then the end of the step.
        for after in 0..6 {
            let (mut world, _) = world_with(&[("waits", WAITS)]).await;
            let parent = world.accept(definition, "one", "{}").await;
            let cut = Flaky::cut(world.spool(), after, is_written);
            world.run_on(cut.clone());
            tokio::select! {
                () = cut.was_cut() => {}
                _ = world.finished(&parent) => {}
            }
            drop(cut);
            world.crash().await;
            world.run();
            assert_eq!(
                output_of(&world.finished(&parent).await),
                json!("STEP_TIMEOUT")
            );
            for child in world.children(&parent).await {
                let facts = world.finished(&child.execution).await;
                let (state, error) = finished(&facts);
                assert_eq!(state, ExecutionState::Cancelled);
                assert!(
                    error.unwrap().message.contains("the step that started"),
                    "{facts:?}"
                );
            }
            world.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_child_fails_its_step_for_good() {
    let (mut world, _) = world_with(&[("waits", WAITS)]).await;
    let definition = "
trigger: {manual: {}}
steps: [{id: call, retry: {initialBackoff: 0.01s}, runWorkflow: {workflow: waits}}]
";
    let parent = world.accept(definition, "one", "{}").await;
    world.run();
    let child = world.child(&parent, 1).await;
    world.cancel(&child).await;
    assert_eq!(code_of(&world.finished(&parent).await), "CHILD_CANCELLED");
    assert_eq!(world.children(&parent).await.len(), 1);
}

/// A node whose memory of the parent was shorter than of its child runs the parent anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_is_not_known_any_more_fails_its_step() {
    let (mut world, _) = world_with(&[("add", ADD)]).await;
    let parent = world.accept(ASK, "one", r#"{"n": 4}"#).await;
    world.run();
    world.finished(&parent).await;
    let child = world.child(&parent, 1).await;
    world.finished(&child).await;
    world.stop().await;
    // The child's name is taken there, by what has ended, and by what is another.
    for input in [r#"{"a":4}"#, "{}"] {
        let (mut other, _) = world_with(&[("add", ADD)]).await;
        let quick = "trigger: {manual: {}}\nsteps: [{id: quick, transform: {expression: '1'}}]";
        let spec: v1::WorkflowSpec = json::from_yaml_str(quick).unwrap();
        let mut accept = support::an_accept(definition::encode(&spec), "other", input);
        accept.accepted.execution = child.clone();
        other.spool().accept(accept).await.unwrap();
        other.run();
        other.finished(&child).await;
        let again = other.accept(ASK, "one", r#"{"n": 4}"#).await;
        assert_eq!(again, parent);
        let error = finished(&other.finished(&again).await)
            .1
            .unwrap()
            .to_string();
        assert!(
            error.starts_with("CHILD_FAILED: ") && error.contains("ran here before"),
            "{error}"
        );
    }
}
