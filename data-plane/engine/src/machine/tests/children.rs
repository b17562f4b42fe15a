//! Steps that run other workflows.

use signalbox_model::{
    child::{ChildEnd, Parent},
    workflow::{ForEachStep, RunWorkflowStep},
};

use super::{
    support::{end, ends, plan_finally, retried, wake},
    *,
};
use crate::ChildCall;

fn run_other(id: &str, waits: bool) -> Step {
    let run = RunWorkflowStep {
        workflow: "other".parse().unwrap(),
        input: Some(JsonTemplate::parse(&json!({"n": "${{ event.json.n }}"})).unwrap()),
        waits,
    };
    step(id, Action::RunWorkflow(Box::new(run)))
}

fn child(id: &str) -> ExecutionName {
    format!("projects/p/executions/{id}").parse().unwrap()
}

/// Says that the attempt has started an execution; gives what follows.
fn begun(machine: &mut Machine, step: &str, number: u32, id: &str) -> (Vec<Fact>, Decision) {
    let decision = end(machine, step, number, Outcome::Child(child(id)), at(1));
    run(machine, decision, at(1))
}

fn ended(step: &str, number: u32, id: &str, state: ExecutionState) -> Fact {
    let is_well = state == ExecutionState::Succeeded;
    Fact::ChildEnded(Box::new(ChildEnd {
        step: step.parse().unwrap(),
        number,
        child: child(id),
        state,
        output: is_well.then(|| JsonText::from_value(&json!(7))),
        error: (!is_well).then(|| Failure::new("WHY", "because")),
    }))
}

/// Tells it, and gives what follows at `now`.
fn tell(machine: &mut Machine, fact: &Fact, now: Timestamp) -> (Vec<Fact>, Decision) {
    machine.hear(fact);
    let decision = machine.decide(now);
    run(machine, decision, now)
}

#[test]
fn a_step_waits_for_its_child_without_an_attempt_under_way() {
    let steps = || {
        vec![
            run_other("call", true),
            transform("n", "steps.call.output.output"),
        ]
    };
    let mut live = machine(steps());
    let (mut journal, decision) = start(&mut live);
    let effect = effect(decision);
    let EffectKind::RunWorkflow(call) = &effect.kind else {
        panic!("{effect:?}")
    };
    let expected = ChildCall {
        workflow: "other".parse().unwrap(),
        input: JsonText::from_value(&json!({"n": 3})),
        waits: true,
    };
    assert_eq!(**call, expected);
    let (facts, decision) = begun(&mut live, "call", 1, "c1");
    let started = Fact::ChildStarted {
        step: "call".parse().unwrap(),
        number: 1,
        child: child("c1"),
        waits: true,
    };
    assert_eq!(facts, [started]);
    assert_eq!(
        (wake(&decision), live.state()),
        (at(3600), ExecutionState::Waiting)
    );
    journal.extend(facts);
    // Others' ends are none of it.
    for other in [
        ended("other", 1, "c1", ExecutionState::Succeeded),
        ended("call", 2, "c2", ExecutionState::Succeeded),
    ] {
        assert_eq!(tell(&mut live, &other, at(2)).0, []);
    }
    let end = ended("call", 1, "c1", ExecutionState::Succeeded);
    let (facts, _) = tell(&mut live, &end, at(9));
    assert_eq!(finished(&facts).1, Some(json!(7)));
    journal.push(end);
    journal.extend(facts);
    // Wherever a crash cuts, it goes on; only a start that is not durable is repeated.
    for kept in 0..journal.len() {
        let mut after = machine(steps());
        for fact in &journal[..kept] {
            after.replay(fact, at(1)).unwrap();
        }
        let decision = after.decide(at(10));
        let (facts, decision) = run(&mut after, decision, at(10));
        let repeats = facts
            .iter()
            .any(|fact| matches!(fact, Fact::AttemptStarted { repeated: true, .. }));
        assert_eq!(repeats, kept == 3, "{kept}: {facts:?}");
        match kept {
            0..=3 => assert!(matches!(
                super::effect(decision).kind,
                EffectKind::RunWorkflow(_)
            )),
            4 => assert_eq!(after.state(), ExecutionState::Waiting),
            _ => assert_eq!(after.state(), ExecutionState::Succeeded),
        }
    }
}

#[test]
fn an_end_that_is_told_before_the_start_is_known_is_kept() {
    let mut machine = machine(vec![run_other("call", true)]);
    start(&mut machine);
    machine.hear(&ended("call", 1, "c1", ExecutionState::Succeeded));
    let (facts, _) = begun(&mut machine, "call", 1, "c1");
    assert_eq!(finished(&facts).0, ExecutionState::Succeeded);
}

#[test]
fn a_child_that_is_not_waited_for_is_left_alone() {
    let mut machine = machine(vec![run_other("call", false)]);
    start(&mut machine);
    let (facts, _) = begun(&mut machine, "call", 1, "c1");
    let output = json!({
        "execution": "projects/p/executions/c1", "state": "QUEUED", "output": null,
    });
    assert_eq!(
        finished(&facts),
        (ExecutionState::Succeeded, Some(output), None)
    );
}

#[test]
fn each_attempt_has_a_child_of_its_own() {
    let mut machine = machine(vec![retried(run_other("call", true), 2)]);
    let (_, decision) = start(&mut machine);
    let first = effect(decision);
    begun(&mut machine, "call", 1, "c1");
    let end = ended("call", 1, "c1", ExecutionState::Failed);
    let (facts, decision) = tell(&mut machine, &end, at(5));
    let [Fact::AttemptFailed { error, .. }] = &facts[..] else {
        panic!("{facts:?}")
    };
    assert_eq!(
        error.to_string(),
        "CHILD_FAILED: projects/p/executions/c1 failed: WHY: because"
    );
    let due = wake(&decision);
    // A copy is of the first.
    assert_eq!(tell(&mut machine, &end, at(5)).0, []);
    let decision = machine.decide(due);
    let (_, decision) = run(&mut machine, decision, due);
    let second = effect(decision);
    assert_eq!((first.attempt, second.attempt), (1, 2));
    begun(&mut machine, "call", 2, "c2");
    assert_eq!(tell(&mut machine, &end, due).0, []);
    let (facts, _) = tell(
        &mut machine,
        &ended("call", 2, "c2", ExecutionState::TimedOut),
        due,
    );
    assert_eq!(finished(&facts).2.unwrap().code, codes::CHILD_TIMED_OUT);
}

#[test]
fn what_cannot_be_started_is_an_attempt_that_failed() {
    let failed = |failure| {
        let mut machine = machine(vec![retried(run_other("call", true), 2)]);
        start(&mut machine);
        let decision = end(&mut machine, "call", 1, Outcome::Failed(failure), at(1));
        let (facts, _) = run(&mut machine, decision, at(1));
        matches!(facts[0], Fact::AttemptFailed { .. })
    };
    let unavailable = AttemptFailure::retriable(codes::CHILD_UNAVAILABLE, "away");
    assert!(failed(unavailable));
    assert!(!failed(AttemptFailure::lasting(codes::CHILD_DEPTH, "deep")));
}

#[test]
fn a_cancelled_child_is_not_run_again_unless_the_policy_says_so() {
    let end_of = |step: Step| {
        let mut machine = machine(vec![step]);
        start(&mut machine);
        begun(&mut machine, "call", 1, "c1");
        let end = ended("call", 1, "c1", ExecutionState::Cancelled);
        tell(&mut machine, &end, at(5)).0.remove(0)
    };
    let plain = retried(run_other("call", true), 3);
    let mut wanted = plain.clone();
    wanted.retry.retry_on = vec![codes::CHILD_CANCELLED.parse().unwrap()];
    assert!(
        matches!(end_of(plain), Fact::StepFinished { error: Some(error), .. } if error.code == codes::CHILD_CANCELLED)
    );
    assert!(matches!(end_of(wanted), Fact::AttemptFailed { .. }));
}

#[test]
fn whoever_is_cancelled_waits_for_no_child_and_starts_none() {
    let mut machine = machine(vec![run_other("call", true)]);
    start(&mut machine);
    begun(&mut machine, "call", 1, "c1");
    let decision = machine.cancel(at(2));
    let (facts, _) = run(&mut machine, decision, at(2));
    assert_eq!(finished(&facts).0, ExecutionState::Cancelled);
    let timed: Vec<_> = facts.iter().map(|fact| (fact.clone(), at(2))).collect();
    assert_eq!(ends(&timed), ["call Cancelled"]);
    // Its attempt is a fact, and has not been made.
    let mut machine = super::machine(vec![run_other("call", true)]);
    start(&mut machine);
    let decision = machine.cancel(at(2));
    let (facts, _) = run(&mut machine, decision, at(2));
    assert_eq!(finished(&facts).0, ExecutionState::Cancelled);
}

#[test]
fn iterations_have_children_of_their_own() {
    let each = ForEachStep {
        items: cel("[1, 2]"),
        concurrency: 2,
        fail_fast: true,
        steps: vec![
            run_other("call", true),
            transform("n", "steps.call.output.output + index"),
        ],
    };
    let mut machine = machine(vec![step("each", Action::ForEach(each))]);
    start(&mut machine);
    begun(&mut machine, "call[1]", 1, "c1");
    begun(&mut machine, "call[0]", 1, "c0");
    tell(
        &mut machine,
        &ended("call[0]", 1, "c0", ExecutionState::Succeeded),
        at(3),
    );
    let (facts, _) = tell(
        &mut machine,
        &ended("call[1]", 1, "c1", ExecutionState::Succeeded),
        at(4),
    );
    assert_eq!(finished(&facts).1, Some(json!([7, 8])));
}

/// The child of `x0`'s step.
fn of_parent() -> Accepted {
    Accepted {
        parent: Some(Box::new(Parent {
            execution: child("x0"),
            step: "call".parse().unwrap(),
            attempt: 1,
            waits: true,
            depth: 1,
        })),
        ..accepted()
    }
}

#[test]
fn a_child_knows_its_parent_and_ends_when_that_does_not_wait_any_more() {
    let steps = || {
        vec![
            transform("who", "execution.parent"),
            run_other("call", true),
        ]
    };
    let tidy = || vec![transform("tidy", "execution.state")];
    let mut machine = Machine::new(plan_finally(steps(), tidy()), &of_parent());
    let (facts, _) = start(&mut machine);
    let who = facts.iter().find_map(|fact| match fact {
        Fact::StepFinished { output, .. } => output.clone(),
        _ => None,
    });
    assert_eq!(who.unwrap().to_value(), json!("projects/p/executions/x0"));
    begun(&mut machine, "call", 1, "c1");
    let (facts, _) = tell(&mut machine, &Fact::Abandoned, at(2));
    assert_eq!(facts[0], Fact::Cancelling);
    let timed: Vec<_> = facts.iter().map(|fact| (fact.clone(), at(2))).collect();
    assert_eq!(ends(&timed), ["call Cancelled", "tidy Succeeded"]);
    let (state, _, error) = finished(&facts);
    assert_eq!(
        (state, error),
        (ExecutionState::Cancelled, Some(Failure::abandoned()))
    );

    // Before it began, and by its journal.
    let mut early = Machine::new(plan_finally(steps(), tidy()), &of_parent());
    early.replay(&Fact::Abandoned, at(0)).unwrap();
    let (facts, _) = start(&mut early);
    assert_eq!(facts.len(), 1);
    assert_eq!(
        (finished(&facts).0, finished(&facts).2),
        (ExecutionState::Cancelled, Some(Failure::abandoned()))
    );
}

#[test]
fn facts_out_of_turn_are_refused() {
    let started = |number| Fact::ChildStarted {
        step: "call".parse().unwrap(),
        number,
        child: child("c1"),
        waits: true,
    };
    let mut machine = machine(vec![run_other("call", true)]);
    let (journal, _) = start(&mut machine);
    let replayed = |more: &[Fact]| {
        let mut machine = super::machine(vec![run_other("call", true)]);
        let mut all = journal.iter().chain(more);
        all.try_for_each(|fact| machine.replay(fact, at(0)))
    };
    assert!(replayed(&[started(1)]).is_ok());
    assert!(replayed(&[started(2)]).is_err());
    assert!(replayed(&[started(1), started(1)]).is_err());
    let again = Fact::AttemptStarted {
        step: "call".parse().unwrap(),
        number: 1,
        repeated: true,
    };
    assert!(replayed(&[started(1), again]).is_err());
}
