//! Executions that steps of others started.

use sea_orm::{
    ColumnTrait as _, ConnectionTrait, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _,
};
use signalbox_model::{error::Error, ids::ExecutionName};

use super::{entity, internal};

/// Children of one execution that are named.
const NAMED_MAX: u64 = 100;

/// An execution that a step started.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// Its id.
    pub id: String,
    /// Id of its workflow.
    pub workflow: String,
    /// The run of the step.
    pub step: String,
    /// Its state, as it is stored.
    pub state: String,
}

/// The executions that steps of one started, oldest first.
///
/// # Errors
/// When the database fails.
pub(super) async fn of(
    db: &impl ConnectionTrait,
    name: &ExecutionName,
) -> Result<Vec<Child>, Error> {
    use entity::execution::{Column, Entity};
    let rows: Vec<(String, String, Option<String>, String)> = Entity::find()
        .select_only()
        .columns([
            Column::Id,
            Column::Workflow,
            Column::ParentStep,
            Column::State,
        ])
        .filter(Column::Project.eq(name.project.as_str()))
        .filter(Column::Parent.eq(name.execution.as_str()))
        .order_by_asc(Column::CreateTimeUs)
        .order_by_asc(Column::Id)
        .limit(NAMED_MAX)
        .into_tuple()
        .all(db)
        .await
        .map_err(|e| internal(&e))?;
    let children = rows.into_iter().map(|(id, workflow, step, state)| Child {
        id,
        workflow,
        step: step.unwrap_or_default(),
        state,
    });
    Ok(children.collect())
}
