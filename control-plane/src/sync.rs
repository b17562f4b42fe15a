//! The hub: brings configuration and commands to the nodes (`SyncService`).
//!
//! Each node has a task of its own that reads the change log from where the node stands: the hint that something changed
//! only wakes it. What lies between two revisions is read, converted and encoded once for all nodes that stand there, and a
//! snapshot once for all that ask for it meanwhile; secrets are sealed to each node by itself. A node that does not take what
//! it is sent is let go; it comes back and is brought up to date.

mod delta;
mod secrets;
mod session;
mod snapshot;
mod streams;
mod wire;

use futures::StreamExt as _;
use signalbox_model::{error::Error, ids::NodeId};
use signalbox_proto::{
    convert::status::to_status,
    dataplane::v1::{SyncRequest, sync_request},
};
use signalbox_runtime::shutdown::Shutdown;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use self::{delta::Deltas, session::Session, snapshot::Snapshots, streams::Streams, wire::Encoded};
use crate::{
    app::App,
    auth::{Caller, check_link_key},
};

pub use wire::SyncServer;

/// Messages that may wait for a node.
const OUTGOING_MAX: usize = 16;
/// How long the first message may take.
const HELLO_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);

/// The hub.
#[derive(Clone, Debug)]
pub struct Hub {
    app: App,
    deltas: Deltas,
    snapshots: Snapshots,
    streams: Streams,
    /// Where people reach the control plane; none: it does not know.
    public_url: Option<String>,
    shutdown: Shutdown,
}

impl Hub {
    /// Over `app`, which people reach at `public_url`; looks after the nodes' streams until the shutdown.
    #[must_use]
    pub fn start(app: App, public_url: Option<String>, shutdown: Shutdown) -> Self {
        let streams = Streams::new(app.clone());
        shutdown.spawn(streams.clone().wake(shutdown.clone()));
        shutdown.spawn(streams.clone().note(shutdown.clone()));
        Self {
            deltas: Deltas::new(app.clone()),
            snapshots: Snapshots::new(app.clone()),
            streams,
            app,
            public_url,
            shutdown,
        }
    }

    /// The service.
    #[must_use]
    pub fn service(&self) -> SyncServer {
        SyncServer(self.clone())
    }

    /// The node says what it has (Hello, first); the hub answers with a snapshot, or with the missing changes, then follows.
    async fn sync(
        &self,
        request: Request<Streaming<SyncRequest>>,
    ) -> Result<Response<ReceiverStream<Result<Encoded, Status>>>, Status> {
        let caller = Caller::anywhere(&request).map_err(to_status)?;
        let mut incoming = request.into_inner();
        let first = tokio::time::timeout(HELLO_TIMEOUT, incoming.next()).await;
        let Ok(Some(Ok(SyncRequest {
            message: Some(sync_request::Message::Hello(hello)),
        }))) = first
        else {
            return Err(to_status(Error::invalid(
                "message",
                "the first message must be hello",
            )));
        };
        let node: NodeId =
            hello
                .node_id
                .parse()
                .map_err(|error: signalbox_model::ids::IdError| {
                    to_status(Error::invalid("hello.node_id", error.to_string()))
                })?;
        caller.check_node(&node).map_err(to_status)?;
        let recipient = secrets::recipient(&hello).map_err(to_status)?;
        if !hello.link_public_key.is_empty() {
            check_link_key(&hello.link_public_key).map_err(to_status)?;
        }
        let (outgoing, stream) = mpsc::channel(OUTGOING_MAX);
        let hub = self.clone();
        // Which stream of a node is its newest is noted in the database: the others may be at other replicas.
        let name = uuid::Uuid::new_v4().simple().to_string();
        self.shutdown.spawn(async move {
            tracing::info!(%node, revision = hello.revision, "a node has come");
            metrics::gauge!("signalbox_sync_nodes").increment(1);
            let session = Session::new(
                &hub,
                (node.clone(), recipient),
                name.clone(),
                outgoing.clone(),
            );
            let ended = tokio::select! {
                ended = session.run(hello, incoming) => ended,
                () = hub.shutdown.stopping() => Ok(()),
            };
            metrics::gauge!("signalbox_sync_nodes").decrement(1);
            if let Err(status) = ended {
                tracing::info!(%node, reason = status.message(), "a node's stream ends");
                // If it does not take even this, it is gone.
                let _ = outgoing.try_send(Err(status));
            }
            hub.streams.gone(&node, &name, &hub.shutdown).await;
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

#[cfg(test)]
mod tests;
