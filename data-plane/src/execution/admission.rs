//! How many executions of a workflow run at once.

use std::{
    collections::HashMap,
    fmt,
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
};

use signalbox_model::ids::WorkflowName;
use tokio::sync::Notify;

use crate::{config::ConfigStore, spool::Admission};

/// What workflows say of how many of their executions run at once.
pub trait ConcurrencyLimits: fmt::Debug + Send + Sync {
    /// The limit of a workflow, if it has one.
    fn executions_max(&self, workflow: &WorkflowName) -> Option<NonZeroU32>;
}

/// Their published versions say so.
impl ConcurrencyLimits for ConfigStore {
    fn executions_max(&self, workflow: &WorkflowName) -> Option<NonZeroU32> {
        let snapshot = self.current();
        let published = snapshot.workflow(workflow)?.published.as_ref()?;
        published.front.executions_max
    }
}

/// None has a limit.
#[derive(Debug)]
pub(super) struct Unlimited;

impl ConcurrencyLimits for Unlimited {
    fn executions_max(&self, _workflow: &WorkflowName) -> Option<NonZeroU32> {
        None
    }
}

/// Counts the executions that run, by workflow.
#[derive(Debug)]
pub(super) struct Admissions {
    limits: Arc<dyn ConcurrencyLimits>,
    running: Mutex<HashMap<WorkflowName, usize>>,
    /// Told when one of a workflow with a limit is gone.
    freed: Arc<Notify>,
}

impl Admissions {
    pub(super) fn new(limits: Arc<dyn ConcurrencyLimits>, freed: Arc<Notify>) -> Arc<Self> {
        Arc::new(Self {
            limits,
            running: Mutex::default(),
            freed,
        })
    }

    /// One more runs, for as long as what is returned lives.
    pub(super) fn begin(self: &Arc<Self>, workflow: WorkflowName) -> Begun {
        *self.running().entry(workflow.clone()).or_default() += 1;
        Begun {
            workflow,
            among: self.clone(),
        }
    }

    fn running(&self) -> std::sync::MutexGuard<'_, HashMap<WorkflowName, usize>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admission for Admissions {
    fn room(&self, workflow: &str) -> usize {
        // What an earlier version accepted names no workflow, and has no limit.
        let Ok(workflow) = workflow.parse::<WorkflowName>() else {
            return usize::MAX;
        };
        let Some(max) = self.limits.executions_max(&workflow) else {
            return usize::MAX;
        };
        let running = self.running().get(&workflow).copied().unwrap_or(0);
        usize::try_from(max.get())
            .unwrap_or(usize::MAX)
            .saturating_sub(running)
    }
}

/// An execution that runs.
pub(super) struct Begun {
    workflow: WorkflowName,
    among: Arc<Admissions>,
}

impl Drop for Begun {
    fn drop(&mut self) {
        let mut running = self.among.running();
        if let Some(count) = running.get_mut(&self.workflow) {
            *count -= 1;
            if *count == 0 {
                running.remove(&self.workflow);
            }
        }
        drop(running);
        if self.among.limits.executions_max(&self.workflow).is_some() {
            self.among.freed.notify_one();
        }
    }
}
