//! The arguments.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use secrecy::SecretString;
use signalbox_client::{Client, ClientConfig, TokenSource};
use signalbox_control_plane::auth::Role;
use signalbox_runtime::telemetry::TelemetryArgs;
use signalbox_sns::{TopicArn, TrustedOrigin};

use crate::{CliError, output::Format};

const AFTER_HELP: &str = "\
Ids may be short (stop-instance) or full resource names (projects/default/workflows/stop-instance).

Exit codes: 0 done, 1 refused or failed, 2 wrong command line, 64 wrong configuration, 65 wrong input, \
69 the control plane cannot be reached, 77 no permission.";

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

/// Arguments of every command.
#[derive(Clone, Debug, Args)]
pub struct Global {
    /// The control plane's gRPC endpoint.
    #[arg(
        long,
        global = true,
        env = "SIGNALBOX_ENDPOINT",
        default_value = "http://127.0.0.1:50051"
    )]
    pub endpoint: String,
    /// Token for it.
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
    pub project: String,
    /// PEM file of the authorities that the control plane's certificate may come from.
    #[arg(long, global = true, env = "SIGNALBOX_CA_FILE")]
    pub ca_file: Option<PathBuf>,
    /// How long a call may take, in seconds.
    #[arg(long, global = true, env = "SIGNALBOX_TIMEOUT_S", default_value_t = 30)]
    pub timeout_s: u64,
    /// Form of the output.
    #[arg(long, short, global = true, value_enum, default_value_t = Format::Table)]
    pub output: Format,
}

impl Global {
    /// A client of the control plane.
    pub(crate) fn client(&self) -> Result<Client, CliError> {
        let mut config = ClientConfig::new(self.endpoint.clone());
        config.token = self
            .token
            .clone()
            .map(TokenSource::Value)
            .or_else(|| self.token_file.clone().map(TokenSource::File));
        config.ca_file.clone_from(&self.ca_file);
        config.deadline = Duration::from_secs(self.timeout_s);
        Ok(Client::new(config)?)
    }

    /// `projects/{project}`.
    pub(crate) fn parent(&self) -> String {
        match self.project.strip_prefix("projects/") {
            Some(_) => self.project.clone(),
            None => format!("projects/{}", self.project),
        }
    }

    /// The resource name of an id that may be short.
    pub(crate) fn name(&self, collection: &str, id: &str) -> String {
        if id.contains('/') {
            id.to_owned()
        } else {
            format!("{}/{collection}/{id}", self.parent())
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
    /// Make tokens for the API.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Manage API keys: what webhook callers present.
    #[command(subcommand, visible_alias = "key")]
    Keys(KeysCommand),
    /// Manage workflows.
    #[command(subcommand, visible_alias = "workflow")]
    Workflows(WorkflowsCommand),
    /// Look at executions.
    #[command(subcommand, visible_alias = "execution")]
    Executions(ExecutionsCommand),
    /// Look at inbound messages and their verdicts: why didn't it run?
    #[command(subcommand, visible_alias = "delivery")]
    Deliveries(DeliveriesCommand),
    /// Look at Amazon SNS subscriptions.
    #[command(subcommand, visible_alias = "subscription")]
    Subscriptions(SubscriptionsCommand),
    /// Look at data planes.
    #[command(subcommand, visible_alias = "node")]
    Nodes(NodesCommand),
    /// Manage secrets.
    #[command(subcommand, visible_alias = "secret")]
    Secrets(SecretsCommand),
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

/// `token`.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token for --project ('*': all), where the signing key is; no control plane is asked.
    Create {
        /// The signing key: jwt-signing-key.pem in the control plane's data folder.
        #[arg(long, env = "SIGNALBOX_SIGNING_KEY")]
        signing_key: PathBuf,
        /// viewer, operator, editor, admin or data-plane.
        #[arg(long)]
        role: Role,
        /// Whom it stands for.
        #[arg(long, default_value = "operator")]
        subject: String,
        /// How long it counts: 15m, 1h, 30d.
        #[arg(long, default_value = "1h", value_parser = duration)]
        ttl: Duration,
    },
}

/// `keys`.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// Create a key; prints its value, once.
    Create {
        /// Its id.
        id: String,
        /// Name for people.
        #[arg(long, default_value = "")]
        display_name: String,
        /// When it stops working by itself: 2027-01-01T00:00:00Z.
        #[arg(long)]
        expires: Option<jiff::Timestamp>,
    },
    /// List keys.
    List,
    /// Show a key, without its value.
    Get {
        /// Which.
        id: String,
    },
    /// Show a key's value once more (audited).
    Reveal {
        /// Which.
        id: String,
    },
    /// Revoke a key for good.
    Revoke {
        /// Which.
        id: String,
    },
    /// Delete a key that no published workflow names.
    Delete {
        /// Which.
        id: String,
    },
}

/// `workflows`.
#[derive(Debug, Subcommand)]
pub enum WorkflowsCommand {
    /// Create or update a workflow from a file, and publish it.
    Apply {
        /// YAML or JSON; '-' reads standard input.
        #[arg(long, short)]
        file: PathBuf,
        /// Write a version without publishing it.
        #[arg(long)]
        no_publish: bool,
    },
    /// Check a file, offline: every problem at once.
    Validate {
        /// YAML or JSON; '-' reads standard input.
        #[arg(long, short)]
        file: PathBuf,
    },
    /// Show a workflow with its definition.
    Get {
        /// Which.
        id: String,
    },
    /// List workflows.
    List,
    /// List the versions of a workflow.
    Versions {
        /// Which.
        id: String,
    },
    /// Make a version the one that new executions run.
    Publish {
        /// Which.
        id: String,
        /// Which version; the latest unless given.
        #[arg(long, default_value_t = 0)]
        version: i64,
    },
    /// Stop accepting events; senders are told to try again.
    Disable {
        /// Which.
        id: String,
    },
    /// Accept events again.
    Enable {
        /// Which.
        id: String,
    },
    /// Delete a workflow; its executions stay.
    Delete {
        /// Which.
        id: String,
    },
    /// Start one execution by hand.
    Run {
        /// Which.
        id: String,
        /// JSON that steps read as event.json.
        #[arg(long, short, default_value = "null")]
        input: String,
        /// Wait for the end, showing each change.
        #[arg(long, short)]
        watch: bool,
    },
    /// Show the webhook's URL and how to subscribe it.
    Webhook {
        /// Which.
        id: String,
        /// Show one part of the kit only.
        #[arg(long, value_enum)]
        kit: Option<Kit>,
    },
}

/// Parts of the subscribe kit.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Kit {
    /// Steps in the Amazon SNS console.
    Console,
    /// AWS CLI.
    AwsCli,
    /// CloudFormation.
    Cloudformation,
    /// Terraform.
    Terraform,
}

/// `executions`.
#[derive(Debug, Subcommand)]
pub enum ExecutionsCommand {
    /// List executions, newest first.
    List {
        /// Such as: workflow == "hello" && state == "FAILED".
        #[arg(long, short, default_value = "")]
        filter: String,
        /// Show at most so many.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Show an execution with its steps.
    Get {
        /// Which.
        id: String,
    },
    /// Show an execution's event: the message as it was received, and its proof.
    Event {
        /// Which.
        id: String,
    },
    /// Follow one execution to its end, or all of a project.
    Watch {
        /// Which; all when not given.
        id: Option<String>,
        /// As in list.
        #[arg(long, short, default_value = "")]
        filter: String,
    },
}

/// `deliveries`.
#[derive(Debug, Subcommand)]
pub enum DeliveriesCommand {
    /// List deliveries, newest first.
    List {
        /// Of this workflow; of all when not given.
        workflow: Option<String>,
        /// Such as: verdict == "REJECTED".
        #[arg(long, short, default_value = "")]
        filter: String,
        /// Show at most so many.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
}

/// `subscriptions`.
#[derive(Debug, Subcommand)]
pub enum SubscriptionsCommand {
    /// List subscriptions.
    List {
        /// Of this workflow; of all when not given.
        workflow: Option<String>,
    },
}

/// `nodes`.
#[derive(Debug, Subcommand)]
pub enum NodesCommand {
    /// List data planes.
    List,
}

/// `secrets`.
#[derive(Debug, Subcommand)]
pub enum SecretsCommand {
    /// Create a secret; its value is read from standard input or a file.
    Create {
        /// Its id.
        id: String,
        /// File with the value; '-' reads standard input.
        #[arg(long, short, default_value = "-")]
        file: PathBuf,
    },
    /// List secrets, without values.
    List,
    /// Delete a secret.
    Delete {
        /// Which.
        id: String,
    },
}

/// `sns`.
#[derive(Debug, Subcommand)]
pub enum SnsCommand {
    /// Send messages as Amazon SNS would. The receiver needs --sns-trusted-origin with the origin that --serve names.
    Publish(Box<PublishArgs>),
}

/// `sns publish`.
#[derive(Debug, Args)]
pub struct PublishArgs {
    /// Where to post: the webhook's URL with ?x-api-key=… (or https://user:key@host/…).
    #[arg(long)]
    pub endpoint: String,
    /// Kind of message.
    #[arg(long = "type", value_enum, default_value_t = MessageKind::Notification)]
    pub kind: MessageKind,
    /// Topic that it claims to come from.
    #[arg(long, default_value = "arn:aws:sns:us-east-1:123456789012:simulated")]
    pub topic_arn: TopicArn,
    /// The message.
    #[arg(
        long,
        short,
        default_value = "Hello from a simulated Amazon SNS",
        conflicts_with = "message_file"
    )]
    pub message: String,
    /// File with the message; '-' reads standard input.
    #[arg(long)]
    pub message_file: Option<PathBuf>,
    /// Subject.
    #[arg(long)]
    pub subject: Option<String>,
    /// Attribute, name=value (String) or name:Type=value.
    #[arg(long = "attribute")]
    pub attributes: Vec<String>,
    /// 1 (RSA-SHA1) or 2 (RSA-SHA256).
    #[arg(long, default_value = "2")]
    pub signature_version: signalbox_sns::SignatureVersion,
    /// Id of the (first) message; random unless given.
    #[arg(long)]
    pub message_id: Option<String>,
    /// Spoil the signature.
    #[arg(long)]
    pub bad_signature: bool,
    /// Send each message so many times.
    #[arg(long, default_value_t = 1)]
    pub duplicate: u32,
    /// Send so many different messages.
    #[arg(long, default_value_t = 1)]
    pub count: u32,
    /// Where the signing certificate and SubscribeURL are served while this runs.
    #[arg(long, default_value = "127.0.0.1:4566")]
    pub serve: SocketAddr,
}

/// Kinds of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum MessageKind {
    /// A Notification.
    Notification,
    /// A SubscriptionConfirmation; waits until it is confirmed.
    Confirmation,
    /// An UnsubscribeConfirmation.
    Unsubscribe,
    /// A raw message, without envelope and signature.
    Raw,
}

fn duration(text: &str) -> Result<Duration, String> {
    let span: jiff::SignedDuration = text
        .parse()
        .or_else(|_| {
            // Days are no fixed time in general, but they are here.
            let days = text
                .strip_suffix('d')
                .and_then(|days| days.parse::<i64>().ok());
            days.map(|days| jiff::SignedDuration::from_hours(days * 24))
                .ok_or(())
        })
        .map_err(|()| "expected a duration such as 15m, 1h or 30d".to_owned())?;
    Duration::try_from(span).map_err(|_| "must not be negative".to_owned())
}
