//! The definitions of which only the front was read when they came.

use std::sync::Arc;

use signalbox_proto::dataplane::v1 as wire;
use tokio::task::JoinHandle;

use crate::config::ConfigStore;

/// Reads them beside everything else, as long as this is there.
#[derive(Debug, Default)]
pub(super) struct Rest {
    reading: Option<JoinHandle<Vec<wire::RefusedResource>>>,
    lives: Arc<()>,
}

impl Rest {
    /// Begins with what `config` has now. What was begun before ends where it is.
    pub(super) fn read(&mut self, config: &Arc<ConfigStore>) {
        self.lives = Arc::default();
        let (config, lives) = (config.clone(), Arc::downgrade(&self.lives));
        self.reading = Some(tokio::task::spawn_blocking(move || {
            let found = config.unreadable(|| lives.strong_count() > 0);
            let refused = found
                .into_iter()
                .map(|(name, reason)| wire::RefusedResource {
                    resource: name.to_string(),
                    reason,
                });
            refused.collect()
        }));
    }

    /// What this node cannot run, once all is read; never, when nothing is being read.
    pub(super) async fn refused(&mut self) -> Vec<wire::RefusedResource> {
        let Some(reading) = &mut self.reading else {
            return std::future::pending().await;
        };
        let read = reading.await;
        self.reading = None;
        // It ended unread only because the runtime ends, or a definition broke the parser: it is refused when it is used.
        read.unwrap_or_default()
    }
}
