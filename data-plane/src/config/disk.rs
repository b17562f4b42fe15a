//! The last known good on disk: one row for each resource, so that a change costs what it changes.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OptionalExtension as _, params};

use super::Change;

const VERSION: i64 = 1;

const TABLES: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE resources (name TEXT PRIMARY KEY, encoded BLOB NOT NULL) STRICT, WITHOUT ROWID;
-- Resources whose newest state this node cannot take.
CREATE TABLE refused (name TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES ('incarnation', ''), ('revision', '0');
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
    pub(super) fn open(path: &Path, public_key: &[u8]) -> Result<Self, ConfigError> {
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
            Ok(())
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
            Ok(Stored {
                refused: refused.collect::<Result<_, _>>()?,
                is_whole: meta("secrets")? == mark(&self.public_key, &incarnation, &revision),
                revision: revision.parse().unwrap_or(0),
                incarnation,
                resources: rows.collect::<Result<_, _>>()?,
            })
        };
        load().map_err(|source| self.failed(source))
    }

    pub(super) fn apply(&mut self, change: &Change) -> Result<(), ConfigError> {
        apply(&mut self.connection, change, &self.public_key).map_err(|source| {
            ConfigError::Sqlite {
                path: self.path.clone(),
                source,
            }
        })
    }
}

fn apply(
    connection: &mut Connection,
    change: &Change,
    public_key: &str,
) -> Result<(), rusqlite::Error> {
    let transaction = connection.transaction()?;
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
