//! Why a message was refused, in words that others may keep.

use crate::{
    ArnError, AttributeError, CertUrlError, CertificateError, EnvelopeError, HeaderError,
    VerifyError,
};

/// What a refusal means to the sender. No retry can mend either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RefusalKind {
    /// The bytes are not the protocol (HTTP 400).
    Malformed,
    /// The bytes are the protocol, but do not prove what they claim (HTTP 403).
    Forbidden,
}

/// An error that refuses a delivery.
pub trait Refusal: std::error::Error {
    /// A stable kebab-case word for the delivery's verdict, for metrics and for tests. Never holds sender's text.
    fn reason(&self) -> &'static str;

    /// Whether the bytes were malformed or what they claim is not proven.
    fn kind(&self) -> RefusalKind;
}

/// Any refusal of this crate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnsError {
    /// An ARN is not one.
    #[error(transparent)]
    Arn(#[from] ArnError),
    /// The body is not an SNS envelope.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The headers are unusable, or contradict the body.
    #[error(transparent)]
    Headers(#[from] HeaderError),
    /// The certificate's URL is not the topic's own SNS.
    #[error(transparent)]
    CertUrl(#[from] CertUrlError),
    /// The certificate is not one that SNS signs with.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The signature does not prove the message.
    #[error(transparent)]
    Verify(#[from] VerifyError),
}

impl SnsError {
    fn inner(&self) -> &dyn Refusal {
        match self {
            Self::Arn(error) => error,
            Self::Envelope(error) => error,
            Self::Headers(error) => error,
            Self::CertUrl(error) => error,
            Self::Certificate(error) => error,
            Self::Verify(error) => error,
        }
    }
}

impl Refusal for SnsError {
    fn reason(&self) -> &'static str {
        self.inner().reason()
    }

    fn kind(&self) -> RefusalKind {
        self.inner().kind()
    }
}

impl From<AttributeError> for SnsError {
    fn from(error: AttributeError) -> Self {
        Self::Envelope(EnvelopeError::Attributes(error))
    }
}
