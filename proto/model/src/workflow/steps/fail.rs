//! `fail`: ends the execution as failed.

use crate::{
    expression::{Expression, Template},
    workflow::steps::at,
};

/// Ends the execution as failed.
#[derive(Clone, Debug)]
pub struct FailStep {
    /// Code of the error.
    pub code: String,
    /// What went wrong.
    pub message: Template,
}

impl FailStep {
    pub(crate) fn expressions(&self) -> Vec<(String, &Expression)> {
        at("fail.message", self.message.expressions())
    }
}
