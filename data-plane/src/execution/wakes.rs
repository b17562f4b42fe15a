//! Executions in memory that are to look at what they were told.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jiff::Timestamp;
use signalbox_model::{ids::ExecutionName, signal::Signal};
use tokio::{sync::Notify, time::Instant};

use super::secrets::{SecretSource, masks_of};
use crate::spool::{Spool, SpoolError, Told};

/// Executions that are claimed and not driven yet, which is a matter of milliseconds.
const EARLY_MAX: usize = 10_000;
/// Pause before one is tried again that there was no room for.
const EARLY_PAUSE: Duration = Duration::from_millis(10);
/// How long one is remembered.
const EARLY_KEPT_FOR: Duration = Duration::from_secs(60);

/// Wakes those who drive executions, each for its own. What there is to see is in the spool: nothing is lost with this.
#[derive(Debug, Default)]
pub struct Wakes(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    driven: HashMap<ExecutionName, Arc<Wake>>,
    early: HashMap<ExecutionName, Instant>,
}

#[derive(Debug, Default)]
struct Wake {
    is_due: AtomicBool,
    notify: Notify,
}

impl Wakes {
    /// Tells an execution of `spool` something, without what `secrets` has of its definition's, whether a task has it or it waits
    /// there. None: too many are about to be driven; tell it again later, which changes nothing where it is known.
    ///
    /// # Errors
    /// [`SpoolError`]; tell it again later.
    pub async fn tell(
        &self,
        (spool, secrets): (&dyn Spool, &dyn SecretSource),
        (execution, signal): (&ExecutionName, Signal),
        time: Timestamp,
        traceparent: Option<String>,
    ) -> Result<Option<Told>, SpoolError> {
        let signal = signal.masked(&masks_of(spool, secrets, execution).await?);
        let told = spool.tell(execution.clone(), signal, time, traceparent);
        let told = told.await?;
        // Where it is parked meanwhile, the spool knows that it was not heard.
        let is_told = told != Told::Claimed || self.wake(execution);
        Ok(is_told.then_some(told))
    }

    /// Wakes who drives `executions`, which have been told something and are claimed.
    pub(super) async fn wake_all(&self, executions: &[ExecutionName]) {
        for execution in executions {
            // Those that are about to be driven are soon.
            while !self.wake(execution) {
                tokio::time::sleep(EARLY_PAUSE).await;
            }
        }
    }

    /// Wakes who drives `execution`, or will in a moment: it is claimed. False: too many are about to be driven; come again.
    fn wake(&self, execution: &ExecutionName) -> bool {
        let mut inner = self.inner();
        if let Some(wake) = inner.driven.get(execution) {
            wake.is_due.store(true, Ordering::Release);
            wake.notify.notify_one();
            return true;
        }
        if inner.early.len() >= EARLY_MAX {
            inner.early.retain(|_, at| at.elapsed() < EARLY_KEPT_FOR);
        }
        if inner.early.len() >= EARLY_MAX {
            return false;
        }
        inner.early.insert(execution.clone(), Instant::now());
        true
    }

    /// For who drives `execution` from now on.
    pub(super) fn driven(self: &Arc<Self>, execution: &ExecutionName) -> Driven {
        let mut inner = self.inner();
        let wake = Arc::new(Wake {
            is_due: AtomicBool::new(inner.early.remove(execution).is_some()),
            notify: Notify::new(),
        });
        inner.driven.insert(execution.clone(), wake.clone());
        Driven {
            wakes: self.clone(),
            execution: execution.clone(),
            wake,
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of who drives an execution.
pub(super) struct Driven {
    wakes: Arc<Wakes>,
    execution: ExecutionName,
    wake: Arc<Wake>,
}

impl Driven {
    /// Whether it was woken since this was last asked.
    pub(super) fn is_due(&self) -> bool {
        self.wake.is_due.swap(false, Ordering::AcqRel)
    }

    /// Until it is woken. It may have been before.
    pub(super) async fn woken(&self) {
        self.wake.notify.notified().await;
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        self.wakes.inner().driven.remove(&self.execution);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[tokio::test]
    async fn each_is_woken_for_itself_also_just_before_it_begins() {
        let wakes = Arc::new(Wakes::default());
        let name =
            |id: &str| -> ExecutionName { format!("projects/p/executions/{id}").parse().unwrap() };
        assert!(wakes.wake(&name("a")));
        let (a, b) = (wakes.driven(&name("a")), wakes.driven(&name("b")));
        assert!(a.is_due() && !a.is_due() && !b.is_due());
        assert!(wakes.wake(&name("b")));
        b.woken().await;
        assert!(b.is_due() && !a.is_due());
        // Nothing stays of what has ended.
        drop((a, b));
        assert!(wakes.inner().driven.is_empty() && wakes.inner().early.is_empty());
    }

    #[test]
    fn what_is_about_to_begin_is_bounded() {
        let wakes = Wakes::default();
        for n in 0..=EARLY_MAX {
            let name = format!("projects/p/executions/x{n}").parse().unwrap();
            assert_eq!(wakes.wake(&name), n < EARLY_MAX);
        }
    }
}
