//! Nodes: who is connected, what they use, what they are to do.

use serde::{Deserialize, Serialize};
use signalbox_model::{error::Error, ids::NodeId};

use super::App;
use crate::store::{OpenCommand, Page, PageOf, rows::Node};

/// Commands given to a node at once.
const COMMANDS_MAX: u64 = 100;
/// Refusals shown for a node.
const REFUSALS_MAX: usize = 100;

/// A resource whose newest state a node refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Its name.
    pub resource: String,
    /// The revision that was refused.
    pub revision: i64,
    /// Why.
    pub reason: String,
}

impl App {
    /// A node.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn node(&self, node: &NodeId) -> Result<Node, Error> {
        self.store.node(node).await
    }

    /// The nodes, most recently connected first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn nodes(&self, page: &Page) -> Result<PageOf<Node>, Error> {
        self.store.nodes(page).await
    }

    /// Notes that a node has come.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn node_connected(
        &self,
        node: &NodeId,
        version: &str,
        applied: i64,
    ) -> Result<(), Error> {
        self.store
            .write(async |tx| {
                let before = tx.node(node).await?;
                let now = tx.now_us();
                tx.put_node(Node {
                    id: node.to_string(),
                    version: version.chars().take(64).collect(),
                    connected: true,
                    applied_revision: applied,
                    refusals_json: before
                        .as_ref()
                        .map_or("[]".to_owned(), |row| row.refusals_json.clone()),
                    connect_time_us: now,
                    last_seen_time_us: now,
                    last_report_time_us: before.as_ref().and_then(|row| row.last_report_time_us),
                    reported_sequence: before.as_ref().map_or(0, |row| row.reported_sequence),
                })
                .await
            })
            .await
    }

    async fn change_node(
        &self,
        node: &NodeId,
        change: impl FnOnce(&mut Node, i64),
    ) -> Result<(), Error> {
        self.store
            .write(async |tx| {
                if let Some(mut row) = tx.node(node).await? {
                    change(&mut row, tx.now_us());
                    tx.put_node(row).await?;
                }
                Ok(())
            })
            .await
    }

    /// Notes what a node uses now, and what it refused of it.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn node_applied(
        &self,
        node: &NodeId,
        revision: i64,
        mut refusals: Vec<Refusal>,
    ) -> Result<(), Error> {
        refusals.truncate(REFUSALS_MAX);
        self.change_node(node, |row, now| {
            row.applied_revision = revision;
            row.last_seen_time_us = now;
            let mut all: Vec<Refusal> =
                serde_json::from_str(&row.refusals_json).unwrap_or_default();
            // What it refused before and has not refused again may have been mended; a new refusal replaces the old.
            all.retain(|old| refusals.iter().all(|new| new.resource != old.resource));
            if refusals.is_empty() {
                all.clear();
            }
            all.extend(refusals);
            all.truncate(REFUSALS_MAX);
            row.refusals_json = serde_json::to_string(&all).unwrap_or_else(|_| "[]".to_owned());
        })
        .await
    }

    /// Notes that a node was heard.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn node_seen(&self, node: &NodeId) -> Result<(), Error> {
        self.change_node(node, |row, now| row.last_seen_time_us = now)
            .await
    }

    /// Notes that a node has gone.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn node_disconnected(&self, node: &NodeId) -> Result<(), Error> {
        self.change_node(node, |row, _| row.connected = false).await
    }

    /// Notes at a start that no node is connected.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn no_node_connected(&self) -> Result<(), Error> {
        self.store
            .write(async |tx| tx.disconnect_all_nodes().await)
            .await
    }

    /// The commands of a node: those that no other has, and (`again`) those that it was given and has not answered.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn commands_for(
        &self,
        node: &NodeId,
        again: bool,
    ) -> Result<Vec<OpenCommand>, Error> {
        self.store
            .write(async |tx| tx.take_commands(node, again, COMMANDS_MAX).await)
            .await
    }

    /// Notes a node's answer to a command.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn command_answered(&self, node: &NodeId, id: &str, done: bool) -> Result<(), Error> {
        self.store
            .write(async |tx| tx.answer_command(node, id, done).await)
            .await
    }
}
