//! An execution between its first fact and its last: its steps, then its `finally` steps.

use signalbox_model::{execution::StepState, workflow::Action};

use super::{
    advance::{Around, Known},
    *,
};

/// An execution between its first fact and its last.
pub(super) struct Run {
    pub(super) started_at: Timestamp,
    /// What expressions read of the execution.
    pub(super) execution: Value,
    /// The steps, or the `finally` steps.
    pub(super) frame: Frame,
    pub(super) phase: Phase,
    /// When its end was asked for.
    pub(super) cancelled_at: Option<Timestamp>,
    /// That was so because nobody waits for it any more.
    pub(super) is_abandoned: bool,
    /// How it ends whatever its steps say: it is out of time, or its history is full.
    pub(super) verdict: Option<Verdict>,
    pub(super) history: History,
}

/// What is under way.
pub(super) enum Phase {
    /// The steps.
    Steps,
    /// The `finally` steps.
    Finally {
        started_at: Timestamp,
        /// What the steps came to.
        verdict: Verdict,
    },
}

/// How an execution ends.
#[derive(Clone, Debug)]
pub(super) struct Verdict {
    pub(super) state: ExecutionState,
    pub(super) output: Option<JsonText>,
    pub(super) error: Option<Failure>,
}

/// What an execution has recorded.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct History {
    pub(super) steps: usize,
    pub(super) size_bytes: usize,
}

impl Run {
    /// When it is out of time, and the code that says so.
    pub(super) fn deadline(&self, plan: &Plan) -> (Timestamp, &'static str) {
        match (&self.phase, plan.finally()) {
            (Phase::Finally { started_at, .. }, Some(finally)) => {
                (later(*started_at, finally.timeout), codes::FINALLY_TIMEOUT)
            }
            _ => (
                later(self.started_at, plan.timeout()),
                codes::EXECUTION_TIMEOUT,
            ),
        }
    }

    /// Whether no more steps may begin.
    pub(super) fn is_full(&self) -> bool {
        let (steps, bytes) = match self.phase {
            Phase::Steps => (0, 0),
            Phase::Finally { .. } => (limits::FINALLY_STEPS_MAX, limits::FINALLY_HISTORY_MAX_BYTES),
        };
        self.history.steps >= limits::EXECUTION_STEPS_MAX + steps
            || self.history.size_bytes >= limits::EXECUTION_HISTORY_MAX_BYTES + bytes
    }

    /// Whether a request to end it still changes something.
    pub(super) fn can_be_cancelled(&self) -> bool {
        matches!(self.phase, Phase::Steps)
            && self.cancelled_at.is_none()
            && self.verdict.is_none()
            && self.frame.ended().is_none()
    }

    /// Whether something waits for a time or a signal, and nothing else is to be done before.
    pub(super) fn only_waits(&self) -> bool {
        let mut waits = false;
        let mut works = false;
        self.frame.visit(&mut |stage| match stage {
            Stage::Waiting { .. }
            | Stage::Sleeping { .. }
            | Stage::Listening { .. }
            | Stage::Child { .. } => waits = true,
            Stage::Begun | Stage::Inside | Stage::Attempt { .. } | Stage::Interrupted { .. } => {
                works = true;
            }
        });
        waits && !works
    }

    /// Notes that nobody performs the attempt of `step` any more.
    pub(super) fn interrupt(&mut self, plan: &Plan, step: &StepInstance) {
        if let Some(open) = self.frame.open_mut(plan, step)
            && let Stage::Attempt { number, .. } = open.stage
        {
            open.stage = Stage::Interrupted { number };
        }
    }

    /// The next move.
    pub(super) fn advance(&mut self, plan: &Plan, known: Known<'_>, now: Timestamp) -> Move {
        let (deadline, code) = self.deadline(plan);
        if let Some(verdict) = &self.verdict {
            let state = match verdict.state {
                ExecutionState::TimedOut => StepState::Failed,
                _ => StepState::Cancelled,
            };
            let failure = verdict.error.clone();
            let open = failure.map(|failure| self.frame.close(plan, state, &failure));
            return Move::Facts(match open {
                Some(facts) if !facts.is_empty() => facts,
                _ => vec![self.conclusion(plan, verdict.clone())],
            });
        }
        if let Some(ended) = self.frame.ended() {
            let verdict = match ended {
                Ended::Succeeded(output) => Verdict::succeeded(output),
                Ended::Cancelled(_) if self.is_cancelling() => {
                    Verdict::cancelled(self.why_cancelled())
                }
                Ended::Failed(error) | Ended::Cancelled(error) => Verdict::failed(error),
            };
            return Move::Facts(vec![self.conclusion(plan, verdict)]);
        }
        if self.is_cancelling() {
            return self.wind_up(plan, now, deadline);
        }
        if now >= deadline {
            let failure = self.out_of_time(plan, code);
            let open = self.frame.close(plan, StepState::Failed, &failure);
            return Move::Facts(if open.is_empty() {
                vec![self.conclusion(plan, Verdict::timed_out(failure))]
            } else {
                open
            });
        }
        let mut around = Around::new(plan, known, now, deadline, self.is_full());
        match self.frame.advance(&mut around, deadline) {
            Some(facts) => Move::Facts(facts),
            None => Move::Rest(around.rest()),
        }
    }

    fn why_cancelled(&self) -> Failure {
        match self.is_abandoned {
            true => Failure::abandoned(),
            false => Failure::cancelled(),
        }
    }

    fn is_cancelling(&self) -> bool {
        self.cancelled_at.is_some() && matches!(self.phase, Phase::Steps)
    }

    /// What is left to do when nothing may begin any more.
    fn wind_up(&self, plan: &Plan, now: Timestamp, deadline: Timestamp) -> Move {
        let asked_at = self.cancelled_at.unwrap_or(now);
        let forced_at = later(asked_at, limits::CANCEL_GRACE).min(deadline);
        let mut attempts = Vec::new();
        if now < forced_at {
            self.frame.under_way(&mut attempts);
        }
        if !attempts.is_empty() {
            return Move::Rest(Decision::Await {
                attempts,
                wake_at: forced_at,
            });
        }
        let failure = self.why_cancelled();
        let open = self.frame.close(plan, StepState::Cancelled, &failure);
        Move::Facts(if open.is_empty() {
            vec![self.conclusion(plan, Verdict::cancelled(failure))]
        } else {
            open
        })
    }

    fn out_of_time(&self, plan: &Plan, code: &str) -> Failure {
        let message = match (&self.phase, plan.finally()) {
            (Phase::Finally { .. }, Some(finally)) => format!(
                "the finally steps took longer than their timeout, {:?}",
                finally.timeout
            ),
            _ => format!(
                "the execution took longer than its timeout, {:?}",
                plan.timeout()
            ),
        };
        Failure::new(code, message)
    }

    /// The fact that follows when what is under way has come to `verdict`.
    fn conclusion(&self, plan: &Plan, verdict: Verdict) -> Fact {
        match &self.phase {
            Phase::Steps if plan.finally().is_some() => {
                let Verdict {
                    state,
                    output,
                    error,
                } = verdict;
                Fact::Ending {
                    state,
                    output,
                    error,
                }
            }
            Phase::Steps => verdict.into_fact(),
            Phase::Finally {
                verdict: before, ..
            } => before.clone().and_finally(verdict).into_fact(),
        }
    }

    /// What follows from the outcome of an attempt that is under way.
    pub(super) fn conclude(
        &self,
        plan: &Plan,
        execution: &ExecutionName,
        (instance, number): (&StepInstance, u32),
        outcome: Outcome,
        masks: &Masks,
        now: Timestamp,
    ) -> Option<Fact> {
        let open = self.frame.open(plan, instance)?;
        if !matches!(open.stage, Stage::Attempt { number: open, .. } if open == number) {
            return None;
        }
        let step = &plan.node(plan.find(&instance.step)?).step;
        if let (Outcome::Child(child), Action::RunWorkflow(run)) = (&outcome, &step.action) {
            return Some(Fact::ChildStarted {
                step: instance.clone(),
                number,
                child: child.clone(),
                waits: run.waits,
            });
        }
        let behaviour = steps::of(&step.action);
        // A failure may quote the outcome cut off: what is to be masked in it is masked before.
        let again = (!masks.is_empty()).then(|| outcome.clone());
        let failed = match behaviour.conclude(outcome) {
            Ok(output) => return Some(advance::succeeded(instance, &output)),
            Err(failed) => again
                .and_then(|outcome| behaviour.conclude(outcome.masked(masks)).err())
                .unwrap_or(failed),
        };
        let out_of_time = now >= self.deadline(plan).0 || now >= open.deadline(step);
        if out_of_time {
            // Which of them ends it, and what that means for the others, is said when the time is looked at.
            return None;
        }
        Some(advance::attempt_failed(
            execution, step, instance, number, failed, now,
        ))
    }
}

/// The end of an execution that was cancelled before it began: there is nothing to tidy up after it.
pub(super) fn never_ran(why: Failure) -> Fact {
    Verdict::cancelled(why).into_fact()
}

impl Verdict {
    fn succeeded(output: Option<JsonText>) -> Self {
        Self {
            state: ExecutionState::Succeeded,
            output,
            error: None,
        }
    }

    pub(super) fn failed(error: Failure) -> Self {
        Self {
            state: ExecutionState::Failed,
            output: None,
            error: Some(error),
        }
    }

    fn cancelled(why: Failure) -> Self {
        Self {
            state: ExecutionState::Cancelled,
            output: None,
            error: Some(why),
        }
    }

    pub(super) fn timed_out(error: Failure) -> Self {
        Self {
            state: ExecutionState::TimedOut,
            output: None,
            error: Some(error),
        }
    }

    /// How it ends when its `finally` steps came to `finally`: they can only spoil a success.
    fn and_finally(self, finally: Self) -> Self {
        match (self.state, finally.error) {
            (ExecutionState::Succeeded, Some(error)) => Self {
                state: finally.state,
                output: None,
                error: Some(Failure::new(
                    error.code,
                    format!("finally: {}", error.message),
                )),
            },
            _ => self,
        }
    }

    fn into_fact(self) -> Fact {
        let Self {
            state,
            output,
            error,
        } = self;
        Fact::Finished {
            state,
            output,
            error,
        }
    }

    /// `execution`, as the `finally` steps read it.
    pub(super) fn shown_in(&self, execution: &Value) -> Value {
        let mut execution = execution.clone();
        execution["state"] = self.state.as_str().into();
        execution["error"] = match &self.error {
            Some(Failure { code, message }) => json!({"code": code, "message": message}),
            None => Value::Null,
        };
        execution
    }
}
