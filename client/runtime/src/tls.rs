//! PEM files to rustls configurations, with aws-lc-rs as the one cryptographic provider.

mod error;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

pub use error::TlsError;

/// Largest PEM file that is read, in bytes; the whole Mozilla root program takes a quarter of it.
const PEM_MAX_BYTES: u64 = 1024 * 1024;

/// Protocols that servers offer, in order of preference (RFC 7301).
const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Makes aws-lc-rs the process-wide provider, for libraries that look it up. Repeating is harmless.
pub fn install_crypto_provider() {
    // It fails only when a provider is there already, which is what we want.
    let _already = aws_lc_rs::default_provider().install_default();
}

/// Server configuration from a certificate chain (leaf first) and its private key, both PEM.
///
/// TLS 1.2 and 1.3; ALPN `h2`, `http/1.1`; no client certificates.
///
/// # Errors
/// [`TlsError`] names the file and what is wrong with it, also when the key is not that of the
/// certificate.
pub fn server_config(chain_file: &Path, key_file: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = certificates(chain_file)?;
    let key = private_key(key_file)?;
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(|source| TlsError::Pair {
            chain: chain_file.to_owned(),
            key: key_file.to_owned(),
            source,
        })?;
    config.alpn_protocols = ALPN.map(<[u8]>::to_vec).to_vec();
    Ok(Arc::new(config))
}

/// Client configuration that trusts the CA certificates in `ca_file`, and only them; without a
/// file, the Mozilla root program. No client certificate; ALPN is left to the HTTP client.
///
/// # Errors
/// [`TlsError`] names the file and what is wrong with it.
pub fn client_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = root_store(ca_file)?;
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
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
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
    let pem = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
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

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let pem = read(path)?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|source| match source {
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
