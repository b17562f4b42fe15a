//! Whom there is something to tell: one look for all nodes, however many there are.

use std::collections::BTreeSet;

use sea_orm::{
    ColumnTrait as _, EntityTrait as _, QueryFilter as _, QuerySelect as _, sea_query::Expr,
};
use signalbox_model::error::Error;

use super::{Store, cancellations, entity, internal, signals};

/// Whom there is something to tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Errands {
    /// There are commands that no node was given.
    pub has_free_commands: bool,
    /// The ids of nodes that have executions to cancel, or to tell something.
    pub nodes: BTreeSet<String>,
}

impl Store {
    /// Whom there is something to tell. What nodes were told and have not reported yet is something, too.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn open_errands(&self) -> Result<Errands, Error> {
        let (free, cancelling, told) = futures::try_join!(
            self.has_free_commands(),
            self.nodes_to_cancel_at(),
            self.nodes_to_signal()
        )?;
        Ok(Errands {
            has_free_commands: free,
            nodes: cancelling.into_iter().chain(told).collect(),
        })
    }

    async fn has_free_commands(&self) -> Result<bool, Error> {
        use entity::command::{Column, Entity};
        let one: Option<String> = Entity::find()
            .select_only()
            .column(Column::Id)
            .filter(Column::Done.eq(false))
            .filter(Column::Node.is_null())
            .limit(1)
            .into_tuple()
            .one(&self.db)
            .await
            .map_err(|e| internal(&e))?;
        Ok(one.is_some())
    }

    async fn nodes_to_cancel_at(&self) -> Result<Vec<String>, Error> {
        use entity::execution::{Column, Entity};
        Entity::find()
            .select_only()
            .column(Column::Node)
            .distinct()
            .filter(Column::CancelTimeUs.is_not_null())
            .filter(Expr::cust(cancellations::TO_STOP))
            .filter(Column::Node.is_not_null())
            .into_tuple()
            .all(&self.db)
            .await
            .map_err(|e| internal(&e))
    }

    async fn nodes_to_signal(&self) -> Result<Vec<String>, Error> {
        use entity::{
            execution::{Column, Entity},
            signal,
        };
        let told = signal::Entity::belongs_to(Entity)
            .from((signal::Column::Project, signal::Column::Execution))
            .to((Column::Project, Column::Id));
        signal::Entity::find()
            .select_only()
            .column(Column::Node)
            .distinct()
            .join(sea_orm::JoinType::InnerJoin, told.into())
            .filter(Expr::cust(signals::UNSETTLED))
            .filter(Column::EndTimeUs.is_null())
            .filter(Column::Node.is_not_null())
            .into_tuple()
            .all(&self.db)
            .await
            .map_err(|e| internal(&e))
    }
}
