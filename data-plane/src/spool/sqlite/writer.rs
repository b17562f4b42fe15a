//! The one thread that writes.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use jiff::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use signalbox_model::{
    ids::ExecutionName,
    record::{Delivery, Record, RecordBody, SubscriptionChange, SubscriptionState, Verdict},
};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::{
    SqliteSpoolConfig,
    read::{decode, from_sql, journal_of, to_sql},
    schema::{KIND_ACCEPTED, KIND_FACT, KIND_OTHER, Opened},
};
use crate::spool::{Accept, Acceptance, Claimed, Handshake, SpoolError, SpoolStats};

/// Deduplication entries that one purge may drop, so that it never holds up a commit for long.
const PURGE_MAX: i64 = 1000;

type Answer<T> = oneshot::Sender<Result<T, SpoolError>>;

/// Something to write.
pub(super) enum Job {
    Accept(Box<Accept>, Answer<Acceptance>),
    Handshake(Box<(Handshake, Delivery, Option<String>)>, Answer<()>),
    UpdateHandshake(
        Box<(Handshake, Option<Timestamp>, SubscriptionChange)>,
        Answer<()>,
    ),
    Append(Vec<Record>, Answer<()>),
    Offer(Box<Record>),
    Claim(usize, Answer<Vec<Claimed>>),
    Journal {
        execution: ExecutionName,
        records: Vec<Record>,
        ended: bool,
        answer: Answer<()>,
    },
    Trim(u64, Answer<()>),
}

/// What the writer shares with the spool's callers.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) claimable: Arc<Notify>,
    pub(super) handshake_accepted: Arc<Notify>,
    unfinished: AtomicU64,
    reported: AtomicU64,
    used_bytes: AtomicU64,
    max_bytes: u64,
    failure: Mutex<Option<String>>,
}

impl Shared {
    pub(super) fn new(opened: &Opened, max_bytes: u64) -> Self {
        Self {
            claimable: Arc::default(),
            handshake_accepted: Arc::default(),
            unfinished: opened.unfinished.into(),
            reported: opened.reported.into(),
            used_bytes: 0.into(),
            max_bytes,
            failure: Mutex::default(),
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.used_bytes.load(Ordering::Relaxed) >= self.max_bytes
    }

    pub(super) fn failure(&self) -> Option<String> {
        self.failure.lock().ok().and_then(|failure| failure.clone())
    }

    pub(super) fn why_closed(&self) -> SpoolError {
        self.failure()
            .map_or(SpoolError::Closed, SpoolError::Failed)
    }

    pub(super) fn stats(&self, head: u64) -> SpoolStats {
        SpoolStats {
            unfinished_executions: self.unfinished.load(Ordering::Relaxed),
            unreported_records: head.saturating_sub(self.reported.load(Ordering::Relaxed)),
            used_bytes: self.used_bytes.load(Ordering::Relaxed),
            max_bytes: self.max_bytes,
        }
    }
}

/// An answer that waits for the commit.
type Pending = Box<dyn FnOnce(Result<(), SpoolError>) + Send>;

pub(super) struct Writer {
    connection: Connection,
    shared: Arc<Shared>,
    head: watch::Sender<u64>,
    batch_max: usize,
    purge_interval: Duration,
    last_purge: Instant,
    /// Definitions and certificates known to be in the file.
    known: HashSet<String>,
}

impl Writer {
    pub(super) fn new(
        connection: Connection,
        shared: Arc<Shared>,
        head: watch::Sender<u64>,
        config: &SqliteSpoolConfig,
    ) -> Self {
        let writer = Self {
            connection,
            shared,
            head,
            batch_max: config.batch_max,
            purge_interval: config.purge_interval,
            last_purge: Instant::now(),
            known: HashSet::new(),
        };
        writer.measure();
        writer
    }

    /// Until the queue is closed, or a commit fails.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Job>) {
        let mut jobs = Vec::with_capacity(self.batch_max);
        while let Some(first) = queue.blocking_recv() {
            jobs.push(first);
            while jobs.len() < self.batch_max
                && let Ok(job) = queue.try_recv()
            {
                jobs.push(job);
            }
            if let Err(failure) = self.commit(&mut jobs) {
                tracing::error!(failure, "the spool failed; nothing further is accepted");
                if let Ok(mut slot) = self.shared.failure.lock() {
                    *slot = Some(failure);
                }
                // Dropping the queue drops every waiting answer; callers then read the failure.
                return;
            }
        }
        if let Err(error) = self
            .connection
            .pragma_update(None, "wal_checkpoint", "TRUNCATE")
        {
            tracing::debug!(%error, "the last checkpoint did not complete; the next start does it");
        }
    }

    /// Runs and commits `jobs`, then answers them.
    fn commit(&mut self, jobs: &mut Vec<Job>) -> Result<(), String> {
        let started = Instant::now();
        let count = jobs.len();
        let mut pending: Vec<Pending> = Vec::with_capacity(count);
        let mut effects = Effects::default();
        let result = (|| {
            let transaction = self.connection.transaction()?;
            let mut batch = Batch {
                transaction: &transaction,
                known: &mut self.known,
                effects: &mut effects,
            };
            for job in jobs.drain(..) {
                batch.run(job, &mut pending)?;
            }
            if self.last_purge.elapsed() >= self.purge_interval {
                batch.purge(Timestamp::now())?;
                self.last_purge = Instant::now();
            }
            transaction.commit()
        })();
        if let Err(error) = result {
            let failure = error.to_string();
            for answer in pending {
                answer(Err(SpoolError::Failed(failure.clone())));
            }
            return Err(failure);
        }
        self.publish(&effects);
        for answer in pending {
            answer(Ok(()));
        }
        self.measure();
        metrics::histogram!("signalbox_spool_commit_seconds").record(started.elapsed());
        #[expect(clippy::cast_precision_loss, reason = "a batch is small")]
        metrics::histogram!("signalbox_spool_commit_jobs").record(count as f64);
        Ok(())
    }

    fn publish(&self, effects: &Effects) {
        let unfinished = &self.shared.unfinished;
        unfinished.fetch_add(effects.accepted, Ordering::Relaxed);
        unfinished.fetch_sub(effects.ended, Ordering::Relaxed);
        if let Some(reported) = effects.reported {
            self.shared.reported.store(reported, Ordering::Relaxed);
        }
        if effects.head > 0 {
            self.head.send_replace(effects.head);
        }
        if effects.accepted > 0 {
            self.shared.claimable.notify_one();
        }
        if effects.handshakes > 0 {
            self.shared.handshake_accepted.notify_one();
        }
    }

    /// Pages in use; free ones will be used again before the file grows.
    fn measure(&self) {
        let pragma = |name: &str| {
            self.connection
                .pragma_query_value(None, name, |row| row.get::<_, i64>(0))
                .map_or(0, from_sql)
        };
        let pages = pragma("page_count").saturating_sub(pragma("freelist_count"));
        let used = pages * pragma("page_size");
        self.shared.used_bytes.store(used, Ordering::Relaxed);
    }
}

/// What a committed batch changes beside the file.
#[derive(Default)]
struct Effects {
    accepted: u64,
    ended: u64,
    handshakes: u64,
    head: u64,
    reported: Option<u64>,
}

struct Batch<'a> {
    transaction: &'a Transaction<'a>,
    known: &'a mut HashSet<String>,
    effects: &'a mut Effects,
}

type Sql<T> = Result<T, rusqlite::Error>;

impl Batch<'_> {
    fn run(&mut self, job: Job, pending: &mut Vec<Pending>) -> Sql<()> {
        match job {
            Job::Accept(accept, answer) => {
                let outcome = self.accept(*accept)?;
                pending.push(then(answer, outcome));
            }
            Job::Handshake(of, answer) => {
                let (handshake, delivery, traceparent) = *of;
                self.handshake(&handshake, delivery, traceparent)?;
                pending.push(then(answer, ()));
            }
            Job::UpdateHandshake(of, answer) => {
                let (handshake, next_attempt_at, change) = *of;
                self.update_handshake(&handshake, next_attempt_at, change)?;
                pending.push(then(answer, ()));
            }
            Job::Append(records, answer) => {
                for record in &records {
                    self.log(KIND_OTHER, None, Some(&encode(record)?))?;
                }
                pending.push(then(answer, ()));
            }
            Job::Offer(record) => {
                self.log(KIND_OTHER, None, Some(&encode(&record)?))?;
            }
            Job::Claim(max, answer) => {
                let claimed = self.claim(max)?;
                pending.push(then(answer, claimed));
            }
            Job::Journal {
                execution,
                records,
                ended,
                answer,
            } => {
                self.journal(&execution.to_string(), &records, ended)?;
                pending.push(then(answer, ()));
            }
            Job::Trim(sequence, answer) => {
                self.trim(sequence)?;
                pending.push(then(answer, ()));
            }
        }
        Ok(())
    }

    fn log(&mut self, kind: i64, execution: Option<&str>, body: Option<&[u8]>) -> Sql<i64> {
        self.transaction
            .prepare_cached("INSERT INTO log (kind, execution, body) VALUES (?1, ?2, ?3)")?
            .execute(params![kind, execution, body])?;
        let sequence = self.transaction.last_insert_rowid();
        self.effects.head = from_sql(sequence);
        Ok(sequence)
    }

    fn accept(&mut self, accept: Accept) -> Sql<Acceptance> {
        let Accept {
            accepted,
            content_digest,
            certificate,
            definition,
            delivery,
            traceparent,
            deduplicate_until,
        } = accept;
        let name = accepted.execution.to_string();
        let known: Option<Vec<u8>> = self
            .transaction
            .prepare_cached("SELECT content_digest FROM executions WHERE name = ?1")?
            .query_row(params![name], |row| row.get(0))
            .optional()?;
        let time = accepted.event.received_at;
        if let Some(known) = known {
            if known != content_digest {
                return Ok(Acceptance::Conflict);
            }
            if let Some(delivery) = delivery {
                self.delivery(
                    Delivery {
                        verdict: Verdict::Duplicate,
                        reason: "duplicate".to_owned(),
                        detail: "an earlier copy of this message was accepted".to_owned(),
                        ..delivery
                    },
                    time,
                    traceparent,
                )?;
            }
            return Ok(Acceptance::Duplicate);
        }
        if let Some(certificate) = certificate
            && self.is_new(
                format!("certificate {}", certificate.sha256),
                "INSERT OR IGNORE INTO certificates VALUES (?1)",
                params![certificate.sha256],
            )?
        {
            self.other(RecordBody::Certificate(certificate), time, None)?;
        }
        let (workflow, version) = (accepted.workflow.to_string(), accepted.version);
        self.is_new(
            format!("definition {workflow} {version}"),
            "INSERT OR IGNORE INTO definitions VALUES (?1, ?2, ?3)",
            params![workflow, to_sql(version), definition.as_ref()],
        )?;
        let record = encode(&Record {
            time,
            traceparent: traceparent.clone(),
            body: RecordBody::Accepted(Box::new(accepted)),
        })?;
        let sequence = self.log(KIND_ACCEPTED, Some(&name), None)?;
        self.transaction
            .prepare_cached(
                "INSERT INTO executions (name, content_digest, deduplicate_until_us, accepted_seq, last_seq,
                 workflow, version, record) VALUES (?1, ?2, ?3, ?4, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                name,
                content_digest,
                deduplicate_until.as_microsecond(),
                sequence,
                workflow,
                to_sql(version),
                record
            ])?;
        if let Some(delivery) = delivery {
            self.delivery(delivery, time, traceparent)?;
        }
        self.effects.accepted += 1;
        Ok(Acceptance::New)
    }

    /// Runs an `INSERT OR IGNORE` unless `key` is known to be there; says whether it inserted.
    fn is_new(&mut self, key: String, insert: &str, values: impl rusqlite::Params) -> Sql<bool> {
        if self.known.contains(&key) {
            return Ok(false);
        }
        let inserted = self.transaction.prepare_cached(insert)?.execute(values)?;
        // A rolled-back batch fails the spool for good, so what is noted here is in the file.
        self.known.insert(key);
        Ok(inserted > 0)
    }

    fn other(&mut self, body: RecordBody, time: Timestamp, traceparent: Option<String>) -> Sql<()> {
        let record = Record {
            time,
            traceparent,
            body,
        };
        self.log(KIND_OTHER, None, Some(&encode(&record)?))?;
        Ok(())
    }

    fn delivery(
        &mut self,
        delivery: Delivery,
        time: Timestamp,
        traceparent: Option<String>,
    ) -> Sql<()> {
        self.other(RecordBody::Delivery(Box::new(delivery)), time, traceparent)
    }

    fn handshake(
        &mut self,
        handshake: &Handshake,
        delivery: Delivery,
        traceparent: Option<String>,
    ) -> Sql<()> {
        let Handshake {
            workflow,
            topic_arn,
            token,
            certificate_origin,
            received_at,
            attempts,
        } = handshake;
        let inserted = self
            .transaction
            .prepare_cached("INSERT OR IGNORE INTO handshakes VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?5)")?
            .execute(params![
                workflow.to_string(),
                topic_arn,
                token,
                certificate_origin,
                received_at.as_microsecond(),
                attempts
            ])?;
        if inserted > 0 {
            let change = SubscriptionChange {
                workflow: workflow.clone(),
                topic_arn: topic_arn.clone(),
                subscription_arn: None,
                state: SubscriptionState::Pending,
                confirm_attempts: *attempts,
                last_error: None,
            };
            self.other(
                RecordBody::Subscription(Box::new(change)),
                *received_at,
                traceparent.clone(),
            )?;
            self.delivery(delivery, *received_at, traceparent)?;
            self.effects.handshakes += 1;
        } else {
            let copy = Delivery {
                verdict: Verdict::Duplicate,
                reason: "duplicate".to_owned(),
                detail: "this subscription is being, or was, confirmed".to_owned(),
                ..delivery
            };
            self.delivery(copy, *received_at, traceparent)?;
        }
        Ok(())
    }

    fn update_handshake(
        &mut self,
        handshake: &Handshake,
        next_attempt_at: Option<Timestamp>,
        change: SubscriptionChange,
    ) -> Sql<()> {
        self.transaction
            .prepare_cached(
                "UPDATE handshakes SET attempts = ?4, next_attempt_at_us = ?5
                 WHERE workflow = ?1 AND topic_arn = ?2 AND token = ?3",
            )?
            .execute(params![
                handshake.workflow.to_string(),
                handshake.topic_arn,
                handshake.token,
                change.confirm_attempts,
                next_attempt_at.map(Timestamp::as_microsecond)
            ])?;
        self.other(
            RecordBody::Subscription(Box::new(change)),
            Timestamp::now(),
            None,
        )
    }

    fn claim(&mut self, max: usize) -> Sql<Vec<Claimed>> {
        let mut rows = Vec::new();
        {
            let mut statement = self.transaction.prepare_cached(
                "SELECT e.name, e.record, d.source FROM executions e
                 JOIN definitions d ON d.workflow = e.workflow AND d.version = e.version
                 WHERE e.ended = 0 AND e.claimed = 0 ORDER BY e.accepted_seq LIMIT ?1",
            )?;
            let mut found = statement.query(params![i64::try_from(max).unwrap_or(i64::MAX)])?;
            while let Some(row) = found.next()? {
                let name: String = row.get(0)?;
                let record: Record = decode(row.get_ref(1)?.as_blob()?)?;
                let source: Vec<u8> = row.get(2)?;
                rows.push((name, record, source));
            }
        }
        let mut claimed = Vec::with_capacity(rows.len());
        for (name, record, source) in rows {
            self.transaction
                .prepare_cached("UPDATE executions SET claimed = 1 WHERE name = ?1")?
                .execute(params![name])?;
            let RecordBody::Accepted(accepted) = record.body else {
                continue;
            };
            claimed.push(Claimed {
                accepted: *accepted,
                definition: source.into(),
                traceparent: record.traceparent,
                journal: journal_of(self.transaction, &name)?,
            });
        }
        Ok(claimed)
    }

    fn journal(&mut self, execution: &str, records: &[Record], ended: bool) -> Sql<()> {
        let mut last = 0;
        for record in records {
            last = self.log(KIND_FACT, Some(execution), Some(&encode(record)?))?;
        }
        if ended {
            let changed = self
                .transaction
                .prepare_cached(
                    "UPDATE executions SET ended = 1, last_seq = ?2 WHERE name = ?1 AND ended = 0",
                )?
                .execute(params![execution, last])?;
            self.effects.ended += changed as u64;
        }
        Ok(())
    }

    fn trim(&mut self, sequence: u64) -> Sql<()> {
        let reported = to_sql(sequence);
        self.transaction
            .prepare_cached("UPDATE meta SET value = ?1 WHERE key = 'reported'")?
            .execute(params![sequence.to_string()])?;
        self.transaction
            .prepare_cached(
                "DELETE FROM log WHERE seq <= ?1 AND (kind <> 0 OR execution IN
                 (SELECT name FROM executions WHERE name = log.execution AND ended = 1))",
            )?
            .execute(params![reported])?;
        self.transaction
            .prepare_cached(
                "UPDATE executions SET record = NULL WHERE ended = 1 AND record IS NOT NULL AND last_seq <= ?1",
            )?
            .execute(params![reported])?;
        self.effects.reported = Some(sequence);
        Ok(())
    }

    fn purge(&mut self, now: Timestamp) -> Sql<()> {
        self.transaction
            .prepare_cached(
                "DELETE FROM executions WHERE name IN (SELECT name FROM executions
                 WHERE ended = 1 AND record IS NULL AND deduplicate_until_us < ?1 LIMIT ?2)",
            )?
            .execute(params![now.as_microsecond(), PURGE_MAX])?;
        // A handshake is remembered while a copy of its message may come: twice the 48 h that its token lives.
        self.transaction
            .prepare_cached(
                "DELETE FROM handshakes WHERE next_attempt_at_us IS NULL AND received_at_us < ?1",
            )?
            .execute(params![now.as_microsecond() - 96 * 3600 * 1_000_000])?;
        Ok(())
    }
}

fn encode(record: &Record) -> Sql<Vec<u8>> {
    serde_json::to_vec(record)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

/// Sends `value` when the commit went well.
fn then<T: Send + 'static>(answer: Answer<T>, value: T) -> Pending {
    Box::new(move |committed| {
        let _ = answer.send(committed.map(|()| value));
    })
}
