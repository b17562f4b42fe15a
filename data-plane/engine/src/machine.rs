//! One execution: where it stands, and what comes next.

use std::{fmt, sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};
use signalbox_model::{
    child::ChildEnd,
    event::EventScope,
    execution::{ExecutionState, Fact, Failure, JsonText},
    expression::Scope,
    ids::{ExecutionName, StepId, StepInstance, WorkflowName},
    limits,
    record::Accepted,
    secret::{Masks, Secrets},
    signal::Signal,
};

use crate::{
    codes,
    decision::{AttemptFailure, Decision, Effect, EffectKind, Outcome, RetryAfter},
    identity,
    plan::{Approval, At, Hop, Node, Plan},
    steps::{self, Begin},
};

mod advance;
mod children;
mod fold;
mod frame;
mod inbox;
mod links;
mod run;
mod secrets;

pub use fold::Contradiction;
pub use links::LinkMaker;

use children::Children;
use frame::{Ended, Frame, OpenStep, Stage};
use inbox::Inbox;
use links::Links;
use run::{Run, Verdict};

/// Facts that one [`Decision::Journal`] holds at most, but for those that belong together.
const BATCH_MAX_FACTS: usize = 64;
/// Size of inputs and outputs after which a [`Decision::Journal`] is not extended, in bytes.
const BATCH_MAX_BYTES: usize = 256 * 1024;

/// One execution of a plan: the fold of its facts.
pub struct Machine {
    plan: Arc<Plan>,
    execution: ExecutionName,
    workflow: WorkflowName,
    version: u64,
    /// The execution whose step started it.
    parent: Option<ExecutionName>,
    state: State,
    inbox: Inbox,
    /// Who waited for it does not any more.
    is_abandoned: bool,
    /// As they are now, of those that the plan names.
    secrets: Secrets,
    /// What no fact may hold.
    masks: Masks,
    links: Links,
}

enum State {
    Queued { event: Box<EventScope> },
    Running(Box<Run>),
    Ended(ExecutionState),
}

/// One move of the machine.
enum Move {
    /// These facts are next.
    Facts(Vec<Fact>),
    /// There is nothing to decide now.
    Rest(Decision),
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
            parent: accepted
                .parent
                .as_ref()
                .map(|parent| parent.execution.clone()),
            state: State::Queued {
                event: Box::new(accepted.event.scope.clone()),
            },
            inbox: Inbox::default(),
            is_abandoned: false,
            secrets: Secrets::default(),
            masks: Masks::default(),
            links: Links::default(),
        }
    }

    /// Takes in a fact of the journal, which happened at `at`. For the facts that an earlier process made durable, in
    /// their order and before anything else.
    ///
    /// # Errors
    /// [`Contradiction`]: the fact cannot follow the ones before it. The machine must not be used any more.
    pub fn replay(&mut self, fact: &Fact, at: Timestamp) -> Result<(), Contradiction> {
        self.fold(fact, at)?;
        if let (State::Running(run), Fact::AttemptStarted { step, .. }) = (&mut self.state, fact) {
            run.interrupt(&self.plan, step);
        }
        Ok(())
    }

    /// Where the execution stands.
    #[must_use]
    pub fn state(&self) -> ExecutionState {
        match &self.state {
            State::Queued { .. } => ExecutionState::Queued,
            State::Ended(state) => *state,
            State::Running(run) if run.only_waits() => ExecutionState::Waiting,
            State::Running(_) => ExecutionState::Running,
        }
    }

    /// What comes next, at `now`. Facts that it gives are counted already, see [`Decision::Journal`].
    pub fn decide(&mut self, now: Timestamp) -> Decision {
        self.extend(Vec::new(), now)
    }

    /// Ends the execution as cancelled: nothing begins any more but its `finally` steps, and attempts that are under way get
    /// [`limits::CANCEL_GRACE`] to end by themselves. It changes nothing when the execution is about to end already.
    pub fn cancel(&mut self, now: Timestamp) -> Decision {
        let facts = match &self.state {
            State::Queued { .. } => vec![run::never_ran(Failure::cancelled())],
            State::Running(run) if run.can_be_cancelled() => vec![Fact::Cancelling],
            State::Running(_) | State::Ended(_) => Vec::new(),
        };
        self.extend(facts, now)
    }

    /// Tells it something whose fact ([`Fact::SignalReceived`]) the owner has made durable, at any place among its own. A
    /// copy changes nothing. Decide again then.
    pub fn signal(&mut self, signal: &Signal) {
        self.inbox.add(signal);
    }

    /// The same of any fact that others tell it ([`Fact::is_told`]); ignores those that are none.
    pub fn hear(&mut self, fact: &Fact) {
        match fact {
            Fact::SignalReceived(signal) => self.inbox.add(signal),
            Fact::ChildEnded(end) => self.inbox.add_end(end),
            Fact::Abandoned => self.is_abandoned = true,
            _ => {}
        }
    }

    /// Says how attempt `number` of `step` ended, one of those that [`Decision::Await`] asked for, and what comes next. An
    /// outcome that no attempt waits for is ignored.
    pub fn attempt_ended(
        &mut self,
        step: &StepInstance,
        number: u32,
        outcome: Outcome,
        now: Timestamp,
    ) -> Decision {
        let facts = match &self.state {
            State::Running(run) => {
                let attempt = (step, number);
                let hidden = self.hidden();
                run.conclude(&self.plan, &self.execution, attempt, outcome, &hidden, now)
            }
            State::Queued { .. } | State::Ended(_) => None,
        };
        self.extend(facts.into_iter().collect(), now)
    }

    /// Counts `facts` and those that follow from them without a wait.
    fn extend(&mut self, mut facts: Vec<Fact>, now: Timestamp) -> Decision {
        let mut batch = Vec::new();
        let mut size_bytes = 0;
        loop {
            for fact in facts {
                let fact = self.shown(fact);
                size_bytes += size(&fact);
                let folded = self.fold(&fact, now);
                debug_assert_eq!(folded, Ok(()), "the machine contradicts itself: {fact:?}");
                batch.push(fact);
            }
            if batch.len() >= BATCH_MAX_FACTS || size_bytes >= BATCH_MAX_BYTES {
                return Decision::Journal(batch);
            }
            match self.advance(now) {
                Move::Facts(next) => facts = next,
                Move::Rest(decision) if batch.is_empty() => return decision,
                Move::Rest(_) => return Decision::Journal(batch),
            }
        }
    }

    /// The next move. Changes nothing but to remember what was evaluated.
    fn advance(&mut self, now: Timestamp) -> Move {
        match &mut self.state {
            State::Queued { .. } if self.is_abandoned => {
                Move::Facts(vec![run::never_ran(Failure::abandoned())])
            }
            State::Queued { .. } => Move::Facts(vec![Fact::Started]),
            State::Running(run) if self.is_abandoned && run.can_be_cancelled() => {
                Move::Facts(vec![Fact::Cancelling])
            }
            State::Ended(state) => Move::Rest(Decision::Done(*state)),
            State::Running(run) => {
                let (plan, execution) = (&self.plan, &self.execution);
                let known = advance::Known {
                    execution,
                    inbox: &self.inbox,
                    secrets: &self.secrets,
                    signing: self.links.signing(plan, execution, run.started_at),
                };
                run.advance(plan, known, now)
            }
        }
    }

    /// What expressions read of the execution itself.
    fn execution_scope(&self, started_at: Timestamp) -> Value {
        json!({
            "id": self.execution.execution.as_str(),
            "name": self.execution.to_string(),
            "workflow": self.workflow.to_string(),
            "version": self.version,
            "startTime": started_at.to_string(),
            "parent": self.parent.as_ref().map(ToString::to_string),
        })
    }
}

impl fmt::Debug for Machine {
    /// Without what it holds: messages and answers are not for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine")
            .field("execution", &self.execution)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// What a fact carries, in bytes.
fn size(fact: &Fact) -> usize {
    match fact {
        Fact::StepStarted { input, .. } => input.as_str().len(),
        Fact::StepKept { input, output, .. } => {
            input.as_str().len() + output.as_ref().map_or(0, |text| text.as_str().len())
        }
        Fact::StepFinished { output, .. }
        | Fact::Ending { output, .. }
        | Fact::Finished { output, .. } => output.as_ref().map_or(0, |text| text.as_str().len()),
        // What a signal or a child brings counts when a step has taken it.
        Fact::Started
        | Fact::SignalReceived(_)
        | Fact::ChildStarted { .. }
        | Fact::ChildEnded(_)
        | Fact::Abandoned
        | Fact::Cancelling
        | Fact::AttemptStarted { .. }
        | Fact::AttemptFailed { .. } => 0,
    }
}

/// `time` later by `by`; the end of time where there is no later.
fn later(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// Time from `now` to `deadline`; none when it has passed.
fn until(now: Timestamp, deadline: Timestamp) -> Duration {
    Duration::try_from(deadline.duration_since(now)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
