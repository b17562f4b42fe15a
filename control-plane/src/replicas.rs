//! How a control plane hears of what others at the same database write (`docs/decisions/0026-replicas.md`).

use signalbox_runtime::shutdown::Shutdown;

use crate::store::Store;

/// Follows the other replicas until the shutdown.
pub async fn follow(store: Store, shutdown: Shutdown) {
    tokio::select! {
        () = shutdown.stopping() => {}
        () = store.follow() => {}
    }
}
