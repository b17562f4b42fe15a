//! What a connection does, as far as its end depends on it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// When a connection last had a request. The HTTP library bounds the time of a head, but neither the silence before the
/// first byte (it waits to see which protocol it is) nor an HTTP/2 connection without streams.
pub(super) struct Activity {
    since: Instant,
    requests: AtomicUsize,
    last_ms: AtomicU64,
    evicted: CancellationToken,
}

impl Activity {
    pub(super) fn new() -> Self {
        Self {
            since: Instant::now(),
            requests: AtomicUsize::new(0),
            last_ms: AtomicU64::new(0),
            evicted: CancellationToken::new(),
        }
    }

    pub(super) fn begin(self: &Arc<Self>) -> Busy {
        self.requests.fetch_add(1, Ordering::AcqRel);
        Busy(Arc::clone(self))
    }

    /// How long there was no request; none: there is one.
    pub(super) fn quiet(&self) -> Option<Duration> {
        let last = Duration::from_millis(self.last_ms.load(Ordering::Acquire));
        let busy = self.requests.load(Ordering::Acquire) > 0;
        (!busy).then(|| self.since.elapsed().saturating_sub(last))
    }

    /// Completes when there was no request for `limit`.
    pub(super) async fn idle(&self, limit: Duration) {
        loop {
            let left = match self.quiet() {
                Some(quiet) if quiet >= limit => return,
                Some(quiet) => limit - quiet,
                None => limit,
            };
            tokio::time::sleep(left.max(Duration::from_millis(10))).await;
        }
    }

    /// Asks the connection to make room.
    pub(super) fn evict(&self) {
        self.evicted.cancel();
    }

    pub(super) fn is_evicted(&self) -> bool {
        self.evicted.is_cancelled()
    }

    /// Completes when the connection must make room.
    pub(super) async fn evicted(&self) {
        self.evicted.cancelled().await;
    }
}

/// A request under way.
pub(super) struct Busy(Arc<Activity>);

impl Drop for Busy {
    fn drop(&mut self) {
        let now_ms = u64::try_from(self.0.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.last_ms.fetch_max(now_ms, Ordering::AcqRel);
        self.0.requests.fetch_sub(1, Ordering::AcqRel);
    }
}
