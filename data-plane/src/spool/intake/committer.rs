//! The one thread that writes the intake log: takes whatever is queued, deduplicates it, writes and syncs it as one group,
//! then answers. While one group is on its way to the disk, the next gathers. A group waits for those whose requests are being
//! handled already, and for no one else: an event that comes alone is never delayed.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError, SyncSender},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use metrics::{Counter, Histogram};
use signalbox_log::{CommitError, Log, Writer};
use signalbox_model::{ids::ExecutionName, record::Certificate};
use tokio::sync::{mpsc::UnboundedSender, oneshot};

use super::{
    Shared,
    filter::Filter,
    pending::Pending,
    record::{self, ACCEPTED, CERTIFICATE, DEFINITION, short},
};
use crate::spool::{Accept, Acceptance, Definition, SpoolError, key::Key, sqlite::Index};

/// Jobs that one group may hold.
const GROUP_MAX: usize = 1024;
/// What an entry's records take beside what is in them.
const MARGIN_BYTES: usize = 1024;
/// Jobs that room is kept for.
const GROUP_KEPT: usize = 64;
/// Bytes beyond which a group takes no more.
const GROUP_MAX_BYTES: usize = 4 * 1024 * 1024;
/// How long a group waits for those on their way: so many syncs, but no longer than this.
const GATHER_SYNCS: u32 = 2;
const GATHER_MAX: Duration = Duration::from_millis(1);
/// Definitions and certificates that are remembered to be in the log; beyond, all are written anew.
const KNOWN_MAX: usize = 4096;

type Answer = oneshot::Sender<Result<Acceptance, SpoolError>>;

/// What a durable group is answered.
pub(super) type Answers = Vec<(Answer, Acceptance)>;

/// Answers a group.
pub(super) fn send(answers: Answers) {
    for (answer, acceptance) in answers {
        // Whoever is gone is told when it asks again: its message is durable.
        let _ = answer.send(Ok(acceptance));
    }
}

/// Something for the committer.
pub(super) enum Job {
    Accept(Box<Entry>),
    /// The store has these.
    Drained(Vec<Key>),
    /// The filter is built.
    Filter(Filter),
    /// Whether the log has this, and the store does not.
    Find(Key, oneshot::Sender<bool>),
}

/// An event to accept, encoded: what is costly is done by the callers' threads.
pub(super) struct Entry {
    key: Key,
    execution: ExecutionName,
    head: Vec<u8>,
    body: Bytes,
    content_digest: [u8; 32],
    until_us: i64,
    definition: Definition,
    certificate: Option<Arc<Certificate>>,
    answer: Answer,
}

impl Entry {
    pub(super) fn new(accept: &Accept, answer: Answer) -> Result<Self, SpoolError> {
        Ok(Self {
            key: Key::of(&accept.accepted.execution),
            execution: accept.accepted.execution.clone(),
            head: record::encode(accept)?,
            body: accept.accepted.event.body.clone(),
            content_digest: accept.content_digest,
            until_us: accept.deduplicate_until.as_microsecond(),
            definition: accept.definition.clone(),
            certificate: accept.certificate.clone(),
            answer,
        })
    }
}

impl Entry {
    /// Bytes of its record, and of what it may refer to.
    fn bytes(&self) -> usize {
        let certificate = self.certificate.as_ref().map_or(0, |of| of.pem.len());
        self.head.len()
            + self.body.len()
            + self.definition.source.len()
            + certificate
            + MARGIN_BYTES
    }
}

/// What a committer is made of.
pub(super) struct Parts {
    pub(super) writer: Writer,
    pub(super) log: Log,
    pub(super) index: Index,
    pub(super) pending: Pending,
    pub(super) shared: Arc<Shared>,
    /// Wakes the drain.
    pub(super) drain: SyncSender<()>,
    pub(super) mark_after: Duration,
    /// Sends answers from a thread of the runtime; none: they are sent from here.
    pub(super) answers: Option<UnboundedSender<Answers>>,
}

pub(super) struct Committer {
    parts: Parts,
    /// None until it is built.
    filter: Option<Filter>,
    /// What was accepted before the filter was there.
    since: Vec<(Key, i64)>,
    known_definitions: HashSet<[u8; 32]>,
    known_certificates: HashSet<String>,
    /// The group goes into a new segment.
    begins_segment: bool,
    group: Answers,
    group_keys: Vec<Key>,
    /// How long a commit takes, on a sliding average.
    usual: Duration,
    syncs: Counter,
    sync_seconds: Histogram,
    group_size: Histogram,
}

impl Committer {
    pub(super) fn new(parts: Parts) -> Self {
        let since = parts.pending.keys().map(|key| (*key, i64::MAX)).collect();
        Self {
            parts,
            filter: None,
            since,
            known_definitions: HashSet::new(),
            known_certificates: HashSet::new(),
            begins_segment: false,
            group: Vec::with_capacity(GROUP_KEPT),
            group_keys: Vec::with_capacity(GROUP_KEPT),
            usual: Duration::ZERO,
            syncs: metrics::counter!("signalbox_intake_syncs_total"),
            sync_seconds: metrics::histogram!("signalbox_intake_commit_seconds"),
            group_size: metrics::histogram!("signalbox_intake_commit_messages"),
        }
    }

    /// Until the queue is closed, or the disk fails.
    pub(super) fn run(mut self, queue: &Receiver<Job>) {
        let mut marked = true;
        loop {
            let first = match queue.recv_timeout(self.parts.mark_after) {
                Ok(first) => first,
                Err(RecvTimeoutError::Timeout) if marked => continue,
                Err(end) => {
                    if !marked {
                        self.mark();
                    }
                    marked = true;
                    match end {
                        RecvTimeoutError::Timeout => continue,
                        RecvTimeoutError::Disconnected => return,
                    }
                }
            };
            self.gather();
            match self.turn(first, queue) {
                Ok(wrote) => marked &= !wrote,
                // Dropping the queue drops every waiting answer; callers then read the failure.
                Err(failure) => return self.parts.shared.fail(failure),
            }
        }
    }

    /// Waits while requests are being handled that will be in the queue before a sync would end: for each it is one sync
    /// less to wait for, and for all together most of the cost of syncing.
    fn gather(&self) {
        let limit = GATHER_MAX.min(self.usual * GATHER_SYNCS);
        self.parts.shared.arrivals.gather(GROUP_MAX, limit);
    }

    /// Makes what is queued durable as one group, and answers it. Says whether it had anything to write. An error ends
    /// the committer.
    pub(super) fn turn(&mut self, first: Job, queue: &Receiver<Job>) -> Result<bool, String> {
        self.take(first);
        let mut taken = 1;
        while taken < GROUP_MAX
            && self.parts.writer.staged_bytes() < GROUP_MAX_BYTES
            && let Ok(job) = queue.try_recv()
        {
            self.take(job);
            taken += 1;
        }
        let writes = self.parts.writer.staged_bytes() > 0;
        self.commit()?;
        Ok(writes)
    }

    /// Idle, or at an end: what stands before the mark is known to be whole.
    pub(super) fn mark(&mut self) {
        if let Err(error) = self.parts.writer.mark() {
            tracing::warn!(%error, "the end of the intake log is not marked");
        }
    }

    fn take(&mut self, job: Job) {
        match job {
            Job::Accept(entry) => {
                self.parts.shared.arrivals.unqueue();
                self.accept(*entry);
            }
            Job::Drained(keys) => {
                for key in &keys {
                    self.parts.pending.remove(key);
                }
                self.publish();
            }
            Job::Filter(mut filter) => {
                for (key, until_us) in self.since.drain(..) {
                    filter.insert(key, until_us);
                }
                self.since = Vec::new();
                self.filter = Some(filter);
            }
            Job::Find(key, answer) => {
                // Whoever is gone does not need to know.
                let _ = answer.send(self.parts.pending.get(&key).is_some());
            }
        }
    }

    fn accept(&mut self, entry: Entry) {
        let same = match self.find(&entry) {
            Ok(found) => found,
            Err(error) => {
                let _ = entry.answer.send(Err(error));
                return;
            }
        };
        match same {
            // A copy waits for the group, too: the first may be in it.
            Some(true) => self.group.push((entry.answer, Acceptance::Duplicate)),
            Some(false) => self.group.push((entry.answer, Acceptance::Conflict)),
            None => match self.stage(&entry) {
                Ok(()) => self.group.push((entry.answer, Acceptance::New)),
                Err(error) => {
                    tracing::warn!(%error, "a message does not fit into the intake log");
                    let _ = entry.answer.send(Err(SpoolError::Full));
                }
            },
        }
    }

    /// Whether the name was accepted before, and if so, whether with the same content.
    fn find(&self, entry: &Entry) -> Result<Option<bool>, SpoolError> {
        let filtered = self.filter.as_ref();
        if filtered.is_some_and(|filter| !filter.may_contain(entry.key)) {
            return Ok(None);
        }
        if let Some(content) = self.parts.pending.get(&entry.key) {
            return Ok(Some(content == short(&entry.content_digest)));
        }
        let stored = self
            .parts
            .index
            .content_of(entry.key, &entry.execution.to_string())?;
        Ok(stored.map(|content| content.is_of(&entry.content_digest)))
    }

    fn stage(&mut self, entry: &Entry) -> Result<(), CommitError> {
        let writer = &mut self.parts.writer;
        // Each segment has what its events refer to: where one is lost, the others can be executed.
        if !self.begins_segment && writer.begins_segment(entry.bytes()) {
            self.begins_segment = true;
            self.known_definitions.clear();
            self.known_certificates.clear();
        }
        if let Some(certificate) = &entry.certificate
            && !self.known_certificates.contains(&certificate.sha256)
        {
            writer.push(CERTIFICATE, &[&record::encode_certificate(certificate)])?;
            if self.known_certificates.len() >= KNOWN_MAX {
                self.known_certificates.clear();
            }
            self.known_certificates.insert(certificate.sha256.clone());
        }
        let Definition { digest, source } = &entry.definition;
        if !self.known_definitions.contains(digest) {
            writer.push(DEFINITION, &[digest, source])?;
            if self.known_definitions.len() >= KNOWN_MAX {
                self.known_definitions.clear();
            }
            self.known_definitions.insert(*digest);
        }
        writer.push(ACCEPTED, &[&entry.head, &entry.body])?;
        self.parts
            .pending
            .insert(entry.key, short(&entry.content_digest));
        self.group_keys.push(entry.key);
        match &mut self.filter {
            Some(filter) => filter.insert(entry.key, entry.until_us),
            None => self.since.push((entry.key, entry.until_us)),
        }
        Ok(())
    }

    /// Makes the group durable and answers it. An error ends the committer.
    fn commit(&mut self) -> Result<(), String> {
        if self.group.is_empty() {
            return Ok(());
        }
        let writes = self.parts.writer.staged_bytes() > 0;
        self.begins_segment = false;
        let started = Instant::now();
        let failure = self.parts.writer.commit().err();
        if let Some(error) = failure {
            return self.refuse(&error);
        }
        // Before the answers: whoever gets one may look.
        self.publish();
        let answers = std::mem::replace(&mut self.group, Vec::with_capacity(GROUP_KEPT));
        match &self.parts.answers {
            // One wake of the runtime for the group; waking each of its tasks from outside would cost more than the sync.
            Some(runtime) => {
                if let Err(unsent) = runtime.send(answers) {
                    send(unsent.0);
                }
            }
            None => send(answers),
        }
        if writes {
            self.parts.shared.set_no_room(false);
            self.syncs.increment(1);
            let took = started.elapsed();
            self.usual = (self.usual * 7 + took) / 8;
            self.sync_seconds.record(took);
            #[expect(clippy::cast_precision_loss, reason = "a group is small")]
            self.group_size.record(self.group_keys.len() as f64);
            self.group_keys.clear();
            // One wake is enough, however many groups it is for.
            let _ = self.parts.drain.try_send(());
        }
        Ok(())
    }

    fn refuse(&mut self, error: &CommitError) -> Result<(), String> {
        for key in self.group_keys.drain(..) {
            self.parts.pending.remove(&key);
        }
        // They may have been in the group.
        self.known_definitions.clear();
        self.known_certificates.clear();
        let (answer, outcome) = match error {
            CommitError::NoSpace | CommitError::TooLarge { .. } => {
                tracing::warn!(%error, "messages are refused: the intake log cannot grow");
                self.parts
                    .shared
                    .set_no_room(matches!(error, CommitError::NoSpace));
                (SpoolError::Full, Ok(()))
            }
            CommitError::Failed(failure) => {
                (SpoolError::Failed(failure.clone()), Err(failure.clone()))
            }
        };
        for (waiting, _) in self.group.drain(..) {
            let _ = waiting.send(Err(answer.clone()));
        }
        outcome
    }

    fn publish(&self) {
        let shared = &self.parts.shared;
        let pending = self.parts.pending.len() as u64;
        shared.pending.store(pending, Ordering::Relaxed);
        let bytes = self.parts.log.used_bytes();
        shared.log_bytes.store(bytes, Ordering::Relaxed);
    }
}
