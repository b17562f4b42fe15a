//! `projects`.

use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};
use signalbox_runtime::span;

/// `projects`.
#[derive(Debug, Subcommand)]
pub enum ProjectsCommand {
    /// Create a project. Needs an admin of all projects.
    Create {
        /// Its id.
        id: String,
        /// Name for people.
        #[arg(long, default_value = "")]
        display_name: String,
        /// How long executions are kept after their end, and deliveries after they came: 12h, 30d.
        #[arg(long, value_parser = span::parse)]
        history_retention: Option<Duration>,
        /// How much it may have.
        #[command(flatten)]
        quotas: QuotaArgs,
    },
    /// List the projects in which the token has a role.
    List {
        /// Such as: labels.team == "a".
        #[arg(long, short, default_value = "")]
        filter: String,
    },
    /// Show a project: what it has, and how much it may have.
    Get {
        /// Which; that of --project when not given.
        id: Option<String>,
    },
    /// Change a project. Quotas need an admin of all projects.
    #[command(group = ArgGroup::new("change").required(true).multiple(true).args([
        "display_name", "history_retention", "no_history_retention", "quota_workflows", "quota_api_keys",
        "quota_events_per_second", "quota_history_bytes",
    ]))]
    Update {
        /// Which; that of --project when not given.
        id: Option<String>,
        /// Name for people.
        #[arg(long)]
        display_name: Option<String>,
        /// How long executions are kept after their end, and deliveries after they came: 12h, 30d.
        #[arg(long, value_parser = span::parse, conflicts_with = "no_history_retention")]
        history_retention: Option<Duration>,
        /// As long as the control plane says.
        #[arg(long)]
        no_history_retention: bool,
        /// How much it may have.
        #[command(flatten)]
        quotas: QuotaArgs,
    },
    /// Delete a project that has no workflows, keys or secrets; its history goes in the background. Needs an admin of all
    /// projects.
    Delete {
        /// Which.
        id: String,
        /// Delete its workflows, keys and secrets, too; executions under way are cancelled.
        #[arg(long)]
        force: bool,
    },
}

/// How much a project may have.
#[derive(Clone, Copy, Debug, Args)]
pub struct QuotaArgs {
    /// Workflows that it may have; 0: no limit; default: what the control plane says.
    #[arg(long, value_name = "COUNT", value_parser = quota)]
    pub quota_workflows: Option<Quota>,
    /// API keys, likewise.
    #[arg(long, value_name = "COUNT", value_parser = quota)]
    pub quota_api_keys: Option<Quota>,
    /// Requests with events a second that each node takes for it, likewise.
    #[arg(long, value_name = "COUNT", value_parser = quota)]
    pub quota_events_per_second: Option<Quota>,
    /// Size of its history in bytes, past which the executions that ended first are deleted, likewise.
    #[arg(long, value_name = "BYTES", value_parser = quota)]
    pub quota_history_bytes: Option<Quota>,
}

/// A quota; none: what the control plane says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota(pub Option<i64>);

fn quota(text: &str) -> Result<Quota, String> {
    if text == "default" {
        return Ok(Quota(None));
    }
    let number = text.parse().ok().filter(|number| *number >= 0);
    let number = number.ok_or("expected a number, at least 0, or default")?;
    Ok(Quota(Some(number)))
}
