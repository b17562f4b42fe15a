//! Executions whose journal begins with what is kept of another.

use signalbox_model::{
    execution::StepState,
    retry::{Kept, StepRecord},
    workflow::{ForEachStep, Trigger, Workflow},
};

use super::{
    support::{drive, plan, step},
    *,
};

fn each(concurrency: u32, steps: Vec<Step>) -> Step {
    let each = ForEachStep {
        items: cel("[1, 2, 3]"),
        concurrency,
        fail_fast: false,
        steps,
    };
    step("each", Action::ForEach(each))
}

fn call(id: &str) -> Step {
    http(id, "http://example.test/")
}

fn record(step: &str, kind: &str, state: StepState, input: Value) -> StepRecord {
    let text = JsonText::from_value(&input);
    StepRecord {
        step: step.parse().unwrap(),
        kind: kind.to_owned(),
        state,
        output: matches!(state, StepState::Succeeded).then(|| JsonText::from_value(&json!(step))),
        error: matches!(state, StepState::Failed).then(|| Failure::new("HTTP_STATUS", "no")),
        input: text,
    }
}

/// A machine that goes on from what is kept of `records`, and those facts.
fn retried(steps: Vec<Step>, records: &[StepRecord]) -> (Machine, Vec<Fact>) {
    let workflow = Workflow::new(
        Trigger::Manual,
        Default::default(),
        steps.clone(),
        None,
        None,
    );
    let facts = Kept::of(&workflow.unwrap(), records).into_facts();
    let mut machine = Machine::new(plan(steps), &accepted());
    for fact in &facts {
        machine.replay(fact, at(0)).unwrap();
    }
    (machine, facts)
}

#[test]
fn what_is_kept_is_read_and_not_done_again() {
    let steps = vec![call("a"), call("b"), transform("c", "steps.a.output")];
    let records = [
        record("a", "http", StepState::Succeeded, json!({})),
        record("b", "http", StepState::Failed, json!({})),
    ];
    let (mut machine, _) = retried(steps, &records);
    let (_, decision) = start(&mut machine);
    let effect = effect(decision);
    assert_eq!(
        (effect.step.to_string(), effect.attempt),
        ("b".to_owned(), 1)
    );
    assert!(!effect.repeated);
    let facts = drive(&mut machine, &|_| response(200, "{}"));
    let facts: Vec<Fact> = facts.into_iter().map(|(fact, _)| fact).collect();
    assert_eq!(finished(&facts).1, Some(json!("a")));
}

#[test]
fn iterations_that_had_begun_go_on_as_many_at_once_as_may() {
    let steps = || vec![each(1, vec![call("one"), call("two")])];
    let items = json!({"items": [1, 2, 3]});
    let records = [
        record("each", "forEach", StepState::Failed, items),
        record("one[0]", "http", StepState::Succeeded, json!({})),
        record("two[0]", "http", StepState::Failed, json!({})),
        record("one[1]", "http", StepState::Succeeded, json!({})),
        record("two[1]", "http", StepState::Succeeded, json!({})),
        record("one[2]", "http", StepState::Failed, json!({})),
    ];
    let (mut machine, kept) = retried(steps(), &records);
    assert_eq!(kept.len(), 5);
    let (_, decision) = start(&mut machine);
    assert_eq!(effect(decision).step.to_string(), "two[0]");
    let performed = std::cell::RefCell::new(Vec::new());
    let facts = drive(&mut machine, &|effect| {
        performed.borrow_mut().push(effect.step.to_string());
        response(200, "{}")
    });
    assert_eq!(performed.into_inner(), ["two[0]", "one[2]", "two[2]"]);
    let facts: Vec<Fact> = facts.into_iter().map(|(fact, _)| fact).collect();
    let (state, output, _) = finished(&facts);
    assert_eq!(state, ExecutionState::Succeeded);
    assert_eq!(output.unwrap()[1], json!("two[1]"));
}

#[test]
fn what_cannot_be_kept_there_is_a_contradiction() {
    let kept = |step: &str, kind: &str, state| Fact::StepKept {
        step: step.parse().unwrap(),
        kind: kind.to_owned(),
        input: JsonText::from_value(&json!({})),
        state,
        output: None,
        error: None,
    };
    let refused = |facts: &[Fact]| {
        let mut machine = machine(vec![call("a"), call("b")]);
        machine.replay(&Fact::Started, at(0)).unwrap();
        let mut refused = facts.iter().map(|fact| machine.replay(fact, at(0)));
        refused.find_map(Result::err).map(|error| error.to_string())
    };
    let good = kept("a", "http", StepState::Succeeded);
    assert_eq!(refused(std::slice::from_ref(&good)), None);
    for wrong in [
        vec![kept("b", "http", StepState::Succeeded)],
        vec![kept("a", "wait", StepState::Succeeded)],
        vec![good.clone(), good],
        vec![kept("a", "http", StepState::Running)],
        vec![kept("none", "http", StepState::Succeeded)],
    ] {
        assert!(refused(&wrong).is_some(), "{wrong:?}");
    }
}
