//! What parts of a definition mention that were lost because something else was wrong with them.

use std::collections::BTreeMap;

use super::Collector;
use crate::{expression::Reference, ids::WorkflowId};

/// What a part mentions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mention {
    /// It is read.
    Read(Reference),
    /// It is run.
    Call(WorkflowId),
}

/// Mentions, each with its field.
#[derive(Debug, Default)]
pub(super) struct Mentions {
    /// Of the steps that are being read; whether the part is lost, whatever becomes of the step.
    open: Vec<(String, Mention, bool)>,
    /// By the path of the step.
    lost: BTreeMap<String, Vec<(String, Mention)>>,
    has_lost_steps: bool,
}

/// A step of which nothing was read yet.
#[derive(Debug)]
#[must_use]
pub struct BegunStep(usize);

impl Collector {
    /// Notes what a part mentions that may be lost with its step.
    pub fn mention(&mut self, field: &str, mention: Mention) {
        self.note(field, mention, false);
    }

    /// Notes what a part mentions that is lost.
    pub fn mention_lost(&mut self, field: &str, mention: Mention) {
        self.note(field, mention, true);
    }

    fn note(&mut self, field: &str, mention: Mention, is_lost: bool) {
        // What is stored is read or not; nobody is told all that is wrong with it.
        if self.of_written {
            let open = &mut self.mentions.open;
            open.push((field.to_owned(), mention, is_lost));
        }
    }

    /// A step begins, within those that have begun.
    pub fn begin_step(&self) -> BegunStep {
        BegunStep(self.mentions.open.len())
    }

    /// The step ends that stands at `path`; whether it was read whole. What it mentions in steps within it is theirs.
    pub fn end_step(&mut self, path: &str, begun: BegunStep, is_whole: bool) {
        let Mentions {
            open,
            lost,
            has_lost_steps,
        } = &mut self.mentions;
        *has_lost_steps |= !is_whole;
        let own = open.drain(begun.0.min(open.len())..);
        let gone: Vec<_> = own
            .filter(|(_, _, is_lost)| *is_lost || !is_whole)
            .map(|(field, mention, _)| (field, mention))
            .collect();
        if !gone.is_empty() {
            lost.insert(path.to_owned(), gone);
        }
    }

    /// What the step at `path` mentions in parts that were lost.
    pub(crate) fn lost(&mut self, path: &str) -> Vec<(String, Mention)> {
        self.mentions.lost.remove(path).unwrap_or_default()
    }

    /// Whether a step was lost, and something else stands in its place.
    pub(crate) fn has_lost_steps(&self) -> bool {
        self.mentions.has_lost_steps
    }
}
