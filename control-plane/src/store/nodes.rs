//! The nodes' rows. Streams of one node, at several replicas, change them at once: each writes the columns that it knows of, and
//! no others. A node's newest stream is noted: only that one hands out commands, and only it may say that the node has gone.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use sea_orm::{
    ActiveValue::Set,
    ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
    UpdateMany,
    sea_query::{Expr, OnConflict},
};
use signalbox_model::{error::Error, ids::NodeId};

use super::{Page, PageOf, Store, Tx, entity, internal, page::keyset, rows::Node};

/// A node that was not heard for so long is not connected, whatever its row says: the replica that it was connected to may
/// have died. Nodes say that they are alive every ten seconds, and are given up after thirty.
const SILENCE_MAX: Duration = Duration::from_secs(45);

/// Nodes of one statement.
const NODES_MAX: usize = 500;

/// A node that was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heard {
    /// Which.
    pub node: NodeId,
    /// The stream that it was heard by.
    pub stream: String,
    /// The revision that it said it uses now, and nothing refused of it.
    pub applied: Option<i64>,
}

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

    /// Notes that nodes were heard by their streams, and what they use. Gives the streams that are not their nodes' newest any
    /// more; of those nothing is noted.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn nodes_heard(&self, heard: &[Heard]) -> Result<Vec<String>, Error> {
        let mut old = Vec::new();
        for heard in heard.chunks(NODES_MAX) {
            old.extend(self.some_heard(heard).await?);
        }
        Ok(old)
    }

    async fn some_heard(&self, heard: &[Heard]) -> Result<Vec<String>, Error> {
        use entity::node::{Column, Entity};
        let ids = heard.iter().map(|heard| heard.node.as_str());
        // Locked in one order: another replica may note some of the same.
        let newest: HashMap<String, Option<String>> = Entity::find()
            .filter(Column::Id.is_in(ids))
            .order_by_asc(Column::Id)
            .lock_exclusive()
            .all(&self.inner)
            .await
            .map_err(|e| internal(&e))?
            .into_iter()
            .map(|row| (row.id, row.stream))
            .collect();
        let is_newest = |heard: &&Heard| {
            let stream = newest.get(heard.node.as_str()).and_then(Option::as_deref);
            stream == Some(heard.stream.as_str())
        };
        // Most have applied the same revision: one statement for those that did.
        let mut by_applied: BTreeMap<Option<i64>, Vec<&str>> = BTreeMap::new();
        for heard in heard.iter().filter(is_newest) {
            let nodes = by_applied.entry(heard.applied).or_default();
            nodes.push(heard.node.as_str());
        }
        for (applied, nodes) in by_applied {
            let mut update = Entity::update_many()
                .col_expr(Column::LastSeenTimeUs, Expr::value(self.now_us()))
                .col_expr(Column::Connected, Expr::value(true))
                .filter(Column::Id.is_in(nodes));
            if let Some(revision) = applied {
                update = update
                    .col_expr(Column::AppliedRevision, Expr::value(revision))
                    .col_expr(Column::RefusalsJson, Expr::value("[]"));
            }
            update.exec(&self.inner).await.map_err(|e| internal(&e))?;
        }
        let old = heard.iter().filter(|heard| !is_newest(heard));
        Ok(old.map(|heard| heard.stream.clone()).collect())
    }

    /// Notes that the nodes of `streams` have gone, but for those that have come by others.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn nodes_disconnected(&self, streams: &[(NodeId, String)]) -> Result<(), Error> {
        use entity::node::{Column, Entity};
        for streams in streams.chunks(NODES_MAX) {
            let nodes = streams.iter().map(|(node, _)| node.as_str());
            let names = streams.iter().map(|(_, stream)| stream.as_str());
            Entity::update_many()
                .col_expr(Column::Connected, Expr::value(false))
                .filter(Column::Id.is_in(nodes))
                .filter(Column::Stream.is_in(names))
                .exec(&self.inner)
                .await
                .map_err(|e| internal(&e))?;
        }
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
        let query = |page: &Page| keyset!(Entity::find(), page, Column::ConnectTimeUs, Column::Id);
        let PageOf { rows, next } = page.read(&self.db, query).await?;
        let rows = rows.into_iter().map(as_seen).collect();
        Ok(PageOf { rows, next })
    }
}

impl Tx {
    /// Whether a node is connected now, at any replica. Until the commit it does not come.
    pub(super) async fn is_connected(&self, node: &str) -> Result<bool, Error> {
        let row = entity::node::Entity::find_by_id(node.to_owned())
            .lock_shared()
            .one(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        Ok(row.map(as_seen).is_some_and(|row| row.connected))
    }
}

fn as_seen(mut row: Node) -> Node {
    let silence_us = i64::try_from(SILENCE_MAX.as_micros()).unwrap_or(i64::MAX);
    let now_us = jiff::Timestamp::now().as_microsecond();
    row.connected &= row.last_seen_time_us > now_us.saturating_sub(silence_us);
    row
}
