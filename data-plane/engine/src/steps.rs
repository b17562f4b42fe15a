//! What each kind of step does: one file each, and one line in [`of`].

mod approval;
mod aws;
mod condition;
mod email;
mod fail;
mod for_each;
mod http;
pub(crate) mod listen;
mod parallel;
mod run_workflow;
mod script;
mod slack;
mod succeed;
mod transform;
pub(crate) mod wait;

pub(crate) use self::http::response::retry_after;

use jiff::Timestamp;
use serde_json::Value;
use signalbox_model::{
    child::ChildEnd,
    execution::Failure,
    expression::{EvaluationError, Scope},
    ids::{ExecutionName, SignalName},
    signal::Signal,
    workflow::Action,
};

use crate::{
    codes,
    decision::{AttemptFailure, EffectKind, Outcome},
};

/// What a kind of step does. All methods are pure: the same scope and the same outcome give the same answer, so that a
/// replay need not remember it.
pub(crate) trait Behaviour {
    /// Evaluates the step against what has happened so far. Nothing of an attempt depends on `now`.
    ///
    /// A step that reads secrets is evaluated twice: with their values, for the attempt, and in a scope that hides them
    /// ([`Scope::hides_secrets`]), for what is recorded and shown.
    ///
    /// # Errors
    /// Why the step fails before it did anything.
    fn begin(&self, scope: &Scope, now: Timestamp) -> Result<Begin, Failure>;

    /// Puts the idempotency key of the step's run into what its attempts do, for kinds whose services take one elsewhere
    /// than in the header of that name.
    fn keyed(&self, effect: EffectKind, _idempotency_key: &str) -> EffectKind {
        effect
    }

    /// Reads how an attempt ended: the step's output, or why the attempt failed.
    ///
    /// # Errors
    /// As said. Kinds without attempts have no other answer.
    fn conclude(&self, outcome: Outcome) -> Result<Value, AttemptFailure> {
        match outcome {
            Outcome::Failed(failure) => Err(failure),
            Outcome::Http(_) | Outcome::Email(_) | Outcome::Script(_) | Outcome::Child(_) => {
                Err(not_of_its_kind())
            }
        }
    }

    /// What it listens for and until when, by its recorded input, for kinds that wait for something from outside.
    fn listens(&self, _input: &Value) -> Option<(Listens, Timestamp)> {
        None
    }

    /// What comes of what it listened for; without a signal, of its time being over.
    ///
    /// # Errors
    /// Why the step fails then. Kinds that do not listen have no other answer.
    fn heard(
        &self,
        _listens: &Listens,
        _signal: Option<&Signal>,
        _deadline: Timestamp,
    ) -> Result<Value, Failure> {
        Err(listen::not_meant())
    }

    /// What comes of an attempt that started `child`, for kinds that start executions: [`None`] while it is to be waited for.
    fn child(
        &self,
        _child: &ExecutionName,
        _end: Option<&ChildEnd>,
    ) -> Option<Result<Value, AttemptFailure>> {
        Some(Err(not_of_its_kind()))
    }

    /// Which branch `output` says was taken, for kinds that have branches.
    fn branch(&self, _output: &Value) -> Option<i64> {
        None
    }

    /// Whether the list that the step stands in ends, as succeeded, when the step has.
    fn ends_list(&self) -> bool {
        false
    }
}

/// How a step begins.
pub(crate) enum Begin {
    /// It is done at once.
    Finished {
        /// What is recorded as its input.
        input: Value,
        /// What it gave.
        result: Result<Value, Failure>,
    },
    /// The frames below it begin, or it listens.
    Enter {
        /// What is recorded as its input: what they are made of, or what it listens for.
        input: Value,
    },
    /// It waits for a time, and has succeeded then.
    Sleep {
        /// When.
        until: Timestamp,
    },
    /// It needs the world.
    Attempt {
        /// What is recorded as its input.
        input: Value,
        /// What each attempt does.
        effect: EffectKind,
    },
}

/// What a step listens for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Listens {
    /// The next signal of this name.
    Signal(SignalName),
    /// The decision of its run.
    Decision,
}

/// The registry of kinds.
pub(crate) fn of(action: &Action) -> &dyn Behaviour {
    match action {
        Action::Http(step) => step.as_ref(),
        Action::Transform(step) => step,
        Action::Condition(step) => step,
        Action::Parallel(step) => step,
        Action::ForEach(step) => step,
        Action::Wait(step) => step,
        Action::Approval(step) => step,
        Action::Succeed(step) => step,
        Action::Fail(step) => step,
        Action::Slack(step) => step.as_ref(),
        Action::Aws(step) => step.as_ref(),
        Action::Email(step) => step.as_ref(),
        Action::Script(step) => step.as_ref(),
        Action::RunWorkflow(step) => step.as_ref(),
    }
}

/// What no performer does.
pub(crate) fn not_of_its_kind() -> AttemptFailure {
    AttemptFailure::lasting(
        codes::INTERNAL,
        "the step got an outcome that is not of its kind",
    )
}

/// An evaluation that gave nothing fails the step for good.
pub(crate) fn expression_failure(error: &EvaluationError) -> Failure {
    Failure::new(codes::EXPRESSION, error.to_string())
}

/// Length of the JSON text of `value`, in bytes, without writing it.
pub(crate) fn text_len(value: &Value) -> usize {
    struct Count(usize);
    impl std::io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    match serde_json::to_writer(&mut count, value) {
        Ok(()) => count.0,
        Err(_) => usize::MAX,
    }
}
