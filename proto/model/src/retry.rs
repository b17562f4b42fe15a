//! What of an execution that has ended is kept when it is retried from where it failed.
//!
//! The answer is the beginning of the new execution's journal, made by walking the definition as an execution does: each
//! step that has a result worth keeping is passed, and where there is none the walk stops, since there the new execution
//! goes on. Branches and iterations are walked each on their own.

use std::collections::HashMap;

use serde_json::Value;

use crate::{
    execution::{Fact, Failure, JsonText, StepState},
    ids::StepInstance,
    workflow::{Action, OnError, Step, Workflow},
};

/// What is recorded of one run of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct StepRecord {
    /// Which.
    pub step: StepInstance,
    /// Its kind, as the definition names it.
    pub kind: String,
    /// Where it stands.
    pub state: StepState,
    /// What it was given.
    pub input: JsonText,
    /// What it gave.
    pub output: Option<JsonText>,
    /// Why it failed or was cancelled.
    pub error: Option<Failure>,
}

/// What is kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Kept {
    facts: Vec<Fact>,
}

/// A version lacks a step whose result is to be kept, or has it elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the result of step {0} is to be kept, and the version does not come to that step as the one that ran did"
)]
pub struct NotCarried(pub StepInstance);

impl Kept {
    /// What is kept of an execution of `workflow` with these records.
    #[must_use]
    pub fn of(workflow: &Workflow, records: &[StepRecord]) -> Self {
        let records = records.iter().map(|record| (&record.step, record));
        let mut walk = Walk {
            records: records.collect(),
            facts: vec![Fact::Started],
        };
        walk.list(workflow.steps(), &[]);
        Self { facts: walk.facts }
    }

    /// The same as the beginning of an execution of another version.
    ///
    /// # Errors
    /// [`NotCarried`] when that version has not all of it.
    pub fn carried_to(&self, workflow: &Workflow) -> Result<Self, NotCarried> {
        let records: Vec<StepRecord> = self.facts.iter().filter_map(as_record).collect();
        let carried = Self::of(workflow, &records);
        let lost = {
            let mut there = carried.steps();
            self.steps().find(|step| !there.any(|other| other == *step))
        };
        match lost {
            Some(step) => Err(NotCarried(step.clone())),
            None => Ok(carried),
        }
    }

    /// The steps whose results are kept, in the order in which an execution comes to them.
    pub fn steps(&self) -> impl Iterator<Item = &StepInstance> {
        self.facts.iter().filter_map(|fact| match fact {
            Fact::StepKept { step, .. } => Some(step),
            _ => None,
        })
    }

    /// Bytes of what is kept.
    #[must_use]
    pub fn size_bytes(&self) -> usize {
        let of_fact = |fact: &Fact| match fact {
            Fact::StepKept { input, output, .. } => {
                input.as_str().len() + output.as_ref().map_or(0, |text| text.as_str().len())
            }
            Fact::StepStarted { input, .. } => input.as_str().len(),
            _ => 0,
        };
        self.facts.iter().map(of_fact).sum()
    }

    /// What the journal begins with.
    #[must_use]
    pub fn into_facts(self) -> Vec<Fact> {
        self.facts
    }
}

/// What a fact of [`Kept`] says of a step: that it is kept, or that what stands in it is to go on.
fn as_record(fact: &Fact) -> Option<StepRecord> {
    match fact {
        Fact::StepKept {
            step,
            kind,
            input,
            state,
            output,
            error,
        } => Some(StepRecord {
            step: step.clone(),
            kind: kind.clone(),
            state: *state,
            input: input.clone(),
            output: output.clone(),
            error: error.clone(),
        }),
        Fact::StepStarted { step, kind, input } => Some(StepRecord {
            step: step.clone(),
            kind: kind.clone(),
            state: StepState::Running,
            input: input.clone(),
            output: None,
            error: None,
        }),
        _ => None,
    }
}

struct Walk<'a> {
    records: HashMap<&'a StepInstance, &'a StepRecord>,
    facts: Vec<Fact>,
}

/// What follows a list of steps, or a step.
#[derive(PartialEq, Eq)]
enum Flow {
    /// What comes after it.
    Next,
    /// Nothing that is recorded: it goes on here, or has ended.
    Stop,
}

impl<'a> Walk<'a> {
    fn list(&mut self, steps: &[Step], indexes: &[u32]) -> Flow {
        for step in steps {
            if self.step(step, indexes) == Flow::Stop {
                return Flow::Stop;
            }
        }
        Flow::Next
    }

    fn step(&mut self, step: &Step, indexes: &[u32]) -> Flow {
        let Some(record) = self.record(step, indexes) else {
            return Flow::Stop;
        };
        if !self.is_kept(step, record, indexes) {
            self.go_inside(step, record, indexes);
            return Flow::Stop;
        }
        self.facts.push(Fact::StepKept {
            step: record.step.clone(),
            kind: step.action.kind().to_owned(),
            input: record.input.clone(),
            state: record.state,
            output: record.output.clone(),
            error: record.error.clone(),
        });
        match record.state {
            StepState::Succeeded => match &step.action {
                Action::Condition(condition) => {
                    let branch = record.output.as_ref().and_then(branch_of);
                    self.list(condition.branch(branch), indexes)
                }
                action if action.ends_execution() => Flow::Stop,
                _ => Flow::Next,
            },
            StepState::Failed => self.list(step.handler().unwrap_or_default(), indexes),
            _ => Flow::Next,
        }
    }

    fn record(&self, step: &Step, indexes: &[u32]) -> Option<&'a StepRecord> {
        let run = StepInstance {
            step: step.id.clone(),
            indexes: indexes.to_vec(),
        };
        let record = *self.records.get(&run)?;
        // Rows of steps that were skipped once had none.
        let is_same = record.kind == step.action.kind() || record.kind.is_empty();
        is_same.then_some(record)
    }

    /// Whether the run need not happen again.
    fn is_kept(&self, step: &Step, record: &StepRecord, indexes: &[u32]) -> bool {
        match record.state {
            StepState::Succeeded | StepState::Skipped => true,
            StepState::Running | StepState::Waiting | StepState::Cancelled => false,
            // Nothing handles what ended all of the execution.
            StepState::Failed if ended_all(record) => false,
            StepState::Failed => match &step.on_error {
                OnError::Fail => false,
                OnError::Continue => true,
                OnError::Steps(steps) => !self.broke(steps, indexes),
            },
        }
    }

    /// Whether one of `steps`, all in one frame, ended it otherwise than well.
    fn broke(&self, steps: &[Step], indexes: &[u32]) -> bool {
        steps.iter().any(|step| {
            let Some(record) = self.record(step, indexes) else {
                return false;
            };
            let mut branches = step.action.branches();
            !self.is_kept(step, record, indexes)
                || matches!(step.action, Action::Condition(_))
                    && branches.any(|steps| self.broke(steps, indexes))
        })
    }

    /// What is kept of what stands in a step that runs again.
    fn go_inside(&mut self, step: &Step, record: &StepRecord, indexes: &[u32]) {
        let input = record.input.to_value();
        let frames: Vec<(&[Step], Vec<u32>)> = match (&step.action, &input) {
            (Action::Parallel(parallel), Value::Object(_)) => {
                let branches = parallel.branches.iter();
                branches
                    .map(|branch| (&branch.steps[..], indexes.to_vec()))
                    .collect()
            }
            (Action::ForEach(each), Value::Object(input)) => {
                let items = input.get("items").and_then(Value::as_array);
                let Some(count) = items.map(Vec::len) else {
                    return;
                };
                let of_item = |index| (&each.steps[..], [indexes, &[index]].concat());
                (0..u32::try_from(count).unwrap_or(u32::MAX))
                    .map(of_item)
                    .collect()
            }
            _ => return,
        };
        self.facts.push(Fact::StepStarted {
            step: record.step.clone(),
            kind: step.action.kind().to_owned(),
            input: record.input.clone(),
        });
        for (steps, indexes) in frames {
            self.list(steps, &indexes);
        }
    }
}

fn ended_all(record: &StepRecord) -> bool {
    let code = record.error.as_ref().map(|error| error.code.as_str());
    matches!(
        code,
        Some(Failure::EXECUTION_TIMEOUT | Failure::HISTORY_FULL)
    )
}

/// The branch that a condition chose; none: `otherwise`.
fn branch_of(output: &JsonText) -> Option<usize> {
    let branch = output.to_value()["branch"].as_i64()?;
    usize::try_from(branch).ok()
}

#[cfg(test)]
mod tests;
