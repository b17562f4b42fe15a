//! The certificate that a message's signature is checked with.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest;
use aws_lc_rs::signature::{
    ParsedPublicKey, RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
use x509_parser::public_key::PublicKey;

use crate::{ExpectedName, Refusal, RefusalKind, SignatureVersion};

/// Largest certificate read, in bytes of PEM. AWS's are about 2 KiB: the fetch may stop here.
pub const CERTIFICATE_PEM_MAX_BYTES: usize = 16 * 1024;
const RSA_BITS_MIN: usize = 2048;
const RSA_BITS_MAX: usize = 8192;
const PEM_BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const PEM_END: &str = "-----END CERTIFICATE-----";

/// Why a certificate is not one that SNS signs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Larger than [`CERTIFICATE_PEM_MAX_BYTES`].
    #[error("certificate is larger than {CERTIFICATE_PEM_MAX_BYTES} bytes")]
    TooLarge,
    /// Not exactly one PEM block with nothing around it.
    #[error("certificate is not exactly one PEM block")]
    NotOnePem,
    /// Not an X.509 certificate.
    #[error("certificate is not X.509")]
    NotX509,
    /// Its key is not RSA.
    #[error("certificate's key is not RSA")]
    NotRsa,
    /// Its key is too short, too long or unusable.
    #[error("certificate's RSA key is not of {RSA_BITS_MIN} to {RSA_BITS_MAX} bits")]
    KeySize,
    /// It is issued for another name.
    #[error("certificate is not issued for the SNS of the topic's region")]
    Name,
    /// It vouches for itself, or is an authority's: AWS signs messages with leaves that others issued.
    #[error("certificate is self-issued or an authority's")]
    SelfIssued,
    /// Its validity has not begun.
    #[error("certificate is not yet valid")]
    NotYetValid,
    /// Its validity is over.
    #[error("certificate has expired")]
    Expired,
}

impl Refusal for CertificateError {
    fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge => "certificate-too-large",
            Self::NotOnePem => "certificate-not-one-pem",
            Self::NotX509 => "certificate-not-x509",
            Self::NotRsa => "certificate-not-rsa",
            Self::KeySize => "certificate-key-size",
            Self::Name => "certificate-name",
            Self::SelfIssued => "certificate-self-issued",
            Self::NotYetValid => "certificate-not-yet-valid",
            Self::Expired => "certificate-expired",
        }
    }

    fn kind(&self) -> RefusalKind {
        RefusalKind::Forbidden
    }
}

/// The SHA-256 of a certificate's DER; hexadecimal as text.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The digest's bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn of(der: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, der).as_ref());
        Self(bytes)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return Err(de::Error::custom("a fingerprint is 64 hexadecimal digits"));
        }
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(de::Error::custom)?;
            *byte = u8::from_str_radix(pair, 16).map_err(de::Error::custom)?;
        }
        Ok(Self(bytes))
    }
}

/// A certificate that passed every rule but the clock's. Cheap to clone: fit for a cache.
#[derive(Clone)]
pub struct SigningCertificate(Arc<Inner>);

struct Inner {
    pem: String,
    fingerprint: Fingerprint,
    not_before: Timestamp,
    not_after: Timestamp,
    expected: ExpectedName,
    sha1_key: ParsedPublicKey,
    sha256_key: ParsedPublicKey,
}

impl SigningCertificate {
    /// Reads what was fetched from a [`crate::CertLocation`]. AWS serves a lone leaf, so no chain is built: what
    /// vouches for it is the TLS of the host it came from, and its name.
    ///
    /// # Errors
    /// The first rule that the certificate breaks. Its validity is not looked at here.
    pub fn from_pem(pem: &[u8], expected: &ExpectedName) -> Result<Self, CertificateError> {
        if pem.len() > CERTIFICATE_PEM_MAX_BYTES {
            return Err(CertificateError::TooLarge);
        }
        let pem = std::str::from_utf8(pem).map_err(|_| CertificateError::NotOnePem)?;
        let der = decode_pem(pem)?;
        let (rest, certificate) =
            X509Certificate::from_der(&der).map_err(|_| CertificateError::NotX509)?;
        if !rest.is_empty() {
            return Err(CertificateError::NotX509);
        }
        check_rsa(&certificate)?;
        if let ExpectedName::OneOf { names, .. } = expected {
            check_name(&certificate, names)?;
            if certificate.is_ca()
                || certificate.issuer().as_raw() == certificate.subject().as_raw()
            {
                return Err(CertificateError::SelfIssued);
            }
        }
        let spki = certificate.public_key().raw;
        let seconds =
            |seconds| Timestamp::from_second(seconds).map_err(|_| CertificateError::NotX509);
        Ok(Self(Arc::new(Inner {
            fingerprint: Fingerprint::of(&der),
            not_before: seconds(certificate.validity().not_before.timestamp())?,
            not_after: seconds(certificate.validity().not_after.timestamp())?,
            expected: expected.clone(),
            sha1_key: ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, spki)
                .map_err(|_| CertificateError::KeySize)?,
            sha256_key: ParsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, spki)
                .map_err(|_| CertificateError::KeySize)?,
            pem: pem.to_owned(),
        })))
    }

    /// Whether `now` lies in its validity, both ends included (RFC 5280 §4.1.2.5).
    ///
    /// # Errors
    /// [`CertificateError::NotYetValid`] or [`CertificateError::Expired`].
    pub fn check_validity(&self, now: Timestamp) -> Result<(), CertificateError> {
        if now < self.0.not_before {
            return Err(CertificateError::NotYetValid);
        }
        // The last second counts as a whole.
        if now.as_second() > self.0.not_after.as_second() {
            return Err(CertificateError::Expired);
        }
        Ok(())
    }

    /// The start of its validity.
    pub fn not_before(&self) -> Timestamp {
        self.0.not_before
    }

    /// The last second of its validity: cache it no longer than this.
    pub fn not_after(&self) -> Timestamp {
        self.0.not_after
    }

    /// The SHA-256 of its DER.
    pub fn fingerprint(&self) -> Fingerprint {
        self.0.fingerprint
    }

    /// The PEM text as fetched, to be kept with what it proved.
    pub fn pem(&self) -> &str {
        &self.0.pem
    }

    /// Whom it was expected to be issued to.
    pub fn expected_name(&self) -> &ExpectedName {
        &self.0.expected
    }

    /// Whether `signature` is this key's over the text of this `digest`, by RSA PKCS#1 v1.5 (RFC 8017 §8.2.2).
    pub(crate) fn has_signed(
        &self,
        version: SignatureVersion,
        digest: &digest::Digest,
        signature: &[u8],
    ) -> bool {
        let key = match version {
            SignatureVersion::V1 => &self.0.sha1_key,
            SignatureVersion::V2 => &self.0.sha256_key,
        };
        key.verify_digest_sig(digest, signature).is_ok()
    }
}

impl fmt::Debug for SigningCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningCertificate")
            .field("fingerprint", &self.0.fingerprint)
            .field("not_before", &self.0.not_before)
            .field("not_after", &self.0.not_after)
            .field("expected", &self.0.expected)
            .finish_non_exhaustive()
    }
}

/// Exactly one block (RFC 7468): first byte to last, white space at the end aside.
fn decode_pem(pem: &str) -> Result<Vec<u8>, CertificateError> {
    let body = pem
        .trim_end_matches([' ', '\t', '\r', '\n'])
        .strip_prefix(PEM_BEGIN)
        .and_then(|rest| rest.strip_suffix(PEM_END))
        .filter(|body| body.starts_with(['\r', '\n']) && body.ends_with('\n'))
        .ok_or(CertificateError::NotOnePem)?;
    let base64: String = body
        .chars()
        .filter(|character| !matches!(character, '\r' | '\n'))
        .collect();
    STANDARD
        .decode(base64)
        .map_err(|_| CertificateError::NotOnePem)
}

fn check_rsa(certificate: &X509Certificate<'_>) -> Result<(), CertificateError> {
    let Ok(PublicKey::RSA(key)) = certificate.public_key().parsed() else {
        return Err(CertificateError::NotRsa);
    };
    let zeros = key.modulus.iter().take_while(|byte| **byte == 0).count();
    let modulus = &key.modulus[zeros..];
    let bits = modulus.first().map_or(0, |first| {
        modulus.len() * 8 - first.leading_zeros() as usize
    });
    if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) {
        return Err(CertificateError::KeySize);
    }
    Ok(())
}

/// A DNS name of the subject alternative names, or, where there are none, the one common name (RFC 6125 §6.4.4).
fn check_name(certificate: &X509Certificate<'_>, names: &[String]) -> Result<(), CertificateError> {
    let expected = |found: &str| names.iter().any(|name| name.eq_ignore_ascii_case(found));
    let alternatives = certificate
        .subject_alternative_name()
        .map_err(|_| CertificateError::NotX509)?;
    let matches = match alternatives {
        Some(alternatives) => alternatives
            .value
            .general_names
            .iter()
            .any(|name| matches!(name, GeneralName::DNSName(found) if expected(found))),
        None => {
            let mut common = certificate.subject().iter_common_name();
            match (common.next(), common.next()) {
                (Some(name), None) => name.as_str().is_ok_and(expected),
                _ => false,
            }
        }
    };
    if matches {
        Ok(())
    } else {
        Err(CertificateError::Name)
    }
}
