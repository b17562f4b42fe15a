//! One batch of jobs inside its transaction.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;
use jiff::Timestamp;
use rusqlite::{OptionalExtension as _, Transaction, params};
use signalbox_model::record::{
    Certificate, Delivery, Record, RecordBody, SubscriptionChange, SubscriptionState, Verdict,
};

use super::{
    read::from_sql,
    schema::{KIND_ACCEPTED, KIND_FACT, KIND_OTHER},
    turns::Turns,
    writer::{Answer, Job},
};
use crate::spool::{
    Accept, Acceptance, Definition, Handshake, ReadScope, ScopeSource, SpoolError, delivery_of,
};

/// Definitions and certificates that are remembered to be in the file; beyond, all are forgotten and asked for anew.
const KNOWN_MAX: usize = 4096;

pub(super) type Sql<T> = Result<T, rusqlite::Error>;

/// An answer that waits for the commit.
pub(super) type Pending = Box<dyn FnOnce(Result<(), SpoolError>) + Send>;

/// An [`Accept`], encoded.
pub(in crate::spool) struct NewExecution {
    name: String,
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
    /// Accepted, by workflow.
    pub(super) new_of: HashMap<String, u64>,
    /// Claimed for the first time, by workflow in their turns.
    pub(super) turns_of: Vec<(String, u64)>,
    /// Of those that nobody has, how many a claim left because their workflows had no room.
    pub(super) held_back: Option<u64>,
    pub(super) parked: u64,
    /// Claimed again after they were parked.
    pub(super) resumed: u64,
    /// Another parked execution may be the next that is due.
    pub(super) due_changed: bool,
    pub(super) ended: u64,
    pub(super) handshakes: u64,
    pub(super) head: u64,
    pub(super) reported: Option<u64>,
}

pub(super) struct Batch<'a> {
    pub(super) transaction: &'a Transaction<'a>,
    known: &'a mut HashSet<String>,
    pub(super) effects: &'a mut Effects,
    pub(super) turns: &'a Turns,
    /// When it runs.
    pub(super) now: Timestamp,
}

impl<'a> Batch<'a> {
    pub(super) fn new(
        transaction: &'a Transaction<'a>,
        known: &'a mut HashSet<String>,
        effects: &'a mut Effects,
        turns: &'a Turns,
        now: Timestamp,
    ) -> Self {
        Self {
            transaction,
            known,
            effects,
            turns,
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
                    .try_for_each(|record| self.log(KIND_OTHER, None, Some(record)).map(drop));
                settle(pending, answer, outcome)
            }
            Job::Offer(record) => self.log(KIND_OTHER, None, Some(&record)).map(drop),
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
                let journalled = self.journal(&execution, &records, ended);
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
        Ok(())
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

    pub(super) fn log(
        &mut self,
        kind: i64,
        execution: Option<&str>,
        body: Option<&[u8]>,
    ) -> Sql<i64> {
        self.transaction
            .prepare_cached("INSERT INTO log (kind, execution, body) VALUES (?1, ?2, ?3)")?
            .execute(params![kind, execution, body])?;
        let sequence = self.transaction.last_insert_rowid();
        self.effects.head = from_sql(sequence);
        Ok(sequence)
    }

    pub(super) fn accept(&mut self, new: NewExecution) -> Sql<Acceptance> {
        let known: Option<Vec<u8>> = self
            .transaction
            .prepare_cached("SELECT content_digest FROM executions WHERE name = ?1")?
            .query_row(params![new.name], |row| row.get(0))
            .optional()?;
        if let Some(known) = known {
            if known != new.content_digest {
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
        let sequence = self.log(KIND_ACCEPTED, Some(&new.name), None)?;
        self.transaction
            .prepare_cached(
                "INSERT INTO executions (name, content_digest, deduplicate_until_us, accepted_seq, last_seq,
                 definition, record, workflow) VALUES (?1, ?2, ?3, ?4, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                new.name,
                new.content_digest,
                new.deduplicate_until.as_microsecond(),
                sequence,
                new.definition_digest,
                new.record,
                new.workflow
            ])?;
        for record in &new.journal {
            self.log(KIND_FACT, Some(&new.name), Some(record))?;
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

    fn other(&mut self, body: RecordBody, time: Timestamp, traceparent: Option<String>) -> Sql<()> {
        let record = Record {
            time,
            traceparent,
            body,
        };
        let record = encode(&record)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        self.log(KIND_OTHER, None, Some(&record))?;
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
        self.other(RecordBody::Subscription(Box::new(change)), self.now, None)
    }

    fn journal(&mut self, execution: &str, records: &[Vec<u8>], ended: bool) -> Sql<()> {
        let mut last = 0;
        for record in records {
            last = self.log(KIND_FACT, Some(execution), Some(record))?;
        }
        if ended {
            let changed = self
                .transaction
                .prepare_cached(
                    "UPDATE executions SET ended = 1, last_seq = max(last_seq, ?2)
                     WHERE name = ?1 AND ended = 0",
                )?
                .execute(params![execution, last])?;
            self.effects.ended += changed as u64;
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
