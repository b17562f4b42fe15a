//! `transform`: computes a value.

use crate::{
    expression::{Expression, JsonTemplate, Reference},
    workflow::steps::at,
};

/// Computes a value, which is the step's output.
#[derive(Clone, Debug)]
pub enum TransformStep {
    /// The result of an expression.
    Expression(Expression),
    /// JSON in which each string is a template.
    Template(JsonTemplate),
}

impl TransformStep {
    pub(crate) fn references(&self) -> Vec<(String, Reference)> {
        match self {
            Self::Expression(expression) => at("transform.expression", expression.references()),
            Self::Template(template) => at("transform.template", template.references()),
        }
    }
}
