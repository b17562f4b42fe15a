//! The hub: brings configuration and commands to the nodes (`SyncService`).
//!
//! Each node has a task of its own that reads the change log from where the node stands: the hint that something changed
//! only wakes it. What lies between two revisions is read and converted once for all nodes that stand there; secrets are sealed
//! to each node by itself. A node that does not take what it is sent is let go; it comes back and is brought up to date.

mod delta;
mod secrets;
mod session;

use futures::StreamExt as _;
use signalbox_model::{error::Error, ids::NodeId};
use signalbox_proto::{
    convert::status::to_status,
    dataplane::v1::{
        SyncRequest, SyncResponse, sync_request,
        sync_service_server::{SyncService, SyncServiceServer},
    },
};
use signalbox_runtime::shutdown::Shutdown;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use self::{delta::Deltas, session::Session};
use crate::{app::App, auth::Caller};

/// Messages that may wait for a node.
const OUTGOING_MAX: usize = 16;
/// How long the first message may take.
const HELLO_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(10);
/// Size of a message from a node: a Nack that refuses much.
const REQUEST_MAX_BYTES: usize = 4 * 1024 * 1024;

/// The hub.
#[derive(Clone)]
pub struct Hub {
    app: App,
    deltas: Deltas,
    shutdown: Shutdown,
}

impl Hub {
    /// Over `app`.
    #[must_use]
    pub fn new(app: App, shutdown: Shutdown) -> Self {
        Self {
            deltas: Deltas::new(app.clone()),
            app,
            shutdown,
        }
    }

    /// The service.
    #[must_use]
    pub fn service(&self) -> SyncServiceServer<Self> {
        SyncServiceServer::new(self.clone()).max_decoding_message_size(REQUEST_MAX_BYTES)
    }
}

#[tonic::async_trait]
impl SyncService for Hub {
    type SyncStream = ReceiverStream<Result<SyncResponse, Status>>;

    async fn sync(
        &self,
        request: Request<Streaming<SyncRequest>>,
    ) -> Result<Response<Self::SyncStream>, Status> {
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
        let (outgoing, stream) = mpsc::channel(OUTGOING_MAX);
        let hub = self.clone();
        // Which stream of a node is its newest is noted in the database: the others may be at other replicas.
        let name = uuid::Uuid::new_v4().simple().to_string();
        self.shutdown.spawn(async move {
            tracing::info!(%node, revision = hello.revision, "a node has come");
            metrics::gauge!("signalbox_sync_nodes").increment(1);
            let session = Session::new(
                &hub.app,
                &hub.deltas,
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
            if let Err(error) = hub.app.node_disconnected(&node, &name).await {
                tracing::warn!(%node, %error, "it cannot be noted that the node has gone");
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}
