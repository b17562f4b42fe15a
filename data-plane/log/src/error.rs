//! What can go wrong, each told apart by what it means for what was acknowledged.

use std::io;

use crate::format::{FORMAT_VERSION, LogId};

/// Records that were durable, and are not to be read any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Number of the segment.
    pub segment: u64,
    /// Where in its file the damage begins, in bytes.
    pub offset: u64,
    /// Where the next whole record begins.
    pub until: u64,
    /// First sequence that is lost.
    pub first_lost: u64,
    /// Sequence of the next whole record.
    pub next_whole: u64,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "records {} to {} in segment {:016x}, bytes {} to {}",
            self.first_lost,
            self.next_whole.saturating_sub(1),
            self.segment,
            self.offset,
            self.until
        )
    }
}

/// Why a log is not opened. Nothing was changed on the disk.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The disk.
    #[error("cannot {what}")]
    Io {
        /// What was done.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// Written by a later version.
    #[error(
        "the log was written by a newer version (format {found}; this one knows {FORMAT_VERSION})"
    )]
    NewerFormat {
        /// Version found.
        found: u32,
    },
    /// A segment's header does not check out.
    #[error("the header of segment file {file} is damaged")]
    Header {
        /// Its name.
        file: String,
    },
    /// Durable records are damaged.
    #[error("durable records are damaged: {0}")]
    Damaged(Damage),
    /// A segment between the first and the last that is needed is gone.
    #[error(
        "segment {missing:016x} of the log is missing; it held durable records from sequence {first_lost} on"
    )]
    Missing {
        /// Its number.
        missing: u64,
        /// First sequence that is lost.
        first_lost: u64,
    },
    /// The log ends before what its owner has seen of it.
    #[error("the log ends at sequence {end}, but records up to {seen} were durable")]
    Short {
        /// One past the last sequence found.
        end: u64,
        /// Last sequence that its owner has seen.
        seen: u64,
    },
    /// There is no segment at all, though there was a log.
    #[error("the folder holds no segment of log {expected}, which the store beside it belongs to")]
    Empty {
        /// The log that the owner knows.
        expected: LogId,
    },
    /// Another log than the one that its owner knows.
    #[error("the log is {found}, but the store beside it belongs to log {expected}")]
    OtherLog {
        /// Found.
        found: LogId,
        /// Expected.
        expected: LogId,
    },
}

impl OpenError {
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

/// Why a group was not committed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The disk is full. The group was dropped, what was committed before stands, and later groups may go well.
    #[error("the disk is full")]
    NoSpace,
    /// A record is larger than a segment. It was dropped.
    #[error("a record of {bytes} bytes does not fit into a segment")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// A write or a sync failed. What the kernel has done with the pages is unknown, and asking it again would answer a
    /// question that is not ours: nothing is written any more until the log is opened again.
    #[error("the disk failed: {0}")]
    Failed(String),
}

/// Why a record is not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The disk.
    #[error("the log cannot be read")]
    Io(#[from] io::Error),
    /// A durable record does not check out any more.
    #[error(
        "durable records are damaged from sequence {sequence} on, in segment {segment:016x} at byte {offset}"
    )]
    Damaged {
        /// Sequence expected.
        sequence: u64,
        /// Segment.
        segment: u64,
        /// Offset in its file.
        offset: u64,
    },
    /// The segment is gone.
    #[error("the segment with sequence {0} is gone")]
    Gone(u64),
}
