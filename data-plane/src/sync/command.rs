//! Commands of the control plane.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use signalbox_model::{
    event::{Event, EventScope, TriggerKind},
    execution::JsonText,
    ids::{ExecutionName, WorkflowName},
    record::Accepted,
};
use signalbox_proto::{convert, dataplane::v1 as wire};

use super::SyncClient;
use crate::spool::{Accept, Acceptance, Definition, ScopeSource};

/// Does what the command says; the answer leaves when it is durable here, but for a cancellation: that comes again until
/// the end is reported.
pub(super) async fn run(sync: &SyncClient, command: wire::Command) -> wire::CommandResult {
    let wire::Command {
        command_id,
        lease: _, // this node keeps a command until it has answered
        kind,
    } = command;
    let done = match kind {
        Some(wire::command::Kind::Run(run)) => start(sync, run).await,
        Some(wire::command::Kind::Cancel(cancel)) => end(sync, &cancel).await,
        None => Err("this node does not know the command".to_owned()),
    };
    let outcome = if done.is_ok() { "done" } else { "refused" };
    metrics::counter!("signalbox_sync_commands_total", "outcome" => outcome).increment(1);
    wire::CommandResult {
        command_id,
        refusal: done.err().unwrap_or_default(),
    }
}

async fn start(sync: &SyncClient, run: wire::RunCommand) -> Result<(), String> {
    let wire::RunCommand {
        execution,
        workflow,
        workflow_version,
        input_json,
        request_time,
        traceparent,
    } = run;
    let execution: ExecutionName = execution.parse().map_err(text)?;
    let workflow: WorkflowName = workflow.parse().map_err(text)?;
    let version = u64::try_from(workflow_version).map_err(text)?;
    let input = JsonText::try_from(input_json).map_err(text)?;
    let requested_at = convert::time::required("request_time", request_time).map_err(text)?;

    let snapshot = sync.config.current();
    let published = snapshot
        .workflow(&workflow)
        .and_then(|config| config.published.as_ref())
        .filter(|published| published.number == version)
        .ok_or_else(|| format!("this node does not have version {version} of {workflow}"))?;
    let event = Event {
        trigger: TriggerKind::Manual,
        api_key: None,
        scope: EventScope {
            message: input.as_str().to_owned(),
            subject: None,
            attributes: BTreeMap::new(),
            topic_arn: None,
            message_id: execution.execution.to_string(),
            timestamp: requested_at.to_string(),
        },
        body: Bytes::copy_from_slice(input.as_str().as_bytes()),
        content_type: Some("application/json".to_owned()),
        source_address: None,
        signature: None,
        received_at: Timestamp::now(),
    };
    let accept = Accept {
        scope: ScopeSource::Event,
        content_digest: *blake3::hash(input.as_str().as_bytes()).as_bytes(),
        accepted: Accepted {
            execution,
            workflow,
            version,
            event,
        },
        certificate: None,
        definition: Definition {
            source: published.source.clone(),
            digest: published.source_digest,
        },
        message_type: None,
        traceparent: (!traceparent.is_empty()).then_some(traceparent),
        deduplicate_until: Timestamp::now()
            .saturating_add(sync.deduplication_window)
            .unwrap_or(Timestamp::MAX),
    };
    match sync.spool.accept(accept).await.map_err(text)? {
        // A copy of the command: the answer to the first was lost.
        Acceptance::New | Acceptance::Duplicate => Ok(()),
        Acceptance::Conflict => {
            Err("an execution of this name exists with another input".to_owned())
        }
    }
}

async fn end(sync: &SyncClient, cancel: &wire::CancelCommand) -> Result<(), String> {
    let wire::CancelCommand { execution } = cancel;
    let execution: ExecutionName = execution.parse().map_err(text)?;
    let asked = sync.cancels.ask(sync.spool.as_ref(), &execution).await;
    match asked.map_err(text)? {
        true => Ok(()),
        false => Err("too many executions are to be cancelled".to_owned()),
    }
}

fn text(error: impl ToString) -> String {
    error.to_string()
}
