//! Commands for the nodes, and the nodes themselves.

use sea_orm::{
    ActiveModelTrait as _, ActiveValue::Set, ColumnTrait as _, Condition, EntityTrait as _,
    IntoActiveModel as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, sea_query::Expr,
};
use signalbox_model::{error::Error, ids::NodeId};

use super::{Page, PageOf, Store, Tx, entity, internal, page::keyset, rows::Node};

/// A command that no node has answered.
pub type OpenCommand = entity::command::Model;

impl Tx {
    /// Adds a command.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn insert_command(&self, command: OpenCommand) -> Result<(), Error> {
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

    /// Notes a node's answer: done, or free for another node.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn answer_command(&self, node: &NodeId, id: &str, done: bool) -> Result<(), Error> {
        use entity::command::{Column, Entity};
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

    /// Writes a node's row.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn put_node(&self, row: Node) -> Result<(), Error> {
        let exists = find_node(&self.inner, &row.id).await?.is_some();
        let active = row.into_active_model().reset_all();
        let written = if exists {
            active.update(&self.inner).await
        } else {
            active.insert(&self.inner).await
        };
        written.map_err(|e| internal(&e))?;
        Ok(())
    }

    /// A node's row.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn node(&self, node: &NodeId) -> Result<Option<Node>, Error> {
        find_node(&self.inner, node.as_str()).await
    }

    /// Says of all nodes that they are away: at a start none can be connected.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn disconnect_all_nodes(&self) -> Result<(), Error> {
        use entity::node::{Column, Entity};
        Entity::update_many()
            .col_expr(Column::Connected, Expr::value(false))
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        Ok(())
    }

    /// How far a node's records are durable.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn cursor(&self, node: &NodeId, incarnation: &str) -> Result<i64, Error> {
        let key = (node.to_string(), incarnation.to_owned());
        let found = entity::report_cursor::Entity::find_by_id(key)
            .one(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        Ok(found.map_or(0, |row| row.sequence))
    }

    /// Moves it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_cursor(
        &self,
        node: &NodeId,
        incarnation: &str,
        sequence: i64,
    ) -> Result<(), Error> {
        use entity::report_cursor::{ActiveModel, Column, Entity};
        let moved = Entity::update_many()
            .col_expr(Column::Sequence, Expr::value(sequence))
            .filter(Column::Node.eq(node.as_str()))
            .filter(Column::Incarnation.eq(incarnation))
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        if moved.rows_affected == 0 {
            ActiveModel {
                node: Set(node.to_string()),
                incarnation: Set(incarnation.to_owned()),
                sequence: Set(sequence),
            }
            .insert(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        }
        Ok(())
    }
}

async fn find_node(db: &impl sea_orm::ConnectionTrait, id: &str) -> Result<Option<Node>, Error> {
    entity::node::Entity::find_by_id(id.to_owned())
        .one(db)
        .await
        .map_err(|e| internal(&e))
}

impl Store {
    /// A node.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn node(&self, node: &NodeId) -> Result<Node, Error> {
        find_node(&self.db, node.as_str())
            .await?
            .ok_or_else(|| Error::not_found(format!("nodes/{node}")))
    }

    /// The nodes, most recently connected first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn nodes(&self, page: &Page) -> Result<PageOf<Node>, Error> {
        use entity::node::{Column, Entity};
        let rows = keyset!(Entity::find(), page, Column::ConnectTimeUs, Column::Id)
            .all(&self.db)
            .await
            .map_err(|e| internal(&e))?;
        Ok(page.of(rows, |row| (row.connect_time_us, row.id.clone())))
    }
}
