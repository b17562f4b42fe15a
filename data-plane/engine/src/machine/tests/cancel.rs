//! Executions that an operator ends.

use super::{
    support::{drive, end, ends, plan_finally, retried, wait, wake},
    *,
};

fn call(id: &str) -> Step {
    retried(http(id, "http://example.test/"), 3)
}

#[test]
fn nothing_begins_any_more_and_what_is_under_way_may_end() {
    let steps = || vec![call("call"), transform("never", "1")];
    let tidy = || vec![transform("tidy", "[execution.state, execution.error.code]")];
    let cancelled = || {
        let mut machine = Machine::new(plan_finally(steps(), tidy()), &accepted());
        start(&mut machine);
        let decision = machine.cancel(at(1));
        let (facts, decision) = run(&mut machine, decision, at(1));
        assert_eq!(facts, [Fact::Cancelling]);
        (machine, decision)
    };
    let timed = |facts: &[Fact]| {
        let facts: Vec<_> = facts.iter().map(|fact| (fact.clone(), at(1))).collect();
        ends(&facts)
    };
    // It ends in time: its end is what counts for it.
    let (mut machine, decision) = cancelled();
    let Decision::Await { attempts, wake_at } = &decision else {
        panic!("{decision:?}")
    };
    assert_eq!((attempts.len(), *wake_at), (1, at(11)));
    // Asked again, nothing changes.
    assert_eq!(machine.cancel(at(2)), decision);
    let decision = end(&mut machine, "call", 1, response(200, ""), at(3));
    let (facts, _) = run(&mut machine, decision, at(3));
    assert_eq!(timed(&facts), ["call Succeeded", "tidy Succeeded"]);
    let (state, _, error) = finished(&facts);
    assert_eq!(state, ExecutionState::Cancelled);
    assert_eq!(error.unwrap().code, codes::CANCELLED);
    let told = facts.iter().find_map(|fact| match fact {
        Fact::StepFinished { step, output, .. } if step.step.as_str() == "tidy" => output.clone(),
        _ => None,
    });
    assert_eq!(told.unwrap().to_value(), json!(["CANCELLED", "CANCELLED"]));
    // It fails, and no other attempt follows.
    let (mut machine, _) = cancelled();
    let decision = end(&mut machine, "call", 1, response(503, ""), at(3));
    let (facts, _) = run(&mut machine, decision, at(3));
    assert_eq!(timed(&facts), ["call Cancelled", "tidy Succeeded"]);
    // It does not end.
    let (mut machine, _) = cancelled();
    let decision = machine.decide(at(11));
    let (facts, _) = run(&mut machine, decision, at(11));
    assert_eq!(timed(&facts), ["call Cancelled", "tidy Succeeded"]);
    // It was the last, and nothing was cut off.
    let mut machine = super::machine(vec![call("call")]);
    start(&mut machine);
    let decision = machine.cancel(at(1));
    run(&mut machine, decision, at(1));
    let decision = end(&mut machine, "call", 1, response(200, ""), at(2));
    let (facts, _) = run(&mut machine, decision, at(2));
    assert_eq!(finished(&facts).0, ExecutionState::Succeeded);
}

#[test]
fn waits_end_at_once_and_a_crash_goes_on_with_the_end() {
    let steps = || vec![wait("pause", "2999-01-01T00:00:00Z")];
    let mut machine = super::machine(steps());
    let (before, _) = start(&mut machine);
    let decision = machine.cancel(at(1));
    let (facts, decision) = run(&mut machine, decision, at(1));
    assert_eq!(finished(&facts).0, ExecutionState::Cancelled);
    assert_eq!(decision, Decision::Done(ExecutionState::Cancelled));
    for kept in 1..=facts.len() {
        let mut after = super::machine(steps());
        for fact in before.iter().chain(&facts[..kept]) {
            after.replay(fact, at(1)).unwrap();
        }
        let decision = after.decide(at(2));
        assert_eq!(run(&mut after, decision, at(2)).0, facts[kept..], "{kept}");
    }
    // An attempt that a crash cut short is not made again.
    let mut machine = super::machine(vec![call("call")]);
    let (before, _) = start(&mut machine);
    let mut after = super::machine(vec![call("call")]);
    for fact in before.iter().chain(&[Fact::Cancelling]) {
        after.replay(fact, at(1)).unwrap();
    }
    let decision = after.decide(at(2));
    let (facts, _) = run(&mut after, decision, at(2));
    assert_eq!(finished(&facts).0, ExecutionState::Cancelled);
    assert!(
        !facts
            .iter()
            .any(|fact| matches!(fact, Fact::AttemptStarted { .. }))
    );
}

#[test]
fn what_has_not_begun_ends_without_a_trace_and_what_is_ending_goes_on() {
    let mut queued = Machine::new(
        plan_finally(vec![call("call")], vec![transform("tidy", "1")]),
        &accepted(),
    );
    let decision = queued.cancel(at(0));
    let (facts, _) = run(&mut queued, decision, at(0));
    assert_eq!(facts.len(), 1);
    assert_eq!(finished(&facts).0, ExecutionState::Cancelled);
    assert_eq!(
        queued.cancel(at(1)),
        Decision::Done(ExecutionState::Cancelled)
    );

    let finally = vec![wait("tidy", &at(30).to_string())];
    let mut ending = Machine::new(
        plan_finally(vec![transform("a", "1")], finally),
        &accepted(),
    );
    let (_, decision) = start(&mut ending);
    assert_eq!(wake(&decision), at(30));
    assert_eq!(ending.cancel(at(1)), decision);
    let facts = drive(&mut ending, &|_| response(200, ""));
    let (Fact::Finished { state, .. }, _) = facts.last().unwrap() else {
        panic!("{facts:?}")
    };
    assert_eq!(*state, ExecutionState::Succeeded);
}
