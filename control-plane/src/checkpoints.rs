//! Takes SQLite's write-ahead log into the database, beside who writes.

use std::time::Duration;

use signalbox_runtime::shutdown::Shutdown;

use crate::store::Store;

/// From the first commit after one to the next. What all write (the ends of tables) is taken in once for all of them, and the log
/// stays smaller than a commit would take in by itself.
const INTERVAL: Duration = Duration::from_millis(750);

/// Until the shutdown: what is left then is taken in when the database is closed, or opened.
pub async fn run(store: Store, shutdown: Shutdown) {
    loop {
        let next = async {
            store.committed().await;
            tokio::time::sleep(INTERVAL).await;
        };
        tokio::select! {
            () = shutdown.stopping() => return,
            () = next => {}
        }
        if let Err(error) = store.take_in_log().await {
            tracing::warn!(%error, "the write-ahead log cannot be taken in now");
        }
    }
}
