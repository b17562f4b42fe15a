//! The other end: a real server of the generated service, whose every word the test says.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use signalbox_proto::{
    convert::json,
    dataplane::v1::{
        self as wire, SyncRequest, SyncResponse,
        sync_request::Message as FromNode,
        sync_response::Message as ToNode,
        sync_service_server::{SyncService, SyncServiceServer},
    },
    v1,
};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// The hub.
pub(super) struct Hub {
    pub(super) endpoint: String,
    pub(super) connections: mpsc::Receiver<Connection>,
    task: JoinHandle<()>,
}

/// One stream of a node.
pub(super) struct Connection {
    incoming: Streaming<SyncRequest>,
    outgoing: mpsc::Sender<Result<SyncResponse, Status>>,
}

struct Service(mpsc::Sender<Connection>);

#[tonic::async_trait]
impl SyncService for Service {
    type SyncStream = ReceiverStream<Result<SyncResponse, Status>>;

    async fn sync(
        &self,
        request: Request<Streaming<SyncRequest>>,
    ) -> Result<Response<Self::SyncStream>, Status> {
        let (outgoing, stream) = mpsc::channel(16);
        let connection = Connection {
            incoming: request.into_inner(),
            outgoing,
        };
        self.0.send(connection).await.unwrap();
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

impl Hub {
    pub(super) async fn start() -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    pub(super) async fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (sender, connections) = mpsc::channel(16);
        let server = tonic::transport::Server::builder()
            .add_service(SyncServiceServer::new(Service(sender)))
            .serve_with_incoming(TcpListenerStream::new(listener));
        let task = tokio::spawn(async move { server.await.unwrap() });
        Self {
            endpoint,
            connections,
            task,
        }
    }

    /// The next stream, and its first message.
    pub(super) async fn hello(&mut self) -> (wire::Hello, Connection) {
        let next = tokio::time::timeout(PATIENCE, self.connections.recv());
        let mut connection = next.await.unwrap().unwrap();
        match connection.next().await {
            FromNode::Hello(hello) => (hello, connection),
            other => panic!("the first message is {other:?}"),
        }
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Connection {
    pub(super) async fn send(&self, message: ToNode) {
        let message = Some(message);
        self.outgoing
            .send(Ok(SyncResponse { message }))
            .await
            .unwrap();
    }

    pub(super) async fn fail(self) {
        self.end(Status::unavailable("the test says so")).await;
    }

    pub(super) async fn end(self, status: Status) {
        self.outgoing.send(Err(status)).await.unwrap();
    }

    pub(super) async fn next(&mut self) -> FromNode {
        let next = tokio::time::timeout(PATIENCE, self.incoming.message());
        next.await.unwrap().unwrap().unwrap().message.unwrap()
    }

    /// The next message that is no heartbeat.
    pub(super) async fn answer(&mut self) -> FromNode {
        loop {
            match self.next().await {
                FromNode::Heartbeat(_) => {}
                answer => return answer,
            }
        }
    }
}

pub(super) fn snapshot(
    nonce: &str,
    revision: i64,
    upserts: Vec<wire::Resource>,
) -> wire::ConfigUpdate {
    wire::ConfigUpdate {
        nonce: nonce.into(),
        incarnation: "i".into(),
        revision,
        snapshot: true,
        last: true,
        upserts,
        ..wire::ConfigUpdate::default()
    }
}

pub(super) fn key(id: &str, digest: u8) -> wire::Resource {
    wire::Resource {
        kind: Some(wire::resource::Kind::Key(wire::KeyConfig {
            name: format!("projects/default/apiKeys/{id}"),
            digest: Bytes::copy_from_slice(&[digest; 32]),
            ..Default::default()
        })),
    }
}

pub(super) fn workflow(id: &str, version: i64) -> wire::Resource {
    with_spec(
        id,
        version,
        "{trigger: {manual: {}}, steps: [{id: a, transform: {expression: '1'}}]}",
    )
}

/// A definition that no node takes: two steps of one name.
pub(super) fn bad_workflow(id: &str, version: i64) -> wire::Resource {
    with_spec(
        id,
        version,
        "{trigger: {manual: {}}, steps: [{id: a, transform: {expression: '1'}}, {id: a, succeed: {}}]}",
    )
}

fn with_spec(id: &str, version: i64, spec: &str) -> wire::Resource {
    let spec: v1::WorkflowSpec = json::from_yaml_str(spec).unwrap();
    wire::Resource {
        kind: Some(wire::resource::Kind::Workflow(wire::WorkflowConfig {
            name: format!("projects/default/workflows/{id}"),
            state: v1::WorkflowState::Enabled.into(),
            version,
            spec: Some(spec),
            bound_topic_arn: String::new(),
        })),
    }
}
