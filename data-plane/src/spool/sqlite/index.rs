//! Deduplication entries, looked up one by one.

use rusqlite::{Connection, OptionalExtension as _, params};

use crate::spool::SpoolError;

/// A connection that only looks deduplication entries up.
pub(in crate::spool) struct Index(Connection);

impl Index {
    pub(super) fn new(connection: Connection) -> Self {
        Self(connection)
    }

    /// Digest of the content that was accepted under a name.
    pub(in crate::spool) fn content_digest(
        &self,
        name: &str,
    ) -> Result<Option<[u8; 32]>, SpoolError> {
        let find = || {
            self.0
                .prepare_cached("SELECT content_digest FROM names WHERE name = ?1")?
                .query_row(params![name], |row| row.get(0))
                .optional()
        };
        find().map_err(failed)
    }

    /// Gives every entry's name and the end of its time (µs since the Unix epoch) to `each`, until that says no.
    pub(in crate::spool) fn each(
        &self,
        mut each: impl FnMut(&str, i64) -> bool,
    ) -> Result<(), SpoolError> {
        let mut read = || {
            let mut statement = self
                .0
                .prepare("SELECT name, deduplicate_until_us FROM names")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                if !each(row.get_ref(0)?.as_str()?, row.get(1)?) {
                    break;
                }
            }
            Ok(())
        };
        read().map_err(failed)
    }
}

fn failed(error: rusqlite::Error) -> SpoolError {
    SpoolError::Failed(error.to_string())
}
