//! The command line of `signalbox-control-plane`. Every flag has an environment variable.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand};
use secrecy::SecretString;
use signalbox_model::limits;
use signalbox_runtime::{span, telemetry::TelemetryArgs, tls::ServerFiles};

use crate::{
    app::Limits,
    auth::{NODE_TOKEN_TTL_MAX, NODE_TOKEN_TTL_MIN},
    master_key::{MasterKeySource, Rotation},
    server::{ControlPlaneConfig, History},
};

/// The master key, in base 64. No flag: a command line can be read by others.
const MASTER_KEY_VARIABLE: &str = "SIGNALBOX_CP_MASTER_KEY";
/// The one to rotate to.
const NEW_MASTER_KEY_VARIABLE: &str = "SIGNALBOX_CP_NEW_MASTER_KEY";

/// The Signalbox control plane: API keys, workflows and execution history over gRPC.
#[derive(Debug, Parser)]
#[command(version, name = "signalbox-control-plane", after_help = AFTER_HELP)]
pub struct Options {
    /// What to do; none: serve.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Where gRPC (and gRPC-web) is served.
    #[arg(long, env = "SIGNALBOX_CP_LISTEN", default_value = "127.0.0.1:50051")]
    pub listen: SocketAddr,
    /// Where /healthz, /readyz and /metrics are served.
    #[arg(
        long,
        env = "SIGNALBOX_CP_ADMIN_LISTEN",
        default_value = "127.0.0.1:9090"
    )]
    pub admin_listen: SocketAddr,
    /// Folder of the database, the master key and the signing key of tokens.
    #[arg(
        long,
        env = "SIGNALBOX_CP_DATA_DIR",
        default_value = "./signalbox-control-plane",
        global = true
    )]
    pub data_dir: PathBuf,
    /// Database instead of SQLite in the data folder: postgres://user:password@host/name.
    #[arg(
        long,
        env = "SIGNALBOX_CP_DATABASE_URL",
        hide_env_values = true,
        global = true
    )]
    pub database_url: Option<SecretString>,
    /// File of the master key, 32 bytes or their base 64, instead of the one in the data folder.
    #[arg(long, env = "SIGNALBOX_CP_MASTER_KEY_FILE", global = true)]
    pub master_key_file: Option<PathBuf>,
    /// Shell command that writes the master key, 32 bytes or their base 64: what unwraps it at a key management service. It is run
    /// once, at the start.
    #[arg(
        long,
        env = "SIGNALBOX_CP_MASTER_KEY_COMMAND",
        value_name = "COMMAND",
        conflicts_with = "master_key_file",
        global = true
    )]
    pub master_key_command: Option<String>,
    /// File of the OpenID Connect issuers whose tokens count, and as which roles: YAML or JSON (docs/operations.md).
    #[arg(long, env = "SIGNALBOX_CP_OIDC_CONFIG")]
    pub oidc_config: Option<PathBuf>,
    /// How long a token of an enrolled node counts: 1s to 24h. Nodes renew theirs when two thirds of it are over.
    #[arg(
        long,
        env = "SIGNALBOX_CP_NODE_TOKEN_TTL",
        default_value = "1h",
        value_parser = node_token_ttl
    )]
    pub node_token_ttl: Duration,
    /// Where senders reach the data plane; what GetWebhook answers with.
    #[arg(
        long,
        env = "SIGNALBOX_CP_PUBLIC_WEBHOOK_URL",
        default_value = "http://127.0.0.1:8080"
    )]
    pub public_webhook_url: String,
    /// Where people reach this listener: https://signalbox.example.com. Approval links lead there; none are made without it.
    #[arg(long, env = "SIGNALBOX_CP_PUBLIC_URL", value_parser = public_url)]
    pub public_url: Option<String>,
    /// Never show a key's value again after its creation.
    #[arg(long, env = "SIGNALBOX_CP_DISABLE_REVEAL")]
    pub disable_reveal: bool,
    /// Rejected deliveries that are kept for each workflow, and as many duplicates: the newest.
    #[arg(long, env = "SIGNALBOX_CP_DELIVERIES_KEPT_MAX", default_value_t = limits::DELIVERIES_KEPT_MAX)]
    pub deliveries_kept_max: u64,
    /// Size of an input or output of a step, in bytes of JSON, up to which it is recorded whole; of a larger one the beginning is
    /// shown.
    #[arg(
        long,
        env = "SIGNALBOX_CP_HISTORY_VALUE_MAX_BYTES",
        default_value_t = limits::HISTORY_VALUE_MAX_BYTES,
        value_parser = value_max_bytes
    )]
    pub history_value_max_bytes: usize,
    /// How long executions are kept after their end, and deliveries after they came, in projects that do not say: 12h, 30d.
    #[arg(
        long,
        env = "SIGNALBOX_CP_HISTORY_RETENTION",
        default_value = "30d",
        value_parser = retention
    )]
    pub history_retention: Duration,
    /// How long deleted keys and workflows can be undeleted; then they are removed for good: 12h, 30d.
    #[arg(
        long,
        env = "SIGNALBOX_CP_DELETED_RETENTION",
        default_value = "30d",
        value_parser = retention
    )]
    pub deleted_retention: Duration,
    /// What projects may have that do not say.
    #[command(flatten)]
    pub quotas: QuotaArgs,
    /// PEM file of the listener's certificate chain. It and those below are read anew when they change, and on SIGHUP.
    #[arg(long, env = "SIGNALBOX_CP_TLS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// PEM file of its private key.
    #[arg(long, env = "SIGNALBOX_CP_TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// PEM file of authorities: whoever connects to the listener must have a certificate by one of them (mutual TLS).
    #[arg(long, env = "SIGNALBOX_CP_TLS_CLIENT_CA", requires = "tls_cert")]
    pub tls_client_ca: Option<PathBuf>,
    /// Origin of a browser that may call by gRPC-web (https://console.example.com).
    #[arg(long, env = "SIGNALBOX_CP_CORS_ORIGIN", value_delimiter = ',')]
    pub cors_origin: Vec<http::HeaderValue>,
    /// How long calls under way may take after SIGTERM, in seconds.
    #[arg(long, env = "SIGNALBOX_CP_DRAIN_TIMEOUT_S", default_value_t = 10)]
    pub drain_timeout_s: u64,
    /// Logs and traces.
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
}

/// What a project may have, unless it says so itself (`signalbox projects update --quota-…`); 0: no limit.
#[derive(Clone, Copy, Debug, Args)]
pub struct QuotaArgs {
    /// Workflows that a project may have; 0: no limit.
    #[arg(
        long,
        env = "SIGNALBOX_CP_QUOTA_WORKFLOWS",
        default_value_t = limits::QUOTA_WORKFLOWS,
        value_parser = clap::value_parser!(i64).range(0..)
    )]
    pub quota_workflows: i64,
    /// API keys that a project may have, revoked ones too; 0: no limit.
    #[arg(
        long,
        env = "SIGNALBOX_CP_QUOTA_API_KEYS",
        default_value_t = limits::QUOTA_API_KEYS,
        value_parser = clap::value_parser!(i64).range(0..)
    )]
    pub quota_api_keys: i64,
    /// Requests with events a second that each node takes for a project; 0: no limit.
    #[arg(
        long,
        env = "SIGNALBOX_CP_QUOTA_EVENTS_PER_SECOND",
        default_value_t = 0,
        value_parser = clap::value_parser!(i64).range(0..=i64::from(limits::RATE_MAX))
    )]
    pub quota_events_per_second: i64,
    /// Size in bytes of the history of a project's executions, past which those that ended first are deleted; 0: no limit.
    #[arg(
        long,
        env = "SIGNALBOX_CP_QUOTA_HISTORY_BYTES",
        default_value_t = 0,
        value_parser = clap::value_parser!(i64).range(0..)
    )]
    pub quota_history_bytes: i64,
}

impl From<QuotaArgs> for Limits {
    fn from(given: QuotaArgs) -> Self {
        Self {
            workflows: given.quota_workflows,
            api_keys: given.quota_api_keys,
            events_per_second: given.quota_events_per_second,
            history_bytes: given.quota_history_bytes,
        }
    }
}

fn value_max_bytes(text: &str) -> Result<usize, String> {
    let bytes = text.parse::<usize>().ok();
    bytes
        .filter(|bytes| *bytes >= limits::HISTORY_VALUE_MAX_BYTES_MIN)
        .ok_or_else(|| {
            format!(
                "expected a number of bytes, at least {}",
                limits::HISTORY_VALUE_MAX_BYTES_MIN
            )
        })
}

/// How long something is kept.
fn retention(text: &str) -> Result<Duration, String> {
    let retention = span::parse(text)?;
    if !(limits::RETENTION_MIN..=limits::RETENTION_MAX).contains(&retention) {
        return Err("expected 1s to 36500d".to_owned());
    }
    Ok(retention)
}

/// How long nodes' tokens count.
fn node_token_ttl(text: &str) -> Result<Duration, String> {
    let ttl = span::parse(text)?;
    if !(NODE_TOKEN_TTL_MIN..=NODE_TOKEN_TTL_MAX).contains(&ttl) {
        return Err("expected 1s to 24h".to_owned());
    }
    Ok(ttl)
}

/// A URL that paths can be put to.
fn public_url(text: &str) -> Result<String, String> {
    let expected = || "expected a URL such as https://signalbox.example.com".to_owned();
    let uri: http::Uri = text.parse().map_err(|_| expected())?;
    let is_http = matches!(uri.scheme_str(), Some("http" | "https"));
    if !is_http || uri.host().is_none_or(str::is_empty) || uri.query().is_some() {
        return Err(expected());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// What to do instead of serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Encrypt every value (secrets, API keys) anew under another master key, in one transaction, while no control plane
    /// runs. The key in the data folder is replaced by a new one, unless another is named.
    RotateMasterKey(RotateArgs),
    /// Bring the database's schema up to date, as a start does too; once, however many replicas do it at once.
    Migrate(MigrateArgs),
    /// Copy the SQLite database into a new file, while the control plane runs or not.
    Backup(BackupArgs),
    /// Put a back-up into a data folder without a database. With --database-url, for a PostgreSQL database that pg_restore has
    /// put back: make it fit for the nodes.
    Restore(RestoreArgs),
    /// Take all that the SQLite database holds to an empty PostgreSQL database, while no control plane runs; counts and checksums
    /// of every table are verified. From then on the control plane starts with --database-url only.
    Move(MoveArgs),
}

/// `migrate`.
#[derive(Clone, Copy, Debug, Args)]
pub struct MigrateArgs {
    /// Only say what would be applied: exit code 1, if there is something.
    #[arg(long)]
    pub check: bool,
}

/// `backup`.
#[derive(Clone, Debug, Args)]
pub struct BackupArgs {
    /// The file to make.
    pub file: PathBuf,
}

/// `restore`.
#[derive(Clone, Debug, Args)]
pub struct RestoreArgs {
    /// The file that `backup` made.
    pub file: Option<PathBuf>,
}

/// `move`.
#[derive(Clone, Debug, Args)]
pub struct MoveArgs {
    /// The empty database: postgres://user:password@host/name.
    #[arg(
        long = "to",
        env = "SIGNALBOX_CP_MOVE_TO",
        hide_env_values = true,
        required = true
    )]
    pub to: SecretString,
}

/// `rotate-master-key`.
#[derive(Debug, Args)]
pub struct RotateArgs {
    /// File of the new master key, 32 bytes or their base 64. Start the control plane with it from then on.
    #[arg(long, env = "SIGNALBOX_CP_NEW_MASTER_KEY_FILE")]
    pub new_master_key_file: Option<PathBuf>,
    /// Shell command that writes the new master key.
    #[arg(
        long,
        env = "SIGNALBOX_CP_NEW_MASTER_KEY_COMMAND",
        value_name = "COMMAND",
        conflicts_with = "new_master_key_file"
    )]
    pub new_master_key_command: Option<String>,
}

/// A master key is in two places at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("both {flag} and {variable} are given: which is the master key?")]
pub struct TwoKeys {
    flag: &'static str,
    variable: &'static str,
}

const AFTER_HELP: &str = "\
The master key may also be in the environment variable SIGNALBOX_CP_MASTER_KEY, in base 64; for rotate-master-key the new \
one in SIGNALBOX_CP_NEW_MASTER_KEY.

Tokens are made by `signalbox token create --signing-key DATA_DIR/jwt-signing-key.pem`.

Several control planes may have one PostgreSQL database, each its own data folder, with the same master.key in \
it.

Exit codes: 0 stopped as asked, 2 wrong command line, 64 wrong configuration (a folder, a file, a port, the database), \
70 failed while running.";

impl Options {
    /// What a control plane needs of it.
    ///
    /// # Errors
    /// [`TwoKeys`].
    pub fn config(&self) -> Result<ControlPlaneConfig, TwoKeys> {
        Ok(ControlPlaneConfig {
            listen: self.listen,
            admin_listen: Some(self.admin_listen),
            data_dir: self.data_dir.clone(),
            database_url: self.database_url.clone(),
            oidc_config: self.oidc_config.clone(),
            node_token_ttl: self.node_token_ttl,
            master_key: self.master_key()?,
            public_webhook_url: self.public_webhook_url.clone(),
            public_url: self.public_url.clone(),
            reveal_enabled: !self.disable_reveal,
            deliveries_kept_max: self.deliveries_kept_max,
            history: History {
                value_max_bytes: self.history_value_max_bytes,
                retention: self.history_retention,
                deleted_retention: self.deleted_retention,
            },
            quotas: self.quotas.into(),
            tls: self.tls_files(),
            cors_origins: self.cors_origin.clone(),
        })
    }

    fn tls_files(&self) -> Option<ServerFiles> {
        let (cert, key) = self.tls_cert.clone().zip(self.tls_key.clone())?;
        let client_ca = self.tls_client_ca.clone();
        Some(ServerFiles {
            cert,
            key,
            client_ca,
        })
    }

    fn master_key(&self) -> Result<MasterKeySource, TwoKeys> {
        let flags = Flags {
            file: self.master_key_file.as_ref(),
            file_flag: "--master-key-file",
            command: self.master_key_command.as_ref(),
            command_flag: "--master-key-command",
        };
        let source = source(&flags, MASTER_KEY_VARIABLE)?;
        Ok(source.unwrap_or_default())
    }

    /// What `rotate-master-key` is to do.
    ///
    /// # Errors
    /// [`TwoKeys`].
    pub fn rotation(&self, arguments: &RotateArgs) -> Result<Rotation, TwoKeys> {
        let flags = Flags {
            file: arguments.new_master_key_file.as_ref(),
            file_flag: "--new-master-key-file",
            command: arguments.new_master_key_command.as_ref(),
            command_flag: "--new-master-key-command",
        };
        Ok(Rotation {
            data_dir: self.data_dir.clone(),
            database_url: self.database_url.clone(),
            from: self.master_key()?,
            to: source(&flags, NEW_MASTER_KEY_VARIABLE)?,
        })
    }
}

/// What the command line says of a master key: one of them, or nothing.
struct Flags<'a> {
    file: Option<&'a PathBuf>,
    file_flag: &'static str,
    command: Option<&'a String>,
    command_flag: &'static str,
}

fn source(flags: &Flags<'_>, variable: &'static str) -> Result<Option<MasterKeySource>, TwoKeys> {
    let value = std::env::var(variable)
        .ok()
        .filter(|value| !value.is_empty());
    let (flag, source) = match (flags.file, flags.command) {
        (Some(file), _) => (flags.file_flag, MasterKeySource::File(file.clone())),
        (None, Some(command)) => (
            flags.command_flag,
            MasterKeySource::Command(command.clone()),
        ),
        (None, None) => return Ok(value.map(|value| MasterKeySource::Value(value.into()))),
    };
    match value {
        Some(_) => Err(TwoKeys { flag, variable }),
        None => Ok(Some(source)),
    }
}
