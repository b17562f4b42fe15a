//! SIGHUP, where there is one: the operator's word that certificates are to be seen to now.

use crate::shutdown::Shutdown;

/// Keeps SIGHUP from ending the process, as it would by itself, without a drain. What has files or certificates to see to
/// listens for it, too; where nothing `reloads`, the log says so.
///
/// # Panics
/// Outside a Tokio runtime.
pub fn heed_hangups(reloads: bool, shutdown: &Shutdown) {
    // It stays installed for as long as the process runs.
    let mut hangups = Hangups::install();
    if reloads {
        return;
    }
    let scope = shutdown.clone();
    shutdown.spawn(async move {
        loop {
            tokio::select! {
                biased;
                () = scope.stopping() => return,
                () = hangups.next() => tracing::info!("SIGHUP, and nothing to reload"),
            }
        }
    });
}

#[cfg(unix)]
pub(super) struct Hangups(Option<tokio::signal::unix::Signal>);

#[cfg(unix)]
impl Hangups {
    pub(super) fn install() -> Self {
        let kind = tokio::signal::unix::SignalKind::hangup();
        let installed = tokio::signal::unix::signal(kind);
        if let Err(error) = &installed {
            tracing::warn!(%error, "SIGHUP cannot be handled; certificates are renewed without it");
        }
        Self(installed.ok())
    }

    pub(super) async fn next(&mut self) {
        if let Some(signal) = &mut self.0
            && signal.recv().await.is_some()
        {
            return;
        }
        std::future::pending().await
    }
}

#[cfg(not(unix))]
pub(super) struct Hangups;

#[cfg(not(unix))]
impl Hangups {
    pub(super) fn install() -> Self {
        Self
    }

    pub(super) async fn next(&mut self) {
        std::future::pending().await
    }
}
