//! `audit`.

use clap::{Args, Subcommand};
use signalbox_model::audit::Head;

/// `audit`.
#[derive(Debug, Subcommand)]
pub enum AuditCommand {
    /// List entries, newest first.
    List {
        /// Whose.
        #[command(flatten)]
        whose: AuditScope,
        /// Such as: action == "RevealApiKey" && actor == "ann". (Others: resource, request_id, trace_id, time.)
        #[arg(long, short, default_value = "")]
        filter: String,
        /// Show at most so many.
        #[arg(long, default_value_t = 50)]
        limit: usize,
    },
    /// Compute the hash of every entry anew: that none was changed, taken out or put in. Prints the head, to be noted: the
    /// next time it tells whether the newest entries were cut off. Fails (1) with the first entry that is wrong.
    Verify {
        /// Whose.
        #[command(flatten)]
        whose: AuditScope,
        /// A head that was printed before, SEQUENCE:HASH: that entry must still be there, as it was. May be given repeatedly.
        #[arg(long)]
        head: Vec<Head>,
    },
}

/// Whose entries.
#[derive(Clone, Copy, Debug, Args)]
pub struct AuditScope {
    /// Those that belong to no project (rotations of the master key) instead of those of --project.
    #[arg(long)]
    pub installation: bool,
}
