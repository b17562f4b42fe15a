//! The arguments.

mod apply;
mod audit;
mod manage;
mod projects;
mod sns;

use std::{ffi::OsString, net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use clap::{
    Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, parser::ValueSource,
};
use clap_complete::Shell;
use secrecy::{ExposeSecret as _, SecretString};
use signalbox_client::{CertificateFiles, Client, ClientConfig, TokenSource};
use signalbox_control_plane::auth::ALL_PROJECTS;
use signalbox_model::ids::{IdError, ProjectId};
use signalbox_runtime::{span, telemetry::TelemetryArgs};
use signalbox_sns::TrustedOrigin;

pub use self::{apply::*, audit::*, manage::*, projects::*, sns::*};
use crate::{CliError, output::Format};

const AFTER_HELP: &str = "\
Ids may be short (stop-instance) or full resource names (projects/default/workflows/stop-instance).

Exit codes:
  0   done
  1   refused or failed
  2   wrong command line; of apply --dry-run also: there is something to do
  64  wrong configuration (a port, a folder, a key file)
  65  wrong input (a file, a definition, an argument that the control plane refuses)
  69  the control plane cannot be reached, or did not answer in time
  70  a fault of signalbox
  77  no permission (the token: missing, expired, too low a role)";

/// Signalbox: Amazon SNS webhooks in, durable workflow executions out.
#[derive(Debug, Parser)]
#[command(version, name = "signalbox", after_help = AFTER_HELP)]
pub struct Cli {
    /// For every command.
    #[command(flatten)]
    pub global: Global,
    /// Which command.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Parses a command line.
    ///
    /// # Errors
    /// What is wrong with it, or the help that it asks for.
    pub fn parse_from_args<I, T>(arguments: I) -> Result<Self, clap::Error>
    where
        I: IntoIterator<Item = T>,
        T: Into<OsString> + Clone,
    {
        let matches = Self::command().try_get_matches_from(arguments)?;
        let mut cli = Self::from_arg_matches(&matches)?;
        let global = &mut cli.global;
        // What was typed goes before what the environment says.
        let source = |id| matches.value_source(id);
        match (source("token"), source("token_file")) {
            (Some(ValueSource::EnvVariable), Some(ValueSource::CommandLine)) => global.token = None,
            (Some(ValueSource::CommandLine), Some(ValueSource::CommandLine)) => {
                return Err(Self::command().error(
                    clap::error::ErrorKind::ArgumentConflict,
                    "--token and --token-file cannot be used together",
                ));
            }
            _ => {}
        }
        Ok(cli)
    }
}

/// Arguments of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "For every command")]
pub struct Global {
    /// The control plane's gRPC endpoint; several, with commas between, where it has replicas.
    #[arg(
        long,
        global = true,
        env = "SIGNALBOX_ENDPOINT",
        default_value = "http://127.0.0.1:50051"
    )]
    pub endpoint: String,
    /// Token for it. On the command line other users of this machine can see it: prefer the variable, or --token-file.
    #[arg(long, global = true, env = "SIGNALBOX_TOKEN", hide_env_values = true)]
    pub token: Option<SecretString>,
    /// File with a token for it.
    #[arg(long, global = true, env = "SIGNALBOX_TOKEN_FILE")]
    pub token_file: Option<PathBuf>,
    /// Project of short ids.
    #[arg(
        long,
        global = true,
        env = "SIGNALBOX_PROJECT",
        default_value = "default"
    )]
    pub project: ProjectArg,
    /// PEM file of the authorities that the control plane's certificate may come from.
    #[arg(long, global = true, env = "SIGNALBOX_CA_FILE")]
    pub ca_file: Option<PathBuf>,
    /// PEM file of a certificate chain to show a control plane that demands one (mutual TLS).
    #[arg(long, global = true, env = "SIGNALBOX_CLIENT_CERT")]
    pub client_cert: Option<PathBuf>,
    /// PEM file of its private key.
    #[arg(long, global = true, env = "SIGNALBOX_CLIENT_KEY")]
    pub client_key: Option<PathBuf>,
    /// How long a call may take: 500ms, 30s, 2m.
    #[arg(long, global = true, env = "SIGNALBOX_TIMEOUT", default_value = "30s", value_parser = span::parse)]
    pub timeout: Duration,
    /// Form of the output.
    #[arg(long, short, global = true, value_enum, default_value_t = Format::Table)]
    pub output: Format,
}

/// `--project`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProjectArg {
    /// `*`: all, which only a token can be for.
    All,
    /// One: its id, or `projects/{id}`.
    One(ProjectId),
}

impl ProjectArg {
    /// The project, when it is one.
    pub(crate) fn one(&self) -> Option<ProjectId> {
        match self {
            Self::All => None,
            Self::One(project) => Some(project.clone()),
        }
    }
}

impl FromStr for ProjectArg {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        if text == ALL_PROJECTS {
            return Ok(Self::All);
        }
        let id = text.strip_prefix("projects/").unwrap_or(text);
        id.parse().map(Self::One)
    }
}

impl Global {
    /// A client of the control plane.
    pub(crate) fn client(&self) -> Result<Client, CliError> {
        let mut config = ClientConfig::new(self.endpoint.clone());
        // An empty variable is one that is not set.
        let token = self
            .token
            .as_ref()
            .filter(|token| !token.expose_secret().is_empty());
        config.token = token
            .cloned()
            .map(TokenSource::Value)
            .or_else(|| self.token_file.clone().map(TokenSource::File));
        config.ca_file.clone_from(&self.ca_file);
        config.certificate = match (&self.client_cert, &self.client_key) {
            (Some(cert), Some(key)) => Some(CertificateFiles {
                cert: cert.clone(),
                key: key.clone(),
            }),
            (None, None) => None,
            _ => {
                return Err(CliError::Usage(
                    "--client-cert and --client-key need each other".to_owned(),
                ));
            }
        };
        config.deadline = self.timeout;
        Ok(Client::new(config)?)
    }

    /// The one project.
    pub(crate) fn project(&self) -> Result<&ProjectId, CliError> {
        match &self.project {
            ProjectArg::One(project) => Ok(project),
            ProjectArg::All => Err(CliError::Usage(
                "--project '*' is for token create; this command needs one project".to_owned(),
            )),
        }
    }

    /// `projects/{project}`.
    pub(crate) fn parent(&self) -> Result<String, CliError> {
        Ok(format!("projects/{}", self.project()?))
    }

    /// The resource name of an id that may be short.
    pub(crate) fn name(&self, collection: &str, id: &str) -> Result<String, CliError> {
        if id.contains('/') {
            Ok(id.to_owned())
        } else {
            Ok(format!("{}/{collection}/{id}", self.parent()?))
        }
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Walk the whole journey, from key to executed message, in one process and a temporary folder.
    Demo(DemoArgs),
    /// Run both planes in one process, for development.
    Dev(DevArgs),
    /// Make tokens for the API, revoke them, rotate the keys that sign them.
    #[command(subcommand, visible_alias = "tokens")]
    Token(TokenCommand),
    /// Manage API keys: what webhook callers present.
    #[command(subcommand, visible_alias = "key")]
    Keys(KeysCommand),
    /// Manage workflows.
    #[command(subcommand, visible_alias = "workflow")]
    Workflows(WorkflowsCommand),
    /// Make keys and workflows be what files say: what is to be done is shown, then done.
    Apply(ApplyArgs),
    /// Write keys and workflows as files for apply.
    Export(ExportArgs),
    /// Look at executions.
    #[command(subcommand, visible_alias = "execution")]
    Executions(ExecutionsCommand),
    /// Look at inbound messages and their verdicts: why didn't it run?
    #[command(subcommand, visible_alias = "delivery")]
    Deliveries(DeliveriesCommand),
    /// Look at Amazon SNS subscriptions.
    #[command(subcommand, visible_alias = "subscription")]
    Subscriptions(SubscriptionsCommand),
    /// Look at data planes, say which may be one.
    #[command(subcommand, visible_alias = "node")]
    Nodes(NodesCommand),
    /// Manage secrets.
    #[command(subcommand, visible_alias = "secret")]
    Secrets(SecretsCommand),
    /// Manage projects: what each may have, and how long its history is kept.
    #[command(subcommand, visible_alias = "project")]
    Projects(ProjectsCommand),
    /// Look at who did what, and verify that nobody changed it.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Play Amazon SNS against an endpoint.
    #[command(subcommand)]
    Sns(SnsCommand),
    /// Print the completions of a shell.
    Completions {
        /// Which.
        shell: Shell,
    },
}

/// The completions of `shell`.
pub(crate) fn completions(shell: Shell) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "signalbox", &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// `demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Logs and traces. Logs are off unless asked for.
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
}

/// `dev`.
#[derive(Debug, Args)]
pub struct DevArgs {
    /// Folder of everything that is kept.
    #[arg(long, env = "SIGNALBOX_DATA_DIR", default_value = "./signalbox-data")]
    pub data_dir: PathBuf,
    /// Where gRPC is served.
    #[arg(long, default_value = "127.0.0.1:50051")]
    pub grpc_listen: SocketAddr,
    /// Where webhooks are taken.
    #[arg(long, default_value = "127.0.0.1:8080")]
    pub webhook_listen: SocketAddr,
    /// Where senders reach the webhooks, when that is elsewhere (https://hooks.example.com).
    #[arg(long, env = "SIGNALBOX_PUBLIC_WEBHOOK_URL")]
    pub public_webhook_url: Option<String>,
    /// Also accept an SNS served at this origin (http://127.0.0.1:4566). Whoever controls it can sign anything.
    #[arg(long)]
    pub sns_trusted_origin: Vec<TrustedOrigin>,
    /// Logs and traces.
    #[command(flatten)]
    pub telemetry: TelemetryArgs,
}
