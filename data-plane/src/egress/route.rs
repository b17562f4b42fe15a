//! Ways out other than straight to servers that the public trusts: by a proxy, to servers with certificates of other
//! authorities. Each has a client of its own, which is kept for a while.

use std::{fmt, sync::Arc, time::Duration};

use moka::sync::Cache;
use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use signalbox_runtime::tls;
use url::Url;

use super::{Denied, EgressError, EgressPolicy, client};

/// Ways whose clients are kept. More are made anew each time.
const KEPT_MAX: u64 = 64;
/// How long one is kept that nobody asks for.
const KEPT_FOR: Duration = Duration::from_secs(300);

/// A way out. `Debug` shows no credentials.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Route {
    /// Certificates in PEM that are trusted instead of the public ones.
    pub ca_certificate: Option<String>,
    /// URL of an http or https proxy, which may hold user information.
    pub proxy: Option<Url>,
}

impl Route {
    /// Whether it is none but the usual one.
    #[must_use]
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }

    /// What tells it from others, without its credentials.
    fn key(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        let proxy = self.proxy.as_ref().map(Url::as_str);
        for part in [self.ca_certificate.as_deref(), proxy] {
            // A part that is missing differs from an empty one.
            hasher.update(
                &part
                    .map_or(u64::MAX, |part| part.len() as u64)
                    .to_le_bytes(),
            );
            hasher.update(part.unwrap_or_default().as_bytes());
        }
        *hasher.finalize().as_bytes()
    }

    fn client(&self, policy: &Arc<EgressPolicy>) -> Result<reqwest::Client, RouteError> {
        let roots = self.ca_certificate.as_deref().map(roots).transpose()?;
        let proxy = match &self.proxy {
            Some(url) => Some(reqwest::Proxy::all(url.clone()).map_err(|_| RouteError::Proxy)?),
            None => None,
        };
        Ok(client(policy, roots, proxy)?)
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route")
            .field("proxy", &self.proxy.as_ref().and_then(Url::host_str))
            .finish_non_exhaustive()
    }
}

fn roots(pem: &str) -> Result<RootCertStore, RouteError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| RouteError::Pem(error.to_string()))?;
        roots.add(certificate).map_err(RouteError::Authority)?;
    }
    if roots.is_empty() {
        return Err(RouteError::NoCertificate);
    }
    Ok(roots)
}

/// Why there is no such way.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// The proxy's address.
    #[error("its proxy cannot be used: {0}")]
    Denied(#[from] Denied),
    /// The proxy's URL.
    #[error("its proxy's URL cannot be used")]
    Proxy,
    /// The authorities.
    #[error("its CA certificate is not valid PEM: {0}")]
    Pem(String),
    /// As said.
    #[error("its CA certificate is none: expected PEM, -----BEGIN CERTIFICATE----- …")]
    NoCertificate,
    /// As said.
    #[error("its CA certificate cannot be trusted as one: {0}")]
    Authority(rustls::Error),
    /// A fault of Signalbox.
    #[error(transparent)]
    Client(#[from] EgressError),
}

/// The clients of ways that are in use.
#[derive(Clone, Debug)]
pub(super) struct Routes(Cache<[u8; 32], reqwest::Client>);

impl Default for Routes {
    fn default() -> Self {
        let kept = Cache::builder()
            .max_capacity(KEPT_MAX)
            .time_to_idle(KEPT_FOR);
        Self(kept.build())
    }
}

impl Routes {
    /// The client of `route`, whose proxy's address may be connected to as far as it is known.
    pub(super) fn client(
        &self,
        route: &Route,
        policy: &Arc<EgressPolicy>,
    ) -> Result<reqwest::Client, Arc<RouteError>> {
        self.0.try_get_with(route.key(), || route.client(policy))
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> u64 {
        self.0.run_pending_tasks();
        self.0.entry_count()
    }
}

/// TLS that trusts `roots`; without any, those that the public trusts.
pub(super) fn tls_config(
    roots: Option<RootCertStore>,
) -> Result<rustls::ClientConfig, EgressError> {
    let config = match roots {
        // The Mozilla roots, compiled in: a node must not depend on what its image has in /etc/ssl.
        None => tls::client_config(None)?,
        Some(roots) => tls::client_config_with(roots)?,
    };
    let mut config = (*config).clone();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}
