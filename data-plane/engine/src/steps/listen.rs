//! What the steps share that wait for something from outside, and a `wait` for a signal.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use signalbox_model::{
    execution::{Fact, Failure, JsonText},
    expression::Scope,
    ids::SignalName,
    signal::{Signal, SignalKind},
    workflow::{SignalTimeout, SignalWait},
};

use super::{Begin, Listens, expression_failure};
use crate::codes;

/// Field of a recorded input: until when it waits; null: as long as the execution may take.
pub(super) const DEADLINE: &str = "deadline";
/// Fields of a wait's input and output.
const SIGNAL: &str = "signal";
const TIMED_OUT: &str = "timedOut";
/// How much of a text that is no name its error quotes, in characters.
const QUOTED_MAX_CHARS: usize = 64;

/// The end of a wait that begins at `now`, as it is recorded.
pub(super) fn deadline(now: Timestamp, timeout: Option<Duration>) -> Value {
    let end = timeout.map(|timeout| now.checked_add(timeout).unwrap_or(Timestamp::MAX));
    end.map_or(Value::Null, |end| end.to_string().into())
}

/// That of a recorded input; none when the step did not come to wait.
pub(super) fn deadline_of(input: &Value) -> Option<Timestamp> {
    match input.get(DEADLINE)? {
        Value::Null => Some(Timestamp::MAX),
        time => time.as_str()?.parse().ok(),
    }
}

/// A step got what it did not listen for.
pub(super) fn not_meant() -> Failure {
    Failure::new(codes::INTERNAL, "the step got a signal that is not for it")
}

pub(super) fn begin(wait: &SignalWait, scope: &Scope, now: Timestamp) -> Result<Begin, Failure> {
    let name = wait.name.render_text(scope);
    let name = name.map_err(|error| expression_failure(&error))?;
    let name: SignalName = name.parse().map_err(|_| {
        let shown: String = name.chars().take(QUOTED_MAX_CHARS).collect();
        let message = format!(
            "{shown:?} is no signal's name: 1 to 128 of a-z, A-Z, 0-9, '_', '.', ':' and '-'"
        );
        Failure::new(codes::INVALID_SIGNAL, message)
    })?;
    Ok(Begin::Enter {
        input: json!({ SIGNAL: name.as_str(), DEADLINE: deadline(now, wait.timeout) }),
    })
}

pub(super) fn listens(input: &Value) -> Option<(Listens, Timestamp)> {
    let name = input.get(SIGNAL)?.as_str()?.parse().ok()?;
    Some((Listens::Signal(name), deadline_of(input)?))
}

pub(super) fn heard(
    wait: &SignalWait,
    listens: &Listens,
    signal: Option<&Signal>,
    deadline: Timestamp,
) -> Result<Value, Failure> {
    let Listens::Signal(name) = listens else {
        return Err(not_meant());
    };
    let (payload, by, at) = match (signal, wait.on_timeout) {
        (Some(Signal { kind, by, at, .. }), _) => match kind {
            SignalKind::Named { payload, .. } => (payload.to_value(), Some(by), Some(at)),
            SignalKind::Decision { .. } => return Err(not_meant()),
        },
        (None, SignalTimeout::Continue) => (Value::Null, None, None),
        (None, SignalTimeout::Fail) => {
            let message = format!("no signal {:?} came until {deadline}", name.as_str());
            return Err(Failure::new(codes::SIGNAL_TIMEOUT, message));
        }
    };
    Ok(json!({
        SIGNAL: name.as_str(),
        "payload": payload,
        "by": by,
        "at": at.map(ToString::to_string),
        TIMED_OUT: signal.is_none(),
    }))
}

/// The name of the signal that a `wait` took, by the fact of its end.
pub(crate) fn taken(fact: &Fact) -> Option<SignalName> {
    let Fact::StepFinished {
        output: Some(output),
        error: None,
        ..
    } = fact
    else {
        return None;
    };
    let output = JsonText::to_value(output);
    let is_taken = output.get(TIMED_OUT) == Some(&Value::Bool(false));
    let name = output.get(SIGNAL).filter(|_| is_taken)?;
    name.as_str()?.parse().ok()
}
