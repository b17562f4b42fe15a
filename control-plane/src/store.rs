//! The database: SQLite (WAL, embedded) or PostgreSQL, by SeaORM.
//!
//! Everything that changes something runs in [`Store::write`]: one transaction that holds the row, the audit entry and
//! the change-log entry. The revision comes from a row that the transaction locks, so that revisions become visible in
//! their order on PostgreSQL too.

mod audit;
mod awaited;
mod backup;
mod calls;
mod cancellations;
mod changes;
mod checkpoint;
mod children;
mod commands;
mod config;
mod deleted;
mod deliveries;
mod enrollment;
mod entity;
mod errands;
mod history;
mod key_scope;
mod key_uses;
mod labels;
mod links;
mod near;
mod nodes;
mod notify;
mod open;
mod page;
mod projects;
mod rate_limit;
mod records;
mod resources;
mod retention;
mod retries;
mod rotation;
mod schedules;
mod schema;
mod sealed;
mod secrets;
mod signals;
mod tokens;
mod transfer;
mod usage;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use sea_orm::{
    AccessMode, ActiveModelTrait as _,
    ActiveValue::Set,
    ColumnTrait as _, ConnectionTrait, DatabaseBackend, DatabaseConnection, DatabaseTransaction,
    DbErr, EntityTrait, IntoActiveModel, IsolationLevel, QueryFilter as _, QuerySelect as _,
    RuntimeErr, SqlErr, Statement, TransactionTrait as _,
    sea_query::{Expr, ExprTrait as _},
    sqlx,
};
use signalbox_model::{error::Error, ids::WorkflowName};
use tokio::sync::{Mutex, MutexGuard, Notify, watch};

pub use audit::{AuditFilter, Audited};
pub use awaited::Awaited;
pub use backup::{Backup, BackupError, back_up, put_back};
pub use cancellations::{Cancel, CancelPlace};
pub use changes::ConfigChange;
pub use children::Child;
pub use commands::OpenCommand;
pub use config::Made;
pub use deleted::{Deletable, Deleted};
pub use deliveries::DeliveryFilter;
pub use enrollment::{EnrollmentTokenRow, NodeIdentityRow};
pub use errands::Errands;
pub use history::{ExecutionDetail, ExecutionFilter, Times};
pub use near::{NEAR_MAX, Near};
pub use nodes::{Arrival, Heard};
pub use notify::Trouble;
pub use open::{DATABASE_FILE, OpenError};
pub use page::{Order, PAGE_MAX_BYTES, Page, PageOf, Placed, Position, Tokens};
pub use projects::Contents;
pub use records::{ConfirmedTopic, trigger_of};
pub use resources::{Behind, ConfigEntry, ConfigKind, ConfigPage, KeyEntry, WorkflowEntry};
pub use schedules::{NEVER_US, ScheduleRow};
pub use sealed::{Resealed, Sealed};
pub use signals::{NewSignal, Target, read_signal};
pub use tokens::{RevokedTokenRow, TokenKeyRow};
pub use transfer::{Sum, TransferError, Transferred, transfer};

/// Rows as they are.
pub mod rows {
    pub use super::entity::{
        api_key::Model as ApiKey, attempt::Model as Attempt, delivery::Model as Delivery,
        event::Model as Event, execution::Model as Execution, key_use::Model as KeyUse,
        node::Model as Node, project::Model as Project, secret::Model as Secret,
        signal::Model as Signal, step_run::Model as StepRun, subscription::Model as Subscription,
        workflow::Model as Workflow, workflow_version::Model as WorkflowVersion,
    };
}

const REVISION: &str = "revision";
const HISTORY: &str = "history";
/// Resources that one statement names.
const NAMES_MAX: usize = 500;
/// Not a count: its label is the id of the master key that values are sealed under.
const MASTER_KEY: &str = "master-key";

/// The database.
#[derive(Clone, Debug)]
pub struct Store {
    db: DatabaseConnection,
    /// SQLite has one writer; waiting here is fair, and never ends in SQLITE_BUSY.
    writer: Option<Arc<Mutex<()>>>,
    incarnation: Arc<str>,
    revision: watch::Sender<i64>,
    history: watch::Sender<i64>,
    /// Counts what was left for nodes to be told.
    errands: watch::Sender<u64>,
    /// Of SQLite: something was written.
    committed: Arc<Notify>,
    /// What keeps the database from being worked with.
    trouble: watch::Sender<Option<Trouble>>,
}

/// Who does something.
#[derive(Clone, Debug)]
pub struct Actor {
    /// Subject of the token.
    pub subject: String,
    /// The request's id, when it has one.
    pub request_id: Option<String>,
    /// The trace of the call, when it has one.
    pub trace_id: Option<String>,
}

/// A transaction that writes.
pub struct Tx {
    inner: DatabaseTransaction,
    /// Of the database that was opened.
    incarnation: Arc<str>,
    now: Timestamp,
    revision: Option<i64>,
    history: Option<i64>,
    /// There is something to tell nodes.
    wakes_nodes: bool,
    /// Whose deliveries of which verdict have become more.
    grown: BTreeSet<(WorkflowName, &'static str)>,
    /// By how many bytes the histories of projects become larger.
    growth: BTreeMap<String, i64>,
    /// What was done, for the audit log.
    audits: Vec<audit::Pending>,
}

impl Store {
    /// Names the database for its lifetime: nodes that come from another one start anew.
    #[must_use]
    pub fn incarnation(&self) -> &str {
        &self.incarnation
    }

    /// The newest revision of the configuration that this process knows; changes wake whoever follows.
    #[must_use]
    pub fn revision(&self) -> watch::Receiver<i64> {
        self.revision.subscribe()
    }

    /// The newest state of the history that this process knows; changes wake whoever watches executions.
    #[must_use]
    pub fn history(&self) -> watch::Receiver<i64> {
        self.history.subscribe()
    }

    /// Runs `work` in one transaction.
    ///
    /// # Errors
    /// What `work` gave; nothing was written then. Or that the database failed.
    pub async fn write<T>(
        &self,
        work: impl AsyncFnOnce(&mut Tx) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let _writer = self.writer().await;
        let mut tx = self.begin().await?;
        let result = work(&mut tx).await;
        self.end(tx, result).await
    }

    /// The same for work that changes the configuration by what it reads of it: nobody else does meanwhile, at any replica.
    ///
    /// # Errors
    /// As [`Store::write`].
    pub async fn configure<T>(
        &self,
        work: impl AsyncFnOnce(&mut Tx) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let _writer = self.writer().await;
        let mut tx = self.begin().await?;
        let result = match tx.lock_configuration().await {
            Ok(()) => work(&mut tx).await,
            Err(error) => Err(error),
        };
        self.end(tx, result).await
    }

    /// Runs `work`, which only reads, on one state of the database: what others commit meanwhile shows in none of its
    /// queries.
    ///
    /// # Errors
    /// What `work` gave, or that the database failed.
    async fn read<T>(
        &self,
        work: impl AsyncFnOnce(&DatabaseTransaction) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let (isolation, access) = match self.db.get_database_backend() {
            DatabaseBackend::Postgres => (
                Some(IsolationLevel::RepeatableRead),
                Some(AccessMode::ReadOnly),
            ),
            // Every transaction of SQLite reads one state.
            _ => (None, None),
        };
        let tx = self.db.begin_with_config(isolation, access).await;
        let tx = tx.map_err(|e| internal(&e))?;
        let result = work(&tx).await;
        if let Err(error) = tx.rollback().await {
            tracing::warn!(%error, "a transaction that read did not end well");
        }
        result
    }

    async fn writer(&self) -> Option<MutexGuard<'_, ()>> {
        match &self.writer {
            Some(writer) => Some(writer.lock().await),
            None => None,
        }
    }

    /// Begins to write: not into a database that is another one now, or is not understood.
    async fn begin(&self) -> Result<Tx, Error> {
        self.check_trouble()?;
        Ok(Tx {
            inner: self.db.begin().await.map_err(|e| internal(&e))?,
            incarnation: self.incarnation.clone(),
            now: Timestamp::now(),
            revision: None,
            history: None,
            wakes_nodes: false,
            grown: BTreeSet::new(),
            growth: BTreeMap::new(),
            audits: Vec::new(),
        })
    }

    /// Commits what was done, with its entries in the audit log, or nothing; tells who waits for it, here and at other
    /// replicas.
    async fn end<T>(&self, mut tx: Tx, result: Result<T, Error>) -> Result<T, Error> {
        let result = match result {
            Ok(result) => tx.write_growth().await.map(|()| result),
            Err(error) => Err(error),
        };
        let result = match result {
            Ok(result) => tx.write_audits().await.map(|()| result),
            Err(error) => Err(error),
        };
        let result = match result {
            Ok(result) => self.notify(&tx).await.map(|()| result),
            Err(error) => Err(error),
        };
        let result = match result {
            Ok(result) => result,
            Err(error) => {
                if let Err(failed) = tx.inner.rollback().await {
                    tracing::warn!(error = %failed, "a rollback failed");
                }
                return Err(error);
            }
        };
        let told = tx.told();
        tx.inner.commit().await.map_err(|e| internal(&e))?;
        if !self.is_shared() {
            self.committed.notify_one();
        }
        self.learn(told);
        Ok(result)
    }
}

impl Tx {
    /// The time of the transaction in microseconds.
    #[must_use]
    pub fn now_us(&self) -> i64 {
        self.now.as_microsecond()
    }

    /// Keeps others from changing the configuration until the commit.
    ///
    /// # Errors
    /// When the database fails, or is not the one that was opened: nobody may have seen that yet.
    pub async fn lock_configuration(&self) -> Result<(), Error> {
        let row = entity::counter::Entity::find_by_id(REVISION.to_owned())
            .lock_exclusive()
            .one(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        match row {
            Some(row) if row.label != *self.incarnation => Err(Trouble::Replaced.into()),
            _ => Ok(()),
        }
    }

    /// Keeps others from what goes by a name, until the commit. SQLite has one writer anyway.
    async fn lock_name(&self, name: &str) -> Result<(), Error> {
        if self.inner.get_database_backend() != DatabaseBackend::Postgres {
            return Ok(());
        }
        let statement = Statement::from_sql_and_values(
            DatabaseBackend::Postgres,
            "SELECT pg_advisory_xact_lock(hashtextextended($1, 0))",
            [name.into()],
        );
        self.inner
            .execute_raw(statement)
            .await
            .map_err(|e| internal(&e))?;
        Ok(())
    }

    /// Says that there is something to tell nodes.
    fn wake_nodes(&mut self) {
        self.wakes_nodes = true;
    }

    /// One more than the newest revision: each change has its own. Locks the counter until the commit.
    async fn next_revision(&mut self) -> Result<i64, Error> {
        let revision = self.advance(REVISION, 1).await?;
        self.revision = Some(revision);
        Ok(revision)
    }

    /// The number of this transaction in the history of executions: one more than the newest.
    async fn next_history(&mut self) -> Result<i64, Error> {
        if let Some(history) = self.history {
            return Ok(history);
        }
        let history = self.advance(HISTORY, 1).await?;
        self.history = Some(history);
        Ok(history)
    }

    async fn advance(&mut self, name: &str, by: i64) -> Result<i64, Error> {
        use entity::counter::{Column, Entity};
        Entity::update_many()
            .col_expr(Column::Value, Expr::col(Column::Value).add(by))
            .filter(Column::Name.eq(name))
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        counter(&self.inner, name).await.map_err(|e| internal(&e))
    }

    /// Notes a change of the configuration in the change log; gives its revision.
    async fn changed(&mut self, kind: &str, resource: &str, deleted: bool) -> Result<i64, Error> {
        use entity::change::{ActiveModel, Column, Entity};
        let revision = self.next_revision().await?;
        // One entry for each resource: what counts is its newest state.
        Entity::delete_many()
            .filter(Column::Resource.eq(resource))
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        ActiveModel {
            revision: Set(revision),
            kind: Set(kind.to_owned()),
            resource: Set(resource.to_owned()),
            deleted: Set(deleted),
            time_us: Set(self.now_us()),
        }
        .insert(&self.inner)
        .await
        .map_err(|e| internal(&e))?;
        Ok(revision)
    }

    /// Notes that resources are deleted, as [`Tx::changed`] does of each, in few statements.
    async fn all_deleted(&mut self, kind: &str, resources: Vec<String>) -> Result<(), Error> {
        use entity::change::{Column, Entity, Model};
        let Some(count) = i64::try_from(resources.len()).ok().filter(|it| *it > 0) else {
            return Ok(());
        };
        let last = self.advance(REVISION, count).await?;
        self.revision = Some(last);
        for some in resources.chunks(NAMES_MAX) {
            Entity::delete_many()
                .filter(Column::Resource.is_in(some.iter().map(String::as_str)))
                .exec(&self.inner)
                .await
                .map_err(|e| internal(&e))?;
        }
        let rows = (last - count + 1..).zip(resources);
        let rows = rows.map(|(revision, resource)| Model {
            revision,
            kind: kind.to_owned(),
            resource,
            deleted: true,
            time_us: self.now_us(),
        });
        records::insert_all::<Entity>(&self.inner, rows.collect()).await
    }

    /// Writes a row that is new.
    ///
    /// # Errors
    /// `AlreadyExists`, of the resource `name`.
    async fn insert_row<E: EntityTrait>(&self, row: E::Model, name: &str) -> Result<E::Model, Error>
    where
        E::Model: IntoActiveModel<E::ActiveModel>,
        E::ActiveModel: Send,
    {
        let active = row.into_active_model().reset_all();
        let inserted = active.insert(&self.inner).await;
        inserted.map_err(|error| inserting(&error, name))
    }

    /// Writes every column of a row that exists.
    ///
    /// # Errors
    /// When the database fails.
    async fn update_row<E: EntityTrait>(&self, row: E::Model) -> Result<E::Model, Error>
    where
        E::Model: IntoActiveModel<E::ActiveModel>,
        E::ActiveModel: Send,
    {
        let active = row.into_active_model().reset_all();
        active.update(&self.inner).await.map_err(|e| internal(&e))
    }
}

async fn counter(db: &impl ConnectionTrait, name: &str) -> Result<i64, DbErr> {
    let row = entity::counter::Entity::find_by_id(name.to_owned())
        .one(db)
        .await?;
    row.map(|row| row.value)
        .ok_or_else(|| DbErr::RecordNotFound(format!("counter {name}")))
}

/// The error of a caller who cannot help it: logged once, here, with its cause.
fn internal(error: &DbErr) -> Error {
    if is_passing(error) {
        tracing::warn!(%error, "the database cannot be worked with now");
        return Error::Unavailable {
            message: "the database cannot be worked with now".to_owned(),
        };
    }
    if is_unstorable(error) {
        tracing::warn!(%error, "the database does not take a value");
        return Error::invalid(
            "",
            "holds what the database cannot keep, such as the character U+0000",
        );
    }
    tracing::error!(%error, "a database operation failed");
    Error::Internal {
        message: "the database operation failed; the log says why".to_owned(),
    }
}

/// Whether the same may succeed in a moment: the database is not there, goes or comes, or had to choose between two
/// transactions that waited for each other.
fn is_passing(error: &DbErr) -> bool {
    let (DbErr::Conn(RuntimeErr::SqlxError(cause))
    | DbErr::Exec(RuntimeErr::SqlxError(cause))
    | DbErr::Query(RuntimeErr::SqlxError(cause))) = error
    else {
        return matches!(error, DbErr::ConnectionAcquire(_) | DbErr::Conn(_));
    };
    match &**cause {
        sqlx::Error::Database(error) => error
            .code()
            .is_some_and(|code| PASSING.iter().any(|class| code.starts_with(class))),
        sqlx::Error::Io(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => true,
        _ => matches!(error, DbErr::Conn(_)),
    }
}

/// Whether the database refused a value, as it always will: SQLSTATE class 22 of PostgreSQL, "data exception".
fn is_unstorable(error: &DbErr) -> bool {
    let (DbErr::Exec(RuntimeErr::SqlxError(cause)) | DbErr::Query(RuntimeErr::SqlxError(cause))) =
        error
    else {
        return false;
    };
    match &**cause {
        sqlx::Error::Database(error) => error
            .code()
            .is_some_and(|code| code.len() == 5 && code.starts_with("22")),
        _ => false,
    }
}

/// How such SQLSTATEs of PostgreSQL begin: the connection, the operator, deadlocks and the like, too many connections.
const PASSING: [&str; 4] = ["08", "57P", "40", "53300"];

/// Like [`internal`], but a violated primary key means that `resource` exists.
fn inserting(error: &DbErr, resource: &str) -> Error {
    match error.sql_err() {
        Some(SqlErr::UniqueConstraintViolation(_)) => Error::AlreadyExists {
            resource: resource.to_owned(),
        },
        _ => internal(error),
    }
}

#[cfg(test)]
mod tests;
