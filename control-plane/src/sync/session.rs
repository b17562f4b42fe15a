//! One node's stream.

use std::{collections::HashSet, time::Duration};

use bytes::Bytes;
use futures::StreamExt as _;
use jiff::Timestamp;
use prost::Message as _;
use signalbox_model::{error::Error, ids::NodeId, signal::Signal};
use signalbox_proto::{
    convert::{record, signal, status::to_status, time},
    dataplane::v1::{self as wire, SyncRequest, sync_request, sync_response},
    v1,
};
use signalbox_runtime::hpke::Recipient;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::{Hub, secrets, snapshot::TURN, streams::Place, wire::Encoded};
use crate::{
    app::{App, COMMANDS_MAX, Refusal, RetryOrder},
    store::{
        Arrival, CancelPlace, OpenCommand,
        rows::{Execution, Secret},
    },
};

/// How often the hub says that it is alive.
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);
/// After this long without a word the node is taken for gone (it sends heartbeats too).
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// How long a node may take to make room for a message.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// Executions that a node is asked to cancel at once; each time those that come after.
const CANCELLATIONS_MAX: u64 = 1_000;
/// Signals that a node is told at once.
const SIGNALS_MAX: u64 = 1_000;
/// What a node is told that it may take to answer a command.
const COMMAND_LEASE: Duration = Duration::from_secs(30);
/// A node further behind than this gets a snapshot.
const CHANGES_BEHIND_MAX: u64 = 10_000;

pub(super) struct Session<'a> {
    hub: &'a Hub,
    app: &'a App,
    node: NodeId,
    /// Whom the node's secrets are sealed to.
    recipient: Option<Recipient>,
    /// Names the stream.
    stream: String,
    outgoing: mpsc::Sender<Result<Encoded, Status>>,
    /// Revision that the node has, or was sent.
    sent: i64,
    nonce: u64,
    /// The signals that are on their way by this stream, or came by it and are not reported.
    told: HashSet<String>,
    /// Where people reach the control plane, until the node has been told; then none.
    public_url: Option<String>,
    /// The last execution that the node was asked to cancel; none: it is asked from the first.
    cancelled: Option<CancelPlace>,
}

impl<'a> Session<'a> {
    pub(super) fn new(
        hub: &'a Hub,
        (node, recipient): (NodeId, Option<Recipient>),
        stream: String,
        outgoing: mpsc::Sender<Result<Encoded, Status>>,
    ) -> Self {
        Self {
            hub,
            app: &hub.app,
            node,
            recipient,
            stream,
            outgoing,
            sent: 0,
            nonce: 0,
            told: HashSet::new(),
            public_url: Some(hub.public_url.clone().unwrap_or_default()),
            cancelled: None,
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
        let head = *revision.borrow_and_update();
        let known =
            hello.incarnation == store.incarnation() && (1..=head).contains(&hello.revision);
        let link_key = &hello.link_public_key;
        let arrival = Arrival {
            version: &hello.version,
            applied: if known { hello.revision } else { 0 },
            stream: &self.stream,
            link_public_key: (!link_key.is_empty()).then_some(link_key),
        };
        let connected = self.app.node_connected(&self.node, arrival);
        connected.await.map_err(to_status)?;
        let place = self.hub.streams.enter(&self.node, &self.stream);
        let is_behind = store.is_behind(hello.revision, CHANGES_BEHIND_MAX);
        if known && !is_behind.await.map_err(to_status)? {
            self.sent = hello.revision;
            if self.sent == head {
                // Says at once that the node is up to date, so that it knows.
                self.send_nothing_new().await?;
            }
            self.send_changes().await?;
        } else {
            self.snapshot().await?;
        }
        self.send_commands(&place, true).await?;
        // The first comes at once: by it, behind what it lacked, the node knows that it lacks no more.
        let mut heartbeat = tokio::time::interval(HEARTBEAT_INTERVAL);
        let mut heard = tokio::time::Instant::now();
        loop {
            tokio::select! {
                message = incoming.next() => {
                    let message = match message {
                        None => return Ok(()),
                        Some(message) => message?,
                    };
                    heard = tokio::time::Instant::now();
                    self.take(&place, message).await?;
                }
                changed = revision.changed() => {
                    if changed.is_err() {
                        return Ok(());
                    }
                    self.send_changes().await?;
                }
                () = place.called() => {
                    // A command may name a version that the node is only now told of.
                    self.send_changes().await?;
                    self.send_commands(&place, false).await?;
                }
                () = place.superseded() => return Err(superseded()),
                _ = heartbeat.tick() => self.send(alive()).await?,
                () = tokio::time::sleep_until(heard + SILENCE_MAX) => {
                    return Err(Status::deadline_exceeded("no word from the node"));
                }
            }
        }
    }

    fn nonce(&mut self) -> String {
        self.nonce += 1;
        self.nonce.to_string()
    }

    async fn send(&self, message: sync_response::Message) -> Result<(), Status> {
        self.send_encoded(Encoded::message(message)).await
    }

    async fn send_encoded(&self, message: Encoded) -> Result<(), Status> {
        match tokio::time::timeout(SEND_TIMEOUT, self.outgoing.send(Ok(message))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(Status::cancelled("the node has gone")),
            Err(_) => Err(Status::resource_exhausted(
                "the node does not take what it is sent",
            )),
        }
    }

    /// Sends an update: of what all nodes are sent, and secrets, sealed to this one.
    async fn send_update(
        &self,
        own: wire::ConfigUpdate,
        shared: Bytes,
        sealed: &[Secret],
    ) -> Result<(), Status> {
        let upserts = secrets::sealed(self.app, sealed, self.recipient.as_ref());
        let own = wire::ConfigUpdate { upserts, ..own };
        self.send_encoded(Encoded::config(&own, shared)).await
    }

    /// Everything that there is, in parts, when it is this node's turn.
    async fn snapshot(&mut self) -> Result<(), Status> {
        let hub = self.hub;
        let mut waiting = tokio::time::interval(HEARTBEAT_INTERVAL);
        let turn = hub.snapshots.turn();
        tokio::pin!(turn);
        let turn = loop {
            tokio::select! {
                turn = &mut turn => break turn,
                _ = waiting.tick() => self.send(alive()).await?,
            }
        };
        let sending = self.send_snapshot();
        tokio::pin!(sending);
        tokio::select! {
            sent = &mut sending => return sent,
            () = tokio::time::sleep(TURN) => drop(turn),
        }
        sending.await
    }

    async fn send_snapshot(&mut self) -> Result<(), Status> {
        let mut snapshot = self.hub.snapshots.newest();
        let part = wire::ConfigUpdate {
            nonce: self.nonce(),
            snapshot: true,
            ..wire::ConfigUpdate::default()
        };
        let mut number = 0;
        while let Some(content) = snapshot.part(number).await.map_err(to_status)? {
            self.send_update(part.clone(), content.shared, &content.secrets)
                .await?;
            number += 1;
        }
        self.sent = snapshot.revision;
        // What came later belongs to it: the node must not use what is old even for a moment, since it may have known more.
        while self.sent < *self.app.store().revision().borrow() {
            let delta = self.hub.deltas.after(self.sent).await.map_err(to_status)?;
            self.send_update(part.clone(), delta.shared.clone(), &delta.secrets)
                .await?;
            self.sent = delta.to;
        }
        let end = wire::ConfigUpdate {
            incarnation: self.app.store().incarnation().to_owned(),
            revision: self.sent,
            last: true,
            public_url: self.public_url.take(),
            ..part
        };
        self.send_update(end, Bytes::new(), &[]).await
    }

    async fn send_nothing_new(&mut self) -> Result<(), Status> {
        let update = wire::ConfigUpdate {
            nonce: self.nonce(),
            incarnation: self.app.store().incarnation().to_owned(),
            revision: self.sent,
            last: true,
            public_url: self.public_url.take(),
            ..wire::ConfigUpdate::default()
        };
        self.send_update(update, Bytes::new(), &[]).await
    }

    async fn send_changes(&mut self) -> Result<(), Status> {
        while self.sent < *self.app.store().revision().borrow() {
            let delta = self.hub.deltas.after(self.sent).await.map_err(to_status)?;
            let update = wire::ConfigUpdate {
                nonce: self.nonce(),
                last: true,
                public_url: self.public_url.take(),
                ..wire::ConfigUpdate::default()
            };
            self.send_update(update, delta.shared.clone(), &delta.secrets)
                .await?;
            self.sent = delta.to;
        }
        Ok(())
    }

    async fn send_commands(&mut self, place: &Place, again: bool) -> Result<(), Status> {
        let commands = self
            .app
            .hand_out(&self.node, &self.stream, again)
            .await
            .map_err(to_status)?
            .ok_or_else(superseded)?;
        if commands.len() as u64 >= COMMANDS_MAX {
            place.call_another();
        }
        for command in commands {
            if let Some(command) = self.to_wire(command).await? {
                self.send(sync_response::Message::Command(command)).await?;
            }
        }
        self.send_cancellations().await?;
        self.send_signals().await
    }

    /// Again and again, some each time: the node forgets them when it restarts, and they end when their ends are reported. Those
    /// that do not end soon keep none of the others waiting.
    async fn send_cancellations(&mut self) -> Result<(), Status> {
        let after = self.cancelled.take();
        let cancellations = self
            .app
            .cancellations_for(&self.node, after.as_ref(), CANCELLATIONS_MAX)
            .await
            .map_err(to_status)?;
        for execution in &cancellations {
            self.send(sync_response::Message::Command(cancel(execution)))
                .await?;
        }
        if cancellations.len() as u64 >= CANCELLATIONS_MAX {
            let last = cancellations.into_iter().next_back();
            self.cancelled = last.and_then(|row| Some((row.cancel_time_us?, row.id)));
        }
        Ok(())
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

    /// The node knows nothing of an execution that it was asked to end.
    async fn unknown(&self, execution: &str) -> Result<(), Status> {
        let name = execution
            .parse()
            .map_err(|_| Status::invalid_argument("unknown_execution is no execution's name"))?;
        let noted = self.app.unknown_at_node(&self.node, &name);
        noted.await.map_err(to_status)
    }

    async fn take(&mut self, place: &Place, request: SyncRequest) -> Result<(), Status> {
        match request.message {
            Some(sync_request::Message::Ack(wire::Ack { nonce: _, revision })) => {
                place.heard(Some(revision));
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
                place.refused(revision, refusals).await.map_err(to_status)?;
            }
            Some(sync_request::Message::CommandResult(wire::CommandResult {
                command_id,
                refusal,
                unknown_execution,
            })) => {
                if !unknown_execution.is_empty() {
                    return self.unknown(&unknown_execution).await;
                }
                if !refusal.is_empty() {
                    tracing::warn!(node = %self.node, command_id, refusal, "a node refuses a command");
                    self.told.remove(&command_id);
                }
                self.app
                    .command_answered(&self.node, &command_id, refusal.is_empty())
                    .await
                    .map_err(to_status)?;
            }
            Some(sync_request::Message::Heartbeat(_)) => place.heard(None),
            Some(sync_request::Message::Hello(_)) | None => {}
        }
        Ok(())
    }
}

fn alive() -> sync_response::Message {
    let time = Some(time::to_wire(Timestamp::now()));
    sync_response::Message::Heartbeat(wire::Heartbeat { time })
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
