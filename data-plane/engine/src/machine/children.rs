//! What stands in a step: the branches of a `parallel`, the iterations of a `forEach`.

use std::collections::BTreeMap;

use serde_json::Map;
use signalbox_model::{
    execution::StepState,
    workflow::{Action, Step},
};

use super::{fold::Contradiction, *};
use crate::RECORD_MAX_BYTES;

/// The frames below an open step.
pub(super) struct Children {
    /// That of the step itself.
    scope: Scope,
    indexes: Vec<u32>,
    seeds: Seeds,
    concurrency: usize,
    is_fail_fast: bool,
    /// Those under way, by their number.
    open: BTreeMap<usize, Frame>,
    /// All before it have begun.
    next: usize,
    /// How each ended.
    results: Vec<Option<Ended>>,
}

/// What the frames are made of.
enum Seeds {
    /// The first step of each branch.
    Branches(Vec<Option<At>>),
    /// The first step of each iteration, and the items.
    Items(Option<At>, Vec<Value>),
}

impl Children {
    /// Those of `node`, which stands in `frame` and recorded `input`; none when it did not come to open any.
    pub(super) fn of(node: &Node, frame: &Frame, input: &JsonText) -> Option<Self> {
        let (seeds, count, concurrency, is_fail_fast) = match &node.step.action {
            Action::Parallel(step) => {
                input.to_value().as_object()?;
                let firsts = node.branches().to_vec();
                let count = firsts.len();
                (Seeds::Branches(firsts), count, count, step.fail_fast)
            }
            Action::ForEach(step) => {
                let Value::Array(items) = input.to_value()["items"].take() else {
                    return None;
                };
                let count = items.len();
                let first = node.branches().first().copied().flatten();
                let concurrency = usize::try_from(step.concurrency).unwrap_or(usize::MAX);
                let seeds = Seeds::Items(first, items);
                (seeds, count, concurrency, step.fail_fast)
            }
            _ => return None,
        };
        let mut children = Self {
            scope: frame.scope.clone(),
            indexes: frame.indexes.clone(),
            seeds,
            concurrency,
            is_fail_fast,
            open: BTreeMap::new(),
            next: 0,
            results: vec![None; count],
        };
        children.fill();
        Some(children)
    }

    /// Opens as many frames as may be.
    fn fill(&mut self) {
        while self.open.len() < self.concurrency && self.stopped_by().is_none() {
            while self.next < self.results.len() && !self.is_to_begin(self.next) {
                self.next += 1;
            }
            if self.next == self.results.len() {
                return;
            }
            self.open.insert(self.next, self.frame(self.next));
        }
    }

    /// Whether this frame has not begun.
    fn is_to_begin(&self, number: usize) -> bool {
        matches!(self.results.get(number), Some(None)) && !self.open.contains_key(&number)
    }

    fn frame(&self, number: usize) -> Frame {
        match &self.seeds {
            Seeds::Branches(firsts) => {
                let first = firsts.get(number).copied().flatten();
                Frame::new(self.scope.clone(), self.indexes.clone(), first)
            }
            Seeds::Items(first, items) => {
                let index = u32::try_from(number).unwrap_or(u32::MAX);
                let mut indexes = self.indexes.clone();
                indexes.push(index);
                let item = items.get(number).unwrap_or(&Value::Null);
                let scope = self.scope.clone().with_item(item, index);
                Frame::new(scope, indexes, *first)
            }
        }
    }

    /// What keeps the others from going on: the number of a frame and its failure. The one that failed, wherever it stands
    /// among those that were cancelled for it.
    fn stopped_by(&self) -> Option<(usize, &Failure)> {
        let mut results = self.results.iter().enumerate();
        let failed = self.failed().next().filter(|_| self.is_fail_fast);
        failed.or_else(|| {
            results.find_map(|(number, result)| match result {
                Some(Ended::Cancelled(failure)) => Some((number, failure)),
                _ => None,
            })
        })
    }

    /// Those that failed, with their numbers.
    fn failed(&self) -> impl Iterator<Item = (usize, &Failure)> {
        let results = self.results.iter().enumerate();
        results.filter_map(|(number, result)| match result {
            Some(Ended::Failed(failure)) => Some((number, failure)),
            _ => None,
        })
    }

    /// The frame of this number, if it is under way.
    pub(super) fn get(&self, number: usize) -> Option<&Frame> {
        self.open.get(&number)
    }

    /// Likewise.
    pub(super) fn get_mut(&mut self, number: usize) -> Option<&mut Frame> {
        self.open.get_mut(&number)
    }

    /// Those under way.
    pub(super) fn frames(&self) -> impl Iterator<Item = &Frame> {
        self.open.values()
    }

    /// Opens the frame of this number, however many are open.
    pub(super) fn begin(&mut self, number: usize) {
        if self.is_to_begin(number) && self.stopped_by().is_none() {
            self.open.insert(number, self.frame(number));
        }
    }

    /// Lets the frame of this number take in a fact by `fold`, and goes on when that ended it.
    pub(super) fn fold(
        &mut self,
        number: usize,
        fold: impl FnOnce(&mut Frame) -> Result<(), Contradiction>,
    ) -> Result<(), Contradiction> {
        let Some(frame) = self.open.get_mut(&number) else {
            return Err(Contradiction::new(format!("{number} is not under way")));
        };
        fold(frame)?;
        if let Some(ended) = frame.ended() {
            self.open.remove(&number);
            if let Some(result) = self.results.get_mut(number) {
                *result = Some(ended);
            }
            self.fill();
        }
        Ok(())
    }

    /// The ends of all that is open in them.
    pub(super) fn close(&self, plan: &Plan, state: StepState, failure: &Failure) -> Vec<Fact> {
        let frames = self.open.values();
        frames
            .flat_map(|frame| frame.close(plan, state, failure))
            .collect()
    }

    /// As [`Frame::advance`]; the end of their step, `instance`, when all have ended.
    pub(super) fn advance(
        &mut self,
        step: &Step,
        instance: &StepInstance,
        around: &mut advance::Around<'_>,
        deadline: Timestamp,
    ) -> Option<Vec<Fact>> {
        if let Some((number, failure)) = self.stopped_by() {
            let failure = self.named(step, number, failure);
            let cancelled = cancelled(&instance.step, &failure);
            let mut facts = self.close(around.plan, StepState::Cancelled, &cancelled);
            facts.push(advance::failed(instance, failure));
            return Some(facts);
        }
        if self.open.is_empty() {
            return Some(vec![self.end(step, instance)]);
        }
        // More are open only where a retry began with them; the others follow when these have ended.
        let mut frames = self.open.values_mut().take(self.concurrency);
        frames.find_map(|frame| frame.advance(around, deadline))
    }

    /// The end of their step, all having ended.
    fn end(&self, step: &Step, instance: &StepInstance) -> Fact {
        let output = JsonText::from_value(&self.output(step));
        let size_bytes = output.as_str().len();
        if size_bytes > RECORD_MAX_BYTES {
            let message =
                format!("its output has {size_bytes} bytes; at most {RECORD_MAX_BYTES} are kept");
            return advance::failed(instance, Failure::new(codes::OUTPUT_TOO_LARGE, message));
        }
        let error = self.failure(step);
        Fact::StepFinished {
            step: instance.clone(),
            state: if error.is_some() {
                StepState::Failed
            } else {
                StepState::Succeeded
            },
            output: Some(output),
            error,
        }
    }

    fn output(&self, step: &Step) -> Value {
        let outputs = self.results.iter().map(|result| match result {
            Some(Ended::Succeeded(Some(output))) => output.to_value(),
            _ => Value::Null,
        });
        match &step.action {
            Action::Parallel(parallel) => {
                let names = parallel.branches.iter().map(|b| b.name.to_string());
                Value::Object(names.zip(outputs).collect::<Map<_, _>>())
            }
            _ => outputs.collect(),
        }
    }

    fn failure(&self, step: &Step) -> Option<Failure> {
        let mut failed = self.failed();
        let (number, failure) = failed.next()?;
        let first = self.named(step, number, failure);
        Some(match 1 + failed.count() {
            1 => first,
            count => Failure::new(
                first.code,
                format!(
                    "{count} of {} failed; the first, {}",
                    self.results.len(),
                    first.message
                ),
            ),
        })
    }

    /// The failure of a frame as that of their step: it names the branch or the item.
    fn named(&self, step: &Step, number: usize, failure: &Failure) -> Failure {
        let of = match &step.action {
            Action::Parallel(parallel) => match parallel.branches.get(number) {
                Some(branch) => format!("branch {:?}", branch.name.as_str()),
                None => format!("branch {number}"),
            },
            _ => format!("item {number}"),
        };
        Failure::new(failure.code.clone(), format!("{of}: {}", failure.message))
    }
}

/// Why steps inside `step` were stopped.
pub(super) fn cancelled(step: &StepId, failure: &Failure) -> Failure {
    Failure::new(
        codes::CANCELLED,
        format!("stopped, because step {step:?} failed: {}", failure.message),
    )
}
