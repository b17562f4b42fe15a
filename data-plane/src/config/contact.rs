//! Whether the node hears its control plane, and so knows all that there is.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use tokio::time::Instant;

/// How long the Sync stream may be away until what the node does not know may be what it was not told.
pub const GRACE: Duration = Duration::from_secs(5);

const IN_TOUCH: u64 = u64::MAX;

/// The node's touch with its control plane. Read by every request that shows what is not known: one atomic number.
#[derive(Debug)]
pub struct Contact {
    began: Instant,
    /// When it is, or was, lost, in milliseconds since `began`.
    lost_at_ms: AtomicU64,
}

impl Contact {
    /// Without touch: nobody knows for how long a process that starts was away.
    pub(super) fn new() -> Self {
        Self {
            began: Instant::now(),
            lost_at_ms: AtomicU64::new(0),
        }
    }

    /// The node knows all that there is, and will be told of changes.
    pub fn regained(&self) {
        self.lost_at_ms.store(IN_TOUCH, Ordering::Release);
    }

    /// It will not be told of changes any more, from `after` this moment on, unless it was so before.
    pub fn lost(&self, after: Duration) {
        let at_ms = self.now_ms().saturating_add(ms(after));
        self.lost_at_ms.fetch_min(at_ms, Ordering::AcqRel);
    }

    /// Whether there may be more than the node knows: what it does not know is for another node, or later (invariant I4).
    #[must_use]
    pub fn is_lost(&self) -> bool {
        let at_ms = self.lost_at_ms.load(Ordering::Acquire);
        at_ms != IN_TOUCH && at_ms <= self.now_ms()
    }

    fn now_ms(&self) -> u64 {
        ms(self.began.elapsed())
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(IN_TOUCH - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn touch_is_lost_some_time_after_the_first_loss_until_it_is_regained() {
        let contact = Contact::new();
        assert!(contact.is_lost(), "at the start");
        contact.regained();
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert!(!contact.is_lost());
        contact.lost(GRACE);
        tokio::time::advance(Duration::from_secs(4)).await;
        assert!(!contact.is_lost());
        // An attempt to connect that fails, too.
        contact.lost(GRACE);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(contact.is_lost());
        contact.regained();
        assert!(!contact.is_lost());
        contact.lost(GRACE);
        contact.lost(Duration::ZERO);
        assert!(contact.is_lost());
    }
}
