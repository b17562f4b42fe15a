//! Signals: what executions are told.

use signalbox_model::{
    execution::JsonText,
    signal::{Signal, SignalKind},
};

use super::{WireError, enums, non_empty, parse, time};
use crate::{dataplane::v1 as wire, v1};

/// A signal for the other plane.
#[must_use]
pub fn to_wire(signal: Signal) -> wire::Signal {
    use wire::signal::Kind;
    let Signal { id, kind, by, at } = signal;
    wire::Signal {
        signal_id: id.to_string(),
        kind: Some(match kind {
            SignalKind::Named { name, payload } => Kind::Signal(v1::NamedSignal {
                name: name.to_string(),
                payload_json: payload.into(),
            }),
            SignalKind::Decision {
                step,
                decision,
                comment,
            } => Kind::Decision(v1::ApprovalDecision {
                step: step.to_string(),
                verdict: enums::approval_to_wire(decision).into(),
                comment,
            }),
        }),
        by,
        time: Some(time::to_wire(at)),
    }
}

/// A signal of the other plane.
///
/// # Errors
/// When it means nothing.
pub fn from_wire(signal: wire::Signal) -> Result<Signal, WireError> {
    use wire::signal::Kind;
    let wire::Signal {
        signal_id,
        kind,
        by,
        time: at,
    } = signal;
    Ok(Signal {
        id: parse("signal_id", &signal_id)?,
        kind: match kind.ok_or(WireError::Missing("kind"))? {
            Kind::Signal(signal) => named(signal)?,
            Kind::Decision(decision) => SignalKind::Decision {
                step: parse("decision.step", &decision.step)?,
                decision: enums::approval(decision.verdict)?,
                comment: decision.comment,
            },
        },
        by,
        at: time::required("time", at)?,
    })
}

/// A signal that a `wait` waits for.
///
/// # Errors
/// Its name is none, or what comes with it is no JSON.
pub fn named(signal: v1::NamedSignal) -> Result<SignalKind, WireError> {
    let v1::NamedSignal { name, payload_json } = signal;
    let payload = non_empty(payload_json).unwrap_or_else(|| "null".to_owned());
    Ok(SignalKind::Named {
        name: parse("signal.name", &name)?,
        payload: JsonText::try_from(payload)
            .map_err(|error| WireError::invalid("signal.payload_json", error))?,
    })
}
