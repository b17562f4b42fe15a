//! Looking at a store that nobody has open, and what a repair of the intake log changes in it.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, params};
use signalbox_log::LogId;

use super::{
    entries,
    read::{from_sql, to_sql},
    schema::{self, OpenError, VERSION},
    upgrade, work,
};

/// Name of the file in the data folder.
pub(super) const FILE: &str = "spool.sqlite";
/// At most so many complaints.
const INTEGRITY_CHECK: &str = "PRAGMA integrity_check(20)";

/// What a store holds.
#[derive(Clone, Debug, Default)]
pub(in crate::spool) struct Look {
    pub(in crate::spool) incarnation: String,
    /// The intake log that it belongs to, and the last sequence that it has taken.
    pub(in crate::spool) intake: Option<(LogId, u64)>,
    pub(in crate::spool) unfinished: u64,
    pub(in crate::spool) unreported: u64,
    /// What is remembered of executions for deduplication: how many, and bytes. Nothing is known of a file of an earlier version.
    pub(in crate::spool) remembered: Option<(u64, u64)>,
    /// What `PRAGMA integrity_check` says beside "ok".
    pub(in crate::spool) complaints: Vec<String>,
}

/// What there is of a store.
#[derive(Debug)]
pub(in crate::spool) enum Found {
    /// No file, or one without tables.
    Nothing,
    /// It can be read.
    Store(Look),
    /// It is no database, or so damaged that it cannot be read; why.
    Damaged(String),
}

/// Looks at the store in `dir`. Changes nothing in it.
///
/// # Errors
/// [`OpenError`] when it cannot be read for another reason than damage.
pub(in crate::spool) fn look(dir: &Path) -> Result<Found, OpenError> {
    let path = dir.join(FILE);
    if !path.exists() {
        return Ok(Found::Nothing);
    }
    let found = read(&path);
    let is_damage = |error: &rusqlite::Error| {
        matches!(
            error.sqlite_error_code(),
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt)
        )
    };
    match found {
        Ok((version, _)) if version > VERSION => Err(OpenError::NewerSchema { found: version }),
        Ok((_, Some(look))) => Ok(Found::Store(look)),
        Ok((_, None)) => Ok(Found::Nothing),
        Err(error) if is_damage(&error) => Ok(Found::Damaged(error.to_string())),
        Err(source) => Err(OpenError::Sqlite { path, source }),
    }
}

/// Its version, and what it holds if this program knows that.
fn read(path: &Path) -> Result<(i64, Option<Look>), rusqlite::Error> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    // Earlier versions have all that is asked for here.
    if !(1..=VERSION).contains(&version) {
        return Ok((version, None));
    }
    let meta = |key: &str| -> Result<String, rusqlite::Error> {
        let query = "SELECT value FROM meta WHERE key = ?1";
        connection.query_row(query, params![key], |row| row.get(0))
    };
    let number = |query: &str| -> Result<u64, rusqlite::Error> {
        let found = connection.query_row(query, [], |row| row.get(0));
        Ok(from_sql(found.optional()?.unwrap_or(0)))
    };
    let drained = meta("drained")?.parse().unwrap_or(0);
    let reported: u64 = meta("reported")?.parse().unwrap_or(0);
    let head = number("SELECT seq FROM sqlite_sequence WHERE name = 'log'")?;
    let mut statement = connection.prepare(INTEGRITY_CHECK)?;
    let lines = statement.query_map([], |row| row.get::<_, String>(0))?;
    let remembered = match version {
        VERSION => {
            let work = from_sql(meta("work")?.parse().unwrap_or(0));
            let (used, _) = work::pages(&connection);
            Some((entries::count(&connection)?, used.saturating_sub(work)))
        }
        _ => None,
    };
    let look = Look {
        incarnation: meta("incarnation")?,
        intake: LogId::parse(&meta("intake")?).map(|id| (id, drained)),
        unfinished: upgrade::unfinished(&connection, version)?,
        unreported: head.saturating_sub(reported),
        remembered,
        complaints: lines
            .filter(|line| line.as_ref().map_or(true, |line| line != "ok"))
            .collect::<Result<_, _>>()?,
    };
    Ok((version, Some(look)))
}

/// Moves the store's files away, each to a name that begins with `damaged-`; gives their new names.
///
/// # Errors
/// The disk's.
pub(in crate::spool) fn set_aside(dir: &Path, mark: &str) -> std::io::Result<Vec<PathBuf>> {
    let mut moved = Vec::new();
    for suffix in ["", "-wal", "-shm"] {
        let from = dir.join(format!("{FILE}{suffix}"));
        let to = dir.join(format!("damaged-{mark}-{FILE}{suffix}"));
        if from.exists() {
            std::fs::rename(from, &to)?;
            moved.push(to);
        }
    }
    Ok(moved)
}

/// Makes a new store that has taken the records of `log` up to `position`.
///
/// # Errors
/// [`OpenError`].
pub(in crate::spool) fn begin_anew(dir: &Path, log: LogId, position: u64) -> Result<(), OpenError> {
    let path = dir.join(FILE);
    let mut connection = schema::connect(&path)?;
    schema::prepare(&mut connection)?;
    schema::begin_intake(&path, log, false)?;
    let noted = connection.execute(
        "UPDATE meta SET value = ?1 WHERE key = 'drained'",
        params![to_sql(position).to_string()],
    );
    noted
        .map(drop)
        .map_err(|source| OpenError::Sqlite { path, source })
}
