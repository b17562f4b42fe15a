//! Why there is no certificate.

use crate::data_dir::DataDirError;
use crate::tls::TlsError;

use super::config::{Domain, Domains};

/// Why certificates cannot even be asked for. Each is one line for an operator.
#[derive(Debug, thiserror::Error)]
pub enum AcmeOpenError {
    /// The file of the authorities that the ACME server's own certificate may come from.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The HTTP client refuses its configuration.
    #[error("the HTTP client for ACME cannot be made")]
    Http(#[source] reqwest::Error),
}

/// Why an order led to no certificate. None holds a key.
#[derive(Debug, thiserror::Error)]
pub(super) enum OrderError {
    #[error("{doing} failed")]
    Protocol {
        doing: &'static str,
        source: instant_acme::Error,
    },
    #[error("the authority offers no TLS-ALPN-01 challenge for {0}")]
    NoChallenge(Domain),
    #[error("the authority named an identifier that was not ordered")]
    ForeignIdentifier,
    #[error("the authority did not find {name} to be here")]
    Refused {
        name: String,
        source: instant_acme::Error,
    },
    #[error("the authority ended the order without a word")]
    Invalid,
    #[error("the challenge's certificate cannot be made")]
    Challenge(#[source] rcgen::Error),
    #[error("the challenge's key cannot be used")]
    ChallengeKey(#[source] rustls::Error),
    #[error("the certificate that was issued cannot be used")]
    Issued(#[source] CertificateFault),
    #[error("the order took longer than {} s", super::ORDER_TIMEOUT.as_secs())]
    TimedOut,
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error("what is to be kept cannot be written as JSON")]
    Json(#[source] serde_json::Error),
    #[error("a file could not be dealt with")]
    Interrupted(#[source] tokio::task::JoinError),
}

/// What is wrong with a certificate, issued or kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum CertificateFault {
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    // Without its cause, which may quote what it did not understand.
    #[error("its file is not what was written")]
    Json,
    #[error(transparent)]
    Pem(#[from] TlsError),
    #[error("it is no certificate of a server")]
    Leaf(#[source] rustls::Error),
    #[error("its validity cannot be read")]
    Validity,
    #[error("it is for {0}")]
    OtherDomains(Domains),
    #[error("it does not name {0}")]
    Unnamed(Domain),
    #[error("it expired at {0}")]
    Expired(jiff::Timestamp),
    #[error("it should be renewed already, at {0}: is the clock right?")]
    Stale(jiff::Timestamp),
}

impl OrderError {
    pub(super) fn when(doing: &'static str) -> impl FnOnce(instant_acme::Error) -> Self {
        move |source| Self::Protocol { doing, source }
    }

    /// What the authority said, without the prefix of RFC 8555 §6.7.
    fn kind(&self) -> Option<&str> {
        let (Self::Protocol { source, .. } | Self::Refused { source, .. }) = self else {
            return None;
        };
        let instant_acme::Error::Api(problem) = source else {
            return None;
        };
        problem
            .r#type
            .as_deref()?
            .strip_prefix("urn:ietf:params:acme:error:")
    }

    /// Whether the authority asks to be left alone for a while.
    pub(super) fn is_rate_limit(&self) -> bool {
        self.kind() == Some("rateLimited")
    }

    /// Whether the authority does not know the account (any more).
    pub(super) fn is_unknown_account(&self) -> bool {
        self.kind() == Some("accountDoesNotExist")
    }

    /// Label of the metric.
    pub(super) fn outcome(&self) -> &'static str {
        match (self, self.kind()) {
            _ if self.is_rate_limit() => "rate-limited",
            (Self::Refused { .. } | Self::NoChallenge(_) | Self::Invalid, _) | (_, Some(_)) => {
                "refused"
            }
            _ => "failed",
        }
    }
}
