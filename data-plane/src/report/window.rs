//! What was sent and not yet acknowledged.

use std::collections::VecDeque;

use tokio::time::Instant;

/// Batches under way, by their last sequence.
#[derive(Debug)]
pub(super) struct Window {
    sent: u64,
    acknowledged: u64,
    batches: VecDeque<(u64, Instant)>,
    batches_max: usize,
}

impl Window {
    pub(super) fn new(durable: u64, batches_max: usize) -> Self {
        Self {
            sent: durable,
            acknowledged: durable,
            batches: VecDeque::with_capacity(batches_max),
            batches_max,
        }
    }

    /// Highest sequence sent.
    pub(super) fn sent(&self) -> u64 {
        self.sent
    }

    /// Whether another batch may be sent.
    pub(super) fn has_room(&self) -> bool {
        self.batches.len() < self.batches_max
    }

    /// When the oldest unacknowledged batch was sent.
    pub(super) fn oldest(&self) -> Option<Instant> {
        self.batches.front().map(|(_, sent)| *sent)
    }

    pub(super) fn sent_up_to(&mut self, last: u64) {
        self.sent = last;
        self.batches.push_back((last, Instant::now()));
    }

    /// Notes an acknowledgement; gives up to where to trim, when it brought anything new. More than was sent is never
    /// believed: trimming by it would drop what the control plane does not have.
    pub(super) fn acknowledged(&mut self, durable: u64) -> Option<u64> {
        let durable = durable.min(self.sent);
        if durable <= self.acknowledged {
            return None;
        }
        self.acknowledged = durable;
        while self
            .batches
            .front()
            .is_some_and(|(last, _)| *last <= durable)
        {
            self.batches.pop_front();
        }
        Some(durable)
    }
}

#[cfg(test)]
mod tests {
    use super::Window;

    #[test]
    fn batches_leave_the_window_as_they_are_acknowledged() {
        let mut window = Window::new(10, 2);
        window.sent_up_to(15);
        assert!(window.has_room());
        window.sent_up_to(20);
        assert!(!window.has_room());
        assert_eq!(window.acknowledged(17), Some(17));
        assert!(window.has_room());
        assert_eq!(window.acknowledged(17), None);
        assert_eq!(window.acknowledged(99), Some(20), "no more than was sent");
        assert!(window.oldest().is_none());
        assert_eq!(window.acknowledged(99), None);
    }
}
