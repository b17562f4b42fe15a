//! Commands for the nodes, and how far the nodes' records are durable.

use sea_orm::{
    ActiveModelTrait as _,
    ActiveValue::Set,
    ColumnTrait as _, Condition, EntityTrait as _, IntoActiveModel as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _,
    sea_query::{Expr, LockBehavior, LockType, OnConflict},
};
use signalbox_model::{
    error::Error,
    execution::Failure,
    ids::{ExecutionName, NodeId},
};

use super::{Tx, entity, internal, rows::Execution, usage::Weight as _};

/// A command that no node has answered.
pub type OpenCommand = entity::command::Model;

/// The execution that a command starts.
fn execution_of(command: &OpenCommand) -> Result<ExecutionName, Error> {
    let text = format!(
        "projects/{}/executions/{}",
        command.project, command.execution
    );
    text.parse().map_err(|error| Error::Internal {
        message: format!("a stored name cannot be read: {error}"),
    })
}

impl Tx {
    /// Adds a command.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn insert_command(&mut self, command: OpenCommand) -> Result<(), Error> {
        self.wake_nodes();
        self.grows(&command.project, command.weight());
        let active = command.into_active_model().reset_all();
        active.insert(&self.inner).await.map_err(|e| internal(&e))?;
        Ok(())
    }

    /// The commands of `node`: those that it was given and has not answered (when `again`), and those that no node has,
    /// which are given to it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn take_commands(
        &self,
        node: &NodeId,
        again: bool,
        max: u64,
    ) -> Result<Vec<OpenCommand>, Error> {
        use entity::command::{Column, Entity};
        let mut whose = Condition::any().add(Column::Node.is_null());
        if again {
            whose = whose.add(Column::Node.eq(node.as_str()));
        }
        let mut commands = Entity::find()
            .filter(Column::Done.eq(false))
            .filter(whose)
            .order_by_asc(Column::RequestTimeUs)
            .limit(max)
            // Those that another node is just being given are not waited for.
            .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
            .all(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        for command in commands.iter_mut().filter(|command| command.node.is_none()) {
            // The condition keeps two replicas from giving one command to two nodes.
            let taken = Entity::update_many()
                .col_expr(Column::Node, Expr::value(node.to_string()))
                .filter(Column::Id.eq(&command.id))
                .filter(Column::Node.is_null())
                .exec(&self.inner)
                .await
                .map_err(|e| internal(&e))?;
            if taken.rows_affected == 1 {
                command.node = Some(node.to_string());
            }
        }
        commands.retain(|command| command.node.as_deref() == Some(node.as_str()));
        Ok(commands)
    }

    /// Notes a node's answer: done, or free for another node. What was cancelled meanwhile and the node will not do ends: no other
    /// node is given it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn answer_command(
        &mut self,
        node: &NodeId,
        id: &str,
        done: bool,
    ) -> Result<(), Error> {
        use entity::command::{Column, Entity};
        if !done && self.end_cancelled_command(node, id).await? {
            return Ok(());
        }
        let mut update = Entity::update_many()
            .col_expr(Column::Done, Expr::value(done))
            .filter(Column::Id.eq(id))
            .filter(Column::Node.eq(node.as_str()));
        if !done {
            update = update.col_expr(Column::Node, Expr::value(Option::<String>::None));
        }
        update.exec(&self.inner).await.map_err(|e| internal(&e))?;
        Ok(())
    }

    /// Ends the execution that a command of `node` would start, if that was cancelled and no node has begun it. False: it is not so.
    async fn end_cancelled_command(&mut self, node: &NodeId, id: &str) -> Result<bool, Error> {
        use entity::command::{Column, Entity};
        let command = Entity::find_by_id(id)
            .filter(Column::Node.eq(node.as_str()))
            .filter(Column::Done.eq(false))
            .one(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        let Some(command) = command else {
            return Ok(false);
        };
        // Its row first, as whoever cancels it locks them.
        let name = execution_of(&command)?;
        let is_to_end = |row: &Execution| {
            row.node.is_none() && row.cancel_time_us.is_some() && row.end_time_us.is_none()
        };
        let Some(row) = self.find_execution(&name).await?.filter(is_to_end) else {
            return Ok(false);
        };
        self.answer_commands_of(&name).await?;
        self.end_here(&name, row, Failure::cancelled()).await?;
        Ok(true)
    }

    /// The command that starts an execution, or has.
    pub(super) async fn command_of(
        &self,
        name: &ExecutionName,
    ) -> Result<Option<OpenCommand>, Error> {
        use entity::command::{Column, Entity};
        Entity::find()
            .filter(Column::Project.eq(name.project.as_str()))
            .filter(Column::Execution.eq(name.execution.as_str()))
            .one(&self.inner)
            .await
            .map_err(|e| internal(&e))
    }

    /// Says of it that nobody is to do it any more.
    pub(super) async fn answer_commands_of(&self, name: &ExecutionName) -> Result<(), Error> {
        use entity::command::{Column, Entity};
        Entity::update_many()
            .col_expr(Column::Done, Expr::value(true))
            .filter(Column::Project.eq(name.project.as_str()))
            .filter(Column::Execution.eq(name.execution.as_str()))
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        Ok(())
    }

    /// How far a node's records are durable. Locks that until the commit: where two streams of one node bring the same records,
    /// the second waits here, and finds them known.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn cursor(&self, node: &NodeId, incarnation: &str) -> Result<i64, Error> {
        use entity::report_cursor::{ActiveModel, Column, Entity};
        let find = async || {
            Entity::find_by_id((node.to_string(), incarnation.to_owned()))
                .lock_exclusive()
                .one(&self.inner)
                .await
                .map_err(|e| internal(&e))
        };
        if let Some(row) = find().await? {
            return Ok(row.sequence);
        }
        let first = ActiveModel {
            node: Set(node.to_string()),
            incarnation: Set(incarnation.to_owned()),
            sequence: Set(0),
        };
        // Another stream may have been quicker.
        let conflict = OnConflict::columns([Column::Node, Column::Incarnation])
            .do_nothing()
            .to_owned();
        Entity::insert_many([first])
            .on_conflict(conflict)
            .exec_without_returning(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        Ok(find().await?.map_or(0, |row| row.sequence))
    }

    /// Moves it, after [`Tx::cursor`].
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_cursor(
        &self,
        node: &NodeId,
        incarnation: &str,
        sequence: i64,
    ) -> Result<(), Error> {
        use entity::report_cursor::{Column, Entity};
        Entity::update_many()
            .col_expr(Column::Sequence, Expr::value(sequence))
            .filter(Column::Node.eq(node.as_str()))
            .filter(Column::Incarnation.eq(incarnation))
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        Ok(())
    }
}
