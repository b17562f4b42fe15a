#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;
use signalbox_model::{
    event::{EventScope, TriggerKind},
    expression::{Expression, JsonTemplate, Template},
    limits,
    workflow::{
        ConditionRule, ConditionStep, FailStep, HttpStep, RetryPolicy, SucceedStep, TransformStep,
        Trigger,
    },
};

use super::*;

fn step(id: &str, action: Action) -> Step {
    Step {
        id: id.parse().unwrap(),
        condition: None,
        timeout: limits::STEP_TIMEOUT_DEFAULT,
        retry: RetryPolicy::default(),
        action,
    }
}

fn transform(id: &str, expression: &str) -> Step {
    step(
        id,
        Action::Transform(TransformStep::Expression(
            Expression::parse(expression).unwrap(),
        )),
    )
}

fn http(id: &str, attempts: u32) -> Step {
    let action = Action::Http(Box::new(HttpStep {
        method: None,
        url: Template::parse("http://example.com/${{ event.message }}").unwrap(),
        query: BTreeMap::new(),
        headers: [
            (
                "Authorization".to_owned(),
                Template::parse("Bearer hidden").unwrap(),
            ),
            ("X-Plain".to_owned(), Template::parse("shown").unwrap()),
        ]
        .into(),
        body: None,
    }));
    Step {
        retry: RetryPolicy {
            max_attempts: attempts,
            ..RetryPolicy::WRITTEN_DEFAULT
        },
        ..step(id, action)
    }
}

fn machine(steps: Vec<Step>) -> Machine {
    machine_within(steps, limits::WORKFLOW_TIMEOUT_DEFAULT)
}

fn machine_within(steps: Vec<Step>, timeout: Duration) -> Machine {
    let workflow = Workflow::new(Trigger::Manual, BTreeMap::new(), steps, Some(timeout)).unwrap();
    let event = Event {
        trigger: TriggerKind::Manual,
        api_key: None,
        scope: EventScope {
            message: "7".into(),
            subject: None,
            attributes: BTreeMap::new(),
            topic_arn: None,
            message_id: "m".into(),
            timestamp: "2026-11-24T00:00:00Z".into(),
        },
        body: bytes::Bytes::new(),
        content_type: None,
        source_address: None,
        signature: None,
        received_at: Timestamp::UNIX_EPOCH,
    };
    Machine::new(
        Arc::new(workflow),
        "projects/default/executions/x1".parse().unwrap(),
        &"projects/default/workflows/w".parse().unwrap(),
        1,
        &event,
    )
}

type Outcomes = Vec<Result<Value, AttemptError>>;

fn retriable() -> Result<Value, AttemptError> {
    Err(AttemptError {
        failure: Failure::new("HTTP_STATUS", "503"),
        retriable: true,
    })
}

/// Drives a machine to its end. The world answers attempts by `outcomes` in turn, then succeeds. After `crash_after`
/// journal writes the process dies; a new machine goes on from the journal. Gives the journal and the effects performed.
fn drive(
    fresh: &Machine,
    outcomes: &Outcomes,
    crash_after: Option<usize>,
) -> (Vec<(Fact, Timestamp)>, Vec<Effect>) {
    let mut now = Timestamp::UNIX_EPOCH;
    let mut machine = fresh.clone();
    let mut journal: Vec<(Fact, Timestamp)> = Vec::new();
    let mut effects: Vec<Effect> = Vec::new();
    let mut writes = 0;
    let mut ended_attempts = 0;
    for _ in 0..10_000 {
        let facts = match machine.decide(now) {
            Decision::Done(_) => return (journal, effects),
            Decision::Journal(facts) => facts,
            Decision::WaitUntil(time) => {
                assert!(time > now);
                now = time;
                continue;
            }
            Decision::Perform(effect) => {
                let outcome = outcomes
                    .get(ended_attempts)
                    .cloned()
                    .unwrap_or(Ok(json!({"ok": true})));
                let facts = machine.outcome(&effect.step, effect.number, outcome, now);
                effects.push(effect);
                if Some(writes) == crash_after {
                    // The world was acted on, the outcome not yet written: the process dies here.
                    writes += 1;
                    machine = replay(fresh, &journal);
                    continue;
                }
                ended_attempts += 1;
                facts
            }
        };
        assert!(!facts.is_empty());
        for fact in facts {
            machine.apply(&fact, now);
            journal.push((fact, now));
        }
        writes += 1;
        if Some(writes) == crash_after {
            machine = replay(fresh, &journal);
        }
    }
    panic!("the engine does not end");
}

fn replay(fresh: &Machine, journal: &[(Fact, Timestamp)]) -> Machine {
    let mut machine = fresh.clone();
    for (fact, at) in journal {
        machine.apply(fact, *at);
    }
    machine.resume();
    machine
}

fn end(journal: &[(Fact, Timestamp)]) -> (ExecutionState, Option<Value>, Option<Failure>) {
    match &journal.last().unwrap().0 {
        Fact::Finished {
            state,
            output,
            error,
        } => (
            *state,
            output.as_ref().map(JsonText::to_value),
            error.clone(),
        ),
        other => panic!("{other:?}"),
    }
}

/// What a journal must be, whatever happened.
fn check_journal(journal: &[(Fact, Timestamp)]) {
    let mut started: HashMap<&StepId, bool> = HashMap::new();
    let mut attempt: HashMap<&StepId, u32> = HashMap::new();
    assert_eq!(journal[0].0, Fact::Started);
    for (index, (fact, _)) in journal.iter().enumerate() {
        match fact {
            Fact::Started => assert_eq!(index, 0),
            Fact::StepStarted { step, .. } => {
                assert_eq!(started.insert(step, false), None, "{step} starts once")
            }
            Fact::AttemptStarted {
                step,
                number,
                repeated,
            } => {
                assert_eq!(started.get(step), Some(&false));
                let last = attempt.insert(step, *number).unwrap_or(0);
                assert_eq!(*number, if *repeated { last } else { last + 1 });
            }
            Fact::AttemptFailed { step, number, .. } => assert_eq!(attempt.get(step), Some(number)),
            Fact::StepFinished { step, state, .. } => {
                let before = started.insert(step, true);
                let skipped = *state == StepState::Skipped;
                assert_eq!(
                    before,
                    if skipped { None } else { Some(false) },
                    "{step} ends once"
                );
            }
            Fact::Finished { state, .. } => {
                assert_eq!(index, journal.len() - 1, "nothing follows the end");
                assert!(state.is_terminal());
            }
        }
    }
}

#[test]
fn pure_steps_run_in_order_and_the_last_output_is_the_result() {
    let fresh = machine(vec![
        transform("a", "event.json + 1"),
        transform("b", "steps.a.output * 10"),
    ]);
    let (journal, effects) = drive(&fresh, &vec![], None);
    assert_eq!(
        end(&journal),
        (ExecutionState::Succeeded, Some(json!(80)), None)
    );
    assert!(effects.is_empty());
}

#[test]
fn conditions_choose_and_skipped_steps_give_null() {
    let choose = |limit: &str| {
        let mut skipped = transform("skipped", "1");
        skipped.condition = Some(Expression::parse("false").unwrap());
        let condition = ConditionStep {
            rules: vec![ConditionRule {
                condition: Expression::parse(&format!("event.json > {limit}")).unwrap(),
                steps: vec![transform("inside", "'big'")],
            }],
            otherwise: vec![transform("outside", "'small'")],
        };
        let fresh = machine(vec![
            skipped,
            step("choose", Action::Condition(condition)),
            transform(
                "after",
                "steps.skipped.state + string(steps.choose.output.branch)",
            ),
        ]);
        let (journal, _) = drive(&fresh, &vec![], None);
        let ran: Vec<_> = journal
            .iter()
            .filter_map(|(fact, _)| match fact {
                Fact::StepStarted { step, .. } => Some(step.to_string()),
                _ => None,
            })
            .collect();
        (ran, end(&journal).1.unwrap())
    };
    assert_eq!(
        choose("5"),
        (
            vec!["choose".into(), "inside".into(), "after".into()],
            json!("SKIPPED0")
        )
    );
    assert_eq!(
        choose("50"),
        (
            vec!["choose".into(), "outside".into(), "after".into()],
            json!("SKIPPED-1")
        )
    );
}

#[test]
fn succeed_and_fail_end_the_execution() {
    let output = JsonTemplate::parse(&json!({"n": "${{ event.json }}"})).unwrap();
    let fresh = machine(vec![step(
        "s",
        Action::Succeed(SucceedStep {
            output: Some(output),
        }),
    )]);
    let (journal, _) = drive(&fresh, &vec![], None);
    assert_eq!(
        end(&journal),
        (ExecutionState::Succeeded, Some(json!({"n": 7})), None)
    );

    let fail = FailStep {
        code: "NOPE".into(),
        message: Template::parse("n=${{ event.json }}").unwrap(),
    };
    let (journal, _) = drive(&machine(vec![step("f", Action::Fail(fail))]), &vec![], None);
    let expected = Some(Failure::new("NOPE", "n=7"));
    assert_eq!(end(&journal), (ExecutionState::Failed, None, expected));
}

#[test]
fn retriable_failures_are_retried_with_one_key_until_the_policy_ends() {
    let fresh = machine(vec![http("call", 3)]);
    let (journal, effects) = drive(&fresh, &vec![retriable(), retriable()], None);
    assert_eq!(end(&journal).0, ExecutionState::Succeeded);
    assert_eq!(effects.len(), 3);
    assert!(
        effects
            .iter()
            .all(|e| e.idempotency_key == effects[0].idempotency_key)
    );

    let (journal, effects) = drive(&fresh, &vec![retriable(), retriable(), retriable()], None);
    let (state, _, error) = end(&journal);
    assert_eq!(state, ExecutionState::Failed);
    assert_eq!(
        error.unwrap(),
        Failure::new("HTTP_STATUS", "step call: 503")
    );
    assert_eq!(effects.len(), 3);

    let fatal = Err(AttemptError {
        failure: Failure::new("HTTP_STATUS", "404"),
        retriable: false,
    });
    let (_, effects) = drive(&fresh, &vec![fatal], None);
    assert_eq!(effects.len(), 1);
}

#[test]
fn an_interrupted_attempt_is_repeated_and_says_so() {
    let fresh = machine(vec![http("call", 1)]);
    // Started; StepStarted + AttemptStarted; then the crash, with the world acted on.
    let (journal, effects) = drive(&fresh, &vec![], Some(2));
    assert_eq!(end(&journal).0, ExecutionState::Succeeded);
    assert_eq!(effects[0].number, 1);
    assert!(journal.iter().any(|(fact, _)| matches!(
        fact,
        Fact::AttemptStarted {
            number: 1,
            repeated: true,
            ..
        }
    )));
}

#[test]
fn credentials_are_not_in_the_history() {
    let (journal, effects) = drive(&machine(vec![http("call", 1)]), &vec![], None);
    let shown = format!("{journal:?}");
    assert!(!shown.contains("hidden"), "{shown}");
    assert!(shown.contains("shown"));
    let EffectKind::Http(request) = &effects[0].kind;
    assert!(
        request
            .headers
            .iter()
            .any(|(_, value)| value == "Bearer hidden")
    );
    assert!(!format!("{effects:?}").contains("hidden"));
}

#[test]
fn a_wrong_expression_fails_the_step_by_name() {
    let (journal, _) = drive(
        &machine(vec![transform("a", "event.json.none")]),
        &vec![],
        None,
    );
    let (state, _, error) = end(&journal);
    assert_eq!(state, ExecutionState::Failed);
    let error = error.unwrap();
    assert_eq!(error.code, "EXPRESSION");
    assert!(
        error.message.starts_with("step a: event.json.none: "),
        "{error}"
    );
}

#[test]
fn an_execution_times_out_with_the_step_it_was_at() {
    let fresh = machine_within(vec![http("call", 20)], Duration::from_secs(60));
    let outcomes = vec![retriable(); 19];
    let (journal, _) = drive(&fresh, &outcomes, None);
    check_journal(&journal);
    assert_eq!(end(&journal).0, ExecutionState::TimedOut);
}

fn arbitrary_steps() -> impl Strategy<Value = Vec<Step>> {
    let leaf = (0..4_u8, 1..4_u32, any::<bool>());
    let list = prop::collection::vec((leaf, prop::option::of(any::<bool>())), 1..6);
    list.prop_map(|kinds| {
        kinds
            .into_iter()
            .enumerate()
            .map(|(index, ((kind, attempts, runs), nested))| {
                let id = format!("s{index}");
                let mut made = match kind {
                    0 => transform(&id, "event.json + 1"),
                    1 => http(&id, attempts),
                    _ => match nested {
                        Some(first) => step(
                            &id,
                            Action::Condition(ConditionStep {
                                rules: vec![ConditionRule {
                                    condition: Expression::parse(&first.to_string()).unwrap(),
                                    steps: vec![http(&format!("{id}a"), attempts)],
                                }],
                                otherwise: vec![transform(&format!("{id}b"), "1")],
                            }),
                        ),
                        None => transform(&id, "event.json.missing == 1 || true"),
                    },
                };
                if !runs {
                    made.condition = Some(Expression::parse("event.json == 8").unwrap());
                }
                made
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn a_crash_anywhere_changes_nothing_but_repeats(
        steps in arbitrary_steps(),
        failures in prop::collection::vec(any::<bool>(), 0..8),
        crash_after in 1..20_usize,
    ) {
        let fresh = machine(steps);
        let outcomes: Outcomes = failures
            .into_iter()
            .map(|fails| if fails { retriable() } else { Ok(json!(1)) })
            .collect();
        let (expected, performed) = drive(&fresh, &outcomes, None);
        check_journal(&expected);
        let (found, again) = drive(&fresh, &outcomes, Some(crash_after));
        check_journal(&found);
        prop_assert_eq!(end(&found), end(&expected));
        // At most one effect more: the one that was cut off.
        prop_assert!(again.len() <= performed.len() + 1);
        let keys = |effects: &[Effect]| {
            let mut all: Vec<_> = effects.iter().map(|e| (e.step.clone(), e.idempotency_key.clone())).collect();
            all.sort();
            all.dedup();
            all
        };
        prop_assert_eq!(keys(&again), keys(&performed));
    }
}
