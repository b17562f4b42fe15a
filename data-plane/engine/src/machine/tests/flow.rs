//! Waits, errors that are handled, retries by name, limits of time, and what runs finally.

use super::{
    support::{drive, end, ends, on_error, plan_finally, wait, wake},
    *,
};

fn ok(_: &Effect) -> Outcome {
    response(200, r#"{"ok": true}"#)
}

fn down(_: &Effect) -> Outcome {
    response(404, "gone")
}

#[test]
fn a_wait_rests_until_its_time_and_goes_on_with_what_was_recorded() {
    let pause = Duration::from_secs(90);
    let steps = || {
        vec![
            step("pause", Action::Wait(WaitStep::Duration(pause))),
            transform("after", "steps.pause.output.until"),
        ]
    };
    let mut waiting = machine(steps());
    let (facts, decision) = start(&mut waiting);
    assert_eq!(waiting.state(), ExecutionState::Waiting);
    assert_eq!(wake(&decision), at(90));
    // A crash, and another clock: the recorded time counts.
    let mut after = machine(steps());
    for fact in &facts {
        after.replay(fact, at(0)).unwrap();
    }
    assert_eq!(wake(&after.decide(at(60))), at(90));
    let decision = after.decide(at(90));
    let (facts, _) = run(&mut after, decision, at(90));
    let time = at(90).to_string();
    assert_eq!(
        finished(&facts),
        (ExecutionState::Succeeded, Some(json!(time)), None)
    );
}

#[test]
fn a_wait_for_what_has_passed_ends_at_once_and_for_what_is_no_time_fails() {
    let (facts, _) = start(&mut machine(vec![wait("w", "1994-11-06T08:49:37Z")]));
    assert_eq!(finished(&facts).0, ExecutionState::Succeeded);
    for wrong in ["${{ event.message }}", "${{ event.json.n }}", "${{ null }}"] {
        let (facts, _) = start(&mut machine(vec![wait("w", wrong)]));
        assert_eq!(finished(&facts).2.unwrap().code, codes::INVALID_TIME);
    }
    // The workflow's timeout is stronger.
    let steps = vec![wait("w", "2999-01-01T00:00:00Z")];
    let mut late = Machine::new(plan_within(steps, Duration::from_secs(10)), &accepted());
    let (_, decision) = start(&mut late);
    assert_eq!(wake(&decision), at(10));
    let decision = late.decide(at(10));
    let (facts, _) = run(&mut late, decision, at(10));
    assert_eq!(finished(&facts).0, ExecutionState::TimedOut);
}

#[test]
fn a_handled_error_can_be_read_and_the_list_goes_on() {
    let broken = || http("call", "http://example.test/");
    let after = || {
        transform(
            "after",
            "[steps.call.state, steps.call.error.code, steps.call.output]",
        )
    };
    let continued = vec![on_error(broken(), OnError::Continue), after()];
    let facts = drive(&mut machine(continued), &down);
    assert_eq!(ends(&facts), ["call Failed", "after Succeeded"]);
    let Fact::Finished {
        state,
        output,
        error,
    } = &facts.last().unwrap().0
    else {
        panic!("{facts:?}")
    };
    assert_eq!((*state, error), (ExecutionState::Succeeded, &None));
    assert_eq!(
        output.as_ref().unwrap().to_value(),
        json!(["FAILED", "HTTP_STATUS", null])
    );
    let handler = vec![
        transform("told", "steps.call.error.message"),
        on_error(transform("broken", "1 / 0"), OnError::Continue),
    ];
    let handled = vec![on_error(broken(), OnError::Steps(handler)), after()];
    let facts = drive(&mut machine(handled), &down);
    assert_eq!(
        ends(&facts),
        [
            "call Failed",
            "told Succeeded",
            "broken Failed",
            "after Succeeded"
        ]
    );
    // It runs for an error only, and its own fails the execution.
    let handler = || OnError::Steps(vec![transform("worse", "1 / 0")]);
    let steps = || vec![on_error(broken(), handler()), transform("after", "1")];
    assert_eq!(
        ends(&drive(&mut machine(steps()), &ok)),
        ["call Succeeded", "after Succeeded"]
    );
    let facts = drive(&mut machine(steps()), &down);
    assert_eq!(ends(&facts), ["call Failed", "worse Failed"]);
    let Fact::Finished { error, .. } = &facts.last().unwrap().0 else {
        panic!("{facts:?}")
    };
    let error = error.as_ref().unwrap();
    assert!(error.message.starts_with("step \"worse\": "), "{error}");
}

#[test]
fn finally_runs_whatever_happened_and_can_only_spoil_a_success() {
    let finally = || {
        vec![transform(
            "tidy",
            "[execution.state, execution.error == null ? 'none' : execution.error.code]",
        )]
    };
    let outcome = |steps: Vec<Step>, finally: Vec<Step>| {
        let mut machine = Machine::new(plan_finally(steps, finally), &accepted());
        let facts = drive(&mut machine, &down);
        let Fact::Finished { state, error, .. } = &facts.last().unwrap().0 else {
            panic!("{facts:?}")
        };
        let tidy = facts.iter().find_map(|(fact, _)| match fact {
            Fact::StepFinished { step, output, .. } if step.step.as_str() == "tidy" => {
                output.as_ref().map(JsonText::to_value)
            }
            _ => None,
        });
        (*state, error.as_ref().map(|e| e.code.clone()), tidy)
    };
    let code = |code: &str| Some(code.to_owned());
    assert_eq!(
        outcome(vec![transform("a", "1")], finally()),
        (
            ExecutionState::Succeeded,
            None,
            Some(json!(["SUCCEEDED", "none"]))
        )
    );
    assert_eq!(
        outcome(vec![http("call", "http://example.test/")], finally()),
        (
            ExecutionState::Failed,
            code(codes::HTTP_STATUS),
            Some(json!(["FAILED", "HTTP_STATUS"]))
        )
    );
    let long = vec![wait("w", "2999-01-01T00:00:00Z")];
    assert_eq!(
        outcome(long.clone(), finally()),
        (
            ExecutionState::TimedOut,
            code(codes::EXECUTION_TIMEOUT),
            Some(json!(["TIMED_OUT", "EXECUTION_TIMEOUT"]))
        )
    );
    let broken = || vec![transform("worse", "1 / 0")];
    assert_eq!(
        outcome(vec![transform("a", "1")], broken()),
        (ExecutionState::Failed, code(codes::EXPRESSION), None)
    );
    assert_eq!(
        outcome(vec![http("call", "http://example.test/")], broken()),
        (ExecutionState::Failed, code(codes::HTTP_STATUS), None)
    );
    // Its own timeout bounds it, and the workflow's does not.
    let slow = vec![wait("slow", "2999-01-01T00:00:00Z")];
    let mut machine = Machine::new(plan_finally(vec![transform("a", "1")], slow), &accepted());
    let facts = drive(&mut machine, &ok);
    let (Fact::Finished { state, error, .. }, time) = facts.last().unwrap() else {
        panic!("{facts:?}")
    };
    assert_eq!((*state, *time), (ExecutionState::TimedOut, at(60)));
    let error = error.as_ref().unwrap();
    assert_eq!(error.code, codes::FINALLY_TIMEOUT);
    assert!(error.message.starts_with("finally: "), "{error}");
}

#[test]
fn a_policy_names_what_is_retried_and_a_server_when() {
    let policy = |on: &[&str]| RetryPolicy {
        max_attempts: 2,
        retry_on: on.iter().map(|on| on.parse().unwrap()).collect(),
        ..RetryPolicy::WRITTEN_DEFAULT
    };
    let retried = |on: &[&str], status: u16| {
        let call = http("call", "http://example.test/");
        let retry = policy(on);
        let mut machine = machine(vec![Step { retry, ..call }]);
        start(&mut machine);
        let decision = end(&mut machine, "call", 1, response(status, ""), at(0));
        let (facts, _) = run(&mut machine, decision, at(0));
        matches!(facts[0], Fact::AttemptFailed { .. })
    };
    assert!(retried(&["404"], 404));
    assert!(!retried(&["404"], 503));
    assert!(retried(&["4xx", "TIMEOUT"], 404));
    assert!(retried(&["HTTP_STATUS"], 404));
    assert!(!retried(&["TIMEOUT"], 503));
    let pause = |header: &str| {
        let retry = RetryPolicy {
            max_backoff: Duration::from_secs(100),
            ..policy(&[])
        };
        let call = http("call", "http://example.test/");
        let mut machine = machine(vec![Step { retry, ..call }]);
        start(&mut machine);
        let outcome = Outcome::Http(crate::HttpResponse {
            status: 429,
            headers: vec![("retry-after".into(), header.into())],
            body: bytes::Bytes::new(),
        });
        let decision = end(&mut machine, "call", 1, outcome, at(0));
        let (facts, _) = run(&mut machine, decision, at(0));
        let Fact::AttemptFailed { retry_at, .. } = &facts[0] else {
            panic!("{facts:?}")
        };
        retry_at.duration_since(at(0)).as_secs_f64()
    };
    assert_eq!(pause("40"), 40.0);
    assert_eq!(pause("4000"), 100.0);
    assert_eq!(pause("99999999999999999999999"), 100.0);
    assert!((0.5..=1.0).contains(&pause("0")));
    let date = jiff::fmt::rfc2822::DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&at(30))
        .unwrap();
    assert_eq!(pause(&date), 30.0);
}

#[test]
fn a_total_timeout_bounds_attempts_and_pauses_and_can_be_handled() {
    let call = Step {
        total_timeout: Some(Duration::from_secs(5)),
        ..retried(http("call", "http://example.test/"), 20)
    };
    let steps = vec![
        on_error(call, OnError::Continue),
        transform("after", "steps.call.error.code"),
    ];
    let mut machine = machine(steps);
    let performed = effect(start(&mut machine).1);
    assert_eq!(performed.timeout, Duration::from_secs(5));
    let decision = end(&mut machine, "call", 1, response(503, ""), at(4));
    let (_, decision) = run(&mut machine, decision, at(4));
    assert!(wake(&decision) <= at(5));
    let decision = machine.decide(at(5));
    let (facts, _) = run(&mut machine, decision, at(5));
    assert_eq!(
        finished(&facts),
        (ExecutionState::Succeeded, Some(json!("STEP_TIMEOUT")), None)
    );
}

#[test]
fn a_code_of_ours_in_a_fail_step_is_only_a_code() {
    for code in [codes::EXECUTION_TIMEOUT, codes::HISTORY_FULL] {
        let fail = Action::Fail(FailStep {
            code: code.into(),
            message: Template::parse("by hand").unwrap(),
        });
        let (facts, _) = start(&mut machine(vec![step("stop", fail)]));
        assert_eq!(
            finished(&facts),
            (
                ExecutionState::Failed,
                None,
                Some(Failure::new(code, "by hand"))
            )
        );
    }
}

#[test]
fn journals_of_before_replay() {
    let journal = [
        r#""started""#,
        r#"{"stepStarted":{"step":"call","kind":"http","input":"null"}}"#,
        r#"{"attemptStarted":{"step":"call","number":1,"repeated":false}}"#,
        r#"{"attemptFailed":{"step":"call","number":1,"error":{"code":"HTTP_STATUS","message":"x"},"retry_at":"2027-01-15T08:00:01Z"}}"#,
    ];
    let mut machine = machine(vec![retried(http("call", "http://example.test/"), 3)]);
    let mut written = Vec::new();
    for text in journal {
        let fact: Fact = serde_json::from_str(text).unwrap();
        machine.replay(&fact, at(0)).unwrap();
        written.push(serde_json::to_string(&fact).unwrap());
    }
    // And nodes of before read what is written now.
    assert_eq!(written, journal);
    let decision = machine.decide(at(10));
    let (_, decision) = run(&mut machine, decision, at(10));
    assert_eq!(effect(decision).attempt, 2);
}

#[test]
fn a_history_that_is_full_ends_the_execution_whatever_is_handled() {
    let big = |n: usize| {
        on_error(
            http(&format!("s{n}"), "http://example.test/"),
            OnError::Continue,
        )
    };
    let plan = plan_finally((0..60).map(big).collect(), vec![transform("tidy", "1")]);
    let mut machine = Machine::new(plan, &accepted());
    let body = "x".repeat(900_000);
    let facts = drive(&mut machine, &|_| response(200, &body));
    let Fact::Finished { state, error, .. } = &facts.last().unwrap().0 else {
        panic!("{facts:?}")
    };
    assert_eq!(*state, ExecutionState::Failed);
    assert_eq!(error.as_ref().unwrap().code, codes::HISTORY_FULL);
    assert!(ends(&facts).contains(&"tidy Succeeded".to_owned()));
    let recorded: usize = facts.iter().map(|(fact, _)| size(fact)).sum();
    assert!(recorded <= limits::EXECUTION_HISTORY_MAX_BYTES + 2 * crate::RECORD_MAX_BYTES);
}
