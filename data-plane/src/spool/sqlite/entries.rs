//! Deduplication entries: what is remembered of each execution within the window. There are many more of them than of anything
//! else, so they are small. Those that version 3 of the file made stand in tables of their own until their time is over.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::batch::Sql;
use crate::spool::key::Key;

/// Bytes of a content's digest that an entry has: enough to tell a copy from anything else.
const CONTENT_BYTES: usize = 16;

/// What an entry says of its content: the first bytes of that's digest.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::spool) struct Content(Vec<u8>);

impl Content {
    /// Whether it is the content of this digest.
    pub(in crate::spool) fn is_of(&self, digest: &[u8; 32]) -> bool {
        self.0 == digest[..CONTENT_BYTES]
    }
}

/// What was accepted under a name.
pub(super) fn content_of(connection: &Connection, key: Key, name: &str) -> Sql<Option<Content>> {
    connection
        .prepare_cached(
            "SELECT content FROM entries WHERE key = ?1
             UNION ALL SELECT substr(content_digest, 1, 16) FROM names WHERE name = ?2",
        )?
        .query_row(params![key.to_bytes(), name], |row| {
            Ok(Content(row.get(0)?))
        })
        .optional()
}

/// The number of an execution, ended or not; none when none is remembered.
pub(super) fn number_of(connection: &Connection, name: &str) -> Sql<Option<i64>> {
    connection
        .prepare_cached(
            "SELECT execution FROM entries WHERE key = ?1
             UNION ALL SELECT execution FROM names WHERE name = ?2",
        )?
        .query_row(params![Key::of_text(name).to_bytes(), name], |row| {
            row.get(0)
        })
        .optional()
}

/// Remembers an execution.
pub(super) fn insert(
    connection: &Connection,
    key: Key,
    content_digest: &[u8; 32],
    number: i64,
) -> Sql<()> {
    connection
        .prepare_cached("INSERT INTO entries (key, content, execution) VALUES (?1, ?2, ?3)")?
        .execute(params![
            key.to_bytes(),
            &content_digest[..CONTENT_BYTES],
            number
        ])
        .map(drop)
}

/// Notes that the entries go when their time is over: their executions have ended, and everything up to `reported` is reported.
pub(super) fn let_go(connection: &Connection, reported: i64) -> Sql<()> {
    for of_ended in [
        "INSERT INTO entries_over SELECT deduplicate_until_us, key FROM executions
         WHERE state = 3 AND last_seq <= ?1 AND key IS NOT NULL",
        "INSERT INTO forgettable SELECT deduplicate_until_us, name FROM executions
         WHERE state = 3 AND last_seq <= ?1 AND key IS NULL",
    ] {
        let mut statement = connection.prepare_cached(of_ended)?;
        statement.execute(params![reported])?;
    }
    Ok(())
}

/// Forgets at most `max` entries whose time is over at `now_us`; says how many.
pub(super) fn forget(connection: &Connection, now_us: i64, max: usize) -> Sql<usize> {
    let small: Vec<(i64, Vec<u8>)> = over(
        connection,
        "SELECT deduplicate_until_us, key FROM entries_over
         WHERE deduplicate_until_us < ?1 ORDER BY deduplicate_until_us LIMIT ?2",
        (now_us, max),
    )?;
    for of in &small {
        remove(
            connection,
            of,
            [
                "DELETE FROM entries WHERE key = ?1",
                "DELETE FROM entries_over WHERE deduplicate_until_us = ?2 AND key = ?1",
            ],
        )?;
    }
    let old: Vec<(i64, String)> = over(
        connection,
        "SELECT deduplicate_until_us, name FROM forgettable
         WHERE deduplicate_until_us < ?1 ORDER BY deduplicate_until_us LIMIT ?2",
        (now_us, max - small.len()),
    )?;
    for of in &old {
        remove(
            connection,
            of,
            [
                "DELETE FROM names WHERE name = ?1",
                "DELETE FROM forgettable WHERE deduplicate_until_us = ?2 AND name = ?1",
            ],
        )?;
    }
    Ok(small.len() + old.len())
}

/// The first that can be forgotten, and when they could be.
fn over<Id: rusqlite::types::FromSql>(
    connection: &Connection,
    select: &str,
    (now_us, max): (i64, usize),
) -> Sql<Vec<(i64, Id)>> {
    let max = i64::try_from(max).unwrap_or(i64::MAX);
    let mut statement = connection.prepare_cached(select)?;
    let rows = statement.query_map(params![now_us, max], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

fn remove<Id: rusqlite::ToSql>(
    connection: &Connection,
    (until_us, id): &(i64, Id),
    [entry, over]: [&str; 2],
) -> Sql<()> {
    connection.prepare_cached(entry)?.execute(params![id])?;
    connection
        .prepare_cached(over)?
        .execute(params![id, until_us])?;
    Ok(())
}

/// Gives each entry's key and the end of its time (µs since the Unix epoch) to `each`, until that says no. In this order: one
/// that goes from the first to the second meanwhile is given twice, and none is left out.
pub(super) fn each(connection: &Connection, mut each: impl FnMut(Key, i64) -> bool) -> Sql<()> {
    for small in [
        "SELECT key, deduplicate_until_us FROM executions WHERE key IS NOT NULL",
        "SELECT key, deduplicate_until_us FROM entries_over",
    ] {
        let mut statement = connection.prepare(small)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if !each(Key::from_bytes(row.get(0)?), row.get(1)?) {
                return Ok(());
            }
        }
    }
    let mut statement = connection.prepare("SELECT name, deduplicate_until_us FROM names")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if !each(Key::of_text(row.get_ref(0)?.as_str()?), row.get(1)?) {
            break;
        }
    }
    Ok(())
}

/// How many there are. Reads all of them.
pub(super) fn count(connection: &Connection) -> Sql<u64> {
    let count = |table: &str| {
        let sql = format!("SELECT count(*) FROM {table}");
        connection.query_row(&sql, [], |row| row.get::<_, i64>(0))
    };
    Ok(super::read::from_sql(count("entries")? + count("names")?))
}
