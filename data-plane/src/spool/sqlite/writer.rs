//! The one thread that writes.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, TransactionBehavior, ffi};
use signalbox_model::{
    ids::{ExecutionName, SignalId},
    record::{Delivery, SubscriptionChange},
};
use signalbox_runtime::ambient::Ambient;
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    time::Instant,
};

use super::{
    SqliteSpoolConfig,
    along::Encoded,
    batch::{Batch, Drained, Effects, NewExecution, Pending},
    claim::Taken,
    interrupted,
    read::from_sql,
    schema::{Opened, next_due},
    turns::Turns,
    work,
};
use crate::spool::{Acceptance, Admission, Handshake, SpoolError, SpoolStats, Summoned, Told};

/// Deduplication entries that one purge may drop, so that it never holds up a commit for long.
const PURGE_MAX: usize = 1000;
/// Entries that a purge drops beside a small batch of jobs.
const PURGE_MIN: usize = 64;
/// Pause between two purges while there is more to purge and nothing else to do.
const PURGE_PAUSE: Duration = Duration::from_millis(20);

pub(super) type Answer<T> = oneshot::Sender<Result<T, SpoolError>>;

/// Something to write. Records come encoded: what is costly is done by the callers' threads, not by the one writer.
pub(in crate::spool) enum Job {
    Accept(Box<NewExecution>, Answer<Acceptance>),
    Handshake(Box<(Handshake, Delivery, Option<String>)>, Answer<()>),
    UpdateHandshake(
        Box<(Handshake, Option<Timestamp>, SubscriptionChange)>,
        Answer<()>,
    ),
    Append(Vec<Vec<u8>>, Answer<()>),
    Offer(Vec<u8>),
    Claim(usize, Arc<dyn Admission>, Answer<Vec<Taken>>),
    Journal {
        execution: String,
        records: Vec<Vec<u8>>,
        ended: bool,
        along: Box<Encoded>,
        answer: Answer<Vec<ExecutionName>>,
    },
    Tell {
        execution: String,
        id: SignalId,
        record: Vec<u8>,
        answer: Answer<Told>,
    },
    Park {
        execution: String,
        due: Timestamp,
        heard_until: u64,
        answer: Answer<()>,
    },
    Wake(String, Answer<()>),
    Summon(String, Answer<Summoned>),
    Drain(Box<Drained>, Answer<()>),
    Trim(u64, Answer<()>),
}

impl Job {
    fn is_drain(&self) -> bool {
        matches!(self, Self::Drain(..))
    }

    /// Answers it without having run it.
    fn refuse(self, error: SpoolError) {
        // Whoever is gone does not need to know.
        match self {
            Self::Accept(_, answer) => drop(answer.send(Err(error))),
            Self::Claim(_, _, answer) => drop(answer.send(Err(error))),
            Self::Journal { answer, .. } => drop(answer.send(Err(error))),
            Self::Tell { answer, .. } => drop(answer.send(Err(error))),
            Self::Summon(_, answer) => drop(answer.send(Err(error))),
            Self::Handshake(_, answer)
            | Self::UpdateHandshake(_, answer)
            | Self::Append(_, answer)
            | Self::Park { answer, .. }
            | Self::Wake(_, answer)
            | Self::Drain(_, answer)
            | Self::Trim(_, answer) => drop(answer.send(Err(error))),
            Self::Offer(_) => {}
        }
    }
}

/// What the writer shares with the spool's callers.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) claimable: Arc<Notify>,
    pub(super) handshake_accepted: Arc<Notify>,
    unfinished: AtomicU64,
    unclaimed: AtomicU64,
    /// Those of them whose workflows had no room when it was last looked for.
    held_back: AtomicU64,
    parked: AtomicU64,
    pub(super) next_due: watch::Sender<Option<Timestamp>>,
    reported: AtomicU64,
    /// What has not ended or is not reported.
    work_bytes: AtomicI64,
    /// Of the file, whatever is in them.
    used_bytes: AtomicU64,
    free_bytes: AtomicU64,
    max_bytes: u64,
    disk_full: AtomicBool,
    failure: Mutex<Option<String>>,
}

impl Shared {
    pub(super) fn new(opened: &Opened, max_bytes: u64) -> Self {
        Self {
            claimable: Arc::default(),
            handshake_accepted: Arc::default(),
            unfinished: opened.unfinished.into(),
            unclaimed: (opened.unfinished - opened.parked).into(),
            held_back: 0.into(),
            parked: opened.parked.into(),
            next_due: watch::Sender::new(opened.next_due),
            reported: opened.reported.into(),
            work_bytes: opened.work_bytes.into(),
            used_bytes: 0.into(),
            free_bytes: 0.into(),
            max_bytes,
            disk_full: AtomicBool::new(false),
            failure: Mutex::default(),
        }
    }

    pub(super) fn unclaimed(&self) -> u64 {
        let held_back = self.held_back.load(Ordering::Relaxed);
        let unclaimed = self.unclaimed.load(Ordering::Relaxed);
        unclaimed.saturating_sub(held_back)
    }

    /// Free inside the file.
    pub(super) fn free_bytes(&self) -> u64 {
        self.free_bytes.load(Ordering::Relaxed)
    }

    /// In use inside the file.
    pub(super) fn file_used_bytes(&self) -> u64 {
        self.used_bytes.load(Ordering::Relaxed)
    }

    fn work_bytes(&self) -> u64 {
        from_sql(self.work_bytes.load(Ordering::Relaxed))
    }

    pub(super) fn is_full(&self) -> bool {
        self.work_bytes() >= self.max_bytes
    }

    pub(super) fn disk_full(&self) -> bool {
        self.disk_full.load(Ordering::Relaxed)
    }

    fn set_disk_full(&self, full: bool) {
        if self.disk_full.swap(full, Ordering::Relaxed) == full {
            return;
        }
        if full {
            tracing::error!("the disk is full: the spool waits for room");
        } else {
            tracing::info!("the disk has room again: the spool goes on");
        }
    }

    pub(super) fn failure(&self) -> Option<String> {
        self.failure.lock().ok().and_then(|failure| failure.clone())
    }

    pub(super) fn fail(&self, failure: String) {
        tracing::error!(failure, "the spool failed; nothing further is accepted");
        if let Ok(mut slot) = self.failure.lock() {
            *slot = Some(failure);
        }
    }

    /// Why the queue is closed. Right once it is: the failure is noted before the queue is dropped.
    pub(super) fn why_closed(&self) -> SpoolError {
        self.failure()
            .map_or(SpoolError::Closed, SpoolError::Failed)
    }

    pub(super) fn stats(&self, head: u64) -> SpoolStats {
        SpoolStats {
            unfinished_executions: self.unfinished.load(Ordering::Relaxed),
            parked_executions: self.parked.load(Ordering::Relaxed),
            unreported_records: head.saturating_sub(self.reported.load(Ordering::Relaxed)),
            used_bytes: self.work_bytes(),
            remembered_bytes: self.file_used_bytes().saturating_sub(self.work_bytes()),
            max_bytes: self.max_bytes,
            disk_full: self.disk_full(),
        }
    }
}

/// What the writer's wait ended with.
enum Next {
    Job(Job),
    Idle,
    Closed,
}

pub(in crate::spool) struct Writer {
    connection: Connection,
    shared: Arc<Shared>,
    head: watch::Sender<u64>,
    ambient: Arc<dyn Ambient>,
    batch_max: usize,
    purge_interval: Duration,
    last_purge: Instant,
    /// The last purge left entries that could go.
    purge_behind: bool,
    /// There was no room for what came last from the intake log.
    drain_refused: bool,
    /// Definitions and certificates known to be in the file.
    known: HashSet<String>,
    turns: Turns,
    /// Numbers of claimed executions, by name: who journals is not looked up each time.
    numbers: HashMap<String, i64>,
    /// Numbers of those that were interrupted, and have not gone on since.
    interrupted: HashSet<i64>,
}

impl Writer {
    pub(super) fn new(
        connection: Connection,
        shared: Arc<Shared>,
        head: watch::Sender<u64>,
        config: &SqliteSpoolConfig,
        (turns, interrupted): (Turns, HashSet<i64>),
    ) -> Self {
        let writer = Self {
            connection,
            shared,
            head,
            ambient: config.ambient.clone(),
            batch_max: config.batch_max.max(1),
            purge_interval: config.purge_interval,
            last_purge: Instant::now(),
            purge_behind: false,
            drain_refused: false,
            known: HashSet::new(),
            turns,
            numbers: HashMap::new(),
            interrupted,
        };
        writer.measure();
        writer
    }

    /// Until the queue is closed, or a commit fails.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        // For its timer alone: waiting for jobs ends when there is something to purge.
        let timer = match tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
        {
            Ok(timer) => timer,
            Err(error) => {
                return self
                    .shared
                    .fail(format!("the writer has no timer: {error}"));
            }
        };
        let mut jobs = Vec::with_capacity(self.batch_max);
        loop {
            let first = match self.next(&timer, &mut queue) {
                Next::Job(first) => Some(first),
                Next::Idle => None,
                Next::Closed => break,
            };
            if let Err(failure) = self.turn(first, &mut queue, &mut jobs) {
                // Nothing is written after it, not even what was interrupted: after a failed sync none can be believed.
                // Dropping the queue drops every waiting answer; callers then read the failure.
                return self.shared.fail(failure);
            }
        }
        if let Err(error) = interrupted::give_back(&self.connection) {
            tracing::warn!(%error, "executions are left claimed: the next start takes them for interrupted");
        }
        if let Err(error) = self
            .connection
            .pragma_update(None, "wal_checkpoint", "TRUNCATE")
        {
            tracing::debug!(%error, "the last checkpoint did not complete; the next start does it");
        }
    }

    /// Runs what is queued, commits it, and answers it; purges when it is time. An error ends the writer. `jobs` is
    /// room for them, empty before and after.
    pub(in crate::spool) fn turn(
        &mut self,
        first: Option<Job>,
        queue: &mut mpsc::Receiver<Job>,
        jobs: &mut Vec<Job>,
    ) -> Result<(), String> {
        jobs.extend(first);
        while jobs.len() < self.batch_max
            && let Ok(job) = queue.try_recv()
        {
            jobs.push(job);
        }
        if self.drain_refused {
            // Alone: what makes room is not to share its fate.
            let drains: Vec<Job> = jobs.extract_if(.., |job| job.is_drain()).collect();
            self.commit(jobs)?;
            jobs.extend(drains);
        }
        self.commit(jobs)
    }

    /// Notes why the writer ends, for [`SqliteSpool`](super::SqliteSpool)'s callers. Before the queue is dropped.
    #[cfg(test)]
    pub(in crate::spool) fn fail(&self, failure: String) {
        self.shared.fail(failure);
    }

    /// Lets the file grow to `max_bytes`, or stay as large as it is: then it is full as on a disk that is.
    #[cfg(test)]
    pub(in crate::spool) fn limit_file(&self, max_bytes: u64) {
        /// Of the file: SQLite's default.
        const PAGE_BYTES: u64 = 4096;
        let pages = (max_bytes / PAGE_BYTES).clamp(1, u64::from(u32::MAX) - 1);
        let limited =
            self.connection
                .query_row(&format!("PRAGMA max_page_count = {pages}"), [], |row| {
                    row.get::<_, i64>(0)
                });
        if let Err(error) = limited {
            self.shared
                .fail(format!("the file cannot be limited: {error}"));
        }
    }

    /// How long to wait for a job before the next purge.
    pub(in crate::spool) fn patience(&self) -> Duration {
        if self.purge_behind {
            PURGE_PAUSE
        } else {
            self.purge_interval
        }
    }

    fn next(&self, timer: &tokio::runtime::Runtime, queue: &mut mpsc::Receiver<Job>) -> Next {
        match queue.try_recv() {
            Ok(job) => return Next::Job(job),
            Err(mpsc::error::TryRecvError::Disconnected) => return Next::Closed,
            Err(mpsc::error::TryRecvError::Empty) => {}
        }
        let patience = self.patience();
        match timer.block_on(async { tokio::time::timeout(patience, queue.recv()).await }) {
            Ok(Some(job)) => Next::Job(job),
            Ok(None) => Next::Closed,
            Err(_) => Next::Idle,
        }
    }

    /// Runs and commits `jobs`, then answers them. Where the disk has no room for them, nothing was written and they are
    /// answered so: that is no failure, since what was written before stands, and whoever needs it asks again.
    fn commit(&mut self, jobs: &mut Vec<Job>) -> Result<(), String> {
        let started = Instant::now();
        let count = jobs.len();
        let drains = jobs.iter().any(Job::is_drain);
        let mut pending: Vec<Pending> = Vec::with_capacity(count);
        let mut effects = Effects::default();
        let purges = self.purge_behind || self.last_purge.elapsed() >= self.purge_interval;
        let mut waiting = jobs.drain(..);
        let result = (|| {
            // The write lock is taken at once: one that is taken on the way, after a read, is not waited for.
            let transaction = self
                .connection
                .transaction_with_behavior(TransactionBehavior::Immediate)?;
            let mut batch = Batch::new(
                &transaction,
                &mut self.known,
                &mut effects,
                &self.turns,
                &self.numbers,
                &self.interrupted,
                self.ambient.now(),
            );
            for job in waiting.by_ref() {
                batch.run(job, &mut pending)?;
            }
            if purges {
                // Twice what came, so that what goes keeps pace with it; all it can when there is nothing else to do.
                let room = match count {
                    0 => PURGE_MAX,
                    _ => (2 * batch.accepted()).clamp(PURGE_MIN, PURGE_MAX),
                };
                self.purge_behind = batch.purge(room)? >= room;
                self.last_purge = Instant::now();
            }
            batch.note_work()?;
            transaction.commit()
        })();
        if let Err(error) = result {
            let no_room = is_no_room(&error);
            let failure = error.to_string();
            let answer = match no_room {
                true => SpoolError::Full,
                false => SpoolError::Failed(failure.clone()),
            };
            self.drain_refused |= no_room && drains;
            // Before the answers: whoever gets one may look.
            self.shared.set_disk_full(no_room);
            for refused in pending {
                refused(Err(answer.clone()));
            }
            waiting.for_each(|job| job.refuse(answer.clone()));
            // What the batch had put into the file is not there.
            self.known.clear();
            return if no_room { Ok(()) } else { Err(failure) };
        }
        drop(waiting);
        self.drain_refused &= !drains;
        // Room for little is not room for what waits in the intake log.
        if !self.drain_refused {
            self.shared.set_disk_full(false);
        }
        self.publish(effects);
        for answer in pending {
            answer(Ok(()));
        }
        self.measure();
        if count > 0 {
            metrics::histogram!("signalbox_spool_commit_seconds").record(started.elapsed());
            #[expect(clippy::cast_precision_loss, reason = "a batch is small")]
            metrics::histogram!("signalbox_spool_commit_jobs").record(count as f64);
        }
        Ok(())
    }

    fn publish(&mut self, effects: Effects) {
        for (workflow, count) in effects.new_of {
            self.turns.add(workflow, count);
        }
        for (workflow, count) in effects.turns_of {
            self.turns.took(&workflow, count);
        }
        let summoned: u64 = effects.summoned.values().sum();
        for (workflow, count) in effects.summoned {
            self.turns.leave(&workflow, count);
        }
        if let Some(now) = effects.looked_far {
            self.turns.looked_far(now);
        }
        for released in effects.released {
            self.numbers.remove(&released);
        }
        self.numbers.extend(effects.numbers);
        for number in effects.went_on {
            self.interrupted.remove(&number);
        }
        if let Some(held_back) = effects.held_back {
            self.shared.held_back.store(held_back, Ordering::Relaxed);
        }
        let unclaimed = &self.shared.unclaimed;
        unclaimed.fetch_add(effects.accepted + effects.held, Ordering::Relaxed);
        unclaimed.fetch_sub(effects.claimed + summoned, Ordering::Relaxed);
        let parked = &self.shared.parked;
        parked.fetch_add(effects.parked + summoned, Ordering::Relaxed);
        parked.fetch_sub(effects.resumed + effects.held, Ordering::Relaxed);
        if effects.due_changed {
            self.look_for_due();
        }
        let unfinished = &self.shared.unfinished;
        unfinished.fetch_add(effects.accepted, Ordering::Relaxed);
        unfinished.fetch_sub(effects.ended, Ordering::Relaxed);
        let work = &self.shared.work_bytes;
        work.fetch_add(effects.work, Ordering::Relaxed);
        if let Some(reported) = effects.reported {
            self.shared.reported.store(reported, Ordering::Relaxed);
        }
        if effects.head > 0 {
            self.head.send_replace(effects.head);
        }
        if effects.accepted + effects.held > 0 {
            self.shared.claimable.notify_one();
        }
        if effects.handshakes > 0 {
            self.shared.handshake_accepted.notify_one();
        }
    }

    /// Tells when the next parked execution is due.
    fn look_for_due(&self) {
        match next_due(&self.connection) {
            Ok(due) => drop(self.shared.next_due.send_if_modified(|known| {
                let changed = *known != due;
                *known = due;
                changed
            })),
            // Whoever waits for one looks every few seconds in any case.
            Err(error) => tracing::warn!(%error, "the next execution that is due is not known"),
        }
    }

    /// Pages in use, and free ones.
    fn measure(&self) {
        let (used, free) = work::pages(&self.connection);
        self.shared.used_bytes.store(used, Ordering::Relaxed);
        self.shared.free_bytes.store(free, Ordering::Relaxed);
    }
}

/// Whether the disk had no room, for the file or for the index of its log.
fn is_no_room(error: &rusqlite::Error) -> bool {
    error.sqlite_error().is_some_and(|error| {
        error.code == ErrorCode::DiskFull || error.extended_code == ffi::SQLITE_IOERR_SHMSIZE
    })
}

#[cfg(test)]
mod tests;
