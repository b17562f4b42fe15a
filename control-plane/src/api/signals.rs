//! `SignalExecution`, and how what executions wait for and were told is shown.

use jiff::Timestamp;
use signalbox_model::{error::Error, ids::StepInstance};
use signalbox_proto::{
    convert::{WireError, enums, record, signal, time},
    v1,
};

use super::{name, required};
use crate::{
    app::Telling,
    store::{Awaited, rows::Signal},
};

/// What a request asks to tell.
pub(super) fn telling(kind: Option<v1::signal_execution_request::Kind>) -> Result<Telling, Error> {
    use v1::signal_execution_request::Kind;
    match required("signal", kind)? {
        Kind::Signal(named) => {
            use signalbox_model::signal::SignalKind;
            match signal::named(named).map_err(invalid)? {
                SignalKind::Named { name, payload } => Ok(Telling::Named { name, payload }),
                SignalKind::Decision { .. } => Err(Error::invalid("signal", "is none")),
            }
        }
        Kind::Decision(v1::ApprovalDecision {
            step,
            verdict,
            comment,
        }) => {
            let step = (!step.is_empty())
                .then(|| name::<StepInstance>("decision.step", &step))
                .transpose()?;
            let decision = enums::approval(verdict)
                .map_err(|error| Error::invalid("decision.verdict", error.to_string()))?;
            Ok(Telling::Decision {
                step,
                decision,
                comment,
            })
        }
    }
}

fn invalid(error: WireError) -> Error {
    match error {
        WireError::Missing(field) => Error::invalid(field, "is missing"),
        WireError::Invalid { field, problem } => Error::invalid(field, problem),
    }
}

/// What was told. That of an answer says nothing of the node, so that a repeated request is answered the same.
pub(super) fn shown(row: Signal, with_take_time: bool) -> v1::Signal {
    use v1::signal::Kind;
    let kind = match row.name {
        Some(name) => Kind::Signal(v1::NamedSignal {
            name,
            payload_json: row.payload_json.unwrap_or_default(),
        }),
        None => Kind::Decision(v1::ApprovalDecision {
            step: row.step.unwrap_or_default(),
            verdict: row
                .decision
                .and_then(|text| {
                    v1::ApprovalVerdict::from_str_name(&format!("APPROVAL_VERDICT_{text}"))
                })
                .unwrap_or_default()
                .into(),
            comment: row.comment.unwrap_or_default(),
        }),
    };
    let at = |us| Timestamp::from_microsecond(us).ok().map(time::to_wire);
    v1::Signal {
        signal_id: row.id,
        kind: Some(kind),
        by: row.actor,
        create_time: at(row.create_time_us),
        take_time: row.take_time_us.filter(|_| with_take_time).and_then(at),
    }
}

/// What a step waits for.
pub(super) fn awaited(awaited: Awaited) -> v1::Awaited {
    let Awaited {
        step,
        signal,
        message,
        approvers,
        start_time_us,
        deadline,
    } = awaited;
    let (step_id, indexes) = match step.parse::<StepInstance>() {
        Ok(run) => (run.step.to_string(), record::indexes(&run)),
        Err(_) => (step, Vec::new()),
    };
    v1::Awaited {
        step_id,
        indexes,
        signal: signal.unwrap_or_default(),
        message,
        approvers,
        start_time: Timestamp::from_microsecond(start_time_us)
            .ok()
            .map(time::to_wire),
        deadline: deadline.map(time::to_wire),
    }
}
