//! Of which approvals the links may be read: those of the same run of the workflow's lists, which are still to come.

use std::collections::HashSet;

use super::{Walk, all_steps};
use crate::{
    ids::StepId,
    workflow::{Action, Step, Workflow},
};

/// The approvals of one list around the current step, or of the branches that stand beside each other.
#[derive(Default)]
pub(super) struct Approvals {
    all: HashSet<StepId>,
    /// Those of them that have ended when the current step begins.
    ended: HashSet<StepId>,
}

impl Approvals {
    /// Those of `steps` themselves.
    pub(super) fn of<'s>(steps: impl IntoIterator<Item = &'s Step>) -> Self {
        let approvals = steps.into_iter().filter(|step| is_approval(step));
        Self {
            all: approvals.map(|step| step.id.clone()).collect(),
            ended: HashSet::new(),
        }
    }

    /// The list has come to `step`: what stands in it runs when it has ended, if it is one.
    pub(super) fn come_to(&mut self, step: &Step) {
        if is_approval(step) {
            self.ended.insert(step.id.clone());
        }
    }
}

fn is_approval(step: &Step) -> bool {
    matches!(step.action, Action::Approval(_))
}

/// All of a workflow, wherever they stand.
pub(super) fn all(workflow: &Workflow) -> HashSet<StepId> {
    Approvals::of(all_steps(workflow)).all
}

impl Walk<'_> {
    /// What a field that `may` read links reads of an approval's.
    pub(super) fn approval(&mut self, field: &str, id: &str, may: bool) {
        if !may {
            let text = format!(
                "approvals.{id}: links are for what is sent: the fields of steps with attempts, such as a slack step's text; \
                 nothing that is recorded or decided may depend on them"
            );
            self.problems.add(field, text);
            return;
        }
        let knows = |ids: &HashSet<StepId>| ids.contains(id);
        let mut near = self.approvals.iter().rev();
        match near.find(|approvals| knows(&approvals.all)) {
            Some(approvals) if knows(&approvals.ended) => self.problems.add_if_written(
                field,
                format!(
                    "approvals.{id}: step {id:?} has ended when this one begins: its links would decide nothing; put this step before it"
                ),
            ),
            Some(_) => {}
            None => self.no_such_approval(field, id),
        }
    }

    fn no_such_approval(&mut self, field: &str, id: &str) {
        let knows = |ids: &HashSet<StepId>| ids.contains(id);
        let names = self.all_approvals.iter().map(StepId::as_str);
        let mut hint = || self.hints.suggestion(id, names.clone());
        let text = if knows(&self.all_approvals) {
            format!(
                "approvals.{id}: step {id:?} stands in a list that this step is not in; expected an approval of the same list, of one around it, or of a branch beside it"
            )
        } else if !knows(&self.all_ids) {
            format!("approvals.{id}: there is no step {id:?}{}", hint())
        } else if self.problems.has_lost_steps() {
            // It may have been one.
            return;
        } else {
            format!("approvals.{id}: step {id:?} is no approval{}", hint())
        };
        self.problems.add(field, text);
    }
}

#[cfg(test)]
mod tests;
