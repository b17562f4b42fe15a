#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cancel;
mod children;
mod flow;
mod frames;
mod links;
mod retry;
mod secrets;
mod signals;
mod support;

use signalbox_model::{
    execution::StepState,
    expression::{JsonTemplate, Template},
    limits,
    workflow::{
        Action, FailStep, OnError, RetryPolicy, Step, SucceedStep, TransformStep, WaitStep,
    },
};

use super::*;
use crate::{AttemptFailure, codes, idempotency_key};
use support::*;

/// A field that expressions may not name could not be read.
#[test]
fn expressions_may_read_all_that_is_shown_of_an_execution() {
    let machine = machine(vec![transform("a", "1")]);
    let mut shown = machine.execution_scope(at(0));
    shown["error"] = json!({"code": "C", "message": "m"});
    shown["state"] = json!("FAILED");
    for (name, value) in shown.as_object().unwrap() {
        cel(&format!("execution.{name}"));
        for inner in value.as_object().into_iter().flatten() {
            cel(&format!("execution.{name}.{}", inner.0));
        }
        // What is known of its kind is right.
        let known = if value.is_string() {
            "startsWith('a')"
        } else {
            "a"
        };
        let parsed =
            signalbox_model::expression::Expression::parse(&format!("execution.{name}.{known}"));
        assert_eq!(parsed.is_ok(), value.is_string(), "{name}");
    }
}

#[test]
fn pure_steps_run_in_one_batch_to_the_end() {
    let mut machine = machine(vec![
        transform("first", "event.json.n + 1"),
        transform("second", "steps.first.output * 10"),
        Step {
            condition: Some(cel("steps.second.output > 100")),
            ..transform("skipped", "1")
        },
    ]);
    let Decision::Journal(facts) = machine.decide(at(0)) else {
        panic!("nothing to journal")
    };
    assert_eq!(facts.len(), 8, "{facts:#?}");
    assert_eq!(
        facts[6],
        Fact::StepFinished {
            step: "skipped".parse().unwrap(),
            state: StepState::Skipped,
            output: None,
            error: None,
        }
    );
    // The last step that ran gives the output, not the last one.
    assert_eq!(
        finished(&facts),
        (ExecutionState::Succeeded, Some(json!(40)), None)
    );
    assert_eq!(
        machine.decide(at(1)),
        Decision::Done(ExecutionState::Succeeded)
    );
}

#[test]
fn a_condition_runs_its_branch_and_the_list_goes_on() {
    let branch = |n: i64| {
        let mut machine = machine(vec![
            transform("n", &n.to_string()),
            choose(
                "pick",
                vec![
                    ("steps.n.output == 0", vec![transform("zero", "'zero'")]),
                    (
                        "steps.n.output == 1",
                        vec![choose("inner", vec![("true", vec![])], vec![])],
                    ),
                ],
                vec![transform("other", "'other'")],
            ),
            transform("last", "steps.pick.output"),
        ]);
        let (facts, _) = start(&mut machine);
        let ran: Vec<String> = facts
            .iter()
            .filter_map(|fact| match fact {
                Fact::StepStarted { step, .. } => Some(step.to_string()),
                _ => None,
            })
            .collect();
        (ran, finished(&facts).1)
    };
    let ran = |steps: &[&str]| steps.iter().map(ToString::to_string).collect::<Vec<_>>();
    let given = |branch: i64| Some(json!({ "branch": branch }));
    assert_eq!(branch(0), (ran(&["n", "pick", "zero", "last"]), given(0)));
    assert_eq!(branch(1), (ran(&["n", "pick", "inner", "last"]), given(1)));
    assert_eq!(branch(2), (ran(&["n", "pick", "other", "last"]), given(-1)));
}

#[test]
fn what_computes_records_what_it_was_written_as() {
    let template = JsonTemplate::parse(&json!({"n": "${{ event.json.n }}"})).unwrap();
    let fail = Action::Fail(FailStep {
        code: "TOO_MANY".into(),
        message: Template::parse("n is ${{ event.json.n }}").unwrap(),
    });
    let mut machine = machine(vec![
        transform("expression", "event.json.n"),
        step(
            "template",
            Action::Transform(TransformStep::Template(template.clone())),
        ),
        choose(
            "pick",
            vec![
                ("event.json.n == 1", vec![step("stop", fail.clone())]),
                (
                    "event.json.n == 3",
                    vec![step(
                        "end",
                        Action::Succeed(SucceedStep {
                            output: Some(template),
                        }),
                    )],
                ),
            ],
            vec![],
        ),
    ]);
    let inputs = |facts: &[Fact]| -> Vec<Value> {
        let inputs = facts.iter().filter_map(|fact| match fact {
            Fact::StepStarted { input, .. } => Some(input.to_value()),
            _ => None,
        });
        inputs.collect()
    };
    assert_eq!(
        inputs(&start(&mut machine).0),
        [
            json!({"expression": "event.json.n"}),
            json!({"template": {"n": "${{ event.json.n }}"}}),
            json!({"rules": ["event.json.n == 1", "event.json.n == 3"]}),
            json!({"output": {"n": "${{ event.json.n }}"}}),
        ]
    );
    let (facts, _) = start(&mut self::machine(vec![step("stop", fail)]));
    assert_eq!(
        inputs(&facts),
        [json!({"message": "n is ${{ event.json.n }}"})]
    );
}

#[test]
fn succeed_and_fail_end_the_execution_where_they_stand() {
    let output = JsonTemplate::parse(&json!({"n": "${{ event.json.n }}"})).unwrap();
    let succeed = Action::Succeed(SucceedStep {
        output: Some(output),
    });
    let mut ended = machine(vec![
        choose("pick", vec![("true", vec![step("end", succeed)])], vec![]),
        transform("never", "1"),
    ]);
    let (facts, _) = start(&mut ended);
    assert_eq!(
        finished(&facts),
        (ExecutionState::Succeeded, Some(json!({"n": 3})), None)
    );
    let fail = Action::Fail(FailStep {
        code: "TOO_MANY".into(),
        message: Template::parse("n is ${{ event.json.n }}").unwrap(),
    });
    let (facts, decision) = start(&mut machine(vec![step("stop", fail)]));
    assert_eq!(
        finished(&facts),
        (
            ExecutionState::Failed,
            None,
            Some(Failure::new("TOO_MANY", "n is 3"))
        )
    );
    assert_eq!(decision, Decision::Done(ExecutionState::Failed));
}

#[test]
fn a_failed_evaluation_fails_the_execution_and_names_the_step() {
    for broken in [
        transform("broken", "event.json.none.more"),
        Step {
            condition: Some(cel("event.json.n")),
            ..transform("broken", "1")
        },
        choose("broken", vec![("event.json.n", vec![])], vec![]),
        http("broken", "${{ event.json.none.more }}"),
    ] {
        let (facts, _) = start(&mut machine(vec![broken]));
        let (state, _, error) = finished(&facts);
        let error = error.unwrap();
        assert_eq!(state, ExecutionState::Failed);
        assert_eq!(error.code, codes::EXPRESSION);
        assert!(error.message.starts_with("step \"broken\": "), "{error}");
    }
}

#[test]
fn a_request_is_resolved_and_recorded_without_its_secrets() {
    let mut machine = machine(vec![
        http("call", "https://example.test/p?token=s3cret#top"),
        transform("after", "steps.call.output.json.ok"),
    ]);
    let (facts, decision) = start(&mut machine);
    let Fact::StepStarted { input, .. } = &facts[1] else {
        panic!("{facts:?}")
    };
    assert_eq!(
        input.to_value(),
        json!({
            "method": "POST",
            "url": "https://example.test/p?token=***&q=a+b",
            "headers": {"authorization": "***", "x-message": "m1", "content-type": "application/json"},
            "body": "{\"n\":3}",
        })
    );
    assert!(
        !format!("{facts:?}{decision:?}").contains("s3cret"),
        "{decision:?}"
    );
    let effect = effect(decision);
    let EffectKind::Http(request) = &effect.kind else {
        panic!("{effect:?}")
    };
    assert_eq!(
        request.url.as_str(),
        "https://example.test/p?token=s3cret&q=a+b"
    );
    assert!(
        request
            .headers
            .contains(&("authorization".into(), "Bearer s3cret".into()))
    );
    assert_eq!(request.body.as_deref(), Some(&b"{\"n\":3}"[..]));
    assert_eq!(effect.timeout, limits::STEP_TIMEOUT_DEFAULT);
    // Asked again, it says the same.
    assert_eq!(self::effect(machine.decide(at(1))), effect);

    let decision = end(
        &mut machine,
        "call",
        1,
        response(200, r#"{"ok": true}"#),
        at(1),
    );
    let (facts, _) = run(&mut machine, decision, at(1));
    let Fact::StepFinished { output, .. } = &facts[0] else {
        panic!("{facts:?}")
    };
    assert_eq!(
        output.as_ref().unwrap().to_value(),
        json!({
            "status": 200,
            "headers": {"x-a": "1, 2", "set-cookie": "***"},
            "body": "{\"ok\": true}",
            "json": {"ok": true},
        })
    );
    assert_eq!(finished(&facts).1, Some(json!(true)));
}

#[test]
fn what_is_no_request_fails_for_good() {
    for url in [
        "ftp://example.test/",
        "https://user:pw@example.test/",
        "${{ 'http://' }}",
        "/relative",
    ] {
        let (facts, _) = start(&mut machine(vec![retried(http("call", url), 5)]));
        let error = finished(&facts).2.unwrap();
        assert_eq!(error.code, codes::INVALID_REQUEST, "{url}");
        assert!(!error.message.contains("pw@"), "{error}");
    }
}

#[test]
fn retriable_failures_are_retried_with_growing_pauses_and_one_key() {
    let mut machine = machine(vec![retried(http("call", "http://example.test/"), 3)]);
    let (_, mut decision) = start(&mut machine);
    let mut now = at(0);
    let mut keys = Vec::new();
    let mut pauses = Vec::new();
    for attempt in 1..=2 {
        let performed = effect(decision);
        assert_eq!((performed.attempt, performed.repeated), (attempt, false));
        keys.push(performed.idempotency_key);
        let next = end(&mut machine, "call", attempt, response(503, "busy"), now);
        assert_eq!(machine.state(), ExecutionState::Waiting);
        let (facts, next) = run(&mut machine, next, now);
        let [Fact::AttemptFailed { retry_at, .. }] = &facts[..] else {
            panic!("{facts:?}")
        };
        assert_eq!(wake(&next), *retry_at);
        pauses.push(retry_at.duration_since(now).as_secs_f64());
        // Too early changes nothing.
        assert_eq!(machine.decide(now), next);
        now = *retry_at;
        let first = machine.decide(now);
        decision = run(&mut machine, first, now).1;
    }
    assert!((0.5..=1.0).contains(&pauses[0]), "{pauses:?}");
    assert!((1.0..=2.0).contains(&pauses[1]), "{pauses:?}");
    keys.push(effect(decision).idempotency_key);
    let expected = idempotency_key(&accepted().execution, &"call".parse().unwrap());
    assert_eq!(keys, vec![expected; 3]);
    let last = end(&mut machine, "call", 3, response(503, " no \n way "), now);
    let (facts, _) = run(&mut machine, last, now);
    assert_eq!(
        finished(&facts).2.unwrap(),
        Failure::new(
            codes::HTTP_STATUS,
            "step \"call\": the server answered 503: no way"
        )
    );
}

#[test]
fn what_no_retry_can_mend_is_not_retried() {
    for outcome in [
        response(404, ""),
        response(301, ""),
        Outcome::Failed(AttemptFailure::lasting(codes::EGRESS_BLOCKED, "no")),
    ] {
        let mut machine = machine(vec![retried(http("call", "http://example.test/"), 3)]);
        start(&mut machine);
        let decision = end(&mut machine, "call", 1, outcome, at(1));
        let (facts, _) = run(&mut machine, decision, at(1));
        assert_eq!(finished(&facts).0, ExecutionState::Failed);
    }
}

#[test]
fn an_interrupted_attempt_runs_again_as_the_same_attempt() {
    let steps = || vec![retried(http("call", "http://example.test/"), 2)];
    let mut before = machine(steps());
    let (facts, decision) = start(&mut before);
    let first = effect(decision);
    let mut after = machine(steps());
    for fact in &facts {
        after.replay(fact, at(0)).unwrap();
    }
    let decision = after.decide(at(60));
    let (facts, decision) = run(&mut after, decision, at(60));
    assert_eq!(
        facts,
        [Fact::AttemptStarted {
            step: "call".parse().unwrap(),
            number: 1,
            repeated: true,
        }]
    );
    assert_eq!(
        effect(decision),
        Effect {
            repeated: true,
            ..first
        }
    );
}

#[test]
fn an_execution_ends_at_its_timeout_whatever_it_does() {
    let steps = || {
        vec![
            retried(http("call", "http://example.test/"), 20),
            transform("b", "1"),
        ]
    };
    let machine = || Machine::new(plan_within(steps(), Duration::from_secs(10)), &accepted());
    let check = |facts: &[Fact]| {
        let (state, _, error) = finished(facts);
        assert_eq!(state, ExecutionState::TimedOut);
        assert_eq!(error.unwrap().code, codes::EXECUTION_TIMEOUT);
    };
    // In an attempt, which gets no more time than the execution has.
    let mut attempting = machine();
    let performed = effect(start(&mut attempting).1);
    assert_eq!(performed.timeout, Duration::from_secs(10));
    let failure = Outcome::Failed(AttemptFailure::retriable(codes::TIMEOUT, "slow"));
    let decision = end(&mut attempting, "call", 1, failure.clone(), at(10));
    check(&run(&mut attempting, decision, at(10)).0);
    // In a pause.
    let mut waiting = machine();
    start(&mut waiting);
    let decision = end(&mut waiting, "call", 1, failure, at(9));
    let (_, decision) = run(&mut waiting, decision, at(9));
    assert!(wake(&decision) <= at(10));
    let decision = waiting.decide(at(10));
    check(&run(&mut waiting, decision, at(10)).0);
    // Between two steps. What has succeeded stays so.
    let mut between = machine();
    start(&mut between);
    let decision = end(&mut between, "call", 1, response(200, ""), at(10));
    let (facts, _) = run(&mut between, decision, at(10));
    check(&facts);
    assert!(matches!(
        facts[0],
        Fact::StepFinished {
            state: StepState::Succeeded,
            ..
        }
    ));
}

#[test]
fn a_foreign_journal_is_refused() {
    let (facts, _) = start(&mut machine(vec![transform("a", "1")]));
    let refused = |order: &[usize]| {
        let mut machine = machine(vec![transform("a", "1")]);
        order
            .iter()
            .find_map(|index| machine.replay(&facts[*index], at(0)).err())
    };
    assert_eq!(facts.len(), 4);
    assert_eq!(refused(&[0, 1, 2, 3]), None);
    for wrong in [
        &[1][..],
        &[0, 0],
        &[0, 2],
        &[0, 1, 1],
        &[0, 1, 2, 1],
        &[0, 1, 2, 3, 3],
    ] {
        assert!(refused(wrong).is_some(), "{wrong:?}");
    }
    let mut other = machine(vec![transform("b", "1")]);
    other.replay(&facts[0], at(0)).unwrap();
    let error = other.replay(&facts[1], at(0)).unwrap_err();
    assert!(
        error.to_string().contains("not in the definition"),
        "{error}"
    );
}

#[test]
fn a_long_run_of_pure_steps_is_cut_into_batches() {
    let steps = (0..150).map(|n| transform(&format!("s{n}"), "1")).collect();
    let mut machine = machine(steps);
    let mut sizes = Vec::new();
    while let Decision::Journal(facts) = machine.decide(at(0)) {
        sizes.push(facts.len());
    }
    assert_eq!(sizes.iter().sum::<usize>(), 2 + 2 * 150);
    assert!(
        sizes.iter().all(|size| *size <= BATCH_MAX_FACTS + 1),
        "{sizes:?}"
    );
}
