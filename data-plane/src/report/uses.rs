//! The last uses of keys, on their way to the control plane: beside the records, for they are none. They are in memory only, and
//! those of about a minute are lost when the node crashes.

use std::sync::Arc;

use jiff::Timestamp;
use signalbox_model::key_use::KeyUse;
use signalbox_proto::{convert, dataplane::v1 as wire};

use crate::config::{ConfigStore, Usage};

/// Uses of one message.
const USES_MAX: usize = 5_000;

/// What one stream says of keys: one message at a time, each after the one before was answered.
pub(super) struct Uses<'a> {
    config: Option<&'a ConfigStore>,
    number: i64,
    under_way: Vec<(Arc<Usage>, Timestamp)>,
}

impl<'a> Uses<'a> {
    /// Of the keys in `config`.
    pub(super) fn new(config: Option<&'a ConfigStore>) -> Self {
        Self {
            config,
            number: 0,
            under_way: Vec::new(),
        }
    }

    /// What is to be said at `now`, if there is something.
    pub(super) fn next(&mut self, now: Timestamp) -> Option<wire::KeyUses> {
        if !self.under_way.is_empty() {
            return None;
        }
        let snapshot = self.config?.current();
        let due = snapshot.keys().filter_map(|key| {
            let usage = key.usage()?;
            let last = usage.due(now)?;
            Some((key.name.clone(), usage, last))
        });
        let mut uses = Vec::new();
        for (key, usage, last) in due.take(USES_MAX) {
            self.under_way.push((Arc::clone(usage), last.time));
            uses.push(convert::key_use::to_wire(&KeyUse {
                key,
                time: last.time,
                source: last.source,
            }));
        }
        if uses.is_empty() {
            return None;
        }
        self.number += 1;
        Some(wire::KeyUses {
            number: self.number,
            uses,
        })
    }

    /// The control plane has what the message of this number says. One of an earlier version never answers: it is told once on
    /// each stream.
    pub(super) fn answered(&mut self, number: i64) {
        if number == self.number {
            for (usage, time) in self.under_way.drain(..) {
                usage.reported(time);
            }
        }
    }
}
