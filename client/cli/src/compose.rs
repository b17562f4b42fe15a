//! Both planes in one process, on embedded storage.

use std::{net::SocketAddr, num::NonZeroUsize, path::PathBuf, time::Duration};

use ipnet::IpNet;
use signalbox_client::TokenSource;
use signalbox_control_plane::{
    app::Limits as Quotas,
    auth::{ALL_PROJECTS, Claims, NODE_TOKEN_TTL_DEFAULT, Role, Tokens},
    master_key::MasterKeySource,
    server::{self, ControlPlaneConfig, History, RunningControlPlane},
};
use signalbox_data_plane::{
    config::Rates,
    execution::{CredentialSource, INTERRUPTIONS_MAX_DEFAULT},
    node::{self, ControlPlaneAddress, Limits, NodeConfig, RunningNode},
    server::{BodyLimits, Proxies},
    spool::{IntakeSpoolConfig, SpoolMax},
};
use signalbox_runtime::{data_dir::DataDir, net, shutdown::Shutdown};
use signalbox_sns::TrustedOrigin;

use crate::CliError;

/// The node's token outlives any development session.
const NODE_TOKEN_TTL: Duration = Duration::from_secs(365 * 24 * 3600);
const DEDUPLICATION_WINDOW: Duration = Duration::from_secs(7 * 24 * 3600);
/// 1 GiB.
const SPOOL_MAX: SpoolMax = match SpoolMax::new(1024 * 1024 * 1024) {
    Ok(max) => max,
    Err(_) => SpoolMax::MIN,
};

/// How to compose.
#[derive(Clone, Debug)]
pub struct ComposeConfig {
    /// Folder of everything that is kept.
    pub data_dir: PathBuf,
    /// gRPC listener.
    pub grpc_listen: SocketAddr,
    /// Webhook listener.
    pub webhook_listen: SocketAddr,
    /// Where senders reach the webhooks; the listener's own address when not given.
    pub public_webhook_url: Option<String>,
    /// Origins accepted as SNS beside AWS.
    pub sns_trusted_origins: Vec<TrustedOrigin>,
}

/// Both planes, running.
#[derive(Debug)]
pub struct Composition {
    /// The control plane.
    pub control_plane: RunningControlPlane,
    /// The data plane.
    pub node: RunningNode,
    /// Where the API is: `http://…`.
    pub endpoint: String,
    /// Where webhooks are: `http://…`.
    pub webhook_url: String,
    /// The folder of both, held for its lock.
    pub data_dir: DataDir,
}

impl Composition {
    /// Starts both; their parts are tasks of `shutdown`.
    ///
    /// # Errors
    /// What keeps one of them from starting.
    pub async fn start(config: ComposeConfig, shutdown: &Shutdown) -> Result<Self, CliError> {
        // The data plane's port is known before the control plane starts, which answers with it.
        let webhook_listen = free(config.webhook_listen, "--webhook-listen").await?;
        let grpc_listen = free(config.grpc_listen, "--grpc-listen").await?;
        let webhook_url = config
            .public_webhook_url
            .clone()
            .unwrap_or_else(|| format!("http://{webhook_listen}"));
        let data_dir = DataDir::open(&config.data_dir).map_err(CliError::start)?;
        let control_plane = server::start(
            ControlPlaneConfig {
                listen: grpc_listen,
                admin_listen: None,
                data_dir: data_dir.join("control-plane"),
                database_url: None,
                oidc_config: None,
                node_token_ttl: NODE_TOKEN_TTL_DEFAULT,
                master_key: MasterKeySource::DataDir,
                public_webhook_url: webhook_url.clone(),
                public_url: Some(format!("http://{grpc_listen}")),
                reveal_enabled: true,
                deliveries_kept_max: signalbox_model::limits::DELIVERIES_KEPT_MAX,
                history: History::default(),
                quotas: Quotas::USUAL,
                tls: None,
                cors_origins: Vec::new(),
            },
            shutdown,
        )
        .await
        .map_err(CliError::start)?;
        let endpoint = format!("http://{}", control_plane.grpc_addr);
        let token = mint(
            &control_plane.tokens,
            "node",
            Role::DataPlane,
            NODE_TOKEN_TTL,
        )?;
        let node = node::start(
            NodeConfig {
                listen: webhook_listen,
                admin_listen: None,
                data_dir: data_dir.join("data-plane"),
                node_id: None,
                control_plane: ControlPlaneAddress {
                    endpoint: endpoint.clone(),
                    token: Some(TokenSource::value(token)),
                    enrollment: None,
                    ca_file: None,
                    certificate: None,
                },
                tls: None,
                sns_trusted_origins: config.sns_trusted_origins,
                // What a developer's steps call runs on the developer's machine.
                egress_allow: loopback(),
                egress_deny: Vec::new(),
                aws_credentials: CredentialSource::default(),
                deduplication_window: DEDUPLICATION_WINDOW,
                limits: limits(),
                proxies: Proxies::default(),
            },
            shutdown,
        )
        .await
        .map_err(CliError::start)?;
        Ok(Self {
            control_plane,
            node,
            endpoint,
            webhook_url,
            data_dir,
        })
    }

    /// A token for an operator of everything.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub fn admin_token(&self, ttl: Duration) -> Result<String, CliError> {
        mint(&self.control_plane.tokens, "admin", Role::Admin, ttl)
    }
}

fn mint(tokens: &Tokens, subject: &str, role: Role, ttl: Duration) -> Result<String, CliError> {
    Ok(tokens.mint(&Claims::new(subject, ALL_PROJECTS, role, ttl))?)
}

/// The address with a port that was free a moment ago; refuses one that is taken before anything is made. (The planes
/// bind by themselves, and would name flags of their own.)
async fn free(address: SocketAddr, flag: &str) -> Result<SocketAddr, CliError> {
    let listener = net::bind(address, flag).await.map_err(CliError::start)?;
    Ok(listener.local_addr()?)
}

fn loopback() -> Vec<IpNet> {
    ["127.0.0.0/8", "::1/128"]
        .iter()
        .filter_map(|net| net.parse().ok())
        .collect()
}

fn limits() -> Limits {
    let count = |n: usize| NonZeroUsize::new(n).unwrap_or(NonZeroUsize::MIN);
    Limits {
        body_max_bytes: 2 * 1024 * 1024,
        bodies_max_bytes: BodyLimits::HELD_MAX_BYTES,
        connections_max: count(1000),
        in_flight_max: count(256),
        executions_max: count(256),
        interruptions_max: INTERRUPTIONS_MAX_DEFAULT,
        spool_max: SPOOL_MAX,
        intake_skim_max: IntakeSpoolConfig::SKIM_MAX,
        connections_per_address_max: count(1000),
        rates: Rates::default(),
    }
}
