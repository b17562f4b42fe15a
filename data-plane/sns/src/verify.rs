//! The verdict: a signature checked against a certificate, a clock and a policy.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    CertOrigin, CertificateError, ConfirmToken, ConfirmUrl, Envelope, ExpectedName, Fingerprint,
    MessageAttributes, MessageType, Refusal, RefusalKind, SigningCertificate, TopicArn,
};

/// How a message is signed: the topic's attribute `SignatureVersion`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SignatureVersion {
    /// RSA PKCS#1 v1.5 with SHA-1: AWS's default.
    #[serde(rename = "1")]
    V1,
    /// RSA PKCS#1 v1.5 with SHA-256.
    #[serde(rename = "2")]
    V2,
}

/// Neither "1" nor "2".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("signature version is neither 1 nor 2")]
pub struct UnsupportedSignatureVersion;

impl SignatureVersion {
    /// The value as it stands in the body.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "1",
            Self::V2 => "2",
        }
    }
}

impl FromStr for SignatureVersion {
    type Err = UnsupportedSignatureVersion;

    fn from_str(text: &str) -> Result<Self, UnsupportedSignatureVersion> {
        match text {
            "1" => Ok(Self::V1),
            "2" => Ok(Self::V2),
            _ => Err(UnsupportedSignatureVersion),
        }
    }
}

impl fmt::Display for SignatureVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What a workflow demands of signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignaturePolicy {
    /// The lowest version accepted.
    pub minimum_version: SignatureVersion,
}

impl Default for SignaturePolicy {
    /// Both versions: what AWS sends unless the topic says otherwise is version 1.
    fn default() -> Self {
        Self {
            minimum_version: SignatureVersion::V1,
        }
    }
}

/// Why a signature proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// SignatureVersion is neither "1" nor "2".
    #[error(transparent)]
    Version(#[from] UnsupportedSignatureVersion),
    /// SignatureVersion is lower than the policy's.
    #[error("signature version {found} is below the {minimum} that is demanded")]
    VersionTooLow {
        /// The version of the message.
        found: SignatureVersion,
        /// The version that the policy demands.
        minimum: SignatureVersion,
    },
    /// Signature is not base64.
    #[error("Signature is not base64")]
    Encoding,
    /// The certificate is not valid at this time.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The certificate is of another region's SNS than the topic's.
    #[error("certificate is of another region than the topic")]
    CertificateRegion,
    /// The signature is not the certificate's over these fields.
    #[error("signature does not match the signed fields")]
    Invalid,
}

impl Refusal for VerifyError {
    fn reason(&self) -> &'static str {
        match self {
            Self::Version(_) => "signature-version-unsupported",
            Self::VersionTooLow { .. } => "signature-version-too-low",
            Self::Encoding => "signature-not-base64",
            Self::Certificate(error) => error.reason(),
            Self::CertificateRegion => "certificate-region",
            Self::Invalid => "signature-invalid",
        }
    }

    fn kind(&self) -> RefusalKind {
        RefusalKind::Forbidden
    }
}

/// What an envelope says, proven to be its topic's word. Only [`verify`] makes one.
#[derive(Clone, Debug)]
pub struct Verified<'a> {
    envelope: &'a Envelope<'a>,
    token: Option<ConfirmToken>,
    signature_version: SignatureVersion,
    certificate_fingerprint: Fingerprint,
    certificate_origin: CertOrigin,
    signed_sha256: [u8; 32],
}

/// Verifies an envelope's signature with the certificate fetched for it, at the time `now`.
///
/// # Errors
/// The first rule that signature or certificate breaks.
pub fn verify<'a>(
    envelope: &'a Envelope<'a>,
    certificate: &SigningCertificate,
    now: Timestamp,
    policy: &SignaturePolicy,
) -> Result<Verified<'a>, VerifyError> {
    let version: SignatureVersion = envelope.signature_version().parse()?;
    if version < policy.minimum_version {
        return Err(VerifyError::VersionTooLow {
            found: version,
            minimum: policy.minimum_version,
        });
    }
    // A cache that mixed two regions up must not turn one region's key into proof for another's topics.
    if let ExpectedName::OneOf { region, .. } = certificate.expected_name()
        && region != envelope.topic_arn().region()
    {
        return Err(VerifyError::CertificateRegion);
    }
    certificate.check_validity(now)?;
    let signature = STANDARD
        .decode(envelope.signature())
        .map_err(|_| VerifyError::Encoding)?;
    let sha256 = envelope.signed_digest(&SHA256);
    let genuine = match version {
        SignatureVersion::V2 => certificate.has_signed(version, &sha256, &signature),
        SignatureVersion::V1 => {
            let sha1 = envelope.signed_digest(&SHA1_FOR_LEGACY_USE_ONLY);
            certificate.has_signed(version, &sha1, &signature)
        }
    };
    if !genuine {
        return Err(VerifyError::Invalid);
    }
    let mut signed_sha256 = [0; 32];
    signed_sha256.copy_from_slice(sha256.as_ref());
    Ok(Verified {
        token: envelope
            .token()
            .and_then(|token| ConfirmToken::parse(token).ok()),
        signature_version: version,
        certificate_fingerprint: certificate.fingerprint(),
        certificate_origin: certificate.expected_name().origin(),
        signed_sha256,
        envelope,
    })
}

impl Verified<'_> {
    /// Type.
    pub fn message_type(&self) -> MessageType {
        self.envelope.message_type()
    }

    /// MessageId: what to deduplicate by, with the topic.
    pub fn message_id(&self) -> &str {
        self.envelope.message_id()
    }

    /// TopicArn. Any AWS account gets valid signatures: whether this topic is allowed is the workflow's to say.
    pub fn topic_arn(&self) -> &TopicArn {
        self.envelope.topic_arn()
    }

    /// Subject.
    pub fn subject(&self) -> Option<&str> {
        self.envelope.subject()
    }

    /// Message.
    pub fn message(&self) -> &str {
        self.envelope.message()
    }

    /// The SHA-256 of what is signed: the same for every copy of a message, whatever it was signed with, and for no other.
    pub fn signed_sha256(&self) -> [u8; 32] {
        self.signed_sha256
    }

    /// Timestamp: when it was published.
    pub fn timestamp(&self) -> Timestamp {
        self.envelope.timestamp()
    }

    /// Token of a confirmation. A capability: kept until the subscription is confirmed, shown nowhere.
    pub fn token(&self) -> Option<&ConfirmToken> {
        self.token.as_ref()
    }

    /// The version that it was verified with.
    pub fn signature_version(&self) -> SignatureVersion {
        self.signature_version
    }

    /// The SHA-256 of the certificate that verified it.
    pub fn certificate_fingerprint(&self) -> Fingerprint {
        self.certificate_fingerprint
    }

    /// Whose word the certificate is: AWS's, or a trusted origin's.
    pub fn certificate_origin(&self) -> &CertOrigin {
        &self.certificate_origin
    }

    /// MessageAttributes: not part of what was proven.
    pub fn unsigned_attributes(&self) -> &MessageAttributes {
        self.envelope.unsigned_attributes()
    }

    /// Where to confirm the subscription: `None` for anything but a SubscriptionConfirmation. The URL of an
    /// UnsubscribeConfirmation would subscribe anew, so none is ever built.
    pub fn confirm_url(&self) -> Option<ConfirmUrl> {
        let token = self
            .token
            .as_ref()
            .filter(|_| self.message_type() == MessageType::SubscriptionConfirmation)?;
        Some(ConfirmUrl::new(
            self.envelope.topic_arn(),
            token,
            &self.certificate_origin,
        ))
    }
}
