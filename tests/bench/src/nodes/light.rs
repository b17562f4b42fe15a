//! A node's end of the Sync stream and nothing else: it takes what it is sent, counts it, says that it has it. A thousand whole
//! data planes do not fit on one machine; a thousand of these are a thousand connections and streams to the control plane.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use bytes::{Buf as _, Bytes};
use prost::Message;
use signalbox_proto::dataplane::v1::{
    Ack, Heartbeat, Hello, Resource, SyncRequest, resource::Kind, sync_request,
};
use signalbox_runtime::backoff::Backoff;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Status, Streaming,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    transport::Endpoint,
};

const PATH: &str = "/signalbox.dataplane.v1.SyncService/Sync";
const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(10);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Of a message in HTTP/2: whether it is compressed, and its length.
const FRAME_BYTES: u64 = 5;
/// What a node that is to be stuck lets be on its way.
const STUCK_WINDOW_BYTES: u32 = 1_024;

/// `SyncResponse`, with resources as they come: of a snapshot's nobody looks at them.
#[derive(Clone, PartialEq, Message)]
struct Response {
    #[prost(message, optional, tag = "1")]
    config: Option<Update>,
}

/// `ConfigUpdate`.
#[derive(Clone, PartialEq, Message)]
struct Update {
    #[prost(string, tag = "1")]
    nonce: String,
    #[prost(string, tag = "2")]
    incarnation: String,
    #[prost(int64, tag = "3")]
    revision: i64,
    #[prost(bool, tag = "4")]
    snapshot: bool,
    #[prost(bool, tag = "5")]
    last: bool,
    #[prost(bytes = "bytes", repeated, tag = "6")]
    upserts: Vec<Bytes>,
}

#[derive(Clone, Copy, Debug)]
struct LightCodec;

impl Codec for LightCodec {
    type Encode = SyncRequest;
    type Decode = (u64, Response);
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for LightCodec {
    type Item = SyncRequest;
    type Error = Status;

    fn encode(&mut self, item: SyncRequest, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        item.encode(to)
            .map_err(|error| Status::internal(error.to_string()))
    }
}

impl Decoder for LightCodec {
    type Item = (u64, Response);
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, Status> {
        let bytes = from.remaining() as u64;
        let message = Response::decode(from).map_err(|e| Status::internal(e.to_string()))?;
        Ok(Some((bytes + FRAME_BYTES, message)))
    }
}

/// A revoked key that came to a node.
#[derive(Clone, Debug)]
pub(super) struct Arrived {
    pub(super) key: String,
    pub(super) at: Instant,
}

/// What all nodes share.
pub(super) struct Fleet {
    pub(super) endpoint: String,
    pub(super) token: String,
    pub(super) arrived: mpsc::UnboundedSender<Arrived>,
    /// Bytes of messages that came to all of them.
    pub(super) bytes: AtomicU64,
    /// Streams that were begun.
    pub(super) streams: AtomicU64,
    /// Counts up when all are to drop their connections.
    pub(super) drops: watch::Sender<u64>,
    /// They have forgotten what they had.
    pub(super) forget: std::sync::atomic::AtomicBool,
}

/// What a node has.
#[derive(Clone, Debug, Default)]
struct State {
    incarnation: String,
    revision: i64,
}

/// A node that is connected, or tries to be, until it is dropped.
pub(super) struct Light {
    state: Arc<Mutex<State>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Light {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Light {
    /// One that has `revision` of `incarnation`; it becomes `stuck` when it is up to date, if it is to: it reads no further.
    pub(super) fn start(
        fleet: &Arc<Fleet>,
        id: String,
        (incarnation, revision): (&str, i64),
        stuck: bool,
    ) -> Self {
        let state = Arc::new(Mutex::new(State {
            incarnation: incarnation.to_owned(),
            revision,
        }));
        let node = Node {
            fleet: fleet.clone(),
            id,
            state: state.clone(),
            stuck,
        };
        Self {
            state,
            task: tokio::spawn(node.run()),
        }
    }

    /// The revision that it uses.
    pub(super) fn revision(&self) -> i64 {
        locked(&self.state).revision
    }
}

fn locked(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Node {
    fleet: Arc<Fleet>,
    id: String,
    state: Arc<Mutex<State>>,
    stuck: bool,
}

impl Node {
    /// As a data plane does it: again and again, with the same pauses.
    async fn run(self) {
        let mut backoff = Backoff::reconnect();
        let mut drops = self.fleet.drops.subscribe();
        loop {
            drops.borrow_and_update();
            tokio::select! {
                // Its connection goes with it.
                _ = self.follow(&mut backoff) => {}
                _ = drops.changed() => {
                    if self.fleet.forget.load(Ordering::Relaxed) {
                        *locked(&self.state) = State::default();
                    }
                }
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }

    async fn follow(&self, backoff: &mut Backoff) -> Result<()> {
        let mut endpoint =
            Endpoint::from_shared(self.fleet.endpoint.clone())?.connect_timeout(CONNECT_TIMEOUT);
        if self.stuck {
            endpoint = endpoint.initial_stream_window_size(STUCK_WINDOW_BYTES);
        }
        let channel = endpoint.connect().await?;
        let (answers, outgoing) = mpsc::channel(16);
        let State {
            incarnation,
            revision,
        } = locked(&self.state).clone();
        let hello = Hello {
            node_id: self.id.clone(),
            version: "bench".to_owned(),
            incarnation,
            revision,
            ..Hello::default()
        };
        answers
            .send(of(sync_request::Message::Hello(hello)))
            .await?;
        let mut grpc = Grpc::new(channel).max_decoding_message_size(64 * 1024 * 1024);
        grpc.ready().await?;
        let mut request = Request::new(ReceiverStream::new(outgoing));
        let bearer = format!("Bearer {}", self.fleet.token).parse()?;
        request.metadata_mut().insert("authorization", bearer);
        let path = http::uri::PathAndQuery::from_static(PATH);
        let mut incoming = grpc
            .streaming(request, path, LightCodec)
            .await?
            .into_inner();
        self.fleet.streams.fetch_add(1, Ordering::Relaxed);
        let mut heartbeat = tokio::time::interval(HEARTBEAT_INTERVAL);
        loop {
            let message = tokio::select! {
                message = incoming.message() => message?,
                _ = heartbeat.tick() => {
                    let alive = Heartbeat::default();
                    answers.send(of(sync_request::Message::Heartbeat(alive))).await?;
                    continue;
                }
            };
            let (bytes, message) = message.context("the stream ended")?;
            self.fleet.bytes.fetch_add(bytes, Ordering::Relaxed);
            let Some(update) = message.config.filter(|update| update.last) else {
                continue;
            };
            let answer = self.take(update)?;
            answers.send(answer).await?;
            backoff.reset();
            if self.stuck {
                stuck(incoming, &answers).await?;
                return Ok(());
            }
        }
    }

    fn take(&self, update: Update) -> Result<SyncRequest> {
        if !update.snapshot {
            let at = Instant::now();
            for upsert in &update.upserts {
                if let Some(Kind::Key(key)) = Resource::decode(&upsert[..])?.kind
                    && key.revoked
                {
                    let key = key.name;
                    let _ = self.fleet.arrived.send(Arrived { key, at });
                }
            }
        }
        *locked(&self.state) = State {
            incarnation: update.incarnation,
            revision: update.revision,
        };
        Ok(of(sync_request::Message::Ack(Ack {
            nonce: update.nonce,
            revision: update.revision,
        })))
    }
}

/// Alive as far as its heartbeats say, and never reading: until the heartbeats cannot be sent any more.
async fn stuck(
    incoming: Streaming<(u64, Response)>,
    answers: &mpsc::Sender<SyncRequest>,
) -> Result<()> {
    let mut heartbeat = tokio::time::interval(HEARTBEAT_INTERVAL);
    loop {
        heartbeat.tick().await;
        let alive = Heartbeat::default();
        if answers
            .send(of(sync_request::Message::Heartbeat(alive)))
            .await
            .is_err()
        {
            drop(incoming);
            return Ok(());
        }
    }
}

fn of(message: sync_request::Message) -> SyncRequest {
    SyncRequest {
        message: Some(message),
    }
}
