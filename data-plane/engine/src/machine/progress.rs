//! How far the steps are.

use std::collections::HashMap;

use jiff::Timestamp;
use serde_json::Value;
use signalbox_model::{
    execution::{Failure, StepState},
    ids::StepId,
    workflow::Step,
};

use super::branch_of;

/// How far one step is.
#[derive(Clone, Debug)]
pub(super) enum Progress {
    Started,
    Attempting {
        number: u32,
    },
    Waiting {
        number: u32,
        until: Timestamp,
    },
    Finished {
        state: StepState,
        output: Value,
        error: Option<Failure>,
    },
}

/// Where the execution stands among its steps.
#[derive(Debug)]
pub(super) enum Position<'a> {
    /// At this step, which has not finished.
    At(&'a Step),
    /// This step failed.
    Failed(&'a StepId, Option<&'a Failure>),
    /// Every step has run.
    End,
}

/// The first step, in the order of the definition and of the branches that were chosen, that has not finished.
pub(super) fn position<'a>(
    steps: &'a [Step],
    progress: &'a HashMap<StepId, Progress>,
) -> Position<'a> {
    for step in steps {
        match progress.get(&step.id) {
            Some(Progress::Finished {
                state: StepState::Failed,
                error,
                ..
            }) => return Position::Failed(&step.id, error.as_ref()),
            Some(Progress::Finished {
                state: StepState::Succeeded,
                output,
                ..
            }) => match position(branch_of(&step.action, output), progress) {
                Position::End => {}
                inner => return inner,
            },
            Some(Progress::Finished { .. }) => {}
            None
            | Some(Progress::Started | Progress::Attempting { .. } | Progress::Waiting { .. }) => {
                return Position::At(step);
            }
        }
    }
    Position::End
}
