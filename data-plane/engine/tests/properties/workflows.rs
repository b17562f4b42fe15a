//! Random workflows and what their attempts meet.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use proptest::prelude::*;
use signalbox_engine::{AttemptFailure, HttpResponse, Outcome};
use signalbox_model::{
    event::{Event, EventScope, TriggerKind},
    expression::{Expression, JsonTemplate, Template},
    record::Accepted,
    workflow::{
        Action, ConditionRule, ConditionStep, FailStep, HttpBody, HttpStep, RetryPolicy, Step,
        SucceedStep, TransformStep, Trigger, Workflow,
    },
};

/// A step before it has its id and knows which steps come before it.
#[derive(Clone, Debug)]
struct Draft {
    condition: Option<Read>,
    attempts: u32,
    action: DraftAction,
}

#[derive(Clone, Debug)]
enum DraftAction {
    Transform(Read),
    Template(Read),
    Http(Read),
    Condition(Vec<(Read, Vec<Draft>)>, Vec<Draft>),
    Succeed(Read),
    Fail(Read),
}

/// What an expression reads.
#[derive(Clone, Debug)]
enum Read {
    Constant(&'static str),
    /// The output of one of the steps before, by its share of their number.
    Output(f64),
    /// Whether one of them was skipped, likewise.
    Skipped(f64),
}

impl Read {
    fn expression(&self, before: &[String]) -> String {
        let pick = |share: f64| {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let index = (share * before.len() as f64) as usize;
            before.get(index)
        };
        match self {
            Self::Constant(text) => (*text).to_owned(),
            Self::Output(share) => pick(*share).map_or("event.json".to_owned(), |id| {
                format!("has(steps.{id}) ? steps.{id}.output : 'none'")
            }),
            Self::Skipped(share) => pick(*share).map_or("false".to_owned(), |id| {
                format!("has(steps.{id}) && steps.{id}.state == 'SKIPPED'")
            }),
        }
    }
}

fn value() -> impl Strategy<Value = Read> {
    prop_oneof![
        6 => prop::sample::select(vec!["1", "event.message", "{'a': [1, null]}", "execution.version"])
            .prop_map(Read::Constant),
        1 => Just(Read::Constant("1 / 0")),
        5 => (0.0..1.0).prop_map(Read::Output),
    ]
}

fn holds() -> impl Strategy<Value = Read> {
    prop_oneof![
        10 => prop::sample::select(vec!["true", "false", "event.json.n > 2"]).prop_map(Read::Constant),
        4 => (0.0..1.0).prop_map(Read::Skipped),
        1 => Just(Read::Constant("event.json.n")),
    ]
}

fn drafts() -> impl Strategy<Value = Vec<Draft>> {
    let leaf = prop_oneof![
        4 => value().prop_map(DraftAction::Transform),
        2 => value().prop_map(DraftAction::Template),
        5 => value().prop_map(DraftAction::Http),
        1 => value().prop_map(DraftAction::Succeed),
        1 => value().prop_map(DraftAction::Fail),
    ];
    let draft = |action: BoxedStrategy<DraftAction>| {
        (prop::option::weighted(0.4, holds()), 1_u32..5, action).prop_map(
            |(condition, attempts, action)| {
                let ends = matches!(action, DraftAction::Succeed(_) | DraftAction::Fail(_));
                // Without a condition nothing could follow it.
                let condition = condition.or(ends.then_some(Read::Constant("event.json.n > 2")));
                Draft {
                    condition,
                    attempts,
                    action,
                }
            },
        )
    };
    let flat = prop::collection::vec(draft(leaf.boxed()), 0..4).boxed();
    let nested = flat.prop_recursive(3, 24, 4, move |inner| {
        let rules = prop::collection::vec((holds(), inner.clone()), 1..3);
        let branches = (rules, inner.clone())
            .prop_map(|(rules, otherwise)| DraftAction::Condition(rules, otherwise));
        (inner.clone(), draft(branches.boxed()), inner).prop_map(|(mut all, condition, after)| {
            all.push(condition);
            all.extend(after);
            all
        })
    });
    nested.prop_filter("a workflow has a step", |drafts| !drafts.is_empty())
}

/// Random workflows that end at `timeout`.
pub(crate) fn workflow(timeout: Duration) -> impl Strategy<Value = Workflow> {
    drafts().prop_map(move |drafts| {
        let steps = build(&drafts, &mut Vec::new());
        Workflow::new(Trigger::Manual, BTreeMap::new(), steps, Some(timeout)).unwrap()
    })
}

fn build(drafts: &[Draft], before: &mut Vec<String>) -> Vec<Step> {
    drafts
        .iter()
        .map(|draft| {
            let cel = |read: &Read, before: &[String]| {
                Expression::parse(&read.expression(before)).unwrap()
            };
            let json = |read: &Read, before: &[String]| {
                let text = format!("${{{{ {} }}}}", read.expression(before));
                JsonTemplate::parse(&serde_json::json!({"v": text})).unwrap()
            };
            let condition = draft.condition.as_ref().map(|read| cel(read, before));
            let action = match &draft.action {
                DraftAction::Transform(read) => {
                    Action::Transform(TransformStep::Expression(cel(read, before)))
                }
                DraftAction::Template(read) => {
                    Action::Transform(TransformStep::Template(json(read, before)))
                }
                DraftAction::Http(read) => Action::Http(Box::new(HttpStep {
                    method: None,
                    url: Template::parse("http://example.test/").unwrap(),
                    query: BTreeMap::new(),
                    headers: BTreeMap::new(),
                    body: Some(HttpBody::Json(json(read, before))),
                })),
                DraftAction::Succeed(read) => Action::Succeed(SucceedStep {
                    output: Some(json(read, before)),
                }),
                DraftAction::Fail(read) => Action::Fail(FailStep {
                    code: "STOPPED".to_owned(),
                    message: Template::parse(&format!("${{{{ {} }}}}", read.expression(before)))
                        .unwrap(),
                }),
                DraftAction::Condition(rules, otherwise) => {
                    // All rules are evaluated before a step of any branch runs.
                    let conditions: Vec<_> =
                        rules.iter().map(|(read, _)| cel(read, before)).collect();
                    let rules = conditions
                        .into_iter()
                        .zip(rules)
                        .map(|(condition, (_, steps))| ConditionRule {
                            condition,
                            steps: build(steps, before),
                        })
                        .collect();
                    let otherwise = build(otherwise, before);
                    Action::Condition(ConditionStep { rules, otherwise })
                }
            };
            let id = format!("s{}", before.len());
            before.push(id.clone());
            Step {
                id: id.parse().unwrap(),
                condition,
                timeout: Duration::from_secs(10),
                retry: RetryPolicy {
                    max_attempts: draft.attempts,
                    ..RetryPolicy::WRITTEN_DEFAULT
                },
                action,
            }
        })
        .collect()
}

/// What each attempt meets: decided by the step and the number alone, as by a server that honours idempotency keys.
#[derive(Clone, Debug)]
pub(crate) struct Outcomes(Vec<u8>);

pub(crate) fn outcomes() -> impl Strategy<Value = Outcomes> {
    prop::collection::vec(any::<u8>(), 1..20).prop_map(Outcomes)
}

impl Outcomes {
    pub(crate) fn of(&self, (step, number): &(String, u32)) -> Outcome {
        let place: usize = step[1..].parse::<usize>().unwrap() * 5 + *number as usize;
        match self.0[place % self.0.len()] % 16 {
            0..=8 => Outcome::Http(HttpResponse {
                status: 200,
                headers: vec![("x-step".to_owned(), step.clone())],
                body: Bytes::from(format!("{{\"step\": \"{step}\"}}")),
            }),
            9..=11 => Outcome::Http(HttpResponse {
                status: 503,
                headers: Vec::new(),
                body: Bytes::new(),
            }),
            12..=14 => Outcome::Failed(AttemptFailure::retriable("CONNECTION", "refused")),
            _ => Outcome::Http(HttpResponse {
                status: 404,
                headers: Vec::new(),
                body: Bytes::new(),
            }),
        }
    }
}

pub(crate) fn accepted() -> Accepted {
    Accepted {
        execution: "projects/p/executions/x1".parse().unwrap(),
        workflow: "projects/p/workflows/w".parse().unwrap(),
        version: 1,
        event: Event {
            trigger: TriggerKind::Manual,
            api_key: None,
            scope: EventScope {
                message: r#"{"n": 3}"#.to_owned(),
                subject: None,
                attributes: BTreeMap::new(),
                topic_arn: None,
                message_id: "m1".to_owned(),
                timestamp: "2026-11-01T00:00:00Z".to_owned(),
            },
            body: Bytes::new(),
            content_type: None,
            source_address: None,
            signature: None,
            received_at: jiff::Timestamp::UNIX_EPOCH,
        },
    }
}
