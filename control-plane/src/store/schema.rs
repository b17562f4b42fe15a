//! The schema: brought up to date once, however many replicas start at once; and worked with although it is newer, where the
//! later version said that it may be (`docs/decisions/0026-replicas.md`).

use sea_orm::{
    ActiveModelTrait as _, ActiveValue::Set, ConnectionTrait, DatabaseBackend, DatabaseConnection,
    DatabaseTransaction, DbErr, EntityTrait as _, Statement, TransactionTrait as _,
};
use sea_orm_migration::MigratorTrait as _;
use signalbox_migrations::{self as migrations, Migrator};

use super::{HISTORY, OpenError, REVISION, entity, open::Connected};

/// Not a count: its label says where the content of this database was moved to.
const MOVED: &str = "moved";

/// Held by whoever changes a schema: 0x73626d67, "sbmg", and the schema's name.
const LOCK: &str = "SELECT pg_advisory_xact_lock(1935830375, hashtext(current_schema()))";

/// How the schema of a database stands to the one that this program knows.
#[derive(Debug, Default)]
struct Standing {
    /// Applied, and not known here; the newest first.
    unknown: Vec<String>,
    /// Known, and not applied.
    pending: Vec<String>,
    /// The lowest level of a program that works with it, where it says so.
    compatibility: Option<i64>,
}

impl Standing {
    /// The migration by which it is not for this program.
    fn obstacle(&self) -> Option<&String> {
        let is_for_us = self
            .compatibility
            .is_some_and(|lowest| lowest <= migrations::level());
        // One that lacks some of ours and has others comes from no version that was before or after this one.
        let newest = self.unknown.first()?;
        (!is_for_us || !self.pending.is_empty()).then_some(newest)
    }
}

/// Applies what is pending, makes the counters; gives the database's incarnation.
pub(super) async fn bring_up_to_date(connected: &Connected) -> Result<String, OpenError> {
    let Connected { db, shown } = connected;
    let migrate = |source| OpenError::Migrate {
        database: shown.clone(),
        source,
    };
    let lock = lock(db).await.map_err(migrate)?;
    let standing = standing(connected).await?;
    if let Some(newest) = standing.unknown.first() {
        tracing::warn!(
            migration = newest,
            "the database's schema is newer, and works with this version: an upgrade is under way"
        );
    }
    if !standing.pending.is_empty() {
        Migrator::up(db, None).await.map_err(migrate)?;
    }
    let incarnation = prepare_counters(db).await.map_err(migrate)?;
    if let Some(lock) = lock {
        lock.commit().await.map_err(migrate)?;
    }
    Ok(incarnation)
}

/// What [`bring_up_to_date`] would apply.
pub(super) async fn pending(connected: &Connected) -> Result<Vec<String>, OpenError> {
    Ok(standing(connected).await?.pending)
}

/// Where the content of a database was moved to, if it was.
pub(super) async fn moved_to(db: &impl ConnectionTrait) -> Result<Option<String>, DbErr> {
    let row = entity::counter::Entity::find_by_id(MOVED.to_owned())
        .one(db)
        .await?;
    Ok(row.map(|row| row.label))
}

/// Notes where the content of a database is from now on.
pub(super) async fn note_moved(db: &impl ConnectionTrait, to: &str) -> Result<(), DbErr> {
    let row = entity::counter::ActiveModel {
        name: Set(MOVED.to_owned()),
        value: Set(0),
        label: Set(to.to_owned()),
    };
    row.insert(db).await.map(|_| ())
}

/// Forgets it.
pub(super) async fn forget_moved(db: &impl ConnectionTrait) -> Result<(), DbErr> {
    entity::counter::Entity::delete_by_id(MOVED.to_owned())
        .exec(db)
        .await
        .map(|_| ())
}

/// Keeps other replicas from doing the same until its end. SQLite has no other: the data folder is locked.
async fn lock(db: &DatabaseConnection) -> Result<Option<DatabaseTransaction>, DbErr> {
    if db.get_database_backend() != DatabaseBackend::Postgres {
        return Ok(None);
    }
    let lock = db.begin().await?;
    lock.execute_unprepared(LOCK).await?;
    Ok(Some(lock))
}

/// # Errors
/// Also when this program does not work with the schema.
async fn standing(connected: &Connected) -> Result<Standing, OpenError> {
    let Connected { db, shown } = connected;
    let standing = read_standing(db)
        .await
        .map_err(|source| OpenError::Connect {
            database: shown.clone(),
            source,
        })?;
    match standing.obstacle() {
        Some(migration) => Err(OpenError::NewerSchema {
            database: shown.clone(),
            migration: migration.clone(),
        }),
        None => Ok(standing),
    }
}

async fn read_standing(db: &DatabaseConnection) -> Result<Standing, DbErr> {
    let backend = db.get_database_backend();
    let known: Vec<String> = Migrator::migrations()
        .iter()
        .map(|migration| migration.name().to_owned())
        .collect();
    let exists = match backend {
        DatabaseBackend::Sqlite => "SELECT name FROM sqlite_master WHERE name = 'seaql_migrations'",
        _ => {
            "SELECT table_name FROM information_schema.tables \
             WHERE table_schema = current_schema() AND table_name = 'seaql_migrations'"
        }
    };
    let exists = Statement::from_string(backend, exists);
    if db.query_one_raw(exists).await?.is_none() {
        return Ok(Standing {
            pending: known,
            ..Standing::default()
        });
    }
    let applied = "SELECT version FROM seaql_migrations ORDER BY version DESC";
    let applied = Statement::from_string(backend, applied);
    let mut versions = Vec::new();
    for row in db.query_all_raw(applied).await? {
        versions.push(row.try_get::<String>("", "version")?);
    }
    let is_pending = |name: &String| !versions.contains(name);
    let pending: Vec<String> = known
        .iter()
        .filter(|name| is_pending(name))
        .cloned()
        .collect();
    let unknown: Vec<String> = versions
        .into_iter()
        .filter(|version| !known.contains(version))
        .collect();
    // What comes from before there was a row has no unknown migrations that this program could live with.
    let compatibility = match unknown.is_empty() {
        true => None,
        false => entity::counter::Entity::find_by_id(migrations::COMPATIBILITY.to_owned())
            .one(db)
            .await?
            .map(|row| row.value),
    };
    Ok(Standing {
        unknown,
        pending,
        compatibility,
    })
}

/// Makes the counters, once; gives the database's incarnation.
async fn prepare_counters(db: &DatabaseConnection) -> Result<String, DbErr> {
    use entity::counter::{ActiveModel, Entity};
    for name in [REVISION, HISTORY] {
        if Entity::find_by_id(name.to_owned()).one(db).await?.is_none() {
            let made = ActiveModel {
                name: Set(name.to_owned()),
                // Not 0, so that a node without a revision is never taken for one that is up to date.
                value: Set(1),
                label: Set(new_incarnation()),
            };
            made.insert(db).await?;
        }
    }
    let revision = Entity::find_by_id(REVISION.to_owned()).one(db).await?;
    revision
        .map(|row| row.label)
        .ok_or_else(|| DbErr::RecordNotFound("counter revision".to_owned()))
}

/// A name that no other state of any database has.
pub(super) fn new_incarnation() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}
