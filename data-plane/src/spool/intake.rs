//! The intake log in front of the store: what a 200 stands on is one write and one `fdatasync` of a segment log, shared by
//! all who wait for it. The store (SQLite) takes the records from the log behind it, as fast as executions are claimed.
//!
//! ```text
//! accept ─► committer (deduplicates, writes, syncs) ─► 200
//!                 │ log
//!                 ▼
//!             drain ─► store ─► claim, journal, report
//! ```
//!
//! The log is the truth until the store has a record: the store commits each together with its position in the log, so
//! that a crash takes none twice and none not at all. See `docs/intake-log.md`.

mod appetite;
mod committer;
mod drain;
mod error;
mod filter;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod pending;
pub(super) mod record;
#[cfg(test)]
pub(crate) mod simulated;
#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use jiff::Timestamp;
use signalbox_log::{FileStorage, Log, LogConfig, Storage};
use signalbox_model::{
    ids::ExecutionName,
    record::{Delivery, Record, SequencedRecord, SubscriptionChange},
    signal::Signal,
};
use signalbox_runtime::background;
use tokio::sync::{Notify, mpsc, oneshot, watch};

pub use self::error::OpenError;
use self::{
    appetite::Appetite,
    committer::{Committer, Entry, Job, Parts},
    drain::{Drain, Free},
};
use super::{
    Accept, Acceptance, Admission, Along, Arriving, Claimed, Handshake, Spool, SpoolError,
    SpoolStats, SqliteSpool, SqliteSpoolConfig, Summoned, Told, arrivals::Arrivals, key::Key,
};

/// Folder of the log inside the node's data folder.
pub(super) const INTAKE_DIR: &str = "intake";

/// Limits of an [`IntakeSpool`].
#[derive(Clone, Debug)]
pub struct IntakeSpoolConfig {
    /// The store's. Its `max_bytes` counts log and store together.
    pub store: SqliteSpoolConfig,
    /// The log's.
    pub log: LogConfig,
    /// Messages that may be in the log and not in the store. Each takes about 30 bytes of memory.
    pub pending_max: usize,
    /// Messages that may wait for the disk; more are refused ([`SpoolError::Overloaded`]).
    pub queue_max: usize,
    /// Executions that may wait in the store to be claimed before the rest is left in the log, but for [`Self::skim_max`].
    /// Those of workflows that have no room are not counted.
    pub unclaimed_max: u64,
    /// How many are taken from the log, 20 times a second, although so many wait: behind those of one workflow there may be
    /// others'.
    pub skim_max: usize,
    /// Bytes of the disk, or free inside the store's file, that are left for the journals and reports of what the store has
    /// already: nothing is taken from the log into them.
    pub kept_bytes: u64,
    /// How long the log is idle before what it ends with is marked as whole.
    pub mark_after: Duration,
}

impl IntakeSpoolConfig {
    /// Usual [`Self::skim_max`].
    pub const SKIM_MAX: usize = 100;
}

impl Default for IntakeSpoolConfig {
    fn default() -> Self {
        Self {
            store: SqliteSpoolConfig::default(),
            log: LogConfig::default(),
            pending_max: 1_800_000,
            queue_max: 4096,
            unclaimed_max: 1024,
            skim_max: Self::SKIM_MAX,
            // Less than the log leaves free when it grows.
            kept_bytes: 16 * 1024 * 1024,
            mark_after: Duration::from_secs(1),
        }
    }
}

/// What the spool's threads share.
#[derive(Debug, Default)]
struct Shared {
    stopping: AtomicBool,
    /// Events on their way or waiting.
    arrivals: Arc<Arrivals>,
    pending: AtomicU64,
    log_bytes: AtomicU64,
    /// The log could not grow.
    no_room: AtomicBool,
    failed: AtomicBool,
    failure: Mutex<Option<String>>,
}

impl Shared {
    fn fail(&self, failure: String) {
        tracing::error!(failure, "the spool failed; nothing further is accepted");
        if let Ok(mut slot) = self.failure.lock() {
            slot.get_or_insert(failure);
        }
        self.failed.store(true, Ordering::Release);
    }

    fn failure(&self) -> Option<String> {
        self.failure.lock().ok().and_then(|failure| failure.clone())
    }

    fn set_no_room(&self, no_room: bool) {
        if self.no_room.swap(no_room, Ordering::Relaxed) != no_room && !no_room {
            tracing::info!("the intake log has room again");
        }
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    fn why_closed(&self) -> SpoolError {
        self.failure()
            .map_or(SpoolError::Closed, SpoolError::Failed)
    }
}

/// The parts of an open spool, to be run.
struct Unstarted {
    committer: Committer,
    queue: Receiver<Job>,
    drain: Drain,
    filter: filter::Builder,
}

/// The embedded spool: an intake log and the store behind it.
pub struct IntakeSpool {
    store: Arc<SqliteSpool>,
    shared: Arc<Shared>,
    jobs: Option<SyncSender<Job>>,
    wake: SyncSender<()>,
    max_bytes: u64,
    pending_max: u64,
    /// They hold senders of the committer's queue, and end first.
    helpers: Vec<JoinHandle<()>>,
    committer: Option<JoinHandle<()>>,
}

impl IntakeSpool {
    /// Opens (or makes) the spool in `dir`.
    ///
    /// # Errors
    /// [`OpenError`]; nothing was changed then that a later start could not go on with.
    pub fn open(dir: &Path, config: &IntakeSpoolConfig) -> Result<Self, OpenError> {
        let folder = dir.join(INTAKE_DIR);
        let storage = FileStorage::open(&folder).map_err(OpenError::Folder)?;
        Self::open_on(dir, Arc::new(storage), config)
    }

    /// Opens it with the log on `storage`.
    ///
    /// # Errors
    /// As [`IntakeSpool::open`].
    pub fn open_on(
        dir: &Path,
        storage: Arc<dyn Storage>,
        config: &IntakeSpoolConfig,
    ) -> Result<Self, OpenError> {
        let store = Arc::new(SqliteSpool::open(dir, config.store.clone())?);
        let (mut spool, unstarted) = Self::unstarted(store, dir, storage, config)?;
        spool.start(unstarted)?;
        Ok(spool)
    }

    /// Opens it over its store, and leaves it to the caller to run the parts.
    fn unstarted(
        store: Arc<SqliteSpool>,
        dir: &Path,
        storage: Arc<dyn Storage>,
        config: &IntakeSpoolConfig,
    ) -> Result<(Self, Unstarted), OpenError> {
        let known = store.intake();
        let seen = known.map_or(0, |(_, seen)| seen);
        let opened = Log::open(storage, &config.log, known).map_err(|source| OpenError::Log {
            folder: dir.join(INTAKE_DIR).display().to_string(),
            source,
        })?;
        if opened.torn {
            tracing::info!("a group that was never acknowledged was cut off by a crash");
        }
        let log = opened.log;
        if known.is_none() && log.end() > 1 {
            return Err(OpenError::StoreLost {
                folder: dir.join(INTAKE_DIR).display().to_string(),
            });
        }
        store.begin_intake(log.id(), log.end() == seen + 1)?;
        let pending = record::undrained(log.reader(seen + 1))?;
        let shared = Arc::new(Shared::default());
        shared.log_bytes.store(log.used_bytes(), Ordering::Relaxed);
        shared
            .pending
            .store(pending.len() as u64, Ordering::Relaxed);

        let (jobs, queue) = sync_channel(config.queue_max);
        let (wake, woken) = sync_channel(1);
        let committer = Committer::new(Parts {
            writer: opened.writer,
            log: log.clone(),
            index: store.index()?,
            pending,
            shared: shared.clone(),
            drain: wake.clone(),
            mark_after: config.mark_after,
            answers: answers(),
        });
        let drain = Drain {
            log,
            reader: opened.reader,
            ahead: VecDeque::new(),
            appetite: Appetite::new(config.kept_bytes),
            free: free_of(dir),
            store: store.clone(),
            shared: shared.clone(),
            woken,
            drained: jobs.clone(),
            unclaimed_max: config.unclaimed_max,
            skim_max: config.skim_max,
            skimmed: Timestamp::MIN,
            read_scope: config.store.read_scope,
            ambient: config.store.ambient.clone(),
            stored: seen,
            told: false,
            waits: false,
            told_unusable: 0,
        };
        let filter = filter::Builder {
            index: store.index()?,
            ambient: config.store.ambient.clone(),
            shared: shared.clone(),
            to: jobs.clone(),
        };
        let spool = Self {
            store,
            shared,
            jobs: Some(jobs),
            wake,
            max_bytes: config.store.max_bytes,
            pending_max: config.pending_max as u64,
            committer: None,
            helpers: Vec::new(),
        };
        let unstarted = Unstarted {
            committer,
            queue,
            drain,
            filter,
        };
        Ok((spool, unstarted))
    }

    /// Gives each part a thread.
    fn start(&mut self, parts: Unstarted) -> Result<(), OpenError> {
        let Unstarted {
            committer,
            queue,
            drain,
            filter,
        } = parts;
        self.committer = Some(spawn("intake-commit", move || committer.run(&queue))?);
        self.helpers = vec![
            spawn("intake-drain", move || {
                background::lower_priority();
                drain.run();
            })?,
            spawn("intake-filter", move || {
                background::lower_priority();
                filter.run();
            })?,
        ];
        Ok(())
    }

    /// Messages that are durable in the log and not in the store yet: neither claimed nor reported.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.shared.pending.load(Ordering::Relaxed)
    }

    fn is_full(&self) -> bool {
        self.used_bytes() >= self.max_bytes || self.pending() >= self.pending_max
    }

    fn used_bytes(&self) -> u64 {
        self.store.stats().used_bytes + self.shared.log_bytes.load(Ordering::Relaxed)
    }

    fn submit(&self, entry: Entry) -> Result<(), SpoolError> {
        let jobs = self.jobs.as_ref().ok_or(SpoolError::Closed)?;
        let arrivals = &self.shared.arrivals;
        arrivals.queue();
        match jobs.try_send(Job::Accept(Box::new(entry))) {
            Ok(()) => {
                arrivals.look();
                Ok(())
            }
            Err(error) => {
                arrivals.unqueue();
                Err(match error {
                    TrySendError::Full(_) => SpoolError::Overloaded,
                    TrySendError::Disconnected(_) => self.shared.why_closed(),
                })
            }
        }
    }

    /// Whether an execution is in the log, and not in the store yet.
    async fn is_pending(&self, execution: &ExecutionName) -> Result<bool, SpoolError> {
        let jobs = self.jobs.as_ref().ok_or(SpoolError::Closed)?;
        let (answer, answered) = oneshot::channel();
        let job = Job::Find(Key::of(execution), answer);
        jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(_) => SpoolError::Overloaded,
            TrySendError::Disconnected(_) => self.shared.why_closed(),
        })?;
        answered.await.map_err(|_| self.shared.why_closed())
    }
}

/// What the disk of `dir` says to have free; where it does not say, the store will.
fn free_of(dir: &Path) -> Free {
    let dir = dir.to_owned();
    Box::new(move || signalbox_log::free_bytes(&dir).unwrap_or(u64::MAX))
}

/// A task that answers groups, where there is a runtime.
fn answers() -> Option<mpsc::UnboundedSender<committer::Answers>> {
    let runtime = tokio::runtime::Handle::try_current().ok()?;
    let (sender, mut groups) = mpsc::unbounded_channel();
    runtime.spawn(async move {
        while let Some(group) = groups.recv().await {
            committer::send(group);
        }
    });
    Some(sender)
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, OpenError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map_err(OpenError::Thread)
}

impl Drop for IntakeSpool {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::Release);
        let _ = self.wake.try_send(());
        for helper in self.helpers.drain(..) {
            let _ = helper.join();
        }
        // Closing the queue ends the committer after what is queued.
        self.jobs = None;
        if let Some(committer) = self.committer.take() {
            let _ = committer.join();
        }
    }
}

impl Spool for IntakeSpool {
    fn incarnation(&self) -> &str {
        self.store.incarnation()
    }

    fn arriving(&self) -> Option<Arriving> {
        Some(self.shared.arrivals.begin())
    }

    fn accept(&self, accept: Accept) -> BoxFuture<'_, Result<Acceptance, SpoolError>> {
        async move {
            // The store's failures are noted by the drain: the log alone would take what nothing executes.
            if self.shared.failed.load(Ordering::Acquire) {
                return Err(self.shared.why_closed());
            }
            if self.is_full() {
                return Err(SpoolError::Full);
            }
            let (answer, answered) = oneshot::channel();
            self.submit(Entry::new(&accept, answer)?)?;
            match answered.await {
                Ok(answer) => answer,
                Err(_) => Err(self.shared.why_closed()),
            }
        }
        .boxed()
    }

    fn accept_begun(
        &self,
        accept: Accept,
        journal: Vec<Record>,
    ) -> BoxFuture<'_, Result<Acceptance, SpoolError>> {
        if self.is_full() {
            return std::future::ready(Err(SpoolError::Full)).boxed();
        }
        self.store.accept_begun(accept, journal)
    }

    fn accept_handshake(
        &self,
        handshake: Handshake,
        delivery: Delivery,
        traceparent: Option<String>,
    ) -> BoxFuture<'_, Result<(), SpoolError>> {
        self.store
            .accept_handshake(handshake, delivery, traceparent)
    }

    fn due_handshakes(
        &self,
        now: Timestamp,
        max: usize,
    ) -> BoxFuture<'_, Result<Vec<Handshake>, SpoolError>> {
        self.store.due_handshakes(now, max)
    }

    fn update_handshake(
        &self,
        handshake: Handshake,
        next_attempt_at: Option<Timestamp>,
        change: SubscriptionChange,
    ) -> BoxFuture<'_, Result<(), SpoolError>> {
        self.store
            .update_handshake(handshake, next_attempt_at, change)
    }

    fn handshake_accepted(&self) -> Arc<Notify> {
        self.store.handshake_accepted()
    }

    fn append(&self, records: Vec<Record>) -> BoxFuture<'_, Result<(), SpoolError>> {
        self.store.append(records)
    }

    fn offer(&self, record: Record) -> bool {
        self.store.offer(record)
    }

    fn claim_admitted(
        &self,
        max: usize,
        admission: Arc<dyn Admission>,
    ) -> BoxFuture<'_, Result<Vec<Claimed>, SpoolError>> {
        self.store.claim_admitted(max, admission)
    }

    fn claimable(&self) -> Arc<Notify> {
        self.store.claimable()
    }

    fn journal_along(
        &self,
        execution: ExecutionName,
        records: Vec<Record>,
        ended: bool,
        along: Along,
    ) -> BoxFuture<'_, Result<Vec<ExecutionName>, SpoolError>> {
        self.store.journal_along(execution, records, ended, along)
    }

    fn tell(
        &self,
        execution: ExecutionName,
        signal: Signal,
        time: Timestamp,
        traceparent: Option<String>,
    ) -> BoxFuture<'_, Result<Told, SpoolError>> {
        self.store.tell(execution, signal, time, traceparent)
    }

    fn told(
        &self,
        execution: ExecutionName,
        after: u64,
    ) -> BoxFuture<'_, Result<Vec<SequencedRecord>, SpoolError>> {
        self.store.told(execution, after)
    }

    fn definition(
        &self,
        execution: ExecutionName,
    ) -> BoxFuture<'_, Result<Option<Bytes>, SpoolError>> {
        self.store.definition(execution)
    }

    fn park(
        &self,
        execution: ExecutionName,
        due: Timestamp,
        heard_until: u64,
    ) -> BoxFuture<'_, Result<(), SpoolError>> {
        self.store.park(execution, due, heard_until)
    }

    fn wake(&self, execution: &ExecutionName) -> BoxFuture<'_, Result<(), SpoolError>> {
        self.store.wake(execution)
    }

    fn summon(&self, execution: &ExecutionName) -> BoxFuture<'_, Result<Summoned, SpoolError>> {
        let execution = execution.clone();
        async move {
            match self.store.summon(&execution).await? {
                Summoned::Unknown if self.is_pending(&execution).await? => Ok(Summoned::Here),
                // What has left the log meanwhile is in the store.
                Summoned::Unknown => self.store.summon(&execution).await,
                known => Ok(known),
            }
        }
        .boxed()
    }

    fn knows(&self, execution: &ExecutionName) -> BoxFuture<'_, Result<bool, SpoolError>> {
        let execution = execution.clone();
        // In this order: what leaves the log meanwhile is in the store.
        async move { Ok(self.is_pending(&execution).await? || self.store.knows(&execution).await?) }
            .boxed()
    }

    fn next_due(&self) -> watch::Receiver<Option<Timestamp>> {
        self.store.next_due()
    }

    fn unreported(
        &self,
        after: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> BoxFuture<'_, Result<Vec<SequencedRecord>, SpoolError>> {
        self.store.unreported(after, max_records, max_bytes)
    }

    fn head(&self) -> watch::Receiver<u64> {
        self.store.head()
    }

    fn trim(&self, sequence: u64) -> BoxFuture<'_, Result<(), SpoolError>> {
        self.store.trim(sequence)
    }

    fn stats(&self) -> SpoolStats {
        let pending = self.pending();
        let store = self.store.stats();
        SpoolStats {
            unfinished_executions: store.unfinished_executions + pending,
            parked_executions: store.parked_executions,
            unreported_records: store.unreported_records + pending,
            used_bytes: self.used_bytes(),
            remembered_bytes: store.remembered_bytes,
            max_bytes: self.max_bytes,
            disk_full: store.disk_full || self.shared.no_room.load(Ordering::Relaxed),
        }
    }

    fn failure(&self) -> Option<String> {
        self.shared.failure().or_else(|| self.store.failure())
    }
}
