//! Certificates that clients must have (mutual TLS), by authorities that are exchanged while connections are served.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, SignatureScheme};

use super::{TlsError, provider, roots_in};

type Verifier = Arc<dyn ClientCertVerifier>;

/// Lets in whoever has a certificate by one of the newest authorities, and nobody else.
#[derive(Debug)]
pub(super) struct Clients(ArcSwap<Verifier>);

impl Clients {
    pub(super) fn new(verifier: Verifier) -> Self {
        Self(ArcSwap::from_pointee(verifier))
    }

    pub(super) fn exchange(&self, verifier: Verifier) {
        self.0.store(Arc::new(verifier));
    }
}

/// What verifies by the authorities of a PEM file.
pub(super) fn verifier(path: &Path, pem: &[u8]) -> Result<Verifier, TlsError> {
    let roots = Arc::new(roots_in(path, pem)?);
    WebPkiClientVerifier::builder_with_provider(roots, provider())
        .build()
        .map_err(TlsError::Verifier)
}

impl ClientCertVerifier for Clients {
    /// None: they may be others by the time that the client looks. A client offers what it has.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verifier = self.0.load();
        verifier.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let verifier = self.0.load();
        verifier.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let verifier = self.0.load();
        verifier.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.load().supported_verify_schemes()
    }
}
