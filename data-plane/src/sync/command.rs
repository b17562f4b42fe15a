//! Commands of the control plane.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use signalbox_model::{
    event::{Event, EventScope, TriggerKind},
    execution::JsonText,
    ids::{ExecutionName, ProjectId, WorkflowName},
    record::{Accepted, Record, RecordBody},
};
use signalbox_proto::{convert, dataplane::v1 as wire, v1};

use super::SyncClient;
use crate::{
    config,
    execution::Asked,
    spool::{Accept, Acceptance, Definition, ScopeSource},
};

/// Does what the command says; the answer leaves when it is durable here, but for a cancellation: that comes again until
/// the end is reported.
pub(super) async fn run(sync: &SyncClient, command: wire::Command) -> wire::CommandResult {
    let wire::Command {
        command_id,
        lease: _, // this node keeps a command until it has answered
        kind,
    } = command;
    let mut unknown_execution = String::new();
    let done = match kind {
        Some(wire::command::Kind::Run(run)) => start(sync, run).await,
        Some(wire::command::Kind::Cancel(cancel)) => match end(sync, &cancel).await {
            Ok(is_known) => {
                if !is_known {
                    unknown_execution = cancel.execution;
                }
                Ok(())
            }
            Err(refusal) => Err(refusal),
        },
        Some(wire::command::Kind::Signal(signal)) => tell(sync, signal).await,
        Some(wire::command::Kind::Retry(retry)) => start_again(sync, retry).await,
        None => Err("this node does not know the command".to_owned()),
    };
    let outcome = if done.is_ok() { "done" } else { "refused" };
    metrics::counter!("signalbox_sync_commands_total", "outcome" => outcome).increment(1);
    wire::CommandResult {
        command_id,
        refusal: done.err().unwrap_or_default(),
        unknown_execution,
    }
}

/// A node that takes no more sends what is new to another; what it has taken it has, also where its answer was lost.
async fn may_start(sync: &SyncClient, execution: &ExecutionName) -> Result<(), String> {
    if sync.taking.is_stopping() && sync.spool.knows(execution).await == Ok(false) {
        return Err("this node is retiring".to_owned());
    }
    Ok(())
}

async fn start(sync: &SyncClient, run: wire::RunCommand) -> Result<(), String> {
    let wire::RunCommand {
        execution,
        workflow,
        workflow_version,
        input_json,
        request_time,
        traceparent,
        schedule_time,
        spec,
    } = run;
    let execution: ExecutionName = execution.parse().map_err(text)?;
    may_start(sync, &execution).await?;
    let workflow: WorkflowName = workflow.parse().map_err(text)?;
    let version = u64::try_from(workflow_version).map_err(text)?;
    let input = JsonText::try_from(input_json).map_err(text)?;
    let requested_at = convert::time::required("request_time", request_time).map_err(text)?;
    let scheduled_for = schedule_time
        .map(|time| convert::time::from_wire("schedule_time", time))
        .transpose()
        .map_err(text)?;

    let definition = match spec {
        Some(spec) => definition_of(&spec, &workflow.project)?,
        None => published(sync, &workflow, version).await?,
    };
    let (trigger, message_id, at) = match scheduled_for {
        Some(time) => (TriggerKind::Schedule, time.to_string(), time),
        None => (
            TriggerKind::Manual,
            execution.execution.to_string(),
            requested_at,
        ),
    };
    let event = Event {
        trigger,
        api_key: None,
        scope: EventScope {
            message: input.as_str().to_owned(),
            subject: None,
            attributes: BTreeMap::new(),
            topic_arn: None,
            message_id,
            timestamp: at.to_string(),
        },
        body: Bytes::copy_from_slice(input.as_str().as_bytes()),
        content_type: Some("application/json".to_owned()),
        source_address: None,
        signature: None,
        received_at: Timestamp::now(),
    };
    let accepted = Accepted {
        execution,
        workflow,
        version,
        event,
        parent: None,
    };
    let accept = accept(sync, accepted, definition, traceparent);
    answer(sync.spool.accept(accept).await.map_err(text)?)
}

/// Starts an execution for an event that was accepted before, with what is kept of the one that it retries.
async fn start_again(sync: &SyncClient, retry: wire::RetryCommand) -> Result<(), String> {
    let wire::RetryCommand {
        accepted,
        spec,
        facts,
        traceparent,
    } = retry;
    let accepted = accepted.ok_or("the command names no execution")?;
    let accepted = convert::record::accepted_from_wire(accepted).map_err(text)?;
    may_start(sync, &accepted.execution).await?;
    let spec = spec.ok_or("the command brings no definition")?;
    let definition = definition_of(&spec, &accepted.workflow.project)?;
    let now = Timestamp::now();
    let journal: Vec<Record> = facts
        .into_iter()
        .map(|wire::ExecutionFact { execution: _, fact }| {
            let fact = fact.ok_or("a fact says nothing")?;
            Ok(Record {
                time: now,
                traceparent: (!traceparent.is_empty()).then(|| traceparent.clone()),
                body: RecordBody::Execution {
                    execution: accepted.execution.clone(),
                    fact: convert::record::fact_from_wire(fact).map_err(text)?,
                },
            })
        })
        .collect::<Result<_, String>>()?;
    let accept = accept(sync, accepted, definition, traceparent);
    let accepted = sync.spool.accept_begun(accept, journal).await;
    answer(accepted.map_err(text)?)
}

fn accept(
    sync: &SyncClient,
    accepted: Accepted,
    definition: Definition,
    traceparent: String,
) -> Accept {
    Accept {
        scope: ScopeSource::Event,
        content_digest: *blake3::hash(&accepted.event.body).as_bytes(),
        accepted,
        // Of a message that is run again the control plane has it.
        certificate: None,
        definition,
        message_type: None,
        traceparent: (!traceparent.is_empty()).then_some(traceparent),
        deduplicate_until: Timestamp::now()
            .saturating_add(sync.deduplication_window)
            .unwrap_or(Timestamp::MAX),
    }
}

fn answer(acceptance: Acceptance) -> Result<(), String> {
    match acceptance {
        // A copy of the command: the answer to the first was lost.
        Acceptance::New | Acceptance::Duplicate => Ok(()),
        Acceptance::Conflict => {
            Err("an execution of this name exists with another input".to_owned())
        }
    }
}

async fn tell(sync: &SyncClient, command: wire::SignalCommand) -> Result<(), String> {
    let wire::SignalCommand {
        execution,
        signal,
        traceparent,
    } = command;
    let execution: ExecutionName = execution.parse().map_err(text)?;
    let signal = convert::signal::from_wire(signal.ok_or("signal is missing")?).map_err(text)?;
    let traceparent = (!traceparent.is_empty()).then_some(traceparent);
    let told = sync.wakes.tell(
        (sync.spool.as_ref(), &*sync.config),
        (&execution, signal),
        Timestamp::now(),
        traceparent,
    );
    match told.await.map_err(text)? {
        Some(_) => Ok(()),
        None => Err("too many executions are about to begin".to_owned()),
    }
}

/// The definition of the published version, which must be this one.
async fn published(
    sync: &SyncClient,
    workflow: &WorkflowName,
    version: u64,
) -> Result<Definition, String> {
    let snapshot = sync.config.current();
    let published = snapshot
        .workflow(workflow)
        .and_then(|config| config.published.clone())
        .filter(|published| published.number == version)
        .ok_or_else(|| format!("this node does not have version {version} of {workflow}"))?;
    let read = config::read(&published, &workflow.project).await;
    read.map_err(|why| format!("{workflow} {why}"))?;
    Ok(Definition {
        source: published.source,
        digest: published.source_digest,
    })
}

/// A definition that the command brings. One that this node cannot run is refused, as it would be as configuration.
fn definition_of(spec: &v1::WorkflowSpec, project: &ProjectId) -> Result<Definition, String> {
    convert::definition::stored(spec, project)
        .map_err(|violations| format!("this node cannot run the definition: {violations}"))?;
    Ok(convert::definition::encode(spec).into())
}

/// False: nothing is known of the execution here, and no end of it waits to be reported.
async fn end(sync: &SyncClient, cancel: &wire::CancelCommand) -> Result<bool, String> {
    let wire::CancelCommand { execution } = cancel;
    let execution: ExecutionName = execution.parse().map_err(text)?;
    let asked = sync.cancels.ask(sync.spool.as_ref(), &execution).await;
    match asked.map_err(text)? {
        Asked::Noted => Ok(true),
        Asked::Unknown => Ok(false),
        Asked::TooMany => Err("too many executions are to be cancelled".to_owned()),
    }
}

fn text(error: impl ToString) -> String {
    error.to_string()
}
