//! Which workflows published versions run: by this a workflow that others run is not deleted, and circles are found
//! (`docs/decisions/0031-deleted.md`).
//!
//! A column of the workflows says of which version that is noted. A replica that does not know of it leaves it behind, and the
//! calls of those workflows are noted before they are asked for. No entity has the column: nothing writes it by the way.

use sea_orm::{
    ActiveModelTrait as _,
    ActiveValue::Set,
    ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    sea_query::{Alias, Expr},
};
use signalbox_model::{
    error::Error,
    ids::{ProjectId, WorkflowId, WorkflowName},
};

use super::{Tx, entity, internal, rows::Workflow};

/// Callers whose calls are read at once.
const CALLERS_MAX: usize = 500;

impl Tx {
    /// Notes which workflows the version `version`, which is published, runs, and whether every execution does.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_workflow_calls(
        &self,
        name: &WorkflowName,
        version: i64,
        calls: &[(&WorkflowId, bool)],
    ) -> Result<(), Error> {
        use entity::workflow_call::{ActiveModel, Column, Entity};
        Entity::delete_many()
            .filter(Column::Project.eq(name.project.as_str()))
            .filter(Column::Workflow.eq(name.workflow.as_str()))
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        for (callee, is_certain) in calls {
            ActiveModel {
                project: Set(name.project.to_string()),
                workflow: Set(name.workflow.to_string()),
                callee: Set(callee.to_string()),
                is_certain: Set(*is_certain),
            }
            .insert(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        }
        entity::workflow::Entity::update_many()
            .col_expr(Alias::new("calls_version"), Expr::value(version))
            .filter(entity::workflow::Column::Project.eq(name.project.as_str()))
            .filter(entity::workflow::Column::Id.eq(name.workflow.as_str()))
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        Ok(())
    }

    /// Published workflows of a project (none: of all) whose calls are not noted, at most `max`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn without_calls(
        &self,
        project: Option<&ProjectId>,
        max: u64,
    ) -> Result<Vec<Workflow>, Error> {
        use entity::workflow::{Column, Entity};
        // As the partial index has it, word by word.
        let unnoted = Expr::cust("published_version > 0 AND published_version <> calls_version");
        let mut query = Entity::find().filter(unnoted);
        if let Some(project) = project {
            query = query.filter(Column::Project.eq(project.as_str()));
        }
        query
            .limit(max)
            .all(&self.inner)
            .await
            .map_err(|e| internal(&e))
    }

    /// The ids of other workflows whose published versions run a workflow, at most `max`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn callers(&self, name: &WorkflowName, max: u64) -> Result<Vec<String>, Error> {
        use entity::workflow_call::{Column, Entity};
        Entity::find()
            .select_only()
            .column(Column::Workflow)
            .filter(Column::Project.eq(name.project.as_str()))
            .filter(Column::Callee.eq(name.workflow.as_str()))
            .filter(Column::Workflow.ne(name.workflow.as_str()))
            .order_by_asc(Column::Workflow)
            .limit(max)
            .into_tuple()
            .all(&self.inner)
            .await
            .map_err(|e| internal(&e))
    }

    /// Who of `callers` runs whom in every execution: the ids of both.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn certain_calls(
        &self,
        project: &ProjectId,
        callers: &[String],
    ) -> Result<Vec<(String, String)>, Error> {
        use entity::workflow_call::{Column, Entity};
        let mut calls = Vec::new();
        for callers in callers.chunks(CALLERS_MAX) {
            let found: Vec<(String, String)> = Entity::find()
                .select_only()
                .columns([Column::Workflow, Column::Callee])
                .filter(Column::Project.eq(project.as_str()))
                .filter(Column::Workflow.is_in(callers.iter().map(String::as_str)))
                .filter(Column::IsCertain.eq(true))
                .order_by_asc(Column::Workflow)
                .order_by_asc(Column::Callee)
                .into_tuple()
                .all(&self.inner)
                .await
                .map_err(|e| internal(&e))?;
            calls.extend(found);
        }
        Ok(calls)
    }
}
