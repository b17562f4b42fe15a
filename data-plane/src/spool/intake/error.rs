//! Why a spool is not opened.

use crate::spool::sqlite;

/// Why a spool cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store.
    #[error(transparent)]
    Store(#[from] sqlite::OpenError),
    /// The log's folder.
    #[error("the intake log's folder cannot be opened")]
    Folder(#[source] std::io::Error),
    /// The log. What is damaged or missing is only gone on without when someone says so.
    #[error("the intake log in {folder} {}", state(source))]
    Log {
        /// Where.
        folder: String,
        /// What is wrong.
        source: signalbox_log::OpenError,
    },
    /// The store is new, or was made before the log: it cannot say what it has taken of it.
    #[error(
        "the intake log in {folder} holds records, but the store that it belongs to is gone (`signalbox-data-plane spool verify` shows it, `spool repair` goes on without what is lost)"
    )]
    StoreLost {
        /// Where.
        folder: String,
    },
    /// Reading the log or the store failed.
    #[error("{0}")]
    Read(String),
    /// A thread did not start.
    #[error("the spool's thread cannot be started")]
    Thread(#[source] std::io::Error),
}

/// What is to be said of a log that is not opened, before the reason. A disk that fails, or is full, or does not let the node
/// in says nothing about what is on it.
fn state(why: &signalbox_log::OpenError) -> &'static str {
    match why {
        signalbox_log::OpenError::Io { .. } => "cannot be opened",
        signalbox_log::OpenError::NewerFormat { .. } => "is not for this version",
        _ => {
            "is not as it was left (`signalbox-data-plane spool verify` shows it, `spool repair` goes on without what is lost)"
        }
    }
}
