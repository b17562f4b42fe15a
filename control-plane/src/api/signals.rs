//! `SignalExecution`, and how what executions wait for and were told is shown.

use jiff::Timestamp;
use signalbox_model::{
    error::Error,
    ids::{ExecutionName, StepInstance},
    limits,
    signal::ApprovalDecision,
};
use signalbox_proto::{
    convert::{WireError, enums, record, signal, time},
    v1,
};

use super::{name, required};
use crate::{
    app::Telling,
    auth::Links,
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
            let step = self::step("decision.step", &step)?;
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

/// The run of a step, if it is said.
pub(super) fn step(field: &str, text: &str) -> Result<Option<StepInstance>, Error> {
    (!text.is_empty()).then(|| name(field, text)).transpose()
}

/// Whom links are for must be said, or who decided could not be.
pub(super) fn check_label(label: &str) -> Result<(), Error> {
    let chars = label.chars().count();
    let is_plain = !label.chars().any(char::is_control);
    if is_plain && (1..=limits::APPROVER_MAX_CHARS).contains(&chars) {
        return Ok(());
    }
    let max = limits::APPROVER_MAX_CHARS;
    let text = format!("has {chars} characters; expected 1 to {max}, and no control characters");
    Err(Error::invalid("label", text))
}

/// The links of an approval.
pub(super) fn links(
    links: &Links,
    execution: &ExecutionName,
    awaited: Awaited,
    label: &str,
) -> Result<v1::ApprovalLinks, Error> {
    let step: StepInstance = name("step", &awaited.step)?;
    let longest = Timestamp::now().saturating_add(limits::SIGNAL_TIMEOUT_MAX);
    let longest = longest.unwrap_or(Timestamp::MAX);
    let expires_at = awaited.deadline.unwrap_or(longest).min(longest);
    let url = |decision| links.url((execution, &step), decision, label, expires_at);
    Ok(v1::ApprovalLinks {
        approve_url: url(ApprovalDecision::Approved)?,
        reject_url: url(ApprovalDecision::Rejected)?,
        step: awaited.step,
        expire_time: Some(time::to_wire(expires_at)),
    })
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
