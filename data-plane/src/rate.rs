//! Token buckets: how many requests are taken, how many refusals recorded. Each is one atomic number (governor's GCRA):
//! no lock, no allocation, no upkeep.

use std::{num::NonZeroU32, time::Duration};

use governor::{
    Quota, RateLimiter,
    clock::Clock,
    middleware::NoOpMiddleware,
    state::{InMemoryState, NotKeyed},
};
use signalbox_model::rate_limit::RateLimit;
use tokio::time::Instant;

/// The quota of a rate limit.
#[must_use]
pub fn quota(limit: RateLimit) -> Quota {
    Quota::per_second(limit.events_per_second()).allow_burst(limit.burst())
}

/// A quota of ours; at least one of each.
#[must_use]
pub const fn fixed(per_second: u32, burst: u32) -> Quota {
    const fn some(number: u32) -> NonZeroU32 {
        match NonZeroU32::new(number) {
            Some(number) => number,
            None => NonZeroU32::MIN,
        }
    }
    Quota::per_second(some(per_second)).allow_burst(some(burst))
}

/// Time that only passes, as the runtime knows it: it stands still where the runtime's does.
#[derive(Clone, Debug)]
pub struct Passing {
    since: Instant,
}

impl Clock for Passing {
    type Instant = Duration;

    fn now(&self) -> Duration {
        self.since.elapsed()
    }
}

/// A token bucket, full at first.
#[derive(Debug)]
pub struct Bucket<C: Clock = Passing> {
    quota: Quota,
    limiter: RateLimiter<NotKeyed, InMemoryState, C, NoOpMiddleware<C::Instant>>,
}

impl Bucket {
    /// On the clock of the runtime, which never goes back.
    #[must_use]
    pub fn new(quota: Quota) -> Self {
        let since = Instant::now();
        Self::with_clock(quota, Passing { since })
    }
}

impl<C: Clock> Bucket<C> {
    /// On another clock.
    #[must_use]
    pub fn with_clock(quota: Quota, clock: C) -> Self {
        Self {
            quota,
            limiter: RateLimiter::direct_with_clock(quota, clock),
        }
    }

    /// Its rate and burst.
    #[must_use]
    pub fn quota(&self) -> Quota {
        self.quota
    }

    /// Takes a token.
    ///
    /// # Errors
    /// How long it takes until there is one again, when there is none.
    pub fn take(&self) -> Result<(), Duration> {
        self.limiter
            .check()
            .map_err(|until| until.wait_time_from(self.limiter.clock().now()))
    }
}

#[cfg(test)]
mod tests {
    use governor::clock::FakeRelativeClock;

    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_and_then_its_rate() {
        let clock = FakeRelativeClock::default();
        let bucket = Bucket::with_clock(fixed(2, 3), clock.clone());
        let taken = || (0..10).filter(|_| bucket.take().is_ok()).count();
        assert_eq!(taken(), 3);
        assert_eq!(bucket.take(), Err(Duration::from_millis(500)));
        clock.advance(Duration::from_millis(100));
        assert_eq!(bucket.take(), Err(Duration::from_millis(400)));
        clock.advance(Duration::from_millis(900));
        assert_eq!(taken(), 2);
        clock.advance(Duration::from_secs(100));
        assert_eq!(taken(), 3, "no more than the burst is saved up");
    }

    #[test]
    fn the_highest_limits_are_kept_exactly() {
        let clock = FakeRelativeClock::default();
        let bucket = Bucket::with_clock(fixed(1_000_000, 1), clock.clone());
        let mut taken = 0;
        for _ in 0..10_000 {
            clock.advance(Duration::from_nanos(250));
            taken += u32::from(bucket.take().is_ok());
        }
        assert_eq!(taken, 2500);
    }

    #[test]
    fn threads_take_no_more_than_there_is() {
        let bucket = Bucket::with_clock(fixed(1, 1000), FakeRelativeClock::default());
        let taken: usize = std::thread::scope(|scope| {
            let take = || (0..1000).filter(|_| bucket.take().is_ok()).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or(0))
                .sum()
        });
        assert_eq!(taken, 1000);
    }
}
