//! Facts, folded into where an execution stands.

use signalbox_model::{
    execution::StepState,
    expression::StepResult,
    ids::SignalName,
    workflow::{Action, WaitStep},
};

use super::{
    run::{History, Phase},
    *,
};
use crate::steps::Listens;

/// A fact that cannot follow the facts before it: the journal is not one of this execution of this plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the journal contradicts itself or the definition: {what}")]
pub struct Contradiction {
    what: String,
}

impl Contradiction {
    pub(super) fn new(what: impl Into<String>) -> Self {
        Self { what: what.into() }
    }
}

fn contradiction<T>(what: impl Into<String>) -> Result<T, Contradiction> {
    Err(Contradiction::new(what))
}

impl Machine {
    /// Takes in `fact`.
    pub(super) fn fold(&mut self, fact: &Fact, at: Timestamp) -> Result<(), Contradiction> {
        if let (Fact::Started, State::Queued { event }) = (fact, &self.state) {
            let execution = self.execution_scope(at);
            let scope = Scope::new(&event.to_value(), self.plan.vars(), &execution);
            self.state = State::Running(Box::new(Run {
                started_at: at,
                execution,
                frame: Frame::new(scope, Vec::new(), self.plan.first()),
                phase: Phase::Steps,
                cancelled_at: None,
                is_abandoned: false,
                verdict: None,
                history: History::default(),
            }));
            return Ok(());
        }
        if fact.is_told() {
            self.hear(fact);
            return Ok(());
        }
        if let Fact::Finished { state, .. } = fact {
            if !state.is_terminal() || matches!(self.state, State::Ended(_)) {
                return contradiction(format!("it finishes as {state:?}"));
            }
            self.state = State::Ended(*state);
            return Ok(());
        }
        match &mut self.state {
            State::Running(run) => {
                let taken = taken(&self.plan, fact);
                run.fold(&self.plan, fact, at)?;
                self.links.fold(&self.plan, &run.frame, fact);
                if let Fact::Cancelling = fact {
                    run.is_abandoned = self.is_abandoned;
                }
                if let Fact::StepFinished { step, .. } | Fact::AttemptFailed { step, .. } = fact {
                    self.inbox.forget_end(step);
                }
                match taken {
                    Some(name) if !self.inbox.take(&name) => {
                        contradiction(format!("a signal {name:?} was taken that never came"))
                    }
                    Some(_) | None => Ok(()),
                }
            }
            _ => contradiction(format!("{} while it is not running", name(fact))),
        }
    }
}

/// The name of the signal that was taken, if `fact` says so.
fn taken(plan: &Plan, fact: &Fact) -> Option<SignalName> {
    let Fact::StepFinished { step, .. } = fact else {
        return None;
    };
    let node = plan.node(plan.find(&step.step)?);
    let Action::Wait(WaitStep::Signal(_)) = node.step.action else {
        return None;
    };
    steps::listen::taken(fact)
}

impl Run {
    fn fold(&mut self, plan: &Plan, fact: &Fact, at: Timestamp) -> Result<(), Contradiction> {
        if let Fact::Ending {
            state,
            output,
            error,
        } = fact
        {
            let verdict = Verdict {
                state: *state,
                output: output.clone(),
                error: error.clone(),
            };
            return self.ending(plan, verdict, at);
        }
        if let Fact::Cancelling = fact {
            if !self.can_be_cancelled() {
                return contradiction(name(fact));
            }
            self.cancelled_at = Some(at);
            return Ok(());
        }
        let Some(instance) = step_of(fact) else {
            return contradiction(format!("{} a second time", name(fact)));
        };
        let Some(place) = plan.find(&instance.step) else {
            return contradiction(format!(
                "{}: {instance:?} is not in the definition",
                name(fact)
            ));
        };
        let node = plan.node(place);
        let verdict = self.verdict_of(plan, node, fact, at);
        self.history.size_bytes += size(fact);
        let is_run = matches!(fact, Fact::StepStarted { .. } | Fact::StepKept { .. });
        self.history.steps += usize::from(is_run);
        let of = Happened {
            plan,
            place,
            instance,
            fact,
            at,
        };
        self.frame.fold(node.around(), &of)?;
        if verdict.is_some() && self.verdict.is_none() {
            self.verdict = verdict;
        }
        Ok(())
    }

    fn ending(
        &mut self,
        plan: &Plan,
        verdict: Verdict,
        at: Timestamp,
    ) -> Result<(), Contradiction> {
        let finally = plan.finally().filter(|_| {
            matches!(self.phase, Phase::Steps)
                && self.frame.step.is_none()
                && verdict.state.is_terminal()
        });
        let Some(finally) = finally else {
            return contradiction(format!("it is to end as {:?}", verdict.state));
        };
        let scope = self.frame.scope.clone();
        let scope = scope.with_execution(&verdict.shown_in(&self.execution));
        self.frame = Frame::new(scope, Vec::new(), finally.first);
        self.phase = Phase::Finally {
            started_at: at,
            verdict,
        };
        self.verdict = None;
        Ok(())
    }

    /// How `fact`, a step's end, ends the execution whatever stands around the step. Only what is true counts: the codes
    /// are also those that a `fail` step may use.
    fn verdict_of(&self, plan: &Plan, node: &Node, fact: &Fact, at: Timestamp) -> Option<Verdict> {
        let Fact::StepFinished {
            state: StepState::Failed,
            error: Some(error),
            ..
        } = fact
        else {
            return None;
        };
        let (deadline, code) = self.deadline(plan);
        if matches!(node.step.action, Action::Fail(_)) {
            None
        } else if error.code == code && at >= deadline {
            Some(Verdict::timed_out(error.clone()))
        } else if error.code == codes::HISTORY_FULL && self.is_full() {
            Some(Verdict::failed(named(node, error)))
        } else {
            None
        }
    }
}

/// A fact of a step's run.
#[derive(Clone, Copy)]
struct Happened<'a> {
    plan: &'a Plan,
    /// The step's place.
    place: At,
    instance: &'a StepInstance,
    fact: &'a Fact,
    at: Timestamp,
}

impl Happened<'_> {
    /// Whether it is one of what a retry's journal begins with, which tells of all frames that had begun, however many of
    /// them are to go on at once.
    fn begins_a_retry(&self) -> bool {
        match self.fact {
            Fact::StepKept { .. } => true,
            Fact::StepStarted { .. } => {
                let action = &self.plan.node(self.place).step.action;
                matches!(action, Action::Parallel(_) | Action::ForEach(_))
            }
            _ => false,
        }
    }
}

impl Frame {
    /// Takes in what happened, in this frame or, by `hops`, in one below it.
    fn fold(&mut self, hops: &[Hop], of: &Happened<'_>) -> Result<(), Contradiction> {
        let Some((hop, hops)) = hops.split_first() else {
            return self.fold_here(of);
        };
        let is_open = self
            .at
            .is_some_and(|at| of.plan.node(at).step.id == hop.step);
        let number = self.number(hop, of.instance);
        let children = self.step.as_mut().and_then(|open| open.children.as_mut());
        match (children, number) {
            (Some(children), Some(number)) if is_open => {
                if of.begins_a_retry() {
                    children.begin(number);
                }
                children.fold(number, |frame| frame.fold(hops, of))
            }
            _ => contradiction(format!(
                "{}: {:?}, which stands in {:?}, is not the next step",
                name(of.fact),
                of.instance,
                hop.step
            )),
        }
    }

    fn fold_here(&mut self, of: &Happened<'_>) -> Result<(), Contradiction> {
        let Happened {
            plan,
            place,
            instance,
            fact,
            at,
        } = *of;
        let node = plan.node(place);
        let is_next =
            self.at == Some(place) && self.end.is_none() && self.indexes == instance.indexes;
        if !is_next {
            return contradiction(format!("{}: {instance:?} is not the next step", name(fact)));
        }
        match (fact, self.step.as_mut()) {
            (Fact::StepStarted { kind, input, .. }, None) => {
                check_kind(node, instance, kind)?;
                let children = Children::of(node, self, input);
                let (stage, listens) = match &children {
                    Some(_) => (Stage::Inside, None),
                    None => stage(&node.step.action, input),
                };
                self.step = Some(OpenStep {
                    started_at: at,
                    kind: None,
                    effect: None,
                    stage,
                    listens,
                    child: None,
                    children: children.map(Box::new),
                });
                Ok(())
            }
            (
                Fact::StepKept {
                    kind,
                    state,
                    output,
                    error,
                    ..
                },
                None,
            ) => {
                check_kind(node, instance, kind)?;
                self.step_finished(node, *state, output.as_ref(), error.as_ref())
            }
            (
                Fact::AttemptStarted {
                    number, repeated, ..
                },
                Some(open),
            ) => open.attempt_started(*number, *repeated),
            (
                Fact::AttemptFailed {
                    number, retry_at, ..
                },
                Some(open),
            ) => open.attempt_failed(*number, *retry_at),
            (Fact::ChildStarted { number, child, .. }, Some(open)) => {
                open.child_started(*number, child)
            }
            (
                Fact::StepFinished {
                    state,
                    output,
                    error,
                    ..
                },
                Some(_),
            ) => self.step_finished(node, *state, output.as_ref(), error.as_ref()),
            _ => contradiction(format!("{} of {instance:?} out of turn", name(fact))),
        }
    }

    fn step_finished(
        &mut self,
        node: &Node,
        state: StepState,
        output: Option<&JsonText>,
        error: Option<&Failure>,
    ) -> Result<(), Contradiction> {
        let behaviour = steps::of(&node.step.action);
        let value = output.map_or(Value::Null, JsonText::to_value);
        match (state, error) {
            (StepState::Succeeded, None) => {
                if node.is_top_level {
                    self.last_output = output.cloned();
                }
                if behaviour.ends_list() {
                    self.end = Some(Ended::Succeeded(output.cloned()));
                } else {
                    self.at = node.after(behaviour.branch(&value));
                }
            }
            (StepState::Skipped, None) => self.at = node.after(None),
            (StepState::Failed, Some(error)) => match node.recovery() {
                Some(recovery) => self.at = recovery.0,
                None => self.end = Some(Ended::Failed(named(node, error))),
            },
            (StepState::Cancelled, Some(error)) => {
                self.end = Some(Ended::Cancelled(error.clone()));
            }
            _ => return contradiction(format!("{:?} ends as {state:?}", node.step.id)),
        }
        self.step = None;
        let result = StepResult {
            state,
            output: value,
            error: error.cloned(),
        };
        self.scope.set_step(&node.step.id, &result);
        Ok(())
    }
}

fn check_kind(node: &Node, instance: &StepInstance, kind: &str) -> Result<(), Contradiction> {
    let expected = node.step.action.kind();
    if kind == expected {
        Ok(())
    } else {
        contradiction(format!("{instance:?} is {expected}, not {kind}"))
    }
}

/// Where a step stands when it has started. What it goes on with is what was recorded, not what would be evaluated now.
fn stage(action: &Action, input: &JsonText) -> (Stage, Option<Listens>) {
    if !matches!(action, Action::Wait(_) | Action::Approval(_)) {
        return (Stage::Begun, None);
    }
    let input = input.to_value();
    if let Some((listens, until)) = steps::of(action).listens(&input) {
        return (Stage::Listening { until }, Some(listens));
    }
    let until = steps::wait::of_record(&input);
    let sleeping = until.map(|until| Stage::Sleeping { until });
    (sleeping.unwrap_or(Stage::Begun), None)
}

impl OpenStep {
    fn attempt_started(&mut self, number: u32, repeated: bool) -> Result<(), Contradiction> {
        let expected = match self.stage {
            Stage::Begun => number == 1 && !repeated,
            Stage::Waiting { failed, .. } => number == failed + 1 && !repeated,
            Stage::Interrupted { number: last } | Stage::Attempt { number: last, .. } => {
                number == last && repeated
            }
            Stage::Sleeping { .. }
            | Stage::Listening { .. }
            | Stage::Child { .. }
            | Stage::Inside => false,
        };
        if !expected {
            return contradiction(format!("attempt {number} after {:?}", self.stage));
        }
        self.stage = Stage::Attempt { number, repeated };
        self.effect = None;
        Ok(())
    }

    fn attempt_failed(&mut self, number: u32, until: Timestamp) -> Result<(), Contradiction> {
        match self.stage {
            Stage::Attempt { number: last, .. }
            | Stage::Interrupted { number: last }
            | Stage::Child { number: last }
                if last == number =>
            {
                self.stage = Stage::Waiting {
                    failed: number,
                    until,
                };
                self.effect = None;
                self.child = None;
                Ok(())
            }
            _ => contradiction(format!("attempt {number} fails after {:?}", self.stage)),
        }
    }

    fn child_started(&mut self, number: u32, child: &ExecutionName) -> Result<(), Contradiction> {
        match self.stage {
            Stage::Attempt { number: last, .. } | Stage::Interrupted { number: last }
                if last == number =>
            {
                self.stage = Stage::Child { number };
                self.effect = None;
                self.child = Some(child.clone());
                Ok(())
            }
            _ => contradiction(format!(
                "attempt {number} starts an execution after {:?}",
                self.stage
            )),
        }
    }
}

/// A step's failure as that of what it stands in: it names the step, but for one that the definition itself words.
fn named(node: &Node, error: &Failure) -> Failure {
    match node.step.action {
        Action::Fail(_) => error.clone(),
        _ => Failure::new(
            error.code.clone(),
            format!("step {:?}: {}", node.step.id.as_str(), error.message),
        ),
    }
}

fn step_of(fact: &Fact) -> Option<&StepInstance> {
    match fact {
        Fact::Started
        | Fact::SignalReceived(_)
        | Fact::ChildEnded(_)
        | Fact::Abandoned
        | Fact::Cancelling
        | Fact::Ending { .. }
        | Fact::Finished { .. } => None,
        Fact::StepStarted { step, .. }
        | Fact::StepKept { step, .. }
        | Fact::AttemptStarted { step, .. }
        | Fact::AttemptFailed { step, .. }
        | Fact::ChildStarted { step, .. }
        | Fact::StepFinished { step, .. } => Some(step),
    }
}

fn name(fact: &Fact) -> &'static str {
    match fact {
        Fact::Started => "the execution starts",
        Fact::StepStarted { .. } => "a step starts",
        Fact::StepKept { .. } => "a step is kept",
        Fact::AttemptStarted { .. } => "an attempt starts",
        Fact::AttemptFailed { .. } => "an attempt fails",
        Fact::StepFinished { .. } => "a step ends",
        Fact::SignalReceived(_) => "a signal comes",
        Fact::ChildStarted { .. } => "a child starts",
        Fact::ChildEnded(_) => "a child ends",
        Fact::Abandoned => "the execution is abandoned",
        Fact::Cancelling => "the execution is cancelled",
        Fact::Ending { .. } => "the execution is to end",
        Fact::Finished { .. } => "the execution finishes",
    }
}
