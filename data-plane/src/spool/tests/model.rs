//! What a spool should be, in plain collections.

use std::collections::{BTreeMap, BTreeSet};

use signalbox_model::record::{RecordBody, SequencedRecord};

use crate::spool::Acceptance;

/// A message that was accepted, while copies of it are known.
pub(super) struct Entry {
    pub(super) content: u8,
    /// Copies are forgotten as soon as it has ended and is reported.
    pub(super) brief: bool,
    /// Facts journalled.
    pub(super) facts: usize,
    pub(super) claimed: bool,
    pub(super) parked: bool,
    pub(super) ended: bool,
}

/// How many records of each sort there are.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) accepted: BTreeMap<u8, usize>,
    pub(super) facts: BTreeMap<u8, usize>,
    pub(super) deliveries: usize,
    pub(super) subscriptions: usize,
    pub(super) certificates: usize,
}

#[derive(Default)]
pub(super) struct Model {
    /// Whether the spool tells of copies by itself. Before the intake log, whoever accepts does, within a budget.
    pub(super) tells_copies: bool,
    pub(super) entries: BTreeMap<u8, Entry>,
    /// Those that have not ended, in the order in which they were accepted.
    pub(super) order: Vec<u8>,
    /// Those of them that were parked and are due, in the order in which they became so.
    pub(super) due: Vec<u8>,
    /// Handshakes by token; whether they are over.
    pub(super) handshakes: BTreeMap<u8, bool>,
    pub(super) expected: Counts,
    pub(super) reported: Counts,
    pub(super) last_reported: u64,
}

impl Model {
    pub(super) fn acceptance(&self, id: u8, content: u8) -> Acceptance {
        match self.entries.get(&id) {
            None => Acceptance::New,
            Some(known) if known.content == content => Acceptance::Duplicate,
            Some(_) => Acceptance::Conflict,
        }
    }

    /// A message was answered.
    pub(super) fn accepted(&mut self, id: u8, content: u8, brief: bool, answer: &Acceptance) {
        match answer {
            Acceptance::New => {
                let entry = Entry {
                    content,
                    brief,
                    facts: 0,
                    claimed: false,
                    parked: false,
                    ended: false,
                };
                assert!(self.entries.insert(id, entry).is_none());
                self.order.push(id);
                *self.expected.accepted.entry(id).or_default() += 1;
                self.expected.certificates = 1;
                self.expected.deliveries += 1;
            }
            Acceptance::Duplicate => {
                self.expected.deliveries += usize::from(self.tells_copies);
            }
            Acceptance::Conflict => {}
        }
    }

    /// Ids and facts of what can be claimed; it is claimed from then on.
    pub(super) fn claim(&mut self) -> Vec<(u8, usize)> {
        let mut claimed = Vec::new();
        for id in std::mem::take(&mut self.due) {
            let entry = self.entries.get_mut(&id).unwrap();
            entry.parked = false;
            entry.claimed = true;
            claimed.push((id, entry.facts));
        }
        for id in &self.order {
            let entry = self.entries.get_mut(id).unwrap();
            if !entry.claimed && !entry.parked {
                entry.claimed = true;
                claimed.push((*id, entry.facts));
            }
        }
        claimed
    }

    /// An execution that goes on, if it does.
    pub(super) fn running(&mut self, id: u8) -> Option<&mut Entry> {
        let entry = self.entries.get_mut(&id)?;
        (entry.claimed && !entry.ended).then_some(entry)
    }

    /// One that goes on waits, until it is woken.
    pub(super) fn park(&mut self, id: u8) {
        if let Some(entry) = self.running(id) {
            entry.claimed = false;
            entry.parked = true;
        }
    }

    /// The latest word counts.
    pub(super) fn wake(&mut self, id: u8) {
        if self.entries.get(&id).is_some_and(|entry| entry.parked) {
            self.due.retain(|other| *other != id);
            self.due.push(id);
        }
    }

    pub(super) fn parked(&self) -> usize {
        self.entries.values().filter(|entry| entry.parked).count()
    }

    pub(super) fn journalled(&mut self, id: u8, ended: bool) {
        let entry = self.running(id).unwrap();
        entry.facts += 1;
        entry.ended = ended;
        if ended {
            self.order.retain(|other| *other != id);
        }
        *self.expected.facts.entry(id).or_default() += 1;
    }

    pub(super) fn unfinished(&self) -> u64 {
        self.order.len() as u64
    }

    /// Everything was reported: what is over and brief is forgotten now.
    pub(super) fn forget(&mut self) -> Vec<u8> {
        let over = |entry: &Entry| entry.ended && entry.brief;
        let over = self.entries.iter().filter(|(_, entry)| over(entry));
        let forgotten: Vec<u8> = over.map(|(id, _)| *id).collect();
        for id in &forgotten {
            self.entries.remove(id);
        }
        forgotten
    }

    pub(super) fn unfinished_handshakes(&self) -> BTreeSet<u8> {
        let open = self.handshakes.iter().filter(|(_, over)| !**over);
        open.map(|(token, _)| *token).collect()
    }

    pub(super) fn restarted(&mut self) {
        for entry in self.entries.values_mut() {
            entry.claimed = entry.ended;
        }
    }

    /// Takes what is reported: in order, and no number twice.
    pub(super) fn take(&mut self, records: &[SequencedRecord]) {
        let number = |name: &signalbox_model::ids::ExecutionName| -> u8 {
            name.execution.as_str()[1..].parse().unwrap()
        };
        for SequencedRecord { sequence, record } in records {
            assert!(*sequence > self.last_reported, "{sequence} again");
            self.last_reported = *sequence;
            let reported = &mut self.reported;
            match &record.body {
                RecordBody::Accepted(accepted) => {
                    *reported
                        .accepted
                        .entry(number(&accepted.execution))
                        .or_default() += 1;
                }
                RecordBody::Execution { execution, .. } => {
                    *reported.facts.entry(number(execution)).or_default() += 1;
                }
                RecordBody::Delivery(_) => reported.deliveries += 1,
                RecordBody::Subscription(_) => reported.subscriptions += 1,
                RecordBody::Certificate(_) => reported.certificates += 1,
            }
        }
    }
}
