//! What is durable in the log and not in the store yet, by its deduplication key.

use std::collections::{HashMap, VecDeque};

use crate::spool::key::Key;

/// Entries of one generation: what a table of 2^16 places takes before it doubles.
const GENERATION: usize = (1 << 16) / 8 * 7;

/// Keys with the digests of their content. They go nearly in the order in which they came, so they are kept in generations
/// of one size: one large table would take twice its memory whenever it grows, and give none of it back.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// The oldest first.
    generations: VecDeque<HashMap<Key, u64>>,
    len: usize,
}

impl Pending {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The content's digest. Looks into every generation, so it is for keys that the filter does not rule out.
    pub(super) fn get(&self, key: &Key) -> Option<u64> {
        self.generations
            .iter()
            .find_map(|generation| generation.get(key).copied())
    }

    /// Adds a key that is not there yet.
    pub(super) fn insert(&mut self, key: Key, content: u64) {
        let is_full = |generation: &HashMap<Key, u64>| generation.len() >= GENERATION;
        if self.generations.back().is_none_or(is_full) {
            let generation = HashMap::with_capacity(GENERATION);
            self.generations.push_back(generation);
        }
        if let Some(generation) = self.generations.back_mut()
            && generation.insert(key, content).is_none()
        {
            self.len += 1;
        }
    }

    /// Removes a key, which is most likely an old one.
    pub(super) fn remove(&mut self, key: &Key) {
        let mut generations = self.generations.iter_mut();
        if generations.any(|generation| generation.remove(key).is_some()) {
            self.len -= 1;
        }
        while self.generations.len() > 1 && self.generations[0].is_empty() {
            self.generations.pop_front();
        }
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &Key> {
        self.generations.iter().flat_map(HashMap::keys)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use signalbox_model::ids::ExecutionName;

    use super::*;

    fn key(number: usize) -> Key {
        let name: ExecutionName = format!("projects/default/executions/x{number}")
            .parse()
            .unwrap();
        Key::of(&name)
    }

    #[test]
    fn it_holds_what_a_single_table_would_and_lets_its_memory_go() {
        let mut pending = Pending::default();
        let count = 2 * GENERATION + 10;
        for number in 0..count {
            pending.insert(key(number), number as u64);
        }
        assert_eq!((pending.len(), pending.generations.len()), (count, 3));
        assert_eq!(pending.keys().count(), count);
        for number in [0, GENERATION - 1, GENERATION, count - 1] {
            assert_eq!(pending.get(&key(number)), Some(number as u64));
        }
        assert_eq!(pending.get(&key(count)), None);

        // A group that was refused: the latest go first.
        pending.remove(&key(count - 1));
        pending.remove(&key(count));
        assert_eq!(pending.len(), count - 1);
        for number in 0..count - 1 {
            pending.remove(&key(number));
        }
        assert_eq!((pending.len(), pending.generations.len()), (0, 1));
        pending.insert(key(7), 7);
        assert_eq!(pending.get(&key(7)), Some(7));
    }
}
