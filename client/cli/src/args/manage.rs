//! The commands that manage a control plane.

use std::{path::PathBuf, time::Duration};

use clap::{ArgGroup, Args, Subcommand, ValueEnum};
use signalbox_control_plane::auth::Role;
use signalbox_model::limits;
use signalbox_runtime::span;

/// What a number of a rate limit may be.
fn rate(text: &str) -> Result<i32, String> {
    let number = text.parse::<u32>().ok();
    number
        .filter(|number| (1..=limits::RATE_MAX).contains(number))
        .and_then(|number| i32::try_from(number).ok())
        .ok_or_else(|| format!("expected 1 to {}", limits::RATE_MAX))
}

/// A version of a workflow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// By its number.
    Number(i64),
    /// The published one.
    Latest,
}

fn version(text: &str) -> Result<Version, String> {
    if text == "latest" {
        return Ok(Version::Latest);
    }
    let number = text.parse().ok().filter(|number| *number > 0);
    let number = number.ok_or_else(|| "expected a version's number, or latest".to_owned())?;
    Ok(Version::Number(number))
}

/// `token`.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token for --project ('*': all), where the signing key is; no control plane is asked.
    #[command(visible_alias = "mint")]
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
        #[arg(long, default_value = "1h", value_parser = span::parse)]
        ttl: Duration,
    },
    /// Revoke a token of Signalbox's own: no call with it is answered any more. Needs an admin of all projects.
    #[command(group = ArgGroup::new("which").required(true))]
    Revoke {
        /// Its id, the claim jti.
        #[arg(group = "which")]
        id: Option<String>,
        /// File that holds the token; it is not sent.
        #[arg(long = "of-file", group = "which")]
        file: Option<PathBuf>,
        /// When it ends by itself (2027-01-01T00:00:00Z), with an id: it is forgotten then.
        #[arg(long, requires = "id", conflicts_with = "file")]
        expires: Option<jiff::Timestamp>,
        /// Why, for people.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// List the tokens that are revoked.
    ListRevoked,
    /// Make a new key that signs tokens; those before verify for the overlap. Needs an admin of all projects.
    RotateKey {
        /// How long tokens by the keys before go on counting: 12h, 30d.
        #[arg(long, default_value = "30d", value_parser = span::parse)]
        overlap: Duration,
        /// They stop counting at once, all of them, with the one of this call.
        #[arg(long, conflicts_with = "overlap")]
        now: bool,
    },
    /// List the keys that verify tokens, and those that did.
    ListKeys,
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
        /// Requests a second that each node takes with it; more are told to come again. The node's limit when not given.
        #[arg(long, value_parser = rate)]
        rate_limit: Option<i32>,
        /// Requests at once after a pause; as many as a second's when not given.
        #[arg(long, value_parser = rate, requires = "rate_limit")]
        burst: Option<i32>,
        /// Only for these workflows, which need not exist; for all of the project when not given. Several: by commas, or repeatedly.
        #[arg(long = "workflow", value_name = "WORKFLOW", value_delimiter = ',')]
        workflows: Vec<String>,
        /// Only from these networks, such as 203.0.113.0/24; from anywhere when not given. Several: by commas, or repeatedly.
        #[arg(long = "source-network", value_name = "CIDR", value_delimiter = ',')]
        source_networks: Vec<String>,
    },
    /// Change a key's display name, rate limit or scope.
    #[command(group = ArgGroup::new("change").required(true).multiple(true))]
    Update {
        /// Which.
        id: String,
        /// Name for people.
        #[arg(long, group = "change")]
        display_name: Option<String>,
        /// Requests a second that each node takes with it.
        #[arg(long, value_parser = rate, group = "change")]
        rate_limit: Option<i32>,
        /// Requests at once after a pause; as many as a second's when not given.
        #[arg(long, value_parser = rate, requires = "rate_limit")]
        burst: Option<i32>,
        /// Take its rate limit away: the node's counts.
        #[arg(long, group = "change", conflicts_with = "rate_limit")]
        no_rate_limit: bool,
        /// Only for these workflows from now on.
        #[arg(
            long = "workflow",
            value_name = "WORKFLOW",
            value_delimiter = ',',
            group = "change"
        )]
        workflows: Vec<String>,
        /// For all workflows of the project.
        #[arg(long, group = "change", conflicts_with = "workflows")]
        any_workflow: bool,
        /// Only from these networks from now on.
        #[arg(
            long = "source-network",
            value_name = "CIDR",
            value_delimiter = ',',
            group = "change"
        )]
        source_networks: Vec<String>,
        /// From anywhere.
        #[arg(long, group = "change", conflicts_with = "source_networks")]
        any_source: bool,
    },
    /// List keys.
    List {
        /// Those that are deleted and not purged yet, too.
        #[arg(long)]
        show_deleted: bool,
    },
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
    /// Give a key a new value; prints it, once. The one before goes on working for the overlap.
    Rotate {
        /// Which.
        id: String,
        /// How long the value before goes on working, 30d at most.
        #[arg(long, default_value = "24h", value_parser = span::parse)]
        overlap: Duration,
        /// The value before stops working at once, and so does one that still works from an earlier rotation.
        #[arg(long, conflicts_with = "overlap")]
        now: bool,
    },
    /// Revoke a key for good.
    Revoke {
        /// Which.
        id: String,
    },
    /// Delete a key that no published workflow names. It can be undeleted for a while (30 days, unless the control plane says so).
    Delete {
        /// Which.
        id: String,
        /// For good, at once: its id is free then. Also of one that is deleted already.
        #[arg(long)]
        purge: bool,
    },
    /// Bring a deleted key back, with its value.
    Undelete {
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
    /// Print the JSON Schema of workflow files, for editors.
    Schema,
    /// Show a workflow with its definition.
    Get {
        /// Which.
        id: String,
    },
    /// List workflows.
    List {
        /// Those that are deleted and not purged yet, too.
        #[arg(long)]
        show_deleted: bool,
    },
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
    /// Delete a workflow; its executions stay. It can be undeleted for a while (30 days, unless the control plane says so).
    Delete {
        /// Which.
        id: String,
        /// For good, at once: its id is free then. Also of one that is deleted already.
        #[arg(long)]
        purge: bool,
    },
    /// Bring a deleted workflow back as it was; a schedule goes on from now.
    Undelete {
        /// With no version published: what the published one names may be gone.
        #[arg(long)]
        unpublished: bool,
        /// Which.
        id: String,
    },
    /// Start one execution by hand.
    Run {
        /// Which.
        id: String,
        /// JSON that steps read as event.json; or name=value, once for each input that the trigger declares.
        #[arg(long, short, conflicts_with = "input_file")]
        input: Vec<String>,
        /// File with that JSON; '-' reads standard input.
        #[arg(long)]
        input_file: Option<PathBuf>,
        /// Wait for the end, showing each change.
        #[arg(long, short)]
        watch: bool,
    },
    /// Show the next runs of a workflow's schedule; of a file's, offline.
    #[command(group = ArgGroup::new("whose").required(true))]
    Next {
        /// Which.
        #[arg(group = "whose")]
        id: Option<String>,
        /// YAML or JSON; '-' reads standard input.
        #[arg(long, short, group = "whose")]
        file: Option<PathBuf>,
        /// How many.
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(i32).range(1..=1000))]
        count: i32,
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
    /// End an execution: no step begins any more but its finally steps.
    Cancel {
        /// Which.
        id: String,
        /// End it without its node, which is gone for good: no finally steps run, and nothing counts that the node may report of
        /// it later. Refused while the node is connected.
        #[arg(long)]
        force: bool,
    },
    /// Tell an execution a signal that a wait step of it waits for, or will.
    Signal {
        /// Which.
        id: String,
        /// Name of the signal, as the workflow has it.
        #[arg(long)]
        signal: String,
        /// JSON that comes with it.
        #[arg(long, short, default_value = "null", conflicts_with = "payload_file")]
        payload: String,
        /// File with that JSON; '-' reads standard input.
        #[arg(long)]
        payload_file: Option<PathBuf>,
        /// What tells a repeated request.
        #[command(flatten)]
        request: RequestArg,
    },
    /// Approve what an approval step of an execution asks. The first decision counts.
    Approve(DecisionArgs),
    /// Reject what an approval step of an execution asks. The first decision counts.
    Reject(DecisionArgs),
    /// Make links to approve and to reject, for someone without a token: whoever has one can use it.
    Links {
        /// Which execution.
        id: String,
        /// Whom they are for; it is kept of who decided.
        #[arg(long)]
        label: String,
        /// The run of the step. The one that waits when not given.
        #[arg(long)]
        step: Option<String>,
    },
    /// Run an execution that has ended again, as a new one, for the same event.
    Retry {
        /// Which.
        id: String,
        /// Only what failed and what did not run; the results of the rest are kept. The default.
        #[arg(long, conflicts_with = "whole")]
        from_failed: bool,
        /// All of it.
        #[arg(long)]
        whole: bool,
        /// Run this version, or 'latest', the published one, instead of the one that ran.
        #[arg(long, value_parser = version)]
        version: Option<Version>,
        /// Wait for the end, showing each change.
        #[arg(long)]
        follow: bool,
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

/// What an approval is decided by.
#[derive(Debug, Args)]
pub struct DecisionArgs {
    /// Which execution.
    pub id: String,
    /// The run of the step, as `executions get` shows it: ask, or ask[2] in a forEach. The one that waits when not given.
    #[arg(long)]
    pub step: Option<String>,
    /// Why; it is kept with the execution.
    #[arg(long, default_value = "")]
    pub comment: String,
    /// What tells a repeated request.
    #[command(flatten)]
    pub request: RequestArg,
}

/// What tells a repeated request from a new one.
#[derive(Debug, Args)]
pub struct RequestArg {
    /// UUID: a request that is sent again with the same one tells nothing new. A new one when not given.
    #[arg(long)]
    pub request_id: Option<uuid::Uuid>,
}

impl RequestArg {
    /// It.
    pub(crate) fn id(&self) -> String {
        let id = self.request_id.unwrap_or_else(uuid::Uuid::new_v4);
        id.to_string()
    }
}

/// `deliveries`.
#[derive(Debug, Subcommand)]
pub enum DeliveriesCommand {
    /// List deliveries, newest first.
    List {
        /// Of this workflow; of all when not given.
        workflow: Option<String>,
        /// Such as: verdict == "FILTERED". (Others: ACCEPTED, DUPLICATE, REJECTED.)
        #[arg(long, short, default_value = "")]
        filter: String,
        /// Only refused ones, with what they claim to be: the same as verdict == "REJECTED".
        #[arg(long)]
        rejected: bool,
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
    /// Make a token by which one data plane enrolls, once; prints its secret, once. Needs an admin of all projects.
    EnrollToken {
        /// The node that it is for: an id that is to be, or one that is, whose identity ends then. Any new one when not given.
        #[arg(long)]
        node: Option<String>,
        /// Name for people, which the node gets.
        #[arg(long, default_value = "")]
        display_name: String,
        /// How long it can be used: 15m, 1h, 7d at most.
        #[arg(long, default_value = "1h", value_parser = span::parse)]
        ttl: Duration,
    },
    /// List the tokens by which data planes enroll.
    ListEnrollTokens,
    /// Delete such a token: nobody enrolls by it any more.
    DeleteEnrollToken {
        /// Its id.
        id: String,
    },
    /// End a data plane's identity, and its tokens at once. Needs an admin of all projects.
    Revoke {
        /// Which.
        id: String,
    },
}

/// `secrets`.
#[derive(Debug, Subcommand)]
pub enum SecretsCommand {
    /// Create a secret; its value is read from standard input or a file, exactly as it is (a last line break included). It has
    /// 8 bytes to 64 KiB.
    Create {
        /// Its id.
        id: String,
        /// File with the value; '-' reads standard input.
        #[arg(long, short, default_value = "-")]
        file: PathBuf,
    },
    /// List secrets, without values.
    List,
    /// Write a new value, read as by create. Steps that begin from then on use it.
    Update {
        /// Which.
        id: String,
        /// File with the value; '-' reads standard input.
        #[arg(long, short, default_value = "-")]
        file: PathBuf,
    },
    /// Delete a secret that no published version of a workflow names.
    Delete {
        /// Which.
        id: String,
    },
}
