//! A whole control plane: opens what it keeps, binds its listeners, serves.

mod links;
mod listener;
mod trace;

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use secrecy::SecretString;
use signalbox_model::limits;
use signalbox_proto::DESCRIPTORS;
use signalbox_runtime::{
    admin::{self, Check},
    data_dir::{DataDir, DataDirError},
    net::{self, BindError},
    shutdown::Shutdown,
    tls::{self, ReloadedFiles, ServerFiles, TlsError},
};
use tokio::sync::watch;
use tonic::{
    service::Routes,
    transport::{Server, server::TcpIncoming},
};
use tonic_health::{ServingStatus, server::HealthReporter};
use tonic_web::GrpcWebLayer;
use tower_http::cors::{AllowOrigin, CorsLayer};

use self::{links::LinksLayer, trace::TraceLayer};
use crate::{
    api::Api,
    app::{App, Limits, Settings},
    auth::{AuthLayer, Authenticator, Links, Oidc, OidcConfigError, TokenError, Tokens},
    calls, checkpoints,
    enrollment::Enrollments,
    master_key::{MasterKeyError, MasterKeySource},
    replicas,
    report::Reports,
    retention, schedules,
    store::{OpenError, Store, Trouble},
    sync::Hub,
};

/// Streams of one connection.
const STREAMS_MAX: u32 = 256;

/// A control plane's configuration.
#[derive(Clone, Debug)]
pub struct ControlPlaneConfig {
    /// gRPC listener.
    pub listen: SocketAddr,
    /// Admin listener; none: not served.
    pub admin_listen: Option<SocketAddr>,
    /// Folder of what it keeps.
    pub data_dir: PathBuf,
    /// Database; none: SQLite in the folder.
    pub database_url: Option<SecretString>,
    /// File of the OpenID Connect issuers whose tokens count; none: only tokens of our own do.
    pub oidc_config: Option<PathBuf>,
    /// How long tokens of enrolled nodes count.
    pub node_token_ttl: Duration,
    /// What values are encrypted under.
    pub master_key: MasterKeySource,
    /// Where senders reach the data plane.
    pub public_webhook_url: String,
    /// Where people reach the gRPC listener, without a slash at its end; none: approval links are not made.
    pub public_url: Option<String>,
    /// Whether key values may be shown again.
    pub reveal_enabled: bool,
    /// Deliveries of each verdict but ACCEPTED that are kept for a workflow.
    pub deliveries_kept_max: u64,
    /// How much of executions is recorded, and how long it is kept.
    pub history: History,
    /// The quotas of projects that do not say; 0 stands for none.
    pub quotas: Limits,
    /// TLS of the gRPC listener, and whom it lets in.
    pub tls: Option<ServerFiles>,
    /// Origins of browsers that may call by gRPC-web.
    pub cors_origins: Vec<http::HeaderValue>,
}

/// How much of executions is recorded, and how long it is kept; and how long what is deleted.
#[derive(Clone, Copy, Debug)]
pub struct History {
    /// Size of the JSON text of an input or output, in bytes, up to which it is recorded whole.
    pub value_max_bytes: usize,
    /// How long the history of projects is kept that do not say.
    pub retention: Duration,
    /// How long deleted keys and workflows are kept.
    pub deleted_retention: Duration,
}

impl Default for History {
    fn default() -> Self {
        Self {
            value_max_bytes: limits::HISTORY_VALUE_MAX_BYTES,
            retention: limits::HISTORY_RETENTION,
            deleted_retention: limits::DELETED_RETENTION,
        }
    }
}

/// Why a control plane does not start. Each is one line for an operator.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The database.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The master key.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// The signing key of tokens.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The file of OpenID Connect issuers.
    #[error(transparent)]
    Oidc(#[from] OidcConfigError),
    /// A listener.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A listener's address.
    #[error("the listener has no address")]
    Address(#[source] std::io::Error),
    /// A TLS file.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The descriptors of reflection.
    #[error("reflection cannot be set up")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The database, when first used.
    #[error(transparent)]
    First(#[from] signalbox_model::error::Error),
}

/// A running control plane.
#[derive(Debug)]
pub struct RunningControlPlane {
    /// Where gRPC is served.
    pub grpc_addr: SocketAddr,
    /// Where the admin endpoints are.
    pub admin_addr: Option<SocketAddr>,
    /// Mints tokens.
    pub tokens: Tokens,
    // Held for its lock.
    _data_dir: Arc<DataDir>,
}

/// Starts a control plane; its parts are tasks of `shutdown`, which drains them.
///
/// # Errors
/// [`StartError`].
pub async fn start(
    config: ControlPlaneConfig,
    shutdown: &Shutdown,
) -> Result<RunningControlPlane, StartError> {
    tls::install_crypto_provider();
    let data_dir = Arc::new(DataDir::open(&config.data_dir)?);
    let tls_files = config.tls.clone().map(ReloadedFiles::open).transpose()?;
    let tls_config = tls_files.as_ref().map(ReloadedFiles::server_config);
    let tls_config = tls_config.transpose()?;
    let listener = net::bind(config.listen, "--listen").await?;
    let admin_listener = match config.admin_listen {
        Some(address) => Some(net::bind(address, "--admin-listen").await?),
        None => None,
    };
    let store = Store::open_at(data_dir.path(), config.database_url.as_ref()).await?;
    let master_key = config.master_key.load_for(&data_dir, &store).await?;
    let tokens = Tokens::open(store.clone(), data_dir.clone(), store.is_shared()).await?;
    shutdown.spawn(tokens.clone().follow(shutdown.clone()));
    let settings = Settings {
        public_webhook_url: config.public_webhook_url.clone(),
        reveal_enabled: config.reveal_enabled,
        deliveries_kept_max: config.deliveries_kept_max,
        history_value_max_bytes: config.history.value_max_bytes,
        history_retention: config.history.retention,
        deleted_retention: config.history.deleted_retention,
        quotas: config.quotas,
    };
    let app = App::new(store.clone(), master_key, settings);
    app.settle_quotas().await?;
    if store.is_shared() {
        shutdown.spawn(replicas::follow(store.clone(), shutdown.clone()));
    } else {
        app.no_node_connected().await?;
        shutdown.spawn(checkpoints::run(store.clone(), shutdown.clone()));
    }
    shutdown.spawn(schedules::run(app.clone(), shutdown.clone()));
    shutdown.spawn(retention::run(app.clone(), shutdown.clone()));
    shutdown.spawn(calls::run(app.clone(), shutdown.clone()));
    shutdown.spawn(retention::count(app.clone(), shutdown.clone()));

    let oidc = match &config.oidc_config {
        Some(file) => Oidc::start(file, shutdown)?,
        None => Oidc::default(),
    };
    let authenticator = Arc::new(Authenticator::new(tokens.clone(), oidc));

    let grpc_addr = listener.local_addr().map_err(StartError::Address)?;
    let links = Links::new(tokens.clone(), store.clone(), config.public_url.clone());
    let pages = LinksLayer::new(app.clone(), links.clone());
    let api = Api::new(app.clone(), links, tokens.clone());
    let enrollments = Enrollments::new(tokens.clone(), config.node_token_ttl);
    let hub = Hub::start(app.clone(), config.public_url.clone(), shutdown.clone());
    let routes = routes(&app, (&api, &hub), &enrollments, shutdown)?;
    let cors = CorsLayer::new()
        .allow_origin(AllowOrigin::list(config.cors_origins.clone()))
        .allow_headers(tower_http::cors::Any)
        .expose_headers(
            ["grpc-status", "grpc-message", "grpc-status-details-bin"]
                .map(http::HeaderName::from_static),
        );
    let serving = Server::builder()
        .accept_http1(true)
        .max_concurrent_streams(STREAMS_MAX)
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .http2_keepalive_timeout(Some(Duration::from_secs(10)))
        // Outermost first: what is no gRPC at all; browsers ask by CORS before anything else; gRPC-web becomes gRPC; then the span, then the
        // token, so that refusals have a trace too.
        .layer(pages)
        .layer(cors)
        .layer(GrpcWebLayer::new())
        .layer(TraceLayer)
        .layer(AuthLayer::new(authenticator))
        .add_routes(routes);
    if let Some(files) = tls_files {
        shutdown.spawn(files.watch(tls::RELOAD_PERIOD, shutdown.clone()));
    }
    let (stopping, shutting_down) = (shutdown.clone(), shutdown.clone());
    shutdown.spawn(async move {
        let stopping = async move { stopping.stopping().await };
        let ended = match tls_config {
            None => {
                // Messages are small, and each is waited for.
                let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
                serving
                    .serve_with_incoming_shutdown(incoming, stopping)
                    .await
            }
            Some(tls) => {
                let incoming = listener::incoming(listener, tls, &shutting_down);
                serving
                    .serve_with_incoming_shutdown(incoming, stopping)
                    .await
            }
        };
        if let Err(error) = ended {
            tracing::error!(%error, "the gRPC server failed");
        }
    });

    let admin_addr = match admin_listener {
        Some(listener) => {
            let address = listener.local_addr().map_err(StartError::Address)?;
            let readiness = move || {
                let revision = *store.revision().borrow();
                let trouble = *store.trouble().borrow();
                vec![match trouble {
                    None => Check::ok("database", format!("revision {revision}")),
                    Some(trouble) => Check::failing("database", trouble.to_string()),
                }]
            };
            tokio::spawn(admin::serve(
                listener,
                Arc::new(readiness),
                shutdown.clone(),
            ));
            Some(address)
        }
        None => None,
    };
    tracing::info!(grpc = %grpc_addr, "the control plane is up");
    Ok(RunningControlPlane {
        grpc_addr,
        admin_addr,
        tokens,
        _data_dir: data_dir,
    })
}

fn routes(
    app: &App,
    (api, hub): (&Api, &Hub),
    enrollments: &Enrollments,
    shutdown: &Shutdown,
) -> Result<Routes, StartError> {
    let (health, health_service) = tonic_health::server::health_reporter();
    let mut routes = Routes::builder();
    api.add_to(&mut routes);
    routes
        .add_service(hub.service())
        .add_service(Reports::new(app.clone(), shutdown.clone()).service())
        .add_service(enrollments.service())
        .add_service(health_service);
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    routes.add_service(reflection().build_v1()?);
    routes.add_service(reflection().build_v1alpha()?);
    let trouble = app.store().trouble();
    shutdown.spawn(tell_health(health, trouble, shutdown.clone()));
    Ok(routes.routes())
}

/// Says whether calls are to come here: not while the database cannot be worked with, and not from the shutdown on.
async fn tell_health(
    health: HealthReporter,
    mut trouble: watch::Receiver<Option<Trouble>>,
    shutdown: Shutdown,
) {
    let tell = async |status| health.set_service_status("", status).await;
    loop {
        let is_well = trouble.borrow_and_update().is_none();
        tell(match is_well {
            true => ServingStatus::Serving,
            false => ServingStatus::NotServing,
        })
        .await;
        tokio::select! {
            biased;
            () = shutdown.stopping() => break,
            // The sender is the store's: it is not gone before the services are.
            _ = trouble.changed() => {}
        }
    }
    tell(ServingStatus::NotServing).await;
}
