//! TLS-ALPN-01 (RFC 8737): the authority connects to the listener itself, and the certificate that it is shown is the answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::server::ClientHello;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::config::Domain;
use super::error::OrderError;
use crate::tls::provider;

/// The protocol that the authority offers, and nothing beside.
pub(super) const PROTOCOL: &[u8] = b"acme-tls/1";

/// The answers that the authority may ask for now; as many as an order has domains.
#[derive(Debug, Default)]
pub(super) struct Challenges(Mutex<HashMap<Domain, Arc<CertifiedKey>>>);

/// Ends the answering when dropped.
pub(super) struct Answering<'a>(&'a Challenges);

impl Challenges {
    /// Begins to answer for one order.
    pub(super) fn begin(&self) -> Answering<'_> {
        Answering(self)
    }

    /// Whether it is an authority that knocks: it offers one protocol (RFC 8737 §3), as no one else does.
    pub(super) fn is_asked(hello: &ClientHello<'_>) -> bool {
        hello
            .alpn()
            .is_some_and(|mut offered| offered.next() == Some(PROTOCOL) && offered.next().is_none())
    }

    /// The answer for the name it asks for, if there is one.
    pub(super) fn answer(&self, hello: &ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let domain: Domain = hello.server_name()?.parse().ok()?;
        self.lock().get(&domain).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Domain, Arc<CertifiedKey>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answering<'_> {
    /// Answers for `domain` with the digest of a key authorization.
    pub(super) fn add(&self, domain: Domain, digest: &[u8]) -> Result<(), OrderError> {
        let pair = certificate(&domain, digest)?;
        self.0.lock().insert(domain, Arc::new(pair));
        Ok(())
    }
}

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        self.0.lock().clear();
    }
}

/// The self-signed certificate of RFC 8737 §3, with a key that is used for nothing else.
fn certificate(domain: &Domain, digest: &[u8]) -> Result<CertifiedKey, OrderError> {
    let make = || {
        let mut params = CertificateParams::new([domain.to_string()])?;
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
        let key = KeyPair::generate()?;
        Ok((params.self_signed(&key)?, key))
    };
    let (certificate, key) = make().map_err(OrderError::Challenge)?;
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let key = provider()
        .key_provider
        .load_private_key(key)
        .map_err(OrderError::ChallengeKey)?;
    // Not `from_der`: it takes offence at the extension, which is critical.
    Ok(CertifiedKey::new(vec![certificate.der().clone()], key))
}
