//! All that there is, in parts, for nodes that have nothing: read and encoded once for all that ask for it meanwhile, and sent to
//! so many at a time as memory allows.

use std::{
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use prost::Message as _;
use signalbox_model::error::Error;
use signalbox_proto::dataplane::v1 as wire;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::delta::{CHANGES_MAX, Converted, converted};
use crate::{
    app::App,
    store::{ConfigChange, Store, rows::Secret},
};

/// Size of one part. A stream that is slow holds a part or two in its buffers.
const PART_MAX_BYTES: usize = 64 * 1024;
/// What a secret takes of a part beside its value.
const SECRET_BYTES: usize = 256;
/// Statements that read a snapshot at once: most of what one takes is waiting for each other's threads.
const READINGS: usize = 3;
/// Nodes that are sent snapshots at once; the others wait for their turn.
const TURNS: usize = 32;
/// How long a node has its turn. One that takes longer goes on beside the others: it must not keep them waiting.
pub(super) const TURN: Duration = Duration::from_secs(5);
/// A snapshot that is older is not given to more nodes: they are sent what came after it behind it, as further parts.
const AGE_MAX: Duration = Duration::from_secs(60);
/// How long one is kept for nodes that may come.
const KEPT_FOR: Duration = Duration::from_secs(10);

/// A part of a snapshot.
#[derive(Clone, Debug)]
pub(super) struct Part {
    /// The `ConfigUpdate`, encoded, without what is a node's own: nonce, secrets, and what part of what it is.
    pub(super) shared: Bytes,
    /// As they are stored.
    pub(super) secrets: Arc<[Secret]>,
}

/// The state at one revision, being read or read.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    pub(super) revision: i64,
    began: Instant,
    content: watch::Receiver<Content>,
}

#[derive(Debug, Default)]
struct Content {
    parts: Vec<Part>,
    ended: Option<Result<(), Error>>,
}

impl Snapshot {
    /// The part with this number, when it is read; none behind the last.
    ///
    /// # Errors
    /// What kept it from being read.
    pub(super) async fn part(&mut self, number: usize) -> Result<Option<Part>, Error> {
        let content = self
            .content
            .wait_for(|content| content.parts.len() > number || content.ended.is_some())
            .await;
        let content = content.map_err(|_| given_up())?;
        match (content.parts.get(number), &content.ended) {
            (Some(part), _) => Ok(Some(part.clone())),
            (None, Some(Err(error))) => Err(error.clone()),
            (None, _) => Ok(None),
        }
    }

    fn is_good(&self) -> bool {
        let has_failed = matches!(self.content.borrow().ended, Some(Err(_)));
        !has_failed && self.began.elapsed() < AGE_MAX
    }
}

/// Makes snapshots, and says whose turn it is.
#[derive(Clone, Debug)]
pub(super) struct Snapshots {
    app: App,
    newest: Arc<Mutex<Option<Snapshot>>>,
    turns: Arc<Semaphore>,
}

impl Snapshots {
    pub(super) fn new(app: App) -> Self {
        Self {
            app,
            newest: Arc::default(),
            turns: Arc::new(Semaphore::new(TURNS)),
        }
    }

    /// A turn; none when the process ends.
    pub(super) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        self.turns.clone().acquire_owned().await.ok()
    }

    /// The newest snapshot, or one that is begun now. What came after it is not in it.
    pub(super) fn newest(&self) -> Snapshot {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(snapshot) = newest.as_ref().filter(|snapshot| snapshot.is_good()) {
            return snapshot.clone();
        }
        let (content, receiver) = watch::channel(Content::default());
        let snapshot = Snapshot {
            revision: *self.app.store().revision().borrow(),
            began: Instant::now(),
            content: receiver,
        };
        *newest = Some(snapshot.clone());
        drop(newest);
        tokio::spawn(self.clone().read(snapshot.revision, content));
        snapshot
    }

    async fn read(self, revision: i64, content: watch::Sender<Content>) {
        let ended = self.read_parts(revision, &content).await;
        if let Err(error) = &ended {
            tracing::warn!(%error, "a snapshot cannot be read");
        }
        content.send_modify(|content| content.ended = Some(ended));
        loop {
            tokio::time::sleep(KEPT_FOR).await;
            let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
            let is_newest = newest
                .as_ref()
                .is_some_and(|newest| newest.content.same_channel(&content.subscribe()));
            // One is the place where it is kept.
            match (is_newest, content.receiver_count()) {
                (true, 1) => *newest = None,
                (false, 0) => {}
                _ => continue,
            }
            return;
        }
    }

    /// The change log up to `revision`: what is changed or deleted meanwhile stands behind it, where nodes are sent it next.
    async fn read_parts(
        &self,
        revision: i64,
        content: &watch::Sender<Content>,
    ) -> Result<(), Error> {
        let store = self.app.store();
        let mut part = Building::default();
        let finished = |part: Building| {
            let update = wire::ConfigUpdate {
                incarnation: store.incarnation().to_owned(),
                revision,
                upserts: part.upserts,
                ..wire::ConfigUpdate::default()
            };
            let part = Part {
                shared: update.encode_to_vec().into(),
                secrets: part.secrets.into(),
            };
            content.send_modify(|content| content.parts.push(part));
        };
        let mut reading = pin!(readings(store.clone(), revision).buffered(READINGS));
        while let Some(read) = reading.next().await {
            for change in read? {
                let ConfigChange::Upsert(entry) = change else {
                    continue;
                };
                let Some(resource) = converted(entry) else {
                    continue;
                };
                let bytes = match &resource {
                    Converted::Shared(resource) => resource.encoded_len(),
                    Converted::Secret(row) => row.ciphertext.len() + SECRET_BYTES,
                    Converted::Nothing(_) => continue,
                };
                if part.bytes + bytes > PART_MAX_BYTES && part.bytes > 0 {
                    finished(std::mem::take(&mut part));
                }
                part.bytes += bytes;
                match resource {
                    Converted::Shared(resource) => part.upserts.push(resource),
                    Converted::Secret(row) => part.secrets.push(row),
                    Converted::Nothing(_) => {}
                }
            }
        }
        finished(part);
        Ok(())
    }
}

/// Reading the changes up to `revision`, [`CHANGES_MAX`] by each, beside one another.
fn readings(
    store: Store,
    revision: i64,
) -> impl Stream<Item = impl Future<Output = Result<Vec<ConfigChange>, Error>>> {
    stream::unfold(Some(0), move |from| {
        let store = store.clone();
        async move {
            let from = from.filter(|from| *from < revision)?;
            let end = store.revision_after(from, revision, CHANGES_MAX).await;
            let next = end.as_ref().ok().copied().flatten();
            let reading = tokio::spawn(async move {
                let until = end?.unwrap_or(revision);
                let (changes, _) = store.changes_between(from, until, CHANGES_MAX).await?;
                Ok(changes)
            });
            let read = async move { reading.await.unwrap_or_else(|_| Err(given_up())) };
            Some((read, next))
        }
    })
}

fn given_up() -> Error {
    Error::Unavailable {
        message: "the snapshot was given up".to_owned(),
    }
}

#[derive(Default)]
struct Building {
    bytes: usize,
    upserts: Vec<wire::Resource>,
    secrets: Vec<Secret>,
}
