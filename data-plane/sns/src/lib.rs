//! The Amazon SNS HTTP(S) delivery protocol: bytes in, verdict out.
//!
//! Pure by intent. There is no clock, no socket and no certificate fetcher here: the caller passes in the time and the
//! certificate's bytes, performs the two requests that the protocol knows (fetch a certificate, confirm a
//! subscription) at the URLs that this crate builds, and maps each refusal to a status by its [`RefusalKind`].
//!
//! The order of a delivery:
//! 1. [`Envelope::parse`] the body, [`Envelope::check_headers`].
//! 2. [`SigningCertUrl::parse`] with the envelope's topic: where the certificate must come from, and whose it must be.
//! 3. Fetch (or find cached) that URL, [`SigningCertificate::from_pem`].
//! 4. [`verify`]: the only maker of [`Verified`].
//! 5. For a subscription confirmation, [`Verified::confirm_url`], then [`parse_confirm_response`].
//!
//! Sources: the Amazon SNS developer guide ("Fanout to HTTP/HTTPS endpoints", "Verifying the signatures of Amazon SNS
//! messages", "Raw message delivery") and the validators that AWS publishes (JavaScript, PHP, and the AWS SDK for Java
//! v2's `sns-message-manager`).

mod arn;
mod attributes;
mod certificate;
mod certificate_url;
mod confirm;
mod envelope;
mod headers;
mod refusal;
mod trust;
mod verify;

#[cfg(feature = "signer")]
pub mod signer;

pub use arn::{ARN_MAX_BYTES, ArnError, Partition, Region, SubscriptionArn, TopicArn};
pub use attributes::{ATTRIBUTES_MAX, AttributeError, MessageAttribute, MessageAttributes};
pub use certificate::{
    CERTIFICATE_PEM_MAX_BYTES, CertificateError, Fingerprint, SigningCertificate,
};
pub use certificate_url::{
    CertLocation, CertUrlError, ExpectedName, SIGNING_CERT_URL_MAX_BYTES, SigningCertUrl,
};
pub use confirm::{
    CONFIRM_RESPONSE_MAX_BYTES, ConfirmError, ConfirmToken, ConfirmTokenError, ConfirmUrl,
    parse_confirm_response,
};
pub use envelope::{ENVELOPE_MAX_BYTES, Envelope, EnvelopeError, Field, redacted_body};
pub use headers::{HeaderError, Headers, MessageType, RawNotification, UnknownMessageType};
pub use refusal::{Refusal, RefusalKind, SnsError};
pub use trust::{CertOrigin, TrustPolicy, TrustedOrigin, TrustedOriginError};
pub use verify::{
    SignaturePolicy, SignatureVersion, UnsupportedSignatureVersion, Verified, VerifyError, verify,
};
