//! The command line of `signalbox-control-plane`. Every flag has an environment variable.

use std::{net::SocketAddr, path::PathBuf};

use clap::Parser;
use secrecy::SecretString;
use signalbox_model::limits;
use signalbox_runtime::telemetry::TelemetryArgs;

use crate::server::ControlPlaneConfig;

/// The Signalbox control plane: API keys, workflows and execution history over gRPC.
#[derive(Debug, Parser)]
#[command(version, name = "signalbox-control-plane", after_help = AFTER_HELP)]
pub struct Options {
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
        default_value = "./signalbox-control-plane"
    )]
    pub data_dir: PathBuf,
    /// Database instead of SQLite in the data folder: postgres://user:password@host/name.
    #[arg(long, env = "SIGNALBOX_CP_DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<SecretString>,
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
    /// PEM file of the listener's certificate chain.
    #[arg(long, env = "SIGNALBOX_CP_TLS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// PEM file of its private key.
    #[arg(long, env = "SIGNALBOX_CP_TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
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

const AFTER_HELP: &str = "\
Tokens are made by `signalbox token create --signing-key DATA_DIR/jwt-signing-key.pem`.

Exit codes: 0 stopped as asked, 2 wrong command line, 64 wrong configuration (a folder, a file, a port, the database), \
70 failed while running.";

impl Options {
    /// What a control plane needs of it.
    #[must_use]
    pub fn config(&self) -> ControlPlaneConfig {
        ControlPlaneConfig {
            listen: self.listen,
            admin_listen: Some(self.admin_listen),
            data_dir: self.data_dir.clone(),
            database_url: self.database_url.clone(),
            public_webhook_url: self.public_webhook_url.clone(),
            public_url: self.public_url.clone(),
            reveal_enabled: !self.disable_reveal,
            deliveries_kept_max: self.deliveries_kept_max,
            tls: self.tls_cert.clone().zip(self.tls_key.clone()),
            cors_origins: self.cors_origin.clone(),
        }
    }
}
