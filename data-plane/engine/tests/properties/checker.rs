//! What must hold of every journal, said without the machine.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use signalbox_model::{
    execution::{ExecutionState, Fact, StepState},
    ids::{StepId, StepInstance},
    workflow::{Action, Step, Workflow},
};

use super::telling::Telling;

#[derive(Default)]
struct Seen {
    attempt: u32,
    retry_at: Option<Timestamp>,
    is_attempting: bool,
    /// The attempt has started an execution: it is not repeated.
    has_child: bool,
    has_ended: bool,
}

/// Where a step stands.
#[derive(Clone, Debug, Default)]
struct Place {
    /// The steps around it that open frames, the outermost first, with the number of the branch.
    around: Vec<(StepId, Option<usize>)>,
}

impl Place {
    fn iterations(&self) -> usize {
        self.around.iter().filter(|(_, b)| b.is_none()).count()
    }

    /// The run of the step around, and the frame within it that a run of this step is in.
    fn frame(&self, run: &StepInstance) -> Option<(StepInstance, u32)> {
        let (step, branch) = self.around.last()?;
        let mut indexes = run.indexes.clone();
        let number = match branch {
            Some(branch) => u32::try_from(*branch).unwrap(),
            None => indexes.pop().unwrap(),
        };
        let step = step.clone();
        Some((StepInstance { step, indexes }, number))
    }
}

fn places(steps: &[Step], around: &Place, into: &mut HashMap<StepId, Place>) {
    for step in steps {
        into.insert(step.id.clone(), around.clone());
        for (number, list) in step.action.branches().enumerate() {
            let mut inside = around.clone();
            match step.action {
                Action::Parallel(_) => inside.around.push((step.id.clone(), Some(number))),
                Action::ForEach(_) => inside.around.push((step.id.clone(), None)),
                _ => {}
            }
            places(list, &inside, into);
        }
        if let Some(handler) = step.handler() {
            places(handler, around, into);
        }
    }
}

/// Panics at the first thing that is wrong.
pub(crate) fn check(workflow: &Workflow, journal: &[(Fact, Timestamp)]) {
    check_but_concurrency(workflow, journal, true);
}

/// The same of the journal of a retry, which may begin with more iterations than go on at once.
pub(crate) fn check_retry(workflow: &Workflow, journal: &[(Fact, Timestamp)]) {
    check_but_concurrency(workflow, journal, false);
}

fn check_but_concurrency(workflow: &Workflow, journal: &[(Fact, Timestamp)], all: bool) {
    let mut place_of = HashMap::new();
    places(workflow.steps(), &Place::default(), &mut place_of);
    let finally = workflow.finally().map(|finally| &finally.steps[..]);
    places(finally.unwrap_or(&[]), &Place::default(), &mut place_of);

    let mut steps: HashMap<&StepInstance, Seen> = HashMap::new();
    // The open step of each frame.
    let mut open: BTreeMap<Option<(StepInstance, u32)>, &StepInstance> = BTreeMap::new();
    let last = journal.len() - 1;
    let begins = journal.iter().position(|(fact, _)| !fact.is_told());
    let mut telling = Telling::default();
    let mut before = journal[0].1;
    let mut ending = None;
    let mut is_cancelling = false;
    for (index, (fact, at)) in journal.iter().enumerate() {
        assert!(*at >= before, "time goes back at {index}");
        before = *at;
        telling.check(workflow, fact, *at);
        let is_first = matches!(fact, Fact::Started);
        assert_eq!(
            is_first,
            begins == Some(index) && last > index,
            "{index}: {fact:?}"
        );
        let is_last = matches!(fact, Fact::Finished { .. });
        assert_eq!(is_last, index == last, "{index}: {fact:?}");
        match fact {
            Fact::Started | Fact::SignalReceived(_) | Fact::ChildEnded(_) | Fact::Abandoned => {}
            Fact::ChildStarted { step, number, .. } => {
                let seen = steps.get_mut(step).unwrap();
                assert!(seen.is_attempting && seen.attempt == *number && !seen.has_ended);
                assert!(!std::mem::replace(&mut seen.has_child, true), "{step:?}");
            }
            Fact::Cancelling => {
                assert!(ending.is_none() && !is_cancelling);
                is_cancelling = true;
            }
            Fact::StepStarted { step, kind, .. } => {
                assert!(!is_cancelling || ending.is_some(), "{step:?} starts");
                let place = &place_of[&step.step];
                assert_eq!(step.indexes.len(), place.iterations(), "{step:?}");
                let frame = place.frame(step);
                if let Some((around, _)) = &frame {
                    let is_open = open.values().any(|other| *other == around);
                    assert!(is_open, "{step:?} starts, and {around:?} is not open");
                    if all {
                        check_concurrency(workflow, around, &frame, &open);
                    }
                }
                let other = open.insert(frame, step);
                assert_eq!(other, None, "{step:?} starts within another");
                assert_eq!(workflow.step(&step.step).unwrap().action.kind(), kind);
                let again = steps.insert(step, Seen::default());
                assert!(again.is_none(), "{step:?} runs twice");
            }
            Fact::StepKept { step, kind, .. } => {
                assert_eq!(workflow.step(&step.step).unwrap().action.kind(), kind);
                let frame = place_of[&step.step].frame(step);
                assert!(
                    !open.contains_key(&frame),
                    "{step:?} is kept within another"
                );
                let kept = Seen {
                    has_ended: true,
                    ..Seen::default()
                };
                assert!(steps.insert(step, kept).is_none(), "{step:?} runs twice");
            }
            Fact::AttemptStarted {
                step,
                number,
                repeated,
            } => {
                assert!(!is_cancelling || ending.is_some(), "{step:?} attempts");
                let seen = steps.get_mut(step).unwrap();
                assert!(!seen.has_ended);
                if *repeated {
                    assert!(seen.is_attempting && seen.attempt == *number && !seen.has_child);
                } else {
                    assert!(!seen.is_attempting && seen.attempt + 1 == *number);
                    assert!(seen.retry_at.is_none_or(|due| due <= *at), "too early");
                }
                let policy = &workflow.step(&step.step).unwrap().retry;
                assert!(*number <= policy.max_attempts);
                *seen = Seen {
                    attempt: *number,
                    is_attempting: true,
                    ..Seen::default()
                };
            }
            Fact::AttemptFailed {
                step,
                number,
                retry_at,
                ..
            } => {
                let seen = steps.get_mut(step).unwrap();
                assert!(seen.is_attempting && seen.attempt == *number && !seen.has_ended);
                assert!(retry_at >= at);
                seen.is_attempting = false;
                seen.retry_at = Some(*retry_at);
            }
            Fact::StepFinished {
                step,
                state,
                output,
                error,
            } => {
                let frame = place_of[&step.step].frame(step);
                assert_eq!(open.remove(&frame), Some(step));
                let is_around = |other: &Option<(StepInstance, u32)>| {
                    other.as_ref().is_some_and(|(around, _)| around == step)
                };
                assert!(
                    !open.keys().any(is_around),
                    "{step:?} ends before what is in it"
                );
                let seen = steps.get_mut(step).unwrap();
                assert!(!std::mem::replace(&mut seen.has_ended, true));
                let action = &workflow.step(&step.step).unwrap().action;
                let has_frames = matches!(action, Action::Parallel(_) | Action::ForEach(_));
                let succeeded = *state == StepState::Succeeded;
                assert!(output.is_some() == succeeded || has_frames, "{fact:?}");
                let broken = matches!(state, StepState::Failed | StepState::Cancelled);
                assert_eq!(error.is_some(), broken);
            }
            Fact::Ending { state, .. } => {
                assert!(workflow.finally().is_some() && ending.is_none() && state.is_terminal());
                assert!(open.is_empty(), "a step is open at the end");
                ending = Some(*state);
            }
            Fact::Finished { state, error, .. } => {
                assert!(state.is_terminal());
                assert!(open.is_empty(), "a step is open at the end");
                // One that never began has nothing to tidy up.
                let began = begins != Some(last);
                assert_eq!(ending.is_some(), began && workflow.finally().is_some());
                if let Some(ending) = ending.filter(|state| *state != ExecutionState::Succeeded) {
                    assert_eq!(ending, *state);
                }
                assert_eq!(error.is_none(), *state == ExecutionState::Succeeded);
            }
        }
    }
}

fn check_concurrency(
    workflow: &Workflow,
    around: &StepInstance,
    frame: &Option<(StepInstance, u32)>,
    open: &BTreeMap<Option<(StepInstance, u32)>, &StepInstance>,
) {
    let Action::ForEach(each) = &workflow.step(&around.step).unwrap().action else {
        return;
    };
    let frames: BTreeSet<_> = open.keys().chain([frame]).flatten().collect();
    let count = frames.iter().filter(|(of, _)| of == around).count();
    assert!(count <= each.concurrency as usize, "{count} run at once");
}
