//! What keeps the store out of the way of new messages: a filter of the names that were accepted. It may say "perhaps" of
//! a new one, which costs a look-up; it never says "no" of a known one.

use std::sync::{Arc, mpsc::SyncSender};

use fastbloom::BloomFilter;
use signalbox_runtime::ambient::Ambient;

use super::{Shared, committer::Job};
use crate::spool::{key::Key, sqlite::Index};

/// Names of the first layer, and of the largest ones: 19 bits for each.
const FIRST_LAYER: usize = 1 << 16;
const LAYER_MAX: usize = 1 << 22;
/// Of new names, how many cost a look-up in each full layer.
const FALSE_POSITIVES: f64 = 1e-4;

/// Layers of Bloom filters. Each goes when the last of its names may be forgotten.
pub(super) struct Filter {
    layers: Vec<Layer>,
    ambient: Arc<dyn Ambient>,
}

struct Layer {
    names: BloomFilter,
    capacity: usize,
    held: usize,
    until_us: i64,
}

impl Filter {
    pub(super) fn new(ambient: Arc<dyn Ambient>) -> Self {
        Self {
            layers: Vec::new(),
            ambient,
        }
    }

    pub(super) fn insert(&mut self, key: Key, until_us: i64) {
        let last = self.layers.last();
        if last.is_none_or(|layer| layer.held >= layer.capacity) {
            let capacity = last.map_or(FIRST_LAYER, |layer| (2 * layer.capacity).min(LAYER_MAX));
            self.expire();
            self.layers.push(Layer {
                names: BloomFilter::with_false_pos(FALSE_POSITIVES).expected_items(capacity),
                capacity,
                held: 0,
                until_us,
            });
        }
        if let Some(layer) = self.layers.last_mut() {
            layer.names.insert(&key.0);
            layer.held += 1;
            layer.until_us = layer.until_us.max(until_us);
        }
    }

    pub(super) fn may_contain(&self, key: Key) -> bool {
        self.layers.iter().any(|layer| layer.names.contains(&key.0))
    }

    fn expire(&mut self) {
        let now_us = self.ambient.now().as_microsecond();
        self.layers.retain(|layer| layer.until_us >= now_us);
    }
}

/// Reads every name that the store has and hands the filter over. Until then, the store is asked itself.
pub(super) struct Builder {
    pub(super) index: Index,
    pub(super) ambient: Arc<dyn Ambient>,
    pub(super) shared: Arc<Shared>,
    pub(super) to: SyncSender<Job>,
}

impl Builder {
    pub(super) fn run(self) {
        if let Some(filter) = self.build() {
            // It fails only when the committer has ended.
            let _ = self.to.send(filter);
        }
    }

    /// The filter, for the committer.
    pub(super) fn build(&self) -> Option<Job> {
        let mut filter = Filter::new(self.ambient.clone());
        let read = self.index.each(|key, until_us| {
            filter.insert(key, until_us);
            !self.shared.is_stopping()
        });
        match read {
            Ok(()) => (!self.shared.is_stopping()).then(|| Job::Filter(filter)),
            Err(error) => {
                tracing::warn!(%error, "the filter of known messages cannot be built; each costs a look-up");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use signalbox_runtime::ambient::System;

    use super::*;

    #[test]
    fn what_was_inserted_is_never_denied_and_little_else_is_not() {
        let mut filter = Filter::new(System::shared());
        let key = |n: u64| Key([n.wrapping_mul(0x9e37_79b9_7f4a_7c15), n]);
        for n in 0..300_000 {
            filter.insert(key(n), i64::MAX);
        }
        assert!((0..300_000).all(|n| filter.may_contain(key(n))));
        let wrong = (300_000..400_000)
            .filter(|n| filter.may_contain(key(*n)))
            .count();
        assert!(wrong < 200, "{wrong} of 100,000");
    }

    #[test]
    fn a_layer_goes_when_its_names_may_be_forgotten() {
        let mut filter = Filter::new(System::shared());
        for n in 0..=FIRST_LAYER as u64 {
            filter.insert(Key([n, n]), 1);
        }
        assert_eq!(filter.layers.len(), 1);
        assert!(!filter.may_contain(Key([0, 0])));
        assert!(filter.may_contain(Key([FIRST_LAYER as u64, FIRST_LAYER as u64])));
    }
}
