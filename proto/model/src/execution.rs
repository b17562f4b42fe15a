//! Executions as facts: what a node journals before anything depends on it, and reports.

use std::{fmt, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    child::ChildEnd,
    ids::{ExecutionName, StepInstance},
    signal::Signal,
};

/// Where an execution stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ExecutionState {
    /// Durable, not started.
    Queued,
    /// A step is running.
    Running,
    /// Waiting for a time or a signal.
    Waiting,
    /// Ended as intended.
    Succeeded,
    /// Ended by an error.
    Failed,
    /// Ended by an operator.
    Cancelled,
    /// Ended by its timeout.
    TimedOut,
}

impl ExecutionState {
    /// As expressions, filters and the control plane's rows write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "QUEUED",
            Self::Running => "RUNNING",
            Self::Waiting => "WAITING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Cancelled => "CANCELLED",
            Self::TimedOut => "TIMED_OUT",
        }
    }

    /// Whether nothing can follow.
    #[must_use]
    pub fn is_terminal(self) -> bool {
        match self {
            Self::Queued | Self::Running | Self::Waiting => false,
            Self::Succeeded | Self::Failed | Self::Cancelled | Self::TimedOut => true,
        }
    }
}

/// Where a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StepState {
    /// An attempt is running.
    Running,
    /// It waits: for the time of its next attempt, or, of a `wait` or an `approval`, for what that is for.
    Waiting,
    /// Ended as intended.
    Succeeded,
    /// Ended by an error.
    Failed,
    /// Not run: its `if` was false.
    Skipped,
    /// Stopped by what happened elsewhere: what it had begun may have happened.
    Cancelled,
}

impl StepState {
    /// What [`StepState::as_str`] writes, read.
    #[must_use]
    pub fn from_text(text: &str) -> Option<Self> {
        [
            Self::Running,
            Self::Waiting,
            Self::Succeeded,
            Self::Failed,
            Self::Skipped,
            Self::Cancelled,
        ]
        .into_iter()
        .find(|state| state.as_str() == text)
    }

    /// As expressions and the control plane's rows write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Waiting => "WAITING",
            Self::Succeeded => "SUCCEEDED",
            Self::Failed => "FAILED",
            Self::Skipped => "SKIPPED",
            Self::Cancelled => "CANCELLED",
        }
    }
}

/// Why an execution, a step or an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Failure {
    /// Stable code, upper snake case.
    pub code: String,
    /// What went wrong, for people. Holds no secret.
    pub message: String,
}

impl Failure {
    /// A failure.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
        }
    }

    /// Code of what was stopped, rather than failed by itself.
    pub const CANCELLED: &str = "CANCELLED";
    /// Code of what ended because its node is gone, or what the node knew of it.
    pub const NODE_LOST: &str = "NODE_LOST";
    /// Code of what ended because the execution took longer than it may.
    pub const EXECUTION_TIMEOUT: &str = "EXECUTION_TIMEOUT";
    /// Code of what ended because the execution has recorded as much as it may.
    pub const HISTORY_FULL: &str = "HISTORY_FULL";

    /// An operator asked for the end of the execution.
    #[must_use]
    pub fn cancelled() -> Self {
        Self::new(Self::CANCELLED, "an operator cancelled the execution")
    }

    /// An operator asked for the end of the execution, and its node knows nothing of it.
    #[must_use]
    pub fn unknown_at_node() -> Self {
        Self::new(
            Self::NODE_LOST,
            "the execution was cancelled; its node knows nothing of it any more, so that what became of it is lost",
        )
    }

    /// An operator ended the execution without its node.
    #[must_use]
    pub fn cancelled_without_node() -> Self {
        Self::new(
            Self::NODE_LOST,
            "an operator ended the execution by force, without its node; what became of it there is not known",
        )
    }

    /// The step that waited for the execution does not any more.
    #[must_use]
    pub fn abandoned() -> Self {
        Self::new(
            Self::CANCELLED,
            "the step that started the execution ended before it",
        )
    }
}

/// One step forward of an execution. An execution is the fold of its facts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fact {
    /// The execution started.
    Started,
    /// A step started.
    StepStarted {
        /// Which.
        step: StepInstance,
        /// Its kind, as the definition names it.
        kind: String,
        /// What it was given.
        input: JsonText,
    },
    /// An attempt started.
    AttemptStarted {
        /// Of which step.
        step: StepInstance,
        /// From 1.
        number: u32,
        /// True when a crash interrupted this very attempt and it runs again.
        repeated: bool,
    },
    /// An attempt failed and another is due.
    AttemptFailed {
        /// Of which step.
        step: StepInstance,
        /// From 1.
        number: u32,
        /// Why.
        error: Failure,
        /// When the next is due.
        retry_at: Timestamp,
    },
    /// A step ended, and with it its last attempt, if it had one.
    StepFinished {
        /// Which.
        step: StepInstance,
        /// Succeeded, Failed, Skipped or Cancelled.
        state: StepState,
        /// What it gave. A failed `parallel` or `forEach` gives what it has.
        output: Option<JsonText>,
        /// Why it failed or was cancelled.
        error: Option<Failure>,
    },
    /// Someone told it something. Where it stands among the facts of steps says nothing but that it was durable before
    /// whatever follows from it; it may come before [`Fact::Started`].
    SignalReceived(Box<Signal>),
    /// A step's result was kept from the execution that this one retries: it stands for its start and its end.
    StepKept {
        /// Which.
        step: StepInstance,
        /// Its kind, as the definition names it.
        kind: String,
        /// What it was given.
        input: JsonText,
        /// Succeeded, Skipped, or Failed where the definition goes on after that.
        state: StepState,
        /// What it gave.
        output: Option<JsonText>,
        /// Why it failed.
        error: Option<Failure>,
    },
    /// An attempt has started another execution, which is durable with this.
    ChildStarted {
        /// Of which step.
        step: StepInstance,
        /// Number of the attempt.
        number: u32,
        /// The execution that it started.
        child: ExecutionName,
        /// Whether the step waits for its end.
        waits: bool,
    },
    /// An execution that an attempt started has ended. Written with that one's own last fact; where it stands among the facts of
    /// steps says as little as of [`Fact::SignalReceived`].
    ChildEnded(Box<ChildEnd>),
    /// The step that started it, and waited for it, has ended: it is to be cancelled. May come before [`Fact::Started`].
    Abandoned,
    /// Its end was asked for: nothing begins any more but `finally` steps.
    Cancelling,
    /// How the execution is to end is decided; what is left are its `finally` steps.
    Ending {
        /// A terminal state.
        state: ExecutionState,
        /// Its output.
        output: Option<JsonText>,
        /// Why it failed.
        error: Option<Failure>,
    },
    /// The execution ended.
    Finished {
        /// A terminal state.
        state: ExecutionState,
        /// Its output.
        output: Option<JsonText>,
        /// Why it failed.
        error: Option<Failure>,
    },
}

impl Fact {
    /// Whether others than the owner of the execution write it into its journal, whoever has claimed it.
    #[must_use]
    pub fn is_told(&self) -> bool {
        matches!(
            self,
            Self::SignalReceived(_) | Self::ChildEnded(_) | Self::Abandoned
        )
    }
}

/// Text that is known to be one JSON value. Kept as text, so that numbers beyond a double keep their digits.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct JsonText(Arc<str>);

impl JsonText {
    /// The text of `value`.
    #[must_use]
    pub fn from_value(value: &Value) -> Self {
        Self(value.to_string().into())
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The value.
    #[must_use]
    pub fn to_value(&self) -> Value {
        // The text was one JSON value when this was made; depth beyond serde_json's own limit reads as null.
        serde_json::from_str(&self.0).unwrap_or(Value::Null)
    }
}

impl TryFrom<String> for JsonText {
    type Error = serde_json::Error;
    fn try_from(text: String) -> Result<Self, serde_json::Error> {
        serde_json::from_str::<serde::de::IgnoredAny>(&text)?;
        Ok(Self(text.into()))
    }
}

impl From<JsonText> for String {
    fn from(text: JsonText) -> String {
        text.0.as_ref().to_owned()
    }
}

impl fmt::Debug for JsonText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::signal::{ApprovalDecision, SignalKind};

    #[test]
    fn json_text_is_one_value_and_keeps_its_digits() {
        let digits = "123456789012345678901234567890.5";
        let text: JsonText = digits.to_owned().try_into().unwrap();
        assert_eq!(text.as_str(), digits);
        for wrong in ["", "{", "1 2", "nul"] {
            assert!(JsonText::try_from(wrong.to_owned()).is_err(), "{wrong:?}");
        }
        let value = serde_json::json!({"a": [1, null, "\u{7}"]});
        assert_eq!(JsonText::from_value(&value).to_value(), value);
    }

    #[test]
    fn facts_are_read_as_they_were_written() {
        let step: StepInstance = "call[2][0]".parse().unwrap();
        let failure = Failure::new("HTTP_STATUS", "the server answered 503");
        let facts = [
            Fact::Started,
            Fact::StepStarted {
                step: step.clone(),
                kind: "http".to_owned(),
                input: JsonText::from_value(&Value::Null),
            },
            Fact::AttemptStarted {
                step: step.clone(),
                number: 2,
                repeated: true,
            },
            Fact::AttemptFailed {
                step: step.clone(),
                number: 2,
                error: failure.clone(),
                retry_at: "2026-11-24T10:00:00.123456789Z".parse().unwrap(),
            },
            Fact::StepFinished {
                step,
                state: StepState::Failed,
                output: None,
                error: Some(failure.clone()),
            },
            Fact::SignalReceived(Box::new(Signal {
                id: "s1".parse().unwrap(),
                kind: SignalKind::Named {
                    name: "order:1.paid".parse().unwrap(),
                    payload: JsonText::from_value(&Value::from(3)),
                },
                by: "ann".to_owned(),
                at: "2026-11-24T10:00:00.123456Z".parse().unwrap(),
            })),
            Fact::SignalReceived(Box::new(Signal {
                id: "s2".parse().unwrap(),
                kind: SignalKind::Decision {
                    step: "call[2][0]".parse().unwrap(),
                    decision: ApprovalDecision::Rejected,
                    comment: String::new(),
                },
                by: "bob".to_owned(),
                at: "2026-11-24T10:00:00Z".parse().unwrap(),
            })),
            Fact::StepKept {
                step: "each[1]".parse().unwrap(),
                kind: "http".to_owned(),
                input: JsonText::from_value(&Value::Null),
                state: StepState::Failed,
                output: None,
                error: Some(failure.clone()),
            },
            Fact::ChildStarted {
                step: "call[1]".parse().unwrap(),
                number: 2,
                child: "projects/p/executions/x2".parse().unwrap(),
                waits: true,
            },
            Fact::ChildEnded(Box::new(ChildEnd {
                step: "call[1]".parse().unwrap(),
                number: 2,
                child: "projects/p/executions/x2".parse().unwrap(),
                state: ExecutionState::Failed,
                output: None,
                error: Some(failure.clone()),
            })),
            Fact::Abandoned,
            Fact::Cancelling,
            Fact::Ending {
                state: ExecutionState::Failed,
                output: None,
                error: Some(failure.clone()),
            },
            Fact::Finished {
                state: ExecutionState::TimedOut,
                output: Some(JsonText::from_value(&Value::from("x"))),
                error: Some(failure),
            },
        ];
        for fact in facts {
            let text = serde_json::to_string(&fact).unwrap();
            assert_eq!(serde_json::from_str::<Fact>(&text).unwrap(), fact, "{text}");
        }
    }

    #[test]
    fn facts_of_before_there_were_iterations_are_read() {
        let text = r#"{"attemptStarted":{"step":"call","number":1,"repeated":false}}"#;
        let fact = Fact::AttemptStarted {
            step: "call".parse().unwrap(),
            number: 1,
            repeated: false,
        };
        assert_eq!(serde_json::from_str::<Fact>(text).unwrap(), fact);
        assert_eq!(serde_json::to_string(&fact).unwrap(), text);
    }

    #[test]
    fn states_are_terminal_or_not() {
        use ExecutionState::{Cancelled, Failed, Queued, Running, Succeeded, TimedOut, Waiting};
        for state in [Queued, Running, Waiting] {
            assert!(!state.is_terminal(), "{state:?}");
        }
        for state in [Succeeded, Failed, Cancelled, TimedOut] {
            assert!(state.is_terminal(), "{state:?}");
        }
    }
}
