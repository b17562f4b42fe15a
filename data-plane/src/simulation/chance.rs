//! What one seed determines: every draw, and the time of day.

use std::{
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use rand::{Rng as _, RngExt as _, SeedableRng as _, rngs::SmallRng};
use signalbox_runtime::ambient::Ambient;
use tokio::time::Instant;

/// The draws of one seed. Clones draw from the same.
#[derive(Clone, Debug)]
pub(super) struct Chance(Arc<Mutex<SmallRng>>);

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(SmallRng::seed_from_u64(seed))))
    }

    fn draw<T>(&self, draw: impl FnOnce(&mut SmallRng) -> T) -> T {
        draw(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn of(&self, range: Range<u64>) -> u64 {
        self.draw(|random| random.random_range(range))
    }

    pub(super) fn ms(&self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.of(range))
    }

    pub(super) fn flip(&self, probability: f64) -> bool {
        self.draw(|random| random.random_bool(probability))
    }

    pub(super) fn bits(&self) -> u64 {
        self.draw(|random| random.next_u64())
    }
}

/// The time of day of the simulated node: it passes with the runtime's, and can be set.
#[derive(Debug)]
pub(super) struct Day {
    base: Timestamp,
    began: Instant,
    set_by_ms: AtomicI64,
    chance: Chance,
}

/// The time at which every simulation begins.
pub(super) fn base() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap_or(Timestamp::UNIX_EPOCH)
}

impl Day {
    pub(super) fn new(chance: Chance) -> Self {
        Self {
            base: base(),
            began: Instant::now(),
            set_by_ms: AtomicI64::new(0),
            chance,
        }
    }

    /// Sets the clock to so much before or after the true time.
    pub(super) fn set(&self, by: SignedDuration) {
        let ms = i64::try_from(by.as_millis()).unwrap_or(0);
        self.set_by_ms.store(ms, Ordering::Relaxed);
    }
}

impl Ambient for Day {
    fn now(&self) -> Timestamp {
        let set_by = SignedDuration::from_millis(self.set_by_ms.load(Ordering::Relaxed));
        let passed = SignedDuration::try_from(self.began.elapsed()).unwrap_or_default();
        self.base + passed + set_by
    }

    fn random(&self) -> u64 {
        self.chance.bits()
    }
}
