//! Executions whose end was asked for.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use signalbox_model::ids::ExecutionName;
use tokio::{sync::watch, time::Instant};

use crate::spool::{Spool, SpoolError, Summoned};

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

/// What became of a request to end an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// It ends soon, or has ended and that is not reported yet.
    Noted,
    /// Too many are asked for; ask again later.
    TooMany,
    /// Nothing is known of the execution, and nothing waits to be reported of it.
    Unknown,
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
    /// Asks for the end of an execution of `spool`, whether a task has it or it waits there, for a time or for its turn.
    ///
    /// # Errors
    /// [`SpoolError`]; ask again later.
    pub async fn ask(
        &self,
        spool: &dyn Spool,
        execution: &ExecutionName,
    ) -> Result<Asked, SpoolError> {
        if !self.note(execution.clone()) {
            return Ok(Asked::TooMany);
        }
        // After the note: whoever parks it looks for one when that is done, and whoever claims it before its turn.
        match spool.summon(execution).await? {
            Summoned::Here => Ok(Asked::Noted),
            Summoned::Ended => {
                self.take(execution);
                Ok(Asked::Noted)
            }
            Summoned::Unknown => {
                self.take(execution);
                Ok(Asked::Unknown)
            }
        }
    }

    fn note(&self, execution: ExecutionName) -> bool {
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

    /// Whether its end is asked for, without taking notice of it.
    pub(super) fn is_asked(&self, execution: &ExecutionName) -> bool {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.contains_key(execution)
    }

    /// Changes with each request.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}
