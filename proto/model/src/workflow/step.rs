//! One node of the graph.

use std::time::Duration;

use super::{ConditionStep, FailStep, HttpStep, RetryPolicy, SucceedStep, TransformStep};
use crate::{
    expression::{Expression, Reference},
    ids::StepId,
};

/// One node of the graph.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its id, unique in the workflow.
    pub id: StepId,
    /// It is skipped when this is false.
    pub condition: Option<Expression>,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// What happens after a retriable failure.
    pub retry: RetryPolicy,
    /// What it does.
    pub action: Action,
}

/// What a step does.
#[derive(Clone, Debug)]
pub enum Action {
    /// Sends an HTTP request.
    Http(Box<HttpStep>),
    /// Computes a value.
    Transform(TransformStep),
    /// Chooses between lists of steps.
    Condition(ConditionStep),
    /// Ends the execution as succeeded.
    Succeed(SucceedStep),
    /// Ends the execution as failed.
    Fail(FailStep),
}

impl Action {
    /// The kind, as definitions name it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::Transform(_) => "transform",
            Self::Condition(_) => "condition",
            Self::Succeed(_) => "succeed",
            Self::Fail(_) => "fail",
        }
    }

    /// The lists of steps inside it.
    pub fn branches(&self) -> impl Iterator<Item = &[Step]> {
        let condition = match self {
            Self::Condition(condition) => Some(condition),
            _ => None,
        };
        condition.into_iter().flat_map(|condition| {
            condition
                .rules
                .iter()
                .map(|rule| rule.steps.as_slice())
                .chain([condition.otherwise.as_slice()])
        })
    }

    /// Whether no step after it in its list can run.
    #[must_use]
    pub fn ends_execution(&self) -> bool {
        matches!(self, Self::Succeed(_) | Self::Fail(_))
    }

    /// What its expressions and templates read, with the path of each within the step.
    #[must_use]
    pub fn references(&self) -> Vec<(String, Reference)> {
        match self {
            Self::Http(step) => step.references(),
            Self::Transform(step) => step.references(),
            Self::Condition(step) => step.references(),
            Self::Succeed(step) => step.references(),
            Self::Fail(step) => step.references(),
        }
    }
}
