//! Deduplication entries, looked up one by one.

use rusqlite::Connection;

use super::entries::{self, Content};
use crate::spool::{SpoolError, key::Key};

/// A connection that only looks deduplication entries up.
pub(in crate::spool) struct Index(Connection);

impl Index {
    pub(super) fn new(connection: Connection) -> Self {
        Self(connection)
    }

    /// What was accepted under a name.
    pub(in crate::spool) fn content_of(
        &self,
        key: Key,
        name: &str,
    ) -> Result<Option<Content>, SpoolError> {
        entries::content_of(&self.0, key, name).map_err(failed)
    }

    /// Gives every entry's key and the end of its time (µs since the Unix epoch) to `each`, until that says no.
    pub(in crate::spool) fn each(
        &self,
        each: impl FnMut(Key, i64) -> bool,
    ) -> Result<(), SpoolError> {
        entries::each(&self.0, each).map_err(failed)
    }
}

fn failed(error: rusqlite::Error) -> SpoolError {
    SpoolError::Failed(error.to_string())
}
