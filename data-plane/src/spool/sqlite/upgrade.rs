//! The tables of a new file, and from those of earlier versions to those of today.
//!
//! Until version 2 all of an execution was one row, found by its name, which each claim wrote anew with the event in it. A
//! file may hold millions of them. They are copied in portions: each is a commit that takes from the old tables what it gives
//! to the new ones. So it needs little room, and the next start goes on where a crash has cut it. From the first of these
//! commits on the file has the new version, and no earlier program opens it.
//!
//! Version 4 has other deduplication entries. Those that are there stay where they are until their time is over: there may be
//! many, and each goes within days.

use std::time::{Duration, Instant};

use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::{
    read::from_sql,
    schema::{COMMON, ENTRIES, EXECUTIONS, VERSION},
    work,
};

/// The version from which on executions have numbers.
const NUMBERED: i64 = 3;

/// Rows of one portion.
pub(super) const PORTION: i64 = 4096;
/// How often it says how far it is.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// What version 2 added to the tables of version 1.
const VERSION_2: &str = "
ALTER TABLE executions ADD COLUMN workflow TEXT NOT NULL DEFAULT '';
DROP INDEX executions_unfinished;
ALTER TABLE executions ADD COLUMN due_us INTEGER NOT NULL DEFAULT 0;
";

/// The indexes that version 2 added.
const VERSION_2_INDEXES: &str = "
DROP INDEX executions_open;
DROP INDEX executions_parked;
";

/// Puts the tables of version 2 out of the way. What is copied is found by their primary keys.
const ASIDE: &str = "
DROP INDEX log_of_execution;
DROP INDEX executions_to_strip;
DROP INDEX executions_to_purge;
ALTER TABLE log RENAME TO old_log;
ALTER TABLE executions RENAME TO old_executions;
";

/// Sequences go on.
const SEQUENCES: &str =
    "INSERT INTO sqlite_sequence SELECT 'log', seq FROM sqlite_sequence WHERE name = 'old_log'";

/// The last of the next portion of executions, and what becomes of it.
const EXECUTIONS_UNTIL: &str =
    "SELECT max(name) FROM (SELECT name FROM old_executions ORDER BY name LIMIT ?1)";
const COPY_EXECUTIONS: [&str; 5] = [
    "INSERT INTO names SELECT name, content_digest, deduplicate_until_us, accepted_seq
     FROM old_executions WHERE name <= ?1",
    "INSERT INTO forgettable SELECT deduplicate_until_us, name
     FROM old_executions WHERE name <= ?1 AND record IS NULL",
    "INSERT INTO executions (number, name, workflow, definition, deduplicate_until_us, state, due_us, last_seq)
     SELECT accepted_seq, name, workflow, definition, deduplicate_until_us,
     iif(ended = 1, 3, claimed), iif(ended = 0 AND claimed = 2, due_us, NULL), iif(ended = 1, last_seq, NULL)
     FROM old_executions WHERE name <= ?1 AND record IS NOT NULL",
    "INSERT INTO log (seq, kind, body) SELECT accepted_seq, 1, record
     FROM old_executions WHERE name <= ?1 AND record IS NOT NULL",
    "DELETE FROM old_executions WHERE name <= ?1",
];

/// The same of the log, once all names are known. What was accepted has come with its execution.
const LOG_UNTIL: &str = "SELECT max(seq) FROM (SELECT seq FROM old_log ORDER BY seq LIMIT ?1)";
const COPY_LOG: [&str; 2] = [
    "INSERT INTO log (seq, kind, execution, body) SELECT l.seq, l.kind, n.execution, l.body
     FROM old_log l LEFT JOIN names n ON n.name = l.execution WHERE l.seq <= ?1 AND l.kind <> 1",
    "DELETE FROM old_log WHERE seq <= ?1",
];

const END: &str = "DROP TABLE old_log; DROP TABLE old_executions;";

/// Makes the tables, or brings those of the version `found` to the current one.
pub(super) fn to_current(connection: &mut Connection, found: i64) -> Result<(), rusqlite::Error> {
    match found {
        0 => return make(connection),
        1..NUMBERED => begin(connection, found)?,
        _ => {}
    }
    if is_under_way(connection)? {
        copy(connection)?;
    }
    if found < VERSION {
        add_entries(connection)?;
    }
    Ok(())
}

/// Makes the tables of a new file.
fn make(connection: &mut Connection) -> Result<(), rusqlite::Error> {
    let transaction = immediate(connection)?;
    for tables in [COMMON, EXECUTIONS, ENTRIES] {
        transaction.execute_batch(tables)?;
    }
    transaction.execute(
        "INSERT INTO meta VALUES ('incarnation', ?1), ('reported', '0'), ('intake', ''), ('drained', '0'), ('work', '0')",
        params![uuid::Uuid::new_v4().simple().to_string()],
    )?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

/// What version 4 has beside the tables of version 3: in one commit, and as fast as the log can be read.
fn add_entries(connection: &mut Connection) -> Result<(), rusqlite::Error> {
    let transaction = immediate(connection)?;
    transaction.execute_batch(ENTRIES)?;
    let work = work::reckon(&transaction)?;
    let note = "INSERT INTO meta VALUES ('work', ?1)";
    transaction.execute(note, params![work.to_string()])?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()
}

/// Executions that have not ended, also those that are not copied yet.
pub(super) fn unfinished(connection: &Connection, version: i64) -> Result<u64, rusqlite::Error> {
    let count = |sql: &str| connection.query_row(sql, [], |row| Ok(from_sql(row.get(0)?)));
    if version < NUMBERED {
        return count("SELECT count(*) FROM executions WHERE ended = 0");
    }
    let old = match is_under_way(connection)? {
        true => count("SELECT count(*) FROM old_executions WHERE ended = 0")?,
        false => 0,
    };
    Ok(old + count("SELECT count(*) FROM executions WHERE state <> 3")?)
}

/// Makes the tables of version 3; those of an earlier version stand aside, to be copied.
pub(super) fn begin(connection: &mut Connection, found: i64) -> Result<(), rusqlite::Error> {
    let transaction = immediate(connection)?;
    match found {
        1 => transaction.execute_batch(VERSION_2)?,
        _ => transaction.execute_batch(VERSION_2_INDEXES)?,
    }
    transaction.execute_batch(ASIDE)?;
    transaction.execute_batch(EXECUTIONS)?;
    transaction.execute(SEQUENCES, [])?;
    transaction.pragma_update(None, "user_version", NUMBERED)?;
    transaction.commit()
}

fn is_under_way(connection: &Connection) -> Result<bool, rusqlite::Error> {
    connection
        .prepare("SELECT 1 FROM sqlite_schema WHERE name = 'old_log'")?
        .exists([])
}

fn copy(connection: &mut Connection) -> Result<(), rusqlite::Error> {
    let rows = |table: &str| {
        let sql = format!("SELECT count(*) FROM {table}");
        connection.query_row(&sql, [], |row| Ok(from_sql(row.get(0)?)))
    };
    let total = rows("old_executions")? + rows("old_log")?;
    let mut progress = Progress {
        total,
        began: Instant::now(),
        told: Instant::now(),
    };
    tracing::info!(
        rows = total,
        "the spool's tables are brought to this version"
    );
    let mut copied = 0;
    loop {
        let count = copy_some(connection)?;
        if count == 0 {
            break;
        }
        copied += count as u64;
        progress.tell(copied);
    }
    let transaction = immediate(connection)?;
    transaction.execute_batch(END)?;
    transaction.commit()?;
    let took = progress.began.elapsed();
    tracing::info!(?took, "the spool's tables are those of this version");
    Ok(())
}

/// Copies the next portion, of executions as long as there are any; gives how many rows that were.
pub(super) fn copy_some(connection: &mut Connection) -> Result<usize, rusqlite::Error> {
    let transaction = immediate(connection)?;
    let count = match portion::<String>(&transaction, EXECUTIONS_UNTIL, &COPY_EXECUTIONS)? {
        0 => portion::<i64>(&transaction, LOG_UNTIL, &COPY_LOG)?,
        count => count,
    };
    transaction.commit()?;
    Ok(count)
}

fn portion<Key: rusqlite::types::FromSql + rusqlite::ToSql>(
    transaction: &Transaction<'_>,
    until: &str,
    copies: &[&str],
) -> Result<usize, rusqlite::Error> {
    let until: Option<Key> = transaction
        .prepare_cached(until)?
        .query_row([PORTION], |row| row.get(0))?;
    let Some(until) = until else {
        return Ok(0);
    };
    let mut count = 0;
    for copy in copies {
        // The last one takes away what the others have given.
        count = transaction.prepare_cached(copy)?.execute([&until])?;
    }
    Ok(count)
}

fn immediate(connection: &mut Connection) -> Result<Transaction<'_>, rusqlite::Error> {
    connection.transaction_with_behavior(TransactionBehavior::Immediate)
}

/// Tells operators that a start goes on.
struct Progress {
    total: u64,
    began: Instant,
    told: Instant,
}

impl Progress {
    fn tell(&mut self, copied: u64) {
        if self.told.elapsed() >= TELL_EVERY {
            tracing::info!(
                copied,
                of = self.total,
                "the spool's tables are still being brought to this version"
            );
            self.told = Instant::now();
        }
    }
}
