//! The nodes' streams at this replica: who is woken when there is something to tell, and what is noted of all of them together.
//!
//! A thousand nodes are looked after by one task each of these: one looks for commands, cancellations and signals, and wakes the
//! nodes that they are for; the other writes down, in one transaction, who was heard and what they use.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use signalbox_model::{error::Error, ids::NodeId};
use signalbox_runtime::shutdown::Shutdown;
use tokio::sync::Notify;

use crate::{
    app::{App, Refusal},
    store::Heard,
};

/// How often errands are looked for although nobody said that there are any.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// Between two transactions that note what was heard.
const NOTE_INTERVAL: Duration = Duration::from_millis(100);
/// The same when the database could not be written to.
const NOTE_AGAIN_INTERVAL: Duration = Duration::from_secs(1);

/// The streams at this replica.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    app: App,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    by_node: Mutex<HashMap<NodeId, Arc<Calls>>>,
    /// There is a command for any node; it goes to one that is not busy.
    free: Notify,
    noted: Mutex<Notes>,
    /// Something was noted.
    is_noted: Notify,
    /// Held while notes are written: what comes later must be written later.
    writing: tokio::sync::Mutex<()>,
}

/// What is not written down yet.
#[derive(Debug, Default)]
struct Notes {
    /// By stream.
    heard: HashMap<String, Heard>,
    gone: Vec<(NodeId, String)>,
}

/// How a stream is called.
#[derive(Debug)]
struct Calls {
    stream: String,
    errand: Notify,
    superseded: Notify,
}

/// A stream among the others, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    streams: Streams,
    node: NodeId,
    calls: Arc<Calls>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Streams {
    pub(super) fn new(app: App) -> Self {
        Self {
            app,
            shared: Arc::default(),
        }
    }

    /// Takes in the newest stream of a node; an older one is told so.
    pub(super) fn enter(&self, node: &NodeId, stream: &str) -> Place {
        let calls = Arc::new(Calls {
            stream: stream.to_owned(),
            errand: Notify::new(),
            superseded: Notify::new(),
        });
        let before = lock(&self.shared.by_node).insert(node.clone(), calls.clone());
        if let Some(before) = before {
            before.superseded.notify_one();
        }
        Place {
            streams: self.clone(),
            node: node.clone(),
            calls,
        }
    }

    /// Wakes the nodes that there is something to tell, until the shutdown.
    pub(super) async fn wake(self, shutdown: Shutdown) {
        let store = self.app.store();
        let (mut errands, mut trouble) = (store.errands(), store.trouble());
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = shutdown.stopping() => return,
                _ = errands.changed() => {}
                _ = trouble.changed() => {}
                _ = look.tick() => {}
            }
            if lock(&self.shared.by_node).is_empty() {
                continue;
            }
            let has_trouble = trouble.borrow_and_update().is_some();
            match self.app.errands().await {
                Ok(errands) if !has_trouble => {
                    if errands.has_free_commands {
                        self.shared.free.notify_one();
                    }
                    let by_node = lock(&self.shared.by_node);
                    for node in errands.nodes {
                        let node: Result<NodeId, _> = node.parse();
                        if let Some(calls) = node.ok().and_then(|node| by_node.get(&node)) {
                            calls.errand.notify_one();
                        }
                    }
                }
                // Each stream finds out by itself what that means for it.
                Ok(_) | Err(_) => {
                    for calls in lock(&self.shared.by_node).values() {
                        calls.errand.notify_one();
                    }
                }
            }
        }
    }

    /// Writes down what was noted, until the shutdown.
    pub(super) async fn note(self, shutdown: Shutdown) {
        loop {
            tokio::select! {
                () = shutdown.stopping() => {
                    if let Err(error) = self.write().await {
                        tracing::warn!(%error, "it cannot be noted which nodes were heard");
                    }
                    return;
                }
                () = self.shared.is_noted.notified() => {}
            }
            let pause = match self.write().await {
                Ok(()) => NOTE_INTERVAL,
                Err(error) => {
                    tracing::debug!(%error, "it cannot be noted which nodes were heard");
                    self.shared.is_noted.notify_one();
                    NOTE_AGAIN_INTERVAL
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn write(&self) -> Result<(), Error> {
        let _writing = self.shared.writing.lock().await;
        let Notes { heard, gone } = std::mem::take(&mut *lock(&self.shared.noted));
        let of_heard: Vec<Heard> = heard.values().cloned().collect();
        let written = async {
            let superseded = match of_heard.is_empty() {
                true => Vec::new(),
                false => self.app.nodes_heard(&of_heard).await?,
            };
            // Behind it: what has gone was heard before.
            if !gone.is_empty() {
                self.app.nodes_disconnected(&gone).await?;
            }
            Ok(superseded)
        };
        match written.await {
            Ok(superseded) => {
                let by_node = lock(&self.shared.by_node);
                for stream in superseded {
                    let node = heard.get(&stream).map(|heard| &heard.node);
                    let calls = node.and_then(|node| by_node.get(node));
                    if let Some(calls) = calls.filter(|calls| calls.stream == stream) {
                        calls.superseded.notify_one();
                    }
                }
                Ok(())
            }
            Err(error) => {
                let mut noted = lock(&self.shared.noted);
                for (stream, before) in heard {
                    noted.heard.entry(stream).or_insert(before);
                }
                noted.gone.extend(gone);
                Err(error)
            }
        }
    }

    /// Notes that the node of a stream has gone.
    pub(super) async fn gone(&self, node: &NodeId, stream: &str, shutdown: &Shutdown) {
        let gone = (node.clone(), stream.to_owned());
        if !shutdown.is_stopping() {
            lock(&self.shared.noted).gone.push(gone);
            self.shared.is_noted.notify_one();
            return;
        }
        // Nobody else would write it down any more.
        if let Err(error) = self.app.nodes_disconnected(&[gone]).await {
            tracing::warn!(%node, %error, "it cannot be noted that the node has gone");
        }
    }
}

impl Place {
    /// Completes when there is something to tell this node.
    pub(super) async fn called(&self) {
        tokio::select! {
            () = self.calls.errand.notified() => {}
            () = self.streams.shared.free.notified() => {}
        }
    }

    /// Says that there may be more commands for any node.
    pub(super) fn call_another(&self) {
        self.streams.shared.free.notify_one();
    }

    /// Completes when the node has come by another stream.
    pub(super) async fn superseded(&self) {
        self.calls.superseded.notified().await;
    }

    /// Notes that the node was heard, and the revision that it uses now, with nothing refused of it.
    pub(super) fn heard(&self, applied: Option<i64>) {
        let shared = &self.streams.shared;
        let mut noted = lock(&shared.noted);
        let before = noted.heard.remove(&self.calls.stream);
        let heard = Heard {
            node: self.node.clone(),
            stream: self.calls.stream.clone(),
            applied: applied.or(before.and_then(|before| before.applied)),
        };
        noted.heard.insert(self.calls.stream.clone(), heard);
        drop(noted);
        shared.is_noted.notify_one();
    }

    /// Notes what the node uses, and what it refused of it.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn refused(&self, revision: i64, refusals: Vec<Refusal>) -> Result<(), Error> {
        let _writing = self.streams.shared.writing.lock().await;
        lock(&self.streams.shared.noted)
            .heard
            .remove(&self.calls.stream);
        let app = &self.streams.app;
        app.node_applied(&self.node, revision, refusals).await
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut by_node = lock(&self.streams.shared.by_node);
        if by_node
            .get(&self.node)
            .is_some_and(|calls| Arc::ptr_eq(calls, &self.calls))
        {
            by_node.remove(&self.node);
        }
    }
}
