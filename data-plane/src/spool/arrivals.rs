//! Who is on the way to the committer, so that those who come together are made durable together.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::Thread,
    time::{Duration, Instant},
};

/// Counts events on their way, and those of them that wait in the queue; wakes whoever waits for all to be there.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    arriving: AtomicUsize,
    queued: AtomicUsize,
    gathering: AtomicBool,
    waiter: OnceLock<Thread>,
}

impl Arrivals {
    /// One more is on its way, until what is returned is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Arriving {
        self.arriving.fetch_add(1, Ordering::Relaxed);
        Arriving(self.clone())
    }

    /// One is about to be queued.
    pub(super) fn queue(&self) {
        self.queued.fetch_add(1, Ordering::Relaxed);
    }

    /// One could not be queued after all, or was taken.
    pub(super) fn unqueue(&self) {
        self.queued.fetch_sub(1, Ordering::Relaxed);
    }

    /// Waits until all that are on their way are queued, or `enough` are; at most `limit`. For one thread, always the same.
    pub(super) fn gather(&self, enough: usize, limit: Duration) {
        if self.are_here(enough) || limit.is_zero() {
            return;
        }
        self.waiter.get_or_init(std::thread::current);
        let started = Instant::now();
        self.gathering.store(true, Ordering::SeqCst);
        while !self.are_here(enough) {
            let left = limit.saturating_sub(started.elapsed());
            if left.is_zero() {
                break;
            }
            std::thread::park_timeout(left);
        }
        self.gathering.store(false, Ordering::Relaxed);
    }

    fn are_here(&self, enough: usize) -> bool {
        let queued = self.queued.load(Ordering::SeqCst);
        queued >= enough || self.arriving.load(Ordering::SeqCst) <= queued
    }

    /// One was queued, or is not on its way any more: the waiter may have waited for it alone.
    pub(super) fn look(&self) {
        // A wake that is missed costs no more than the waiter's limit.
        if self.gathering.load(Ordering::SeqCst)
            && self.are_here(usize::MAX)
            && let Some(waiter) = self.waiter.get()
        {
            waiter.unpark();
        }
    }
}

/// An event that may be on its way, or waits to be durable.
#[derive(Debug)]
pub struct Arriving(Arc<Arrivals>);

impl Drop for Arriving {
    fn drop(&mut self) {
        self.0.arriving.fetch_sub(1, Ordering::Relaxed);
        self.0.look();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Long enough to be told apart from a wait that was ended.
    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn whoever_comes_alone_is_not_waited_for() {
        let arrivals = Arc::new(Arrivals::default());
        let _one = arrivals.begin();
        arrivals.queue();
        let started = Instant::now();
        arrivals.gather(10, LONG);
        assert!(started.elapsed() < LONG);
    }

    #[test]
    fn the_last_to_come_and_the_last_to_turn_back_end_the_wait() {
        for turns_back in [false, true] {
            let arrivals = Arc::new(Arrivals::default());
            let (_one, other) = (arrivals.begin(), arrivals.begin());
            arrivals.queue();
            let waiting = std::thread::spawn({
                let arrivals = arrivals.clone();
                move || {
                    let started = Instant::now();
                    arrivals.gather(10, LONG);
                    started.elapsed()
                }
            });
            while !arrivals.gathering.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            if turns_back {
                drop(other);
            } else {
                arrivals.queue();
                arrivals.look();
            }
            assert!(waiting.join().is_ok_and(|took| took < LONG));
        }
    }

    #[test]
    fn enough_are_not_made_to_wait_for_more_and_nobody_for_longer_than_the_limit() {
        let arrivals = Arc::new(Arrivals::default());
        let _on_their_way: Vec<_> = (0..3).map(|_| arrivals.begin()).collect();
        arrivals.queue();
        let started = Instant::now();
        arrivals.gather(1, LONG);
        assert!(started.elapsed() < LONG);
        arrivals.gather(2, Duration::from_millis(5));
        assert!(started.elapsed() >= Duration::from_millis(5));
    }
}
