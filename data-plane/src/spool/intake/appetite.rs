//! How much of the log the store is given at a time: whatever there is while it has room; on a disk that is nearly full no more
//! than leaves room for what it has already. Journals, reports and what forgets them are what makes room again.

use std::time::Duration;

use tokio::time::Instant;

use crate::spool::sqlite::Room;

/// What one execution is reckoned to journal until its end, in bytes: so much is left for each that has not ended.
const JOURNAL_BYTES: u64 = 16 * 1024;
/// The least that is left for one that waits in the store. Two facts end one that only waited, and take some 700 bytes.
const PARKED_MIN_BYTES: u64 = 2 * 1024;
/// How long until the store is asked again after it found no room where its disk had said that there is some: when it has
/// nothing else to do, and when it has.
const IDLE_RETRY: Duration = Duration::from_secs(1);
const BUSY_RETRY: Duration = Duration::from_secs(10);

/// How the store stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub(super) room: Room,
    /// Executions that have not ended.
    pub(super) unfinished: u64,
    /// Those of them that wait for a time.
    pub(super) parked: u64,
    /// Bytes of what it holds.
    pub(super) used_bytes: u64,
    /// Records that are not reported.
    pub(super) unreported: u64,
}

impl Standing {
    /// Nothing that it has will make room.
    fn is_idle(&self) -> bool {
        self.unfinished == 0 && self.unreported == 0
    }

    /// Bytes that its executions are reckoned to journal until they have ended. One that waits has come some way: it is reckoned
    /// to need as much again as the store holds for each.
    fn journals(&self) -> u64 {
        let parked = self.parked.min(self.unfinished);
        let each = self.used_bytes / self.unfinished.max(1);
        let each = each.clamp(PARKED_MIN_BYTES, JOURNAL_BYTES);
        JOURNAL_BYTES * (self.unfinished - parked) + each * parked
    }
}

/// Decides what goes from the log into the store.
#[derive(Debug)]
pub(super) struct Appetite {
    /// Bytes that are left free for journals and reports.
    kept_bytes: u64,
    /// When the store found no room where its disk had said that there is some: what that says does not count until the
    /// store has taken something.
    refused: Option<Instant>,
}

impl Appetite {
    pub(super) fn new(kept_bytes: u64) -> Self {
        Self {
            kept_bytes,
            refused: None,
        }
    }

    /// How many of the next records may be taken now, by their sizes in the store. None: what the store has already comes
    /// first, and makes room.
    pub(super) fn portion(&self, sizes: impl IntoIterator<Item = u64>, of: &Standing) -> usize {
        let room = match self.refused {
            None => of.room,
            Some(_) => Room { disk: 0, ..of.room },
        };
        let (mut sum, mut count, mut first) = (0, 0, 0);
        for size in sizes {
            sum += size;
            if count == 0 {
                first = size;
            }
            if size > 0 && !self.leaves_enough(&room, sum, of) {
                break;
            }
            count += 1;
        }
        match count {
            0 => usize::from(self.may_try(first, of)),
            count => count,
        }
    }

    fn leaves_enough(&self, room: &Room, bytes: u64, of: &Standing) -> bool {
        let kept = self.kept_bytes + of.journals();
        room.after(bytes).is_some_and(|left| left >= kept)
    }

    /// Whether one record is tried although there seems to be no room: nothing else would ever tell that there is some.
    fn may_try(&self, bytes: u64, of: &Standing) -> bool {
        let passed = |pause| self.refused.is_none_or(|at| at.elapsed() >= pause);
        match of.is_idle() {
            true => passed(IDLE_RETRY),
            // Only the store has said no.
            false => self.leaves_enough(&of.room, bytes, of) && passed(BUSY_RETRY),
        }
    }

    /// The store found no room for a portion.
    pub(super) fn refused(&mut self) {
        self.refused = Some(Instant::now());
    }

    /// The store has taken a portion.
    pub(super) fn taken(&mut self) {
        self.refused = None;
    }

    /// Whether the store found no room, and has taken nothing since.
    pub(super) fn is_refused(&self) -> bool {
        self.refused.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEPT: u64 = 1_000_000;

    fn standing(disk: u64, file: u64, wal: u64) -> Standing {
        Standing {
            room: Room { disk, file, wal },
            unfinished: 1,
            parked: 0,
            used_bytes: 0,
            unreported: 0,
        }
    }

    #[test]
    fn all_is_taken_while_there_is_room_and_as_much_as_leaves_enough_when_there_is_little() {
        let appetite = Appetite::new(KEPT);
        let sizes = [100_000; 10];
        assert_eq!(appetite.portion(sizes, &standing(u64::MAX, 0, 0)), 10);
        let little = KEPT + JOURNAL_BYTES + 500_000;
        assert_eq!(appetite.portion(sizes, &standing(little, 0, 0)), 2);
        assert_eq!(appetite.portion(sizes, &standing(little, 0, 1 << 20)), 5);
        assert_eq!(appetite.portion(sizes, &standing(KEPT, 0, 0)), 0);
        // What was forgotten makes room, whatever else is on the disk.
        let forgotten = KEPT + JOURNAL_BYTES + 300_000;
        assert_eq!(appetite.portion(sizes, &standing(0, forgotten, 1 << 20)), 3);
    }

    #[test]
    fn each_execution_that_has_not_ended_keeps_room_for_its_journal() {
        let appetite = Appetite::new(KEPT);
        let mut of = standing(KEPT + 250_000, 0, 0);
        assert_eq!(appetite.portion([100_000], &of), 1);
        of.unfinished = 10;
        assert_eq!(appetite.portion([100_000], &of), 0);
    }

    #[test]
    fn those_that_wait_keep_as_much_as_each_takes() {
        let mut of = standing(u64::MAX, 0, 0);
        of.unfinished = 1_000_000;
        of.parked = 999_000;
        for (each, kept) in [
            (2500, 2500),
            (100, PARKED_MIN_BYTES),
            (99_999, JOURNAL_BYTES),
        ] {
            of.used_bytes = each * of.unfinished;
            assert_eq!(of.journals(), 1000 * JOURNAL_BYTES + 999_000 * kept);
        }
    }

    #[test]
    fn what_takes_no_room_always_goes() {
        let appetite = Appetite::new(KEPT);
        assert_eq!(appetite.portion([0, 0, 1], &standing(0, 0, 0)), 2);
    }

    #[test]
    fn a_store_with_nothing_to_do_is_given_one_record_at_a_time_whatever_the_disk_says() {
        let appetite = Appetite::new(KEPT);
        let mut of = standing(0, 0, 0);
        of.unfinished = 0;
        assert_eq!(appetite.portion([5, 5], &of), 1);
        of.unreported = 1;
        assert_eq!(appetite.portion([5, 5], &of), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_disk_that_has_less_than_it_says_is_not_believed_until_the_store_has_taken_something()
    {
        let mut appetite = Appetite::new(KEPT);
        let (sizes, busy) = ([5; 10], standing(u64::MAX, 0, 0));
        let idle = Standing {
            unfinished: 0,
            ..busy
        };
        assert_eq!(appetite.portion(sizes, &busy), 10);
        appetite.refused();
        assert!(appetite.is_refused());
        assert_eq!(appetite.portion(sizes, &busy), 0);
        assert_eq!(appetite.portion(sizes, &idle), 0);
        // Its own room counts.
        let forgotten = standing(u64::MAX, 2 * KEPT, KEPT);
        assert_eq!(appetite.portion(sizes, &forgotten), 10);
        tokio::time::advance(IDLE_RETRY).await;
        assert_eq!(appetite.portion(sizes, &idle), 1);
        assert_eq!(appetite.portion(sizes, &busy), 0);
        tokio::time::advance(BUSY_RETRY).await;
        assert_eq!(appetite.portion(sizes, &busy), 1);
        // One that knows that it is full is not tried.
        assert_eq!(appetite.portion(sizes, &standing(KEPT, 0, 0)), 0);
        appetite.taken();
        assert_eq!(appetite.portion(sizes, &busy), 10);
    }
}
