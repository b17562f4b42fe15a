//! One batch of jobs inside its transaction.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use jiff::Timestamp;
use rusqlite::{Transaction, params};
use signalbox_model::record::{Certificate, Delivery, Record, RecordBody, Verdict};

use super::{
    entries,
    read::from_sql,
    schema::{KIND_ACCEPTED, KIND_FACT, KIND_OTHER},
    turns::Turns,
    work::{EXECUTION_BYTES, record_bytes},
    writer::{Answer, Job},
};
use crate::spool::{
    Accept, Acceptance, Definition, ReadScope, ScopeSource, SpoolError, delivery_of, key::Key,
};

/// Definitions and certificates that are remembered to be in the file; beyond, all are forgotten and asked for anew.
const KNOWN_MAX: usize = 4096;

pub(super) type Sql<T> = Result<T, rusqlite::Error>;

/// An answer that waits for the commit.
pub(super) type Pending = Box<dyn FnOnce(Result<(), SpoolError>) + Send>;

/// An [`Accept`], encoded.
pub(in crate::spool) struct NewExecution {
    name: String,
    key: Key,
    workflow: String,
    content_digest: [u8; 32],
    certificate: Option<Arc<Certificate>>,
    definition_digest: [u8; 32],
    /// None where it is known to be there.
    definition: Option<Bytes>,
    /// Made for the verdict `Accepted`.
    delivery: Option<Delivery>,
    traceparent: Option<String>,
    deduplicate_until: Timestamp,
    received_at: Timestamp,
    record: Vec<u8>,
    /// What its journal begins with.
    journal: Vec<Vec<u8>>,
}

impl NewExecution {
    pub(in crate::spool) fn encode(
        accept: Accept,
        read_scope: ReadScope,
    ) -> Result<Self, SpoolError> {
        let Accept {
            mut accepted,
            scope,
            content_digest,
            certificate,
            definition,
            message_type,
            traceparent,
            deduplicate_until,
        } = accept;
        if scope == ScopeSource::Envelope {
            accepted.event.scope = read_scope(&accepted.event.body).map_err(SpoolError::Failed)?;
        }
        let received_at = accepted.event.received_at;
        let delivery = message_type.map(|of| delivery_of(&accepted, of, Verdict::Accepted));
        Ok(Self {
            name: accepted.execution.to_string(),
            key: Key::of(&accepted.execution),
            workflow: accepted.workflow.to_string(),
            content_digest,
            certificate,
            definition_digest: definition.digest,
            definition: (!definition.source.is_empty()).then_some(definition.source),
            delivery,
            deduplicate_until,
            received_at,
            record: encode(&Record {
                time: received_at,
                traceparent: traceparent.clone(),
                body: RecordBody::Accepted(Box::new(accepted)),
            })?,
            traceparent,
            journal: Vec::new(),
        })
    }

    /// Of the execution.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The same with the records that its journal begins with.
    pub(in crate::spool) fn with_journal(self, journal: Vec<Vec<u8>>) -> Self {
        Self { journal, ..self }
    }

    /// Bytes of what it brings.
    pub(in crate::spool) fn bytes(&self) -> usize {
        self.record.len() + self.definition.as_ref().map_or(0, Bytes::len)
    }
}

/// What was read from the intake log.
#[derive(Default)]
pub(in crate::spool) struct Drained {
    pub(in crate::spool) certificates: Vec<(Certificate, Timestamp)>,
    pub(in crate::spool) definitions: Vec<Definition>,
    pub(in crate::spool) executions: Vec<NewExecution>,
    /// Last sequence of it.
    pub(in crate::spool) position: u64,
}

/// A record as the file keeps it.
pub(super) fn encode(record: &Record) -> Result<Vec<u8>, SpoolError> {
    serde_json::to_vec(record).map_err(|error| SpoolError::Failed(error.to_string()))
}

/// What a committed batch changes beside the file.
#[derive(Default)]
pub(super) struct Effects {
    pub(super) accepted: u64,
    /// Claimed for the first time in this process.
    pub(super) claimed: u64,
    /// Numbers of those that were claimed, by name.
    pub(super) numbers: Vec<(String, i64)>,
    /// Names of those that nobody has claimed any more.
    pub(super) released: Vec<String>,
    /// Due after they were parked, and left to the turns of their workflows.
    pub(super) held: u64,
    /// Of those that nobody has, how many are new, by workflow.
    pub(super) new_of: HashMap<String, u64>,
    /// Claimed for the first time, by workflow in their turns.
    pub(super) turns_of: Vec<(String, u64)>,
    /// Of those that nobody has, how many a claim left because their workflows had no room.
    pub(super) held_back: Option<u64>,
    /// When it was looked far at those that are due.
    pub(super) looked_far: Option<Timestamp>,
    pub(super) parked: u64,
    /// Numbers of those that had been interrupted.
    pub(super) went_on: Vec<i64>,
    /// How many left the turns to be ended, by workflow: they are parked now, and due.
    pub(super) summoned: HashMap<String, u64>,
    /// Claimed again after they were parked.
    pub(super) resumed: u64,
    /// Another parked execution may be the next that is due.
    pub(super) due_changed: bool,
    pub(super) ended: u64,
    pub(super) handshakes: u64,
    /// By how many bytes there is more work than before.
    pub(super) work: i64,
    pub(super) head: u64,
    pub(super) reported: Option<u64>,
}

pub(super) struct Batch<'a> {
    pub(super) transaction: &'a Transaction<'a>,
    known: &'a mut HashSet<String>,
    pub(super) effects: &'a mut Effects,
    pub(super) turns: &'a Turns,
    numbers: &'a HashMap<String, i64>,
    pub(super) interrupted: &'a HashSet<i64>,
    /// When it runs.
    pub(super) now: Timestamp,
}

impl<'a> Batch<'a> {
    pub(super) fn new(
        transaction: &'a Transaction<'a>,
        known: &'a mut HashSet<String>,
        effects: &'a mut Effects,
        turns: &'a Turns,
        numbers: &'a HashMap<String, i64>,
        interrupted: &'a HashSet<i64>,
        now: Timestamp,
    ) -> Self {
        Self {
            transaction,
            known,
            effects,
            turns,
            numbers,
            interrupted,
            now,
        }
    }

    /// Events that the batch has accepted so far.
    pub(super) fn accepted(&self) -> usize {
        usize::try_from(self.effects.accepted).unwrap_or(usize::MAX)
    }

    pub(super) fn run(&mut self, job: Job, pending: &mut Vec<Pending>) -> Sql<()> {
        match job {
            Job::Accept(new, answer) => {
                let outcome = self.accept(*new);
                settle(pending, answer, outcome)
            }
            Job::Handshake(of, answer) => {
                let (handshake, delivery, traceparent) = *of;
                let outcome = self.handshake(&handshake, delivery, traceparent);
                settle(pending, answer, outcome)
            }
            Job::UpdateHandshake(of, answer) => {
                let (handshake, next_attempt_at, change) = *of;
                let outcome = self.update_handshake(&handshake, next_attempt_at, change);
                settle(pending, answer, outcome)
            }
            Job::Append(records, answer) => {
                let outcome = records
                    .iter()
                    .try_for_each(|record| self.log(KIND_OTHER, None, record).map(drop));
                settle(pending, answer, outcome)
            }
            Job::Offer(record) => self.log(KIND_OTHER, None, &record).map(drop),
            Job::Claim(max, admission, answer) => {
                let outcome = self.claim(max, admission.as_ref());
                settle(pending, answer, outcome)
            }
            Job::Journal {
                execution,
                records,
                ended,
                along,
                answer,
            } => {
                let journalled = self.journal(&execution, &records, ended, along.only_repeats);
                let outcome = journalled.and_then(|()| self.along(*along));
                settle(pending, answer, outcome)
            }
            Job::Tell {
                execution,
                id,
                record,
                answer,
            } => {
                let outcome = self.tell(&execution, &id, &record);
                settle(pending, answer, outcome)
            }
            Job::Park {
                execution,
                due,
                heard_until,
                answer,
            } => {
                let outcome = self.park(&execution, due, heard_until);
                settle(pending, answer, outcome)
            }
            Job::Wake(execution, answer) => {
                let outcome = self.wake(&execution);
                settle(pending, answer, outcome)
            }
            Job::Summon(execution, answer) => {
                let outcome = self.summon(&execution);
                settle(pending, answer, outcome)
            }
            Job::Drain(drained, answer) => {
                let outcome = self.drain(*drained);
                settle(pending, answer, outcome)
            }
            Job::Trim(sequence, answer) => {
                let outcome = self.trim(sequence);
                settle(pending, answer, outcome)
            }
        }
    }

    /// Takes what the intake log held, with the position in one commit: each record is taken once.
    fn drain(&mut self, drained: Drained) -> Sql<()> {
        for (certificate, time) in &drained.certificates {
            self.certificate(certificate, *time)?;
        }
        for definition in &drained.definitions {
            self.definition(&definition.digest, &definition.source)?;
        }
        for new in drained.executions {
            self.knows_definition(&new)?;
            // Refused only by a copy that came in by another door; the first stays.
            self.accept(new)?;
        }
        self.transaction
            .prepare_cached("UPDATE meta SET value = ?1 WHERE key = 'drained'")?
            .execute(params![drained.position.to_string()])?;
        self.spare_room()
    }

    /// Tells of an event whose definition was in a part of the log that is lost. It is executed when another event brings
    /// the definition.
    fn knows_definition(&mut self, new: &NewExecution) -> Sql<()> {
        let digest = blake3::Hash::from_bytes(new.definition_digest).to_hex();
        if self.known.contains(&format!("definition {digest}")) {
            return Ok(());
        }
        let found = self
            .transaction
            .prepare_cached("SELECT 1 FROM definitions WHERE digest = ?1")?
            .exists(params![new.definition_digest])?;
        if !found {
            tracing::error!(
                execution = new.name,
                "its definition was lost with a part of the intake log: it waits for one to come with another message"
            );
            metrics::counter!("signalbox_intake_lost_definitions_total").increment(1);
        }
        Ok(())
    }

    /// Writes a record; gives its sequence.
    pub(super) fn log(&mut self, kind: i64, execution: Option<i64>, body: &[u8]) -> Sql<i64> {
        self.transaction
            .prepare_cached("INSERT INTO log (kind, execution, body) VALUES (?1, ?2, ?3)")?
            .execute(params![kind, execution, body])?;
        let sequence = self.transaction.last_insert_rowid();
        self.effects.head = from_sql(sequence);
        self.effects.work += record_bytes(i64::try_from(body.len()).unwrap_or(i64::MAX / 2));
        Ok(sequence)
    }

    /// The number of an execution, ended or not; none when there is none.
    pub(super) fn number_of(&self, name: &str) -> Sql<Option<i64>> {
        match self.numbers.get(name) {
            Some(number) => Ok(Some(*number)),
            None => entries::number_of(self.transaction, name),
        }
    }

    pub(super) fn accept(&mut self, new: NewExecution) -> Sql<Acceptance> {
        let known = entries::content_of(self.transaction, new.key, &new.name)?;
        if let Some(known) = known {
            if !known.is_of(&new.content_digest) {
                return Ok(Acceptance::Conflict);
            }
            if let Some(delivery) = new.delivery {
                let copy = Delivery {
                    verdict: Verdict::Duplicate,
                    reason: "duplicate".to_owned(),
                    detail: "an earlier copy of this message was accepted".to_owned(),
                    ..delivery
                };
                self.delivery(copy, new.received_at, new.traceparent)?;
            }
            return Ok(Acceptance::Duplicate);
        }
        if let Some(certificate) = new.certificate {
            self.certificate(&certificate, new.received_at)?;
        }
        if let Some(definition) = new.definition {
            self.definition(&new.definition_digest, &definition)?;
        }
        let number = self.log(KIND_ACCEPTED, None, &new.record)?;
        let until_us = new.deduplicate_until.as_microsecond();
        entries::insert(self.transaction, new.key, &new.content_digest, number)?;
        self.transaction
            .prepare_cached(
                "INSERT INTO executions (number, name, workflow, definition, deduplicate_until_us, key)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                number,
                new.name,
                new.workflow,
                new.definition_digest,
                until_us,
                new.key.to_bytes()
            ])?;
        self.effects.work += EXECUTION_BYTES;
        for record in &new.journal {
            self.log(KIND_FACT, Some(number), record)?;
        }
        if let Some(delivery) = new.delivery {
            self.delivery(delivery, new.received_at, new.traceparent)?;
        }
        self.effects.accepted += 1;
        *self.effects.new_of.entry(new.workflow).or_default() += 1;
        Ok(Acceptance::New)
    }

    /// Remembers a certificate, and records it when it is new.
    pub(super) fn certificate(&mut self, certificate: &Certificate, time: Timestamp) -> Sql<()> {
        if self.is_new(
            format!("certificate {}", certificate.sha256),
            "INSERT OR IGNORE INTO certificates VALUES (?1)",
            params![certificate.sha256],
        )? {
            self.other(RecordBody::Certificate(certificate.clone()), time, None)?;
        }
        Ok(())
    }

    /// Remembers a definition.
    pub(super) fn definition(&mut self, digest: &[u8; 32], source: &[u8]) -> Sql<()> {
        let key = format!("definition {}", blake3::Hash::from_bytes(*digest).to_hex());
        let insert = "INSERT OR IGNORE INTO definitions VALUES (?1, ?2)";
        self.is_new(key, insert, params![digest, source])?;
        Ok(())
    }

    /// Runs an `INSERT OR IGNORE` unless `key` is known to be there; says whether it inserted.
    fn is_new(&mut self, key: String, insert: &str, values: impl rusqlite::Params) -> Sql<bool> {
        if self.known.contains(&key) {
            return Ok(false);
        }
        let inserted = self.transaction.prepare_cached(insert)?.execute(values)?;
        if self.known.len() >= KNOWN_MAX {
            self.known.clear();
        }
        // A batch that is rolled back forgets all of them.
        self.known.insert(key);
        Ok(inserted > 0)
    }

    pub(super) fn other(
        &mut self,
        body: RecordBody,
        time: Timestamp,
        traceparent: Option<String>,
    ) -> Sql<()> {
        let record = Record {
            time,
            traceparent,
            body,
        };
        let record = encode(&record)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        self.log(KIND_OTHER, None, &record)?;
        Ok(())
    }

    pub(super) fn delivery(
        &mut self,
        delivery: Delivery,
        time: Timestamp,
        traceparent: Option<String>,
    ) -> Sql<()> {
        self.other(RecordBody::Delivery(Box::new(delivery)), time, traceparent)
    }

    fn journal(
        &mut self,
        execution: &str,
        records: &[Vec<u8>],
        ended: bool,
        only_repeats: bool,
    ) -> Sql<()> {
        let Some(number) = self.number_of(execution)? else {
            // Of nobody's: told once, and no more.
            return records
                .iter()
                .try_for_each(|record| self.log(KIND_OTHER, None, record).map(drop));
        };
        let mut last = number;
        for record in records {
            last = self.log(KIND_FACT, Some(number), record)?;
        }
        if !only_repeats {
            self.went_on(number)?;
        }
        if ended {
            let changed = self
                .transaction
                .prepare_cached(
                    "UPDATE executions SET state = 3, due_us = NULL, last_seq = ?2
                     WHERE number = ?1 AND state <> 3",
                )?
                .execute(params![number, last])?;
            self.effects.ended += changed as u64;
            self.effects.released.push(execution.to_owned());
        }
        Ok(())
    }
}

/// Keeps the answer to a job until the commit has gone well or not; a job that failed is answered what the commit is.
fn settle<T: Send + 'static>(
    pending: &mut Vec<Pending>,
    answer: Answer<T>,
    outcome: Sql<T>,
) -> Sql<()> {
    let (value, failed) = match outcome {
        Ok(value) => (Some(value), Ok(())),
        Err(error) => (None, Err(error)),
    };
    pending.push(Box::new(move |committed| {
        let value = committed.and_then(|()| value.ok_or(SpoolError::Closed));
        let _ = answer.send(value);
    }));
    failed
}
