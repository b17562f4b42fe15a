//! A list of steps under way.

use signalbox_model::{execution::StepState, workflow::Step};

use super::*;
use crate::steps::Listens;

/// A list of steps under way.
pub(super) struct Frame {
    pub(super) scope: Scope,
    /// The iterations that it stands in.
    pub(super) indexes: Vec<u32>,
    /// The step that is open, or else the next one; none after the last.
    pub(super) at: Option<At>,
    pub(super) step: Option<OpenStep>,
    /// Of the last step of its own list that ran.
    pub(super) last_output: Option<JsonText>,
    /// How it ended before its last step.
    pub(super) end: Option<Ended>,
}

/// How a frame ended.
#[derive(Clone, Debug)]
pub(super) enum Ended {
    /// With its output.
    Succeeded(Option<JsonText>),
    /// By the failure of a step.
    Failed(Failure),
    /// By something else's.
    Cancelled(Failure),
}

/// A step that started and has not ended.
pub(super) struct OpenStep {
    pub(super) started_at: Timestamp,
    /// What its attempts do, once it was evaluated.
    pub(super) kind: Option<EffectKind>,
    /// The attempt that is under way.
    pub(super) effect: Option<Arc<Effect>>,
    pub(super) stage: Stage,
    /// What it listens for.
    pub(super) listens: Option<Listens>,
    /// The execution that its attempt started.
    pub(super) child: Option<ExecutionName>,
    /// The frames below it.
    pub(super) children: Option<Box<Children>>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Stage {
    /// No attempt yet.
    Begun,
    /// An attempt's start is a fact of this process.
    Attempt { number: u32, repeated: bool },
    /// An attempt's start is a fact of the journal: whoever performed it is gone.
    Interrupted { number: u32 },
    /// Attempt `failed` failed; the next is due.
    Waiting { failed: u32, until: Timestamp },
    /// It is a `wait` for a time.
    Sleeping { until: Timestamp },
    /// It waits for something from outside, no longer than this.
    Listening { until: Timestamp },
    /// An attempt started an execution, which it waits for.
    Child { number: u32 },
    /// It waits for the frames below it.
    Inside,
}

impl OpenStep {
    /// When all of it must have ended; the end of time when nothing says so.
    pub(super) fn deadline(&self, step: &Step) -> Timestamp {
        match step.total_timeout {
            Some(timeout) => later(self.started_at, timeout),
            None => Timestamp::MAX,
        }
    }
}

impl Frame {
    pub(super) fn new(scope: Scope, indexes: Vec<u32>, first: Option<At>) -> Self {
        Self {
            scope,
            indexes,
            at: first,
            step: None,
            last_output: None,
            end: None,
        }
    }

    /// How it ended, if it has.
    pub(super) fn ended(&self) -> Option<Ended> {
        match (&self.end, self.at) {
            (Some(end), _) => Some(end.clone()),
            (None, None) => Some(Ended::Succeeded(self.last_output.clone())),
            (None, Some(_)) => None,
        }
    }

    /// Shows the stage of every step that is open in it and below it; one that is about to begin counts as begun.
    pub(super) fn visit(&self, see: &mut impl FnMut(&Stage)) {
        match &self.step {
            None => see(&Stage::Begun),
            Some(OpenStep {
                children: Some(children),
                ..
            }) => {
                children.frames().for_each(|frame| frame.visit(see));
            }
            Some(open) => see(&open.stage),
        }
    }

    /// Adds the attempts that are under way in it and below it.
    pub(super) fn under_way(&self, into: &mut Vec<Arc<Effect>>) {
        let Some(open) = &self.step else { return };
        if let Some(children) = &open.children {
            children.frames().for_each(|frame| frame.under_way(into));
        }
        // Starting an execution is no work that could be waited for.
        let effect = open.effect.as_ref();
        into.extend(
            effect
                .filter(|effect| !matches!(effect.kind, EffectKind::RunWorkflow(_)))
                .cloned(),
        );
    }

    /// The frame that `step` stands in, if it is under way.
    pub(super) fn around(&self, plan: &Plan, step: &StepInstance) -> Option<&Self> {
        let mut frame = self;
        for hop in plan.node(plan.find(&step.step)?).around() {
            let number = frame.number(hop, step)?;
            let open = frame.open_here(plan, &hop.step)?;
            frame = open.children.as_ref()?.get(number)?;
        }
        Some(frame).filter(|frame| frame.indexes == step.indexes)
    }

    /// The run of `step`, if it is open.
    pub(super) fn open(&self, plan: &Plan, step: &StepInstance) -> Option<&OpenStep> {
        let frame = self.around(plan, step)?;
        frame.open_here(plan, &step.step)
    }

    /// Likewise.
    pub(super) fn open_mut(&mut self, plan: &Plan, step: &StepInstance) -> Option<&mut OpenStep> {
        let mut frame = self;
        for hop in plan.node(plan.find(&step.step)?).around() {
            let number = frame.number(hop, step)?;
            frame.open_here(plan, &hop.step)?;
            frame = frame.step.as_mut()?.children.as_mut()?.get_mut(number)?;
        }
        frame.open_here(plan, &step.step)?;
        let is_here = frame.indexes == step.indexes;
        frame.step.as_mut().filter(|_| is_here)
    }

    fn open_here(&self, plan: &Plan, step: &StepId) -> Option<&OpenStep> {
        let is_here = self.at.is_some_and(|at| plan.node(at).step.id == *step);
        self.step.as_ref().filter(|_| is_here)
    }

    /// The number of the frame that `hop` leads to on the way to `step`.
    pub(super) fn number(&self, hop: &Hop, step: &StepInstance) -> Option<usize> {
        let of_iteration = || {
            let index = step.indexes.get(self.indexes.len())?;
            usize::try_from(*index).ok()
        };
        hop.branch.or_else(of_iteration)
    }

    /// The ends of all that is open in it, what stands in a step before the step itself.
    pub(super) fn close(&self, plan: &Plan, state: StepState, failure: &Failure) -> Vec<Fact> {
        let (Some(open), Some(at)) = (&self.step, self.at) else {
            return Vec::new();
        };
        let children = open.children.as_ref();
        let mut facts = children.map_or_else(Vec::new, |c| c.close(plan, state, failure));
        facts.push(Fact::StepFinished {
            step: self.instance(&plan.node(at).step.id),
            state,
            output: None,
            error: Some(failure.clone()),
        });
        facts
    }

    /// The run of `step` in this frame.
    pub(super) fn instance(&self, step: &StepId) -> StepInstance {
        StepInstance {
            step: step.clone(),
            indexes: self.indexes.clone(),
        }
    }
}
