//! `transform`: computes a value.

use serde_json::Value;

use crate::{
    expression::{EvaluationError, Expression, JsonPath, JsonTemplate, Scope, sharing_one_budget},
    workflow::steps::at,
};

/// Computes a value, which is the step's output.
#[derive(Clone, Debug)]
pub enum TransformStep {
    /// The result of an expression.
    Expression(Expression),
    /// JSON in which each string is a template.
    Template(JsonTemplate),
    /// What a query finds.
    JsonPath(JsonPathTransform),
}

/// What a JSONPath query finds in a document.
#[derive(Clone, Debug)]
pub struct JsonPathTransform {
    /// The query.
    pub path: JsonPath,
    /// Gives the document.
    pub from: Expression,
    /// The first value alone, or null, instead of the list of all.
    pub first: bool,
}

impl JsonPathTransform {
    /// The document unless another is named.
    pub const FROM_DEFAULT: &str = "event.json";

    /// Its value.
    ///
    /// # Errors
    /// [`EvaluationError`].
    pub fn evaluate(&self, scope: &Scope) -> Result<Value, EvaluationError> {
        sharing_one_budget(|| {
            let document = self.from.evaluate(scope)?;
            self.path.query(&document, self.first)
        })
    }
}

impl TransformStep {
    pub(crate) fn expressions(&self) -> Vec<(String, &Expression)> {
        match self {
            Self::Expression(expression) => at("transform.expression", [expression]),
            Self::Template(template) => template.expressions_at("transform.template"),
            Self::JsonPath(query) => at("transform.jsonPath.from", [&query.from]),
        }
    }
}
