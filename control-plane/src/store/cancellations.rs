//! Executions whose end was asked for.

use sea_orm::{
    ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    sea_query::Expr,
};
use signalbox_model::{
    error::Error,
    execution::{ExecutionState, Failure},
    ids::{ExecutionName, NodeId},
};

use super::{Store, Tx, entity, internal, rows::Execution};

impl Tx {
    /// Notes that the end of an execution was asked for; ends it, when no node can have begun it.
    ///
    /// # Errors
    /// `NotFound`; `Precondition` when it has ended.
    pub async fn cancel_execution(&mut self, name: &ExecutionName) -> Result<(), Error> {
        let mut row = self
            .find_execution(name)
            .await?
            .ok_or_else(|| Error::not_found(name))?;
        if row.end_time_us.is_some() {
            return Err(Error::Precondition {
                subject: name.to_string(),
                reason: "EXECUTION_ENDED",
                message: format!("the execution has ended as {}", row.state),
            });
        }
        if row.cancel_time_us.is_some() {
            return Ok(());
        }
        self.wake_nodes();
        let now_us = self.now_us();
        row.cancel_time_us = Some(now_us);
        if row.node.is_none() && self.withdraw_run(name).await? {
            let Failure { code, message } = Failure::cancelled();
            ExecutionState::Cancelled
                .as_str()
                .clone_into(&mut row.state);
            row.end_time_us = Some(now_us);
            row.error_code = Some(code);
            row.error_message = Some(message);
            self.delete_retry(name).await?;
        }
        self.write_execution(row).await
    }

    /// Takes back the command that would start an execution. False: a node has it.
    async fn withdraw_run(&self, name: &ExecutionName) -> Result<bool, Error> {
        use entity::command::{Column, Entity};
        let withdrawn = Entity::update_many()
            .col_expr(Column::Done, Expr::value(true))
            .filter(Column::Project.eq(name.project.as_str()))
            .filter(Column::Execution.eq(name.execution.as_str()))
            .filter(Column::Node.is_null())
            .filter(Column::Done.eq(false))
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        Ok(withdrawn.rows_affected > 0)
    }
}

impl Store {
    /// The executions of a node whose end was asked for and is not reported, those first that were asked for first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn cancellations(&self, node: &NodeId, max: u64) -> Result<Vec<Execution>, Error> {
        use entity::execution::{Column, Entity};
        Entity::find()
            .filter(Column::Node.eq(node.as_str()))
            .filter(Column::CancelTimeUs.is_not_null())
            .filter(Column::EndTimeUs.is_null())
            .order_by_asc(Column::CancelTimeUs)
            .limit(max)
            .all(&self.db)
            .await
            .map_err(|e| internal(&e))
    }
}
