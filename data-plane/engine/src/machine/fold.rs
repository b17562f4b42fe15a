//! Facts, folded into where an execution stands.

use signalbox_model::{execution::StepState, expression::StepResult, workflow::Action};

use super::*;
use crate::codes;

/// A fact that cannot follow the facts before it: the journal is not one of this execution of this plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the journal contradicts itself or the definition: {what}")]
pub struct Contradiction {
    what: String,
}

fn contradiction<T>(what: impl Into<String>) -> Result<T, Contradiction> {
    Err(Contradiction { what: what.into() })
}

impl Machine {
    /// Takes in `fact`, or leaves the machine as it is.
    pub(super) fn fold(&mut self, fact: &Fact, at: Timestamp) -> Result<(), Contradiction> {
        if let (Fact::Started, State::Queued { event }) = (fact, &self.state) {
            self.state = State::Running(Box::new(Run {
                started_at: at,
                scope: self.scope(event, at),
                at: self.plan.first(),
                step: None,
                last_output: None,
                verdict: None,
            }));
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
            State::Running(run) => run.fold(&self.plan, fact),
            _ => contradiction(format!("{} while it is not running", name(fact))),
        }
    }
}

impl Run {
    fn fold(&mut self, plan: &Plan, fact: &Fact) -> Result<(), Contradiction> {
        let Some(id) = step_of(fact) else {
            return contradiction(format!("{} a second time", name(fact)));
        };
        let at = match self.at {
            Some(at) if plan.node(at).step.id == *id && self.verdict.is_none() => at,
            _ => {
                let known = if plan.find(id).is_some() {
                    "is not the next step"
                } else {
                    "is not in the definition"
                };
                return contradiction(format!("{}: {id:?} {known}", name(fact)));
            }
        };
        match (fact, self.step.as_mut()) {
            (Fact::StepStarted { kind, .. }, None) => {
                let expected = plan.node(at).step.action.kind();
                if kind != expected {
                    return contradiction(format!("{id:?} is {expected}, not {kind}"));
                }
                self.step = Some(OpenStep {
                    effect: None,
                    stage: Stage::Begun,
                });
                Ok(())
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
            (
                Fact::StepFinished {
                    state,
                    output,
                    error,
                    ..
                },
                Some(_),
            ) => self.step_finished(plan, at, *state, output.as_ref(), error.as_ref()),
            _ => contradiction(format!("{} of {id:?} out of turn", name(fact))),
        }
    }

    fn step_finished(
        &mut self,
        plan: &Plan,
        at: At,
        state: StepState,
        output: Option<&JsonText>,
        error: Option<&Failure>,
    ) -> Result<(), Contradiction> {
        let node = plan.node(at);
        let behaviour = steps::of(&node.step.action);
        let value = output.map_or(Value::Null, JsonText::to_value);
        match (state, error) {
            (StepState::Succeeded, None) => {
                if node.is_top_level {
                    self.last_output = output.cloned();
                }
                if behaviour.ends_execution() {
                    self.verdict = Some(Verdict::Succeeded(output.cloned()));
                } else {
                    self.at = node.after(behaviour.branch(&value));
                }
            }
            (StepState::Skipped, None) => self.at = node.after(None),
            (StepState::Failed, Some(error)) => {
                self.verdict = Some(verdict(&node.step.id, &node.step.action, error));
            }
            _ => return contradiction(format!("{:?} ends as {state:?}", node.step.id)),
        }
        self.step = None;
        let result = StepResult {
            state,
            output: value,
        };
        self.scope.set_step(&node.step.id, &result);
        Ok(())
    }
}

impl OpenStep {
    fn attempt_started(&mut self, number: u32, repeated: bool) -> Result<(), Contradiction> {
        let expected = match self.stage {
            Stage::Begun => number == 1 && !repeated,
            Stage::Waiting { failed, .. } => number == failed + 1 && !repeated,
            Stage::Interrupted { number: last } | Stage::Attempt { number: last, .. } => {
                number == last && repeated
            }
        };
        if !expected {
            return contradiction(format!("attempt {number} after {:?}", self.stage));
        }
        self.stage = Stage::Attempt { number, repeated };
        Ok(())
    }

    fn attempt_failed(&mut self, number: u32, until: Timestamp) -> Result<(), Contradiction> {
        match self.stage {
            Stage::Attempt { number: last, .. } | Stage::Interrupted { number: last }
                if last == number =>
            {
                self.stage = Stage::Waiting {
                    failed: number,
                    until,
                };
                Ok(())
            }
            _ => contradiction(format!("attempt {number} fails after {:?}", self.stage)),
        }
    }
}

/// How a step's failure ends the execution. The error names the step, but for one that the definition itself words.
fn verdict(step: &StepId, action: &Action, error: &Failure) -> Verdict {
    match action {
        Action::Fail(_) => Verdict::Failed(error.clone()),
        _ if error.code == codes::EXECUTION_TIMEOUT => Verdict::TimedOut(error.clone()),
        _ => Verdict::Failed(Failure::new(
            error.code.clone(),
            format!("step {:?}: {}", step.as_str(), error.message),
        )),
    }
}

fn step_of(fact: &Fact) -> Option<&StepId> {
    match fact {
        Fact::Started | Fact::Finished { .. } => None,
        Fact::StepStarted { step, .. }
        | Fact::AttemptStarted { step, .. }
        | Fact::AttemptFailed { step, .. }
        | Fact::StepFinished { step, .. } => Some(step),
    }
}

fn name(fact: &Fact) -> &'static str {
    match fact {
        Fact::Started => "the execution starts",
        Fact::StepStarted { .. } => "a step starts",
        Fact::AttemptStarted { .. } => "an attempt starts",
        Fact::AttemptFailed { .. } => "an attempt fails",
        Fact::StepFinished { .. } => "a step ends",
        Fact::Finished { .. } => "the execution finishes",
    }
}
