//! Work that may wait: it runs in threads that the kernel schedules after those that answer someone.
//!
//! A node that takes in more than it can execute must go on answering: what it refuses or answers late may be lost to the
//! sender's patience, what it has accepted is on its disk. Background threads take what processor time is left, and by the
//! kernel's weights (see `sched(7)`) never nothing.

use std::{future::Future, io};

use tokio::{
    runtime::{Builder, Runtime},
    task::JoinHandle,
};

use crate::shutdown::Shutdown;

/// Niceness of background threads: by Linux's weights, a tenth of the share of one that answers.
const NICENESS: i32 = 10;

/// Makes the current thread a background thread, for good. Where the system has no priority of threads it stays as it is.
pub fn lower_priority() {
    // On Linux, the "process" of setpriority(2) is a thread.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::debug!(%error, "the priority of a background thread cannot be lowered");
    }
}

/// A Tokio runtime of background threads.
#[derive(Debug)]
pub struct Background(Option<Runtime>);

impl Background {
    /// Starts one, with a thread for each processor.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start() -> io::Result<Self> {
        Builder::new_multi_thread()
            .thread_name("background")
            .on_thread_start(lower_priority)
            .enable_all()
            .build()
            .map(|runtime| Self(Some(runtime)))
    }

    /// Runs a task that [`Shutdown::drain`] waits for; what it spawns itself runs here, too.
    pub fn spawn<F>(&self, shutdown: &Shutdown, task: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        match &self.0 {
            Some(runtime) => shutdown.tasks().spawn_on(task, runtime.handle()),
            None => shutdown.spawn(task),
        }
    }
}

impl Drop for Background {
    /// Ends it without waiting: its tasks were waited for by the shutdown, and those left are dropped.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::Duration;

    use super::*;
    use crate::shutdown::DrainOutcome;

    #[tokio::test]
    async fn background_tasks_run_nicely_and_are_waited_for() {
        let background = Background::start().unwrap();
        let shutdown = Shutdown::new();
        let (started, running) = tokio::sync::oneshot::channel();
        let stopping = shutdown.clone();
        let task = background.spawn(&shutdown, async move {
            let nested = tokio::spawn(async { std::thread::current().name().map(str::to_owned) });
            let niceness = rustix::process::getpriority_process(None).unwrap();
            started.send((niceness, nested.await.unwrap())).unwrap();
            stopping.stopping().await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        });
        let (niceness, name) = running.await.unwrap();
        assert!(niceness >= NICENESS, "{niceness}");
        assert_eq!(name.as_deref(), Some("background"));
        let outcome = shutdown.drain(Duration::from_secs(20)).await;
        assert_eq!(outcome, DrainOutcome::Drained);
        task.await.unwrap();
        // In a task of another runtime: dropping must not wait.
        drop(background);
    }
}
