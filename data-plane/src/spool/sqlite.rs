//! The embedded spool: one SQLite file (WAL, `synchronous=FULL`), one writer thread.
//!
//! The writer takes whatever is queued, runs it in one transaction, commits, and only then answers: group commit without
//! a fixed delay. A commit that failed is never tried again (what the kernel dropped after a failed fsync is gone): the
//! spool is failed from then on, and says so to everyone.

mod along;
mod batch;
mod claim;
mod entries;
mod handshake;
mod index;
mod interrupted;
mod look;
mod read;
mod room;
mod schema;
mod signals;
mod summon;
mod turns;
mod upgrade;
mod upkeep;
mod work;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use jiff::Timestamp;
use rusqlite::Connection;
use signalbox_log::LogId;
use signalbox_model::{
    execution::Fact,
    ids::ExecutionName,
    record::{Delivery, Record, RecordBody, SequencedRecord, SubscriptionChange},
    signal::Signal,
};
use signalbox_runtime::{
    ambient::{Ambient, System},
    background,
};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use self::{
    along::Encoded,
    batch::encode,
    claim::Taken,
    writer::{Answer, Job, Shared, Writer},
};
use super::{
    Accept, Acceptance, Admission, Along, Claimed, Handshake, ReadScope, Spool, SpoolError,
    SpoolMax, SpoolStats, Summoned, Told,
};

pub(super) use batch::{Drained, NewExecution};
pub(super) use index::Index;
pub(super) use look::{Found, begin_anew, look, set_aside};
pub(super) use room::Room;
pub use schema::OpenError;

/// Of the file's write-ahead log.
const WAL_EXTENSION: &str = "sqlite-wal";

/// Limits of a [`SqliteSpool`].
#[derive(Clone, Debug)]
pub struct SqliteSpoolConfig {
    /// Size of what has not ended or is not reported beyond which events are refused ([`SpoolError::Full`]). Journals and
    /// reports still go on. What is remembered for deduplication is not counted.
    pub max_bytes: u64,
    /// Requests that may wait for the writer; more are refused ([`SpoolError::Overloaded`]).
    pub queue_max: usize,
    /// Requests that one commit may hold.
    pub batch_max: usize,
    /// How often forgotten deduplication entries are purged.
    pub purge_interval: Duration,
    /// Reads the scope of an event from its body.
    pub read_scope: ReadScope,
    /// The time of day.
    pub ambient: Arc<dyn Ambient>,
}

impl Default for SqliteSpoolConfig {
    fn default() -> Self {
        Self {
            max_bytes: SpoolMax::DEFAULT.bytes(),
            queue_max: 4096,
            batch_max: 512,
            purge_interval: Duration::from_secs(10),
            read_scope: |_| Err("this spool reads no envelopes".to_owned()),
            ambient: System::shared(),
        }
    }
}

/// The embedded spool.
pub struct SqliteSpool {
    incarnation: String,
    jobs: mpsc::Sender<Job>,
    reader: Arc<Mutex<Connection>>,
    shared: Arc<Shared>,
    head: watch::Receiver<u64>,
    path: PathBuf,
    intake: Option<(LogId, u64)>,
    read_scope: ReadScope,
    reads: Reads,
    writer: Option<std::thread::JoinHandle<()>>,
}

/// Where queries run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reads {
    /// Off the runtime's threads.
    Elsewhere,
    /// In the caller's task: of a simulation, whose order no thread may decide.
    #[cfg(test)]
    Inline,
}

/// The writer and its queue, to be run.
pub(super) struct Unstarted {
    pub(super) writer: Writer,
    pub(super) queue: mpsc::Receiver<Job>,
}

impl SqliteSpool {
    /// Opens (or makes) the spool in `dir`.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(dir: &Path, config: SqliteSpoolConfig) -> Result<Self, OpenError> {
        let (mut spool, Unstarted { writer, queue }) =
            Self::unstarted(dir, &config, Reads::Elsewhere)?;
        let thread = std::thread::Builder::new()
            .name("spool-writer".to_owned())
            .spawn(move || {
                background::lower_priority();
                writer.run(queue);
            })
            .map_err(OpenError::Thread)?;
        spool.writer = Some(thread);
        Ok(spool)
    }

    /// Opens it, and leaves it to the caller to run the writer.
    pub(super) fn unstarted(
        dir: &Path,
        config: &SqliteSpoolConfig,
        reads: Reads,
    ) -> Result<(Self, Unstarted), OpenError> {
        let path = dir.join(look::FILE);
        let mut connection = schema::connect(&path)?;
        let opened = schema::prepare(&mut connection)?;
        let reader = Arc::new(Mutex::new(schema::connect_to_read(&path)?));
        let (head_sender, head) = watch::channel(opened.head);
        let shared = Arc::new(Shared::new(&opened, config.max_bytes));
        let (jobs, queue) = mpsc::channel(config.queue_max);
        let writer = Writer::new(
            connection,
            shared.clone(),
            head_sender,
            config,
            (opened.turns, opened.interrupted),
        );
        let spool = Self {
            incarnation: opened.incarnation,
            jobs,
            reader,
            shared,
            head,
            path,
            intake: opened.intake,
            read_scope: config.read_scope,
            reads,
            writer: None,
        };
        Ok((spool, Unstarted { writer, queue }))
    }

    /// The intake log that it belongs to, and the last sequence that it has taken from that, as of opening.
    pub(super) fn intake(&self) -> Option<(LogId, u64)> {
        self.intake
    }

    /// Binds it to an intake log, and drops definitions that no execution needs. Only while nothing is accepted.
    pub(super) fn begin_intake(&self, log: LogId, drained: bool) -> Result<(), OpenError> {
        schema::begin_intake(&self.path, log, drained)
    }

    /// Takes what the intake log held. Blocks.
    pub(super) fn drain(&self, drained: Drained) -> Result<(), SpoolError> {
        let (answer, answered) = oneshot::channel();
        let job = Job::Drain(Box::new(drained), answer);
        if self.jobs.blocking_send(job).is_err() {
            return Err(self.shared.why_closed());
        }
        answered
            .blocking_recv()
            .unwrap_or_else(|_| Err(self.shared.why_closed()))
    }

    /// [`SqliteSpool::drain`] for a task.
    #[cfg(test)]
    pub(super) fn drain_in_task(&self, drained: Drained) -> BoxFuture<'_, Result<(), SpoolError>> {
        self.submit_waiting(|answer| Job::Drain(Box::new(drained), answer))
    }

    /// Whether it waits for room on the disk.
    pub(super) fn disk_full(&self) -> bool {
        self.shared.disk_full()
    }

    /// Where it may write, when its disk has `disk` bytes free.
    pub(super) fn room(&self, disk: u64) -> Room {
        let wal = std::fs::metadata(self.path.with_extension(WAL_EXTENSION));
        Room {
            disk,
            file: self.shared.free_bytes(),
            wal: wal.map_or(0, |wal| wal.len()),
        }
    }

    /// Bytes of its file, free pages included.
    #[cfg(test)]
    pub(super) fn file_bytes(&self) -> u64 {
        self.shared.file_used_bytes() + self.shared.free_bytes()
    }

    /// Executions that nobody has claimed although their workflows have room.
    pub(super) fn unclaimed(&self) -> u64 {
        self.shared.unclaimed()
    }

    /// Looks deduplication entries up, for another thread.
    pub(super) fn index(&self) -> Result<Index, OpenError> {
        Ok(Index::new(schema::connect_to_read(&self.path)?))
    }

    /// Queues a job and waits for its answer.
    fn submit<T: Send + 'static>(
        &self,
        job: impl FnOnce(Answer<T>) -> Job,
    ) -> BoxFuture<'_, Result<T, SpoolError>> {
        let (answer, answered) = oneshot::channel();
        let queued = self.jobs.try_send(job(answer));
        async move {
            queued.map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => SpoolError::Overloaded,
                mpsc::error::TrySendError::Closed(_) => self.shared.why_closed(),
            })?;
            self.answer(answered).await
        }
        .boxed()
    }

    /// Like [`SqliteSpool::submit`], waiting for a place in the queue: for work that must not be refused by load, since
    /// it is what takes the load off.
    fn submit_waiting<T: Send + 'static>(
        &self,
        job: impl FnOnce(Answer<T>) -> Job,
    ) -> BoxFuture<'_, Result<T, SpoolError>> {
        let (answer, answered) = oneshot::channel();
        let job = job(answer);
        async move {
            if self.jobs.send(job).await.is_err() {
                return Err(self.shared.why_closed());
            }
            self.answer(answered).await
        }
        .boxed()
    }

    async fn answer<T>(
        &self,
        answered: oneshot::Receiver<Result<T, SpoolError>>,
    ) -> Result<T, SpoolError> {
        match answered.await {
            Ok(answer) => answer,
            // Dropped unanswered: the writer is about to end. It says why before it drops its queue.
            Err(_) => {
                self.jobs.closed().await;
                Err(self.shared.why_closed())
            }
        }
    }

    /// Runs a query on the reading connection, off the runtime's threads.
    fn query<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, SpoolError>> {
        let (reader, reads) = (self.reader.clone(), self.reads);
        async move {
            let run = move || {
                let connection = reader
                    .lock()
                    .map_err(|_| SpoolError::Failed("a reader panicked".to_owned()))?;
                query(&connection).map_err(|error| SpoolError::Failed(error.to_string()))
            };
            match reads {
                Reads::Elsewhere => tokio::task::spawn_blocking(run)
                    .await
                    .unwrap_or(Err(SpoolError::Closed)),
                #[cfg(test)]
                Reads::Inline => run(),
            }
        }
        .boxed()
    }
}

impl Drop for SqliteSpool {
    fn drop(&mut self) {
        // Closing the queue ends the writer after what is queued; the file is closed when it has ended.
        let (closed, _) = mpsc::channel(1);
        self.jobs = closed;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

impl Spool for SqliteSpool {
    fn incarnation(&self) -> &str {
        &self.incarnation
    }

    fn accept(&self, accept: Accept) -> BoxFuture<'_, Result<Acceptance, SpoolError>> {
        if self.shared.is_full() {
            return refused(SpoolError::Full);
        }
        match NewExecution::encode(accept, self.read_scope) {
            Ok(new) => self.submit(|answer| Job::Accept(Box::new(new), answer)),
            Err(error) => refused(error),
        }
    }

    fn accept_begun(
        &self,
        accept: Accept,
        journal: Vec<Record>,
    ) -> BoxFuture<'_, Result<Acceptance, SpoolError>> {
        if self.shared.is_full() {
            return refused(SpoolError::Full);
        }
        let new = NewExecution::encode(accept, self.read_scope);
        match new.and_then(|new| Ok(new.with_journal(encode_all(&journal)?))) {
            Ok(new) => self.submit(|answer| Job::Accept(Box::new(new), answer)),
            Err(error) => refused(error),
        }
    }

    fn accept_handshake(
        &self,
        handshake: Handshake,
        delivery: Delivery,
        traceparent: Option<String>,
    ) -> BoxFuture<'_, Result<(), SpoolError>> {
        if self.shared.is_full() {
            return refused(SpoolError::Full);
        }
        self.submit(|answer| Job::Handshake(Box::new((handshake, delivery, traceparent)), answer))
    }

    fn due_handshakes(
        &self,
        now: Timestamp,
        max: usize,
    ) -> BoxFuture<'_, Result<Vec<Handshake>, SpoolError>> {
        self.query(move |connection| read::due_handshakes(connection, now, max))
    }

    fn update_handshake(
        &self,
        handshake: Handshake,
        next_attempt_at: Option<Timestamp>,
        change: SubscriptionChange,
    ) -> BoxFuture<'_, Result<(), SpoolError>> {
        self.submit_waiting(move |answer| {
            Job::UpdateHandshake(Box::new((handshake, next_attempt_at, change)), answer)
        })
    }

    fn handshake_accepted(&self) -> Arc<Notify> {
        self.shared.handshake_accepted.clone()
    }

    fn append(&self, records: Vec<Record>) -> BoxFuture<'_, Result<(), SpoolError>> {
        match encode_all(&records) {
            Ok(records) => self.submit(|answer| Job::Append(records, answer)),
            Err(error) => refused(error),
        }
    }

    fn offer(&self, record: Record) -> bool {
        encode(&record).is_ok_and(|record| self.jobs.try_send(Job::Offer(record)).is_ok())
    }

    fn claim_admitted(
        &self,
        max: usize,
        admission: Arc<dyn Admission>,
    ) -> BoxFuture<'_, Result<Vec<Claimed>, SpoolError>> {
        let taken = self.submit_waiting(move |answer| Job::Claim(max, admission, answer));
        async move { taken.await?.into_iter().map(Taken::decode).collect() }.boxed()
    }

    fn claimable(&self) -> Arc<Notify> {
        self.shared.claimable.clone()
    }

    fn journal_along(
        &self,
        execution: ExecutionName,
        records: Vec<Record>,
        ended: bool,
        along: Along,
    ) -> BoxFuture<'_, Result<Vec<ExecutionName>, SpoolError>> {
        let encoded = encode_all(&records)
            .and_then(|records| Ok((records, Encoded::new(along, self.read_scope)?)));
        match encoded {
            Ok((records, along)) => self.submit_waiting(move |answer| Job::Journal {
                execution: execution.to_string(),
                records,
                ended,
                along: Box::new(along),
                answer,
            }),
            Err(error) => refused(error),
        }
    }

    fn tell(
        &self,
        execution: ExecutionName,
        signal: Signal,
        time: Timestamp,
        traceparent: Option<String>,
    ) -> BoxFuture<'_, Result<Told, SpoolError>> {
        let (name, id) = (execution.to_string(), signal.id.clone());
        let record = Record {
            time,
            traceparent,
            body: RecordBody::Execution {
                execution,
                fact: Fact::SignalReceived(Box::new(signal)),
            },
        };
        match encode(&record) {
            Ok(record) => self.submit_waiting(move |answer| Job::Tell {
                execution: name,
                id,
                record,
                answer,
            }),
            Err(error) => refused(error),
        }
    }

    fn told(
        &self,
        execution: ExecutionName,
        after: u64,
    ) -> BoxFuture<'_, Result<Vec<SequencedRecord>, SpoolError>> {
        self.query(move |connection| {
            signals::told_by_name(connection, &execution.to_string(), after)
        })
    }

    fn definition(
        &self,
        execution: ExecutionName,
    ) -> BoxFuture<'_, Result<Option<Bytes>, SpoolError>> {
        self.query(move |connection| signals::definition(connection, &execution.to_string()))
    }

    fn park(
        &self,
        execution: ExecutionName,
        due: Timestamp,
        heard_until: u64,
    ) -> BoxFuture<'_, Result<(), SpoolError>> {
        self.submit_waiting(move |answer| Job::Park {
            execution: execution.to_string(),
            due,
            heard_until,
            answer,
        })
    }

    fn wake(&self, execution: &ExecutionName) -> BoxFuture<'_, Result<(), SpoolError>> {
        let execution = execution.to_string();
        self.submit_waiting(move |answer| Job::Wake(execution, answer))
    }

    fn summon(&self, execution: &ExecutionName) -> BoxFuture<'_, Result<Summoned, SpoolError>> {
        let execution = execution.to_string();
        self.submit_waiting(move |answer| Job::Summon(execution, answer))
    }

    fn knows(&self, execution: &ExecutionName) -> BoxFuture<'_, Result<bool, SpoolError>> {
        let name = execution.to_string();
        self.query(move |connection| Ok(entries::number_of(connection, &name)?.is_some()))
    }

    fn next_due(&self) -> watch::Receiver<Option<Timestamp>> {
        self.shared.next_due.subscribe()
    }

    fn unreported(
        &self,
        after: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> BoxFuture<'_, Result<Vec<SequencedRecord>, SpoolError>> {
        self.query(move |connection| read::unreported(connection, after, max_records, max_bytes))
    }

    fn head(&self) -> watch::Receiver<u64> {
        self.head.clone()
    }

    fn trim(&self, sequence: u64) -> BoxFuture<'_, Result<(), SpoolError>> {
        self.submit_waiting(move |answer| Job::Trim(sequence, answer))
    }

    fn stats(&self) -> SpoolStats {
        self.shared.stats(*self.head.borrow())
    }

    fn failure(&self) -> Option<String> {
        let ended = || {
            self.jobs
                .is_closed()
                .then(|| "the writer has ended".to_owned())
        };
        self.shared.failure().or_else(ended)
    }
}

fn encode_all(records: &[Record]) -> Result<Vec<Vec<u8>>, SpoolError> {
    records.iter().map(encode).collect()
}

fn refused<T: Send + 'static>(error: SpoolError) -> BoxFuture<'static, Result<T, SpoolError>> {
    futures::future::ready(Err(error)).boxed()
}

#[cfg(test)]
mod tests;
