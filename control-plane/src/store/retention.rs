//! Deleting what is kept no longer, some at a time (`docs/decisions/0025-history.md`).
//!
//! Each batch is one transaction: an execution is there with all that is kept of it, or gone. Rows are found by indices that
//! hold no others.

use sea_orm::{
    ColumnTrait as _, Condition, ConnectionTrait as _, DatabaseBackend, DbErr, EntityTrait,
    ExprTrait as _, FromQueryResult, Iterable as _, PrimaryKeyToColumn as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _, Select, Statement,
    sea_query::{Expr, LockBehavior, LockType},
};
use signalbox_model::error::Error;

use super::{Store, Tx, entity, internal};

/// Executions that are looked at for one batch.
const CANDIDATES_MAX: u64 = 100;
/// Step runs that one batch deletes, unless one execution has more by itself.
const STEP_RUNS_MAX: i64 = 2_000;
/// Deliveries that one batch deletes.
const ROWS_MAX: u64 = 1_000;
/// Of the pages of a SQLite database one in so many may be free: what comes next finds room.
const FREE_PAGES: i64 = 4;
/// Pages that are given back at once.
const GIVEN_BACK_PAGES: i64 = 512;

/// How many step runs an execution has.
#[derive(Debug, FromQueryResult)]
struct StepRuns {
    execution: String,
    count: i64,
}

/// The executions of a project that ended before a time, and were reported to have; those first that ended first.
pub(super) fn ended_before(
    project: &str,
    before_us: i64,
    max: u64,
) -> Select<entity::execution::Entity> {
    use entity::execution::{Column, Entity};
    Entity::find()
        .filter(Column::Project.eq(project))
        .filter(Column::EndTimeUs.lt(before_us))
        // What its node could tell only later is kept from then on. Few are such: they are passed over where the index finds them.
        .filter(
            Condition::any()
                .add(Column::LateReportUs.is_null())
                .add(Column::LateReportUs.lt(before_us)),
        )
        .order_by_asc(Column::EndTimeUs)
        .order_by_asc(Column::Id)
        .limit(max)
}

/// The deliveries of a project that came before a time.
pub(super) fn came_before(
    project: &str,
    before_us: i64,
    max: u64,
) -> Select<entity::delivery::Entity> {
    use entity::delivery::{Column, Entity};
    Entity::find()
        .filter(Column::Project.eq(project))
        .filter(Column::ReceiveTimeUs.lt(before_us))
        .order_by_asc(Column::ReceiveTimeUs)
        .order_by_asc(Column::Id)
        .limit(max)
}

impl Tx {
    /// Deletes executions of a project that ended before a time, with all that is kept of them: one batch, those first that
    /// ended first. Gives how many; none are left, or in nobody else's hands, when it is 0.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_ended(&mut self, project: &str, before_us: i64) -> Result<u64, Error> {
        let ended = ended_before(project, before_us, CANDIDATES_MAX);
        self.delete_executions(project, ended, None).await
    }

    /// Deletes executions of a project, those first that ended first, until its history is smaller by `bytes`: one batch. The
    /// one of the id `except` stays. Gives how many; 0: none is left that has ended, or it is in others' hands.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_oldest(
        &mut self,
        project: &str,
        bytes: i64,
        except: Option<&str>,
    ) -> Result<u64, Error> {
        use entity::execution::Column;
        let except = except.map(|id| Column::Id.ne(id));
        let ended = ended_before(project, i64::MAX, CANDIDATES_MAX)
            .filter(Condition::all().add_option(except));
        self.delete_executions(project, ended, Some(bytes)).await
    }

    /// The same of executions that have not ended: what their nodes say of them later is of nothing that is known.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_unended(&mut self, project: &str) -> Result<u64, Error> {
        use entity::execution::{Column, Entity};
        let unended = Entity::find()
            .filter(Column::Project.eq(project))
            .filter(Column::EndTimeUs.is_null())
            .limit(CANDIDATES_MAX);
        self.delete_executions(project, unended, None).await
    }

    async fn delete_executions(
        &mut self,
        project: &str,
        which: Select<entity::execution::Entity>,
        bytes: Option<i64>,
    ) -> Result<u64, Error> {
        use entity::{attempt, command, event, execution, retry, signal, step_run, whole_value};
        let ids: Vec<String> = which
            .select_only()
            .column(execution::Column::Id)
            // Another replica deletes those that it has locked; whoever retries one has it until then.
            .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
            .into_tuple()
            .all(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        let mut ids = self.as_many_as_fit(project, ids).await?;
        if ids.is_empty() {
            return Ok(0);
        }
        let weights = self.weigh(project, &ids).await?;
        let mut freed = 0;
        let enough = ids.iter().take_while(|id| {
            let is_wanted = bytes.is_none_or(|bytes| freed < bytes);
            if is_wanted {
                freed += weights.get(*id).copied().unwrap_or_default();
            }
            is_wanted
        });
        let enough = enough.count();
        ids.truncate(enough);
        self.grows(project, -freed);
        macro_rules! delete {
            ($($table:ident . $id:ident),+) => {
                $(
                    $table::Entity::delete_many()
                        .filter($table::Column::Project.eq(project))
                        .filter($table::Column::$id.is_in(ids.iter().map(String::as_str)))
                        .exec(&self.inner)
                        .await
                        .map_err(|e| internal(&e))?;
                )+
            };
        }
        delete!(
            attempt.Execution,
            whole_value.Execution,
            step_run.Execution,
            signal.Execution,
            retry.Execution,
            command.Execution,
            event.Execution,
            execution.Id
        );
        Ok(ids.len() as u64)
    }

    /// The first of these executions, of which one batch can delete all rows; one at least.
    async fn as_many_as_fit(
        &self,
        project: &str,
        mut ids: Vec<String>,
    ) -> Result<Vec<String>, Error> {
        use entity::step_run::{Column, Entity};
        let counts = Entity::find()
            .select_only()
            .column(Column::Execution)
            .column_as(Column::Step.count(), "count")
            .filter(Column::Project.eq(project))
            .filter(Column::Execution.is_in(ids.iter().map(String::as_str)))
            .group_by(Column::Execution)
            .into_model::<StepRuns>()
            .all(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        let mut total = 0;
        let fit = ids.iter().take_while(|id| {
            let of_id = counts.iter().find(|runs| runs.execution == **id);
            total += of_id.map_or(0, |runs| runs.count);
            total <= STEP_RUNS_MAX
        });
        let fit = fit.count().max(1);
        ids.truncate(fit);
        Ok(ids)
    }

    /// Deletes deliveries of a project that came before a time: one batch. Gives how many.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_deliveries(&mut self, project: &str, before_us: i64) -> Result<u64, Error> {
        self.delete_some(came_before(project, before_us, ROWS_MAX))
            .await
    }

    async fn delete_some<E: EntityTrait>(&self, some: Select<E>) -> Result<u64, Error> {
        let key = || E::PrimaryKey::iter().map(|key| key.into_column());
        let mut some = some
            .select_only()
            .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked);
        for column in key() {
            some = some.column(column);
        }
        let of_them =
            Expr::tuple(key().map(Expr::col)).in_subquery(sea_orm::QueryTrait::into_query(some));
        let deleted = E::delete_many()
            .filter(Condition::all().add(of_them))
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        Ok(deleted.rows_affected)
    }
}

impl Store {
    /// Gives pages of a SQLite database that are free, beyond a reserve, back to the file system: some at a time. False:
    /// there are none, or the database is none that can.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn give_back(&self) -> Result<bool, Error> {
        let Some(writer) = &self.writer else {
            return Ok(false);
        };
        let _writer = writer.lock().await;
        // 2: incremental. A database of an older Signalbox has none until it is vacuumed as a whole.
        let can = self.pragma("auto_vacuum").await.map_err(|e| internal(&e))? == 2;
        let free = self
            .pragma("freelist_count")
            .await
            .map_err(|e| internal(&e))?;
        let all = self.pragma("page_count").await.map_err(|e| internal(&e))?;
        let too_many = free - all / FREE_PAGES;
        if !can || too_many <= 0 {
            return Ok(false);
        }
        let count = Ord::min(too_many, GIVEN_BACK_PAGES);
        self.db
            .execute_unprepared(&format!("PRAGMA incremental_vacuum({count})"))
            .await
            .map_err(|e| internal(&e))?;
        Ok(too_many > count)
    }

    async fn pragma(&self, name: &str) -> Result<i64, DbErr> {
        let statement = Statement::from_string(DatabaseBackend::Sqlite, format!("PRAGMA {name}"));
        let row = self.db.query_one_raw(statement).await?;
        row.ok_or_else(|| DbErr::RecordNotFound(format!("pragma {name}")))?
            .try_get_by_index(0)
    }
}
