//! The RSA key that signs, in both signature versions.

use aws_lc_rs::digest;
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use num_bigint::BigUint;
use x509_parser::der_parser::ber::{BerObject, BerObjectContent};
use x509_parser::der_parser::der::parse_der;

use super::SignerError;
use crate::SignatureVersion;

/// The DER of `DigestInfo` before a SHA-1 (RFC 8017 §9.2, note 1).
const SHA1_DIGEST_INFO: [u8; 15] = [
    0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00, 0x04, 0x14,
];

/// An RSA key that signs as SNS does.
pub struct Signer {
    key: RsaKeyPair,
    pkcs8: Vec<u8>,
    legacy: LegacyKey,
}

impl Signer {
    /// A new RSA key of 2048 bits.
    ///
    /// # Errors
    /// [`SignerError::Key`] when none could be generated.
    pub fn generate() -> Result<Self, SignerError> {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| SignerError::Key)?;
        let pkcs8 = key
            .as_der()
            .map_err(|_| SignerError::Key)?
            .as_ref()
            .to_vec();
        Self::from_pkcs8(&pkcs8)
    }

    /// A key from the DER of its PKCS#8.
    ///
    /// # Errors
    /// [`SignerError::Key`] when it is no RSA key of at least 2048 bits.
    pub fn from_pkcs8(pkcs8: &[u8]) -> Result<Self, SignerError> {
        let key = RsaKeyPair::from_pkcs8(pkcs8).map_err(|_| SignerError::Key)?;
        let legacy = LegacyKey::from_pkcs8(pkcs8).ok_or(SignerError::Key)?;
        Ok(Self {
            key,
            pkcs8: pkcs8.to_vec(),
            legacy,
        })
    }

    /// The DER of the private key's PKCS#8, to make the same signer again.
    pub fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    /// The signature of `text` in that version.
    ///
    /// # Errors
    /// [`SignerError::Sign`] when the operation fails.
    pub fn sign(&self, version: SignatureVersion, text: &[u8]) -> Result<Vec<u8>, SignerError> {
        match version {
            SignatureVersion::V1 => self.legacy.sign_sha1(text, self.key.public_modulus_len()),
            SignatureVersion::V2 => {
                let mut signature = vec![0; self.key.public_modulus_len()];
                self.key
                    .sign(
                        &RSA_PKCS1_SHA256,
                        &SystemRandom::new(),
                        text,
                        &mut signature,
                    )
                    .map_err(|_| SignerError::Sign)?;
                Ok(signature)
            }
        }
    }
}

/// The private key's numbers, for SHA-1 signatures: aws-lc-rs verifies them and rightly makes none. The arithmetic is
/// not constant in time, which is why this lives behind a feature that only the simulator turns on.
struct LegacyKey {
    p: BigUint,
    q: BigUint,
    d_p: BigUint,
    d_q: BigUint,
    q_inverse: BigUint,
}

impl LegacyKey {
    /// `PrivateKeyInfo` (RFC 5208 §5) around `RSAPrivateKey` (RFC 8017 §A.1.2).
    fn from_pkcs8(pkcs8: &[u8]) -> Option<Self> {
        let (_, info) = parse_der(pkcs8).ok()?;
        let BerObjectContent::OctetString(inner) = info.as_sequence().ok()?.get(2)?.content else {
            return None;
        };
        let (_, key) = parse_der(inner).ok()?;
        let numbers: Vec<BigUint> = key
            .as_sequence()
            .ok()?
            .iter()
            .map(integer)
            .collect::<Option<_>>()?;
        let [_version, _n, _e, _d, p, q, d_p, d_q, q_inverse] =
            <[BigUint; 9]>::try_from(numbers).ok()?;
        Some(Self {
            p,
            q,
            d_p,
            d_q,
            q_inverse,
        })
    }

    /// RSASSA-PKCS1-v1_5 with SHA-1 (RFC 8017 §8.2.1), by the Chinese remainder theorem (§5.1.2).
    fn sign_sha1(&self, text: &[u8], modulus_bytes: usize) -> Result<Vec<u8>, SignerError> {
        let hash = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text);
        let tail = [&SHA1_DIGEST_INFO[..], hash.as_ref()].concat();
        let padding = modulus_bytes
            .checked_sub(tail.len() + 3)
            .filter(|bytes| *bytes >= 8)
            .ok_or(SignerError::Sign)?;
        let encoded = [&[0, 1], vec![0xff; padding].as_slice(), &[0], &tail].concat();

        let message = BigUint::from_bytes_be(&encoded);
        let by_p = message.modpow(&self.d_p, &self.p);
        let by_q = message.modpow(&self.d_q, &self.q);
        // Plus p before the subtraction: the numbers are unsigned.
        let difference = (&by_p + &self.p - (&by_q % &self.p)) % &self.p;
        let signature = &by_q + ((difference * &self.q_inverse) % &self.p) * &self.q;

        let bytes = signature.to_bytes_be();
        let zeros = modulus_bytes
            .checked_sub(bytes.len())
            .ok_or(SignerError::Sign)?;
        Ok([vec![0; zeros], bytes].concat())
    }
}

fn integer(object: &BerObject<'_>) -> Option<BigUint> {
    match object.content {
        BerObjectContent::Integer(bytes) => Some(BigUint::from_bytes_be(bytes)),
        _ => None,
    }
}
