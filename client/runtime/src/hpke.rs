//! Values sealed to one process: HPKE (RFC 9180) in base mode, by the suite DHKEM(X25519, HKDF-SHA256), HKDF-SHA256,
//! AES-256-GCM.

use rustls::crypto::{
    aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_256 as SUITE,
    hpke::{EncapsulatedSecret, Hpke as _, HpkePrivateKey, HpkePublicKey},
};
use zeroize::Zeroizing;

use crate::data_dir::{DataDir, DataDirError};

/// Length of a public key, of a private key and of an encapsulated key, in bytes (RFC 9180 §7.1, X25519).
const KEY_BYTES: usize = 32;

/// Why a value cannot be sealed or opened, or a key not be used.
#[derive(Debug, thiserror::Error)]
pub enum HpkeError {
    /// The data folder.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The file in it.
    #[error(
        "the file {0} holds no key pair; without it a new one is made, and secrets are sent anew"
    )]
    File(String),
    /// Not a public key.
    #[error("is no X25519 public key of 32 bytes")]
    PublicKey,
    /// No randomness, or no such cipher.
    #[error("the value cannot be sealed")]
    Seal,
    /// Sealed to another key, or for another purpose, or damaged.
    #[error("it was sealed to another key, or is damaged")]
    Open,
}

/// What a value is sealed for: it opens for nothing else.
#[derive(Clone, Copy, Debug)]
pub struct Purpose<'a> {
    /// Which kind of value.
    pub info: &'static [u8],
    /// Which of them.
    pub aad: &'a [u8],
}

/// Whom to seal to.
#[derive(Clone, Debug)]
pub struct Recipient(HpkePublicKey);

impl Recipient {
    /// From its public key.
    ///
    /// # Errors
    /// [`HpkeError::PublicKey`].
    pub fn new(public_key: &[u8]) -> Result<Self, HpkeError> {
        let recipient = Self(HpkePublicKey(public_key.to_vec()));
        if public_key.len() != KEY_BYTES {
            return Err(HpkeError::PublicKey);
        }
        // Some points are no keys: what cannot be sealed to is found here, not with each value.
        let probe = Purpose {
            info: b"probe",
            aad: b"",
        };
        recipient
            .seal(probe, b"")
            .map_err(|_| HpkeError::PublicKey)?;
        Ok(recipient)
    }

    /// The encapsulated key, then the ciphertext and its tag.
    ///
    /// # Errors
    /// [`HpkeError::Seal`].
    pub fn seal(&self, purpose: Purpose<'_>, value: &[u8]) -> Result<Vec<u8>, HpkeError> {
        let Purpose { info, aad } = purpose;
        let (EncapsulatedSecret(mut sealed), text) = SUITE
            .seal(info, aad, value, &self.0)
            .map_err(|_| HpkeError::Seal)?;
        sealed.extend_from_slice(&text);
        Ok(sealed)
    }
}

/// A process's own key pair.
pub struct KeyPair {
    public: [u8; KEY_BYTES],
    private: HpkePrivateKey,
}

impl KeyPair {
    /// A new one.
    ///
    /// # Errors
    /// [`HpkeError::Seal`] without randomness.
    pub fn generate() -> Result<Self, HpkeError> {
        let (public, private) = SUITE.generate_key_pair().map_err(|_| HpkeError::Seal)?;
        let public = public.0.try_into().map_err(|_| HpkeError::Seal)?;
        Ok(Self { public, private })
    }

    /// The one in the file `name` of a data folder; made with its folder, readable by its owner alone.
    ///
    /// # Errors
    /// [`HpkeError`].
    pub fn load_or_create(data_dir: &DataDir, name: &str) -> Result<Self, HpkeError> {
        if let Some(bytes) = data_dir.read(name)? {
            let shown = || HpkeError::File(data_dir.join(name).display().to_string());
            return Self::from_bytes(&bytes).ok_or_else(shown);
        }
        let pair = Self::generate()?;
        data_dir.write_secret_file(name, &pair.to_bytes())?;
        Ok(pair)
    }

    /// The private key, then the public one, where they belong together.
    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (private, public) = bytes.split_at_checked(KEY_BYTES)?;
        let pair = Self {
            public: public.try_into().ok()?,
            private: private.to_vec().into(),
        };
        let probe = Purpose {
            info: b"probe",
            aad: b"",
        };
        let sealed = Recipient::new(&pair.public).ok()?.seal(probe, b"").ok()?;
        pair.open(probe, &sealed).ok().map(|_| pair)
    }

    fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(2 * KEY_BYTES));
        bytes.extend_from_slice(self.private.secret_bytes());
        bytes.extend_from_slice(&self.public);
        bytes
    }

    /// What others seal to.
    #[must_use]
    pub fn public_key(&self) -> &[u8] {
        &self.public
    }

    /// What was sealed to it for `purpose`.
    ///
    /// # Errors
    /// [`HpkeError::Open`].
    pub fn open(
        &self,
        purpose: Purpose<'_>,
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, HpkeError> {
        let (key, text) = sealed.split_at_checked(KEY_BYTES).ok_or(HpkeError::Open)?;
        let key = EncapsulatedSecret(key.to_vec());
        let Purpose { info, aad } = purpose;
        SUITE
            .open(&key, info, aad, text, &self.private)
            .map(Zeroizing::new)
            .map_err(|_| HpkeError::Open)
    }
}

impl std::fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyPair(***)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    const A: Purpose<'_> = Purpose {
        info: b"test",
        aad: b"a",
    };

    #[test]
    fn what_is_sealed_opens_for_its_recipient_and_purpose_only() {
        let (own, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let to = Recipient::new(own.public_key()).unwrap();
        let sealed = to.seal(A, b"s3cret-value").unwrap();
        assert!(!sealed.windows(6).any(|part| part == b"s3cret"));
        assert_ne!(sealed, to.seal(A, b"s3cret-value").unwrap());
        assert_eq!(own.open(A, &sealed).unwrap().as_slice(), b"s3cret-value");
        assert!(matches!(other.open(A, &sealed), Err(HpkeError::Open)));
        let another = Purpose { aad: b"b", ..A };
        assert!(matches!(own.open(another, &sealed), Err(HpkeError::Open)));
        let another = Purpose { info: b"x", ..A };
        assert!(matches!(own.open(another, &sealed), Err(HpkeError::Open)));
        for cut in [0, 31, 32, sealed.len() - 1] {
            assert!(own.open(A, &sealed[..cut]).is_err());
        }
        for at in [0, 40, sealed.len() - 1] {
            let mut damaged = sealed.clone();
            damaged[at] ^= 1;
            assert!(own.open(A, &damaged).is_err());
        }
        assert_eq!(format!("{own:?}"), "KeyPair(***)");
    }

    #[test]
    fn what_is_no_public_key_is_refused() {
        for wrong in [&[1; 31][..], &[1; 33], &[], &[0; 32]] {
            assert!(matches!(Recipient::new(wrong), Err(HpkeError::PublicKey)));
        }
    }

    #[test]
    fn a_pair_is_made_once_with_its_folder() {
        let dir = tempfile::tempdir().unwrap();
        let folder = DataDir::open(dir.path().join("d")).unwrap();
        let first = KeyPair::load_or_create(&folder, "key").unwrap();
        let again = KeyPair::load_or_create(&folder, "key").unwrap();
        assert_eq!(first.public_key(), again.public_key());
        let sealed = Recipient::new(first.public_key()).unwrap();
        let sealed = sealed.seal(A, b"x").unwrap();
        assert_eq!(again.open(A, &sealed).unwrap().as_slice(), b"x");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = std::fs::metadata(folder.join("key")).unwrap().permissions();
            assert_eq!(mode.mode() & 0o777, 0o600);
        }
        let whole = std::fs::read(folder.join("key")).unwrap();
        let mut torn = whole.clone();
        torn[40] ^= 1;
        for wrong in [&whole[..63], &torn, b""] {
            folder.write_secret_file("key", wrong).unwrap();
            let error = KeyPair::load_or_create(&folder, "key").unwrap_err();
            assert!(matches!(error, HpkeError::File(_)), "{error}");
        }
    }
}
