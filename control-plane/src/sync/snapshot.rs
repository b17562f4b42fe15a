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
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

use super::delta::{Converted, converted};
use crate::{
    app::App,
    store::{ConfigEntry, ConfigKind, ConfigPage, Store, rows::Secret},
};

/// Size of one part. A stream that is slow holds a part or two in its buffers.
const PART_MAX_BYTES: usize = 64 * 1024;
/// What a secret takes of a part beside its value.
const SECRET_BYTES: usize = 256;
/// Resources that one statement reads.
const PAGE: u64 = 1_000;
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

    /// What there is: `revision` at least. What is changed or deleted meanwhile, read or not, stands behind it in the change log, and
    /// nodes are sent it next.
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
        let mut pages = pin!(pages(store));
        while let Some(page) = pages.next().await {
            for entry in page? {
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

/// All resources, a page at a time; those of each kind beside those of the others, by a task of their own.
fn pages(store: &Store) -> impl Stream<Item = Result<Vec<ConfigEntry>, Error>> {
    let kinds = ConfigKind::ALL.map(|kind| {
        let (pages, read) = mpsc::channel(1);
        tokio::spawn(read_pages(store.clone(), kind, pages));
        ReceiverStream::new(read)
    });
    stream::select_all(kinds)
}

async fn read_pages(
    store: Store,
    kind: ConfigKind,
    pages: mpsc::Sender<Result<Vec<ConfigEntry>, Error>>,
) {
    let mut behind = None;
    loop {
        let (page, next) = match store.config_page(kind, behind.as_ref(), PAGE).await {
            Ok(ConfigPage { entries, next }) => (Ok(entries), next),
            Err(error) => (Err(error), None),
        };
        // Nobody waits for it any more when another kind cannot be read.
        if pages.send(page).await.is_err() || next.is_none() {
            return;
        }
        behind = next;
    }
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
