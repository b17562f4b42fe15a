//! How a process ends: stop taking work, drain what is under way, then force.
//!
//! Every server is `run(listener, shutdown)`. It stops accepting at [`Shutdown::stopping`], runs
//! its connections as tasks of [`Shutdown::spawn`], and drops what is left at
//! [`Shutdown::forced`]. `main` waits for `stopping`, then calls [`Shutdown::drain`].

use std::future::Future;
use std::io;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long tasks get to notice that they are forced.
const FORCE_GRACE: Duration = Duration::from_secs(1);

/// The signal handlers could not be installed.
#[derive(Debug, thiserror::Error)]
#[error("the signal handlers cannot be installed")]
pub struct SignalError(#[source] io::Error);

/// How [`Shutdown::drain`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrainOutcome {
    /// Every task finished by itself.
    Drained,
    /// The deadline passed, or a second signal came.
    Forced {
        /// Tasks that had not finished even after they were told to drop everything.
        remaining: usize,
    },
}

/// One scope of shutdown; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    stop: CancellationToken,
    force: CancellationToken,
    tasks: TaskTracker,
}

impl Shutdown {
    /// A scope that only [`Shutdown::stop`] and [`Shutdown::drain`] end.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A scope that SIGTERM and SIGINT stop, and that a second signal forces.
    ///
    /// # Errors
    /// [`SignalError`] when the process may not install handlers.
    ///
    /// # Panics
    /// Outside a Tokio runtime.
    pub fn from_signals() -> Result<Self, SignalError> {
        let shutdown = Self::new();
        let mut signals = signals::Signals::install().map_err(SignalError)?;
        let (stop, force) = (shutdown.stop.clone(), shutdown.force.clone());
        tokio::spawn(async move {
            let name = signals.next().await;
            tracing::info!(signal = name, "stopping; a second signal forces");
            stop.cancel();
            tokio::select! {
                name = signals.next() => {
                    tracing::warn!(signal = name, "second signal: forcing the end");
                    force.cancel();
                }
                () = force.cancelled() => {}
            }
        });
        Ok(shutdown)
    }

    /// A scope inside this one, with tasks of its own: it ends with this one, or earlier.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            stop: self.stop.child_token(),
            force: self.force.child_token(),
            tasks: TaskTracker::new(),
        }
    }

    /// A scope inside this one whose tasks this one's drain waits for, too.
    #[must_use]
    pub fn nested(&self) -> Self {
        let nested = self.child();
        let scope = nested.clone();
        self.spawn(async move {
            scope.stopping().await;
            scope.ended().await;
        });
        nested
    }

    /// Begins the shutdown without waiting for anything.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Completes when no new work may be taken.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// Whether the shutdown has begun.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Completes when work under way must be dropped, and at the end of every [`Shutdown::drain`].
    pub async fn forced(&self) {
        self.force.cancelled().await;
    }

    /// Whether work under way must be dropped.
    #[must_use]
    pub fn is_forced(&self) -> bool {
        self.force.is_cancelled()
    }

    /// A token for code that takes one. Cancelling it does not end this scope.
    #[must_use]
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.child_token()
    }

    /// Like [`Shutdown::stop_token`], for forcing.
    #[must_use]
    pub fn force_token(&self) -> CancellationToken {
        self.force.child_token()
    }

    /// Runs a task that [`Shutdown::drain`] waits for.
    pub fn spawn<F>(&self, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.tasks.spawn(task)
    }

    /// The tracked tasks, for `track_future` and `spawn_blocking`.
    #[must_use]
    pub fn tasks(&self) -> &TaskTracker {
        &self.tasks
    }

    /// Completes when no task of this scope is left. Call it when the scope is stopping.
    pub async fn ended(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Stops, waits up to `deadline` for the tasks of this scope, then forces those left.
    ///
    /// Returns within `deadline` plus one second.
    pub async fn drain(&self, deadline: Duration) -> DrainOutcome {
        self.stop.cancel();
        self.tasks.close();
        let drained = tokio::select! {
            biased;
            // First: tasks that end because they were forced have not drained.
            () = self.force.cancelled() => false,
            () = self.tasks.wait() => true,
            () = tokio::time::sleep(deadline) => false,
        };
        self.force.cancel();
        if drained {
            return DrainOutcome::Drained;
        }
        let _elapsed = tokio::time::timeout(FORCE_GRACE, self.tasks.wait()).await;
        DrainOutcome::Forced {
            remaining: self.tasks.len(),
        }
    }
}

#[cfg(unix)]
mod signals {
    use std::io;

    use tokio::signal::unix::{Signal, SignalKind, signal};

    pub(super) struct Signals {
        terminate: Signal,
        interrupt: Signal,
    }

    impl Signals {
        pub(super) fn install() -> io::Result<Self> {
            Ok(Self {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
            })
        }

        pub(super) async fn next(&mut self) -> &'static str {
            tokio::select! {
                _ = self.terminate.recv() => "SIGTERM",
                _ = self.interrupt.recv() => "SIGINT",
            }
        }
    }
}

#[cfg(not(unix))]
mod signals {
    use std::io;

    pub(super) struct Signals;

    impl Signals {
        pub(super) fn install() -> io::Result<Self> {
            Ok(Self)
        }

        pub(super) async fn next(&mut self) -> &'static str {
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
            "Ctrl-C"
        }
    }
}

#[cfg(test)]
mod tests;
