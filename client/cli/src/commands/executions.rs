//! `signalbox executions`.

mod signals;

use std::fmt::Write as _;

use signalbox_client::{Client, ClientError, token_has_ended};
use signalbox_proto::v1;
use tonic::Status;

use super::{call, pages};
use crate::{
    CliError, Output,
    args::{ExecutionsCommand, Global, Version},
    output::{short, time, value},
};

const COLLECTION: &str = "executions";
/// Characters of an input or output that are shown.
const SHOWN_CHARS: usize = 400;

pub(crate) async fn run(
    global: &Global,
    command: ExecutionsCommand,
    output: &Output,
) -> Result<(), CliError> {
    let client = global.client()?;
    match command {
        ExecutionsCommand::List { filter, limit } => {
            let parent = global.parent()?;
            let request = || v1::ListExecutionsRequest {
                parent: parent.clone(),
                filter: filter.clone(),
                ..Default::default()
            };
            let all = pages!(
                client,
                limit,
                executions.list_executions(request()).executions
            );
            let header = [
                "EXECUTION",
                "WORKFLOW",
                "STATE",
                "TRIGGER",
                "CREATED",
                "ENDED",
            ];
            output.list(&all, header, |execution| {
                [
                    short(&execution.name),
                    format!(
                        "{}@{}",
                        short(&execution.workflow),
                        execution.workflow_version
                    ),
                    state(execution),
                    value(execution.trigger().as_str_name(), "TRIGGER_KIND_"),
                    time(execution.create_time.as_ref()),
                    time(execution.end_time.as_ref()),
                ]
            })
        }
        ExecutionsCommand::Get { id } => {
            let name = global.name(COLLECTION, &id)?;
            let execution = call!(
                client,
                executions.get_execution(v1::GetExecutionRequest { name })
            );
            output.message(&execution, shown)
        }
        ExecutionsCommand::Cancel { id, force } => {
            let name = global.name(COLLECTION, &id)?;
            let request = v1::CancelExecutionRequest { name, force };
            let execution = call!(client, executions.cancel_execution(request));
            output.message(&execution, shown)
        }
        ExecutionsCommand::Signal {
            id,
            signal,
            payload,
            payload_file,
            request,
        } => {
            let request = v1::SignalExecutionRequest {
                name: global.name(COLLECTION, &id)?,
                kind: Some(signals::named(signal, payload, payload_file.as_deref())?),
                request_id: request.id(),
            };
            signals::tell(&client, request, output).await
        }
        ExecutionsCommand::Approve(decision) => {
            let approved = v1::ApprovalVerdict::Approved;
            let request = signals::decision(global, decision, approved)?;
            signals::tell(&client, request, output).await
        }
        ExecutionsCommand::Reject(decision) => {
            let rejected = v1::ApprovalVerdict::Rejected;
            let request = signals::decision(global, decision, rejected)?;
            signals::tell(&client, request, output).await
        }
        ExecutionsCommand::Links { id, label, step } => {
            let request = v1::CreateApprovalLinksRequest {
                name: global.name(COLLECTION, &id)?,
                step: step.unwrap_or_default(),
                label,
            };
            let links = call!(client, executions.create_approval_links(request));
            output.message(&links, |links| {
                let until = time(links.expire_time.as_ref());
                format!(
                    "approve    {}\nreject     {}\nuntil      {until}",
                    links.approve_url, links.reject_url
                )
            })
        }
        ExecutionsCommand::Retry {
            id,
            from_failed: _, // the default
            whole,
            version,
            follow,
        } => {
            use v1::retry_execution_request::Version as Wire;
            let mode = match whole {
                true => v1::RetryMode::Whole,
                false => v1::RetryMode::FromFailed,
            };
            let request = v1::RetryExecutionRequest {
                name: global.name(COLLECTION, &id)?,
                mode: mode.into(),
                version: version.map(|version| match version {
                    Version::Number(number) => Wire::WorkflowVersion(number),
                    Version::Latest => Wire::Latest(true),
                }),
                request_id: uuid::Uuid::new_v4().to_string(),
            };
            let execution = call!(client, executions.retry_execution(request));
            if follow {
                return watch(&client, &execution.name, output).await;
            }
            output.message(&execution, |execution| {
                format!("started {} to retry {}", execution.name, execution.retry_of)
            })
        }
        ExecutionsCommand::Event { id } => {
            let name = format!("{}/event", global.name(COLLECTION, &id)?);
            let event = call!(
                client,
                executions.get_execution_event(v1::GetExecutionEventRequest { name })
            );
            output.message(&event, shown_event)
        }
        ExecutionsCommand::Watch { id: Some(id), .. } => {
            watch(&client, &global.name(COLLECTION, &id)?, output).await
        }
        ExecutionsCommand::Watch { id: None, filter } => {
            let request = v1::WatchExecutionsRequest {
                parent: global.parent()?,
                filter,
                ..Default::default()
            };
            watch_all(&client, request, output).await
        }
    }
}

/// Follows executions as they change.
async fn watch_all(
    client: &Client,
    mut request: v1::WatchExecutionsRequest,
    output: &Output,
) -> Result<(), CliError> {
    loop {
        let mut stream = client
            .watch_executions()
            .watch_executions(request.clone())
            .await
            .map_err(ClientError::from)?
            .into_inner();
        while let Some(execution) = unless_token_ended(stream.message().await)? {
            let Some(execution) = execution else {
                return Ok(());
            };
            request.watch_token.clone_from(&execution.watch_token);
            output.message(&execution, summary)?;
        }
    }
}

/// What a stream brought; none when its token has ended, with the next one of which, if there is one, it is opened anew.
fn unless_token_ended<T>(next: Result<T, Status>) -> Result<Option<T>, CliError> {
    match next {
        Ok(next) => Ok(Some(next)),
        Err(status) if token_has_ended(&status) => Ok(None),
        Err(status) => Err(ClientError::from(status).into()),
    }
}

/// Follows one execution to its end.
pub(crate) async fn watch(client: &Client, name: &str, output: &Output) -> Result<(), CliError> {
    let request = v1::WatchExecutionRequest {
        name: name.to_owned(),
    };
    let mut last = None;
    'open: loop {
        let mut stream = client
            .watch_executions()
            .watch_execution(request.clone())
            .await
            .map_err(ClientError::from)?
            .into_inner();
        while let Some(execution) = unless_token_ended(stream.message().await)? {
            let Some(execution) = execution else {
                break 'open;
            };
            // A stream that is opened anew begins with what there is.
            if last.as_ref() != Some(&execution) {
                output.message(&execution, summary)?;
            }
            last = Some(execution);
        }
    }
    match last {
        Some(last) if last.state() == v1::ExecutionState::Succeeded => Ok(()),
        Some(last) => Err(CliError::Failed(format!(
            "{} is {}",
            last.name,
            state(&last)
        ))),
        None => Err(CliError::Failed(
            "the control plane closed the stream".to_owned(),
        )),
    }
}

fn state(execution: &v1::Execution) -> String {
    value(execution.state().as_str_name(), "EXECUTION_STATE_")
}

fn summary(execution: &v1::Execution) -> String {
    let steps: Vec<String> = execution
        .steps
        .iter()
        .map(|step| {
            format!(
                "{}={}",
                run_name(step),
                value(step.state().as_str_name(), "STEP_STATE_")
            )
        })
        .collect();
    format!(
        "{}  {}  {}",
        short(&execution.name),
        state(execution),
        steps.join(" ")
    )
}

/// The run of a step: its id, and the iterations that it stands in.
fn run_name(step: &v1::StepRun) -> String {
    run_of(&step.step_id, &step.indexes)
}

fn run_of(step_id: &str, indexes: &[i32]) -> String {
    let indexes = indexes.iter().map(|index| format!("[{index}]"));
    format!("{step_id}{}", indexes.collect::<String>())
}

/// An input or output; `truncated_bytes` is the size of the whole when that is not recorded.
fn recorded(json: &str, truncated_bytes: i64) -> String {
    match truncated_bytes {
        0 => cut(json),
        size => format!("truncated, of {size} bytes: {}", start_of(json)),
    }
}

/// The beginning of a value that was truncated.
fn start_of(json: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(json).unwrap_or_default();
    let start = value["truncated"]["start"].as_str().unwrap_or(json);
    format!("{}…", start.chars().take(SHOWN_CHARS).collect::<String>())
}

fn cut(text: &str) -> String {
    if text.chars().count() <= SHOWN_CHARS {
        return text.to_owned();
    }
    let head: String = text.chars().take(SHOWN_CHARS).collect();
    format!("{head}… ({} bytes; all of it with -o json)", text.len())
}

fn failure(error: Option<&v1::ExecutionError>) -> Option<String> {
    error.map(|error| format!("{}: {}", error.code, error.message))
}

/// An execution for people.
pub(crate) fn shown(execution: &v1::Execution) -> String {
    let mut text = String::new();
    let mut field = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(text, "{name:<10} {value}");
        }
    };
    field("execution", &execution.name);
    field(
        "workflow",
        &format!(
            "{} version {}",
            execution.workflow, execution.workflow_version
        ),
    );
    field("state", &state(execution));
    field("message", &execution.message_id);
    field("topic", &execution.topic_arn);
    if execution.unsigned {
        field("unsigned", "yes: raw delivery, by the workflow's setting");
    }
    field("retry of", &execution.retry_of);
    for retry in &execution.retried_by {
        field("retried by", retry);
    }
    if !execution.parent.is_empty() {
        let step = &execution.parent_step;
        field("parent", &format!("{}, step {step}", execution.parent));
    }
    for child in &execution.children {
        let state = value(child.state().as_str_name(), "EXECUTION_STATE_");
        let workflow = short(&child.workflow);
        field(
            "child",
            &format!("{} of step {}: {workflow}, {state}", child.name, child.step),
        );
    }
    field("key", &execution.api_key);
    field("node", &execution.node);
    field("trace", &execution.trace_id);
    field("accepted", &time(execution.create_time.as_ref()));
    field("cancelled", &time(execution.cancel_time.as_ref()));
    field("ended", &time(execution.end_time.as_ref()));
    field(
        "output",
        &recorded(&execution.output_json, execution.output_truncated_bytes),
    );
    field(
        "error",
        &failure(execution.error.as_ref()).unwrap_or_default(),
    );
    text.push_str(&signals::shown_of(execution));
    for step in &execution.steps {
        let _ = writeln!(
            text,
            "\nstep {}  {}  {}{}",
            run_name(step),
            step.kind,
            value(step.state().as_str_name(), "STEP_STATE_"),
            if step.kept { ", kept" } else { "" }
        );
        for (name, json, truncated_bytes) in [
            ("input", &step.input_json, step.input_truncated_bytes),
            ("output", &step.output_json, step.output_truncated_bytes),
        ] {
            if !json.is_empty() && json != "null" {
                let _ = writeln!(text, "  {name:<8} {}", recorded(json, truncated_bytes));
            }
        }
        if let Some(error) = failure(step.error.as_ref()) {
            let _ = writeln!(text, "  error    {error}");
        }
        for attempt in &step.attempts {
            let _ = writeln!(text, "  attempt  {}", attempt_line(attempt));
        }
    }
    text
}

fn attempt_line(attempt: &v1::Attempt) -> String {
    let mut line = format!("{}  {}", attempt.number, time(attempt.start_time.as_ref()));
    if attempt.repeated {
        line.push_str("  repeated after a crash");
    }
    match (failure(attempt.error.as_ref()), &attempt.end_time) {
        (Some(error), _) => line.push_str(&format!("  {error}")),
        (None, Some(_)) => line.push_str("  done"),
        (None, None) => line.push_str("  running"),
    }
    if attempt.retry_time.is_some() {
        line.push_str(&format!("; next at {}", time(attempt.retry_time.as_ref())));
    }
    line
}

fn shown_event(event: &v1::Event) -> String {
    let mut text = format!(
        "message    {}\ntopic      {}\nreceived   {}\nfrom       {}\n",
        event.message_id,
        event.topic_arn,
        time(event.receive_time.as_ref()),
        event.source_address
    );
    match &event.signature {
        Some(proof) => {
            let _ = writeln!(
                text,
                "signature  version {}, certificate {} from {}",
                proof.version, proof.certificate_sha256, proof.signing_cert_url
            );
        }
        None => text.push_str("signature  none\n"),
    }
    let _ = write!(text, "\n{}", String::from_utf8_lossy(&event.body));
    text
}
