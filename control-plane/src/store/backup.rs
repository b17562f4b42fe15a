//! Back-ups of a SQLite database while it is written to, and putting one back.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use sea_orm::{
    ColumnTrait as _, ConnectOptions, ConnectionTrait as _, Database, DatabaseBackend,
    DatabaseConnection, DbErr, EntityTrait as _, QueryFilter as _, Statement,
    sea_query::{Expr, ExprTrait as _},
};
use signalbox_model::error::Error;

use super::{
    Actor, HISTORY, OpenError, REVISION, Store, Tx, entity, internal,
    open::{Connected, DATABASE_FILE},
    schema,
};

/// How often a long back-up is looked at.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);
/// By how much the counters of a database that was put back go on: what was known of its later states (etags, revisions) must
/// not be taken for what is written next.
const LEAP: i64 = 1 << 30;

/// A whole database in one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// Its size.
    pub bytes: u64,
    /// The revision of its configuration.
    pub revision: i64,
}

/// Why there is no back-up, or it was not put back. Each is one line for an operator.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The database.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Something is there already.
    #[error("{} exists: nothing is overwritten", .0.display())]
    Exists(PathBuf),
    /// A file.
    #[error("{} cannot be {doing}", path.display())]
    File {
        /// What was tried.
        doing: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// SQLite cannot name it.
    #[error("the path {} is not UTF-8", .0.display())]
    Path(PathBuf),
    /// The copy cannot be made.
    #[error("the database cannot be copied")]
    Copy(#[source] DbErr),
    /// It is no back-up.
    #[error("{} is no database of a control plane", path.display())]
    Foreign {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: DbErr,
    },
    /// It is damaged.
    #[error("{} is damaged: {what}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What SQLite says.
        what: String,
    },
    /// The database that was put back.
    #[error(transparent)]
    Store(#[from] Error),
}

impl BackupError {
    fn file(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            doing,
            path,
            source,
        }
    }
}

/// Copies the SQLite database of the data folder `dir` as it is at one moment, into the new file `to`. A control plane may use it
/// meanwhile. `progress` is told how many bytes of how many are written.
///
/// # Errors
/// [`BackupError`]; there is no file then.
pub async fn back_up(
    dir: &Path,
    to: &Path,
    progress: impl Fn(u64, u64),
) -> Result<Backup, BackupError> {
    if to.exists() {
        return Err(BackupError::Exists(to.to_owned()));
    }
    let source = dir.join(DATABASE_FILE);
    let Connected { db, .. } = Connected::sqlite(&source, false).await?;
    let partial = partial(to);
    remove(&partial)?;
    let made = copy(&db, &source, &partial, progress).await;
    let checked = match made {
        Ok(()) => check(&partial).await,
        Err(error) => Err(error),
    };
    match checked {
        Ok(backup) => {
            put_in_place(&partial, to)?;
            Ok(backup)
        }
        Err(error) => {
            // What there is of it is of no use.
            let _left = fs::remove_file(&partial);
            Err(error)
        }
    }
}

async fn copy(
    db: &DatabaseConnection,
    source: &Path,
    partial: &Path,
    progress: impl Fn(u64, u64),
) -> Result<(), BackupError> {
    // Made here, and empty, which SQLite accepts, so that nobody else can read it.
    private(partial).map_err(BackupError::file("made", partial))?;
    let path = partial.to_str();
    let path = path.ok_or_else(|| BackupError::Path(partial.to_owned()))?;
    let statement =
        Statement::from_sql_and_values(DatabaseBackend::Sqlite, "VACUUM INTO ?", [path.into()]);
    let size = |path: &Path| fs::metadata(path).map_or(0, |file| file.len());
    let mut copying = std::pin::pin!(db.execute_raw(statement));
    let mut every = tokio::time::interval(PROGRESS_INTERVAL);
    every.tick().await;
    loop {
        tokio::select! {
            copied = &mut copying => {
                copied.map_err(BackupError::Copy)?;
                return Ok(());
            }
            _ = every.tick() => progress(size(partial), size(source)),
        }
    }
}

/// Puts a back-up into the data folder `dir`, which has no database, as another state than any that nodes know.
///
/// # Errors
/// [`BackupError`]; the folder has no database then.
pub async fn put_back(dir: &Path, from: &Path, actor: &Actor) -> Result<Backup, BackupError> {
    let target = dir.join(DATABASE_FILE);
    for suffix in ["", "-wal", "-shm"] {
        let path = with_suffix(&target, suffix);
        if path.exists() {
            return Err(BackupError::Exists(path));
        }
    }
    check(from).await?;
    let partial = partial(&target);
    for suffix in ["", "-wal", "-shm"] {
        remove(&with_suffix(&partial, suffix))?;
    }
    let result = put_back_as(from, &partial, actor).await;
    match result {
        Ok(backup) => {
            put_in_place(&partial, &target)?;
            Ok(backup)
        }
        Err(error) => {
            for suffix in ["", "-wal", "-shm"] {
                let _left = fs::remove_file(with_suffix(&partial, suffix));
            }
            Err(error)
        }
    }
}

async fn put_back_as(from: &Path, partial: &Path, actor: &Actor) -> Result<Backup, BackupError> {
    let mut source = File::open(from).map_err(BackupError::file("read", from))?;
    let mut copy = private(partial).map_err(BackupError::file("made", partial))?;
    let copying = tokio::task::spawn_blocking(move || {
        io::copy(&mut source, &mut copy)?;
        copy.sync_all()
    });
    let copied = copying
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)));
    copied.map_err(BackupError::file("written", partial))?;
    // Takes an older schema to the newest.
    let connected = Connected::sqlite(partial, false).await?;
    schema::bring_up_to_date(&connected).await?;
    schema::forget_moved(&connected.db)
        .await
        .map_err(BackupError::Copy)?;
    drop(connected);
    let store = Store::open_sqlite(partial).await?;
    let revision = store.write(async |tx| tx.renew(actor).await).await?;
    // All of it is in the one file then.
    store
        .db
        .execute_unprepared("PRAGMA wal_checkpoint(TRUNCATE)")
        .await
        .map_err(BackupError::Copy)?;
    store.db.close().await.map_err(BackupError::Copy)?;
    for suffix in ["-wal", "-shm"] {
        remove(&with_suffix(partial, suffix))?;
    }
    let file = fs::metadata(partial).map_err(BackupError::file("read", partial))?;
    Ok(Backup {
        bytes: file.len(),
        revision,
    })
}

/// Looks whether a file is a whole database of a control plane, without changing it.
async fn check(path: &Path) -> Result<Backup, BackupError> {
    let foreign = |source| BackupError::Foreign {
        path: path.to_owned(),
        source,
    };
    let file = fs::metadata(path).map_err(BackupError::file("read", path))?;
    let mut options = ConnectOptions::new(format!("sqlite://{}?mode=ro", path.display()));
    options.max_connections(1).sqlx_logging(false);
    let db = Database::connect(options).await.map_err(foreign)?;
    let statement = Statement::from_string(DatabaseBackend::Sqlite, "PRAGMA quick_check(1)");
    let row = db.query_one_raw(statement).await.map_err(foreign)?;
    let said: Option<String> = row
        .map(|row| row.try_get_by_index(0))
        .transpose()
        .map_err(foreign)?;
    if said.as_deref() != Some("ok") {
        return Err(BackupError::Damaged {
            path: path.to_owned(),
            what: said.unwrap_or_default(),
        });
    }
    let revision = super::counter(&db, REVISION).await.map_err(foreign)?;
    db.close().await.map_err(foreign)?;
    Ok(Backup {
        bytes: file.len(),
        revision,
    })
}

impl Tx {
    /// Makes a database that was put back another than any that nodes have met; gives its revision.
    ///
    /// Nodes take all of its configuration anew. Schedules go on from now: what has ticked since the back-up was made has run.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn renew(&mut self, actor: &Actor) -> Result<i64, Error> {
        use entity::{counter, node, schedule};
        for name in [REVISION, HISTORY] {
            counter::Entity::update_many()
                .col_expr(
                    counter::Column::Value,
                    Expr::col(counter::Column::Value).add(LEAP),
                )
                .col_expr(
                    counter::Column::Label,
                    Expr::value(schema::new_incarnation()),
                )
                .filter(counter::Column::Name.eq(name))
                .exec(&self.inner)
                .await
                .map_err(|e| internal(&e))?;
        }
        schedule::Entity::update_many()
            .col_expr(schedule::Column::AfterUs, Expr::value(self.now_us()))
            .col_expr(schedule::Column::NextUs, Expr::value(Option::<i64>::None))
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        node::Entity::update_many()
            .col_expr(node::Column::Connected, Expr::value(false))
            .col_expr(node::Column::Stream, Expr::value(Option::<String>::None))
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        self.audit(actor, "RestoreDatabase", "database", Vec::new());
        super::counter(&self.inner, REVISION)
            .await
            .map_err(|e| internal(&e))
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn partial(path: &Path) -> PathBuf {
    with_suffix(path, ".partial")
}

fn remove(path: &Path) -> Result<(), BackupError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(BackupError::file("removed", path)(error))
        }
        _ => Ok(()),
    }
}

/// A new, empty file that only its owner may read.
fn private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Gives a whole file its name, durably.
fn put_in_place(partial: &Path, to: &Path) -> Result<(), BackupError> {
    let sync = |path: &Path| File::open(path).and_then(|file| file.sync_all());
    sync(partial).map_err(BackupError::file("written", partial))?;
    fs::rename(partial, to).map_err(BackupError::file("renamed", partial))?;
    let folder = match to.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    sync(folder).map_err(BackupError::file("written", folder))
}
