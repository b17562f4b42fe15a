//! Opening a database.

use std::{path::Path, sync::Arc, time::Duration};

use sea_orm::{
    ActiveModelTrait as _, ActiveValue::Set, ConnectOptions, ConnectionTrait as _, Database,
    DatabaseBackend, DatabaseConnection, DbErr, EntityTrait as _, Statement,
};
use sea_orm_migration::MigratorTrait as _;
use secrecy::{ExposeSecret as _, SecretString};
use signalbox_migrations::Migrator;
use signalbox_model::error::Error;
use tokio::sync::{Mutex, watch};

use super::{HISTORY, REVISION, Store, counter, entity};

const CONNECTIONS_MAX: u32 = 8;
const DATABASE_FILE: &str = "control-plane.sqlite";

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
        let mut options = ConnectOptions::new(format!("sqlite://{}?mode=rwc", path.display()));
        options.map_sqlx_sqlite_opts(|options| {
            options
                .pragma("journal_mode", "WAL")
                // A report is acknowledged when it is durable.
                .pragma("synchronous", "FULL")
                .foreign_keys(true)
                .busy_timeout(Duration::from_secs(10))
        });
        Self::open(options, path.display().to_string()).await
    }

    /// Opens the database at `url`: `postgres://…` or `sqlite://…`.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open_url(url: &str) -> Result<Self, OpenError> {
        if let Some(path) = url.strip_prefix("sqlite://") {
            return Self::open_sqlite(Path::new(path.split('?').next().unwrap_or(path))).await;
        }
        // What follows the last '@' is host and name; what stands before may hold a password.
        let shown = url.rsplit('@').next().unwrap_or_default();
        let shown = shown.split('?').next().unwrap_or_default().to_owned();
        Self::open(ConnectOptions::new(url), shown).await
    }

    async fn open(mut options: ConnectOptions, database: String) -> Result<Self, OpenError> {
        options
            .max_connections(CONNECTIONS_MAX)
            .connect_timeout(Duration::from_secs(10))
            .acquire_timeout(Duration::from_secs(10))
            .sqlx_logging(false);
        let connect = |source| OpenError::Connect {
            database: database.clone(),
            source,
        };
        let db = Database::connect(options).await.map_err(connect)?;
        if let Some(migration) = unknown_migration(&db).await.map_err(connect)? {
            return Err(OpenError::NewerSchema {
                database,
                migration,
            });
        }
        let migrate = |source| OpenError::Migrate {
            database: database.clone(),
            source,
        };
        Migrator::up(&db, None).await.map_err(migrate)?;
        let incarnation = prepare_counters(&db).await.map_err(migrate)?;
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
        };
        store.adopt_audits().await?;
        Ok(store)
    }
}

/// A migration that was applied and is not known here.
async fn unknown_migration(db: &DatabaseConnection) -> Result<Option<String>, DbErr> {
    let backend = db.get_database_backend();
    let exists = match backend {
        DatabaseBackend::Sqlite => "SELECT name FROM sqlite_master WHERE name = 'seaql_migrations'",
        _ => {
            "SELECT table_name FROM information_schema.tables \
             WHERE table_schema = current_schema() AND table_name = 'seaql_migrations'"
        }
    };
    if db
        .query_one_raw(Statement::from_string(backend, exists))
        .await?
        .is_none()
    {
        return Ok(None);
    }
    let applied = "SELECT version FROM seaql_migrations ORDER BY version DESC";
    let known: Vec<String> = Migrator::migrations()
        .iter()
        .map(|migration| migration.name().to_owned())
        .collect();
    for row in db
        .query_all_raw(Statement::from_string(backend, applied))
        .await?
    {
        let version: String = row.try_get("", "version")?;
        if !known.contains(&version) {
            return Ok(Some(version));
        }
    }
    Ok(None)
}

/// Makes the counters, once; gives the database's incarnation.
async fn prepare_counters(db: &DatabaseConnection) -> Result<String, DbErr> {
    use entity::counter::{ActiveModel, Entity};
    for name in [REVISION, HISTORY] {
        if Entity::find_by_id(name.to_owned()).one(db).await?.is_none() {
            let label = uuid::Uuid::new_v4().simple().to_string();
            let made = ActiveModel {
                name: Set(name.to_owned()),
                // Not 0, so that a node without a revision is never taken for one that is up to date.
                value: Set(1),
                label: Set(label),
            };
            // Another replica may have made it meanwhile.
            if let Err(error) = made.insert(db).await
                && Entity::find_by_id(name.to_owned()).one(db).await?.is_none()
            {
                return Err(error);
            }
        }
    }
    let revision = Entity::find_by_id(REVISION.to_owned()).one(db).await?;
    revision
        .map(|row| row.label)
        .ok_or_else(|| DbErr::RecordNotFound("counter revision".to_owned()))
}
