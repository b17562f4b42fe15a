//! Doors for the fuzz targets (`tests/fuzz`) to what a sender's bytes meet first, and to what the intake log's bytes say.
//! All of it is private otherwise.

pub use crate::ingest::fuzzing::presented_key;
pub use crate::server::fuzzing::{proxy_source, route, sender};
pub use crate::spool::fuzzing::{Content, decode_record, encode_accepted};
