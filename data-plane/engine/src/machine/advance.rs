//! What comes next.

use std::time::Duration;

use signalbox_model::{
    execution::StepState,
    workflow::{RetryPolicy, Step},
};

use super::*;
use crate::{codes, decision::AttemptFailure};

/// One move of the machine.
pub(super) enum Move {
    /// These facts are next.
    Facts(Vec<Fact>),
    /// There is nothing to decide now.
    Rest(Decision),
}

impl Machine {
    /// The next move. Changes nothing but to remember what was evaluated.
    pub(super) fn advance(&mut self, now: Timestamp) -> Move {
        let plan = Arc::clone(&self.plan);
        let run = match &mut self.state {
            State::Queued { .. } => return Move::Facts(vec![Fact::Started]),
            State::Ended(state) => return Move::Rest(Decision::Done(*state)),
            State::Running(run) => run,
        };
        if let Some(verdict) = &run.verdict {
            return Move::Facts(vec![verdict.clone().into_fact()]);
        }
        let Some(at) = run.at else {
            let verdict = Verdict::Succeeded(run.last_output.clone());
            return Move::Facts(vec![verdict.into_fact()]);
        };
        let step = &plan.node(at).step;
        let deadline = later(run.started_at, plan.timeout());
        if now >= deadline {
            return Move::Facts(run.expire(step, plan.timeout()));
        }
        let Some(open) = &mut run.step else {
            return Move::Facts(start(step, &run.scope));
        };
        let (id, number, repeated) = match open.stage {
            Stage::Waiting { until, .. } if now < until => {
                return Move::Rest(Decision::WaitUntil(until.min(deadline)));
            }
            Stage::Waiting { failed, .. } => return Move::Facts(attempt(step, failed + 1, false)),
            Stage::Interrupted { number } => return Move::Facts(attempt(step, number, true)),
            // A journal that ends in the middle of what is journalled together.
            Stage::Begun => {
                let mut facts = start(step, &run.scope);
                facts.remove(0);
                return Move::Facts(facts);
            }
            Stage::Attempt { number, repeated } => (&step.id, number, repeated),
        };
        let effect = match effect(open, step, &run.scope) {
            Ok(effect) => effect,
            Err(failure) => return Move::Facts(vec![failed(&step.id, failure)]),
        };
        Move::Rest(Decision::Perform(Box::new(Effect {
            step: id.clone(),
            attempt: number,
            repeated,
            idempotency_key: identity::idempotency_key(&self.execution, id),
            timeout: step.timeout.min(until(now, deadline)),
            kind: effect,
        })))
    }

    /// What follows from the outcome of the attempt that is under way.
    pub(super) fn conclude(&self, outcome: Outcome, now: Timestamp) -> Vec<Fact> {
        let State::Running(run) = &self.state else {
            return Vec::new();
        };
        let (Some(at), Some(open)) = (run.at, &run.step) else {
            return Vec::new();
        };
        let Stage::Attempt { number, .. } = open.stage else {
            return Vec::new();
        };
        let step = &self.plan.node(at).step;
        match steps::of(&step.action).conclude(outcome) {
            Ok(output) => vec![succeeded(&step.id, &output)],
            Err(_) if now >= later(run.started_at, self.plan.timeout()) => {
                run.expire(step, self.plan.timeout())
            }
            Err(AttemptFailure { failure, retriable }) if retriable && number < tries(step) => {
                let jitter = identity::jitter(&self.execution, &step.id, number);
                vec![Fact::AttemptFailed {
                    step: step.id.clone(),
                    number,
                    error: failure,
                    retry_at: later(now, step.retry.pause(number, jitter)),
                }]
            }
            Err(AttemptFailure { failure, .. }) => vec![failed(&step.id, failure)],
        }
    }
}

impl Run {
    /// The execution's time is up.
    fn expire(&self, step: &Step, timeout: Duration) -> Vec<Fact> {
        let failure = Failure::new(
            codes::EXECUTION_TIMEOUT,
            format!("the execution took longer than its timeout, {timeout:?}"),
        );
        if self.step.is_some() {
            vec![failed(&step.id, failure)]
        } else {
            vec![Verdict::TimedOut(failure).into_fact()]
        }
    }
}

impl Verdict {
    fn into_fact(self) -> Fact {
        let (state, output, error) = match self {
            Self::Succeeded(output) => (ExecutionState::Succeeded, output, None),
            Self::Failed(error) => (ExecutionState::Failed, None, Some(error)),
            Self::TimedOut(error) => (ExecutionState::TimedOut, None, Some(error)),
        };
        Fact::Finished {
            state,
            output,
            error,
        }
    }
}

/// The facts of a step's beginning, [`Fact::StepStarted`] first: up to its first attempt, or to its end.
fn start(step: &Step, scope: &Scope) -> Vec<Fact> {
    let started = |input: &Value| Fact::StepStarted {
        step: step.id.clone(),
        kind: step.action.kind().to_owned(),
        input: JsonText::from_value(input),
    };
    let ended_at_once = |fact| vec![started(&Value::Null), fact];
    match step.condition.as_ref().map(|c| c.evaluate_bool(scope)) {
        None | Some(Ok(true)) => {}
        Some(Ok(false)) => {
            return ended_at_once(Fact::StepFinished {
                step: step.id.clone(),
                state: StepState::Skipped,
                output: None,
                error: None,
            });
        }
        Some(Err(error)) => {
            return ended_at_once(failed(&step.id, steps::expression_failure(&error)));
        }
    }
    match steps::of(&step.action).begin(scope) {
        Err(failure) => ended_at_once(failed(&step.id, failure)),
        Ok(Begin::Finished { input, result }) => vec![
            started(&input),
            match result {
                Ok(output) => succeeded(&step.id, &output),
                Err(failure) => failed(&step.id, failure),
            },
        ],
        Ok(Begin::Attempt { input, .. }) => {
            let mut facts = vec![started(&input)];
            facts.extend(attempt(step, 1, false));
            facts
        }
    }
}

/// What an attempt of `open` does. It is evaluated again after a crash; the scope is the same, and so is the result.
fn effect(open: &mut OpenStep, step: &Step, scope: &Scope) -> Result<EffectKind, Failure> {
    if let Some(effect) = &open.effect {
        return Ok(effect.clone());
    }
    match steps::of(&step.action).begin(scope)? {
        Begin::Attempt { effect, .. } => Ok(open.effect.insert(effect).clone()),
        Begin::Finished { .. } => Err(Failure::new(
            codes::INTERNAL,
            "the step has an attempt, but its kind knows none",
        )),
    }
}

fn attempt(step: &Step, number: u32, repeated: bool) -> Vec<Fact> {
    vec![Fact::AttemptStarted {
        step: step.id.clone(),
        number,
        repeated,
    }]
}

fn succeeded(step: &StepId, output: &Value) -> Fact {
    Fact::StepFinished {
        step: step.clone(),
        state: StepState::Succeeded,
        output: Some(JsonText::from_value(output)),
        error: None,
    }
}

fn failed(step: &StepId, failure: Failure) -> Fact {
    Fact::StepFinished {
        step: step.clone(),
        state: StepState::Failed,
        output: None,
        error: Some(failure),
    }
}

fn tries(step: &Step) -> u32 {
    let RetryPolicy { max_attempts, .. } = step.retry;
    max_attempts
}

/// Time from `now` to `deadline`; none when it has passed.
fn until(now: Timestamp, deadline: Timestamp) -> Duration {
    Duration::try_from(deadline.duration_since(now)).unwrap_or_default()
}
