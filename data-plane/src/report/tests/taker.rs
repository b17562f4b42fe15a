//! The other end: a real server of the generated service, whose every word the test says.

use std::time::Duration;

use signalbox_model::record::RecordBody;
use signalbox_proto::{
    convert::record,
    dataplane::v1::{
        KeyUses, RecordBatch, ReportHello, ReportRequest, ReportResponse,
        report_request::Message,
        report_service_server::{ReportService, ReportServiceServer},
    },
};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// How long nothing must come for nothing to be under way.
const QUIET: Duration = Duration::from_millis(300);
const MESSAGE_MAX_BYTES: usize = 32 * 1024 * 1024;

pub(super) struct Taker {
    pub(super) endpoint: String,
    connections: mpsc::Receiver<Connection>,
    task: JoinHandle<()>,
}

pub(super) struct Connection {
    incoming: Streaming<ReportRequest>,
    outgoing: mpsc::Sender<Result<ReportResponse, Status>>,
}

struct Service(mpsc::Sender<Connection>);

#[tonic::async_trait]
impl ReportService for Service {
    type ReportStream = ReceiverStream<Result<ReportResponse, Status>>;

    async fn report(
        &self,
        request: Request<Streaming<ReportRequest>>,
    ) -> Result<Response<Self::ReportStream>, Status> {
        let (outgoing, stream) = mpsc::channel(16);
        let connection = Connection {
            incoming: request.into_inner(),
            outgoing,
        };
        self.0.send(connection).await.unwrap();
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

impl Taker {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (sender, connections) = mpsc::channel(16);
        let service =
            ReportServiceServer::new(Service(sender)).max_decoding_message_size(MESSAGE_MAX_BYTES);
        let server = tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener));
        let task = tokio::spawn(async move { server.await.unwrap() });
        Self {
            endpoint,
            connections,
            task,
        }
    }

    /// The next stream: takes its hello, and says what is durable.
    pub(super) async fn hello(&mut self, durable: u64) -> (ReportHello, Connection) {
        let next = tokio::time::timeout(PATIENCE, self.connections.recv());
        let mut connection = next.await.unwrap().unwrap();
        let Message::Hello(hello) = connection.next().await else {
            panic!("the first message is no hello");
        };
        connection.acknowledge(durable).await;
        (hello, connection)
    }
}

impl Drop for Taker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Connection {
    async fn next(&mut self) -> Message {
        let next = tokio::time::timeout(PATIENCE, self.incoming.message());
        next.await.unwrap().unwrap().unwrap().message.unwrap()
    }

    /// The next batch: its last sequence, and the names of its records.
    pub(super) async fn batch(&mut self) -> (u64, Vec<usize>) {
        let Message::Batch(RecordBatch { records }) = self.next().await else {
            panic!("a second hello");
        };
        let mut names = Vec::new();
        let mut last = 0;
        for wire in records {
            let sequenced = record::from_wire(wire).unwrap();
            assert!(sequenced.sequence > last, "numbers ascend");
            last = sequenced.sequence;
            match sequenced.record.body {
                RecordBody::Certificate(certificate) => {
                    names.push(certificate.sha256.parse().unwrap());
                }
                other => panic!("{other:?}"),
            }
        }
        (last, names)
    }

    pub(super) async fn end(self, status: Status) {
        self.outgoing.send(Err(status)).await.unwrap();
    }

    /// Whether nothing comes for a while.
    pub(super) async fn is_quiet(&mut self) -> bool {
        tokio::time::timeout(QUIET, self.incoming.message())
            .await
            .is_err()
    }

    pub(super) async fn acknowledge(&self, durable: u64) {
        let durable_sequence = i64::try_from(durable).unwrap();
        let response = ReportResponse {
            durable_sequence,
            ..ReportResponse::default()
        };
        self.outgoing.send(Ok(response)).await.unwrap();
    }

    /// The next message, which must tell of keys.
    pub(super) async fn uses(&mut self) -> KeyUses {
        let Message::KeyUses(uses) = self.next().await else {
            panic!("tells of no key");
        };
        uses
    }

    pub(super) async fn acknowledge_uses(&self, key_uses_number: i64) {
        let response = ReportResponse {
            key_uses_number,
            ..ReportResponse::default()
        };
        self.outgoing.send(Ok(response)).await.unwrap();
    }
}
