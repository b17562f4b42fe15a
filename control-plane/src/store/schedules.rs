//! How far schedules have ticked.

use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, Condition, EntityTrait as _, IntoActiveModel as _,
    QueryFilter as _, QueryOrder as _, QuerySelect as _, sea_query::Expr,
};
use signalbox_model::{error::Error, ids::WorkflowName, limits};

use super::{Store, Tx, entity, internal};

/// A schedule's row.
pub type ScheduleRow = entity::schedule::Model;

/// Where a schedule stands that will not tick again.
pub const NEVER_US: i64 = i64::MAX;

fn key(name: &WorkflowName) -> (String, String) {
    (name.project.to_string(), name.workflow.to_string())
}

impl Tx {
    /// Notes that the published version of a workflow has a schedule, or none: it ticks from now on. The one before may have ticked
    /// a moment ago and not been seen to yet: if the new one ticks at that time too, that is made up for. What has run does not run
    /// again, by its id.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_schedule(
        &self,
        name: &WorkflowName,
        enabled: bool,
        has_schedule: bool,
    ) -> Result<(), Error> {
        let before = self.schedule(name).await?;
        self.delete_schedule(name).await?;
        if !has_schedule {
            return Ok(());
        }
        let grace_us = i64::try_from(limits::SCHEDULE_GRACE.as_micros()).unwrap_or(i64::MAX);
        let now_us = self.now_us();
        let after_us = before.filter(|row| row.enabled).map_or(now_us, |row| {
            let after_us = match row.next_us {
                Some(next_us) if next_us > now_us => now_us,
                Some(next_us) => next_us - 1,
                // Nobody has looked at it yet.
                None => row.after_us,
            };
            after_us.max(now_us - grace_us)
        });
        let (project, workflow) = key(name);
        let row = ScheduleRow {
            project,
            workflow,
            enabled,
            after_us,
            next_us: None,
        };
        row.into_active_model()
            .reset_all()
            .insert(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        Ok(())
    }

    /// Lets a schedule tick from now on, or not.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn enable_schedule(&self, name: &WorkflowName, enabled: bool) -> Result<(), Error> {
        use entity::schedule::{Column, Entity};
        Entity::update_many()
            .col_expr(Column::Enabled, Expr::value(enabled))
            .col_expr(Column::AfterUs, Expr::value(self.now_us()))
            .col_expr(Column::NextUs, Expr::value(Option::<i64>::None))
            .filter(Column::Project.eq(name.project.as_str()))
            .filter(Column::Workflow.eq(name.workflow.as_str()))
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        Ok(())
    }

    /// Drops a schedule's row.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_schedule(&self, name: &WorkflowName) -> Result<(), Error> {
        entity::schedule::Entity::delete_by_id(key(name))
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        Ok(())
    }

    /// A schedule's row.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn schedule(&self, name: &WorkflowName) -> Result<Option<ScheduleRow>, Error> {
        entity::schedule::Entity::find_by_id(key(name))
            .one(&self.inner)
            .await
            .map_err(|e| internal(&e))
    }

    /// Moves a schedule on from where `row` is. False: another replica has.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn move_schedule(
        &self,
        row: &ScheduleRow,
        after_us: i64,
        next_us: i64,
    ) -> Result<bool, Error> {
        use entity::schedule::{Column, Entity};
        let is_where_it_was = match row.next_us {
            Some(next_us) => Column::NextUs.eq(next_us),
            None => Column::NextUs.is_null(),
        };
        let moved = Entity::update_many()
            .col_expr(Column::AfterUs, Expr::value(after_us))
            .col_expr(Column::NextUs, Expr::value(next_us))
            .filter(Column::Project.eq(&row.project))
            .filter(Column::Workflow.eq(&row.workflow))
            .filter(Column::Enabled.eq(true))
            .filter(Column::AfterUs.eq(row.after_us))
            .filter(is_where_it_was)
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        Ok(moved.rows_affected == 1)
    }
}

impl Store {
    /// The schedules that tick until `now_us`, or whose next tick is not known yet, at most `max`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn due_schedules(&self, now_us: i64, max: u64) -> Result<Vec<ScheduleRow>, Error> {
        use entity::schedule::{Column, Entity};
        let due = Condition::any()
            .add(Column::NextUs.is_null())
            .add(Column::NextUs.lte(now_us));
        Entity::find()
            .filter(Column::Enabled.eq(true))
            .filter(due)
            .order_by_asc(Column::NextUs)
            // In one order: another replica may see to some of the same.
            .order_by_asc(Column::Project)
            .order_by_asc(Column::Workflow)
            .limit(max)
            .all(&self.db)
            .await
            .map_err(|e| internal(&e))
    }

    /// When the next schedule ticks, as far as that is known.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn next_tick_us(&self) -> Result<Option<i64>, Error> {
        use entity::schedule::{Column, Entity};
        let first = Entity::find()
            .filter(Column::Enabled.eq(true))
            .filter(Column::NextUs.is_not_null())
            .order_by_asc(Column::NextUs)
            .one(&self.db)
            .await
            .map_err(|e| internal(&e))?;
        Ok(first.and_then(|row| row.next_us))
    }
}
