//! The one reconnect policy of both planes: exponential, jittered, bounded, endless.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// First delay of [`Backoff::reconnect`], before jitter.
pub const RECONNECT_MIN: Duration = Duration::from_millis(200);

/// Longest delay of [`Backoff::reconnect`], before jitter.
pub const RECONNECT_MAX: Duration = Duration::from_secs(15);

/// The policy as a `backon` builder: doubles from `min` to `max`, without end; jitter adds up to
/// the delay again, so that nodes that lost one control plane do not come back in step.
///
/// The seed is drawn here because `backon` without its `std` feature jitters every process alike.
#[must_use]
pub fn exponential(min: Duration, max: Duration) -> ExponentialBuilder {
    seeded(min, max, rand::random())
}

fn seeded(min: Duration, max: Duration, seed: u64) -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_factor(2.0)
        .with_min_delay(min)
        .with_max_delay(max)
        .with_jitter()
        .with_jitter_seed(seed)
        .without_max_times()
}

/// The delays of one connection: take the next after a failure, reset after a success.
#[derive(Debug)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    seed: u64,
    delays: ExponentialBackoff,
}

impl Backoff {
    /// Delays from `min` to `max`, each with up to as much again of jitter.
    #[must_use]
    pub fn new(min: Duration, max: Duration) -> Self {
        Self::seeded(min, max, rand::random())
    }

    /// The same, with jitter that `seed` determines.
    #[must_use]
    pub fn seeded(min: Duration, max: Duration, seed: u64) -> Self {
        let delays = seeded(min, max, seed).build();
        Self {
            min,
            max,
            seed,
            delays,
        }
    }

    /// The policy for the streams between the planes: 200 ms to 15 s, so at most 30 s with jitter.
    #[must_use]
    pub fn reconnect() -> Self {
        Self::new(RECONNECT_MIN, RECONNECT_MAX)
    }

    /// The same, with jitter that `seed` determines.
    #[must_use]
    pub fn reconnect_seeded(seed: u64) -> Self {
        Self::seeded(RECONNECT_MIN, RECONNECT_MAX, seed)
    }

    /// How long to wait before the next attempt.
    pub fn next_delay(&mut self) -> Duration {
        // The policy never ends; `max` is what it would say at its end.
        self.delays.next().unwrap_or(self.max)
    }

    /// Begins again at the shortest delay. Call it once a connection has proved to work, not when
    /// it was merely accepted, or a server that closes at once is called in a tight loop.
    pub fn reset(&mut self) {
        // Other jitter than before, or the same pauses would come each time.
        self.seed = self
            .seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        self.delays = seeded(self.min, self.max, self.seed).build();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_to_the_bound_and_never_end() {
        let mut backoff = Backoff::reconnect();
        let delays: Vec<_> = (0..200).map(|_| backoff.next_delay()).collect();
        for (attempt, delay) in delays.iter().enumerate() {
            let doubled = RECONNECT_MIN * 2_u32.pow(u32::try_from(attempt.min(10)).unwrap_or(10));
            let base = doubled.min(RECONNECT_MAX);
            assert!(*delay >= base, "attempt {attempt}: {delay:?} < {base:?}");
            assert!(
                *delay <= base * 2,
                "attempt {attempt}: {delay:?} > 2 × {base:?}"
            );
        }
    }

    #[test]
    fn reset_begins_again() {
        let mut backoff = Backoff::reconnect();
        for _ in 0..20 {
            backoff.next_delay();
        }
        backoff.reset();
        assert!(backoff.next_delay() <= RECONNECT_MIN * 2);
    }

    #[test]
    fn the_same_seed_gives_the_same_delays() {
        let delays = |seed| -> Vec<_> {
            let mut backoff = Backoff::reconnect_seeded(seed);
            let mut all: Vec<_> = (0..8).map(|_| backoff.next_delay()).collect();
            backoff.reset();
            all.extend((0..8).map(|_| backoff.next_delay()));
            all
        };
        assert_eq!(delays(7), delays(7));
        assert_ne!(delays(7), delays(8));
        assert_ne!(delays(7)[..8], delays(7)[8..], "a reset draws anew");
    }

    #[test]
    fn two_processes_do_not_keep_step() {
        let delays = || -> Vec<_> {
            let mut backoff = Backoff::reconnect();
            (0..8).map(|_| backoff.next_delay()).collect()
        };
        assert_ne!(delays(), delays());
    }
}
