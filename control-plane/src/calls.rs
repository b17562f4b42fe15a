//! Sees to it, once at the start, that the calls of all published workflows are noted: those of a database that an earlier version
//! wrote are not (`docs/decisions/0031-deleted.md`).

use std::time::Duration;

use signalbox_runtime::shutdown::Shutdown;

use crate::app::App;

/// Pause between two batches.
const PAUSE: Duration = Duration::from_millis(20);
/// Pause after a failure.
const FAILED_PAUSE: Duration = Duration::from_secs(10);

/// Until all are noted, or the shutdown. What comes later is noted when it is written, or before it is asked for.
pub async fn run(app: App, shutdown: Shutdown) {
    loop {
        let pause = match app.note_calls().await {
            Ok(0) => return,
            Ok(_) => PAUSE,
            Err(error) => {
                tracing::warn!(%error, "calls of workflows cannot be noted now");
                FAILED_PAUSE
            }
        };
        tokio::select! {
            () = shutdown.stopping() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}
