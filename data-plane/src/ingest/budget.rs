//! How many refusals are recorded. Beyond it they are only counted, so that nobody can fill a node's spool with them.

use std::sync::{Mutex, PoisonError};

use tokio::time::Instant;

/// Refusals of callers without a live key: a second, and at once.
const STRANGERS: (f64, f64) = (10.0, 100.0);
/// Refusals of callers with one.
const CALLERS: (f64, f64) = (200.0, 2000.0);

/// Two budgets, so that strangers cannot use up that of callers.
#[derive(Debug)]
pub struct Budget {
    strangers: Mutex<Bucket>,
    callers: Mutex<Bucket>,
}

impl Default for Budget {
    fn default() -> Self {
        let now = Instant::now();
        Self {
            strangers: Mutex::new(Bucket::new(STRANGERS, now)),
            callers: Mutex::new(Bucket::new(CALLERS, now)),
        }
    }
}

impl Budget {
    /// Whether one more refusal may be recorded.
    pub(super) fn take(&self, has_key: bool) -> bool {
        let bucket = if has_key {
            &self.callers
        } else {
            &self.strangers
        };
        bucket
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(Instant::now())
    }
}

/// A token bucket.
#[derive(Debug)]
struct Bucket {
    per_second: f64,
    burst: f64,
    tokens: f64,
    filled_at: Instant,
}

impl Bucket {
    fn new((per_second, burst): (f64, f64), now: Instant) -> Self {
        Self {
            per_second,
            burst,
            tokens: burst,
            filled_at: now,
        }
    }

    fn take(&mut self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.filled_at);
        self.filled_at = now;
        self.tokens = (self.tokens + elapsed.as_secs_f64() * self.per_second).min(self.burst);
        let has = self.tokens >= 1.0;
        if has {
            self.tokens -= 1.0;
        }
        has
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let start = Instant::now();
        let mut bucket = Bucket::new((2.0, 3.0), start);
        let taken = |bucket: &mut Bucket, at| (0..10).filter(|_| bucket.take(at)).count();
        assert_eq!(taken(&mut bucket, start), 3);
        assert_eq!(taken(&mut bucket, start + Duration::from_secs(1)), 2);
        assert_eq!(taken(&mut bucket, start + Duration::from_secs(100)), 3);
    }

    #[test]
    fn strangers_do_not_use_up_the_budget_of_callers() {
        let budget = Budget::default();
        let recorded = (0..100_000).filter(|_| budget.take(false)).count();
        assert!((100..100_000).contains(&recorded), "{recorded}");
        assert!(budget.take(true));
    }
}
