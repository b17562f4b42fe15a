//! `wait`: waits for a time.

use std::time::Duration;

use crate::{
    expression::{Reference, Template},
    workflow::steps::at,
};

/// Waits for a time.
#[derive(Clone, Debug)]
pub enum WaitStep {
    /// So long from the step's start.
    Duration(Duration),
    /// Until a time that the template gives (RFC 3339).
    Until(Template),
}

impl WaitStep {
    pub(crate) fn references(&self) -> Vec<(String, Reference)> {
        match self {
            Self::Duration(_) => Vec::new(),
            Self::Until(template) => at("wait.until", template.references()),
        }
    }
}
