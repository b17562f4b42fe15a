//! Typed client of the Signalbox control plane.
//!
//! [`Client`] holds a lazily connected, self-mending HTTP/2 channel to each of the control planes that it was given (usually one),
//! uses one of them until it fails, and adds a token, a deadline and the caller's trace context to each call. Its accessors give the generated clients of `signalbox.v1` and `signalbox.dataplane.v1`.
//! [`Client::idempotent`] repeats calls that may be repeated.
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use signalbox_client::{Client, ClientConfig, TokenSource};
//! use signalbox_proto::v1::ListWorkflowsRequest;
//!
//! let mut config = ClientConfig::new("http://127.0.0.1:50051");
//! config.token = Some(TokenSource::file("admin.token"));
//! let client = Client::new(config)?;
//! let request = ListWorkflowsRequest { parent: "projects/default".into(), ..Default::default() };
//! let page = client
//!     .idempotent(|| {
//!         let (mut workflows, request) = (client.workflows(), request.clone());
//!         async move { workflows.list_workflows(request).await }
//!     })
//!     .await?;
//! # Ok(()) }
//! ```

mod auth;
mod connection;
mod error;

use std::{
    collections::hash_map::RandomState,
    future::Future,
    hash::{BuildHasher as _, Hasher as _},
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use backon::{ExponentialBuilder, Retryable as _};
use hyper_util::rt::TokioIo;
use signalbox_proto::{
    dataplane::v1::{
        enrollment_service_client::EnrollmentServiceClient,
        report_service_client::ReportServiceClient, sync_service_client::SyncServiceClient,
    },
    v1::{
        api_key_service_client::ApiKeyServiceClient, audit_service_client::AuditServiceClient,
        delivery_service_client::DeliveryServiceClient,
        execution_service_client::ExecutionServiceClient, node_service_client::NodeServiceClient,
        project_service_client::ProjectServiceClient, secret_service_client::SecretServiceClient,
        subscription_service_client::SubscriptionServiceClient,
        token_service_client::TokenServiceClient, workflow_service_client::WorkflowServiceClient,
    },
};
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::{
    Code, Response, Status,
    service::interceptor::InterceptedService,
    transport::{Channel, Uri},
};

pub use auth::{CallContext, CurrentToken, TokenSource};
pub use connection::CertificateFiles;
pub use error::{ClientError, ConfigError};
pub use signalbox_proto::convert::status::ApiError;

use connection::{Connection, plain_endpoint};

/// Largest message that is taken from the control plane.
const MESSAGE_MAX_BYTES: usize = 32 * 1024 * 1024;
/// Pauses between attempts of a call.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// How to reach a control plane.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// `http://` or `https://` and authority. Several, with commas between, are replicas of one control plane: one of them, by
    /// chance, is used until it fails, then the next.
    pub endpoint: String,
    /// Where the token comes from; none: calls carry none.
    pub token: Option<TokenSource>,
    /// PEM file of the authorities to trust, instead of the public ones. It and [`Self::certificate`] are read anew when they
    /// change: what is called from then on goes by what they say.
    pub ca_file: Option<PathBuf>,
    /// What is shown to a control plane that demands a certificate.
    pub certificate: Option<CertificateFiles>,
    /// How long a unary call may take in all (`grpc-timeout`). Streams have none.
    pub deadline: Duration,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// Attempts of [`Client::idempotent`], the first included.
    pub attempts_max: usize,
    /// Gives the W3C traceparent of the caller's current span.
    pub traceparent: Option<fn() -> Option<String>>,
}

impl ClientConfig {
    /// The defaults: 30 s deadline, 5 s to connect, 4 attempts.
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            token: None,
            ca_file: None,
            certificate: None,
            deadline: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            attempts_max: 4,
            traceparent: None,
        }
    }
}

/// What every generated client here is built on.
pub type Authed = InterceptedService<Channel, CallContext>;

/// Which of its control planes a client is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(usize);

/// A client of one control plane, or its replicas. Cheap to clone; clones stay at one place.
#[derive(Clone, Debug)]
pub struct Client {
    connections: Arc<[Connection]>,
    place: Arc<AtomicUsize>,
    unary: CallContext,
    stream: CallContext,
    open: CallContext,
    attempts_max: usize,
}

macro_rules! services {
    ($($(#[$doc:meta])* $name:ident: $client:ident, $context:ident;)+) => {
        impl Client {
            $(
                $(#[$doc])*
                #[must_use]
                pub fn $name(&self) -> $client<Authed> {
                    $client::new(InterceptedService::new(self.channel(), self.$context.clone()))
                        .max_decoding_message_size(MESSAGE_MAX_BYTES)
                }
            )+
        }
    };
}

services! {
    /// `signalbox.v1.ApiKeyService`.
    keys: ApiKeyServiceClient, unary;
    /// `signalbox.v1.WorkflowService`.
    workflows: WorkflowServiceClient, unary;
    /// `signalbox.v1.ExecutionService`.
    executions: ExecutionServiceClient, unary;
    /// `signalbox.v1.ExecutionService` for its streams: without a deadline.
    watch_executions: ExecutionServiceClient, stream;
    /// `signalbox.v1.DeliveryService`.
    deliveries: DeliveryServiceClient, unary;
    /// `signalbox.v1.SubscriptionService`.
    subscriptions: SubscriptionServiceClient, unary;
    /// `signalbox.v1.SecretService`.
    secrets: SecretServiceClient, unary;
    /// `signalbox.v1.AuditService`.
    audit: AuditServiceClient, unary;
    /// `signalbox.v1.NodeService`.
    nodes: NodeServiceClient, unary;
    /// `signalbox.v1.ProjectService`.
    projects: ProjectServiceClient, unary;
    /// `signalbox.v1.TokenService`.
    tokens: TokenServiceClient, unary;
    /// `signalbox.dataplane.v1.EnrollmentService`: its calls carry no token.
    enrollment: EnrollmentServiceClient, open;
    /// `signalbox.dataplane.v1.SyncService`: a stream without a deadline.
    sync: SyncServiceClient, stream;
    /// `signalbox.dataplane.v1.ReportService`: a stream without a deadline.
    report: ReportServiceClient, stream;
}

/// Whether a stream ended because the token did that it was opened with. With the next token it may be opened anew.
#[must_use]
pub fn token_has_ended(status: &Status) -> bool {
    status.code() == Code::Unauthenticated
        && ApiError::from(status.clone()).reason.as_deref() == Some("TOKEN_EXPIRED")
}

impl Client {
    /// A client; it connects when first used, and again whenever the connection is gone.
    ///
    /// # Errors
    /// When the endpoint is no URL or a file cannot be read.
    pub fn new(config: ClientConfig) -> Result<Self, ConfigError> {
        let connections = config
            .endpoint
            .split(',')
            .map(|text| Connection::open(text.trim(), &config))
            .collect::<Result<Vec<_>, ConfigError>>()?;
        Ok(Self::over(connections, config))
    }

    /// A client of one control plane whose connections `connect` opens, in the place of TCP.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn with_connector<F, Fut, S>(
        config: ClientConfig,
        mut connect: F,
    ) -> Result<Self, ConfigError>
    where
        F: FnMut(Uri) -> Fut + Send + 'static,
        Fut: Future<Output = io::Result<S>> + Send + 'static,
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let connector = tower::service_fn(move |uri| {
            let connected = connect(uri);
            async move { connected.await.map(TokioIo::new) }
        });
        let endpoint = plain_endpoint(&config.endpoint, &config)?;
        let channel = endpoint.connect_with_connector_lazy(connector);
        Ok(Self::over(vec![Connection::over(channel)], config))
    }

    fn over(connections: Vec<Connection>, config: ClientConfig) -> Self {
        let stream = CallContext::new(config.token, None, config.traceparent);
        // Clients that have the same list spread over it.
        let first = RandomState::new().build_hasher().finish() % connections.len().max(1) as u64;
        Self {
            connections: connections.into(),
            place: Arc::new(AtomicUsize::new(usize::try_from(first).unwrap_or(0))),
            unary: stream.clone().with_deadline(config.deadline),
            open: stream
                .clone()
                .with_deadline(config.deadline)
                .without_token(),
            stream,
            attempts_max: config.attempts_max.max(1),
        }
    }

    fn channel(&self) -> Channel {
        self.connections[self.place().0 % self.connections.len()].channel()
    }

    /// Where calls go.
    #[must_use]
    pub fn place(&self) -> Place {
        Place(self.place.load(Ordering::Relaxed))
    }

    /// Goes on to the next of several control planes, unless another clone has left this one already.
    pub fn leave(&self, place: Place) {
        let next = place.0.wrapping_add(1);
        let _ = self
            .place
            .compare_exchange(place.0, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Until there is a token to call with, where one is got first ([`TokenSource::Current`]).
    pub async fn token_ready(&self) {
        if let Some(token) = self.stream.current_token() {
            token.ready().await;
        }
    }

    /// Tells whoever renews the token ([`TokenSource::Current`]), when `status` says that it does not count.
    pub fn note_refusal(&self, status: &Status) {
        if status.code() == Code::Unauthenticated
            && let Some(token) = self.stream.current_token()
        {
            token.note_refused();
        }
    }

    /// Calls, and calls again (with jittered exponential pauses, at least as long as the control plane asks for) while it
    /// is UNAVAILABLE, at another control plane where there are several. Only for calls that may be repeated: reads, and writes that carry a `request_id`. Each attempt
    /// has the whole deadline.
    ///
    /// # Errors
    /// What the last attempt gave.
    pub async fn idempotent<T, F, Fut>(&self, call: F) -> Result<T, ClientError>
    where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let policy = ExponentialBuilder::default()
            .with_min_delay(PAUSE_MIN)
            .with_max_delay(PAUSE_MAX)
            .with_max_times(self.attempts_max - 1)
            .with_jitter();
        call.retry(policy)
            .when(|status| status.code() == Code::Unavailable)
            .notify(|_, _| self.leave(self.place()))
            .adjust(|status, pause| {
                let asked = ApiError::from(status.clone())
                    .retry_after
                    .unwrap_or_default();
                pause.map(|pause| pause.max(asked.min(PAUSE_MAX)))
            })
            .await
            .map(Response::into_inner)
            .map_err(ClientError::from)
    }
}
