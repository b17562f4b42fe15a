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

use super::{cancel::Cancels, places::Places};
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

/// Counts the executions that run, by workflow.
#[derive(Debug)]
pub(super) struct Admissions {
    limits: Arc<dyn ConcurrencyLimits>,
    running: Mutex<HashMap<WorkflowName, Running>>,
    /// Whose end is asked for.
    cancels: Arc<Cancels>,
    /// Places of those that run, and of those in memory.
    places: [Arc<Places>; 2],
    /// A workflow was refused for want of places when it was last asked.
    is_short: AtomicBool,
    /// Told when one of a workflow is gone that may have had no room.
    freed: Arc<Notify>,
}

impl Admissions {
    /// For those that run in the first of `places`, and are in memory in the second.
    pub(super) fn new(
        limits: Arc<dyn ConcurrencyLimits>,
        cancels: Arc<Cancels>,
        places: [Arc<Places>; 2],
        freed: Arc<Notify>,
    ) -> Arc<Self> {
        Arc::new(Self {
            limits,
            running: Mutex::default(),
            cancels,
            places,
            is_short: AtomicBool::new(false),
            freed,
        })
    }

    /// What a claim asks that finds so many free places of each.
    pub(super) fn among(self: &Arc<Self>, free: [usize; 2]) -> Arc<dyn Admission> {
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
    free: [usize; 2],
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

    fn places(&self, workflow: &str) -> usize {
        let Ok(workflow) = workflow.parse::<WorkflowName>() else {
            return usize::MAX;
        };
        let each = self.admissions.places.iter().zip(self.free);
        let rooms = each.map(|(places, free)| places.room(&workflow, free));
        let places = rooms.min().unwrap_or(usize::MAX);
        if places == 0 {
            self.admissions.is_short.store(true, Ordering::Relaxed);
        }
        places
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
