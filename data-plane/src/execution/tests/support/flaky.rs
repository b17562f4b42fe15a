//! A spool that refuses to journal, or is cut off.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use jiff::Timestamp;
use signalbox_model::{
    ids::ExecutionName,
    record::{Delivery, Record, SequencedRecord, SubscriptionChange},
    signal::Signal,
};
use tokio::sync::{Notify, watch};

use crate::spool::{
    Accept, Acceptance, Admission, Along, Claimed, Handshake, Spool, SpoolError, SpoolStats,
    SqliteSpool, Summoned, Told,
};

/// Refuses the first `times` requests to journal with `error`; passes on everything else.
pub(crate) struct Flaky {
    inner: Arc<SqliteSpool>,
    error: SpoolError,
    times: usize,
    refused: AtomicUsize,
    woken: Notify,
    cut: Option<Cut>,
}

/// Where it is cut off, as by the end of the process: from then on nothing is journalled, and nobody hears of it.
struct Cut {
    /// Requests to journal that are answered.
    after: usize,
    /// Whether the next one is written even so.
    is_written: bool,
    seen: AtomicUsize,
}

impl Flaky {
    pub(crate) fn new(inner: Arc<SqliteSpool>, error: SpoolError, times: usize) -> Arc<Self> {
        Arc::new(Self {
            inner,
            error,
            times,
            refused: AtomicUsize::new(0),
            woken: Notify::new(),
            cut: None,
        })
    }

    /// One that passes on `after` requests to journal, and none after these; the next is written where `is_written`.
    pub(crate) fn cut(inner: Arc<SqliteSpool>, after: usize, is_written: bool) -> Arc<Self> {
        Arc::new(Self {
            inner,
            error: SpoolError::Overloaded,
            times: 0,
            refused: AtomicUsize::new(0),
            woken: Notify::new(),
            cut: Some(Cut {
                after,
                is_written,
                seen: AtomicUsize::new(0),
            }),
        })
    }

    /// Until it is cut off.
    pub(crate) async fn was_cut(&self) {
        self.woken.notified().await;
    }

    pub(crate) fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }

    pub(crate) async fn was_refused(&self) {
        let woken = self.woken.notified();
        let woken = tokio::time::timeout(super::PATIENCE, woken).await;
        woken.expect("nothing was journalled");
    }
}

impl Spool for Flaky {
    fn journal_along(
        &self,
        execution: ExecutionName,
        records: Vec<Record>,
        ended: bool,
        along: Along,
    ) -> BoxFuture<'_, Result<Vec<ExecutionName>, SpoolError>> {
        if let Some(cut) = &self.cut {
            let seen = cut.seen.fetch_add(1, Ordering::SeqCst);
            if seen >= cut.after {
                let is_written = seen == cut.after && cut.is_written;
                let journalled = self.inner.journal_along(execution, records, ended, along);
                return async move {
                    if is_written {
                        journalled.await?;
                    }
                    self.woken.notify_one();
                    Err(SpoolError::Closed)
                }
                .boxed();
            }
        }
        if self.refused() < self.times {
            self.refused.fetch_add(1, Ordering::SeqCst);
            self.woken.notify_one();
            return futures::future::ready(Err(self.error.clone())).boxed();
        }
        self.inner.journal_along(execution, records, ended, along)
    }

    fn incarnation(&self) -> &str {
        self.inner.incarnation()
    }
    fn accept(&self, accept: Accept) -> BoxFuture<'_, Result<Acceptance, SpoolError>> {
        self.inner.accept(accept)
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
        self.inner.summon(execution)
    }

    fn knows(&self, execution: &ExecutionName) -> BoxFuture<'_, Result<bool, SpoolError>> {
        self.inner.knows(execution)
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
