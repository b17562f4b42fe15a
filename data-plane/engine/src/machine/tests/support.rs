//! Workflows and facts for the tests.

use bytes::Bytes;
use signalbox_model::{
    event::{Event, TriggerKind},
    expression::{Expression, JsonTemplate, Template},
    limits,
    workflow::{
        Action, ConditionRule, ConditionStep, Finally, HttpBody, HttpStep, OnError, RetryPolicy,
        Step, TransformStep, Trigger, WaitStep, Workflow,
    },
};

use super::super::*;
use crate::HttpResponse;

pub(super) fn cel(text: &str) -> Expression {
    Expression::parse(text).unwrap()
}

pub(super) fn step(id: &str, action: Action) -> Step {
    Step {
        id: id.parse().unwrap(),
        condition: None,
        timeout: limits::STEP_TIMEOUT_DEFAULT,
        total_timeout: None,
        retry: RetryPolicy::default(),
        on_error: OnError::Fail,
        action,
    }
}

pub(super) fn transform(id: &str, expression: &str) -> Step {
    step(
        id,
        Action::Transform(TransformStep::Expression(cel(expression))),
    )
}

pub(super) fn http(id: &str, url: &str) -> Step {
    let http = HttpStep {
        query: [("q".to_owned(), Template::parse("a b").unwrap())].into(),
        headers: [
            ("Authorization", "Bearer s3cret"),
            ("X-Message", "${{ event.messageId }}"),
        ]
        .map(|(name, value)| (name.to_owned(), Template::parse(value).unwrap()))
        .into(),
        body: Some(HttpBody::Json(
            JsonTemplate::parse(&json!({"n": "${{ event.json.n }}"})).unwrap(),
        )),
        ..HttpStep::to(Template::parse(url).unwrap())
    };
    step(id, Action::Http(Box::new(http)))
}

pub(super) fn retried(step: Step, max_attempts: u32) -> Step {
    Step {
        retry: RetryPolicy {
            max_attempts,
            ..RetryPolicy::WRITTEN_DEFAULT
        },
        ..step
    }
}

pub(super) fn choose(id: &str, rules: Vec<(&str, Vec<Step>)>, otherwise: Vec<Step>) -> Step {
    let rules = rules
        .into_iter()
        .map(|(condition, steps)| ConditionRule {
            condition: cel(condition),
            steps,
        })
        .collect();
    step(id, Action::Condition(ConditionStep { rules, otherwise }))
}

pub(super) fn accepted() -> Accepted {
    Accepted {
        execution: "projects/p/executions/x1".parse().unwrap(),
        workflow: "projects/p/workflows/w".parse().unwrap(),
        version: 7,
        event: Event {
            trigger: TriggerKind::Manual,
            api_key: None,
            scope: EventScope {
                message: r#"{"n": 3}"#.to_owned(),
                subject: None,
                attributes: Default::default(),
                topic_arn: None,
                message_id: "m1".to_owned(),
                timestamp: "2026-11-01T00:00:00Z".to_owned(),
            },
            body: Bytes::new(),
            content_type: None,
            source_address: None,
            signature: None,
            received_at: Timestamp::UNIX_EPOCH,
        },
        parent: None,
    }
}

pub(super) fn plan(steps: Vec<Step>) -> Arc<Plan> {
    plan_within(steps, Duration::from_secs(3600))
}

pub(super) fn plan_within(steps: Vec<Step>, timeout: Duration) -> Arc<Plan> {
    let workflow = Workflow::new(
        Trigger::Manual,
        Default::default(),
        steps,
        Some(timeout),
        None,
    );
    Arc::new(Plan::new(&workflow.unwrap()))
}

pub(super) fn machine(steps: Vec<Step>) -> Machine {
    Machine::new(plan(steps), &accepted())
}

pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

/// Takes all facts up to the first decision of another kind.
pub(super) fn run(machine: &mut Machine, first: Decision, now: Timestamp) -> (Vec<Fact>, Decision) {
    let mut all = Vec::new();
    let mut decision = first;
    while let Decision::Journal(facts) = decision {
        all.extend(facts);
        decision = machine.decide(now);
    }
    (all, decision)
}

pub(super) fn start(machine: &mut Machine) -> (Vec<Fact>, Decision) {
    let first = machine.decide(at(0));
    run(machine, first, at(0))
}

pub(super) fn finished(facts: &[Fact]) -> (ExecutionState, Option<Value>, Option<Failure>) {
    match facts.last().unwrap() {
        Fact::Finished {
            state,
            output,
            error,
        } => (
            *state,
            output.as_ref().map(JsonText::to_value),
            error.clone(),
        ),
        other => panic!("the last fact is {other:?}"),
    }
}

pub(super) fn response(status: u16, body: &str) -> Outcome {
    Outcome::Http(HttpResponse {
        status,
        headers: vec![
            ("X-A".into(), "1".into()),
            ("x-a".into(), "2".into()),
            ("set-cookie".into(), "id=s3cret".into()),
        ],
        body: Bytes::copy_from_slice(body.as_bytes()),
    })
}

#[track_caller]
pub(super) fn effect(decision: Decision) -> Effect {
    match decision {
        Decision::Await { attempts, .. } if attempts.len() == 1 => (*attempts[0]).clone(),
        other => panic!("{other:?} asks for no attempt"),
    }
}

/// When there is something to decide, of a decision without attempts.
#[track_caller]
pub(super) fn wake(decision: &Decision) -> Timestamp {
    match decision {
        Decision::Await { attempts, wake_at } if attempts.is_empty() => *wake_at,
        other => panic!("{other:?} does not only wait"),
    }
}

/// Ends attempt `number` of `step`.
pub(super) fn end(
    machine: &mut Machine,
    step: &str,
    number: u32,
    outcome: Outcome,
    now: Timestamp,
) -> Decision {
    machine.attempt_ended(&step.parse().unwrap(), number, outcome, now)
}

pub(super) fn wait(id: &str, until: &str) -> Step {
    let until = Template::parse(until).unwrap();
    step(id, Action::Wait(WaitStep::Until(until)))
}

pub(super) fn on_error(step: Step, on_error: OnError) -> Step {
    Step { on_error, ..step }
}

pub(super) fn plan_finally(steps: Vec<Step>, finally: Vec<Step>) -> Arc<Plan> {
    let finally = Finally {
        steps: finally,
        timeout: Duration::from_secs(60),
    };
    let timeout = Some(Duration::from_secs(3600));
    let workflow = Workflow::new(
        Trigger::Manual,
        Default::default(),
        steps,
        timeout,
        Some(finally),
    );
    Arc::new(Plan::new(&workflow.unwrap()))
}

/// Drives `machine` to its end, each attempt answered by `answer`; gives all facts.
pub(super) fn drive(
    machine: &mut Machine,
    answer: &dyn Fn(&Effect) -> Outcome,
) -> Vec<(Fact, Timestamp)> {
    let mut all = Vec::new();
    let mut now = at(0);
    let mut decision = machine.decide(now);
    for _ in 0..100_000 {
        decision = match decision {
            Decision::Journal(facts) => {
                all.extend(facts.into_iter().map(|fact| (fact, now)));
                machine.decide(now)
            }
            Decision::Await { attempts, wake_at } => match attempts.first() {
                Some(effect) => {
                    let outcome = answer(effect);
                    machine.attempt_ended(&effect.step, effect.attempt, outcome, now)
                }
                None => {
                    now = wake_at;
                    machine.decide(now)
                }
            },
            Decision::Done(_) => return all,
        };
    }
    panic!("it does not end");
}

/// The runs of steps and how they ended, in the order of their ends.
pub(super) fn ends(facts: &[(Fact, Timestamp)]) -> Vec<String> {
    let facts = facts.iter().filter_map(|(fact, _)| match fact {
        Fact::StepFinished { step, state, .. } => Some(format!("{step} {state:?}")),
        _ => None,
    });
    facts.collect()
}
