//! The command line of `signalbox-data-plane`. Every flag has an environment variable.

mod acme;

use std::{net::SocketAddr, num::NonZeroUsize, path::PathBuf, time::Duration};

use clap::{Parser, Subcommand};
use ipnet::IpNet;
use secrecy::SecretString;
use signalbox_client::{CertificateFiles, TokenSource};
use signalbox_model::{
    ids::NodeId,
    limits::{BODY_MAX_BYTES, RATE_MAX},
    rate_limit::RateLimit,
};
use signalbox_runtime::{telemetry::TelemetryArgs, tls::ServerFiles};
use signalbox_sns::TrustedOrigin;

use crate::{
    config::Rates,
    execution::{CredentialSource, INTERRUPTIONS_MAX_DEFAULT},
    identity::EnrollmentSource,
    node::{ControlPlaneAddress, Limits, NodeConfig, TlsSource},
    server::{BodyLimits, ForwardedHeader, Proxies},
    spool::{IntakeSpoolConfig, SpoolMax},
    spool_command::SpoolCommand,
};

pub use acme::{AcmeArgs, AcmeArgsError};

/// The Signalbox data plane: takes Amazon SNS webhooks, makes them durable, runs their workflows.
#[derive(Debug, Parser)]
#[command(version, name = "signalbox-data-plane", after_help = AFTER_HELP)]
pub struct Options {
    /// What to do; none: serve.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Where webhooks are taken.
    #[arg(long, env = "SIGNALBOX_DP_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Where /healthz, /readyz and /metrics are served.
    #[arg(
        long,
        env = "SIGNALBOX_DP_ADMIN_LISTEN",
        default_value = "127.0.0.1:9091"
    )]
    pub admin_listen: SocketAddr,
    /// Folder of the spool and the last known good configuration. It holds what is accepted and not yet reported.
    #[arg(
        long,
        env = "SIGNALBOX_DP_DATA_DIR",
        default_value = "./signalbox-data-plane",
        global = true
    )]
    pub data_dir: PathBuf,
    /// The control plane's gRPC endpoint. Several, with commas between, are its replicas: the node is at one of them, by chance,
    /// until that fails, then at the next.
    #[arg(
        long,
        env = "SIGNALBOX_DP_CONTROL_PLANE",
        default_value = "http://127.0.0.1:50051"
    )]
    pub control_plane: String,
    /// Token of role data-plane.
    #[arg(
        long,
        env = "SIGNALBOX_DP_TOKEN",
        hide_env_values = true,
        conflicts_with = "token_file"
    )]
    pub token: Option<SecretString>,
    /// File with a token of role data-plane; read anew at each connection.
    #[arg(long, env = "SIGNALBOX_DP_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// One-time token (`signalbox nodes enroll-token`) by which the node gets an identity of its own, whose tokens it renews itself.
    /// Needed once: with an identity in its data folder a node starts without, and one that is given is not used.
    #[arg(
        long,
        env = "SIGNALBOX_DP_ENROLLMENT_TOKEN",
        hide_env_values = true,
        conflicts_with_all = ["token", "token_file", "enrollment_token_file"]
    )]
    pub enrollment_token: Option<SecretString>,
    /// File with such a token.
    #[arg(
        long,
        env = "SIGNALBOX_DP_ENROLLMENT_TOKEN_FILE",
        conflicts_with_all = ["token", "token_file"]
    )]
    pub enrollment_token_file: Option<PathBuf>,
    /// Id of the node, for a new data folder; one that is there must have it. Without, a new folder gets one of its own.
    #[arg(long, env = "SIGNALBOX_DP_NODE_ID")]
    pub node_id: Option<NodeId>,
    /// PEM file of the authorities that the control plane's certificate may come from.
    #[arg(long, env = "SIGNALBOX_DP_CONTROL_PLANE_CA")]
    pub control_plane_ca: Option<PathBuf>,
    /// PEM file of the certificate chain that the node shows a control plane that demands one (mutual TLS). It and its key are read
    /// anew when they change.
    #[arg(
        long,
        env = "SIGNALBOX_DP_CONTROL_PLANE_CLIENT_CERT",
        requires = "control_plane_client_key"
    )]
    pub control_plane_client_cert: Option<PathBuf>,
    /// PEM file of its private key.
    #[arg(
        long,
        env = "SIGNALBOX_DP_CONTROL_PLANE_CLIENT_KEY",
        requires = "control_plane_client_cert"
    )]
    pub control_plane_client_key: Option<PathBuf>,
    /// PEM file of the webhook listener's certificate chain. Amazon SNS demands a publicly trusted one.
    #[arg(long, env = "SIGNALBOX_DP_TLS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// PEM file of its private key.
    #[arg(long, env = "SIGNALBOX_DP_TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// PEM file of authorities: whoever connects to the webhook listener must have a certificate by one of them (mutual TLS).
    /// Amazon SNS has none: for gateways, and senders of your own.
    #[arg(long, env = "SIGNALBOX_DP_TLS_CLIENT_CA", requires = "tls_cert")]
    pub tls_client_ca: Option<PathBuf>,
    /// Also accept an SNS served at this origin (http://127.0.0.1:4566). Whoever controls it can sign anything.
    #[arg(long, env = "SIGNALBOX_DP_SNS_TRUSTED_ORIGIN", value_delimiter = ',')]
    pub sns_trusted_origin: Vec<TrustedOrigin>,
    /// Network that may be reached although it is not public (127.0.0.0/8): by steps, and for an SNS endpoint of a VPC.
    #[arg(long, env = "SIGNALBOX_DP_EGRESS_ALLOW", value_delimiter = ',')]
    pub egress_allow: Vec<IpNet>,
    /// Network that is never reached, public or allowed (203.0.113.0/24): looked at when a name was resolved. By steps, and
    /// for certificates and confirmations of SNS.
    #[arg(long, env = "SIGNALBOX_DP_EGRESS_DENY", value_delimiter = ',')]
    pub egress_deny: Vec<IpNet>,
    /// Where the credentials come from that steps of the kind aws are signed with when they have none of their own. With all but
    /// the first, whoever may write workflows is who the machine is.
    #[arg(
        long,
        env = "SIGNALBOX_DP_AWS_CREDENTIALS",
        value_enum,
        default_value_t
    )]
    pub aws_credentials: CredentialSource,
    /// Copies of a message are recognised this long, in seconds; older messages are refused.
    #[arg(long, env = "SIGNALBOX_DP_DEDUPLICATION_WINDOW_S", default_value_t = 7 * 24 * 3600)]
    pub deduplication_window_s: u64,
    /// Size of a request's body, at most 4000000: of a larger one, what goes to the control plane (the body, and its text as JSON,
    /// which may be six times as long) would not fit into a message that it takes.
    #[arg(long, env = "SIGNALBOX_DP_BODY_MAX_BYTES", default_value_t = 2 * 1024 * 1024, value_parser = body_max)]
    pub body_max_bytes: usize,
    /// Size of all bodies together that are on their way in and not yet durable, at least 16000000; beyond it, and for one API key
    /// beyond a quarter of it, requests are answered 503. On its way, a body may be held up to four times.
    #[arg(long, env = "SIGNALBOX_DP_BODIES_MAX_BYTES", default_value_t = BodyLimits::HELD_MAX_BYTES, value_parser = bodies_max)]
    pub bodies_max_bytes: usize,
    /// Connections at once; beyond, the longest idle ones are closed for new ones.
    #[arg(long, env = "SIGNALBOX_DP_CONNECTIONS_MAX", default_value = "10000")]
    pub connections_max: NonZeroUsize,
    /// Requests under way at once; more are answered 503, and so are those whose bodies are still on their way beyond a quarter of
    /// it with one API key: it cannot keep all others out by sending slowly.
    #[arg(long, env = "SIGNALBOX_DP_IN_FLIGHT_MAX", default_value = "1024")]
    pub in_flight_max: NonZeroUsize,
    /// Executions under way at once; more wait in the spool.
    #[arg(long, env = "SIGNALBOX_DP_EXECUTIONS_MAX", default_value = "256")]
    pub executions_max: NonZeroUsize,
    /// Ends of the process in a row (killed, out of memory) while an execution is under way and gets nowhere: at so many it fails,
    /// since it may be what ends the process.
    #[arg(
        long,
        env = "SIGNALBOX_DP_INTERRUPTIONS_MAX",
        default_value_t = INTERRUPTIONS_MAX_DEFAULT,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub interruptions_max: u32,
    /// Size of the spool on disk beyond which webhooks are answered 503; at least 134217728 (128 MiB).
    #[arg(long, env = "SIGNALBOX_DP_SPOOL_MAX_BYTES", default_value_t = SpoolMax::DEFAULT)]
    pub spool_max_bytes: SpoolMax,
    /// Messages that are taken from the intake log 20 times a second although executions enough wait in the store: those of other
    /// workflows may stand behind them. 0: none, until some of these have ended.
    #[arg(long, env = "SIGNALBOX_DP_INTAKE_SKIM_MAX", default_value_t = IntakeSpoolConfig::SKIM_MAX)]
    pub intake_skim_max: usize,
    /// How long requests and steps under way, and reports of what they did, may take after SIGTERM, in seconds.
    #[arg(long, env = "SIGNALBOX_DP_DRAIN_TIMEOUT_S", default_value_t = 20)]
    pub drain_timeout_s: u64,
    /// Take no messages, end and report what is in the data folder, then end: with exit code 0 when nothing is left, so that the
    /// folder may go, or 1. SIGUSR1 makes a node that runs do so.
    #[arg(long, env = "SIGNALBOX_DP_RETIRE")]
    pub retire: bool,
    /// How long retiring may take, in seconds; what is left then is named.
    #[arg(long, env = "SIGNALBOX_DP_RETIRE_TIMEOUT_S", default_value_t = 3600)]
    pub retire_timeout_s: u64,
    /// Connections at once of one address (one /64 of IPv6) that is no proxy's; more are closed.
    #[arg(
        long,
        env = "SIGNALBOX_DP_CONNECTIONS_PER_ADDRESS_MAX",
        default_value = "1024"
    )]
    pub connections_per_address_max: NonZeroUsize,
    /// Requests a second for each workflow that sets no rateLimit itself, and as many at once; more are answered 503, or
    /// 429 at /webhook. 0: no limit.
    #[arg(long, env = "SIGNALBOX_DP_WORKFLOW_RATE_MAX", default_value = "0", value_parser = rate, hide_default_value = true)]
    pub workflow_rate_max: Rate,
    /// The same for each API key that has no rate limit itself.
    #[arg(long, env = "SIGNALBOX_DP_KEY_RATE_MAX", default_value = "0", value_parser = rate, hide_default_value = true)]
    pub key_rate_max: Rate,
    /// Network (10.0.0.0/8) whose connections begin with a PROXY protocol header, version 1 or 2, and are closed without.
    #[arg(long, env = "SIGNALBOX_DP_PROXY_PROTOCOL_FROM", value_delimiter = ',')]
    pub proxy_protocol_from: Vec<IpNet>,
    /// Network (10.0.0.0/8) of proxies whose Forwarded, X-Forwarded-For and X-Forwarded-Proto are believed.
    #[arg(long, env = "SIGNALBOX_DP_TRUSTED_PROXY", value_delimiter = ',')]
    pub trusted_proxy: Vec<IpNet>,
    /// Which header these proxies write themselves. Say it: most write one and pass the other on as the sender wrote it (AWS ALB
    /// writes X-Forwarded-For). With both, where they contradict each other, keys with source networks are refused.
    #[arg(
        long,
        env = "SIGNALBOX_DP_FORWARDED_HEADER",
        value_enum,
        default_value_t,
        requires = "trusted_proxy"
    )]
    pub forwarded_header: ForwardedHeader,
    /// Automatic certificates.
    #[command(flatten)]
    pub acme: AcmeArgs,
    /// Logs and traces.
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
}

/// A rate, or none.
#[derive(Clone, Copy, Debug)]
pub struct Rate(Option<RateLimit>);

fn rate(text: &str) -> Result<Rate, String> {
    if text == "0" {
        return Ok(Rate(None));
    }
    let number = text.parse::<i64>().ok();
    number
        .and_then(|number| RateLimit::new(number, 0).ok())
        .map(|limit| Rate(Some(limit)))
        .ok_or_else(|| format!("expected 1 to {RATE_MAX}, or 0: no limit"))
}

fn body_max(text: &str) -> Result<usize, String> {
    let bytes = text.parse().ok();
    bytes
        .filter(|bytes| (1..=BODY_MAX_BYTES).contains(bytes))
        .ok_or_else(|| format!("expected 1 to {BODY_MAX_BYTES} bytes"))
}

fn bodies_max(text: &str) -> Result<usize, String> {
    let least = BodyLimits::HELD_MAX_BYTES_MIN;
    let bytes = text.parse().ok();
    bytes
        .filter(|bytes| *bytes >= least)
        .ok_or_else(|| format!("expected {least} bytes or more: four of the largest body"))
}

/// What to do instead of serving.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Look at, check or repair the spool of a node that is stopped.
    Spool(SpoolCommand),
}

const AFTER_HELP: &str = "\
Exit codes: 0 stopped as asked, or retired, 1 not retired: something is left, 2 wrong command line, 64 wrong configuration (a folder, a file, a port, a spool that is \
not as it was left), 70 failed while running. Of `spool`: 0 whole or mended, 1 damaged, 64 no spool, or in use.";

impl Options {
    fn enrollment(&self) -> Option<EnrollmentSource> {
        let file = self.enrollment_token_file.clone();
        let value = self.enrollment_token.clone();
        value
            .map(EnrollmentSource::Value)
            .or_else(|| file.map(EnrollmentSource::File))
    }

    /// What a node needs of it.
    ///
    /// # Errors
    /// Flags that do not go together.
    pub fn node_config(&self) -> Result<NodeConfig, AcmeArgsError> {
        let files = self.tls_cert.clone().zip(self.tls_key.clone());
        let acme = self.acme.config(files.is_some())?;
        let files = files.map(|(cert, key)| {
            TlsSource::Files(ServerFiles {
                cert,
                key,
                client_ca: self.tls_client_ca.clone(),
            })
        });
        let token = self
            .token
            .clone()
            .map(TokenSource::Value)
            .or_else(|| self.token_file.clone().map(TokenSource::File));
        let certificate = self
            .control_plane_client_cert
            .clone()
            .zip(self.control_plane_client_key.clone());
        Ok(NodeConfig {
            listen: self.listen,
            admin_listen: Some(self.admin_listen),
            data_dir: self.data_dir.clone(),
            node_id: self.node_id.clone(),
            control_plane: ControlPlaneAddress {
                endpoint: self.control_plane.clone(),
                token,
                enrollment: self.enrollment(),
                ca_file: self.control_plane_ca.clone(),
                certificate: certificate.map(|(cert, key)| CertificateFiles { cert, key }),
            },
            tls: files.or(acme.map(TlsSource::Acme)),
            sns_trusted_origins: self.sns_trusted_origin.clone(),
            egress_allow: self.egress_allow.clone(),
            egress_deny: self.egress_deny.clone(),
            aws_credentials: self.aws_credentials,
            deduplication_window: Duration::from_secs(self.deduplication_window_s),
            limits: Limits {
                body_max_bytes: self.body_max_bytes,
                bodies_max_bytes: self.bodies_max_bytes,
                connections_max: self.connections_max,
                in_flight_max: self.in_flight_max,
                executions_max: self.executions_max,
                interruptions_max: self.interruptions_max,
                spool_max: self.spool_max_bytes,
                intake_skim_max: self.intake_skim_max,
                connections_per_address_max: self.connections_per_address_max,
                rates: Rates {
                    workflow_max: self.workflow_rate_max.0,
                    key_max: self.key_rate_max.0,
                },
            },
            proxies: Proxies {
                proxy_protocol: self.proxy_protocol_from.clone().into(),
                trusted: self.trusted_proxy.clone().into(),
                header: self.forwarded_header,
            },
        })
    }
}
