//! How much of something is in use, and no more than there is: one atomic number, and who finds too little left does not wait.

use std::sync::atomic::{AtomicUsize, Ordering};

/// So much is in use.
#[derive(Debug, Default)]
pub struct InUse(AtomicUsize);

impl InUse {
    /// Takes `more` of `max`; false: so much is not left, and nothing was taken.
    #[must_use]
    pub fn take(&self, more: usize, max: usize) -> bool {
        let taken = |used: usize| used.checked_add(more).filter(|used| *used <= max);
        let update = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, taken);
        update.is_ok()
    }

    /// Gives back what was taken.
    pub fn give_back(&self, taken: usize) {
        self.0.fetch_sub(taken, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_taken_than_there_is() {
        let in_use = InUse::default();
        assert!(in_use.take(7, 10) && in_use.take(3, 10));
        assert!(!in_use.take(1, 10) && in_use.take(0, 10));
        in_use.give_back(3);
        assert!(!in_use.take(4, 10) && !in_use.take(usize::MAX, usize::MAX));
        assert!(in_use.take(3, 10));
        in_use.give_back(10);
        assert!(in_use.take(10, 10));
    }

    #[test]
    fn threads_take_no_more_than_there_is() {
        let in_use = InUse::default();
        let taken: usize = std::thread::scope(|scope| {
            let take = || (0..1000).filter(|_| in_use.take(3, 1000)).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or(0))
                .sum()
        });
        assert_eq!(taken, 333);
    }
}
