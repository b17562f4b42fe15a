//! The spool: a node's durable store of events, journals and unreported records.
//!
//! Whatever a method of [`Spool`] has answered `Ok` to (but for [`Spool::offer`]) survives `kill -9` and power loss
//! (invariant I1). Every record, whether it makes an execution, journals one or tells of a delivery, has a number of one
//! ascending sequence: the journal and the outbox of reports are one log.

mod arrivals;
mod intake;
mod key;
mod limit;
pub mod operator;
mod sqlite;

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use jiff::Timestamp;
use signalbox_model::{
    event::EventScope,
    ids::{DeliveryId, ExecutionName, WorkflowName},
    record::{
        Accepted, Certificate, Delivery, Record, SequencedRecord, SubscriptionChange, Verdict,
    },
    signal::Signal,
};
use tokio::sync::{Notify, watch};

pub use arrivals::Arriving;
#[cfg(feature = "fuzzing")]
pub(crate) use intake::fuzzing;
#[cfg(test)]
pub(crate) use intake::simulated;
pub use intake::{IntakeSpool, IntakeSpoolConfig, OpenError as IntakeOpenError};
pub use limit::{SpoolMax, SpoolMaxError};
pub use sqlite::{OpenError, SqliteSpool, SqliteSpoolConfig};

/// A node's durable store.
pub trait Spool: Send + Sync + 'static {
    /// Names this spool for its lifetime; sequences count within it.
    fn incarnation(&self) -> &str;

    /// Makes an event and its execution durable, unless a copy of it is already (invariant I2). In the same commit go
    /// the certificate and the definition, when they are new here, and the delivery's record.
    ///
    /// # Errors
    /// [`SpoolError`]; nothing was accepted then.
    fn accept(&self, accept: Accept) -> BoxFuture<'_, Result<Acceptance, SpoolError>>;

    /// The same for an execution whose journal begins with `journal`, in one commit. For those that are few: they go past the
    /// intake log.
    ///
    /// # Errors
    /// [`SpoolError`]; nothing was accepted then.
    fn accept_begun(
        &self,
        accept: Accept,
        journal: Vec<Record>,
    ) -> BoxFuture<'_, Result<Acceptance, SpoolError>>;

    /// Says that an event may be on its way, until what is returned is dropped: those that come together are made durable
    /// together.
    fn arriving(&self) -> Option<Arriving> {
        None
    }

    /// Makes a subscription's handshake durable, with the delivery's record. A copy (same workflow, topic and token)
    /// changes nothing.
    ///
    /// # Errors
    /// [`SpoolError`]; nothing was accepted then.
    fn accept_handshake(
        &self,
        handshake: Handshake,
        delivery: Delivery,
        traceparent: Option<String>,
    ) -> BoxFuture<'_, Result<(), SpoolError>>;

    /// Unfinished handshakes that are due at `now`, at most `max`.
    ///
    /// # Errors
    /// [`SpoolError`].
    fn due_handshakes(
        &self,
        now: Timestamp,
        max: usize,
    ) -> BoxFuture<'_, Result<Vec<Handshake>, SpoolError>>;

    /// Notes an attempt: `next_attempt_at` says when to try again, [`None`] that the handshake is over. Records `change`.
    ///
    /// # Errors
    /// [`SpoolError`].
    fn update_handshake(
        &self,
        handshake: Handshake,
        next_attempt_at: Option<Timestamp>,
        change: SubscriptionChange,
    ) -> BoxFuture<'_, Result<(), SpoolError>>;

    /// Woken when a handshake was accepted.
    fn handshake_accepted(&self) -> Arc<Notify>;

    /// Makes records durable that belong to no execution.
    ///
    /// # Errors
    /// [`SpoolError`].
    fn append(&self, records: Vec<Record>) -> BoxFuture<'_, Result<(), SpoolError>>;

    /// Hands over a record whose loss in a crash or overload is acceptable (a refused delivery: the sender holds the
    /// message). Never waits. False: the queue was full and the record is dropped.
    fn offer(&self, record: Record) -> bool;

    /// Unfinished executions that nobody has, at most `max`: first those that were parked and are due, then those that were
    /// not claimed since the spool was opened, of each workflow as many, its oldest first. They come with the facts that
    /// they had journalled.
    ///
    /// # Errors
    /// [`SpoolError`].
    fn claim(&self, max: usize) -> BoxFuture<'_, Result<Vec<Claimed>, SpoolError>> {
        self.claim_admitted(max, Arc::new(Anyone))
    }

    /// [`Spool::claim`], of each workflow no more than `admission` has room for.
    ///
    /// # Errors
    /// [`SpoolError`].
    fn claim_admitted(
        &self,
        max: usize,
        admission: Arc<dyn Admission>,
    ) -> BoxFuture<'_, Result<Vec<Claimed>, SpoolError>>;

    /// Woken when there may be something to claim.
    fn claimable(&self) -> Arc<Notify>;

    /// Journals facts of a claimed execution, in order. `ended` says that the last one ends it.
    ///
    /// # Errors
    /// [`SpoolError`]; the caller must not go on with the execution then.
    fn journal(
        &self,
        execution: ExecutionName,
        records: Vec<Record>,
        ended: bool,
    ) -> BoxFuture<'_, Result<(), SpoolError>> {
        let journalled = self.journal_along(execution, records, ended, Along::default());
        Box::pin(async move { journalled.await.map(drop) })
    }

    /// [`Spool::journal`], in one commit with what it means for other executions. Gives the executions that were told
    /// something and whose claimers may not know.
    ///
    /// # Errors
    /// [`SpoolError`]; nothing was written then.
    fn journal_along(
        &self,
        execution: ExecutionName,
        records: Vec<Record>,
        ended: bool,
        along: Along,
    ) -> BoxFuture<'_, Result<Vec<ExecutionName>, SpoolError>>;

    /// Journals that an execution was told something (a [`Fact::SignalReceived`]), whoever has claimed it, at the place where
    /// its journal is; once for each signal's id.
    ///
    /// # Errors
    /// [`SpoolError`]; nothing was written then.
    ///
    /// [`Fact::SignalReceived`]: signalbox_model::execution::Fact::SignalReceived
    fn tell(
        &self,
        execution: ExecutionName,
        signal: Signal,
        time: Timestamp,
        traceparent: Option<String>,
    ) -> BoxFuture<'_, Result<Told, SpoolError>>;

    /// What an unfinished execution was told, of its journal after the sequence `after`, in order.
    ///
    /// # Errors
    /// [`SpoolError`].
    fn told(
        &self,
        execution: ExecutionName,
        after: u64,
    ) -> BoxFuture<'_, Result<Vec<SequencedRecord>, SpoolError>>;

    /// The definition that an unfinished execution runs, an encoded `signalbox.v1.WorkflowSpec`; none where there is no such
    /// execution.
    ///
    /// # Errors
    /// [`SpoolError`].
    fn definition(
        &self,
        execution: ExecutionName,
    ) -> BoxFuture<'_, Result<Option<Bytes>, SpoolError>>;

    /// Gives a claimed execution back until `due`: it can be claimed again then, or once it is woken; at once, where it was
    /// told something after the sequence `heard_until`.
    ///
    /// # Errors
    /// [`SpoolError`]; the caller still has it then.
    fn park(
        &self,
        execution: ExecutionName,
        due: Timestamp,
        heard_until: u64,
    ) -> BoxFuture<'_, Result<(), SpoolError>>;

    /// Makes an execution due that is parked. Others are left as they are.
    ///
    /// # Errors
    /// [`SpoolError`].
    fn wake(&self, execution: &ExecutionName) -> BoxFuture<'_, Result<(), SpoolError>>;

    /// Makes an execution due that is to be ended, whether it is parked or waits for its turn: it is claimed next, and beyond
    /// what its workflow has room for where [`Admission::is_to_end`] says so. Says what is here of it.
    ///
    /// # Errors
    /// [`SpoolError`].
    fn summon(&self, execution: &ExecutionName) -> BoxFuture<'_, Result<Summoned, SpoolError>>;

    /// Whether an execution of this name was accepted, and is remembered.
    ///
    /// # Errors
    /// [`SpoolError`].
    fn knows(&self, execution: &ExecutionName) -> BoxFuture<'_, Result<bool, SpoolError>>;

    /// When the first parked execution is due; changes wake whoever claims.
    fn next_due(&self) -> watch::Receiver<Option<Timestamp>>;

    /// Records with a sequence greater than `after`, in order: at most `max_records`, and no more after `max_bytes`
    /// (but at least one, if there is one).
    ///
    /// # Errors
    /// [`SpoolError`].
    fn unreported(
        &self,
        after: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> BoxFuture<'_, Result<Vec<SequencedRecord>, SpoolError>>;

    /// The highest durable sequence; changes wake whoever reports.
    fn head(&self) -> watch::Receiver<u64>;

    /// Notes that the control plane has every record up to `sequence`, and frees what is no longer needed: a record goes
    /// when it is reported and its execution has ended.
    ///
    /// # Errors
    /// [`SpoolError`].
    fn trim(&self, sequence: u64) -> BoxFuture<'_, Result<(), SpoolError>>;

    /// Sizes, for readiness and metrics.
    fn stats(&self) -> SpoolStats;

    /// Why the spool failed, if it did: it stays so until a restart.
    fn failure(&self) -> Option<String>;
}

/// What facts of one execution mean for others.
#[derive(Clone, Debug, Default)]
pub struct Along {
    /// Executions that they start, each with its parent. Where one of this name has ended, or was made from something else,
    /// the parent is told of a failure, if it waits: nothing is known of that one any more.
    pub begins: Vec<Accept>,
    /// Facts that executions are told by them ([`Fact::is_told`]), but for those that have ended.
    ///
    /// [`Fact::is_told`]: signalbox_model::execution::Fact::is_told
    pub tells: Vec<Record>,
    /// The facts say only that attempts are repeated which the end of a process has interrupted: the execution is where it was.
    pub only_repeats: bool,
}

/// Says how many more executions of a workflow may run.
pub trait Admission: Send + Sync {
    /// Of the workflow of this name; of what an earlier version of Signalbox accepted, the name is empty.
    fn room(&self, workflow: &str) -> usize;

    /// How many of them at once, so that others find places, too.
    fn places(&self, _workflow: &str) -> usize {
        usize::MAX
    }

    /// Whether the execution of this name is claimed only to be ended: then it needs no room.
    fn is_to_end(&self, _execution: &str) -> bool {
        false
    }
}

/// As many as there are.
struct Anyone;

impl Admission for Anyone {
    fn room(&self, _workflow: &str) -> usize {
        usize::MAX
    }
}

/// An event to accept.
#[derive(Clone, Debug)]
pub struct Accept {
    /// The event and the execution that it makes. The execution's name is the deduplication key.
    pub accepted: Accepted,
    /// Where the event's scope is.
    pub scope: ScopeSource,
    /// SHA-256 or BLAKE3 over what identifies the content (of an Amazon SNS message: the signed string), so that the
    /// same id with other content is told apart from a copy.
    pub content_digest: [u8; 32],
    /// Certificate that verified it.
    pub certificate: Option<Arc<Certificate>>,
    /// Definition of the version that is to run: an encoded `signalbox.v1.WorkflowSpec`.
    pub definition: Definition,
    /// Type of the message, for the record of its delivery. None for manual runs: nothing was delivered.
    pub message_type: Option<String>,
    /// W3C traceparent of the request.
    pub traceparent: Option<String>,
    /// Copies are recognised until then, at least.
    pub deduplicate_until: Timestamp,
}

/// Where the scope of an event to accept is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScopeSource {
    /// In the event.
    Event,
    /// In the event's body, an Amazon SNS envelope: it is read from there when it is needed, and what stands in the event
    /// is [`EventScope::unread`].
    Envelope,
}

/// Reads the scope from an envelope that was accepted: it parsed once already.
pub type ReadScope = fn(&[u8]) -> Result<EventScope, String>;

/// A definition, and what tells it from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Definition {
    /// An encoded `signalbox.v1.WorkflowSpec`.
    pub source: Bytes,
    /// BLAKE3 of it: a workflow that was deleted and made again has a version 1 again, and another one.
    pub digest: [u8; 32],
}

impl From<Bytes> for Definition {
    fn from(source: Bytes) -> Self {
        let digest = *blake3::hash(&source).as_bytes();
        Self { source, digest }
    }
}

/// `d` and a UUIDv7 of its time, so that ids sort by time.
pub(crate) fn delivery_id(at: Timestamp) -> DeliveryId {
    let seconds = u64::try_from(at.as_second()).unwrap_or_default();
    let nanoseconds = u32::try_from(at.subsec_nanosecond()).unwrap_or_default();
    let at = uuid::Timestamp::from_unix(uuid::NoContext, seconds, nanoseconds);
    let text = format!("d{}", uuid::Uuid::new_v7(at).simple());
    match text.parse() {
        Ok(id) => id,
        Err(_) => unreachable!("a letter and 32 hex digits are an id"),
    }
}

/// The record of a delivery that was accepted, or was a copy of one that was.
fn delivery_of(accepted: &Accepted, message_type: String, verdict: Verdict) -> Delivery {
    let event = &accepted.event;
    let (reason, detail) = match verdict {
        Verdict::Duplicate => ("duplicate", "an earlier copy of this message was accepted"),
        _ => ("", ""),
    };
    Delivery {
        id: delivery_id(event.received_at),
        workflow: accepted.workflow.clone(),
        verdict,
        reason: reason.to_owned(),
        detail: detail.to_owned(),
        http_status: 200,
        message_type,
        message_id: event.scope.message_id.clone(),
        topic_arn: event.scope.topic_arn.clone().unwrap_or_default(),
        source_address: event.source_address.clone().unwrap_or_default(),
        execution: Some(accepted.execution.clone()),
    }
}

/// What became of an [`Accept`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acceptance {
    /// It is durable, and its execution will run.
    New,
    /// An earlier copy is durable.
    Duplicate,
    /// An earlier event with this id has other content. Nothing was written.
    Conflict,
}

/// What became of a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It is durable, and whoever claimed the execution may not know.
    Claimed,
    /// It is durable, and whoever claims the execution will know: at once, if it was parked.
    Unclaimed,
    /// The execution has ended, or there is none. Nothing was written.
    Gone,
}

/// What is here of an execution that is to be ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Summoned {
    /// It has not ended.
    Here,
    /// It has ended, and its end is not reported yet.
    Ended,
    /// Nothing: it was never here, its end is reported, or it was lost.
    Unknown,
}

/// A SubscriptionConfirmation that is to be confirmed. Its `Debug` shows no token.
#[derive(Clone, PartialEq, Eq)]
pub struct Handshake {
    /// Workflow that is subscribed.
    pub workflow: WorkflowName,
    /// Topic, signed.
    pub topic_arn: String,
    /// Token, signed. A capability: never logged, never reported.
    pub token: String,
    /// Whose word its certificate is, `aws` or a trusted origin: where the confirmation goes.
    pub certificate_origin: String,
    /// When the message was received.
    pub received_at: Timestamp,
    /// Attempts so far.
    pub attempts: u32,
}

impl std::fmt::Debug for Handshake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handshake")
            .field("workflow", &self.workflow)
            .field("topic_arn", &self.topic_arn)
            .field("attempts", &self.attempts)
            .finish_non_exhaustive()
    }
}

/// An execution to run or to go on with.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// What made it.
    pub accepted: Accepted,
    /// Definition that it runs: an encoded `signalbox.v1.WorkflowSpec`.
    pub definition: Bytes,
    /// W3C traceparent of the request that made it.
    pub traceparent: Option<String>,
    /// What it has journalled, in order; empty for a new one.
    pub journal: Vec<Record>,
    /// Sequence of the last of it; 0 for a new one.
    pub journal_until: u64,
    /// How often in a row the process ended without its own doing (killed, out of memory) while somebody had claimed it, and it
    /// journalled nothing between these ends but repeats ([`Along::only_repeats`]).
    pub interruptions: u32,
}

/// Sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpoolStats {
    /// Executions that have not ended.
    pub unfinished_executions: u64,
    /// Those of them that wait for a time, and are not in memory.
    pub parked_executions: u64,
    /// Records that the control plane does not have.
    pub unreported_records: u64,
    /// Size on disk of what has not ended, or is not reported, and of what is written of the intake log.
    pub used_bytes: u64,
    /// Size on disk of what is remembered of the rest, so that copies are recognised.
    pub remembered_bytes: u64,
    /// [`SpoolStats::used_bytes`] beyond which [`Spool::accept`] refuses.
    pub max_bytes: u64,
    /// The disk has no room: what needs some waits, and is tried again until there is.
    pub disk_full: bool,
}

/// Why the spool did nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpoolError {
    /// At its limit, or the disk is: reports and finished executions make room, or the operator does.
    #[error("the spool is full")]
    Full,
    /// Too much is queued for the disk.
    #[error("the spool is overloaded")]
    Overloaded,
    /// Shutting down.
    #[error("the spool is closed")]
    Closed,
    /// The disk or the store failed; nothing further is accepted until a restart.
    #[error("the spool failed: {0}")]
    Failed(String),
}

#[cfg(test)]
mod tests;
