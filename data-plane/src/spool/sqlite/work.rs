//! How much of the file is work: what has not ended, or is not reported. The rest is what is remembered of what was done, which
//! no report makes smaller, and which is no reason to take no more.

use rusqlite::{Connection, params};

use super::{
    batch::{Batch, Sql},
    read::from_sql,
};

/// Of a page of the file: SQLite's default.
const PAGE_BYTES: i64 = 4096;
/// What a record takes beside its content, with its place in an index.
const RECORD_BYTES: i64 = 64;
/// Rows larger than this have a page to themselves, until they are larger than one.
const HALF_PAGE_BYTES: i64 = PAGE_BYTES / 2 - 16;
/// Free pages that what comes from the intake log leaves in the file.
const SPARE_PAGES: i64 = 16;
/// What an execution takes beside its records: its row with two names, its places in the indexes.
pub(super) const EXECUTION_BYTES: i64 = 384;

/// What a record with so many bytes of content is reckoned to take in the file, in bytes. It is given back as it was taken:
/// another reckoning is another version of the file.
pub(super) fn record_bytes(content_bytes: i64) -> i64 {
    match content_bytes + RECORD_BYTES {
        HALF_PAGE_BYTES..PAGE_BYTES => PAGE_BYTES,
        bytes => bytes,
    }
}

/// Reckons all of it, from every record's size: for a file that did not keep it.
pub(super) fn reckon(connection: &Connection) -> Sql<i64> {
    let mut statement = connection.prepare("SELECT length(body) FROM log")?;
    let mut rows = statement.query([])?;
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        bytes += record_bytes(row.get(0)?);
    }
    let count = "SELECT count(*) FROM executions";
    let executions: i64 = connection.query_row(count, [], |row| row.get(0))?;
    Ok(bytes + executions * EXECUTION_BYTES)
}

/// Bytes of the file's pages that are in use; free ones will be used again before it grows. And those of the free ones.
pub(super) fn pages(connection: &Connection) -> (u64, u64) {
    let pragma = |name: &str| {
        connection
            .pragma_query_value(None, name, |row| row.get::<_, i64>(0))
            .map_or(0, from_sql)
    };
    let (free, size) = (pragma("freelist_count"), pragma("page_size"));
    let used = pragma("page_count").saturating_sub(free);
    (used * size, free * size)
}

impl Batch<'_> {
    /// Takes no more in than leaves some free pages in the file: without any, on a disk that has none, neither could what ends an
    /// execution be written, nor what forgets one.
    pub(super) fn spare_room(&self) -> Sql<()> {
        let free: i64 = self
            .transaction
            .pragma_query_value(None, "freelist_count", |row| row.get(0))?;
        if free < SPARE_PAGES {
            // What is deleted in the commit that made it is not written.
            let ballast = params![SPARE_PAGES * PAGE_BYTES];
            self.transaction
                .prepare_cached("INSERT INTO definitions VALUES (x'', zeroblob(?1))")?
                .execute(ballast)?;
            self.transaction
                .prepare_cached("DELETE FROM definitions WHERE digest = x''")?
                .execute([])?;
        }
        Ok(())
    }

    /// Deletes records by a statement that returns their sizes.
    pub(super) fn delete_records(&mut self, delete: &str, up_to: i64) -> Sql<()> {
        let mut statement = self.transaction.prepare_cached(delete)?;
        let mut rows = statement.query(params![up_to])?;
        while let Some(row) = rows.next()? {
            self.effects.work -= record_bytes(row.get(0)?);
        }
        Ok(())
    }

    /// Keeps what the batch has changed of it, in the same commit.
    pub(super) fn note_work(&mut self) -> Sql<()> {
        if self.effects.work != 0 {
            self.transaction
                .prepare_cached(
                    "UPDATE meta SET value = CAST(CAST(value AS INTEGER) + ?1 AS TEXT) WHERE key = 'work'",
                )?
                .execute(params![self.effects.work])?;
        }
        Ok(())
    }
}
