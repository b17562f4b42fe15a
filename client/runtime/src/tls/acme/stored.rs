//! What a node keeps between starts: its account with the authority, and the certificate with its key. Each is one file,
//! so that it is replaced as a whole.

use std::path::Path;
use std::sync::Arc;

use instant_acme::AccountCredentials;
use jiff::Timestamp;
use rustls::client::verify_server_name;
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls_pki_types::ServerName;
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use super::config::{Contact, DirectoryUrl, Domains};
use super::error::{CertificateFault, OrderError};
use crate::data_dir::{DataDir, DataDirError};
use crate::tls::{certified_key, validity};

pub(super) const ACCOUNT_FILE: &str = "acme-account.json";
pub(super) const CERTIFICATE_FILE: &str = "acme-certificate.json";

/// An account, and what it was made for.
#[derive(Serialize, Deserialize)]
pub(super) struct StoredAccount {
    pub(super) directory: DirectoryUrl,
    /// Key identifier of the external account it is bound to.
    pub(super) external_account: Option<String>,
    pub(super) contacts: Vec<Contact>,
    pub(super) credentials: AccountCredentials,
}

impl StoredAccount {
    /// The account of an earlier order; none also when what is there cannot be understood.
    pub(super) async fn load(data_dir: &Arc<DataDir>) -> Result<Option<Self>, OrderError> {
        let data_dir = data_dir.clone();
        let Some(bytes) = blocking(move || data_dir.read(ACCOUNT_FILE)).await? else {
            return Ok(None);
        };
        match serde_json::from_slice(&bytes) {
            Ok(account) => Ok(Some(account)),
            // Not the error: it may quote what it did not understand.
            Err(_) => {
                tracing::warn!(
                    file = ACCOUNT_FILE,
                    "the ACME account cannot be read; a new one is made"
                );
                Ok(None)
            }
        }
    }

    pub(super) async fn save(&self, data_dir: &Arc<DataDir>) -> Result<(), OrderError> {
        save(self, ACCOUNT_FILE, data_dir).await
    }
}

/// A certificate as the authority issued it, and what was ordered.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
pub(super) struct StoredCertificate {
    #[zeroize(skip)]
    pub(super) directory: DirectoryUrl,
    #[zeroize(skip)]
    pub(super) domains: Domains,
    /// PEM, the leaf first.
    pub(super) chain: String,
    /// PEM.
    pub(super) key: String,
}

impl StoredCertificate {
    /// What an earlier order left, whatever it was for.
    pub(super) fn load(data_dir: &DataDir) -> Result<Option<Self>, CertificateFault> {
        let Some(bytes) = data_dir.read(CERTIFICATE_FILE)? else {
            return Ok(None);
        };
        serde_json::from_slice(&bytes).map_err(|_| CertificateFault::Json)
    }

    pub(super) async fn save(&self, data_dir: &Arc<DataDir>) -> Result<(), OrderError> {
        save(self, CERTIFICATE_FILE, data_dir).await
    }
}

/// A certificate that can be served.
#[derive(Debug)]
pub(super) struct Issued {
    /// Whose it is.
    pub(super) directory: DirectoryUrl,
    pub(super) pair: Arc<CertifiedKey>,
    pub(super) expires_at: Timestamp,
    /// Two thirds of its lifetime are over then.
    pub(super) renew_at: Timestamp,
}

impl Issued {
    /// A certificate that is good for `domains` at `now`.
    pub(super) fn new(
        stored: &StoredCertificate,
        domains: &Domains,
        now: Timestamp,
    ) -> Result<Self, CertificateFault> {
        if stored.domains != *domains {
            return Err(CertificateFault::OtherDomains(stored.domains.clone()));
        }
        let file = Path::new(CERTIFICATE_FILE);
        let pair = certified_key(file, stored.chain.as_bytes(), file, stored.key.as_bytes())?;
        let leaf = pair.end_entity_cert().map_err(CertificateFault::Leaf)?;
        let leaf = ParsedCertificate::try_from(leaf).map_err(CertificateFault::Leaf)?;
        for domain in domains.iter() {
            let name = ServerName::try_from(domain.as_str());
            let named = name.is_ok_and(|name| verify_server_name(&leaf, &name).is_ok());
            if !named {
                return Err(CertificateFault::Unnamed(domain.clone()));
            }
        }
        let (from, until) = validity(&pair.cert).ok_or(CertificateFault::Validity)?;
        let at = |second| Timestamp::from_second(second).map_err(|_| CertificateFault::Validity);
        let expires_at = at(until)?;
        if expires_at <= now {
            return Err(CertificateFault::Expired(expires_at));
        }
        Ok(Self {
            directory: stored.directory.clone(),
            expires_at,
            renew_at: at(from + until.saturating_sub(from) / 3 * 2)?,
            pair: Arc::new(pair),
        })
    }

    /// Like [`Issued::new`], of a certificate that came just now. One that is due already is refused: a clock that is wrong
    /// must not have order follow order.
    pub(super) fn fresh(
        stored: &StoredCertificate,
        domains: &Domains,
        now: Timestamp,
    ) -> Result<Self, CertificateFault> {
        let issued = Self::new(stored, domains, now)?;
        match issued.renew_at > now {
            true => Ok(issued),
            false => Err(CertificateFault::Stale(issued.renew_at)),
        }
    }
}

async fn save(
    what: &impl Serialize,
    file: &'static str,
    data_dir: &Arc<DataDir>,
) -> Result<(), OrderError> {
    let bytes = Zeroizing::new(serde_json::to_vec_pretty(what).map_err(OrderError::Json)?);
    let data_dir = data_dir.clone();
    blocking(move || data_dir.write_secret_file(file, &bytes)).await
}

/// The data folder's functions block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DataDirError> + Send + 'static,
) -> Result<T, OrderError> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.map_err(OrderError::Interrupted)??)
}
