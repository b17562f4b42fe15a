//! Executions whose end was asked for, and those that are ended without their nodes.

use sea_orm::{
    ColumnTrait as _, Condition, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, Select, sea_query::Expr,
};
use signalbox_model::{
    error::Error,
    execution::{ExecutionState, Failure, StepState},
    ids::{ExecutionName, NodeId},
};

use super::{Store, Tx, entity, internal, rows::Execution};

/// Of an execution that a node is to end: as the index has it, since with a parameter in it, no database would use that.
pub(super) const TO_STOP: &str = "(end_time_us IS NULL OR is_left_at_node = true)";

/// How an execution is cancelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cancel {
    /// Its node ends it.
    Ask,
    /// It ends without its node, which is gone.
    Force,
}

/// A place among the executions that a node is to end: when that was asked for, in microseconds since the Unix epoch, and the id.
pub type CancelPlace = (i64, String);

/// The executions that a node is to end, those first of which it was asked first.
pub(super) fn to_stop(
    node: &NodeId,
    after: Option<&CancelPlace>,
    max: u64,
) -> Select<entity::execution::Entity> {
    use entity::execution::{Column, Entity};
    // The first is where the index is entered.
    let later = after.map_or_else(Condition::all, |(time_us, id)| {
        let at_once = Condition::all()
            .add(Column::CancelTimeUs.eq(*time_us))
            .add(Column::Id.gt(id));
        Condition::all()
            .add(Column::CancelTimeUs.gte(*time_us))
            .add(
                Condition::any()
                    .add(Column::CancelTimeUs.gt(*time_us))
                    .add(at_once),
            )
    });
    Entity::find()
        .filter(Column::Node.eq(node.as_str()))
        .filter(Column::CancelTimeUs.is_not_null())
        .filter(Expr::cust(TO_STOP))
        .filter(later)
        .order_by_asc(Column::CancelTimeUs)
        .order_by_asc(Column::Id)
        .limit(max)
}

impl Tx {
    /// Notes that the end of an execution was asked for; ends it, when no node can have begun it, or by force.
    ///
    /// # Errors
    /// `NotFound`; `Precondition` when it has ended, or when its node is connected and it is to end by force.
    pub async fn cancel_execution(
        &mut self,
        name: &ExecutionName,
        how: Cancel,
    ) -> Result<(), Error> {
        let mut row = self.execution(name).await?;
        if row.end_time_us.is_some() {
            let message = format!("the execution has ended as {}", row.state);
            return Err(refused(name, "EXECUTION_ENDED", message));
        }
        if row.cancel_time_us.is_some() && how == Cancel::Ask {
            return Ok(());
        }
        self.wake_nodes();
        row.cancel_time_us.get_or_insert(self.now_us());
        if row.node.is_none() && self.withdraw_run(name).await? {
            return self.end_here(name, row, Failure::cancelled()).await;
        }
        if how == Cancel::Ask {
            return self.write_execution(row).await;
        }
        row.node = Some(self.node_that_is_gone(name, &row).await?);
        row.is_left_at_node = true;
        self.answer_commands_of(name).await?;
        self.end_here(name, row, Failure::cancelled_without_node())
            .await
    }

    /// Ends an execution whose end was asked for and of which `node` knows nothing; of one that has ended, the node need not be
    /// told any more. True: this ended it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn unknown_at_node(
        &mut self,
        node: &NodeId,
        name: &ExecutionName,
    ) -> Result<bool, Error> {
        let Some(mut row) = self.find_execution(name).await? else {
            return Ok(false);
        };
        let is_asked = row.node.as_deref() == Some(node.as_str()) && row.cancel_time_us.is_some();
        let has_ended = row.end_time_us.is_some();
        if !is_asked || (has_ended && !row.is_left_at_node) {
            return Ok(false);
        }
        row.is_left_at_node = false;
        if has_ended {
            self.write_execution(row).await?;
        } else {
            self.end_here(name, row, Failure::unknown_at_node()).await?;
        }
        Ok(!has_ended)
    }

    /// Ends an execution as cancelled, now, with what is open of its steps.
    pub(super) async fn end_here(
        &mut self,
        name: &ExecutionName,
        mut row: Execution,
        why: Failure,
    ) -> Result<(), Error> {
        let Failure { code, message } = why;
        ExecutionState::Cancelled
            .as_str()
            .clone_into(&mut row.state);
        row.end_time_us = Some(self.now_us());
        row.error_code = Some(code);
        row.error_message = Some(message);
        self.delete_retry(name).await?;
        self.end_steps(name).await?;
        self.write_execution(row).await
    }

    async fn end_steps(&self, name: &ExecutionName) -> Result<(), Error> {
        use entity::{attempt, step_run};
        attempt::Entity::update_many()
            .col_expr(attempt::Column::EndTimeUs, Expr::value(self.now_us()))
            .filter(attempt::Column::Project.eq(name.project.as_str()))
            .filter(attempt::Column::Execution.eq(name.execution.as_str()))
            .filter(attempt::Column::EndTimeUs.is_null())
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        let cancelled = StepState::Cancelled.as_str();
        step_run::Entity::update_many()
            .col_expr(step_run::Column::EndTimeUs, Expr::value(self.now_us()))
            .col_expr(step_run::Column::State, Expr::value(cancelled))
            .filter(step_run::Column::Project.eq(name.project.as_str()))
            .filter(step_run::Column::Execution.eq(name.execution.as_str()))
            .filter(step_run::Column::EndTimeUs.is_null())
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        Ok(())
    }

    /// The node that an execution is at, or that was given the command which starts it. It must not be connected, until the
    /// commit; but one that has taken the command and reported nothing since is not asked to end the execution, and may be.
    async fn node_that_is_gone(
        &self,
        name: &ExecutionName,
        row: &Execution,
    ) -> Result<String, Error> {
        let (node, may_be_connected) = match &row.node {
            Some(node) => (node.clone(), false),
            None => {
                let nobody = || Error::Internal {
                    message: format!("no node has {name}, and no command starts it"),
                };
                let command = self.command_of(name).await?.ok_or_else(nobody)?;
                (command.node.ok_or_else(nobody)?, command.done)
            }
        };
        if !may_be_connected && self.is_connected(&node).await? {
            let message = format!(
                "nodes/{node}, which has the execution, is connected, and ends it when it is asked to, without force. One that is \
                 gone is shown as disconnected after 45 seconds"
            );
            return Err(refused(name, "NODE_CONNECTED", message));
        }
        Ok(node)
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
    /// The executions that a node is to end and has not reported the end of, after a place among them.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn cancellations(
        &self,
        node: &NodeId,
        after: Option<&CancelPlace>,
        max: u64,
    ) -> Result<Vec<Execution>, Error> {
        to_stop(node, after, max)
            .all(&self.db)
            .await
            .map_err(|e| internal(&e))
    }
}

fn refused(name: &ExecutionName, reason: &'static str, message: String) -> Error {
    Error::Precondition {
        subject: name.to_string(),
        reason,
        message,
    }
}
