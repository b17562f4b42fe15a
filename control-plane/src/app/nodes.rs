//! Nodes: who is connected, what they use, what they are to do.

use serde::{Deserialize, Serialize};
use signalbox_model::{error::Error, ids::NodeId};

use super::App;
use crate::store::{Arrival, Errands, Heard, OpenCommand, Page, PageOf, rows::Node};

/// Commands given to a node at once.
pub const COMMANDS_MAX: u64 = 100;
/// Refusals shown for a node.
const REFUSALS_MAX: usize = 100;
/// Characters of a node's version that are kept.
const VERSION_MAX_CHARS: usize = 64;

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

    /// Notes that a node has come, by the stream that is its newest from now on.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn node_connected(&self, node: &NodeId, arrival: Arrival<'_>) -> Result<(), Error> {
        let version: String = arrival.version.chars().take(VERSION_MAX_CHARS).collect();
        let arrival = Arrival {
            version: &version,
            ..arrival
        };
        self.store
            .write(async |tx| tx.node_connected(node, arrival).await)
            .await
    }

    /// Notes what a node uses now, and what it refused of it; where it refused nothing, [`App::nodes_heard`] costs less.
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
        self.store
            .write(async |tx| {
                let Some(row) = tx.node(node).await? else {
                    return Ok(());
                };
                let mut all: Vec<Refusal> =
                    serde_json::from_str(&row.refusals_json).unwrap_or_default();
                // What it refused before and has not refused again may have been mended; a new refusal replaces the old.
                all.retain(|old| refusals.iter().all(|new| new.resource != old.resource));
                if refusals.is_empty() {
                    all.clear();
                }
                all.extend(refusals);
                all.truncate(REFUSALS_MAX);
                let json = serde_json::to_string(&all).unwrap_or_else(|_| "[]".to_owned());
                tx.node_applied(node, revision, json).await
            })
            .await
    }

    /// Notes that nodes were heard, and what they use. Gives the streams that are not their nodes' newest any more.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn nodes_heard(&self, heard: &[Heard]) -> Result<Vec<String>, Error> {
        self.store
            .write(async |tx| tx.nodes_heard(heard).await)
            .await
    }

    /// Notes that nodes have gone, but for those that have come by other streams than these.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn nodes_disconnected(&self, streams: &[(NodeId, String)]) -> Result<(), Error> {
        self.store
            .write(async |tx| tx.nodes_disconnected(streams).await)
            .await
    }

    /// Whom there is something to tell.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn errands(&self) -> Result<Errands, Error> {
        self.store.open_errands().await
    }

    /// Notes at a start that no node is connected. Only where there is no other replica, which nodes may be connected to.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn no_node_connected(&self) -> Result<(), Error> {
        self.store
            .write(async |tx| tx.disconnect_all_nodes().await)
            .await
    }

    /// The commands of a node, for its newest stream: those that no other node has, and (`again`) those that it was given and
    /// has not answered. None: `stream` is not its newest.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn hand_out(
        &self,
        node: &NodeId,
        stream: &str,
        again: bool,
    ) -> Result<Option<Vec<OpenCommand>>, Error> {
        self.store
            .write(async |tx| {
                if !tx.is_newest_stream(node, stream).await? {
                    return Ok(None);
                }
                tx.take_commands(node, again, COMMANDS_MAX).await.map(Some)
            })
            .await
    }

    /// The same for a node without a stream.
    #[cfg(test)]
    pub(crate) async fn commands_for(
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
