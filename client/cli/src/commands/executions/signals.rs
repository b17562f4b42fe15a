//! What executions wait for from outside, and telling it to them.

use std::{fmt::Write as _, path::Path};

use signalbox_client::Client;
use signalbox_model::execution::JsonText;
use signalbox_proto::v1::{self, signal_execution_request::Kind};

use super::{COLLECTION, call, cut, run_of};
use crate::{
    CliError, Output,
    args::{DecisionArgs, Global},
    commands::read_text,
    output::{short, time, value},
};

/// A signal, as it was asked for.
pub(super) fn named(name: String, payload: String, file: Option<&Path>) -> Result<Kind, CliError> {
    let (what, payload_json) = match file {
        Some(file) => (file.display().to_string(), read_text(file)?),
        None => ("--payload".to_owned(), payload),
    };
    let payload = JsonText::try_from(payload_json).map_err(|error| CliError::Data {
        what: format!("{what} cannot be a payload"),
        problems: vec![format!("is no JSON: {error}")],
    })?;
    Ok(Kind::Signal(v1::NamedSignal {
        name,
        payload_json: payload.into(),
    }))
}

/// A decision, as it was asked for.
pub(super) fn decision(
    global: &Global,
    decision: DecisionArgs,
    verdict: v1::ApprovalVerdict,
) -> Result<v1::SignalExecutionRequest, CliError> {
    let DecisionArgs {
        id,
        step,
        comment,
        request,
    } = decision;
    Ok(v1::SignalExecutionRequest {
        name: global.name(COLLECTION, &id)?,
        kind: Some(Kind::Decision(v1::ApprovalDecision {
            step: step.unwrap_or_default(),
            verdict: verdict.into(),
            comment,
        })),
        request_id: request.id(),
    })
}

pub(super) async fn tell(
    client: &Client,
    request: v1::SignalExecutionRequest,
    output: &Output,
) -> Result<(), CliError> {
    let execution = short(&request.name);
    let told = call!(client, executions.signal_execution(request));
    output.message(&told, |told| format!("told {execution}: {}", what(told)))
}

fn what(signal: &v1::Signal) -> String {
    use v1::signal::Kind;
    match &signal.kind {
        Some(Kind::Signal(named)) => format!("signal {}", named.name),
        Some(Kind::Decision(decision)) => {
            let verdict = value(decision.verdict().as_str_name(), "APPROVAL_VERDICT_");
            format!("step {} is {verdict}", decision.step)
        }
        None => "something that this version does not know".to_owned(),
    }
}

/// What an execution waits for and was told, for people; nothing when there is none.
pub(super) fn shown_of(execution: &v1::Execution) -> String {
    let mut text = String::new();
    for awaited in &execution.awaited {
        let run = run_of(&awaited.step_id, &awaited.indexes);
        let _ = match awaited.signal.as_str() {
            "" => writeln!(text, "\nawaits     approval of step {run}"),
            signal => writeln!(text, "\nawaits     signal {signal} in step {run}"),
        };
        let mut field = |name: &str, value: &str| {
            if !value.is_empty() {
                let _ = writeln!(text, "  {name:<8} {value}");
            }
        };
        field("asks", &cut(&awaited.message));
        field("of", &awaited.approvers.join(", "));
        field("since", &time(awaited.start_time.as_ref()));
        field("until", &time(awaited.deadline.as_ref()));
    }
    if !execution.signals.is_empty() {
        text.push('\n');
    }
    for signal in &execution.signals {
        let _ = write!(
            text,
            "told       {}  by {} at {}",
            what(signal),
            signal.by,
            time(signal.create_time.as_ref())
        );
        text.push_str(match signal.take_time {
            Some(_) => "\n",
            None => ", on its way to its node\n",
        });
    }
    text
}
