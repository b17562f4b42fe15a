//! One node's stream.

use std::{collections::HashSet, time::Duration};

use futures::StreamExt as _;
use jiff::Timestamp;
use prost::Message as _;
use signalbox_model::{error::Error, ids::NodeId, signal::Signal};
use signalbox_proto::{
    convert::{record, signal, status::to_status, time},
    dataplane::v1::{self as wire, SyncRequest, SyncResponse, sync_request, sync_response},
    v1,
};
use signalbox_runtime::hpke::Recipient;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::{
    delta::{Delta, Deltas},
    secrets,
};
use crate::{
    app::{App, Refusal, RetryOrder},
    store::{OpenCommand, rows::Execution},
};

/// How often the hub says that it is alive.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);
/// After this long without a word the node is taken for gone (it sends heartbeats too).
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How long a node may take to make room for a message.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// How often commands are looked for although nobody said that there is one (another replica may have it).
const COMMANDS_INTERVAL: Duration = Duration::from_secs(2);
/// Executions that a node is asked to cancel at once.
const CANCELLATIONS_MAX: u64 = 1_000;
/// Signals that a node is told at once.
const SIGNALS_MAX: u64 = 1_000;
/// What a node is told that it may take to answer a command.
const COMMAND_LEASE: Duration = Duration::from_secs(30);
/// Size of one part of a snapshot.
const PART_MAX_BYTES: usize = 512 * 1024;
/// A node further behind than this gets a snapshot.
const CHANGES_BEHIND_MAX: u64 = 10_000;

pub(super) struct Session<'a> {
    app: &'a App,
    deltas: &'a Deltas,
    node: NodeId,
    /// Whom the node's secrets are sealed to.
    recipient: Option<Recipient>,
    /// Names the stream.
    stream: String,
    outgoing: mpsc::Sender<Result<SyncResponse, Status>>,
    /// Revision that the node has, or was sent.
    sent: i64,
    nonce: u64,
    /// The signals that are on their way by this stream, or came by it and are not reported.
    told: HashSet<String>,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        app: &'a App,
        deltas: &'a Deltas,
        (node, recipient): (NodeId, Option<Recipient>),
        stream: String,
        outgoing: mpsc::Sender<Result<SyncResponse, Status>>,
    ) -> Self {
        Self {
            app,
            deltas,
            node,
            recipient,
            stream,
            outgoing,
            sent: 0,
            nonce: 0,
            told: HashSet::new(),
        }
    }

    /// Until the node goes.
    pub(super) async fn run(
        mut self,
        hello: wire::Hello,
        mut incoming: Streaming<SyncRequest>,
    ) -> Result<(), Status> {
        let store = self.app.store();
        // The node may come from a replica that knew more than this one does: it must not be put back.
        store.refresh().await.map_err(to_status)?;
        let mut revision = store.revision();
        let mut errands = store.errands();
        let head = *revision.borrow_and_update();
        let known =
            hello.incarnation == store.incarnation() && (1..=head).contains(&hello.revision);
        self.app
            .node_connected(
                &self.node,
                &hello.version,
                if known { hello.revision } else { 0 },
                &self.stream,
            )
            .await
            .map_err(to_status)?;
        let follows = known && self.behind(hello.revision).await? <= CHANGES_BEHIND_MAX;
        if follows {
            self.sent = hello.revision;
            // Says at once that the node is up to date, so that it knows.
            self.send_changes().await?;
        } else {
            self.snapshot().await?;
        }
        self.send_commands(true).await?;
        let mut heartbeat = tokio::time::interval(HEARTBEAT_INTERVAL);
        let mut look = tokio::time::interval(COMMANDS_INTERVAL);
        let mut heard = tokio::time::Instant::now();
        loop {
            tokio::select! {
                message = incoming.next() => {
                    let message = match message {
                        None => return Ok(()),
                        Some(message) => message?,
                    };
                    heard = tokio::time::Instant::now();
                    self.take(message).await?;
                }
                changed = revision.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    self.send_changes().await?;
                }
                _ = errands.changed() => {
                    // A command may name a version that the node is only now told of.
                    self.send_changes().await?;
                    self.send_commands(false).await?;
                }
                _ = look.tick() => self.send_commands(false).await?,
                _ = heartbeat.tick() => {
                    let time = Some(time::to_wire(Timestamp::now()));
                    self.send(sync_response::Message::Heartbeat(wire::Heartbeat { time })).await?;
                }
                () = tokio::time::sleep_until(heard + SILENCE_MAX) => {
                    return Err(Status::deadline_exceeded("no word from the node"));
                }
            }
        }
    }

    async fn behind(&self, revision: i64) -> Result<u64, Status> {
        let store = self.app.store();
        store.count_changes_since(revision).await.map_err(to_status)
    }

    fn nonce(&mut self) -> String {
        self.nonce += 1;
        self.nonce.to_string()
    }

    async fn send(&self, message: sync_response::Message) -> Result<(), Status> {
        let response = SyncResponse {
            message: Some(message),
        };
        match tokio::time::timeout(SEND_TIMEOUT, self.outgoing.send(Ok(response))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Status::cancelled("the node has gone")),
            Err(_) => Err(Status::resource_exhausted(
                "the node does not take what it is sent",
            )),
        }
    }

    /// Everything that there is, in parts. The change log holds each resource once, so reading it from its beginning is
    /// reading the newest state of all.
    async fn snapshot(&mut self) -> Result<(), Status> {
        let nonce = self.nonce();
        let mut revision = 0;
        let mut part: Vec<wire::Resource> = Vec::new();
        let mut part_bytes = 0;
        loop {
            let head = *self.app.store().revision().borrow();
            let delta = self.deltas.after(revision, head).await.map_err(to_status)?;
            for resource in self.upserts(&delta) {
                let size = resource.encoded_len();
                if part_bytes + size > PART_MAX_BYTES && !part.is_empty() {
                    let full = std::mem::take(&mut part);
                    self.send(self.part(&nonce, delta.to, false, full)).await?;
                    part_bytes = 0;
                }
                part_bytes += size;
                part.push(resource);
            }
            let done = delta.to >= head || delta.to == revision;
            revision = delta.to;
            if done {
                break;
            }
        }
        self.send(self.part(&nonce, revision, true, part)).await?;
        self.sent = revision;
        Ok(())
    }

    /// What this node is sent of a delta's resources.
    fn upserts(&self, delta: &Delta) -> Vec<wire::Resource> {
        let mut upserts = delta.upserts.clone();
        upserts.extend(secrets::sealed(
            self.app,
            &delta.secrets,
            self.recipient.as_ref(),
        ));
        upserts
    }

    fn part(
        &self,
        nonce: &str,
        revision: i64,
        last: bool,
        upserts: Vec<wire::Resource>,
    ) -> sync_response::Message {
        sync_response::Message::Config(wire::ConfigUpdate {
            nonce: nonce.to_owned(),
            incarnation: self.app.store().incarnation().to_owned(),
            revision,
            snapshot: true,
            last,
            upserts,
            deletes: Vec::new(),
        })
    }

    async fn send_changes(&mut self) -> Result<(), Status> {
        loop {
            let head = *self.app.store().revision().borrow();
            if self.sent >= head && self.nonce > 0 {
                return Ok(());
            }
            let delta = self
                .deltas
                .after(self.sent, head)
                .await
                .map_err(to_status)?;
            let update = wire::ConfigUpdate {
                nonce: self.nonce(),
                incarnation: self.app.store().incarnation().to_owned(),
                revision: delta.to,
                snapshot: false,
                last: true,
                upserts: self.upserts(&delta),
                deletes: delta.deletes.clone(),
            };
            self.send(sync_response::Message::Config(update)).await?;
            let before = self.sent;
            self.sent = delta.to;
            if self.sent == before {
                return Ok(());
            }
        }
    }

    async fn send_commands(&mut self, again: bool) -> Result<(), Status> {
        let commands = self
            .app
            .hand_out(&self.node, &self.stream, again)
            .await
            .map_err(to_status)?
            .ok_or_else(superseded)?;
        for command in commands {
            if let Some(command) = self.to_wire(command).await? {
                self.send(sync_response::Message::Command(command)).await?;
            }
        }
        // Again each time: the node forgets them when it restarts, and they end when their ends are reported.
        let cancellations = self
            .app
            .cancellations_for(&self.node, CANCELLATIONS_MAX)
            .await
            .map_err(to_status)?;
        for execution in cancellations {
            self.send(sync_response::Message::Command(cancel(&execution)))
                .await?;
        }
        self.send_signals().await
    }

    /// Each once on a stream, unless the node refuses it: what it has answered is durable there, and will be reported.
    async fn send_signals(&mut self) -> Result<(), Status> {
        let signals = self
            .app
            .signals_for(&self.node, SIGNALS_MAX)
            .await
            .map_err(to_status)?;
        let mut told = HashSet::new();
        for (execution, signal, traceparent) in signals {
            let command = tell(execution, signal, traceparent);
            let id = command.command_id.clone();
            if !self.told.contains(&id) {
                self.send(sync_response::Message::Command(command)).await?;
            }
            told.insert(id);
        }
        // Those that are reported are none of them any more.
        self.told = told;
        Ok(())
    }

    /// A command as the node needs it; none when it needs it no more.
    async fn to_wire(&self, command: OpenCommand) -> Result<Option<wire::Command>, Status> {
        let kind = if command.retry_of.is_some() {
            let order = self.app.retry_order(&command).await.map_err(to_status)?;
            let Some(order) = order else {
                // The node has reported that it has it, and was not heard to answer.
                let answered = self.app.command_answered(&self.node, &command.id, true);
                answered.await.map_err(to_status)?;
                return Ok(None);
            };
            wire::command::Kind::Retry(retry_to_wire(order, &command)?)
        } else {
            let source = match self.app.superseded_source(&command).await {
                // Deleted meanwhile: the node says that it does not have it.
                Err(Error::NotFound { .. }) => None,
                other => other.map_err(to_status)?,
            };
            let spec = source.as_deref().map(spec).transpose()?;
            wire::command::Kind::Run(run_to_wire(&command, spec))
        };
        Ok(Some(wire::Command {
            command_id: command.id,
            lease: Some(time::duration_to_wire(COMMAND_LEASE)),
            kind: Some(kind),
        }))
    }

    async fn take(&mut self, request: SyncRequest) -> Result<(), Status> {
        match request.message {
            Some(sync_request::Message::Ack(wire::Ack { nonce: _, revision })) => {
                self.app.node_applied(&self.node, revision, Vec::new()).await
            }
            Some(sync_request::Message::Nack(wire::Nack {
                nonce: _,
                revision,
                refused,
            })) => {
                let refusals = refused
                    .into_iter()
                    .map(|wire::RefusedResource { resource, reason }| {
                        tracing::warn!(node = %self.node, resource, reason, "a node refuses a resource");
                        Refusal {
                            resource,
                            revision,
                            reason,
                        }
                    })
                    .collect();
                self.app.node_applied(&self.node, revision, refusals).await
            }
            Some(sync_request::Message::CommandResult(wire::CommandResult { command_id, refusal })) => {
                if !refusal.is_empty() {
                    tracing::warn!(node = %self.node, command_id, refusal, "a node refuses a command");
                    self.told.remove(&command_id);
                }
                self.app.command_answered(&self.node, &command_id, refusal.is_empty()).await
            }
            Some(sync_request::Message::Heartbeat(_)) => {
                match self.app.node_seen(&self.node, &self.stream).await {
                    Ok(false) => return Err(superseded()),
                    seen => seen.map(|_| ()),
                }
            }
            Some(sync_request::Message::Hello(_)) | None => Ok(()),
        }
        .map_err(to_status)
    }
}

/// What is handed out by another stream, maybe at another replica, must not be handed out by this one: nobody may listen.
fn superseded() -> Status {
    Status::aborted("the node has come by another stream")
}

fn cancel(execution: &Execution) -> wire::Command {
    let name = format!("projects/{}/executions/{}", execution.project, execution.id);
    wire::Command {
        command_id: format!("cancel-{}", execution.id),
        lease: Some(time::duration_to_wire(COMMAND_LEASE)),
        kind: Some(wire::command::Kind::Cancel(wire::CancelCommand {
            execution: name,
        })),
    }
}

fn tell(execution: String, signal: Signal, traceparent: Option<String>) -> wire::Command {
    let of = execution.rsplit('/').next().unwrap_or_default();
    wire::Command {
        command_id: format!("signal-{of}-{}", signal.id),
        lease: Some(time::duration_to_wire(COMMAND_LEASE)),
        kind: Some(wire::command::Kind::Signal(wire::SignalCommand {
            execution,
            signal: Some(signal::to_wire(signal)),
            traceparent: traceparent.unwrap_or_default(),
        })),
    }
}

fn run_to_wire(command: &OpenCommand, spec: Option<v1::WorkflowSpec>) -> wire::RunCommand {
    let project = &command.project;
    let at = |us| Timestamp::from_microsecond(us).ok().map(time::to_wire);
    wire::RunCommand {
        execution: format!("projects/{project}/executions/{}", command.execution),
        workflow: format!("projects/{project}/workflows/{}", command.workflow),
        workflow_version: command.version,
        input_json: command.input_json.clone(),
        request_time: at(command.request_time_us),
        traceparent: command.traceparent.clone().unwrap_or_default(),
        schedule_time: command.schedule_time_us.and_then(at),
        spec,
    }
}

fn retry_to_wire(order: RetryOrder, command: &OpenCommand) -> Result<wire::RetryCommand, Status> {
    let RetryOrder {
        accepted,
        source,
        facts,
    } = order;
    let execution = accepted.execution.to_string();
    let facts = facts.into_iter().map(|fact| wire::ExecutionFact {
        execution: execution.clone(),
        fact: Some(record::fact_to_wire(fact)),
    });
    Ok(wire::RetryCommand {
        facts: facts.collect(),
        accepted: Some(record::accepted_to_wire(accepted)),
        spec: Some(spec(&source)?),
        traceparent: command.traceparent.clone().unwrap_or_default(),
    })
}

fn spec(source: &[u8]) -> Result<v1::WorkflowSpec, Status> {
    v1::WorkflowSpec::decode(source).map_err(|error| {
        tracing::error!(%error, "a stored definition does not decode");
        Status::internal("a stored definition does not decode")
    })
}
