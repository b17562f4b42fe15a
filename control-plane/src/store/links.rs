//! What is known of who makes links: nodes, for the approvals of executions that are at them.

use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, QuerySelect as _};
use signalbox_model::{
    error::Error,
    ids::{ExecutionName, NodeId},
};

use super::{Store, entity, internal};

impl Store {
    /// The key that verifies a node's links; none of a node that is not known, has none, or whose identity is revoked.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn link_key(&self, node: &NodeId) -> Result<Option<Vec<u8>>, Error> {
        let identity = self.node_identity(node).await?;
        if identity.is_some_and(|identity| identity.revoke_time_us.is_some()) {
            return Ok(None);
        }
        let node = entity::node::Entity::find_by_id(node.to_string())
            .one(&self.db)
            .await
            .map_err(|e| internal(&e))?;
        Ok(node.and_then(|node| node.link_public_key))
    }

    /// The node that an execution is at; none while that is not known, or when the execution is not.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn node_of(&self, name: &ExecutionName) -> Result<Option<String>, Error> {
        use entity::execution::{Column, Entity};
        let node: Option<Option<String>> = Entity::find()
            .select_only()
            .column(Column::Node)
            .filter(Column::Project.eq(name.project.as_str()))
            .filter(Column::Id.eq(name.execution.as_str()))
            .into_tuple()
            .one(&self.db)
            .await
            .map_err(|e| internal(&e))?;
        Ok(node.flatten())
    }
}
