//! Opening a database.

use std::{path::Path, sync::Arc, time::Duration};

use sea_orm::{ConnectOptions, Database, DatabaseBackend, DatabaseConnection, DbErr};
use secrecy::{ExposeSecret as _, SecretString};
use signalbox_model::error::Error;
use tokio::sync::{Mutex, watch};

use super::{HISTORY, REVISION, Store, counter, schema};

/// Connections of one process. One of them listens, where there may be other replicas.
const CONNECTIONS_MAX: u32 = 9;
/// Name of the SQLite database in a data folder.
pub const DATABASE_FILE: &str = "control-plane.sqlite";
/// What the write-ahead log of SQLite is cut down to when it was taken into the database: a long read (a back-up) lets it grow.
const WAL_KEPT_BYTES: u64 = 128 * 1024 * 1024;
/// Pages (of 4 KiB) of the write-ahead log after which a commit takes it into the database, where [`Store::take_in_log`] did not, as
/// it does in a server before there are so many. In a long history each execution writes pages of indices that nothing else
/// writes soon (its id and its message's are in no order), and others that all write: the larger the log, the fewer times the
/// latter are written twice.
const WAL_CHECKPOINT_PAGES: u32 = 32_768;
/// Page cache of one connection, in KiB. A report that does not fit is written to the log piece by piece, and read again.
const CACHE_KIB: u32 = 16 * 1024;

/// Why a database cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It does not answer, or is none.
    #[error("the database {database} cannot be opened")]
    Connect {
        /// Which, without credentials.
        database: String,
        /// Why.
        source: DbErr,
    },
    /// It was written by a later version of Signalbox.
    #[error(
        "the database {database} has a newer schema ({migration}) than this Signalbox knows; upgrade it"
    )]
    NewerSchema {
        /// Which, without credentials.
        database: String,
        /// Newest migration that is not known.
        migration: String,
    },
    /// There is none.
    #[error("there is no database {database}")]
    None {
        /// Which.
        database: String,
    },
    /// Its content is elsewhere.
    #[error("the database {database} was moved to {to}: start with that as --database-url")]
    Moved {
        /// Which, without credentials.
        database: String,
        /// Where to, without credentials.
        to: String,
    },
    /// Its schema cannot be brought up to date.
    #[error("the schema of the database {database} cannot be brought up to date")]
    Migrate {
        /// Which, without credentials.
        database: String,
        /// Why.
        source: DbErr,
    },
    /// The audit log of the version before cannot be taken over.
    #[error("the audit log cannot be brought up to date")]
    Audit(#[from] Error),
}

impl Store {
    /// Opens the database at `url`; without one, opens (or makes) the SQLite database in `dir`.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open_at(dir: &Path, url: Option<&SecretString>) -> Result<Self, OpenError> {
        match url {
            Some(url) => Self::open_url(url.expose_secret()).await,
            None => Self::open_sqlite(&dir.join(DATABASE_FILE)).await,
        }
    }

    /// Opens (or makes) the SQLite database at `path`.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open_sqlite(path: &Path) -> Result<Self, OpenError> {
        Self::over(Connected::sqlite(path, true).await?).await
    }

    /// Opens the database at `url`: `postgres://…` or `sqlite://…`.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open_url(url: &str) -> Result<Self, OpenError> {
        if let Some(path) = url.strip_prefix("sqlite://") {
            return Self::open_sqlite(Path::new(path.split('?').next().unwrap_or(path))).await;
        }
        Self::over(Connected::url(url).await?).await
    }

    async fn over(connected: Connected) -> Result<Self, OpenError> {
        let incarnation = schema::bring_up_to_date(&connected).await?;
        let Connected { db, shown } = connected;
        let connect = |source| OpenError::Connect {
            database: shown.clone(),
            source,
        };
        if let Some(to) = schema::moved_to(&db).await.map_err(connect)? {
            return Err(OpenError::Moved {
                database: shown,
                to,
            });
        }
        let writer = match db.get_database_backend() {
            DatabaseBackend::Sqlite => Some(Arc::new(Mutex::new(()))),
            _ => None,
        };
        let revision = counter(&db, REVISION).await.map_err(connect)?;
        let history = counter(&db, HISTORY).await.map_err(connect)?;
        let store = Self {
            db,
            writer,
            incarnation: incarnation.into(),
            revision: watch::Sender::new(revision),
            history: watch::Sender::new(history),
            errands: watch::Sender::new(0),
            committed: Arc::default(),
            trouble: watch::Sender::new(None),
        };
        store.adopt_audits().await?;
        Ok(store)
    }

    /// The migrations that a start would apply, of the database at `url`, or of the one in `dir`. Changes nothing.
    ///
    /// # Errors
    /// [`OpenError`]; also where there is none.
    pub async fn pending_migrations(
        dir: &Path,
        url: Option<&SecretString>,
    ) -> Result<Vec<String>, OpenError> {
        let connected = match url {
            Some(url) => Connected::url(url.expose_secret()).await?,
            None => Connected::sqlite(&dir.join(DATABASE_FILE), false).await?,
        };
        schema::pending(&connected).await
    }
}

/// A database that answers; nothing is known of its schema.
pub(super) struct Connected {
    pub(super) db: DatabaseConnection,
    /// Which it is, without credentials.
    pub(super) shown: String,
}

impl Connected {
    /// The SQLite database at `path`; made, where it may be.
    pub(super) async fn sqlite(path: &Path, is_made: bool) -> Result<Self, OpenError> {
        let shown = path.display().to_string();
        if !is_made && !path.exists() {
            return Err(OpenError::None { database: shown });
        }
        if std::fs::metadata(path).map_or(true, |file| file.len() == 0) {
            let mut options = sqlite_options(path, true);
            options.max_connections(1).sqlx_logging(false);
            let made = async { Database::connect(options).await?.close().await };
            made.await.map_err(|source| OpenError::Connect {
                database: shown.clone(),
                source,
            })?;
        }
        Self::by(sqlite_options(path, false), shown).await
    }

    /// The PostgreSQL database at `url`.
    pub(super) async fn url(url: &str) -> Result<Self, OpenError> {
        Self::by(ConnectOptions::new(url), shown(url)).await
    }

    async fn by(mut options: ConnectOptions, shown: String) -> Result<Self, OpenError> {
        options
            .max_connections(CONNECTIONS_MAX)
            .connect_timeout(Duration::from_secs(10))
            .acquire_timeout(Duration::from_secs(10))
            .sqlx_logging(false);
        match Database::connect(options).await {
            Ok(db) => Ok(Self { db, shown }),
            Err(source) => Err(OpenError::Connect {
                database: shown,
                source,
            }),
        }
    }
}

/// How the SQLite database at `path` is opened, or made.
fn sqlite_options(path: &Path, is_new: bool) -> ConnectOptions {
    let mode = if is_new { "rwc" } else { "rw" };
    let mut options = ConnectOptions::new(format!("sqlite://{}?mode={mode}", path.display()));
    options.map_sqlx_sqlite_opts(move |options| {
        let options = if is_new {
            // What is deleted can be given back. It counts before the first page is written, and would write each time.
            options.pragma("auto_vacuum", "INCREMENTAL")
        } else {
            options
        };
        options
            .pragma("journal_mode", "WAL")
            // A report is acknowledged when it is durable.
            .pragma("synchronous", "FULL")
            .pragma("journal_size_limit", WAL_KEPT_BYTES.to_string())
            .pragma("wal_autocheckpoint", WAL_CHECKPOINT_PAGES.to_string())
            .pragma("cache_size", format!("-{CACHE_KIB}"))
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(10))
    });
    options
}

/// A database's URL without what may hold a password: what follows the last '@' is host and name.
pub(super) fn shown(url: &str) -> String {
    let shown = url.rsplit('@').next().unwrap_or_default();
    shown.split('?').next().unwrap_or_default().to_owned()
}
