//! What an operator does to the spool of a node that is stopped: look at it, hold it to what it promises, and go on without
//! what is lost. Blocks; the caller holds the data folder's lock.
//!
//! Looking changes nothing. What a start or a repair would do is tried on an [`Overlay`] of the log's folder, so that it is
//! told by the very code that does it.

mod repair;
mod survey;

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;
use signalbox_log::Overlay;

pub use repair::{Outcome, repair};
pub use survey::{
    Damaged, Pending, Problem, SegmentSurvey, Spare, StoreState, StoreSurvey, Survey, survey,
};

use super::{OpenError, intake::INTAKE_DIR, sqlite};

/// Why a spool cannot be looked at or repaired.
#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    /// There is no spool.
    #[error("{} holds no spool", .0.display())]
    NoSpool(PathBuf),
    /// A folder or file.
    #[error("{} cannot be used", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The log; of a repair: what no repair mends.
    #[error("the intake log in {} cannot be repaired", folder.display())]
    Log {
        /// Where.
        folder: PathBuf,
        /// Why.
        source: signalbox_log::OpenError,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] OpenError),
}

/// A record of the log, without what it carries.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Number of its segment.
    pub segment: u64,
    /// Where it begins in the file, in bytes.
    pub offset: u64,
    /// Its sequence.
    pub sequence: u64,
    /// Sequence of the first record of its commit group.
    pub group: u64,
    /// `accepted`, `definition`, `certificate`, `seal`, `mark`, `gap`, `unknown`.
    pub kind: &'static str,
    /// Size of its payload in bytes.
    pub bytes: u64,
    /// Of a gap: sequences that are given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
    /// Of an accepted event: the execution that it makes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub execution: Option<String>,
    /// Of an accepted event: the workflow that it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workflow: Option<String>,
    /// Of an accepted event: when it was received.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received_at: Option<Timestamp>,
    /// Why it cannot be read, when this version does not know how.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
}

/// The log's folder as it is; none when there is none.
fn overlay(dir: &Path) -> Result<Option<Overlay>, OperatorError> {
    let path = dir.join(INTAKE_DIR);
    match Overlay::open(&path) {
        Ok(overlay) => Ok(Some(overlay)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(OperatorError::Io { path, source }),
    }
}
