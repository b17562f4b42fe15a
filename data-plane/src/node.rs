//! A whole data plane: opens what it keeps, binds its listeners, starts its parts.

mod listener_tls;

use std::{net::SocketAddr, num::NonZeroUsize, path::PathBuf, sync::Arc, time::Duration};

use ipnet::IpNet;
use signalbox_client::{
    CertificateFiles, Client, ClientConfig, ConfigError as ClientConfigError, CurrentToken,
    TokenSource,
};
use signalbox_model::ids::NodeId;
use signalbox_runtime::{
    admin::{self, Check},
    ambient::System,
    background::Background,
    data_dir::{DataDir, DataDirError},
    hpke::{HpkeError, KeyPair},
    net::{self, BindError},
    shutdown::Shutdown,
    telemetry::context,
    tls::{
        self, ServerFiles, TlsError,
        acme::{AcmeConfig, AcmeOpenError},
    },
};
use signalbox_sns::{TrustPolicy, TrustedOrigin};

use crate::{
    config::{ConfigError, ConfigStore, Rates},
    egress::{Egress, EgressError, EgressPolicy},
    execution::{
        Cancels, CredentialSource, ExecutionConfig, ExecutionRuntime, LinkKey, LinkKeyError,
        NodeIdentity, NodeLinks, Performers, Wakes, metadata_policy,
    },
    identity::{EnrollmentSource, IdentityClient, IdentityKey, IdentityKeyError},
    ingest::{
        self, Budget, Certificates, Ingest,
        confirm::{ConfirmPolicy, Confirmer},
    },
    layer,
    report::ReportClient,
    retirement::Retirement,
    server::{self, Bodies, BodyLimits, Handler, Proxies, RequestMetrics, ServerConfigLimits},
    spool::{IntakeOpenError, IntakeSpool, IntakeSpoolConfig, Spool, SpoolMax, SqliteSpoolConfig},
    sync::{self, SyncClient},
};

use listener_tls::ListenerTls;

/// Amazon SNS waits 15 s for an answer; ours, also of "try again", comes before that.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(14);
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
const HEADER_TIMEOUT: Duration = Duration::from_secs(20);
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
const END_TIMEOUT: Duration = Duration::from_secs(20);
const NODE_ID_FILE: &str = "node-id";
/// The private key to which secrets are sealed, and its public key.
const SECRETS_KEY_FILE: &str = "secrets.key";

/// How to reach the control plane.
#[derive(Clone, Debug)]
pub struct ControlPlaneAddress {
    /// gRPC endpoint.
    pub endpoint: String,
    /// Token of role data-plane; none: the node has those of its identity, if it has one.
    pub token: Option<TokenSource>,
    /// What gets it an identity, where it has none.
    pub enrollment: Option<EnrollmentSource>,
    /// Authorities to trust.
    pub ca_file: Option<PathBuf>,
    /// What the node shows, where the control plane demands a certificate.
    pub certificate: Option<CertificateFiles>,
}

/// Where the webhook listener's certificate comes from.
#[derive(Clone, Debug)]
pub enum TlsSource {
    /// Files, read anew when they change.
    Files(ServerFiles),
    /// An authority, asked by ACME.
    Acme(AcmeConfig),
}

/// Limits of a node.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Size of a request's body.
    pub body_max_bytes: usize,
    /// Size of all bodies together that are not durable yet.
    pub bodies_max_bytes: usize,
    /// Connections at once.
    pub connections_max: NonZeroUsize,
    /// Requests under way at once.
    pub in_flight_max: NonZeroUsize,
    /// Executions under way at once.
    pub executions_max: NonZeroUsize,
    /// Ends of the process in a row that may interrupt an execution.
    pub interruptions_max: u32,
    /// Size of the spool on disk.
    pub spool_max: SpoolMax,
    /// What is taken from the intake log at a time although enough wait: [`IntakeSpoolConfig::skim_max`].
    pub intake_skim_max: usize,
    /// Connections at once of one address.
    pub connections_per_address_max: NonZeroUsize,
    /// Requests of a workflow, and with a key, that set no limit themselves.
    pub rates: Rates,
}

/// A node's configuration.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Webhook listener.
    pub listen: SocketAddr,
    /// Admin listener; none: not served.
    pub admin_listen: Option<SocketAddr>,
    /// Folder of what it keeps.
    pub data_dir: PathBuf,
    /// The id that a new folder gets, and an old one must have; none: a new one gets one of its own.
    pub node_id: Option<NodeId>,
    /// The control plane.
    pub control_plane: ControlPlaneAddress,
    /// TLS of the webhook listener.
    pub tls: Option<TlsSource>,
    /// Origins accepted as SNS beside AWS.
    pub sns_trusted_origins: Vec<TrustedOrigin>,
    /// Networks that may be reached although they are not public: by http steps, and for an SNS endpoint of a VPC.
    pub egress_allow: Vec<IpNet>,
    /// Networks that are not reached, whether they are public or allowed; the control plane is reached in any case.
    pub egress_deny: Vec<IpNet>,
    /// Where the credentials come from that `aws` steps without credentials of their own are signed with.
    pub aws_credentials: CredentialSource,
    /// How long copies of a message are recognised.
    pub deduplication_window: Duration,
    /// Limits.
    pub limits: Limits,
    /// Load balancers and proxies before the webhook listener.
    pub proxies: Proxies,
}

/// Why a node does not start. Each is one line for an operator.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The node's id in it.
    #[error("the file {} holds no node id", .0.display())]
    NodeId(PathBuf),
    /// It is another.
    #[error("--node-id is {wanted}, but {} says that this is the folder of {found}", path.display())]
    OtherNodeId {
        /// The id that was given.
        wanted: NodeId,
        /// The folder's.
        found: NodeId,
        /// Where it is.
        path: PathBuf,
    },
    /// What the node is known by.
    #[error(transparent)]
    Identity(#[from] IdentityKeyError),
    /// The key to which secrets are sealed.
    #[error(transparent)]
    SecretsKey(#[from] HpkeError),
    /// The key that signs links.
    #[error(transparent)]
    LinkKey(#[from] LinkKeyError),
    /// The spool.
    #[error(transparent)]
    Spool(#[from] IntakeOpenError),
    /// The configuration store.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A listener.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The listener's address.
    #[error("the listener has no address")]
    Address(#[source] std::io::Error),
    /// TLS files.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// Automatic certificates.
    #[error(transparent)]
    Acme(#[from] AcmeOpenError),
    /// The control plane's address.
    #[error(transparent)]
    Client(#[from] ClientConfigError),
    /// Outbound HTTP.
    #[error(transparent)]
    Egress(#[from] EgressError),
    /// The threads that execute and report.
    #[error("the background threads cannot be started")]
    Background(#[source] std::io::Error),
}

/// A running node.
#[derive(Debug)]
pub struct RunningNode {
    /// Where webhooks are taken.
    pub webhook_addr: SocketAddr,
    /// Where the admin endpoints are.
    pub admin_addr: Option<SocketAddr>,
    /// Its id.
    pub node: NodeId,
    /// Its end, for good.
    pub retirement: Retirement,
    // Held for its lock.
    _data_dir: Arc<DataDir>,
    // Held for its tasks.
    _background: Background,
}

/// Starts a node; its parts are tasks of `shutdown`, which drains them.
///
/// # Errors
/// [`StartError`].
pub async fn start(config: NodeConfig, shutdown: &Shutdown) -> Result<RunningNode, StartError> {
    tls::install_crypto_provider();
    let data_dir = Arc::new(DataDir::open(&config.data_dir)?);
    let node = node_id(&data_dir, config.node_id)?;
    let listener_tls = ListenerTls::open(config.tls, &data_dir)?;
    let tls = listener_tls.server_config()?;
    let listener = net::bind(config.listen, "--listen").await?;
    let admin_listener = match config.admin_listen {
        Some(address) => Some(net::bind(address, "--admin-listen").await?),
        None => None,
    };
    let secrets_key = Arc::new(KeyPair::load_or_create(&data_dir, SECRETS_KEY_FILE)?);
    let store = Arc::new(ConfigStore::open_with(
        data_dir.path(),
        config.limits.rates,
        secrets_key.public_key(),
        sync::decode_with(secrets_key.clone()),
    )?);
    let link_key = LinkKey::load_or_create(&data_dir)?;
    let link_public_key = link_key.public().clone();
    let links = NodeLinks::new(node.clone(), link_key, store.clone());
    let spool: Arc<dyn Spool> = Arc::new(IntakeSpool::open(
        data_dir.path(),
        &IntakeSpoolConfig {
            store: SqliteSpoolConfig {
                max_bytes: config.limits.spool_max.bytes(),
                read_scope: ingest::read_scope,
                ..SqliteSpoolConfig::default()
            },
            skim_max: config.limits.intake_skim_max,
            ..IntakeSpoolConfig::default()
        },
    )?);
    let trust = TrustPolicy {
        trusted_origins: config.sns_trusted_origins.clone(),
    };
    for origin in &trust.trusted_origins {
        tracing::warn!(%origin, "messages signed by this origin are accepted as Amazon SNS's");
    }
    let egress_policy = EgressPolicy {
        allow: config.egress_allow.clone(),
        deny: config.egress_deny.clone(),
    };
    let certificates = Certificates::new(egress_policy.clone())?;
    let token = CurrentToken::default();
    let identity = identity_key(&data_dir, &config.control_plane)?;
    let client = match &identity {
        None => control_plane_client(&config.control_plane, config.control_plane.token.clone())?,
        Some(_) => {
            let token = TokenSource::Current(token.clone());
            control_plane_client(&config.control_plane, Some(token))?
        }
    };

    // Whatever makes records ends before the reports do.
    let work = shutdown.nested();
    let ingress = work.nested();
    let taking = shutdown.child();
    let retirement = Retirement::new(spool.clone(), taking.clone(), ingress.clone());
    let handler = Arc::new(Handler {
        ingest: Ingest {
            config: store.clone(),
            spool: spool.clone(),
            certificates: certificates.clone(),
            trust: trust.clone(),
            deduplication_window: config.deduplication_window,
            budget: Budget::default(),
        },
        bodies: Bodies::new(BodyLimits {
            max_bytes: config.limits.body_max_bytes,
            timeout: BODY_TIMEOUT,
            in_flight_max: config.limits.in_flight_max.get(),
            held_max_bytes: config.limits.bodies_max_bytes,
        }),
        shutdown: taking.clone(),
        metrics: RequestMetrics::default(),
    });
    let webhook_addr = listener.local_addr().map_err(StartError::Address)?;
    let stack = layer::stack(handler, config.limits.in_flight_max.get(), REQUEST_TIMEOUT);
    let limits = ServerConfigLimits {
        connections_max: config.limits.connections_max.get(),
        connections_per_address_max: config.limits.connections_per_address_max.get(),
        header_timeout: HEADER_TIMEOUT,
        idle_timeout: IDLE_TIMEOUT,
        end_timeout: END_TIMEOUT,
    };
    let acme = listener_tls.acme();
    listener_tls.watch(shutdown);
    ingress.spawn(server::run(
        listener,
        tls,
        limits,
        config.proxies.clone(),
        stack,
        ingress.clone(),
    ));

    // Whatever waits on the node's disk already runs behind what still wants to get there.
    let background = Background::start().map_err(StartError::Background)?;
    let metadata = Egress::new(metadata_policy(&egress_policy))?;
    let caller = NodeIdentity::from_env(config.aws_credentials, metadata, System::shared());
    let egress = Egress::new(egress_policy)?;
    let performer = Performers::new(&egress, caller.await, System::shared());
    let cancels = Arc::new(Cancels::default());
    let wakes = Arc::new(Wakes::default());
    let executions = ExecutionRuntime::new(
        spool.clone(),
        Arc::new(performer),
        &ExecutionConfig {
            concurrency_max: config.limits.executions_max,
            interruptions_max: config.limits.interruptions_max,
            limits: store.clone(),
            ambient: System::shared(),
            cancels: cancels.clone(),
            wakes: wakes.clone(),
            secrets: store.clone(),
            links: Some(Arc::new(links)),
            workflows: store.clone(),
            deduplication_window: config.deduplication_window,
        },
    );
    background.spawn(&work, Arc::new(executions).run(work.clone()));
    let confirmer = Confirmer {
        spool: spool.clone(),
        certificates,
        trust,
        policy: ConfirmPolicy::default(),
        ambient: System::shared(),
    };
    work.spawn(confirmer.run(work.clone()));
    if let Some(key) = identity {
        let identity = IdentityClient {
            node: node.clone(),
            key,
            enrollment: config.control_plane.enrollment.clone(),
            client: client.clone(),
            token,
            ambient: System::shared(),
        };
        shutdown.spawn(identity.run(shutdown.clone()));
    }
    let sync = SyncClient {
        node: node.clone(),
        client: client.clone(),
        config: store.clone(),
        spool: spool.clone(),
        deduplication_window: config.deduplication_window,
        cancels,
        wakes,
        key: secrets_key,
        taking,
        link_public_key,
    };
    shutdown.spawn(sync.run(shutdown.clone()));
    let report = ReportClient {
        node: node.clone(),
        client,
        spool: spool.clone(),
        keys: Some(store.clone()),
        ambient: System::shared(),
    };
    background.spawn(shutdown, report.run(work, shutdown.clone()));
    shutdown.spawn(gauge(spool.clone(), shutdown.clone()));

    let admin_addr = match admin_listener {
        Some(listener) => {
            let address = listener.local_addr().map_err(StartError::Address)?;
            let retiring = retirement.clone();
            let readiness = move || {
                let mut checks = checks(&store, spool.as_ref());
                checks.extend(retiring.check());
                checks.extend(acme.as_ref().map(|acme| acme.check()));
                checks
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
    tracing::info!(%node, webhooks = %webhook_addr, "the data plane is up");
    Ok(RunningNode {
        webhook_addr,
        admin_addr,
        node,
        retirement,
        _data_dir: data_dir,
        _background: background,
    })
}

/// What the node is known by, unless it has a token from elsewhere.
fn identity_key(
    data_dir: &DataDir,
    address: &ControlPlaneAddress,
) -> Result<Option<IdentityKey>, IdentityKeyError> {
    if address.token.is_some() {
        return Ok(None);
    }
    match address.enrollment {
        Some(_) => IdentityKey::load_or_create(data_dir).map(Some),
        None => IdentityKey::load(data_dir),
    }
}

fn control_plane_client(
    address: &ControlPlaneAddress,
    token: Option<TokenSource>,
) -> Result<Client, ClientConfigError> {
    let mut config = ClientConfig::new(address.endpoint.clone());
    config.token = token;
    config.ca_file = address.ca_file.clone();
    config.certificate = address.certificate.clone();
    config.traceparent = Some(context::current_traceparent);
    Client::new(config)
}

/// The node's id: made once, with its folder.
fn node_id(data_dir: &DataDir, wanted: Option<NodeId>) -> Result<NodeId, StartError> {
    let path = data_dir.join(NODE_ID_FILE);
    if let Some(bytes) = data_dir.read(NODE_ID_FILE)? {
        let text = String::from_utf8_lossy(&bytes).trim().to_owned();
        let found: NodeId = text.parse().map_err(|_| StartError::NodeId(path.clone()))?;
        return match wanted {
            Some(wanted) if wanted != found => Err(StartError::OtherNodeId {
                wanted,
                found,
                path,
            }),
            _ => Ok(found),
        };
    }
    let node = match wanted {
        Some(wanted) => wanted,
        None => format!("n{}", uuid::Uuid::now_v7().simple())
            .parse()
            .map_err(|_| StartError::NodeId(path))?,
    };
    data_dir.write_secret_file(NODE_ID_FILE, node.as_str().as_bytes())?;
    Ok(node)
}

fn checks(store: &ConfigStore, spool: &dyn Spool) -> Vec<Check> {
    let current = store.current();
    let synced = if current.is_synced() {
        Check::ok("synced", format!("revision {}", current.revision))
    } else {
        Check::failing("synced", "the control plane was not heard yet")
    };
    let stats = spool.stats();
    let writable = match spool.failure() {
        Some(failure) => Check::failing("spool", failure),
        None if stats.disk_full => Check::failing("spool", "the disk is full"),
        None if stats.used_bytes >= stats.max_bytes => Check::failing("spool", "full"),
        None => Check::ok(
            "spool",
            format!(
                "{} bytes, and {} of deduplication",
                stats.used_bytes, stats.remembered_bytes
            ),
        ),
    };
    vec![synced, writable]
}

/// Keeps the spool's gauges current.
async fn gauge(spool: Arc<dyn Spool>, shutdown: Shutdown) {
    let mut every = tokio::time::interval(Duration::from_secs(5));
    loop {
        tokio::select! {
            () = shutdown.stopping() => return,
            _ = every.tick() => {}
        }
        let stats = spool.stats();
        #[expect(clippy::cast_precision_loss, reason = "gauges are doubles")]
        for (name, value) in [
            (
                "signalbox_spool_unfinished_executions",
                stats.unfinished_executions as f64,
            ),
            (
                "signalbox_executions_parked",
                stats.parked_executions as f64,
            ),
            (
                "signalbox_spool_unreported_records",
                stats.unreported_records as f64,
            ),
            ("signalbox_spool_used_bytes", stats.used_bytes as f64),
            (
                "signalbox_spool_deduplication_bytes",
                stats.remembered_bytes as f64,
            ),
            ("signalbox_spool_max_bytes", stats.max_bytes as f64),
        ] {
            metrics::gauge!(name).set(value);
        }
    }
}
