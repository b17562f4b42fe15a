//! A real gRPC server of `NodeService` that notes what it is sent and answers what it is told to.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::HeaderMap;
use signalbox_proto::v1::{
    self, GetNodeRequest, ListNodesRequest, ListNodesResponse, Node,
    node_service_server::{NodeService, NodeServiceServer},
};
use tokio::{net::TcpListener, sync::oneshot, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Code, Request, Response, Status,
    transport::{Certificate, Identity, ServerTlsConfig},
};
use tonic_types::{ErrorDetails, StatusExt as _};

/// What a call is answered with.
pub(crate) enum Answer {
    Status(Status),
    Nodes(Vec<Node>),
    Never,
}

impl Answer {
    pub(crate) fn status(code: Code, message: &str) -> Self {
        Self::Status(Status::new(code, message))
    }

    pub(crate) fn retry_after(pause: Duration) -> Self {
        let details = ErrorDetails::with_retry_info(Some(pause));
        Self::Status(Status::with_error_details(
            Code::Unavailable,
            "later",
            details,
        ))
    }

    pub(crate) fn nodes(nodes: Vec<Node>) -> Self {
        Self::Nodes(nodes)
    }

    pub(crate) fn never() -> Self {
        Self::Never
    }
}

#[derive(Clone)]
struct Nodes(Arc<Mutex<VecDeque<Answer>>>);

impl Nodes {
    async fn answer(&self) -> Result<Vec<Node>, Status> {
        let next = self.0.lock().unwrap().pop_front();
        match next {
            None => Ok(Vec::new()),
            Some(Answer::Nodes(nodes)) => Ok(nodes),
            Some(Answer::Status(status)) => Err(status),
            Some(Answer::Never) => std::future::pending().await,
        }
    }
}

fn not_here<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("this server has no such method"))
}

#[tonic::async_trait]
impl NodeService for Nodes {
    async fn get_node(&self, _: Request<GetNodeRequest>) -> Result<Response<Node>, Status> {
        self.answer().await?;
        Ok(Response::new(Node::default()))
    }

    async fn list_nodes(
        &self,
        _: Request<ListNodesRequest>,
    ) -> Result<Response<ListNodesResponse>, Status> {
        let nodes = self.answer().await?;
        Ok(Response::new(ListNodesResponse {
            nodes,
            ..Default::default()
        }))
    }

    async fn revoke_node(
        &self,
        _: Request<v1::RevokeNodeRequest>,
    ) -> Result<Response<Node>, Status> {
        not_here()
    }

    async fn create_enrollment_token(
        &self,
        _: Request<v1::CreateEnrollmentTokenRequest>,
    ) -> Result<Response<v1::CreateEnrollmentTokenResponse>, Status> {
        not_here()
    }

    async fn list_enrollment_tokens(
        &self,
        _: Request<v1::ListEnrollmentTokensRequest>,
    ) -> Result<Response<v1::ListEnrollmentTokensResponse>, Status> {
        not_here()
    }

    async fn delete_enrollment_token(
        &self,
        _: Request<v1::DeleteEnrollmentTokenRequest>,
    ) -> Result<Response<()>, Status> {
        not_here()
    }
}

/// An authority.
pub(crate) struct Ca {
    pub(crate) pem: String,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Ca {
    pub(crate) fn new() -> Self {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = rcgen::Issuer::new(params, key);
        Self { pem, issuer }
    }

    /// PEM of a certificate and its key.
    pub(crate) fn issue(&self, name: &str) -> (String, String) {
        let key = rcgen::KeyPair::generate().unwrap();
        let leaf = rcgen::CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = leaf.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

pub(crate) struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<HeaderMap>>>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), answers).await
    }

    pub(crate) async fn start_at(
        address: SocketAddr,
        answers: impl IntoIterator<Item = Answer>,
    ) -> Self {
        Self::serve(address, answers, None).await
    }

    /// With a certificate for `localhost` by `ca`, for clients by `clients` if it is given.
    pub(crate) async fn start_tls(ca: &Ca, clients: Option<&Ca>) -> Self {
        let (certificate, key) = ca.issue("localhost");
        let mut tls = ServerTlsConfig::new().identity(Identity::from_pem(certificate, key));
        if let Some(clients) = clients {
            tls = tls.client_ca_root(Certificate::from_pem(&clients.pem));
        }
        Self::serve("127.0.0.1:0".parse().unwrap(), [], Some(tls)).await
    }

    async fn serve(
        address: SocketAddr,
        answers: impl IntoIterator<Item = Answer>,
        tls: Option<ServerTlsConfig>,
    ) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (stop, stopped) = oneshot::channel();
        let nodes = Nodes(Arc::new(Mutex::new(answers.into_iter().collect())));
        let note = {
            let seen = seen.clone();
            move |request: http::Request<tonic::body::Body>| {
                seen.lock().unwrap().push(request.headers().clone());
                request
            }
        };
        let mut builder = tonic::transport::Server::builder();
        if let Some(tls) = tls {
            builder = builder.tls_config(tls).unwrap();
        }
        let served = builder
            .layer(tower::util::MapRequestLayer::new(note))
            .add_service(NodeServiceServer::new(nodes).max_encoding_message_size(64 * 1024 * 1024))
            .serve_with_incoming_shutdown(TcpListenerStream::new(listener), async {
                let _ = stopped.await;
            });
        let task = tokio::spawn(async move { served.await.unwrap() });
        Self {
            address,
            seen,
            stop,
            task,
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The headers of every call so far.
    pub(crate) fn seen(&self) -> Vec<HeaderMap> {
        self.seen.lock().unwrap().clone()
    }

    /// Ends it, its connections too.
    pub(crate) async fn stop(self) {
        let _ = self.stop.send(());
        self.task.await.unwrap();
    }
}
