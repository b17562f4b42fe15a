//! What executions wait for from outside, as their steps recorded it.

use jiff::Timestamp;
use serde::Deserialize;

use super::rows::StepRun;

/// Kinds of steps that wait for a time, or for something from outside.
pub(super) const WAIT_THEMSELVES: [&str; 2] = ["approval", "wait"];

/// Something from outside that a step waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Awaited {
    /// The run of the step.
    pub step: String,
    /// Name of the signal; none of an approval.
    pub signal: Option<String>,
    /// What an approval asks.
    pub message: String,
    /// Whom.
    pub approvers: Vec<String>,
    /// Since when, in microseconds since the Unix epoch.
    pub start_time_us: i64,
    /// Until when; none: as long as the execution may take.
    pub deadline: Option<Timestamp>,
}

/// The input of a step that waits.
#[derive(Deserialize)]
struct Input {
    signal: Option<String>,
    message: Option<String>,
    #[serde(default)]
    approvers: Vec<String>,
    deadline: Option<Timestamp>,
}

impl Awaited {
    /// What an open step waits for; none when it is nothing from outside.
    #[must_use]
    pub fn of(run: &StepRun) -> Option<Self> {
        let is_open = run.end_time_us.is_none() && WAIT_THEMSELVES.contains(&run.kind.as_str());
        let input = is_open.then_some(&run.input_json)?;
        let Input {
            signal,
            message,
            approvers,
            deadline,
        } = serde_json::from_str(input).ok()?;
        if signal.is_none() && message.is_none() {
            return None;
        }
        Some(Self {
            step: run.step.clone(),
            signal,
            message: message.unwrap_or_default(),
            approvers,
            start_time_us: run.start_time_us,
            deadline,
        })
    }
}
