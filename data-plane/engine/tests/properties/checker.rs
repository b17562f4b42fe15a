//! What must hold of every journal, said without the machine.

use std::collections::HashMap;

use jiff::Timestamp;
use signalbox_model::{
    execution::{Fact, StepState},
    ids::StepId,
    workflow::Workflow,
};

#[derive(Default)]
struct Seen {
    attempt: u32,
    retry_at: Option<Timestamp>,
    is_attempting: bool,
    has_ended: bool,
}

/// Panics at the first thing that is wrong.
pub(crate) fn check(workflow: &Workflow, journal: &[(Fact, Timestamp)]) {
    let mut steps: HashMap<&StepId, Seen> = HashMap::new();
    let mut open: Option<&StepId> = None;
    let last = journal.len() - 1;
    let mut before = journal[0].1;
    for (index, (fact, at)) in journal.iter().enumerate() {
        assert!(*at >= before, "time goes back at {index}");
        before = *at;
        assert_eq!(
            matches!(fact, Fact::Started),
            index == 0,
            "{index}: {fact:?}"
        );
        assert_eq!(
            matches!(fact, Fact::Finished { .. }),
            index == last,
            "{index}: {fact:?}"
        );
        match fact {
            Fact::Started => {}
            Fact::StepStarted { step, kind, .. } => {
                assert_eq!(open, None, "{step:?} starts within another");
                assert_eq!(workflow.step(step).unwrap().action.kind(), kind);
                let again = steps.insert(step, Seen::default());
                assert!(again.is_none(), "{step:?} runs twice");
                open = Some(step);
            }
            Fact::AttemptStarted {
                step,
                number,
                repeated,
            } => {
                assert_eq!(open, Some(step));
                let seen = steps.get_mut(step).unwrap();
                if *repeated {
                    assert!(seen.is_attempting && seen.attempt == *number);
                } else {
                    assert!(!seen.is_attempting && seen.attempt + 1 == *number);
                    assert!(seen.retry_at.is_none_or(|due| due <= *at), "too early");
                }
                let policy = &workflow.step(step).unwrap().retry;
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
                assert_eq!(open, Some(step));
                let seen = steps.get_mut(step).unwrap();
                assert!(seen.is_attempting && seen.attempt == *number);
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
                assert_eq!(open.take(), Some(step));
                let seen = steps.get_mut(step).unwrap();
                assert!(!std::mem::replace(&mut seen.has_ended, true));
                assert_eq!(output.is_some(), *state == StepState::Succeeded);
                assert_eq!(error.is_some(), *state == StepState::Failed);
            }
            Fact::Finished { state, error, .. } => {
                assert!(state.is_terminal());
                assert_eq!(open, None, "a step is open at the end");
                let succeeded = *state == signalbox_model::execution::ExecutionState::Succeeded;
                assert_eq!(error.is_none(), succeeded);
            }
        }
    }
}
