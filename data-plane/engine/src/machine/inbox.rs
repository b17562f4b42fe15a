//! What an execution was told and has not used.

use std::collections::{HashMap, HashSet, VecDeque};

use signalbox_model::{
    ids::{SignalId, SignalName},
    signal::{Signal, SignalKind},
};

use super::*;
use crate::steps::Listens;

/// What an execution was told and has not used. It is filled by facts that whoever tells makes durable, between those of
/// the machine's own: a journal may hold a signal before a fact that was decided without it, never after one that used it.
#[derive(Default)]
pub(super) struct Inbox {
    seen: HashSet<SignalId>,
    /// Each taken once, in the order in which they came.
    named: HashMap<SignalName, VecDeque<Signal>>,
    /// The first for each run of a step.
    decisions: HashMap<StepInstance, Signal>,
    /// How the last execution ended that each run of a step started.
    ends: HashMap<StepInstance, ChildEnd>,
}

impl Inbox {
    /// Takes in a signal; a copy changes nothing.
    pub(super) fn add(&mut self, signal: &Signal) {
        if !self.seen.insert(signal.id.clone()) {
            return;
        }
        match &signal.kind {
            SignalKind::Named { name, .. } => {
                let waiting = self.named.entry(name.clone()).or_default();
                waiting.push_back(signal.clone());
            }
            SignalKind::Decision { step, .. } => {
                let first = self.decisions.entry(step.clone());
                first.or_insert_with(|| signal.clone());
            }
        }
    }

    /// What there is for the run `step`, which listens so.
    pub(super) fn find(&self, listens: &Listens, step: &StepInstance) -> Option<&Signal> {
        match listens {
            Listens::Signal(name) => self.named.get(name)?.front(),
            Listens::Decision => self.decisions.get(step),
        }
    }

    /// Takes in the end of a child.
    pub(super) fn add_end(&mut self, end: &ChildEnd) {
        self.ends.insert(end.step.clone(), end.clone());
    }

    /// How the child ended that attempt `number` of the run `step` started.
    pub(super) fn end(&self, step: &StepInstance, number: u32) -> Option<&ChildEnd> {
        self.ends.get(step).filter(|end| end.number == number)
    }

    /// Drops that of `step`: it was used, or never will be.
    pub(super) fn forget_end(&mut self, step: &StepInstance) {
        self.ends.remove(step);
    }

    /// Takes the first signal of this name. False: there is none.
    pub(super) fn take(&mut self, name: &SignalName) -> bool {
        let Some(waiting) = self.named.get_mut(name) else {
            return false;
        };
        let taken = waiting.pop_front().is_some();
        if waiting.is_empty() {
            self.named.remove(name);
        }
        taken
    }
}
