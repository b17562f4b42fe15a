//! PEM files, or an ACME authority, to rustls configurations, with aws-lc-rs as the one cryptographic provider.

pub mod acme;
mod clients;
mod error;
mod hangups;
mod reload;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

use clients::Clients;
pub use error::TlsError;
pub use hangups::heed_hangups;
pub use reload::{PERIOD as RELOAD_PERIOD, ReloadedFiles};

/// Largest PEM file that is read, in bytes; the whole Mozilla root program takes a quarter of it.
const PEM_MAX_BYTES: u64 = 1024 * 1024;

/// Protocols that servers offer, in order of preference (RFC 7301).
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Makes aws-lc-rs the process-wide provider, for libraries that look it up. Repeating is harmless.
pub fn install_crypto_provider() {
    // It fails only when a provider is there already, which is what we want.
    let _already = aws_lc_rs::default_provider().install_default();
}

/// A listener's PEM files.
#[derive(Clone, Debug)]
pub struct ServerFiles {
    /// The certificate chain, leaf first.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// Authorities of which every client must have a certificate; none: clients need none.
    pub client_ca: Option<PathBuf>,
}

/// Server configuration from a certificate chain (leaf first) and its private key, both PEM, for good; [`ReloadedFiles`]
/// follows changes of the files.
///
/// # Errors
/// [`TlsError`] names the file and what is wrong with it, also when the key is not that of the
/// certificate.
pub fn server_config(chain_file: &Path, key_file: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let pair = certified_key(chain_file, &read(chain_file)?, key_file, &read(key_file)?)?;
    resolving_config(Arc::new(SingleCertAndKey::from(pair)), &[])
}

/// Server configuration that asks `resolver` for the certificate of each connection.
///
/// TLS 1.2 and 1.3; ALPN `h2`, `http/1.1`, then `more_protocols`; no client certificates.
///
/// # Errors
/// [`TlsError::Provider`].
pub fn resolving_config(
    resolver: Arc<dyn ResolvesServerCert>,
    more_protocols: &[&[u8]],
) -> Result<Arc<ServerConfig>, TlsError> {
    listener_config(resolver, None, more_protocols)
}

/// The same that lets in `clients` only, if there are some.
fn listener_config(
    resolver: Arc<dyn ResolvesServerCert>,
    clients: Option<Arc<Clients>>,
    more_protocols: &[&[u8]],
) -> Result<Arc<ServerConfig>, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Provider)?;
    let mut config = match clients {
        None => builder.with_no_client_auth().with_cert_resolver(resolver),
        Some(clients) => {
            let mut config = builder
                .with_client_cert_verifier(clients)
                .with_cert_resolver(resolver);
            // A session that is resumed is not verified anew: the authority that vouched for it may be gone.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
            config
        }
    };
    let protocols = ALPN.iter().chain(more_protocols);
    config.alpn_protocols = protocols.map(|name| name.to_vec()).collect();
    Ok(Arc::new(config))
}

/// Client configuration that trusts the CA certificates in `ca_file`, and only them; without a
/// file, the Mozilla root program. No client certificate; ALPN is left to the HTTP client.
///
/// # Errors
/// [`TlsError`] names the file and what is wrong with it.
pub fn client_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, TlsError> {
    client_config_with(root_store(ca_file)?)
}

/// The same that trusts `roots`, and only them.
///
/// # Errors
/// [`TlsError::Provider`].
pub fn client_config_with(roots: RootCertStore) -> Result<Arc<ClientConfig>, TlsError> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Provider)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// The trusted roots of [`client_config`], for clients that build their own configuration.
///
/// # Errors
/// [`TlsError`] names the file and what is wrong with it.
pub fn root_store(ca_file: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let Some(path) = ca_file else {
        return Ok(RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
        });
    };
    roots_in(path, &read(path)?)
}

/// The authorities of a PEM file, at least one.
fn roots_in(path: &Path, pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates_in(path, pem)? {
        roots.add(certificate).map_err(|source| TlsError::Ca {
            path: path.to_owned(),
            source,
        })?;
    }
    Ok(roots)
}

/// The certificates of a PEM file, at least one.
///
/// # Errors
/// [`TlsError`] names the file and what is wrong with it.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    certificates_in(path, &read(path)?)
}

/// The end of the validity of a chain's first certificate, in seconds since 1970.
#[must_use]
pub fn expiry(chain: &[CertificateDer<'_>]) -> Option<i64> {
    Some(validity(chain)?.1)
}

/// Begin and end of the validity of a chain's first certificate, in seconds since 1970.
fn validity(chain: &[CertificateDer<'_>]) -> Option<(i64, i64)> {
    let (_, leaf) = x509_parser::parse_x509_certificate(chain.first()?).ok()?;
    let validity = leaf.validity();
    Some((
        validity.not_before.timestamp(),
        validity.not_after.timestamp(),
    ))
}

/// Notes the end of a chain's validity as a metric, for alerts on certificates that nobody renews.
pub fn note_expiry(chain: &[CertificateDer<'_>]) {
    if let Some(seconds) = expiry(chain) {
        #[expect(clippy::cast_precision_loss, reason = "gauges are doubles")]
        metrics::gauge!("signalbox_tls_certificate_expiry_timestamp_seconds").set(seconds as f64);
    }
}

fn certificates_in(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|source| TlsError::Pem {
        path: path.to_owned(),
        source,
    })?;
    if found.is_empty() {
        return Err(TlsError::NoCertificate {
            path: path.to_owned(),
        });
    }
    Ok(found)
}

/// Chain and key that belong together.
fn certified_key(
    chain_file: &Path,
    chain: &[u8],
    key_file: &Path,
    key: &[u8],
) -> Result<CertifiedKey, TlsError> {
    let chain = certificates_in(chain_file, chain)?;
    let key = private_key(key_file, key)?;
    CertifiedKey::from_der(chain, key, &provider()).map_err(|source| TlsError::Pair {
        chain: chain_file.to_owned(),
        key: key_file.to_owned(),
        source,
    })
}

fn private_key(path: &Path, pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|source| match source {
        rustls_pki_types::pem::Error::NoItemsFound => TlsError::NoKey {
            path: path.to_owned(),
        },
        source => TlsError::Pem {
            path: path.to_owned(),
            source,
        },
    })
}

/// The bytes of a PEM file, wiped when dropped: it may hold a key.
fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let mut bytes = Zeroizing::new(Vec::new());
    let read = File::open(path)
        .and_then(|file| file.take(PEM_MAX_BYTES + 1).read_to_end(&mut bytes))
        .and_then(|read| match read as u64 > PEM_MAX_BYTES {
            true => Err(io::Error::from(io::ErrorKind::FileTooLarge)),
            false => Ok(()),
        });
    match read {
        Ok(()) => Ok(bytes),
        Err(source) => Err(TlsError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

#[cfg(test)]
mod tests;
