//! The file: its tables, its version, what opening it finds.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, TransactionBehavior, params};
use signalbox_log::LogId;

use super::{interrupted, read::from_sql, turns::Turns, upgrade};

/// Version of the tables below (`PRAGMA user_version`).
pub(super) const VERSION: i64 = 4;

/// `kind` of a row of `log`: a fact of an execution, needed until the execution has ended.
pub(super) const KIND_FACT: i64 = 0;
/// An accepted event, needed until its execution has ended.
pub(super) const KIND_ACCEPTED: i64 = 1;
/// Anything else; needed until it is reported.
pub(super) const KIND_OTHER: i64 = 2;

/// `state` of a row of `executions`: nobody has it, a task of this process has it, it waits for `due_us`. They are named in
/// queries, since partial indexes are used by those alone that say so, as is 3: it has ended.
pub(super) const WAITING: i64 = 0;
pub(super) const CLAIMED: i64 = 1;
pub(super) const PARKED: i64 = 2;

/// `due_us` of those that are to be ended: before all others.
pub(super) const SUMMONED_US: i64 = 0;

/// What each version has had.
pub(super) const COMMON: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

-- By the digest of their content: a deleted workflow that is made again begins again at version 1.
CREATE TABLE definitions (digest BLOB PRIMARY KEY, source BLOB NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE certificates (sha256 TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;

CREATE TABLE handshakes (
    workflow TEXT NOT NULL,
    topic_arn TEXT NOT NULL,
    token TEXT NOT NULL,
    certificate_origin TEXT NOT NULL,
    received_at_us INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    -- Null once it is over.
    next_attempt_at_us INTEGER,
    PRIMARY KEY (workflow, topic_arn, token)
) STRICT, WITHOUT ROWID;
CREATE INDEX handshakes_due ON handshakes (next_attempt_at_us) WHERE next_attempt_at_us IS NOT NULL;
";

/// What executions are kept in since version 3. An execution has a number here, the sequence of the record that made it: what comes together
/// stands together, however random names are.
pub(super) const EXECUTIONS: &str = "
-- Journal and outbox in one: every record, in the order of its sequence. None is ever changed.
CREATE TABLE log (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    kind INTEGER NOT NULL,
    -- Of a fact: its execution's number.
    execution INTEGER,
    body BLOB NOT NULL
) STRICT;
CREATE INDEX log_of_execution ON log (execution) WHERE kind = 0;

-- Deduplication entries that version 3 made. No more come, and these go with their time.
CREATE TABLE names (
    name TEXT PRIMARY KEY,
    content_digest BLOB NOT NULL,
    deduplicate_until_us INTEGER NOT NULL,
    execution INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Those of them that go when their time is over: their executions have ended, and are reported.
CREATE TABLE forgettable (
    deduplicate_until_us INTEGER NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (deduplicate_until_us, name)
) STRICT, WITHOUT ROWID;

-- Executions that have not ended, or whose end is not reported.
CREATE TABLE executions (
    number INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    -- Empty for what version 1 accepted.
    workflow TEXT NOT NULL,
    definition BLOB NOT NULL,
    deduplicate_until_us INTEGER NOT NULL,
    state INTEGER NOT NULL DEFAULT 0,
    -- Microseconds since the Unix epoch; of those that are parked.
    due_us INTEGER,
    -- Sequence of the last record; of those that have ended.
    last_seq INTEGER
) STRICT;
CREATE INDEX executions_unclaimed ON executions (workflow) WHERE state = 0;
CREATE INDEX executions_claimed ON executions (state) WHERE state = 1;
CREATE INDEX executions_parked ON executions (due_us) WHERE state = 2;
CREATE INDEX executions_ended ON executions (last_seq) WHERE state = 3;
";

/// What version 4 added.
pub(super) const ENTRIES: &str = "
-- Deduplication entries of all executions within the window, by 128 bits of BLAKE3 of `{project}/{execution}`.
CREATE TABLE entries (
    key BLOB PRIMARY KEY,
    -- The first 128 bits of the content's digest.
    content BLOB NOT NULL,
    execution INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Those of them that go when their time is over: their executions have ended, and are reported.
CREATE TABLE entries_over (
    deduplicate_until_us INTEGER NOT NULL,
    key BLOB NOT NULL,
    PRIMARY KEY (deduplicate_until_us, key)
) STRICT, WITHOUT ROWID;

-- Of its entry. Null: that stands in `names`.
ALTER TABLE executions ADD COLUMN key BLOB;
";

/// Why a spool cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file cannot be opened or is no database.
    #[error("the spool {} cannot be opened{}", path.display(), advice(source))]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// It was written by a later version of Signalbox.
    #[error(
        "the spool was written by a newer Signalbox (schema {found}; this one knows {VERSION})"
    )]
    NewerSchema {
        /// Version found.
        found: i64,
    },
    /// The writer's thread did not start.
    #[error("the spool's writer thread cannot be started")]
    Thread(#[source] std::io::Error),
}

fn advice(source: &rusqlite::Error) -> &'static str {
    match source.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            " (`signalbox-data-plane spool verify` shows it, `spool repair` goes on without what is lost)"
        }
        _ => "",
    }
}

/// What opening found.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) incarnation: String,
    pub(super) head: u64,
    pub(super) reported: u64,
    pub(super) unfinished: u64,
    /// Those of them that wait for a time.
    pub(super) parked: u64,
    pub(super) next_due: Option<Timestamp>,
    /// Those that nobody has, by workflow.
    pub(super) turns: Turns,
    /// Numbers of those that ends of the process have interrupted, and that have not gone on since.
    pub(super) interrupted: HashSet<i64>,
    /// The intake log that it belongs to, and the last sequence taken from that.
    pub(super) intake: Option<(LogId, u64)>,
    /// What is not ended, or not reported, is reckoned to take, in bytes.
    pub(super) work_bytes: i64,
}

/// Pages that a connection keeps, in KiB: the writer's are those of what is being executed.
const WRITER_CACHE_KIB: i64 = 8 * 1024;
const READER_CACHE_KIB: i64 = 4 * 1024;
/// Statements that a connection keeps prepared: more than there are.
const STATEMENTS_MAX: usize = 64;

/// A connection to write by.
pub(super) fn connect(path: &Path) -> Result<Connection, OpenError> {
    connect_with(path, WRITER_CACHE_KIB)
}

/// A connection to read by.
pub(super) fn connect_to_read(path: &Path) -> Result<Connection, OpenError> {
    connect_with(path, READER_CACHE_KIB)
}

fn connect_with(path: &Path, cache_kib: i64) -> Result<Connection, OpenError> {
    let open = || {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // FULL: the commit's fsync is what a 200 stands on.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "busy_timeout", 10_000)?;
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        connection.pragma_update(None, "cache_size", -cache_kib)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_MAX);
        Ok(connection)
    };
    open().map_err(|source| OpenError::Sqlite {
        path: path.to_owned(),
        source,
    })
}

/// Binds the file to an intake log; when that holds nothing more, definitions that no execution needs go.
pub(super) fn begin_intake(path: &Path, log: LogId, drained: bool) -> Result<(), OpenError> {
    let connection = connect(path)?;
    let bind = || {
        connection.execute(
            "UPDATE meta SET value = ?1 WHERE key = 'intake'",
            params![log.to_string()],
        )?;
        if drained {
            connection.execute(
                "DELETE FROM definitions WHERE digest NOT IN (SELECT definition FROM executions WHERE state <> 3)",
                [],
            )?;
        }
        Ok(())
    };
    bind().map_err(|source| OpenError::Sqlite {
        path: path.to_owned(),
        source,
    })
}

pub(super) fn prepare(connection: &mut Connection) -> Result<Opened, OpenError> {
    let path = connection.path().map(PathBuf::from).unwrap_or_default();
    let found = connection
        .pragma_query_value(None, "user_version", |row| row.get::<_, i64>(0))
        .map_err(|source| OpenError::Sqlite {
            path: path.clone(),
            source,
        })?;
    if found > VERSION {
        return Err(OpenError::NewerSchema { found });
    }
    upgrade::to_current(connection, found)
        .and_then(|()| read(connection))
        .map_err(|source| OpenError::Sqlite { path, source })
}

fn read(connection: &mut Connection) -> Result<Opened, rusqlite::Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    // Nobody has claimed anything yet in this process.
    let interrupted = interrupted::take_over(&transaction)?;
    let meta = |key: &str| -> Result<String, rusqlite::Error> {
        transaction.query_row(
            "SELECT value FROM meta WHERE key = ?1",
            params![key],
            |row| row.get(0),
        )
    };
    let drained = meta("drained")?.parse().unwrap_or(0);
    let head = transaction
        .query_row(
            "SELECT seq FROM sqlite_sequence WHERE name = 'log'",
            [],
            |row| row.get::<_, i64>(0),
        )
        .optional()?
        .unwrap_or(0);
    let turns = turns(&transaction)?;
    let parked = "SELECT count(*) FROM executions WHERE state = 2";
    let parked = from_sql(transaction.query_row(parked, [], |row| row.get(0))?);
    let intake = LogId::parse(&meta("intake")?);
    let opened = Opened {
        intake: intake.map(|id| (id, drained)),
        incarnation: meta("incarnation")?,
        reported: meta("reported")?.parse().unwrap_or(0),
        work_bytes: meta("work")?.parse().unwrap_or(0),
        head: from_sql(head),
        unfinished: parked + turns.waiting(),
        parked,
        next_due: next_due(&transaction)?,
        turns,
        interrupted,
    };
    transaction.commit()?;
    Ok(opened)
}

/// When the first execution is due that waits for a time.
pub(super) fn next_due(connection: &Connection) -> Result<Option<Timestamp>, rusqlite::Error> {
    let due: Option<i64> = connection
        .prepare_cached("SELECT min(due_us) FROM executions WHERE state = 2")?
        .query_row([], |row| row.get(0))?;
    Ok(due.map(|us| Timestamp::from_microsecond(us).unwrap_or(Timestamp::MAX)))
}

fn turns(connection: &Connection) -> Result<Turns, rusqlite::Error> {
    let mut statement = connection
        .prepare("SELECT workflow, count(*) FROM executions WHERE state = 0 GROUP BY workflow")?;
    let counted = statement.query_map([], |row| Ok((row.get(0)?, from_sql(row.get(1)?))))?;
    Ok(Turns::new(counted.collect::<Result<Vec<_>, _>>()?))
}
