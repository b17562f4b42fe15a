//! The key pair that a node is known by.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use signalbox_runtime::data_dir::{DataDir, DataDirError};

/// Name of its file in the data folder: an Ed25519 private key, PKCS#8 in DER (RFC 8410).
pub const IDENTITY_KEY_FILE: &str = "identity.key";

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum IdentityKeyError {
    /// The data folder.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// What is in the file is no key.
    #[error(
        "the file {0} holds no Ed25519 key; without it the node needs an enrollment token that names it"
    )]
    Malformed(String),
    /// No randomness.
    #[error("a key cannot be made")]
    Generate,
}

/// A node's key pair. The private half does not leave its folder.
pub struct IdentityKey {
    pair: Ed25519KeyPair,
    /// Whether it was made just now, and no control plane has heard of it.
    pub(super) is_new: bool,
}

impl std::fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IdentityKey(***)")
    }
}

impl IdentityKey {
    /// The one in a data folder; none: there is none.
    ///
    /// # Errors
    /// [`IdentityKeyError`].
    pub fn load(data_dir: &DataDir) -> Result<Option<Self>, IdentityKeyError> {
        let Some(document) = data_dir.read(IDENTITY_KEY_FILE)? else {
            return Ok(None);
        };
        let path = || data_dir.join(IDENTITY_KEY_FILE).display().to_string();
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&document)
            .map_err(|_| IdentityKeyError::Malformed(path()))?;
        Ok(Some(Self {
            pair,
            is_new: false,
        }))
    }

    /// The one in a data folder; made when there is none, readable by the folder's owner alone.
    ///
    /// # Errors
    /// [`IdentityKeyError`].
    pub fn load_or_create(data_dir: &DataDir) -> Result<Self, IdentityKeyError> {
        if let Some(key) = Self::load(data_dir)? {
            return Ok(key);
        }
        let document = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new())
            .map_err(|_| IdentityKeyError::Generate)?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(document.as_ref())
            .map_err(|_| IdentityKeyError::Generate)?;
        data_dir.write_secret_file(IDENTITY_KEY_FILE, document.as_ref())?;
        Ok(Self { pair, is_new: true })
    }

    /// The public half, 32 bytes.
    #[must_use]
    pub fn public(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    /// A signature, 64 bytes.
    #[must_use]
    pub fn sign(&self, text: &[u8]) -> Vec<u8> {
        self.pair.sign(text).as_ref().to_vec()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use signalbox_model::enrollment::is_signed;

    use super::*;

    #[test]
    fn a_key_is_made_once_and_read_from_then_on() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = DataDir::open(dir.path().join("d")).unwrap();
        assert!(IdentityKey::load(&data_dir).unwrap().is_none());
        let made = IdentityKey::load_or_create(&data_dir).unwrap();
        assert!(made.is_new);
        let read = IdentityKey::load_or_create(&data_dir).unwrap();
        assert!(!read.is_new);
        assert_eq!(read.public(), made.public());
        assert!(is_signed(made.public(), b"said", &read.sign(b"said")));
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let file = std::fs::metadata(data_dir.join(IDENTITY_KEY_FILE)).unwrap();
            assert_eq!(file.permissions().mode() & 0o777, 0o600);
        }
        data_dir
            .write_secret_file(IDENTITY_KEY_FILE, b"rot")
            .unwrap();
        let error = IdentityKey::load_or_create(&data_dir).unwrap_err();
        assert!(error.to_string().contains(IDENTITY_KEY_FILE), "{error}");
    }
}
