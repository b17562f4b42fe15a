//! Signals and approvals.

use signalbox_model::{
    signal::{ApprovalDecision, SignalKind},
    workflow::{ApprovalStep, ApprovalTimeout, SignalTimeout, SignalWait},
};

use super::{
    support::{ends, on_error, plan_within, wake},
    *,
};

fn named(id: &str, name: &str, payload: i64) -> Signal {
    Signal {
        id: id.parse().unwrap(),
        kind: SignalKind::Named {
            name: name.parse().unwrap(),
            payload: JsonText::from_value(&json!(payload)),
        },
        by: "ann".to_owned(),
        at: at(-5),
    }
}

pub(super) fn decided(id: &str, step: &str, decision: ApprovalDecision, comment: &str) -> Signal {
    Signal {
        id: id.parse().unwrap(),
        kind: SignalKind::Decision {
            step: step.parse().unwrap(),
            decision,
            comment: comment.to_owned(),
        },
        by: "bob".to_owned(),
        at: at(7),
    }
}

fn wait_for(id: &str, name: &str, timeout_s: Option<u64>, on_timeout: SignalTimeout) -> Step {
    let wait = SignalWait {
        name: Template::parse(name).unwrap(),
        timeout: timeout_s.map(Duration::from_secs),
        on_timeout,
    };
    step(id, Action::Wait(WaitStep::Signal(wait)))
}

pub(super) fn approval(id: &str, on_timeout: ApprovalTimeout, rejected_is_output: bool) -> Step {
    let approval = ApprovalStep {
        message: Template::parse("Ship ${{ event.json.n }}?").unwrap(),
        approvers: vec!["the desk".to_owned()],
        timeout: Some(Duration::from_secs(60)),
        on_timeout,
        rejected_is_output,
    };
    step(id, Action::Approval(approval))
}

/// Tells it, and gives the facts that follow at `now`.
pub(super) fn tell(machine: &mut Machine, signal: &Signal, now: Timestamp) -> Vec<Fact> {
    machine.signal(signal);
    let decision = machine.decide(now);
    run(machine, decision, now).0
}

fn input_of(facts: &[Fact], id: &str) -> Value {
    let input = facts.iter().find_map(|fact| match fact {
        Fact::StepStarted { step, input, .. } if step.to_string() == id => Some(input.to_value()),
        _ => None,
    });
    input.unwrap()
}

#[test]
fn a_wait_takes_the_signal_of_its_name_and_gives_what_came_with_it() {
    let mut machine = machine(vec![wait_for(
        "paid",
        "order-${{ event.json.n }}",
        Some(60),
        SignalTimeout::Fail,
    )]);
    let (facts, decision) = start(&mut machine);
    assert_eq!(machine.state(), ExecutionState::Waiting);
    assert_eq!(wake(&decision), at(60));
    let expected = json!({"signal": "order-3", "deadline": at(60).to_string()});
    assert_eq!(input_of(&facts, "paid"), expected);
    assert_eq!(tell(&mut machine, &named("s1", "order-4", 1), at(1)), []);
    let other = decided("s2", "paid", ApprovalDecision::Approved, "");
    assert_eq!(tell(&mut machine, &other, at(1)), []);
    let facts = tell(&mut machine, &named("s3", "order-3", 7), at(2));
    let output = json!({
        "signal": "order-3", "payload": 7, "by": "ann", "at": at(-5).to_string(), "timedOut": false,
    });
    assert_eq!(
        finished(&facts),
        (ExecutionState::Succeeded, Some(output), None)
    );
}

#[test]
fn signals_are_kept_and_taken_once_each_in_their_order() {
    let steps = || {
        vec![
            wait_for("a", "go", None, SignalTimeout::Fail),
            wait_for("b", "go", None, SignalTimeout::Fail),
            wait_for("c", "go", None, SignalTimeout::Fail),
            transform(
                "sum",
                "[steps.a, steps.b, steps.c].map(s, s.output.payload)",
            ),
        ]
    };
    let mut machine = machine(steps());
    // Before it began, a copy among them.
    for signal in [
        named("s1", "go", 1),
        named("s2", "go", 2),
        named("s1", "go", 1),
    ] {
        machine.signal(&signal);
    }
    let (facts, decision) = start(&mut machine);
    assert_eq!(wake(&decision), at(3600), "as long as the execution has");
    assert_eq!(input_of(&facts, "c")["deadline"], Value::Null);
    let facts = tell(&mut machine, &named("s3", "go", 3), at(9));
    assert_eq!(finished(&facts).1, Some(json!([1, 2, 3])));
}

#[test]
fn a_journal_may_hold_a_signal_before_what_was_decided_without_it() {
    let steps = || {
        let first = wait_for("a", "go", Some(5), SignalTimeout::Continue);
        vec![
            first,
            wait_for("b", "go", None, SignalTimeout::Fail),
            transform("both", "[steps.a.output.timedOut, steps.b.output.payload]"),
        ]
    };
    let mut live = machine(steps());
    let (before, _) = start(&mut live);
    // The signal is durable; the machine does not know yet, and its time is over.
    let decision = live.decide(at(5));
    let (meanwhile, decision) = run(&mut live, decision, at(5));
    assert_eq!(wake(&decision), at(3600));
    let signal = named("s1", "go", 4);
    let rest = tell(&mut live, &signal, at(6));
    assert_eq!(finished(&rest).1, Some(json!([true, 4])));
    let told = [Fact::SignalReceived(Box::new(signal))];
    let journal: Vec<_> = before
        .iter()
        .chain(&told)
        .chain(&meanwhile)
        .chain(&rest)
        .collect();
    for kept in before.len() + 1..journal.len() {
        let mut after = machine(steps());
        for fact in &journal[..kept] {
            after.replay(fact, at(5)).unwrap();
        }
        let decision = after.decide(at(6));
        let (facts, _) = run(&mut after, decision, at(6));
        // What was journalled stands; had it not been, the signal would have come in time.
        if kept > before.len() + 1 {
            assert_eq!(finished(&facts).1, Some(json!([true, 4])), "{kept}");
        } else {
            let ended: Vec<_> = facts.iter().map(|fact| (fact.clone(), at(6))).collect();
            assert_eq!(ends(&ended), ["a Succeeded"]);
            assert_eq!(after.state(), ExecutionState::Waiting);
        }
    }
    // One that was taken and never came is no journal.
    let mut wrong = machine(steps());
    for fact in &before {
        wrong.replay(fact, at(0)).unwrap();
    }
    let taken = rest
        .iter()
        .find(|fact| matches!(fact, Fact::StepFinished { .. }));
    for fact in &meanwhile {
        wrong.replay(fact, at(5)).unwrap();
    }
    assert!(wrong.replay(taken.unwrap(), at(6)).is_err());
}

#[test]
fn the_first_decision_counts() {
    let mut machine = machine(vec![approval("ask", ApprovalTimeout::Fail, true)]);
    let (facts, decision) = start(&mut machine);
    assert_eq!(wake(&decision), at(60));
    let asked = json!({
        "message": "Ship 3?", "approvers": ["the desk"], "deadline": at(60).to_string(),
    });
    assert_eq!(input_of(&facts, "ask"), asked);
    machine.signal(&decided(
        "s1",
        "ask",
        ApprovalDecision::Rejected,
        "not today",
    ));
    let late = decided("s2", "ask", ApprovalDecision::Approved, "");
    let facts = tell(&mut machine, &late, at(8));
    let output = json!({
        "decision": "REJECTED", "by": "bob", "at": at(7).to_string(), "comment": "not today",
        "timedOut": false,
    });
    assert_eq!(
        finished(&facts),
        (ExecutionState::Succeeded, Some(output), None)
    );
}

#[test]
fn a_rejection_fails_the_step_unless_it_is_output() {
    let steps = || {
        let ask = approval("ask", ApprovalTimeout::Fail, false);
        vec![
            on_error(ask, OnError::Continue),
            transform("why", "steps.ask.error"),
        ]
    };
    let why = |comment: &str| {
        let mut machine = machine(steps());
        start(&mut machine);
        let signal = decided("s1", "ask", ApprovalDecision::Rejected, comment);
        finished(&tell(&mut machine, &signal, at(8))).1.unwrap()
    };
    let expected = |message: &str| json!({"code": codes::REJECTED, "message": message});
    assert_eq!(why("too late"), expected("bob rejected it: too late"));
    assert_eq!(why(""), expected("bob rejected it"));
}

#[test]
fn what_nobody_told_in_time_comes_to_what_the_definition_says() {
    let outcome = |step: Step| {
        let mut machine = machine(vec![step]);
        let (_, decision) = start(&mut machine);
        assert_eq!(wake(&decision), at(60));
        let decision = machine.decide(at(60));
        let (facts, _) = run(&mut machine, decision, at(60));
        let (_, output, error) = finished(&facts);
        (output, error.map(|error| error.code))
    };
    let failed = |code: &str| (None, Some(code.to_owned()));
    let none = |decision: &str| {
        let output = json!({
            "decision": decision, "by": null, "at": at(60).to_string(), "comment": "",
            "timedOut": true,
        });
        (Some(output), None)
    };
    use ApprovalTimeout::{Approve, Fail, Reject};
    assert_eq!(
        outcome(approval("a", Fail, true)),
        failed(codes::APPROVAL_TIMEOUT)
    );
    assert_eq!(outcome(approval("a", Approve, false)), none("APPROVED"));
    assert_eq!(outcome(approval("a", Reject, true)), none("REJECTED"));
    assert_eq!(
        outcome(approval("a", Reject, false)),
        failed(codes::REJECTED)
    );
    let wait = |on_timeout| outcome(wait_for("a", "go", Some(60), on_timeout));
    assert_eq!(wait(SignalTimeout::Fail), failed(codes::SIGNAL_TIMEOUT));
    let output = json!({"signal": "go", "payload": null, "by": null, "at": null, "timedOut": true});
    assert_eq!(wait(SignalTimeout::Continue), (Some(output), None));
}

#[test]
fn other_limits_end_what_listens_too() {
    let bounded = Step {
        total_timeout: Some(Duration::from_secs(5)),
        ..approval("ask", ApprovalTimeout::Approve, false)
    };
    let mut machine = machine(vec![bounded]);
    let (_, decision) = start(&mut machine);
    assert_eq!(wake(&decision), at(5));
    let decision = machine.decide(at(5));
    let (facts, _) = run(&mut machine, decision, at(5));
    assert_eq!(finished(&facts).2.unwrap().code, codes::STEP_TIMEOUT);

    let steps = vec![wait_for("w", "go", None, SignalTimeout::Continue)];
    let mut machine = Machine::new(plan_within(steps, Duration::from_secs(30)), &accepted());
    start(&mut machine);
    let decision = machine.decide(at(30));
    let (facts, _) = run(&mut machine, decision, at(30));
    assert_eq!(finished(&facts).0, ExecutionState::TimedOut);

    // It is cancelled at once, and what comes after that is not heard.
    let mut machine = super::machine(vec![approval("ask", ApprovalTimeout::Approve, false)]);
    start(&mut machine);
    machine.cancel(at(1));
    machine.signal(&decided("s1", "ask", ApprovalDecision::Approved, ""));
    let decision = machine.decide(at(1));
    let (facts, _) = run(&mut machine, decision, at(1));
    assert!(facts.is_empty() || finished(&facts).0 == ExecutionState::Cancelled);
    assert_eq!(machine.state(), ExecutionState::Cancelled);
}

#[test]
fn a_name_that_is_none_fails_the_step() {
    let wait = wait_for("w", "${{ event.message }}", None, SignalTimeout::Fail);
    let (facts, _) = start(&mut machine(vec![wait]));
    assert_eq!(finished(&facts).2.unwrap().code, codes::INVALID_SIGNAL);
}

#[test]
fn iterations_have_decisions_of_their_own() {
    let each = step(
        "each",
        Action::ForEach(signalbox_model::workflow::ForEachStep {
            items: cel("[1, 2]"),
            concurrency: 2,
            fail_fast: true,
            steps: vec![
                approval("ask", ApprovalTimeout::Fail, true),
                transform("said", "[index, steps.ask.output.decision]"),
            ],
        }),
    );
    let mut machine = machine(vec![each]);
    start(&mut machine);
    let one = decided("s1", "ask[1]", ApprovalDecision::Approved, "");
    assert_eq!(tell(&mut machine, &one, at(8)).len(), 3);
    let other = decided("s2", "ask[0]", ApprovalDecision::Rejected, "");
    let facts = tell(&mut machine, &other, at(9));
    assert_eq!(
        finished(&facts).1,
        Some(json!([[0, "REJECTED"], [1, "APPROVED"]]))
    );
}
