//! The last known good on disk: one row for each resource, so that a change costs what it changes.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, params};
use signalbox_model::ids::SecretName;

use super::{Change, retired};

const VERSION: i64 = 1;

const TABLES: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE resources (name TEXT PRIMARY KEY, encoded BLOB NOT NULL) STRICT, WITHOUT ROWID;
-- Resources whose newest state this node cannot take.
CREATE TABLE refused (name TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES ('incarnation', ''), ('revision', '0');
";

/// Of what `meta` says. An earlier version leaves it as it is.
const PUBLIC_URL: &str = "public_url";

/// Secrets as they were, sealed as they came. An earlier version leaves them as they are.
const RETIRED: &str = "
CREATE TABLE IF NOT EXISTS retired (
    number INTEGER PRIMARY KEY, name TEXT NOT NULL, until_us INTEGER NOT NULL, encoded BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS retired_by_name ON retired (name);
";

/// Why the configuration cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be opened, read or written.
    #[error("the configuration store {} failed", path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// It was written by a later version of Signalbox.
    #[error(
        "the configuration store was written by a newer Signalbox (schema {0}; this one knows {VERSION})"
    )]
    NewerSchema(i64),
    /// A writer panicked.
    #[error("the configuration store is unusable after a panic")]
    Poisoned,
}

/// What is on disk.
pub(super) struct Stored {
    pub(super) incarnation: String,
    pub(super) revision: u64,
    pub(super) resources: Vec<(String, Vec<u8>)>,
    pub(super) refused: Vec<String>,
    /// Secrets as they were, and until when they are looked for, from the oldest to the newest.
    pub(super) retired: Vec<(Timestamp, Vec<u8>)>,
    /// Where people reach the control plane; empty: nobody has said.
    pub(super) public_url: String,
    /// Whether the secrets of that revision were sent to the key that the node has now, and the scopes of keys read.
    pub(super) is_whole: bool,
}

#[derive(Debug)]
pub(super) struct Disk {
    path: PathBuf,
    connection: Connection,
    /// The public key that secrets are sealed to, as text.
    public_key: String,
}

/// What `secrets` in `meta` says: to which key the secrets of which state were sent, and that the scopes of keys were read.
/// A version that knows no secrets goes on to other revisions and leaves it as it is, and so it tells what is missing; one that
/// knows no scopes, and loses them, writes another mark.
fn mark(public_key: &str, incarnation: &str, revision: &str) -> String {
    format!("{public_key} {incarnation} {revision} scopes")
}

impl Disk {
    pub(super) fn open(
        path: &Path,
        public_key: &[u8],
        now: Timestamp,
    ) -> Result<Self, ConfigError> {
        let failed = |source| ConfigError::Sqlite {
            path: path.to_owned(),
            source,
        };
        let mut connection = Connection::open(path).map_err(failed)?;
        let version: i64 = connection
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .map_err(failed)?;
        if version > VERSION {
            return Err(ConfigError::NewerSchema(version));
        }
        let mut prepare = || {
            connection.pragma_update(None, "journal_mode", "WAL")?;
            // An update is acknowledged when it is durable.
            connection.pragma_update(None, "synchronous", "FULL")?;
            if version == 0 {
                let transaction = connection.transaction()?;
                transaction.execute_batch(TABLES)?;
                transaction.pragma_update(None, "user_version", VERSION)?;
                transaction.commit()?;
            }
            connection.execute_batch(RETIRED)?;
            drop_ended(&connection, now)
        };
        prepare().map_err(failed)?;
        Ok(Self {
            path: path.to_owned(),
            connection,
            public_key: blake3::hash(public_key).to_hex().to_string(),
        })
    }

    fn failed(&self, source: rusqlite::Error) -> ConfigError {
        ConfigError::Sqlite {
            path: self.path.clone(),
            source,
        }
    }

    pub(super) fn load(&self) -> Result<Stored, ConfigError> {
        let load = || {
            let meta = |key: &str| {
                self.connection
                    .query_row(
                        "SELECT value FROM meta WHERE key = ?1",
                        params![key],
                        |row| row.get::<_, String>(0),
                    )
                    .optional()
                    .map(Option::unwrap_or_default)
            };
            let (incarnation, revision) = (meta("incarnation")?, meta("revision")?);
            let mut statement = self
                .connection
                .prepare("SELECT name, encoded FROM resources")?;
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let mut refused = self.connection.prepare("SELECT name FROM refused")?;
            let refused = refused.query_map([], |row| row.get(0))?;
            let mut retired = self
                .connection
                .prepare("SELECT until_us, encoded FROM retired ORDER BY number")?;
            let retired = retired.query_map([], |row| Ok((time(row.get(0)?), row.get(1)?)))?;
            Ok(Stored {
                public_url: meta(PUBLIC_URL)?,
                retired: retired.collect::<Result<_, _>>()?,
                refused: refused.collect::<Result<_, _>>()?,
                is_whole: meta("secrets")? == mark(&self.public_key, &incarnation, &revision),
                revision: revision.parse().unwrap_or(0),
                incarnation,
                resources: rows.collect::<Result<_, _>>()?,
            })
        };
        load().map_err(|source| self.failed(source))
    }

    /// Makes durable where people reach the control plane.
    pub(super) fn set_public_url(&self, url: &str) -> Result<(), ConfigError> {
        let set = self.connection.execute(
            "INSERT OR REPLACE INTO meta VALUES (?1, ?2)",
            params![PUBLIC_URL, url],
        );
        set.map(|_| ()).map_err(|source| self.failed(source))
    }

    /// Makes a change durable, and keeps the secrets as they are that end with it.
    pub(super) fn apply<'a>(
        &mut self,
        change: &Change,
        ending: impl Iterator<Item = &'a SecretName>,
        now: Timestamp,
    ) -> Result<(), ConfigError> {
        apply(
            &mut self.connection,
            change,
            &self.public_key,
            (ending, now),
        )
        .map_err(|source| ConfigError::Sqlite {
            path: self.path.clone(),
            source,
        })
    }
}

fn time(us: i64) -> Timestamp {
    Timestamp::from_microsecond(us).unwrap_or(Timestamp::MAX)
}

fn drop_ended(connection: &Connection, now: Timestamp) -> Result<(), rusqlite::Error> {
    connection.execute(
        "DELETE FROM retired WHERE until_us <= ?1",
        params![now.as_microsecond()],
    )?;
    Ok(())
}

/// Keeps a secret as it is, and of those that are kept the newest.
fn retire(
    connection: &Connection,
    name: &SecretName,
    until: Timestamp,
) -> Result<(), rusqlite::Error> {
    let name = name.to_string();
    connection
        .prepare_cached(
            "INSERT INTO retired (name, until_us, encoded)
             SELECT name, ?2, encoded FROM resources WHERE name = ?1",
        )?
        .execute(params![name, until.as_microsecond()])?;
    connection
        .prepare_cached(
            "DELETE FROM retired WHERE name = ?1 AND number NOT IN
             (SELECT number FROM retired WHERE name = ?1 ORDER BY number DESC LIMIT ?2)",
        )?
        .execute(params![name, retired::KEPT_MAX])?;
    Ok(())
}

fn apply<'a>(
    connection: &mut Connection,
    change: &Change,
    public_key: &str,
    (ending, now): (impl Iterator<Item = &'a SecretName>, Timestamp),
) -> Result<(), rusqlite::Error> {
    let transaction = connection.transaction()?;
    let mut ends = false;
    for name in ending {
        retire(&transaction, name, retired::kept_until(now))?;
        ends = true;
    }
    if ends {
        drop_ended(&transaction, now)?;
        transaction.execute(
            "DELETE FROM retired WHERE number NOT IN
             (SELECT number FROM retired ORDER BY number DESC LIMIT ?1)",
            params![retired::ALL_KEPT_MAX],
        )?;
    }
    if change.replaces_all {
        let keep: HashSet<&str> = change.keep.iter().map(String::as_str).collect();
        let names: Vec<String> = {
            let mut statement = transaction.prepare("SELECT name FROM resources")?;
            let rows = statement.query_map([], |row| row.get(0))?;
            rows.collect::<Result<_, _>>()?
        };
        let mut delete = transaction.prepare_cached("DELETE FROM resources WHERE name = ?1")?;
        for name in names.iter().filter(|name| !keep.contains(name.as_str())) {
            delete.execute(params![name])?;
        }
        transaction.execute("DELETE FROM refused", [])?;
    }
    for name in &change.deletes {
        transaction
            .prepare_cached("DELETE FROM resources WHERE name = ?1")?
            .execute(params![name])?;
    }
    // In the order of the table: many in any other order would not stay in SQLite's cache.
    let mut upserts: Vec<_> = change.upserts.iter().collect();
    upserts.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    for upsert in &upserts {
        transaction
            .prepare_cached("INSERT OR REPLACE INTO resources VALUES (?1, ?2)")?
            .execute(params![upsert.name, upsert.encoded.as_ref()])?;
    }
    if !change.replaces_all {
        let upserted = upserts.iter().map(|upsert| &upsert.name);
        for name in change.deletes.iter().chain(upserted) {
            transaction
                .prepare_cached("DELETE FROM refused WHERE name = ?1")?
                .execute(params![name])?;
        }
    }
    for name in &change.keep {
        transaction
            .prepare_cached("INSERT OR IGNORE INTO refused VALUES (?1)")?
            .execute(params![name])?;
    }
    let revision = change.revision.to_string();
    for (key, value) in [
        ("secrets", mark(public_key, &change.incarnation, &revision)),
        ("incarnation", change.incarnation.clone()),
        ("revision", revision),
    ] {
        transaction
            .prepare_cached("INSERT OR REPLACE INTO meta VALUES (?1, ?2)")?
            .execute(params![key, value])?;
    }
    transaction.commit()
}
