//! Expressions (CEL, <https://github.com/google/cel-spec>) and the templates that hold them.
//!
//! Both are parsed once, when a definition is; what parsed can be evaluated against a [`Scope`]. Evaluation is pure and
//! bounded: the length and depth of the text, the nesting of comprehensions, the work of one evaluation and the size of
//! its result have limits ([`crate::limits`]).

mod args;
mod budget;
mod cel;
mod check;
mod closes;
mod facts;
mod fixed;
mod functions;
mod json_path;
mod kinds;
mod operations;
mod patterns;
mod scope;
mod shared;
mod signatures;
mod template;
mod types;
mod wanted;

pub use self::budget::sharing_one_budget;
pub use self::cel::{
    EvaluationError, Expression, ExpressionError, WrongExpression, with_parser_stack,
};
pub use facts::{Facts, Shape};
pub use json_path::{JsonPath, JsonPathError};
pub use scope::{Scope, StepResult};
pub use template::{
    JsonTemplate, Template, TemplateError, WrongJsonTemplate, WrongTemplate, shown,
};
pub use wanted::Wanted;

/// What an expression reads that a definition must provide.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reference {
    /// `steps.<id>`.
    Step(String),
    /// `vars.<name>`.
    Var(String),
    /// `item` or `index`, of the `forEach` around.
    Iteration(&'static str),
    /// `secrets.<id>`, or `secrets["<id>"]`.
    Secret(String),
    /// `approvals.<id>`, whose fields are links.
    Approval(String),
}

impl Reference {
    /// Whether nothing recorded may hold what is read.
    #[must_use]
    pub fn is_hidden(&self) -> bool {
        matches!(self, Self::Secret(_) | Self::Approval(_))
    }
}

#[cfg(test)]
mod tests;
