//! `succeed`: ends the execution as succeeded.

use crate::{
    expression::{JsonTemplate, Reference},
    workflow::steps::at,
};

/// Ends the execution as succeeded.
#[derive(Clone, Debug)]
pub struct SucceedStep {
    /// The execution's output.
    pub output: Option<JsonTemplate>,
}

impl SucceedStep {
    pub(crate) fn references(&self) -> Vec<(String, Reference)> {
        at(
            "succeed.output",
            self.output.iter().flat_map(JsonTemplate::references),
        )
    }
}
