//! What steps read and run.

use std::collections::HashSet;

use super::Walk;
use crate::{
    expression::Reference, ids::StepId, limits, suggestion::suggestion, violation::Mention,
};

/// What was meant by the first names that there are not: who has that many wrong has no slips.
#[derive(Default)]
pub(super) struct Hints(usize);

impl Hints {
    /// [`suggestion`], or nothing.
    pub(super) fn suggestion<'a>(
        &mut self,
        found: &str,
        names: impl Iterator<Item = &'a str>,
    ) -> String {
        if self.0 >= limits::SUGGESTIONS_MAX {
            return String::new();
        }
        self.0 += 1;
        suggestion(found, names)
    }
}

impl Walk<'_> {
    /// What is mentioned in parts of the step at `path` that were wrong otherwise.
    pub(super) fn lost(&mut self, path: &str) {
        const KINDS_WITH_SECRETS: [&str; 5] = ["http", "slack", "aws", "email", "script"];
        for (field, mention) in self.problems.lost(path) {
            match mention {
                Mention::Read(reference) => {
                    let within = field.strip_prefix(path).unwrap_or_default();
                    let kind = within.split('.').nth(1).unwrap_or_default();
                    let may_be_secret = KINDS_WITH_SECRETS.contains(&kind);
                    self.reference(&field, &reference, may_be_secret);
                }
                Mention::Call(workflow) => self.names.calls.push((field, workflow)),
            }
        }
    }

    pub(super) fn reference(&mut self, field: &str, reference: &Reference, may_be_secret: bool) {
        match reference {
            Reference::Step(id) => {
                let known = |ids: &HashSet<StepId>| ids.contains(id.as_str());
                if !known(&self.all_ids) {
                    let names = self.all_ids.iter().map(StepId::as_str);
                    let hint = self.hints.suggestion(id, names);
                    self.problems
                        .add(field, format!("steps.{id}: there is no step {id:?}{hint}"));
                } else if known(&self.unchosen) {
                    self.problems.add_if_written(
                        field,
                        format!(
                            "steps.{id}: step {id:?} stands in another rule of a condition, and never runs when this one does"
                        ),
                    );
                } else if !known(&self.visible) && known(&self.ids) {
                    self.problems.add(
                        field,
                        format!(
                            "steps.{id}: step {id:?} stands in a branch or an iteration that this step is not in; read the output of the step around it"
                        ),
                    );
                } else if !known(&self.ids) {
                    self.problems.add(
                        field,
                        format!("steps.{id}: step {id:?} does not come before this one"),
                    );
                }
            }
            Reference::Secret(name) => self.secret(field, name, may_be_secret),
            Reference::Approval(id) => self.approval(field, id, may_be_secret),
            Reference::Iteration(name) => {
                if self.iterations == 0 {
                    let text = format!("{name}: there is one only for the steps of a forEach");
                    self.problems.add(field, text);
                }
            }
            Reference::Var(name) => {
                if !self.workflow.vars.contains_key(name) {
                    let names = self.workflow.vars.keys().map(String::as_str);
                    let hint = self.hints.suggestion(name, names);
                    self.problems.add(
                        field,
                        format!("vars.{name}: there is no such constant{hint}"),
                    );
                }
            }
        }
    }
}
