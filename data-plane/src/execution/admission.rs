//! How many executions of a workflow run at once.

use std::{
    collections::HashMap,
    fmt,
    num::NonZeroU32,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use signalbox_model::ids::{ExecutionName, WorkflowName};
use tokio::sync::Notify;

use super::cancel::Cancels;
use crate::{config::ConfigStore, spool::Admission};

/// How many executions of a workflow run at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConcurrencyLimit {
    /// So many.
    Max(NonZeroU32),
    /// As many as there are places.
    None,
    /// It is deleted, or not known yet: what runs of it says so itself.
    Unknown,
}

impl From<Option<NonZeroU32>> for ConcurrencyLimit {
    fn from(max: Option<NonZeroU32>) -> Self {
        max.map_or(Self::None, Self::Max)
    }
}

/// What workflows say of how many of their executions run at once.
pub trait ConcurrencyLimits: fmt::Debug + Send + Sync {
    /// The limit of a workflow.
    fn executions_max(&self, workflow: &WorkflowName) -> ConcurrencyLimit;
}

/// Their published versions say so.
impl ConcurrencyLimits for ConfigStore {
    fn executions_max(&self, workflow: &WorkflowName) -> ConcurrencyLimit {
        let snapshot = self.current();
        let workflow = snapshot.workflow(workflow);
        let published = workflow.and_then(|workflow| workflow.published.as_ref());
        published.map_or(ConcurrencyLimit::Unknown, |published| {
            published.front.executions_max.into()
        })
    }
}

/// None has a limit.
#[derive(Debug)]
pub(super) struct Unlimited;

impl ConcurrencyLimits for Unlimited {
    fn executions_max(&self, _workflow: &WorkflowName) -> ConcurrencyLimit {
        ConcurrencyLimit::None
    }
}

/// What runs of a workflow.
#[derive(Clone, Copy, Debug)]
struct Running {
    count: usize,
    /// As the definition says that the last of them began with.
    limit: ConcurrencyLimit,
}

/// Of all places one in so many is kept for workflows that have few: one whose steps hang does not hold all of them.
const KEPT_SHARE: usize = 8;

/// Counts the executions that run, by workflow.
#[derive(Debug)]
pub(super) struct Admissions {
    limits: Arc<dyn ConcurrencyLimits>,
    running: Mutex<HashMap<WorkflowName, Running>>,
    /// Whose end is asked for.
    cancels: Arc<Cancels>,
    /// Places that are kept.
    kept: usize,
    /// A workflow was refused for want of places when it was last asked.
    is_short: AtomicBool,
    /// Told when one of a workflow is gone that may have had no room.
    freed: Arc<Notify>,
}

impl Admissions {
    /// For `places` executions at once.
    pub(super) fn new(
        limits: Arc<dyn ConcurrencyLimits>,
        cancels: Arc<Cancels>,
        places: usize,
        freed: Arc<Notify>,
    ) -> Arc<Self> {
        Arc::new(Self {
            limits,
            running: Mutex::default(),
            cancels,
            kept: places / KEPT_SHARE,
            is_short: AtomicBool::new(false),
            freed,
        })
    }

    /// What a claim asks that finds so many free places.
    pub(super) fn among(self: &Arc<Self>, free: usize) -> Arc<dyn Admission> {
        self.is_short.store(false, Ordering::Relaxed);
        Arc::new(Admitting {
            admissions: self.clone(),
            free,
        })
    }

    /// One more runs, for as long as what is returned lives.
    pub(super) fn begin(self: &Arc<Self>, workflow: WorkflowName) -> Begun {
        let mut running = self.running();
        let of_workflow = running.entry(workflow.clone()).or_insert(Running {
            count: 0,
            limit: ConcurrencyLimit::Unknown,
        });
        of_workflow.count += 1;
        drop(running);
        Begun {
            workflow,
            among: self.clone(),
        }
    }

    /// There is one place more: who had none is claimed now.
    pub(super) fn left_place(&self) {
        if self.is_short() {
            self.freed.notify_one();
        }
    }

    /// Whether there was no place for some workflow when it was last looked for.
    pub(super) fn is_short(&self) -> bool {
        self.is_short.load(Ordering::Relaxed)
    }

    fn running_of(&self, workflow: &WorkflowName) -> usize {
        self.running().get(workflow).map_or(0, |of| of.count)
    }

    /// What its published version says, or else what runs of it.
    fn limit(&self, workflow: &WorkflowName) -> ConcurrencyLimit {
        match self.limits.executions_max(workflow) {
            ConcurrencyLimit::Unknown => {
                let running = self.running();
                let of_workflow = running.get(workflow);
                of_workflow.map_or(ConcurrencyLimit::Unknown, |of| of.limit)
            }
            known => known,
        }
    }

    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<WorkflowName, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a claim asks.
struct Admitting {
    admissions: Arc<Admissions>,
    free: usize,
}

impl Admission for Admitting {
    fn room(&self, workflow: &str) -> usize {
        // What an earlier version accepted names no workflow, and has no limit.
        let Ok(workflow) = workflow.parse::<WorkflowName>() else {
            return usize::MAX;
        };
        let max = match self.admissions.limit(&workflow) {
            ConcurrencyLimit::Max(max) => usize::try_from(max.get()).unwrap_or(usize::MAX),
            ConcurrencyLimit::None => return usize::MAX,
            // The first says how many.
            ConcurrencyLimit::Unknown => 1,
        };
        max.saturating_sub(self.admissions.running_of(&workflow))
    }

    /// All free ones but those that are kept; of those, too, for one that has few.
    fn places(&self, workflow: &str) -> usize {
        let Ok(workflow) = workflow.parse::<WorkflowName>() else {
            return usize::MAX;
        };
        let kept = self.admissions.kept;
        let few = kept
            .div_ceil(2)
            .saturating_sub(self.admissions.running_of(&workflow));
        let places = self.free.saturating_sub(kept).max(few);
        if places == 0 && kept > 0 {
            self.admissions.is_short.store(true, Ordering::Relaxed);
        }
        if kept == 0 { usize::MAX } else { places }
    }

    fn is_to_end(&self, execution: &str) -> bool {
        let execution = execution.parse::<ExecutionName>();
        execution.is_ok_and(|execution| self.admissions.cancels.is_asked(&execution))
    }
}

/// An execution that runs.
pub(super) struct Begun {
    workflow: WorkflowName,
    among: Arc<Admissions>,
}

impl Begun {
    /// Its definition says how many of its workflow run at once.
    pub(super) fn learn(&self, limit: ConcurrencyLimit) {
        let mut running = self.among.running();
        let Some(of_workflow) = running.get_mut(&self.workflow) else {
            return;
        };
        let was_known = of_workflow.limit != ConcurrencyLimit::Unknown;
        of_workflow.limit = limit;
        drop(running);
        let is_needed =
            self.among.limits.executions_max(&self.workflow) == ConcurrencyLimit::Unknown;
        if is_needed && !was_known {
            self.among.freed.notify_one();
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        let limit = self.among.limit(&self.workflow);
        let mut running = self.among.running();
        if let Some(of_workflow) = running.get_mut(&self.workflow) {
            of_workflow.count -= 1;
            if of_workflow.count == 0 {
                running.remove(&self.workflow);
            }
        }
        drop(running);
        if limit == ConcurrencyLimit::None {
            self.among.left_place();
        } else {
            self.among.freed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn admissions(places: usize) -> Arc<Admissions> {
        let freed = Arc::new(Notify::new());
        Admissions::new(Arc::new(Unlimited), Arc::default(), places, freed)
    }

    #[test]
    fn each_place_that_is_kept_is_for_some_workflow() {
        const NAME: &str = "projects/p/workflows/w";
        for places in 1..=32 {
            let admissions = admissions(places);
            // Of all places that another workflow left, one that has none gets one.
            let kept = places / KEPT_SHARE;
            assert!(admissions.among(kept.max(1)).places(NAME) >= 1, "{places}");
            // And of all places, all but what is kept.
            assert!(
                admissions.among(places).places(NAME) >= places - kept,
                "{places}"
            );
        }
    }
}
