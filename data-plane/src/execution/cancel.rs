//! Executions whose end was asked for.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use signalbox_model::ids::ExecutionName;
use tokio::{sync::watch, time::Instant};

/// Requests that are kept for executions that do not run here yet.
const KEPT_MAX: usize = 10_000;
/// How long each is kept. The control plane asks again every few seconds for as long as it is wanted.
const KEPT_FOR: Duration = Duration::from_secs(60);

/// Requests to end executions: the control plane's, for those who drive them. Nothing here is durable; what is, is the
/// fact that follows, and the control plane asks until the end is reported.
#[derive(Debug)]
pub struct Cancels {
    asked: Mutex<HashMap<ExecutionName, Instant>>,
    changed: watch::Sender<()>,
}

impl Default for Cancels {
    fn default() -> Self {
        Self {
            asked: Mutex::default(),
            changed: watch::Sender::new(()),
        }
    }
}

impl Cancels {
    /// Asks for the end of an execution. False: too many are asked for; ask again later.
    pub fn ask(&self, execution: ExecutionName) -> bool {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.len() >= KEPT_MAX {
            asked.retain(|_, at| at.elapsed() < KEPT_FOR);
        }
        if asked.len() >= KEPT_MAX {
            return false;
        }
        asked.insert(execution, Instant::now());
        drop(asked);
        self.changed.send_replace(());
        true
    }

    /// Whether the end of `execution` was asked for since this was last called.
    pub(super) fn take(&self, execution: &ExecutionName) -> bool {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.remove(execution).is_some()
    }

    /// Changes with each request.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}
