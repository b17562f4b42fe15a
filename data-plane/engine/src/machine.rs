//! One execution: where it stands, and what comes next.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};
use signalbox_model::{
    event::EventScope,
    execution::{ExecutionState, Fact, Failure, JsonText},
    expression::Scope,
    ids::{ExecutionName, StepId, WorkflowName},
    record::Accepted,
};

use crate::{
    decision::{Decision, Effect, EffectKind, Outcome},
    identity,
    plan::{At, Plan},
    steps::{self, Begin},
};

mod advance;
mod fold;

pub use fold::Contradiction;

/// Facts that one [`Decision::Journal`] holds at most, but for those that belong together.
const BATCH_MAX_FACTS: usize = 64;
/// Size of inputs and outputs after which a [`Decision::Journal`] is not extended, in bytes.
const BATCH_MAX_BYTES: usize = 256 * 1024;

/// One execution of a plan: the fold of its facts.
#[derive(Debug)]
pub struct Machine {
    plan: Arc<Plan>,
    execution: ExecutionName,
    workflow: WorkflowName,
    version: u64,
    state: State,
}

#[derive(Debug)]
enum State {
    Queued { event: Box<EventScope> },
    Running(Box<Run>),
    Ended(ExecutionState),
}

/// An execution between its first fact and its last.
#[derive(Debug)]
struct Run {
    started_at: Timestamp,
    scope: Scope,
    /// The step that is open, or else the next one; none after the last.
    at: Option<At>,
    step: Option<OpenStep>,
    /// Of the last top-level step that ran.
    last_output: Option<JsonText>,
    /// How the execution is to end, once a step has decided it.
    verdict: Option<Verdict>,
}

/// A step that started and has not ended.
#[derive(Clone, Debug)]
struct OpenStep {
    /// What its attempts do, once it was evaluated.
    effect: Option<EffectKind>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Stage {
    /// No attempt yet.
    Begun,
    /// An attempt's start is a fact of this process.
    Attempt { number: u32, repeated: bool },
    /// An attempt's start is a fact of the journal: whoever performed it is gone.
    Interrupted { number: u32 },
    /// Attempt `failed` failed; the next is due.
    Waiting { failed: u32, until: Timestamp },
}

/// How an execution is to end.
#[derive(Clone, Debug)]
enum Verdict {
    Succeeded(Option<JsonText>),
    Failed(Failure),
    TimedOut(Failure),
}

impl Machine {
    /// The execution that `accepted` made, before its first fact.
    #[must_use]
    pub fn new(plan: Arc<Plan>, accepted: &Accepted) -> Self {
        Self {
            plan,
            execution: accepted.execution.clone(),
            workflow: accepted.workflow.clone(),
            version: accepted.version,
            state: State::Queued {
                event: Box::new(accepted.event.scope.clone()),
            },
        }
    }

    /// Takes in a fact of the journal, which happened at `at`. For the facts that an earlier process made durable, in
    /// their order and before anything else.
    ///
    /// # Errors
    /// [`Contradiction`]: the fact cannot follow the ones before it. The machine is as it was.
    pub fn replay(&mut self, fact: &Fact, at: Timestamp) -> Result<(), Contradiction> {
        self.fold(fact, at)?;
        if let State::Running(run) = &mut self.state
            && let Some(open) = &mut run.step
            && let Stage::Attempt { number, .. } = open.stage
        {
            open.stage = Stage::Interrupted { number };
        }
        Ok(())
    }

    /// Where the execution stands.
    #[must_use]
    pub fn state(&self) -> ExecutionState {
        match &self.state {
            State::Queued { .. } => ExecutionState::Queued,
            State::Ended(state) => *state,
            State::Running(run) => match &run.step {
                Some(OpenStep {
                    stage: Stage::Waiting { .. },
                    ..
                }) => ExecutionState::Waiting,
                _ => ExecutionState::Running,
            },
        }
    }

    /// What comes next, at `now`. Facts that it gives are counted already, see [`Decision::Journal`].
    pub fn decide(&mut self, now: Timestamp) -> Decision {
        self.extend(Vec::new(), now)
    }

    /// Says how the attempt ended that [`Decision::Perform`] asked for, and what comes next. An outcome that no attempt
    /// waits for is ignored.
    pub fn attempt_ended(&mut self, outcome: Outcome, now: Timestamp) -> Decision {
        let facts = self.conclude(outcome, now);
        self.extend(facts, now)
    }

    /// Counts `facts` and those that follow from them without a wait.
    fn extend(&mut self, mut facts: Vec<Fact>, now: Timestamp) -> Decision {
        let mut batch = Vec::new();
        let mut size_bytes = 0;
        loop {
            for fact in facts {
                size_bytes += size(&fact);
                let folded = self.fold(&fact, now);
                debug_assert_eq!(folded, Ok(()), "the machine contradicts itself: {fact:?}");
                batch.push(fact);
            }
            if batch.len() >= BATCH_MAX_FACTS || size_bytes >= BATCH_MAX_BYTES {
                return Decision::Journal(batch);
            }
            match self.advance(now) {
                advance::Move::Facts(next) => facts = next,
                advance::Move::Rest(decision) if batch.is_empty() => return decision,
                advance::Move::Rest(_) => return Decision::Journal(batch),
            }
        }
    }

    fn scope(&self, event: &EventScope, started_at: Timestamp) -> Scope {
        let execution = json!({
            "id": self.execution.execution.as_str(),
            "name": self.execution.to_string(),
            "workflow": self.workflow.to_string(),
            "version": self.version,
            "startTime": started_at.to_string(),
        });
        Scope::new(&event.to_value(), self.plan.vars(), &execution)
    }
}

/// What a fact carries, in bytes.
fn size(fact: &Fact) -> usize {
    match fact {
        Fact::StepStarted { input, .. } => input.as_str().len(),
        Fact::StepFinished { output, .. } | Fact::Finished { output, .. } => {
            output.as_ref().map_or(0, |text| text.as_str().len())
        }
        Fact::Started | Fact::AttemptStarted { .. } | Fact::AttemptFailed { .. } => 0,
    }
}

/// `time` later by `by`; the end of time where there is no later.
fn later(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
