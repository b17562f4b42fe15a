//! What the kinds of steps hold: one file each.

mod condition;
mod fail;
mod http;
mod succeed;
mod transform;

pub use condition::{ConditionRule, ConditionStep};
pub use fail::FailStep;
pub use http::{HttpBody, HttpMethod, HttpStep};
pub use succeed::SucceedStep;
pub use transform::TransformStep;

use crate::expression::Reference;

/// `references`, each at `path`.
fn at(path: &str, references: impl IntoIterator<Item = Reference>) -> Vec<(String, Reference)> {
    references
        .into_iter()
        .map(|reference| (path.to_owned(), reference))
        .collect()
}
