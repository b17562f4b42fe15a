//! Nodes' identities, and the tokens by which nodes enroll.

use std::collections::HashMap;

use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, EntityTrait as _, PaginatorTrait as _, QueryFilter as _,
    QuerySelect as _, sea_query::OnConflict,
};
use signalbox_model::{
    error::Error,
    ids::{EnrollmentTokenId, NodeId},
};

use super::{Page, PageOf, Store, Tx, entity, internal, page::keyset, rows::Node};

/// A token by which one node enrolls, once.
pub type EnrollmentTokenRow = entity::enrollment_token::Model;
/// What an enrolled node gets its tokens by.
pub type NodeIdentityRow = entity::node_identity::Model;

impl Tx {
    /// Notes a new token. Forgets those that ended before `forget_before_us`.
    ///
    /// # Errors
    /// `Exhausted` when there would be more than `max`.
    pub async fn insert_enrollment_token(
        &self,
        row: EnrollmentTokenRow,
        forget_before_us: i64,
        max: u64,
    ) -> Result<EnrollmentTokenRow, Error> {
        use entity::enrollment_token::{Column, Entity};
        Entity::delete_many()
            .filter(Column::ExpireTimeUs.lt(forget_before_us))
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        let count = Entity::find().count(&self.inner).await;
        if count.map_err(|e| internal(&e))? >= max {
            return Err(Error::Exhausted {
                message: format!(
                    "there are {max} enrollment tokens, which is as many as can be: delete some"
                ),
            });
        }
        let name = format!("enrollmentTokens/{}", row.id);
        self.insert_row::<Entity>(row, &name).await
    }

    /// The token with this digest, locked until the commit.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn enrollment_token_by_digest(
        &self,
        digest: &[u8],
    ) -> Result<Option<EnrollmentTokenRow>, Error> {
        use entity::enrollment_token::{Column, Entity};
        Entity::find()
            .filter(Column::Digest.eq(digest))
            .lock_exclusive()
            .one(&self.inner)
            .await
            .map_err(|e| internal(&e))
    }

    /// Writes a token that exists.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn update_enrollment_token(
        &self,
        row: EnrollmentTokenRow,
    ) -> Result<EnrollmentTokenRow, Error> {
        self.update_row::<entity::enrollment_token::Entity>(row)
            .await
    }

    /// Deletes a token. False: there is none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_enrollment_token(&self, id: &EnrollmentTokenId) -> Result<bool, Error> {
        let deleted = entity::enrollment_token::Entity::delete_by_id(id.to_string())
            .exec(&self.inner)
            .await;
        Ok(deleted.map_err(|e| internal(&e))?.rows_affected == 1)
    }

    /// The identity of a node. Until the commit nobody else changes it, or gives the node its first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn node_identity(&self, node: &NodeId) -> Result<Option<NodeIdentityRow>, Error> {
        self.lock_name(&format!("nodeIdentities/{node}")).await?;
        entity::node_identity::Entity::find_by_id(node.to_string())
            .one(&self.inner)
            .await
            .map_err(|e| internal(&e))
    }

    /// Writes an identity that exists.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn update_node_identity(
        &self,
        row: NodeIdentityRow,
    ) -> Result<NodeIdentityRow, Error> {
        self.update_row::<entity::node_identity::Entity>(row).await
    }

    /// Makes `row` the identity of its node, in the place of any before, and the node one that is known, though it has not come.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn put_node_identity(&self, row: NodeIdentityRow) -> Result<(), Error> {
        use entity::node_identity::Entity;
        self.meet_node(&row.node).await?;
        Entity::delete_by_id(row.node.clone())
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        let name = format!("nodes/{}", row.node);
        self.insert_row::<Entity>(row, &name).await.map(|_| ())
    }

    async fn meet_node(&self, node: &str) -> Result<(), Error> {
        use entity::node::{ActiveModel, Column, Entity};
        let row = ActiveModel {
            id: Set(node.to_owned()),
            version: Set(String::new()),
            connected: Set(false),
            applied_revision: Set(0),
            refusals_json: Set("[]".to_owned()),
            connect_time_us: Set(self.now_us()),
            last_seen_time_us: Set(self.now_us()),
            last_report_time_us: Set(None),
            reported_sequence: Set(0),
            stream: Set(None),
            link_public_key: Set(None),
        };
        let known = OnConflict::column(Column::Id).do_nothing().to_owned();
        Entity::insert_many([row])
            .on_conflict(known)
            .exec_without_returning(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        Ok(())
    }
}

impl Store {
    /// The token with this digest.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn enrollment_token_by_digest(
        &self,
        digest: &[u8],
    ) -> Result<Option<EnrollmentTokenRow>, Error> {
        use entity::enrollment_token::{Column, Entity};
        Entity::find()
            .filter(Column::Digest.eq(digest))
            .one(&self.db)
            .await
            .map_err(|e| internal(&e))
    }

    /// Tokens, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn enrollment_tokens(
        &self,
        page: &Page,
    ) -> Result<PageOf<EnrollmentTokenRow>, Error> {
        use entity::enrollment_token::{Column, Entity};
        let query = |page: &Page| keyset!(Entity::find(), page, Column::CreateTimeUs, Column::Id);
        page.read(&self.db, query).await
    }

    /// The identity of a node.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn node_identity(&self, node: &NodeId) -> Result<Option<NodeIdentityRow>, Error> {
        entity::node_identity::Entity::find_by_id(node.to_string())
            .one(&self.db)
            .await
            .map_err(|e| internal(&e))
    }

    /// The identities of those of `nodes` that have one, by their ids.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn node_identities(
        &self,
        nodes: &[Node],
    ) -> Result<HashMap<String, NodeIdentityRow>, Error> {
        use entity::node_identity::{Column, Entity};
        let ids = nodes.iter().map(|node| node.id.as_str());
        let rows = Entity::find()
            .filter(Column::Node.is_in(ids))
            .all(&self.db)
            .await
            .map_err(|e| internal(&e))?;
        Ok(rows
            .into_iter()
            .map(|row| (row.node.clone(), row))
            .collect())
    }
}
