//! The spool in a simulation: its parts are tasks that take their turns when a disk of the simulation lets them, instead of
//! threads. The parts are the same, and so is what they do in a turn.

use std::{ops::ControlFlow, path::Path, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use signalbox_log::Storage;
use tokio::{sync::Notify, task::JoinHandle};

use super::*;
use crate::spool::sqlite;

/// What the parts wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The intake log's group.
    Commit,
    /// The log's records, to be read.
    Drain,
    /// The store's transaction.
    Store,
    /// The filter of known names.
    Filter,
}

/// The disk's pace, and whether it still turns.
pub(crate) trait Pace: Send + Sync + 'static {
    /// Until the disk has come to a turn.
    fn wait(&self, turn: Turn) -> BoxFuture<'static, ()>;

    /// Whether the disk fails at this turn of the store: a commit that fails is the writer's last.
    fn store_fails(&self) -> bool;

    /// Bytes that the store's file may have: beyond, there is no room for it.
    fn store_max_bytes(&self) -> u64;

    /// What the disk says to have free for the store, whose file has so many bytes.
    fn store_free(&self, file_bytes: u64) -> u64;

    /// After a turn: breaks when the power went during it, so that nothing of it gets out.
    fn after(&self, turn: Turn) -> ControlFlow<()>;
}

/// An open spool whose parts run as tasks.
pub(crate) struct Simulated {
    inner: IntakeSpool,
    /// Woken when the committer's queue may hold something.
    queued: Arc<Notify>,
}

/// Opens a spool, and starts its parts as tasks of the current runtime.
pub(crate) fn open(
    dir: &Path,
    storage: Arc<dyn Storage>,
    config: &IntakeSpoolConfig,
    pace: &Arc<dyn Pace>,
) -> Result<(Simulated, Vec<JoinHandle<()>>), OpenError> {
    let (store, writer) = SqliteSpool::unstarted(dir, &config.store, sqlite::Reads::Inline)?;
    let (inner, mut parts) = IntakeSpool::unstarted(Arc::new(store), dir, storage, config)?;
    let (store, disk) = (inner.store.clone(), pace.clone());
    parts.drain.free = Box::new(move || disk.store_free(store.file_bytes()));
    let (queued, committed) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let tasks = vec![
        tokio::spawn(write(writer, pace.clone())),
        tokio::spawn(commit(
            parts.committer,
            parts.queue,
            inner.shared.clone(),
            (queued.clone(), committed.clone()),
            (pace.clone(), config.mark_after),
        )),
        tokio::spawn(drain(
            parts.drain,
            (queued.clone(), committed),
            pace.clone(),
        )),
        tokio::spawn(build_filter(parts.filter, queued.clone(), pace.clone())),
    ];
    Ok((Simulated { inner, queued }, tasks))
}

/// As [`Committer::run`].
async fn commit(
    mut committer: Committer,
    queue: Receiver<Job>,
    shared: Arc<Shared>,
    (queued, committed): (Arc<Notify>, Arc<Notify>),
    (pace, mark_after): (Arc<dyn Pace>, Duration),
) {
    let mut marked = true;
    loop {
        let Ok(first) = queue.try_recv() else {
            let idle = tokio::time::timeout(mark_after, queued.notified()).await;
            if idle.is_err() && !marked {
                committer.mark();
                marked = true;
                if pace.after(Turn::Commit).is_break() {
                    return std::future::pending().await;
                }
            }
            continue;
        };
        pace.wait(Turn::Commit).await;
        let turned = committer.turn(first, &queue);
        if pace.after(Turn::Commit).is_break() {
            return std::future::pending().await;
        }
        match turned {
            Ok(wrote) => marked &= !wrote,
            Err(failure) => return shared.fail(failure),
        }
        committed.notify_one();
    }
}

/// As [`Drain::run`].
async fn drain(
    mut drain: Drain,
    (queued, committed): (Arc<Notify>, Arc<Notify>),
    pace: Arc<dyn Pace>,
) {
    loop {
        if let Err(pause) = drain.ready() {
            let _ = tokio::time::timeout(pause, committed.notified()).await;
            continue;
        }
        pace.wait(Turn::Drain).await;
        let read = drain.read();
        if pace.after(Turn::Drain).is_break() {
            return std::future::pending().await;
        }
        let taken = match read {
            Ok(None) => continue,
            Ok(Some(batch)) => {
                let (position, keys, lost) = (batch.taken.position, batch.keys, batch.lost);
                let taken = drain.store.drain_in_task(batch.taken).await;
                taken.map(|()| drain.taken(position, keys, &lost))
            }
            Err(error) => Err(error),
        };
        match taken {
            Ok(job) => hand_over(&drain.drained, job, &queued).await,
            Err(SpoolError::Full) => tokio::time::sleep(drain.again()).await,
            Err(SpoolError::Closed) => return,
            Err(error) => return drain.shared.fail(error.to_string()),
        }
    }
}

/// As `Writer::run`.
async fn write(unstarted: sqlite::Unstarted, pace: Arc<dyn Pace>) {
    let sqlite::Unstarted {
        mut writer,
        mut queue,
    } = unstarted;
    let mut jobs = Vec::new();
    loop {
        let first = match tokio::time::timeout(writer.patience(), queue.recv()).await {
            Ok(Some(first)) => Some(first),
            Ok(None) => return,
            Err(_) => None,
        };
        pace.wait(Turn::Store).await;
        if pace.store_fails() {
            return writer.fail("simulated failure of a commit".to_owned());
        }
        writer.limit_file(pace.store_max_bytes());
        let turned = writer.turn(first, &mut queue, &mut jobs);
        if pace.after(Turn::Store).is_break() {
            return std::future::pending().await;
        }
        if let Err(failure) = turned {
            return writer.fail(failure);
        }
    }
}

async fn build_filter(filter: filter::Builder, queued: Arc<Notify>, pace: Arc<dyn Pace>) {
    pace.wait(Turn::Filter).await;
    if let Some(built) = filter.build() {
        hand_over(&filter.to, built, &queued).await;
    }
}

/// Queues a job for the committer. A thread is blocked while the queue is full; a task waits.
async fn hand_over(to: &SyncSender<Job>, job: Job, queued: &Notify) {
    let mut job = Some(job);
    while let Some(next) = job.take() {
        if let Err(TrySendError::Full(back)) = to.try_send(next) {
            job = Some(back);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    queued.notify_one();
}

impl Simulated {
    /// Bytes of the store's file.
    pub(crate) fn store_bytes(&self) -> u64 {
        self.inner.store.file_bytes()
    }

    /// As [`IntakeSpool::pending`].
    pub(crate) fn pending(&self) -> u64 {
        self.inner.pending()
    }

    /// What a caller does may have queued something: it wakes the committer, as a thread's queue would.
    fn waking<'a, T: Send + 'a>(&'a self, mut call: BoxFuture<'a, T>) -> BoxFuture<'a, T> {
        futures::future::poll_fn(move |context| {
            let polled = call.as_mut().poll(context);
            self.queued.notify_one();
            polled
        })
        .boxed()
    }
}

impl Spool for Simulated {
    fn incarnation(&self) -> &str {
        self.inner.incarnation()
    }

    fn accept(&self, accept: Accept) -> BoxFuture<'_, Result<Acceptance, SpoolError>> {
        self.waking(self.inner.accept(accept))
    }

    fn accept_begun(
        &self,
        accept: Accept,
        journal: Vec<Record>,
    ) -> BoxFuture<'_, Result<Acceptance, SpoolError>> {
        self.inner.accept_begun(accept, journal)
    }

    fn accept_handshake(
        &self,
        handshake: Handshake,
        delivery: Delivery,
        traceparent: Option<String>,
    ) -> BoxFuture<'_, Result<(), SpoolError>> {
        self.inner
            .accept_handshake(handshake, delivery, traceparent)
    }

    fn due_handshakes(
        &self,
        now: Timestamp,
        max: usize,
    ) -> BoxFuture<'_, Result<Vec<Handshake>, SpoolError>> {
        self.inner.due_handshakes(now, max)
    }

    fn update_handshake(
        &self,
        handshake: Handshake,
        next_attempt_at: Option<Timestamp>,
        change: SubscriptionChange,
    ) -> BoxFuture<'_, Result<(), SpoolError>> {
        self.inner
            .update_handshake(handshake, next_attempt_at, change)
    }

    fn handshake_accepted(&self) -> Arc<Notify> {
        self.inner.handshake_accepted()
    }

    fn append(&self, records: Vec<Record>) -> BoxFuture<'_, Result<(), SpoolError>> {
        self.inner.append(records)
    }

    fn offer(&self, record: Record) -> bool {
        self.inner.offer(record)
    }

    fn claim_admitted(
        &self,
        max: usize,
        admission: Arc<dyn Admission>,
    ) -> BoxFuture<'_, Result<Vec<Claimed>, SpoolError>> {
        self.inner.claim_admitted(max, admission)
    }

    fn claimable(&self) -> Arc<Notify> {
        self.inner.claimable()
    }

    fn journal_along(
        &self,
        execution: ExecutionName,
        records: Vec<Record>,
        ended: bool,
        along: Along,
    ) -> BoxFuture<'_, Result<Vec<ExecutionName>, SpoolError>> {
        self.inner.journal_along(execution, records, ended, along)
    }

    fn tell(
        &self,
        execution: ExecutionName,
        signal: Signal,
        time: Timestamp,
        traceparent: Option<String>,
    ) -> BoxFuture<'_, Result<Told, SpoolError>> {
        self.inner.tell(execution, signal, time, traceparent)
    }

    fn told(
        &self,
        execution: ExecutionName,
        after: u64,
    ) -> BoxFuture<'_, Result<Vec<SequencedRecord>, SpoolError>> {
        self.inner.told(execution, after)
    }

    fn definition(
        &self,
        execution: ExecutionName,
    ) -> BoxFuture<'_, Result<Option<Bytes>, SpoolError>> {
        self.inner.definition(execution)
    }

    fn park(
        &self,
        execution: ExecutionName,
        due: Timestamp,
        heard_until: u64,
    ) -> BoxFuture<'_, Result<(), SpoolError>> {
        self.inner.park(execution, due, heard_until)
    }

    fn wake(&self, execution: &ExecutionName) -> BoxFuture<'_, Result<(), SpoolError>> {
        self.inner.wake(execution)
    }

    fn summon(&self, execution: &ExecutionName) -> BoxFuture<'_, Result<Summoned, SpoolError>> {
        self.waking(self.inner.summon(execution))
    }

    fn knows(&self, execution: &ExecutionName) -> BoxFuture<'_, Result<bool, SpoolError>> {
        self.waking(self.inner.knows(execution))
    }

    fn next_due(&self) -> watch::Receiver<Option<Timestamp>> {
        self.inner.next_due()
    }

    fn unreported(
        &self,
        after: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> BoxFuture<'_, Result<Vec<SequencedRecord>, SpoolError>> {
        self.inner.unreported(after, max_records, max_bytes)
    }

    fn head(&self) -> watch::Receiver<u64> {
        self.inner.head()
    }

    fn trim(&self, sequence: u64) -> BoxFuture<'_, Result<(), SpoolError>> {
        self.inner.trim(sequence)
    }

    fn stats(&self) -> SpoolStats {
        self.inner.stats()
    }

    fn failure(&self) -> Option<String> {
        self.inner.failure()
    }
}
