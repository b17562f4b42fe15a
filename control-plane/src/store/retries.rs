//! Executions that retry others.

use sea_orm::{
    ActiveModelTrait as _, ActiveValue::Set, ColumnTrait as _, ConnectionTrait, EntityTrait as _,
    IntoActiveModel as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};
use signalbox_model::{
    error::Error,
    execution::Fact,
    ids::{ExecutionId, ExecutionName},
};

use super::{Store, Tx, entity, internal, rows::StepRun, usage::Weight as _};

/// Retries of one execution that are named.
const NAMED_MAX: u64 = 100;

impl Tx {
    /// An execution, for changing something about it.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn execution(&self, name: &ExecutionName) -> Result<super::rows::Execution, Error> {
        self.find_execution(name)
            .await?
            .ok_or_else(|| Error::not_found(name))
    }

    /// The steps of an execution, their inputs and outputs whole.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn step_runs(&self, name: &ExecutionName) -> Result<Vec<StepRun>, Error> {
        use entity::step_run::{Column, Entity};
        let mut rows = Entity::find()
            .filter(Column::Project.eq(name.project.as_str()))
            .filter(Column::Execution.eq(name.execution.as_str()))
            .all(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        self.make_whole(name, &mut rows).await?;
        Ok(rows)
    }

    /// Gives an execution the event of another of its project. False: that one's is not kept.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn copy_event(
        &mut self,
        from: &ExecutionName,
        to: &ExecutionId,
    ) -> Result<bool, Error> {
        let key = (from.project.to_string(), from.execution.to_string());
        let found = entity::event::Entity::find_by_id(key)
            .one(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        let Some(event) = found else {
            return Ok(false);
        };
        let copy = entity::event::Model {
            execution: to.to_string(),
            ..event
        };
        self.grows(&copy.project, copy.weight());
        copy.into_active_model()
            .reset_all()
            .insert(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        Ok(true)
    }

    /// Keeps what a retry begins with until its node has it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn insert_retry(&self, name: &ExecutionName, facts: &[Fact]) -> Result<(), Error> {
        let facts_json = serde_json::to_string(facts).map_err(|error| Error::Internal {
            message: format!("what is to be kept cannot be written: {error}"),
        })?;
        let row = entity::retry::ActiveModel {
            project: Set(name.project.to_string()),
            execution: Set(name.execution.to_string()),
            facts_json: Set(facts_json),
        };
        row.insert(&self.inner).await.map_err(|e| internal(&e))?;
        Ok(())
    }

    /// Drops it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_retry(&self, name: &ExecutionName) -> Result<(), Error> {
        let key = (name.project.to_string(), name.execution.to_string());
        entity::retry::Entity::delete_by_id(key)
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        Ok(())
    }
}

impl Store {
    /// What a retry begins with; none when its node has it.
    ///
    /// # Errors
    /// When the database fails, or holds something else.
    pub async fn retry(&self, name: &ExecutionName) -> Result<Option<Vec<Fact>>, Error> {
        let key = (name.project.to_string(), name.execution.to_string());
        let found = entity::retry::Entity::find_by_id(key)
            .one(&self.db)
            .await
            .map_err(|e| internal(&e))?;
        let facts = found.map(|row| serde_json::from_str(&row.facts_json));
        facts.transpose().map_err(|error| Error::Internal {
            message: format!("what is to be kept of {name} cannot be read: {error}"),
        })
    }
}

/// The ids of the executions that retry one, oldest first.
///
/// # Errors
/// When the database fails.
pub(super) async fn retried_by(
    db: &impl ConnectionTrait,
    name: &ExecutionName,
) -> Result<Vec<String>, Error> {
    use entity::execution::{Column, Entity};
    Entity::find()
        .select_only()
        .column(Column::Id)
        .filter(Column::Project.eq(name.project.as_str()))
        .filter(Column::RetryOf.eq(name.execution.as_str()))
        .order_by_asc(Column::CreateTimeUs)
        .order_by_asc(Column::Id)
        .limit(NAMED_MAX)
        .into_tuple()
        .all(db)
        .await
        .map_err(|e| internal(&e))
}
