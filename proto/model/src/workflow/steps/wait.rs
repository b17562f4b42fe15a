//! `wait`: waits for a time or a signal.

use std::time::Duration;

use crate::{
    expression::{Expression, Template},
    workflow::steps::at,
};

/// Waits for a time or a signal.
#[derive(Clone, Debug)]
pub enum WaitStep {
    /// So long from the step's start.
    Duration(Duration),
    /// Until a time that the template gives (RFC 3339).
    Until(Template),
    /// Until a signal comes.
    Signal(SignalWait),
}

/// What is waited for.
#[derive(Clone, Debug)]
pub struct SignalWait {
    /// Gives its name.
    pub name: Template,
    /// How long at most; as long as the execution has, when it does not say.
    pub timeout: Option<Duration>,
    /// What happens then.
    pub on_timeout: SignalTimeout,
}

/// What a wait comes to whose signal has not come in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SignalTimeout {
    /// It fails.
    #[default]
    Fail,
    /// It goes on without one.
    Continue,
}

impl WaitStep {
    pub(crate) fn expressions(&self) -> Vec<(String, &Expression)> {
        match self {
            Self::Duration(_) => Vec::new(),
            Self::Until(template) => at("wait.until", template.expressions()),
            Self::Signal(signal) => at("wait.signal.name", signal.name.expressions()),
        }
    }
}
