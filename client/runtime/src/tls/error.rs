//! What can be wrong with TLS files.

use std::io;
use std::path::PathBuf;

/// Why a TLS file cannot be used. No variant holds key material.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read, or is larger than 1 MiB.
    #[error("{path:?} cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is not well-formed PEM.
    #[error("{path:?} is not valid PEM")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        source: rustls_pki_types::pem::Error,
    },
    /// There is no `CERTIFICATE` section.
    #[error("{path:?} holds no certificate")]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// There is no private key section.
    #[error("{path:?} holds no private key (PKCS#8, PKCS#1 or SEC1)")]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// Certificate and key do not belong together, or cannot be used.
    #[error("certificate {chain:?} and key {key:?} cannot be used together")]
    Pair {
        /// The certificate file.
        chain: PathBuf,
        /// The key file.
        key: PathBuf,
        /// What rustls says.
        source: rustls::Error,
    },
    /// A CA certificate cannot be a trust anchor.
    #[error("{path:?} holds a certificate that cannot be trusted as a CA")]
    Ca {
        /// The file.
        path: PathBuf,
        /// What rustls says.
        source: rustls::Error,
    },
    /// There is nothing to verify clients by.
    #[error("client certificates cannot be verified")]
    Verifier(#[source] rustls::server::VerifierBuilderError),
    /// The cryptographic provider lacks the protocol versions.
    #[error("the TLS provider cannot be configured")]
    Provider(#[source] rustls::Error),
}
