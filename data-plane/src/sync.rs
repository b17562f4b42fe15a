//! The node's end of the Sync stream: says what the node has, takes snapshots and changes, keeps the last good state of
//! what it refuses, takes commands.

mod assemble;
mod command;
mod rest;
mod sealed;
mod touch;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use signalbox_client::Client;
use signalbox_model::{
    config::{Resource, Revision},
    ids::NodeId,
    limits,
};
use signalbox_proto::{
    convert::{self, config::Reading},
    dataplane::v1 as wire,
};
use signalbox_runtime::{backoff::Backoff, hpke::KeyPair, shutdown::Shutdown};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use self::{
    assemble::{Applicable, AssembleError, Assembler},
    rest::Rest,
    touch::Touch,
};
use crate::{
    config::{CONTACT_GRACE, ConfigError, ConfigStore},
    execution::{Cancels, Wakes},
    spool::Spool,
};

/// What the streams wait for, and how long.
#[derive(Clone, Copy, Debug)]
struct Timing {
    /// How often the node says that it is alive.
    heartbeat_interval: Duration,
    /// After this long without a word the hub is taken for gone (it sends heartbeats too).
    silence_max: Duration,
    /// How long the stream may be away, or its next heartbeat late, until the node says that it may not know all there is.
    grace: Duration,
    /// How long opening the stream may take.
    open_timeout: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            heartbeat_interval: Duration::from_secs(10),
            silence_max: Duration::from_secs(30),
            grace: CONTACT_GRACE,
            open_timeout: Duration::from_secs(10),
        }
    }
}

/// Size of a message of the hub: a retry brings what it keeps, its event, which came in a report, and its definition.
const MESSAGE_MAX_BYTES: usize =
    limits::RETRY_KEPT_MAX_BYTES + limits::REPORT_MESSAGE_MAX_BYTES + 8 * 1024 * 1024;
/// A stream that lasted so long and ended with its token is opened anew at once, at the same control plane.
pub(crate) const LASTED: Duration = Duration::from_secs(1);
/// Answers that may wait to be sent.
const ANSWERS_MAX: usize = 64;

/// Reads a resource as the stream brought it and the disk keeps it, all of it: sealed, if it is a secret. For who has no key.
///
/// # Errors
/// Why this node cannot take it.
pub fn decode_resource(encoded: &[u8]) -> Result<Resource, String> {
    decode(encoded, Reading::Whole, None)
}

/// The same, with the node's key, for a store that opens: of definitions, only what starts them.
pub fn decode_with(key: Arc<KeyPair>) -> impl Fn(&[u8]) -> Result<Resource, String> {
    move |encoded| decode(encoded, Reading::Front, Some(&key))
}

fn decode(encoded: &[u8], reading: Reading<'_>, key: Option<&KeyPair>) -> Result<Resource, String> {
    let resource: wire::Resource =
        prost::Message::decode(encoded).map_err(|error| error.to_string())?;
    convert::config::resource(resource, |_| reading, |secret| sealed::open(key, secret))
        .map_err(|error| error.to_string())
}

/// Keeps a node in sync.
pub struct SyncClient {
    /// Which node.
    pub node: NodeId,
    /// The control plane.
    pub client: Client,
    /// What is kept in sync.
    pub config: Arc<ConfigStore>,
    /// Where commands go.
    pub spool: Arc<dyn Spool>,
    /// How long copies of a manual run's command are recognised.
    pub deduplication_window: Duration,
    /// Where requests to end executions go.
    pub cancels: Arc<Cancels>,
    /// Whoever drives an execution that was told something.
    pub wakes: Arc<Wakes>,
    /// To which secrets are sealed.
    pub key: Arc<KeyPair>,
    /// Once this stops, the node takes no commands to start executions.
    pub taking: Shutdown,
    /// What verifies the links that the node's steps send.
    pub link_public_key: Bytes,
}

/// Why a stream ended.
#[derive(Debug, thiserror::Error)]
enum SyncError {
    #[error("{}", .0.message())]
    Status(Status),
    /// What it was opened with; there may be a newer one.
    #[error("the token that the stream was opened with has ended")]
    TokenEnded,
    #[error("the control plane closed the stream")]
    Closed,
    #[error("no word from the control plane for {0:?}")]
    Silence(Duration),
    #[error(transparent)]
    Update(#[from] AssembleError),
    #[error("a change builds on a configuration that this node does not have")]
    Unrelated,
    #[error("the configuration cannot be kept")]
    Config(#[source] ConfigError),
}

impl From<Status> for SyncError {
    fn from(status: Status) -> Self {
        Self::Status(status)
    }
}

impl SyncClient {
    /// Until the shutdown; reconnects with jittered pauses, to another control plane where there are several.
    pub async fn run(self, shutdown: Shutdown) {
        self.run_with(Timing::default(), shutdown).await;
    }

    async fn run_with(self, timing: Timing, shutdown: Shutdown) {
        let mut backoff = Backoff::reconnect();
        let mut told = String::new();
        loop {
            let (place, began) = (self.client.place(), tokio::time::Instant::now());
            let ended = tokio::select! {
                () = shutdown.stopping() => return,
                ended = self.follow(timing, &mut backoff, &mut told) => ended,
            };
            metrics::gauge!("signalbox_sync_connected").set(0.0);
            if matches!(ended, Err(SyncError::TokenEnded)) && began.elapsed() >= LASTED {
                tracing::debug!("the stream is opened anew with the current token");
                continue;
            }
            self.client.leave(place);
            if let Err(error) = ended {
                if let SyncError::Status(status) = &error {
                    self.client.note_refusal(status);
                }
                let reason = signalbox_runtime::exit::chain(&error);
                // Once for each reason, not once for each attempt.
                if told == reason {
                    tracing::debug!(reason, "still not in sync");
                } else {
                    tracing::warn!(
                        reason,
                        "not in sync with the control plane; what is known stays in use"
                    );
                    told = reason;
                }
            }
            tokio::select! {
                () = shutdown.stopping() => return,
                () = tokio::time::sleep(backoff.next_delay()) => {}
            }
        }
    }

    /// One stream, to its end.
    async fn follow(
        &self,
        timing: Timing,
        backoff: &mut Backoff,
        told: &mut String,
    ) -> Result<(), SyncError> {
        self.client.token_ready().await;
        let silence = || SyncError::Silence(timing.silence_max);
        let (answers, outgoing) = mpsc::channel(ANSWERS_MAX);
        let current = self.config.current();
        let hello = wire::Hello {
            node_id: self.node.to_string(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            incarnation: current.incarnation.clone(),
            revision: wire_revision(current.revision),
            hpke_public_key: Bytes::copy_from_slice(self.key.public_key()),
            link_public_key: self.link_public_key.clone(),
        };
        drop(current);
        send(&answers, wire::sync_request::Message::Hello(hello)).await?;
        let mut client = self
            .client
            .sync()
            .max_decoding_message_size(MESSAGE_MAX_BYTES);
        let opening = client.sync(ReceiverStream::new(outgoing));
        let mut incoming = tokio::time::timeout(timing.open_timeout, opening)
            .await
            .map_err(|_| SyncError::Silence(timing.open_timeout))??
            .into_inner();
        metrics::gauge!("signalbox_sync_connected").set(1.0);
        let mut assembler = Assembler::of_node(self.key.clone());
        let mut heartbeat = tokio::time::interval(timing.heartbeat_interval);
        let mut heard = tokio::time::Instant::now();
        let (mut touch, mut is_silent) = (Touch::new(self.config.contact(), timing.grace), false);
        let mut rest = Rest::default();
        rest.read(&self.config);
        loop {
            let message = tokio::select! {
                message = incoming.message() => message.map_err(ended)?,
                refused = rest.refused() => {
                    if !refused.is_empty() {
                        let revision = self.config.current().revision;
                        send(&answers, nack(String::new(), wire_revision(revision), refused)).await?;
                    }
                    continue;
                }
                _ = heartbeat.tick() => {
                    let time = Some(convert::time::to_wire(jiff::Timestamp::now()));
                    send(&answers, wire::sync_request::Message::Heartbeat(wire::Heartbeat { time })).await?;
                    continue;
                }
                // The hub's heartbeats are as far apart as the node's.
                () = tokio::time::sleep_until(heard + timing.heartbeat_interval + timing.grace), if !is_silent => {
                    is_silent = true;
                    touch.silent();
                    continue;
                }
                () = tokio::time::sleep_until(heard + timing.silence_max) => return Err(silence()),
            };
            let message = message.ok_or(SyncError::Closed)?;
            (heard, is_silent) = (tokio::time::Instant::now(), false);
            match message.message {
                Some(wire::sync_response::Message::Config(update)) => {
                    let current = self.config.current();
                    if let Some(applicable) = assembler.take(update, &current)? {
                        drop(current);
                        let is_snapshot = applicable.change.replaces_all;
                        let is_all = is_snapshot || applicable.is_nothing();
                        let answer = self.apply(applicable).await?;
                        touch.applied(is_all);
                        send(&answers, answer).await?;
                        if is_snapshot {
                            rest.read(&self.config);
                        }
                        // Only now has the connection proved to work.
                        backoff.reset();
                        if !told.is_empty() {
                            tracing::info!("in sync with the control plane again");
                            told.clear();
                        }
                    }
                }
                Some(wire::sync_response::Message::Command(command)) => {
                    touch.heard();
                    let result = command::run(self, command).await;
                    send(&answers, wire::sync_request::Message::CommandResult(result)).await?;
                }
                Some(wire::sync_response::Message::Heartbeat(_)) => touch.heartbeat(),
                // An unknown message comes from a newer hub, which does without our understanding it.
                None => touch.heard(),
            }
        }
    }

    async fn apply(
        &self,
        applicable: Applicable,
    ) -> Result<wire::sync_request::Message, SyncError> {
        let Applicable {
            nonce,
            change,
            public_url,
            refused,
        } = applicable;
        let current = self.config.current();
        if !change.replaces_all
            && (change.incarnation != current.incarnation || change.revision < current.revision)
        {
            return Err(SyncError::Unrelated);
        }
        let revision = wire_revision(change.revision);
        let store = self.config.clone();
        let apply = move || {
            store.apply(change)?;
            public_url.map_or(Ok(()), |url| store.set_public_url(&url))
        };
        tokio::task::spawn_blocking(apply)
            .await
            .map_err(|_| SyncError::Config(ConfigError::Poisoned))?
            .map_err(SyncError::Config)?;
        #[expect(clippy::cast_precision_loss, reason = "a gauge is a double")]
        metrics::gauge!("signalbox_sync_revision").set(revision as f64);
        let outcome = if refused.is_empty() {
            "taken"
        } else {
            "refused"
        };
        metrics::counter!("signalbox_sync_updates_total", "outcome" => outcome).increment(1);
        if refused.is_empty() {
            return Ok(wire::sync_request::Message::Ack(wire::Ack {
                nonce,
                revision,
            }));
        }
        Ok(nack(nonce, revision, refused))
    }
}

/// Why an open stream ended.
fn ended(status: Status) -> SyncError {
    match signalbox_client::token_has_ended(&status) {
        true => SyncError::TokenEnded,
        false => SyncError::Status(status),
    }
}

fn wire_revision(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

fn nack(
    nonce: String,
    revision: i64,
    refused: Vec<wire::RefusedResource>,
) -> wire::sync_request::Message {
    for wire::RefusedResource { resource, reason } in &refused {
        tracing::warn!(
            resource,
            reason,
            "refused; its last good state, if it has one, stays in use"
        );
    }
    wire::sync_request::Message::Nack(wire::Nack {
        nonce,
        revision,
        refused,
    })
}

async fn send(
    to: &mpsc::Sender<wire::SyncRequest>,
    message: wire::sync_request::Message,
) -> Result<(), SyncError> {
    let request = wire::SyncRequest {
        message: Some(message),
    };
    let send_timeout = Timing::default().silence_max;
    tokio::time::timeout(send_timeout, to.send(request))
        .await
        .map_err(|_| SyncError::Silence(send_timeout))?
        .map_err(|_| SyncError::Closed)
}

/// The bytes of a resource for the disk.
fn encode_resource(resource: &wire::Resource) -> Bytes {
    prost::Message::encode_to_vec(resource).into()
}

#[cfg(test)]
mod tests;
