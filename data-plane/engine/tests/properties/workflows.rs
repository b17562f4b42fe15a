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
        Action, ApprovalTimeout, ConditionRule, ConditionStep, FailStep, Finally, ForEachStep,
        HttpBody, HttpStep, OnError, ParallelBranch, ParallelStep, RetryPolicy, RunWorkflowStep,
        SlackStep, SlackTarget, Step, SucceedStep, TransformStep, Trigger, WaitStep, Workflow,
    },
};

use super::{
    computing,
    telling::{approval, signal_wait},
};

/// A step before it has its id and knows which steps come before it.
#[derive(Clone, Debug)]
struct Draft {
    condition: Option<Read>,
    attempts: u32,
    total_timeout_ms: Option<u64>,
    on_error: DraftOnError,
    action: DraftAction,
}

#[derive(Clone, Debug)]
enum DraftOnError {
    Fail,
    Continue,
    Steps(Vec<Draft>),
}

#[derive(Clone, Debug)]
enum DraftAction {
    Transform(Read),
    Template(Read),
    Http(Read),
    Slack(Read),
    Script(Read),
    /// And whether it waits.
    Run(Read, bool),
    Wait(DraftWait),
    Signal(Option<Duration>, bool),
    Approval(Option<Duration>, ApprovalTimeout, bool),
    Condition(Vec<(Read, Vec<Draft>)>, Vec<Draft>),
    Parallel(bool, Vec<Vec<Draft>>),
    ForEach(bool, u32, Read, Vec<Draft>),
    Succeed(Read),
    Fail(Read),
}

#[derive(Clone, Debug)]
enum DraftWait {
    Milliseconds(u64),
    Past,
    Until(Read),
}

/// What an expression reads.
#[derive(Clone, Debug)]
enum Read {
    Constant(&'static str),
    /// The output of one of the steps before, by its share of their number.
    Output(f64),
    /// Whether one of them was skipped, likewise.
    Skipped(f64),
    /// How one of them failed, likewise.
    Error(f64),
    /// What there is only in an iteration.
    Item,
    Index,
}

/// What a step may read, and how the next is called.
#[derive(Clone, Debug, Default)]
struct Names {
    count: usize,
    visible: Vec<String>,
    is_iteration: bool,
}

impl Read {
    fn expression(&self, names: &Names) -> String {
        let before = &names.visible;
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
            Self::Error(share) => pick(*share).map_or("'none'".to_owned(), |id| {
                format!(
                    "has(steps.{id}) && steps.{id}.error != null ? steps.{id}.error.code : 'none'"
                )
            }),
            Self::Item if names.is_iteration => "item".to_owned(),
            Self::Index if names.is_iteration => "index".to_owned(),
            Self::Item | Self::Index => "'outside'".to_owned(),
        }
    }
}

fn value() -> impl Strategy<Value = Read> {
    prop_oneof![
        6 => prop::sample::select(vec![
            "1",
            "event.message",
            "{'a': [1, null]}",
            "execution.version",
            "has(execution.state) ? execution.state : 'none'",
        ])
            .prop_map(Read::Constant),
        1 => Just(Read::Constant("1 / 0")),
        5 => (0.0..1.0).prop_map(Read::Output),
        2 => (0.0..1.0).prop_map(Read::Error),
        2 => Just(Read::Item),
        1 => Just(Read::Index),
    ]
}

fn items() -> impl Strategy<Value = Read> {
    prop_oneof![
        6 => prop::sample::select(vec!["[1, 2, 3]", "['a', null]", "[]", "lists.range(5)"])
            .prop_map(Read::Constant),
        1 => Just(Read::Constant("event.json")),
        // Those of a list are lists.
        2 => (0.0..1.0).prop_map(Read::Output),
    ]
}

fn holds() -> impl Strategy<Value = Read> {
    prop_oneof![
        10 => prop::sample::select(vec!["true", "false", "event.json.n > 2"]).prop_map(Read::Constant),
        4 => (0.0..1.0).prop_map(Read::Skipped),
        1 => Just(Read::Constant("event.json.n")),
    ]
}

fn wait() -> impl Strategy<Value = DraftWait> {
    prop_oneof![
        3 => (1_u64..2_000).prop_map(DraftWait::Milliseconds),
        1 => Just(DraftWait::Past),
        1 => value().prop_map(DraftWait::Until),
    ]
}

fn approval_timeout() -> impl Strategy<Value = ApprovalTimeout> {
    use ApprovalTimeout::{Approve, Fail, Reject};
    prop::sample::select(vec![Fail, Approve, Reject])
}

/// What kinds of definitions are wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// Some parallels and loops fail fast, so that the order of events decides how others end.
    pub(crate) fail_fast: bool,
    /// Some steps have little time.
    pub(crate) total_timeouts: bool,
    /// How long steps listen; as long as the execution has, when it is not said.
    pub(crate) listen: Option<Duration>,
}

fn drafts(wanted: Wanted) -> impl Strategy<Value = Vec<Draft>> {
    let leaf = prop_oneof![
        4 => value().prop_map(DraftAction::Transform),
        2 => value().prop_map(DraftAction::Template),
        6 => value().prop_map(DraftAction::Http),
        2 => value().prop_map(DraftAction::Slack),
        2 => value().prop_map(DraftAction::Script),
        3 => (value(), any::<bool>()).prop_map(|(read, waits)| DraftAction::Run(read, waits)),
        2 => wait().prop_map(DraftAction::Wait),
        2 => any::<bool>().prop_map(move |goes_on| DraftAction::Signal(wanted.listen, goes_on)),
        2 => (approval_timeout(), any::<bool>()).prop_map(move |(on_timeout, is_output)| {
            DraftAction::Approval(wanted.listen, on_timeout, is_output)
        }),
        1 => value().prop_map(DraftAction::Succeed),
        1 => value().prop_map(DraftAction::Fail),
    ];
    let leaf = leaf.boxed();
    let draft = move |action: BoxedStrategy<DraftAction>, handler: BoxedStrategy<DraftOnError>| {
        let total = prop::option::weighted(0.3, 1_u64..30_000);
        (
            prop::option::weighted(0.3, holds()),
            1_u32..5,
            total,
            handler,
            action,
        )
            .prop_map(
                move |(condition, attempts, total_timeout_ms, on_error, action)| {
                    let ends = matches!(action, DraftAction::Succeed(_) | DraftAction::Fail(_));
                    Draft {
                        // Without a condition nothing could follow it.
                        condition: condition.or(ends.then_some(Read::Constant("event.json.n > 2"))),
                        attempts,
                        total_timeout_ms: total_timeout_ms.filter(|_| wanted.total_timeouts),
                        on_error: if ends { DraftOnError::Fail } else { on_error },
                        action,
                    }
                },
            )
    };
    let simple = prop_oneof![3 => Just(DraftOnError::Fail), 2 => Just(DraftOnError::Continue)];
    let flat = prop::collection::vec(draft(leaf.clone(), simple.boxed()), 1..4).boxed();
    flat.prop_recursive(3, 24, 4, move |inner| {
        let fail_fast = any::<bool>().prop_map(move |fast| fast && wanted.fail_fast);
        let rules = prop::collection::vec((holds(), inner.clone()), 1..3);
        let action = prop_oneof![
            2 => (rules, inner.clone()).prop_map(|(rules, otherwise)| DraftAction::Condition(rules, otherwise)),
            3 => (fail_fast.clone(), prop::collection::vec(inner.clone(), 1..4))
                .prop_map(|(fast, branches)| DraftAction::Parallel(fast, branches)),
            3 => (fail_fast, 1_u32..4, items(), inner.clone())
                .prop_map(|(fast, concurrency, items, steps)| DraftAction::ForEach(fast, concurrency, items, steps)),
            1 => leaf.clone(),
        ];
        let handler = prop_oneof![
            2 => Just(DraftOnError::Fail),
            1 => Just(DraftOnError::Continue),
            2 => inner.clone().prop_map(DraftOnError::Steps),
        ];
        (prop::option::of(inner.clone()), draft(action.boxed(), handler.boxed()), prop::option::of(inner)).prop_map(
            |(before, step, after)| {
                let before = before.into_iter().flatten();
                before.chain([step]).chain(after.into_iter().flatten()).collect()
            },
        )
    })
}

/// Random workflows that end at `timeout`.
pub(crate) fn workflow(timeout: Duration, wanted: Wanted) -> impl Strategy<Value = Workflow> {
    let finally = prop::option::weighted(0.4, drafts(wanted));
    (drafts(wanted), finally).prop_filter_map("within the limits", move |(drafts, finally)| {
        let mut names = Names::default();
        let steps = build(&drafts, &mut names);
        let finally = finally.map(|drafts| Finally {
            steps: build(&drafts, &mut names),
            timeout: timeout.min(Duration::from_secs(3600)),
        });
        let workflow = Workflow::new(
            Trigger::Manual,
            BTreeMap::new(),
            steps,
            Some(timeout),
            finally,
        );
        // What is not within the limits has too many steps, or too many at once; nothing else may be wrong.
        workflow
            .map_err(|wrong| assert!(wrong.to_string().contains("at most"), "{wrong}"))
            .ok()
    })
}

fn build(drafts: &[Draft], names: &mut Names) -> Vec<Step> {
    drafts
        .iter()
        .map(|draft| build_step(draft, names))
        .collect()
}

/// Steps that only they themselves can read.
fn build_frame(drafts: &[Draft], names: &mut Names, is_iteration: bool) -> Vec<Step> {
    let mut inside = Names {
        is_iteration: names.is_iteration || is_iteration,
        ..names.clone()
    };
    let steps = build(drafts, &mut inside);
    names.count = inside.count;
    steps
}

fn build_step(draft: &Draft, names: &mut Names) -> Step {
    let cel = |read: &Read, names: &Names| Expression::parse(&read.expression(names)).unwrap();
    let text = |read: &Read, names: &Names| format!("${{{{ {} }}}}", read.expression(names));
    let template = |read: &Read, names: &Names| Template::parse(&text(read, names)).unwrap();
    let json = |read: &Read, names: &Names| {
        JsonTemplate::parse(&serde_json::json!({"v": text(read, names)})).unwrap()
    };
    let condition = draft.condition.as_ref().map(|read| cel(read, names));
    let id = format!("s{}", names.count);
    names.count += 1;
    let action = match &draft.action {
        DraftAction::Transform(read) => {
            Action::Transform(TransformStep::Expression(cel(read, names)))
        }
        DraftAction::Template(read) => {
            Action::Transform(TransformStep::Template(json(read, names)))
        }
        DraftAction::Http(read) => Action::Http(Box::new(HttpStep {
            body: Some(HttpBody::Json(json(read, names))),
            ..HttpStep::to(Template::parse("http://example.test/").unwrap())
        })),
        DraftAction::Slack(read) => Action::Slack(Box::new(SlackStep {
            target: SlackTarget::Method {
                api_url: None,
                token: Template::parse("xoxb").unwrap(),
                channel: Template::parse("#c").unwrap(),
            },
            text: Some(Template::parse(&format!("said: {}", text(read, names))).unwrap()),
            blocks: None,
            thread_ts: None,
        })),
        DraftAction::Script(read) => Action::Script(Box::new(computing::script(json(read, names)))),
        DraftAction::Run(read, waits) => Action::RunWorkflow(Box::new(RunWorkflowStep {
            workflow: "other".parse().unwrap(),
            input: Some(json(read, names)),
            waits: *waits,
        })),
        DraftAction::Wait(DraftWait::Milliseconds(ms)) => {
            Action::Wait(WaitStep::Duration(Duration::from_millis(*ms)))
        }
        DraftAction::Wait(DraftWait::Past) => Action::Wait(WaitStep::Until(
            Template::parse("1994-11-06T08:49:37Z").unwrap(),
        )),
        DraftAction::Wait(DraftWait::Until(read)) => {
            Action::Wait(WaitStep::Until(template(read, names)))
        }
        DraftAction::Signal(timeout, goes_on) => Action::Wait(signal_wait(&id, *timeout, *goes_on)),
        DraftAction::Approval(timeout, on_timeout, rejected_is_output) => {
            Action::Approval(approval(*timeout, *on_timeout, *rejected_is_output))
        }
        DraftAction::Succeed(read) => Action::Succeed(SucceedStep {
            output: Some(json(read, names)),
        }),
        DraftAction::Fail(read) => Action::Fail(FailStep {
            code: "STOPPED".to_owned(),
            message: template(read, names),
        }),
        DraftAction::Condition(rules, otherwise) => {
            // All rules are evaluated before a step of any branch runs.
            let conditions: Vec<_> = rules.iter().map(|(read, _)| cel(read, names)).collect();
            let rules = conditions.into_iter().zip(rules);
            let rules = rules.map(|(condition, (_, steps))| ConditionRule {
                condition,
                steps: build(steps, names),
            });
            let rules = rules.collect();
            Action::Condition(ConditionStep {
                rules,
                otherwise: build(otherwise, names),
            })
        }
        DraftAction::Parallel(fail_fast, branches) => {
            let branches = branches
                .iter()
                .enumerate()
                .map(|(n, steps)| ParallelBranch {
                    name: format!("b{n}").parse().unwrap(),
                    steps: build_frame(steps, names, false),
                });
            Action::Parallel(ParallelStep {
                branches: branches.collect(),
                fail_fast: *fail_fast,
            })
        }
        DraftAction::ForEach(fail_fast, concurrency, items, steps) => {
            Action::ForEach(ForEachStep {
                items: cel(items, names),
                concurrency: *concurrency,
                fail_fast: *fail_fast,
                steps: build_frame(steps, names, true),
            })
        }
    };
    names.visible.push(id.clone());
    let on_error = match &draft.on_error {
        DraftOnError::Fail => OnError::Fail,
        DraftOnError::Continue => OnError::Continue,
        DraftOnError::Steps(steps) => OnError::Steps(build(steps, names)),
    };
    Step {
        id: id.parse().unwrap(),
        condition,
        timeout: Duration::from_secs(10),
        total_timeout: draft.total_timeout_ms.map(Duration::from_millis),
        retry: RetryPolicy {
            max_attempts: draft.attempts,
            initial_backoff: Duration::from_millis(100),
            ..RetryPolicy::WRITTEN_DEFAULT
        },
        on_error,
        action,
    }
}

/// What each attempt meets: decided by the step's run and the number alone, as by a server that honours idempotency keys.
#[derive(Clone, Debug)]
pub(crate) struct Outcomes(Vec<u8>);

pub(crate) fn outcomes() -> impl Strategy<Value = Outcomes> {
    prop::collection::vec(any::<u8>(), 1..20).prop_map(Outcomes)
}

impl Outcomes {
    /// A world in which every attempt succeeds.
    pub(crate) fn good() -> Self {
        Self(vec![0])
    }

    /// Chance, decided likewise.
    pub(crate) fn draw(&self, step: &str, number: u32) -> u8 {
        let place = step.bytes().fold(number as usize * 7, |place, byte| {
            place.wrapping_mul(31).wrapping_add(usize::from(byte))
        });
        self.0[place % self.0.len()]
    }

    pub(crate) fn of(&self, step: &str, number: u32) -> Outcome {
        match self.draw(step, number) % 16 {
            0..=8 => Outcome::Http(HttpResponse {
                status: 200,
                headers: vec![("x-step".to_owned(), step.to_owned())],
                body: Bytes::from(format!("{{\"ok\": true, \"step\": \"{step}\"}}")),
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
        parent: None,
    }
}
