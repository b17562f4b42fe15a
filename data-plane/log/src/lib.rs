//! A log of records in preallocated segment files: what [`Writer::commit`] has answered `Ok` to survives power loss.
//!
//! It knows bytes, not what they mean. One [`Writer`] stages records and commits them as a group with one `fdatasync`; a
//! [`Reader`] follows it; [`Log::retire`] frees what its owner has taken further. There is no thread and no clock in it, and
//! every file goes through [`Storage`], so that a simulated disk can stand in for the real one. The format is written down
//! in `docs/intake-log.md`.

mod check;
mod error;
mod format;
mod log;
mod mend;
mod overlay;
mod reader;
mod repair;
mod scan;
#[cfg(feature = "simulator")]
pub mod simulator;
mod storage;
mod walk;
mod writer;

pub use error::{CommitError, Damage, OpenError, ReadError};
pub use format::{
    FORMAT_VERSION, LogId, RECORD_HEADER_BYTES, RecordKind, SEGMENT_HEADER_BYTES, SegmentHeader,
    decode_record_header,
};
pub use log::{Log, LogConfig, Opened};
pub use mend::Repaired;
pub use overlay::Overlay;
pub use reader::{Reader, Record};
pub use repair::{SegmentReport, inspect, repair};
pub use storage::{FileStorage, SegmentFile, Storage, free_bytes};
pub use walk::{Found, segment_files, walk};
pub use writer::Writer;
