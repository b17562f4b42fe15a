//! The webhook listener's certificate, wherever it comes from.

use std::sync::Arc;

use rustls::ServerConfig;
use signalbox_runtime::{
    data_dir::DataDir,
    shutdown::Shutdown,
    tls::{self, ReloadedFiles, TlsError, acme::Acme},
};

use super::{StartError, TlsSource};

/// What gives handshakes their certificate.
pub(super) enum ListenerTls {
    /// Nothing: HTTP in the clear.
    Off,
    Files(Arc<ReloadedFiles>),
    Acme(Arc<Acme>),
}

impl ListenerTls {
    pub(super) fn open(
        source: Option<TlsSource>,
        data_dir: &Arc<DataDir>,
    ) -> Result<Self, StartError> {
        Ok(match source {
            None => Self::Off,
            Some(TlsSource::Files(files)) => Self::Files(ReloadedFiles::open(files)?),
            Some(TlsSource::Acme(config)) => Self::Acme(Acme::open(config, data_dir.clone())?),
        })
    }

    pub(super) fn server_config(&self) -> Result<Option<Arc<ServerConfig>>, TlsError> {
        match self {
            Self::Off => Ok(None),
            Self::Files(files) => files.server_config().map(Some),
            Self::Acme(acme) => acme.server_config().map(Some),
        }
    }

    /// Who says whether there is a certificate; with files there is one, or no node.
    pub(super) fn acme(&self) -> Option<Arc<Acme>> {
        match self {
            Self::Acme(acme) => Some(acme.clone()),
            Self::Off | Self::Files(_) => None,
        }
    }

    /// Keeps the certificate current, as a task of `shutdown`.
    pub(super) fn watch(self, shutdown: &Shutdown) {
        match self {
            Self::Off => {}
            Self::Files(files) => {
                shutdown.spawn(files.watch(tls::RELOAD_PERIOD, shutdown.clone()));
            }
            Self::Acme(acme) => {
                shutdown.spawn(acme.run(shutdown.clone()));
            }
        }
    }
}
