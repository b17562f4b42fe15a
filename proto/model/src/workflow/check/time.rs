//! What ends steps before they end.

use std::time::Duration;

use super::Walk;
use crate::{
    ids::StepId,
    workflow::{OnError, Step},
};

/// What ends the steps that are looked at, and when: the first of these that does.
#[derive(Clone)]
pub(super) enum Bound {
    Workflow(Duration),
    Finally(Duration),
    /// The `totalTimeout` of the step with this id: theirs, or that of one around them.
    Step {
        id: StepId,
        time: Duration,
        /// Whether something follows when it has failed by that.
        goes_on: bool,
    },
}

impl Bound {
    fn time(&self) -> Duration {
        match self {
            Self::Workflow(time) | Self::Finally(time) | Self::Step { time, .. } => *time,
        }
    }

    /// This, or what ends `step` and what stands in it before.
    pub(super) fn within(&self, step: &Step) -> Self {
        match step.total_timeout {
            Some(time) if time < self.time() => Self::Step {
                id: step.id.clone(),
                time,
                goes_on: !matches!(step.on_error, OnError::Fail),
            },
            _ => self.clone(),
        }
    }
}

impl Walk<'_> {
    /// A limit that is never reached would say what is not so, and a wait that is longer always fails. Where something follows that
    /// failure, it may be what is meant.
    pub(super) fn in_time(&mut self, path: &str, time: Option<Duration>, is_limit: bool) {
        let whole = self.bound.time();
        if time.is_none_or(|time| time <= whole) {
            return;
        }
        let (whose, ends) = match &self.bound {
            Bound::Workflow(_) => ("the workflow's own timeout".to_owned(), "the execution"),
            Bound::Finally(_) => ("the timeout of finally".to_owned(), "it"),
            Bound::Step { goes_on: true, .. } => return,
            Bound::Step { id, .. } => (format!("the totalTimeout of step {id:?}"), "it"),
        };
        let text = format!(
            "is longer than {whose}, {} seconds, which ends {ends} before",
            whole.as_secs()
        );
        match &self.bound {
            Bound::Workflow(_) if is_limit => self.problems.add(path, text),
            _ => self.problems.add_if_written(path, text),
        }
    }
}
