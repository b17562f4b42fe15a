//! `approval`: waits until someone approves or rejects.

use std::time::Duration;

use crate::{
    expression::{Expression, Template},
    limits,
    workflow::steps::at,
};

/// Waits until someone approves or rejects.
#[derive(Clone, Debug)]
pub struct ApprovalStep {
    /// What is asked.
    pub message: Template,
    /// Who is asked, for people: it is shown, and decides nothing.
    pub approvers: Vec<String>,
    /// How long it waits, if the definition says so.
    pub timeout: Option<Duration>,
    /// What happens then.
    pub on_timeout: ApprovalTimeout,
    /// Whether a rejection is the step's output. Otherwise it is its failure.
    pub rejected_is_output: bool,
}

/// What an approval comes to that nobody has decided in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ApprovalTimeout {
    /// It fails.
    #[default]
    Fail,
    /// As if it had been approved.
    Approve,
    /// As if it had been rejected.
    Reject,
}

impl ApprovalStep {
    /// How long it waits.
    #[must_use]
    pub fn effective_timeout(&self) -> Duration {
        self.timeout.unwrap_or(limits::APPROVAL_TIMEOUT_DEFAULT)
    }

    pub(crate) fn expressions(&self) -> Vec<(String, &Expression)> {
        at("approval.message", self.message.expressions())
    }
}
