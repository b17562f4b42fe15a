//! `forEach`: runs a list of steps for each of a list of values.

use crate::{
    expression::Expression,
    workflow::{Step, steps::at},
};

/// Runs its steps for each item.
#[derive(Clone, Debug)]
pub struct ForEachStep {
    /// Must give a list.
    pub items: Expression,
    /// Items whose steps run at once, from 1.
    pub concurrency: u32,
    /// Whether the first item that fails stops the others.
    pub fail_fast: bool,
    /// Run in order for each item, with `item` and `index`.
    pub steps: Vec<Step>,
}

impl ForEachStep {
    /// Of the items only; nested steps are asked themselves.
    pub(crate) fn expressions(&self) -> Vec<(String, &Expression)> {
        at("forEach.items", [&self.items])
    }
}
