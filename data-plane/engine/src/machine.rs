//! The state of one execution, and what follows from it.

mod progress;

use std::{collections::HashMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use serde_json::{Value, json};
use signalbox_model::{
    event::Event,
    execution::{ExecutionState, Fact, Failure, JsonText, StepState},
    expression::{Scope, StepResult},
    ids::{ExecutionName, StepId, WorkflowName},
    workflow::{Action, Step, Workflow},
};

use self::progress::{Position, Progress};
use crate::{
    effect::{AttemptError, Effect, EffectKind, idempotency_key, jitter},
    steps::{Plan, expression_failure, kind_of},
};

/// What is to be done now.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// Make these facts durable, together, then apply them, then ask again. The last one may end the execution.
    Journal(Vec<Fact>),
    /// Act on the world; its attempt is journalled already. Then [`Machine::outcome`].
    Perform(Effect),
    /// Nothing before then.
    WaitUntil(Timestamp),
    /// The execution has ended.
    Done(ExecutionState),
}

/// One execution.
#[derive(Clone, Debug)]
pub struct Machine {
    workflow: Arc<Workflow>,
    execution: ExecutionName,
    /// Of the execution, as expressions see it; `startTime` is added when it starts.
    about: Value,
    event: Value,
    scope: Option<Scope>,
    started_at: Option<Timestamp>,
    ended: Option<ExecutionState>,
    steps: HashMap<StepId, Progress>,
    /// True while the attempt under way was journalled by this very process: a crash has not interrupted it.
    attempt_is_live: bool,
}

impl Machine {
    /// An execution of which nothing has happened.
    #[must_use]
    pub fn new(
        workflow: Arc<Workflow>,
        execution: ExecutionName,
        workflow_name: &WorkflowName,
        version: u64,
        event: &Event,
    ) -> Self {
        let about = json!({
            "id": execution.execution.as_str(),
            "name": execution.to_string(),
            "workflow": workflow_name.to_string(),
            "version": version,
        });
        Self {
            workflow,
            execution,
            about,
            event: event.scope.to_value(),
            scope: None,
            started_at: None,
            ended: None,
            steps: HashMap::new(),
            attempt_is_live: false,
        }
    }

    /// Takes in a fact that is durable.
    pub fn apply(&mut self, fact: &Fact, at: Timestamp) {
        match fact {
            Fact::Started => {
                self.started_at = Some(at);
                self.about["startTime"] = Value::from(at.to_string());
                let vars = Value::Object(self.workflow.vars().clone().into_iter().collect());
                self.scope = Some(Scope::new(&self.event, &vars, &self.about));
            }
            Fact::StepStarted { step, .. } => {
                self.steps.insert(step.clone(), Progress::Started);
            }
            Fact::AttemptStarted { step, number, .. } => {
                self.steps
                    .insert(step.clone(), Progress::Attempting { number: *number });
                self.attempt_is_live = true;
            }
            Fact::AttemptFailed {
                step,
                number,
                retry_at,
                ..
            } => {
                let waiting = Progress::Waiting {
                    number: *number,
                    until: *retry_at,
                };
                self.steps.insert(step.clone(), waiting);
                self.attempt_is_live = false;
            }
            Fact::StepFinished {
                step,
                state,
                output,
                error,
            } => {
                self.attempt_is_live = false;
                let output = output.as_ref().map_or(Value::Null, JsonText::to_value);
                if let Some(scope) = &mut self.scope {
                    let result = StepResult {
                        state: *state,
                        output: output.clone(),
                    };
                    scope.set_step(step, &result);
                }
                let finished = Progress::Finished {
                    state: *state,
                    output,
                    error: error.clone(),
                };
                self.steps.insert(step.clone(), finished);
            }
            Fact::Finished { state, .. } => self.ended = Some(*state),
        }
    }

    /// To be called when the journal of an interrupted execution was applied: an attempt that was under way has been cut
    /// off, and will be made again, marked as a repeat.
    pub fn resume(&mut self) {
        self.attempt_is_live = false;
    }

    /// What is to be done at `now`.
    #[must_use]
    pub fn decide(&self, now: Timestamp) -> Decision {
        if let Some(state) = self.ended {
            return Decision::Done(state);
        }
        let (Some(started_at), Some(scope)) = (self.started_at, &self.scope) else {
            return Decision::Journal(vec![Fact::Started]);
        };
        let deadline = later(started_at, self.workflow.timeout());
        let position = progress::position(self.workflow.steps(), &self.steps);
        if now >= deadline {
            return Decision::Journal(self.timed_out(&position));
        }
        match position {
            Position::End => Decision::Journal(vec![self.succeeded()]),
            Position::Failed(step, error) => Decision::Journal(vec![failed(step, error)]),
            Position::At(step) => self.at(step, scope, now, deadline),
        }
    }

    /// The facts that follow from the outcome of an attempt.
    #[must_use]
    pub fn outcome(
        &self,
        step: &StepId,
        number: u32,
        outcome: Result<Value, AttemptError>,
        now: Timestamp,
    ) -> Vec<Fact> {
        let AttemptError { failure, retriable } = match outcome {
            Ok(output) => return vec![finished(step, StepState::Succeeded, Some(&output), None)],
            Err(error) => error,
        };
        let policy = self.workflow.step(step).map(|step| &step.retry);
        match policy.filter(|policy| retriable && number < policy.max_attempts) {
            Some(policy) => {
                let pause = policy.pause(number, jitter(&self.execution, step, number));
                vec![Fact::AttemptFailed {
                    step: step.clone(),
                    number,
                    error: failure,
                    retry_at: later(now, pause),
                }]
            }
            None => vec![
                finished(step, StepState::Failed, None, Some(failure.clone())),
                failed(step, Some(&failure)),
            ],
        }
    }

    fn at(&self, step: &Step, scope: &Scope, now: Timestamp, deadline: Timestamp) -> Decision {
        match self.steps.get(&step.id) {
            None => Decision::Journal(begin(step, scope)),
            // An effect's first attempt is journalled together with its start, so only a journal written by another
            // version of this code has a start alone.
            Some(Progress::Started) => attempt(step, 1, false),
            Some(Progress::Attempting { number }) if !self.attempt_is_live => {
                attempt(step, *number, true)
            }
            Some(Progress::Attempting { number }) => {
                self.perform(step, *number, scope, now, deadline)
            }
            Some(Progress::Waiting { number, until }) => {
                if now >= *until {
                    attempt(step, number + 1, false)
                } else {
                    Decision::WaitUntil((*until).min(deadline))
                }
            }
            // `position` never stops at a finished step.
            Some(Progress::Finished { .. }) => Decision::WaitUntil(deadline),
        }
    }

    fn perform(
        &self,
        step: &Step,
        number: u32,
        scope: &Scope,
        now: Timestamp,
        deadline: Timestamp,
    ) -> Decision {
        match kind_of(&step.action).plan(scope) {
            Ok(Plan::Effect { kind, .. }) => {
                let left = Duration::try_from(deadline.duration_since(now)).unwrap_or_default();
                Decision::Perform(Effect {
                    step: step.id.clone(),
                    number,
                    timeout: step.timeout.min(left),
                    idempotency_key: idempotency_key(&self.execution, &step.id),
                    kind,
                })
            }
            // Planning gave an effect when the attempt was journalled, and is the same for the same scope; only another
            // version of this code can land here.
            Ok(Plan::Output { .. } | Plan::End { .. }) => {
                let failure = Failure::new("INTERNAL", "the step changed its nature");
                Decision::Journal(self.outcome(&step.id, number, fatal(failure), now))
            }
            Err(failure) => Decision::Journal(self.outcome(&step.id, number, fatal(failure), now)),
        }
    }

    fn succeeded(&self) -> Fact {
        let last = self.workflow.steps().iter().rev();
        let output = last
            .filter_map(|step| match self.steps.get(&step.id) {
                Some(Progress::Finished {
                    state: StepState::Succeeded,
                    output,
                    ..
                }) => Some(output),
                _ => None,
            })
            .next();
        Fact::Finished {
            state: ExecutionState::Succeeded,
            output: output.map(JsonText::from_value),
            error: None,
        }
    }

    fn timed_out(&self, position: &Position<'_>) -> Vec<Fact> {
        let failure = Failure::new(
            "TIMEOUT",
            format!(
                "the execution took more than {} seconds",
                self.workflow.timeout().as_secs()
            ),
        );
        let mut facts = Vec::with_capacity(2);
        if let Position::At(step) = position
            && self.steps.contains_key(&step.id)
        {
            facts.push(finished(
                &step.id,
                StepState::Failed,
                None,
                Some(failure.clone()),
            ));
        }
        facts.push(Fact::Finished {
            state: ExecutionState::TimedOut,
            output: None,
            error: Some(failure),
        });
        facts
    }
}

/// The first facts of a step: all of a pure one's, the start and the first attempt of one that acts.
fn begin(step: &Step, scope: &Scope) -> Vec<Fact> {
    let runs = step
        .condition
        .as_ref()
        .map(|condition| condition.evaluate_bool(scope));
    match runs {
        None | Some(Ok(true)) => {}
        Some(Ok(false)) => return vec![finished(&step.id, StepState::Skipped, None, None)],
        Some(Err(error)) => return broken(step, expression_failure(error)),
    }
    match kind_of(&step.action).plan(scope) {
        Ok(Plan::Output { input, output }) => vec![
            started(step, &input),
            finished(&step.id, StepState::Succeeded, Some(&output), None),
        ],
        Ok(Plan::End { input, result }) => {
            let (state, end) = match result {
                Ok(output) => (
                    StepState::Succeeded,
                    Fact::Finished {
                        state: ExecutionState::Succeeded,
                        output: Some(JsonText::from_value(&output)),
                        error: None,
                    },
                ),
                // A `fail` step has done what it is for; the execution has failed.
                Err(failure) => (
                    StepState::Succeeded,
                    Fact::Finished {
                        state: ExecutionState::Failed,
                        output: None,
                        error: Some(failure),
                    },
                ),
            };
            vec![
                started(step, &input),
                finished(&step.id, state, None, None),
                end,
            ]
        }
        Ok(Plan::Effect {
            input,
            kind: EffectKind::Http(_),
        }) => vec![
            started(step, &input),
            Fact::AttemptStarted {
                step: step.id.clone(),
                number: 1,
                repeated: false,
            },
        ],
        Err(failure) => broken(step, failure),
    }
}

/// A step that failed before it could do anything.
fn broken(step: &Step, failure: Failure) -> Vec<Fact> {
    vec![
        started(step, &Value::Null),
        finished(&step.id, StepState::Failed, None, Some(failure.clone())),
        failed(&step.id, Some(&failure)),
    ]
}

fn started(step: &Step, input: &Value) -> Fact {
    Fact::StepStarted {
        step: step.id.clone(),
        kind: step.action.kind().to_owned(),
        input: JsonText::from_value(input),
    }
}

fn finished(
    step: &StepId,
    state: StepState,
    output: Option<&Value>,
    error: Option<Failure>,
) -> Fact {
    Fact::StepFinished {
        step: step.clone(),
        state,
        output: output.map(JsonText::from_value),
        error,
    }
}

/// The end of an execution by the failure of a step.
fn failed(step: &StepId, error: Option<&Failure>) -> Fact {
    let error = match error {
        Some(Failure { code, message }) => {
            Failure::new(code.clone(), format!("step {step}: {message}"))
        }
        None => Failure::new("INTERNAL", format!("step {step} failed")),
    };
    Fact::Finished {
        state: ExecutionState::Failed,
        output: None,
        error: Some(error),
    }
}

fn attempt(step: &Step, number: u32, repeated: bool) -> Decision {
    Decision::Journal(vec![Fact::AttemptStarted {
        step: step.id.clone(),
        number,
        repeated,
    }])
}

fn fatal(failure: Failure) -> Result<Value, AttemptError> {
    Err(AttemptError {
        failure,
        retriable: false,
    })
}

/// `time` and `duration`, or the end of time.
fn later(time: Timestamp, duration: Duration) -> Timestamp {
    time.saturating_add(duration).unwrap_or(Timestamp::MAX)
}

/// The branch that a finished condition chose.
fn branch_of<'a>(action: &'a Action, output: &Value) -> &'a [Step] {
    match action {
        Action::Condition(condition) => {
            let index = output["branch"]
                .as_i64()
                .and_then(|i| usize::try_from(i).ok());
            condition.branch(index)
        }
        _ => &[],
    }
}

#[cfg(test)]
mod tests;
