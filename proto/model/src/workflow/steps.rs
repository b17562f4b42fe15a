//! What the kinds of steps hold: one file each.

mod condition;
mod fail;
mod for_each;
mod http;
mod parallel;
mod slack;
mod succeed;
mod transform;
mod wait;

pub use condition::{ConditionRule, ConditionStep};
pub use fail::FailStep;
pub use for_each::ForEachStep;
pub use http::{HttpAuth, HttpBody, HttpMethod, HttpStep};
pub use parallel::{ParallelBranch, ParallelStep};
pub use slack::{SlackStep, SlackTarget};
pub use succeed::SucceedStep;
pub use transform::TransformStep;
pub use wait::WaitStep;

use crate::expression::Reference;

/// `references`, each at `path`.
fn at(path: &str, references: impl IntoIterator<Item = Reference>) -> Vec<(String, Reference)> {
    references
        .into_iter()
        .map(|reference| (path.to_owned(), reference))
        .collect()
}
