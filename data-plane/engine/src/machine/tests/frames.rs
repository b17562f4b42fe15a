//! Branches and iterations.

use signalbox_model::workflow::{ForEachStep, ParallelBranch, ParallelStep};

use super::{
    support::{drive, end, ends, on_error, wait, wake},
    *,
};

pub(super) fn parallel(id: &str, fail_fast: bool, branches: Vec<(&str, Vec<Step>)>) -> Step {
    let branches = branches.into_iter().map(|(name, steps)| ParallelBranch {
        name: name.parse().unwrap(),
        steps,
    });
    let branches = branches.collect();
    step(
        id,
        Action::Parallel(ParallelStep {
            branches,
            fail_fast,
        }),
    )
}

pub(super) fn for_each(
    id: &str,
    items: &str,
    concurrency: u32,
    fail_fast: bool,
    steps: Vec<Step>,
) -> Step {
    let each = ForEachStep {
        items: cel(items),
        concurrency,
        fail_fast,
        steps,
    };
    step(id, Action::ForEach(each))
}

fn call(id: &str) -> Step {
    http(id, "http://example.test/")
}

fn succeed(id: &str, output: Value) -> Step {
    let output = Some(JsonTemplate::parse(&output).unwrap());
    step(id, Action::Succeed(SucceedStep { output }))
}

fn under_way(decision: &Decision) -> Vec<String> {
    match decision {
        Decision::Await { attempts, .. } => attempts.iter().map(|a| a.step.to_string()).collect(),
        other => panic!("{other:?}"),
    }
}

fn last(facts: &[(Fact, Timestamp)]) -> (ExecutionState, Option<Value>, Option<Failure>) {
    finished(
        &facts
            .iter()
            .map(|(fact, _)| fact.clone())
            .collect::<Vec<_>>(),
    )
}

fn ok(effect: &Effect) -> Outcome {
    response(200, &format!("\"{}\"", effect.step))
}

#[test]
fn branches_run_side_by_side_and_give_their_outputs_by_name() {
    let steps = vec![
        transform("before", "7"),
        parallel(
            "both",
            true,
            vec![
                (
                    "a",
                    vec![call("one"), transform("two", "steps.one.output.json + '!'")],
                ),
                ("b", vec![call("three")]),
                ("c", vec![transform("four", "steps.before.output")]),
            ],
        ),
        transform("after", "[steps.both.output.a, steps.both.output.c]"),
    ];
    let mut machine = machine(steps);
    let (facts, decision) = start(&mut machine);
    // What needs no world has ended already.
    assert_eq!(under_way(&decision), ["one", "three"]);
    assert!(facts.iter().any(
        |fact| matches!(fact, Fact::StepFinished { step, .. } if step.step.as_str() == "four")
    ));
    let decision = end(&mut machine, "three", 1, response(200, "3"), at(1));
    let (_, decision) = run(&mut machine, decision, at(1));
    assert_eq!(under_way(&decision), ["one"]);
    // Said twice, it changes nothing.
    let again = end(&mut machine, "three", 1, response(404, ""), at(1));
    assert_eq!(again, decision);
    let decision = end(&mut machine, "one", 1, response(200, "\"x\""), at(2));
    let (facts, _) = run(&mut machine, decision, at(2));
    assert_eq!(finished(&facts).1, Some(json!(["x!", 7])));
}

#[test]
fn iterations_run_so_many_at_once_each_with_its_item_and_its_key() {
    let steps = || {
        let each = vec![
            call("call"),
            transform(
                "made",
                "[item, index, steps.call.output.json, steps.before.output]",
            ),
        ];
        vec![
            transform("before", "9"),
            for_each("each", "['x', 'y', 'z']", 2, true, each),
            transform("after", "steps.each.output.map(made, made[1])"),
        ]
    };
    let mut machine = machine(steps());
    let (_, decision) = start(&mut machine);
    assert_eq!(under_way(&decision), ["call[0]", "call[1]"]);
    let decision = end(&mut machine, "call[1]", 1, response(200, "1"), at(1));
    let (_, decision) = run(&mut machine, decision, at(1));
    assert_eq!(under_way(&decision), ["call[0]", "call[2]"]);
    let Decision::Await { attempts, .. } = &decision else {
        panic!("{decision:?}")
    };
    for attempt in attempts {
        let expected = idempotency_key(&accepted().execution, &attempt.step);
        assert_eq!(attempt.idempotency_key, expected);
    }
    assert_ne!(attempts[0].idempotency_key, attempts[1].idempotency_key);

    let facts = drive(&mut self::machine(steps()), &ok);
    assert_eq!(last(&facts).1, Some(json!([0, 1, 2])));
    let each = facts.iter().find_map(|(fact, _)| match fact {
        Fact::StepFinished { step, output, .. } if step.step.as_str() == "each" => {
            output.as_ref().map(JsonText::to_value)
        }
        _ => None,
    });
    let made = |item: &str, n: i64| json!([item, n, format!("call[{n}]"), 9]);
    assert_eq!(
        each,
        Some(json!([made("x", 0), made("y", 1), made("z", 2)]))
    );
}

#[test]
fn no_items_are_none_and_what_is_no_list_fails() {
    let each = |items: &str| for_each("each", items, 2, true, vec![call("call")]);
    let facts = drive(&mut machine(vec![each("[]")]), &ok);
    assert_eq!(
        last(&facts),
        (ExecutionState::Succeeded, Some(json!([])), None)
    );
    for wrong in ["'text'", "null", "{'a': 1}", "lists.range(1001)"] {
        let facts = drive(&mut machine(vec![each(wrong)]), &ok);
        assert_eq!(
            last(&facts).2.unwrap().code,
            codes::INVALID_ITEMS,
            "{wrong}"
        );
    }
    let facts = drive(&mut machine(vec![each("lists.range(1000)")]), &ok);
    assert_eq!(last(&facts).1.unwrap().as_array().unwrap().len(), 1000);
}

#[test]
fn the_first_failure_stops_the_others() {
    let steps = || {
        let nested = for_each("inner", "[1, 2]", 2, true, vec![call("deep")]);
        vec![on_error(
            parallel(
                "both",
                true,
                vec![
                    // Not the first, so that others are cancelled before it and after it.
                    ("b", vec![wait("pause", "2999-01-01T00:00:00Z")]),
                    ("a", vec![call("bad")]),
                    ("c", vec![nested]),
                ],
            ),
            OnError::Steps(vec![transform(
                "told",
                "[steps.both.error.code, steps.both.error.message]",
            )]),
        )]
    };
    let mut machine = machine(steps());
    let (before, decision) = start(&mut machine);
    assert_eq!(under_way(&decision), ["bad", "deep[0]", "deep[1]"]);
    let decision = end(&mut machine, "bad", 1, response(404, ""), at(1));
    let (facts, _) = run(&mut machine, decision, at(1));
    let timed: Vec<_> = facts.iter().map(|fact| (fact.clone(), at(1))).collect();
    assert_eq!(
        ends(&timed),
        [
            "bad Failed",
            "pause Cancelled",
            "deep[0] Cancelled",
            "deep[1] Cancelled",
            "inner Cancelled",
            "both Failed",
            "told Succeeded"
        ]
    );
    // The handler's output is none of the list's own.
    assert_eq!(finished(&facts), (ExecutionState::Succeeded, None, None));
    let told = facts.iter().find_map(|fact| match fact {
        Fact::StepFinished { step, output, .. } if step.step.as_str() == "told" => output.clone(),
        _ => None,
    });
    assert_eq!(
        told.unwrap().to_value(),
        json!([
            "HTTP_STATUS",
            "branch \"a\": step \"bad\": the server answered 404"
        ])
    );
    // Wherever a crash cuts that, the rest follows.
    for kept in 0..=facts.len() {
        let mut after = self::machine(steps());
        for fact in before.iter().chain(&facts[..kept]) {
            after.replay(fact, at(1)).unwrap();
        }
        let decision = after.decide(at(2));
        let (rest, _) = run(&mut after, decision, at(2));
        if kept > 0 {
            assert_eq!(rest, facts[kept..], "{kept}");
        } else {
            // Nothing says yet that it failed.
            assert!(
                rest.iter()
                    .all(|f| matches!(f, Fact::AttemptStarted { repeated: true, .. }))
            );
            assert_eq!(rest.len(), 3);
        }
    }
}

#[test]
fn without_fail_fast_all_run_and_what_there_is_can_be_read() {
    let answer = |effect: &Effect| match effect.step.indexes[0] {
        1 | 2 => response(404, "no"),
        n => response(200, &n.to_string()),
    };
    let steps = vec![
        on_error(
            for_each("each", "lists.range(4)", 2, false, vec![call("call")]),
            OnError::Continue,
        ),
        transform(
            "after",
            "[steps.each.output.map(o, o == null), steps.each.error.message]",
        ),
    ];
    let facts = drive(&mut machine(steps), &answer);
    assert_eq!(
        last(&facts).1,
        Some(json!([
            [false, true, true, false],
            "2 of 4 failed; the first, item 1: step \"call\": the server answered 404: no"
        ]))
    );
}

#[test]
fn succeed_and_fail_end_the_branch_that_they_stand_in() {
    let early = vec![
        Step {
            condition: Some(cel("item == 2")),
            ..succeed("enough", json!("${{ 'early ' + string(index) }}"))
        },
        transform("late", "item"),
    ];
    let facts = drive(
        &mut machine(vec![for_each("each", "[1, 2, 3]", 1, true, early)]),
        &ok,
    );
    assert_eq!(last(&facts).1, Some(json!([1, "early 1", 3])));
    let fail = Action::Fail(FailStep {
        code: "NO_TWO".into(),
        message: Template::parse("it is ${{ item }}").unwrap(),
    });
    let failing = Step {
        condition: Some(cel("item == 2")),
        ..step("stop", fail)
    };
    let facts = drive(
        &mut machine(vec![for_each("each", "[1, 2, 3]", 1, true, vec![failing])]),
        &ok,
    );
    assert_eq!(
        last(&facts).2,
        Some(Failure::new("NO_TWO", "step \"each\": item 1: it is 2"))
    );
    // The third never began.
    assert_eq!(
        ends(&facts),
        ["stop[0] Skipped", "stop[1] Failed", "each Failed"]
    );
}

#[test]
fn iterations_nest() {
    let inner = for_each(
        "inner",
        "[item, item + 1]",
        2,
        true,
        vec![transform("leaf", "item * 10 + index")],
    );
    let outer = for_each("outer", "[1, 5]", 2, true, vec![inner]);
    let facts = drive(&mut machine(vec![outer]), &ok);
    assert_eq!(last(&facts).1, Some(json!([[10, 21], [50, 61]])));
    assert_eq!(
        ends(&facts),
        [
            "leaf[0][0] Succeeded",
            "leaf[0][1] Succeeded",
            "inner[0] Succeeded",
            "leaf[1][0] Succeeded",
            "leaf[1][1] Succeeded",
            "inner[1] Succeeded",
            "outer Succeeded"
        ]
    );
}

#[test]
fn it_waits_only_when_all_that_is_open_waits() {
    let steps = vec![parallel(
        "both",
        true,
        vec![
            ("a", vec![wait("pause", &at(50).to_string())]),
            ("b", vec![retried(call("call"), 2)]),
        ],
    )];
    let mut machine = machine(steps);
    let (_, decision) = start(&mut machine);
    assert_eq!(machine.state(), ExecutionState::Running);
    let Decision::Await { wake_at, .. } = decision else {
        panic!("{decision:?}")
    };
    assert_eq!(wake_at, at(50));
    let decision = end(&mut machine, "call", 1, response(503, ""), at(1));
    let (_, decision) = run(&mut machine, decision, at(1));
    assert_eq!(machine.state(), ExecutionState::Waiting);
    assert!(wake(&decision) <= at(2));
}

#[test]
fn timeouts_end_what_is_open_at_every_depth() {
    let inside = || vec![call("deep"), transform("never", "1")];
    let each = Step {
        total_timeout: Some(Duration::from_secs(20)),
        ..for_each("each", "[1, 2]", 2, false, inside())
    };
    let handled = vec![on_error(each, OnError::Continue), transform("after", "1")];
    let mut bounded = machine(handled);
    let (_, decision) = start(&mut bounded);
    let Decision::Await { attempts, wake_at } = decision else {
        panic!("{decision:?}")
    };
    assert_eq!(
        (attempts[0].timeout, wake_at),
        (Duration::from_secs(20), at(20))
    );
    let decision = bounded.decide(at(20));
    let (facts, _) = run(&mut bounded, decision, at(20));
    let timed: Vec<_> = facts.iter().map(|fact| (fact.clone(), at(20))).collect();
    assert_eq!(
        ends(&timed),
        [
            "deep[0] Cancelled",
            "deep[1] Cancelled",
            "each Failed",
            "after Succeeded"
        ]
    );
    // The execution's own is not handled by anyone.
    let each = for_each(
        "each",
        "[1, 2]",
        2,
        false,
        vec![on_error(call("deep"), OnError::Continue)],
    );
    let plan = plan_within(
        vec![on_error(each, OnError::Continue)],
        Duration::from_secs(20),
    );
    let mut late = Machine::new(plan, &accepted());
    start(&mut late);
    let decision = late.decide(at(20));
    let (facts, _) = run(&mut late, decision, at(20));
    let timed: Vec<_> = facts.iter().map(|fact| (fact.clone(), at(20))).collect();
    assert_eq!(
        ends(&timed),
        ["deep[0] Failed", "deep[1] Failed", "each Failed"]
    );
    assert_eq!(finished(&facts).0, ExecutionState::TimedOut);
}

#[test]
fn an_execution_has_so_many_step_runs_and_no_more() {
    let inner = for_each(
        "inner",
        "lists.range(100)",
        1,
        false,
        vec![on_error(transform("leaf", "index"), OnError::Continue)],
    );
    let outer = for_each("outer", "lists.range(100)", 1, false, vec![inner]);
    let facts = drive(&mut machine(vec![outer]), &ok);
    let (state, _, error) = last(&facts);
    assert_eq!(state, ExecutionState::Failed);
    assert_eq!(error.unwrap().code, codes::HISTORY_FULL);
    let starts = facts
        .iter()
        .filter(|(fact, _)| matches!(fact, Fact::StepStarted { .. }));
    assert_eq!(starts.count(), limits::EXECUTION_STEPS_MAX + 1);
}

#[test]
fn facts_of_frames_that_are_not_open_are_refused() {
    let steps = || vec![for_each("each", "[1, 2, 3]", 2, true, vec![call("call")])];
    let (facts, _) = start(&mut machine(steps()));
    let started = |step: &str| Fact::StepStarted {
        step: step.parse().unwrap(),
        kind: "http".to_owned(),
        input: JsonText::from_value(&Value::Null),
    };
    for wrong in ["call", "call[2]", "call[0]", "call[0][0]", "each[0]"] {
        let mut machine = machine(steps());
        for fact in &facts {
            machine.replay(fact, at(0)).unwrap();
        }
        assert!(machine.replay(&started(wrong), at(0)).is_err(), "{wrong}");
    }
}
