//! `succeed`: ends the execution as succeeded.

use crate::expression::{JsonTemplate, Reference};

/// Ends the execution as succeeded.
#[derive(Clone, Debug)]
pub struct SucceedStep {
    /// The execution's output.
    pub output: Option<JsonTemplate>,
}

impl SucceedStep {
    pub(crate) fn references(&self) -> Vec<(String, Reference)> {
        let output = self.output.as_ref();
        output.map_or_else(Vec::new, |output| output.references_at("succeed.output"))
    }
}
