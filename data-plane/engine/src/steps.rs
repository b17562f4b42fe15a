//! The kinds of steps: one file each, and one line each in [`kind_of`].
//!
//! To add a kind: its message in `workflow_spec.proto`, its type in `signalbox_model::workflow` (with its arm in
//! `signalbox_proto::convert::definition`), a file here that says what it plans, and its line below. A kind that acts on
//! the world also gets an [`EffectKind`] and a performer in the data plane.

mod condition;
mod fail;
mod http;
mod succeed;
mod transform;

use serde_json::Value;
use signalbox_model::{
    execution::Failure,
    expression::{EvaluationError, Scope},
    workflow::Action,
};

use crate::effect::EffectKind;

/// What a step of some kind does.
pub(crate) trait StepKind {
    /// What it does in this scope. Must give the same for the same scope: a crash asks again.
    ///
    /// # Errors
    /// Why it fails for good.
    fn plan(&self, scope: &Scope) -> Result<Plan, Failure>;
}

/// What a step does.
pub(crate) enum Plan {
    /// It is done: a pure step.
    Output {
        /// What it was given, for the history.
        input: Value,
        /// What it gives.
        output: Value,
    },
    /// It ends the execution.
    End {
        /// What it was given, for the history.
        input: Value,
        /// The execution's output, or why it failed.
        result: Result<Value, Failure>,
    },
    /// It acts on the world.
    Effect {
        /// What it was given, for the history: without credentials.
        input: Value,
        /// What it does.
        kind: EffectKind,
    },
}

/// The registry.
pub(crate) fn kind_of(action: &Action) -> &dyn StepKind {
    match action {
        Action::Http(step) => step.as_ref(),
        Action::Transform(step) => step,
        Action::Condition(step) => step,
        Action::Succeed(step) => step,
        Action::Fail(step) => step,
    }
}

/// The failure of an expression: it would fail again, so it is never retried.
pub(crate) fn expression_failure(error: EvaluationError) -> Failure {
    Failure::new("EXPRESSION", error.to_string())
}
