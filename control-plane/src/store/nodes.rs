//! The nodes' rows. Streams of one node, at several replicas, change them at once: each writes the columns that it knows of, and
//! no others. A node's newest stream is noted: only that one hands out commands, and only it may say that the node has gone.

use std::time::Duration;

use sea_orm::{
    ActiveValue::Set,
    ColumnTrait as _, EntityTrait as _, QueryFilter as _, QuerySelect as _, UpdateMany,
    sea_query::{Expr, OnConflict},
};
use signalbox_model::{error::Error, ids::NodeId};

use super::{Page, PageOf, Store, Tx, entity, internal, page::keyset, rows::Node};

/// A node that was not heard for so long is not connected, whatever its row says: the replica that it was connected to may
/// have died. Nodes say that they are alive every ten seconds, and are given up after thirty.
const SILENCE_MAX: Duration = Duration::from_secs(45);

/// A node that has come.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// Its version.
    pub version: &'a str,
    /// The revision that it has; 0: none of this database.
    pub applied: i64,
    /// Names its stream.
    pub stream: &'a str,
}

fn update(node: &NodeId) -> UpdateMany<entity::node::Entity> {
    use entity::node::{Column, Entity};
    Entity::update_many().filter(Column::Id.eq(node.as_str()))
}

impl Tx {
    /// Notes that a node has come.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn node_connected(&self, node: &NodeId, arrival: Arrival<'_>) -> Result<(), Error> {
        use entity::node::{ActiveModel, Column, Entity};
        let row = ActiveModel {
            id: Set(node.to_string()),
            version: Set(arrival.version.to_owned()),
            connected: Set(true),
            applied_revision: Set(arrival.applied),
            refusals_json: Set("[]".to_owned()),
            connect_time_us: Set(self.now_us()),
            last_seen_time_us: Set(self.now_us()),
            last_report_time_us: Set(None),
            reported_sequence: Set(0),
            stream: Set(Some(arrival.stream.to_owned())),
        };
        let come_back = OnConflict::column(Column::Id)
            .update_columns([
                Column::Version,
                Column::Connected,
                Column::AppliedRevision,
                Column::ConnectTimeUs,
                Column::LastSeenTimeUs,
                Column::Stream,
            ])
            .to_owned();
        Entity::insert_many([row])
            .on_conflict(come_back)
            .exec_without_returning(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        Ok(())
    }

    /// A node's row, locked until the commit.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn node(&self, node: &NodeId) -> Result<Option<Node>, Error> {
        entity::node::Entity::find_by_id(node.to_string())
            .lock_exclusive()
            .one(&self.inner)
            .await
            .map_err(|e| internal(&e))
    }

    /// Whether `stream` is the newest of a node. No other begins until the commit.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn is_newest_stream(&self, node: &NodeId, stream: &str) -> Result<bool, Error> {
        let row = entity::node::Entity::find_by_id(node.to_string())
            .lock_shared()
            .one(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        Ok(row.is_some_and(|row| row.stream.as_deref() == Some(stream)))
    }

    /// Notes what a node uses, and what it refuses.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn node_applied(
        &self,
        node: &NodeId,
        revision: i64,
        refusals_json: String,
    ) -> Result<(), Error> {
        use entity::node::Column;
        update(node)
            .col_expr(Column::AppliedRevision, Expr::value(revision))
            .col_expr(Column::RefusalsJson, Expr::value(refusals_json))
            .col_expr(Column::LastSeenTimeUs, Expr::value(self.now_us()))
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        Ok(())
    }

    /// Notes that a node was heard by `stream`. False: another is its newest.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn node_seen(&self, node: &NodeId, stream: &str) -> Result<bool, Error> {
        use entity::node::Column;
        let seen = update(node)
            .col_expr(Column::LastSeenTimeUs, Expr::value(self.now_us()))
            .col_expr(Column::Connected, Expr::value(true))
            .filter(Column::Stream.eq(stream))
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        Ok(seen.rows_affected == 1)
    }

    /// Notes that a node has gone, unless it has come by another stream.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn node_disconnected(&self, node: &NodeId, stream: &str) -> Result<(), Error> {
        use entity::node::Column;
        update(node)
            .col_expr(Column::Connected, Expr::value(false))
            .filter(Column::Stream.eq(stream))
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        Ok(())
    }

    /// Notes how far a node has reported.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn node_reported(&self, node: &NodeId, sequence: i64) -> Result<(), Error> {
        use entity::node::Column;
        update(node)
            .col_expr(Column::LastReportTimeUs, Expr::value(self.now_us()))
            .col_expr(Column::ReportedSequence, Expr::value(sequence))
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        Ok(())
    }

    /// Says of all nodes that they are away.
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
}

impl Store {
    /// A node.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn node(&self, node: &NodeId) -> Result<Node, Error> {
        entity::node::Entity::find_by_id(node.to_string())
            .one(&self.db)
            .await
            .map_err(|e| internal(&e))?
            .map(as_seen)
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
        let rows = rows.into_iter().map(as_seen).collect();
        Ok(page.of(rows, |row| (row.connect_time_us, row.id.clone())))
    }
}

fn as_seen(mut row: Node) -> Node {
    let silence_us = i64::try_from(SILENCE_MAX.as_micros()).unwrap_or(i64::MAX);
    let now_us = jiff::Timestamp::now().as_microsecond();
    row.connected &= row.last_seen_time_us > now_us.saturating_sub(silence_us);
    row
}
