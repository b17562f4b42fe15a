//! What an operator says of the certificates that are to be had.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::Uri;
use rustls_pki_types::{DnsName, IpAddr};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::tls::{TlsError, read};

/// Let's Encrypt's directory, of certificates that are publicly trusted.
pub const LETS_ENCRYPT: &str = instant_acme::LetsEncrypt::Production.url();

/// Domains of one certificate; Let's Encrypt's limit, too.
pub const DOMAINS_MAX: usize = 100;

/// Shortest pause after a failed order. Let's Encrypt bears with five failed validations an hour.
pub const RETRY_MIN: Duration = Duration::from_secs(60);

const URL_SAFE_ANY_PAD: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// How to get certificates by ACME (RFC 8555).
#[derive(Clone, Debug)]
pub struct AcmeConfig {
    /// What the certificate is for.
    pub domains: Domains,
    /// Whom the authority may write to.
    pub contacts: Vec<Contact>,
    /// Where the authority's directory is.
    pub directory: DirectoryUrl,
    /// PEM file of the authorities that the directory's own certificate may come from; none: the Mozilla root program.
    pub ca_file: Option<PathBuf>,
    /// The account with the authority that ours is bound to, where it demands one.
    pub external_account: Option<ExternalAccount>,
    /// First pause after a failed order; it doubles with each, up to an hour.
    pub retry_min: Duration,
}

/// What is wrong with the configuration. Each is one line.
#[derive(Debug, thiserror::Error)]
pub enum AcmeConfigError {
    /// Not a name that a certificate can be had for.
    #[error("{text:?} is no domain: {why}")]
    Domain {
        /// What was given.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// None, or too many.
    #[error("a certificate is for 1 to {DOMAINS_MAX} domains, not {0}")]
    DomainCount(usize),
    /// Not an address to write to.
    #[error("{0:?} is no contact: an e-mail address is")]
    Contact(String),
    /// Not a URL of a directory.
    #[error("{0:?} is no ACME directory: an https URL is")]
    Directory(String),
    /// The file of the HMAC key cannot be read.
    #[error(transparent)]
    HmacFile(#[from] TlsError),
    /// It does not hold a key.
    #[error("{0:?} holds no HMAC key: base64url, as the authority gives it, is one")]
    HmacKey(PathBuf),
}

/// A DNS name in lower case, without wildcard (RFC 8737 cannot validate one) or final dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Domain(String);

impl Domain {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Domain {
    type Err = AcmeConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.trim_end_matches('.').to_ascii_lowercase();
        let why = if name.starts_with("*.") {
            "TLS-ALPN-01 gives no certificate for a wildcard"
        } else if !name.is_ascii() {
            "write it in its ASCII form (xn--…)"
        } else if IpAddr::try_from(name.as_str()).is_ok() {
            "it is an address"
        } else if DnsName::try_from(name.as_str()).is_err() {
            "it is not a DNS name"
        } else {
            return Ok(Self(name));
        };
        let text = text.to_owned();
        Err(AcmeConfigError::Domain { text, why })
    }
}

/// The domains of one certificate, 1 to [`DOMAINS_MAX`], each once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Domains(BTreeSet<Domain>);

impl Domains {
    /// Of a list, which may name one twice.
    ///
    /// # Errors
    /// [`AcmeConfigError::DomainCount`].
    pub fn new(domains: impl IntoIterator<Item = Domain>) -> Result<Self, AcmeConfigError> {
        let domains: BTreeSet<_> = domains.into_iter().collect();
        match domains.len() {
            1..=DOMAINS_MAX => Ok(Self(domains)),
            other => Err(AcmeConfigError::DomainCount(other)),
        }
    }

    /// In alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = &Domain> {
        self.0.iter()
    }
}

impl fmt::Display for Domains {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.0.iter().map(Domain::as_str).collect();
        f.write_str(&names.join(","))
    }
}

/// Whom the authority may write to: a `mailto:` URL (RFC 8555 §7.3).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact(String);

impl Contact {
    /// The URL.
    #[must_use]
    pub fn as_url(&self) -> &str {
        &self.0
    }
}

impl FromStr for Contact {
    type Err = AcmeConfigError;

    /// With `mailto:` or without.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let address = text.strip_prefix("mailto:").unwrap_or(text);
        let (name, host) = address.rsplit_once('@').unwrap_or_default();
        // Neither header fields nor a second address (RFC 8555 §7.3); whether there is such a box, only mail can tell.
        let odd = |c: char| c.is_whitespace() || c.is_control() || "?,@:<>".contains(c);
        if name.is_empty() || host.is_empty() || name.contains(odd) || host.contains(odd) {
            return Err(AcmeConfigError::Contact(text.to_owned()));
        }
        Ok(Self(format!("mailto:{address}")))
    }
}

/// An `https` URL of an ACME directory (RFC 8555 §7.1.1).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DirectoryUrl(String);

impl DirectoryUrl {
    /// The URL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DirectoryUrl {
    type Err = AcmeConfigError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || AcmeConfigError::Directory(text.to_owned());
        let url: Uri = text.parse().map_err(|_| wrong())?;
        let authority = url.authority().map_or("", |authority| authority.as_str());
        // RFC 8555 §6.1. Credentials in it would be shown.
        if url.scheme_str() != Some("https") || authority.is_empty() || authority.contains('@') {
            return Err(wrong());
        }
        Ok(Self(text.to_owned()))
    }
}

/// The account with the authority that ours is bound to (RFC 8555 §7.3.4).
#[derive(Clone)]
pub struct ExternalAccount {
    /// Its key identifier.
    pub key_id: String,
    hmac_key: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for ExternalAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("ExternalAccount");
        shown.field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

impl ExternalAccount {
    /// With the HMAC key in `hmac_file`, in base64url.
    ///
    /// # Errors
    /// [`AcmeConfigError::HmacFile`], [`AcmeConfigError::HmacKey`]; neither says what is in the file.
    pub fn read(key_id: String, hmac_file: &Path) -> Result<Self, AcmeConfigError> {
        let text = read(hmac_file)?;
        // Some authorities pad it.
        let key = URL_SAFE_ANY_PAD
            .decode(text.trim_ascii())
            .unwrap_or_default();
        if key.is_empty() {
            return Err(AcmeConfigError::HmacKey(hmac_file.to_owned()));
        }
        Ok(Self {
            key_id,
            hmac_key: key.into(),
        })
    }

    pub(super) fn key(&self) -> instant_acme::ExternalAccountKey {
        instant_acme::ExternalAccountKey::new(self.key_id.clone(), &self.hmac_key)
    }
}
