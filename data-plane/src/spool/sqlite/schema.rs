//! The file: its tables, its version, what opening it finds.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, TransactionBehavior, params};
use signalbox_log::LogId;

use super::{read::from_sql, turns::Turns};

/// Version of the tables below (`PRAGMA user_version`).
pub(super) const VERSION: i64 = 2;

/// `kind` of a row of `log`: a fact of an execution, needed until the execution has ended.
pub(super) const KIND_FACT: i64 = 0;
/// An accepted event; its content stands in `executions`.
pub(super) const KIND_ACCEPTED: i64 = 1;
/// Anything else; needed until it is reported.
pub(super) const KIND_OTHER: i64 = 2;

/// `claimed` of a row of `executions`: nobody has it.
pub(super) const UNCLAIMED: i64 = 0;
/// A task of this process has it.
pub(super) const CLAIMED: i64 = 1;
/// It waits for `due_us`.
pub(super) const PARKED: i64 = 2;

/// What version 1 had.
const TABLES: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

-- Journal and outbox in one: every record, in the order of its sequence.
CREATE TABLE log (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    kind INTEGER NOT NULL,
    execution TEXT,
    body BLOB
) STRICT;
CREATE INDEX log_of_execution ON log (execution, seq) WHERE kind = 0;

-- Executions that have not ended, and the deduplication entries of all within the window.
CREATE TABLE executions (
    name TEXT PRIMARY KEY,
    content_digest BLOB NOT NULL,
    deduplicate_until_us INTEGER NOT NULL,
    accepted_seq INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    ended INTEGER NOT NULL DEFAULT 0,
    claimed INTEGER NOT NULL DEFAULT 0,
    definition BLOB NOT NULL,
    -- The accepted event's record; null once it is reported and the execution has ended.
    record BLOB
) STRICT, WITHOUT ROWID;
CREATE INDEX executions_unfinished ON executions (claimed, accepted_seq) WHERE ended = 0;
CREATE INDEX executions_to_strip ON executions (last_seq) WHERE ended = 1 AND record IS NOT NULL;
CREATE INDEX executions_to_purge ON executions (deduplicate_until_us) WHERE ended = 1 AND record IS NULL;

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

/// What version 2 added: executions that wait for a time are not kept in memory, and workflows take turns.
const TURNS: &str = "
-- Empty for what version 1 accepted.
ALTER TABLE executions ADD COLUMN workflow TEXT NOT NULL DEFAULT '';
DROP INDEX executions_unfinished;
CREATE INDEX executions_open ON executions (claimed, workflow, accepted_seq) WHERE ended = 0;
-- Microseconds since the Unix epoch, of those that are parked (claimed = 2).
ALTER TABLE executions ADD COLUMN due_us INTEGER NOT NULL DEFAULT 0;
CREATE INDEX executions_parked ON executions (due_us) WHERE ended = 0 AND claimed = 2;
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
    /// The intake log that it belongs to, and the last sequence taken from that.
    pub(super) intake: Option<(LogId, u64)>,
}

/// Pages that a connection keeps, in KiB: the writer's are those of what is being executed.
const WRITER_CACHE_KIB: i64 = 8 * 1024;
const READER_CACHE_KIB: i64 = 4 * 1024;

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
                "DELETE FROM definitions WHERE digest NOT IN (SELECT definition FROM executions WHERE ended = 0)",
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
    migrate_and_read(connection, found).map_err(|source| OpenError::Sqlite { path, source })
}

fn migrate_and_read(connection: &mut Connection, found: i64) -> Result<Opened, rusqlite::Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if found == 0 {
        transaction.execute_batch(TABLES)?;
        transaction.execute(
            "INSERT INTO meta VALUES ('incarnation', ?1), ('reported', '0'), ('intake', ''), ('drained', '0')",
            params![uuid::Uuid::new_v4().simple().to_string()],
        )?;
    }
    if found < VERSION {
        transaction.execute_batch(TURNS)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
    }
    // Nobody has claimed anything yet in this process.
    transaction.execute(
        "UPDATE executions SET claimed = ?1 WHERE ended = 0 AND claimed = ?2",
        [UNCLAIMED, CLAIMED],
    )?;
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
    let count = |of: &str| -> Result<u64, rusqlite::Error> {
        let sql = format!("SELECT count(*) FROM executions WHERE ended = 0 {of}");
        let count: i64 = transaction.query_row(&sql, [], |row| row.get(0))?;
        Ok(from_sql(count))
    };
    let unfinished = count("")?;
    let parked = count("AND claimed = 2")?;
    let intake = LogId::parse(&meta("intake")?);
    let opened = Opened {
        intake: intake.map(|id| (id, drained)),
        incarnation: meta("incarnation")?,
        reported: meta("reported")?.parse().unwrap_or(0),
        head: from_sql(head),
        unfinished,
        parked,
        next_due: next_due(&transaction)?,
        turns: turns(&transaction)?,
    };
    transaction.commit()?;
    Ok(opened)
}

/// When the first execution is due that waits for a time.
pub(super) fn next_due(connection: &Connection) -> Result<Option<Timestamp>, rusqlite::Error> {
    let due: Option<i64> = connection
        .prepare_cached("SELECT min(due_us) FROM executions WHERE ended = 0 AND claimed = 2")?
        .query_row([], |row| row.get(0))?;
    Ok(due.map(|us| Timestamp::from_microsecond(us).unwrap_or(Timestamp::MAX)))
}

fn turns(connection: &Connection) -> Result<Turns, rusqlite::Error> {
    let mut statement = connection.prepare(
        "SELECT workflow, count(*) FROM executions WHERE ended = 0 AND claimed = 0 GROUP BY workflow",
    )?;
    let counted = statement.query_map([], |row| Ok((row.get(0)?, from_sql(row.get(1)?))))?;
    Ok(Turns::new(counted.collect::<Result<Vec<_>, _>>()?))
}
