//! `wait`: waits for a time or a signal.

use jiff::Timestamp;
use serde_json::{Value, json};
use signalbox_model::{execution::Failure, expression::Scope, signal::Signal, workflow::WaitStep};

use super::{Begin, Behaviour, Listens, expression_failure, listen};
use crate::codes;

/// How much of a text that is no time its error quotes, in characters.
const QUOTED_MAX_CHARS: usize = 64;

impl Behaviour for WaitStep {
    fn begin(&self, scope: &Scope, now: Timestamp) -> Result<Begin, Failure> {
        let until = match self {
            Self::Duration(wait) => now.checked_add(*wait).unwrap_or(Timestamp::MAX),
            Self::Until(template) => {
                let text = template.render_text(scope);
                time(&text.map_err(|error| expression_failure(&error))?)?
            }
            Self::Signal(wait) => return listen::begin(wait, scope, now),
        };
        Ok(Begin::Sleep { until })
    }

    fn listens(&self, input: &Value) -> Option<(Listens, Timestamp)> {
        match self {
            Self::Signal(_) => listen::listens(input),
            Self::Duration(_) | Self::Until(_) => None,
        }
    }

    fn heard(
        &self,
        listens: &Listens,
        signal: Option<&Signal>,
        deadline: Timestamp,
    ) -> Result<Value, Failure> {
        match self {
            Self::Signal(wait) => listen::heard(wait, listens, signal, deadline),
            Self::Duration(_) | Self::Until(_) => Err(listen::not_meant()),
        }
    }
}

fn time(text: &str) -> Result<Timestamp, Failure> {
    text.trim().parse().map_err(|_| {
        let shown: String = text.chars().take(QUOTED_MAX_CHARS).collect();
        Failure::new(
            codes::INVALID_TIME,
            format!("{shown:?} is no time such as 2026-11-24T10:00:00Z (RFC 3339)"),
        )
    })
}

/// What is recorded of a wait for `until`: its input, and its output too.
pub(crate) fn recorded(until: Timestamp) -> Value {
    json!({ "until": until.to_string() })
}

/// The time of a recorded wait; none when the step did not come to wait.
pub(crate) fn of_record(input: &Value) -> Option<Timestamp> {
    input["until"].as_str()?.parse().ok()
}
