//! `succeed`: ends the execution as succeeded.

use crate::expression::{Expression, JsonTemplate};

/// Ends the execution as succeeded.
#[derive(Clone, Debug)]
pub struct SucceedStep {
    /// The execution's output.
    pub output: Option<JsonTemplate>,
}

impl SucceedStep {
    pub(crate) fn expressions(&self) -> Vec<(String, &Expression)> {
        let output = self.output.as_ref();
        output.map_or_else(Vec::new, |output| output.expressions_at("succeed.output"))
    }
}
