//! Values at rest: AES-256-GCM under one master key, with the resource's name as additional data, so that a ciphertext
//! moved to another row does not open.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    digest::{SHA256, digest},
    error::Unspecified,
    hmac,
    rand::{SecureRandom as _, SystemRandom},
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use secrecy::{ExposeSecret as _, SecretString};
use zeroize::Zeroizing;

/// First byte of every ciphertext: the form below.
const VERSION: u8 = 1;
/// Length of a master key.
pub const MASTER_KEY_BYTES: usize = 32;
/// What every API key's value begins with.
const KEY_PREFIX: &str = "sbk_";
/// What every enrollment token's secret begins with.
const ENROLLMENT_PREFIX: &str = "sbe_";
/// Random characters of a key's value: 62^43 is more than 2^256.
const KEY_RANDOM_CHARS: usize = 43;
/// Characters of its checksum (CRC-32 in base 62).
const KEY_CHECKSUM_CHARS: usize = 6;
/// Characters that may be shown.
const KEY_SHOWN_CHARS: usize = 8;
/// What a master key's id is the HMAC of, cut to so many bytes.
const KEY_ID_OF: &[u8] = b"signalbox 2026-11 master key id";
const KEY_ID_BYTES: usize = 16;
/// What the key of page tokens is the HMAC of.
const PAGE_KEY_OF: &[u8] = b"signalbox 2026-11 page tokens";
const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Why a value cannot be sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CryptoError {
    /// No randomness, or no cipher.
    #[error("the value cannot be encrypted")]
    Seal,
    /// Another master key, or a damaged row.
    #[error("the value cannot be decrypted: the master key is another one, or the row is damaged")]
    Open,
    /// The master key is no 32 bytes.
    #[error("a master key has 32 bytes, as they are or in base 64")]
    MasterKey,
}

/// Seals and opens values.
pub struct MasterKey {
    key: RandomizedNonceKey,
    id: String,
    page_key: hmac::Key,
}

impl MasterKey {
    /// From its bytes.
    ///
    /// # Errors
    /// [`CryptoError::MasterKey`].
    pub fn new(bytes: &[u8]) -> Result<Self, CryptoError> {
        if bytes.len() != MASTER_KEY_BYTES {
            return Err(CryptoError::MasterKey);
        }
        let derive = |of| hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, bytes), of);
        let id = data_encoding::HEXLOWER.encode(&derive(KEY_ID_OF).as_ref()[..KEY_ID_BYTES]);
        let page_key = hmac::Key::new(hmac::HMAC_SHA256, derive(PAGE_KEY_OF).as_ref());
        RandomizedNonceKey::new(&AES_256_GCM, bytes)
            .map(|key| Self { key, id, page_key })
            .map_err(|_: Unspecified| CryptoError::MasterKey)
    }

    /// From a file or a variable: its bytes as they are, or in base 64.
    ///
    /// # Errors
    /// [`CryptoError::MasterKey`].
    pub fn parse(text: &[u8]) -> Result<Self, CryptoError> {
        if text.len() == MASTER_KEY_BYTES {
            return Self::new(text);
        }
        let decoded = BASE64.decode(text.trim_ascii()).map(Zeroizing::new);
        Self::new(&decoded.map_err(|_| CryptoError::MasterKey)?)
    }

    /// Tells it from others, and nothing about it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What signs page tokens: the same at all who have this master key.
    #[must_use]
    pub fn page_key(&self) -> &hmac::Key {
        &self.page_key
    }

    /// Bytes for a new one.
    ///
    /// # Errors
    /// [`CryptoError::Seal`] without randomness.
    pub fn generate() -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let mut bytes = Zeroizing::new(vec![0; MASTER_KEY_BYTES]);
        SystemRandom::new()
            .fill(&mut bytes)
            .map_err(|_| CryptoError::Seal)?;
        Ok(bytes)
    }

    /// Version, nonce, ciphertext and tag of `value`, bound to `name`.
    ///
    /// # Errors
    /// [`CryptoError::Seal`].
    pub fn seal(&self, name: &str, value: &[u8]) -> Result<Vec<u8>, CryptoError> {
        let mut text = value.to_vec();
        let nonce = self
            .key
            .seal_in_place_append_tag(Aad::from(name.as_bytes()), &mut text)
            .map_err(|_| CryptoError::Seal)?;
        let mut sealed = Vec::with_capacity(1 + NONCE_LEN + text.len());
        sealed.push(VERSION);
        sealed.extend_from_slice(nonce.as_ref());
        sealed.extend_from_slice(&text);
        Ok(sealed)
    }

    /// What was sealed for `name`.
    ///
    /// # Errors
    /// [`CryptoError::Open`].
    pub fn open(&self, name: &str, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let Some((&VERSION, rest)) = sealed.split_first() else {
            return Err(CryptoError::Open);
        };
        let (nonce, text) = rest.split_at_checked(NONCE_LEN).ok_or(CryptoError::Open)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| CryptoError::Open)?;
        let mut text = Zeroizing::new(text.to_vec());
        let opened = self
            .key
            .open_in_place(nonce, Aad::from(name.as_bytes()), &mut text)
            .map_err(|_| CryptoError::Open)?
            .len();
        text.truncate(opened);
        Ok(text)
    }
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(***)")
    }
}

/// An API key's value: `sbk_`, 43 random characters, 6 of checksum, so that secret scanners find it without doubt.
#[derive(Clone, Debug)]
pub struct KeyValue(SecretString);

impl KeyValue {
    /// A new one: 256 random bits and more.
    ///
    /// # Errors
    /// [`CryptoError::Seal`] without randomness.
    pub fn generate() -> Result<Self, CryptoError> {
        generate(KEY_PREFIX).map(Self)
    }

    /// One that was stored.
    ///
    /// # Errors
    /// [`CryptoError::Open`] when it is no text.
    pub fn from_stored(bytes: &[u8]) -> Result<Self, CryptoError> {
        let text = std::str::from_utf8(bytes).map_err(|_| CryptoError::Open)?;
        Ok(Self(text.to_owned().into()))
    }

    /// The value.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Its first characters.
    #[must_use]
    pub fn shown(&self) -> String {
        self.expose().chars().take(KEY_SHOWN_CHARS).collect()
    }

    /// SHA-256 of it: what the nodes get.
    #[must_use]
    pub fn digest(&self) -> Vec<u8> {
        digest(&SHA256, self.expose().as_bytes()).as_ref().to_vec()
    }
}

/// An enrollment token's secret, of the same form: `sbe_`, 43 random characters, 6 of checksum.
#[derive(Clone, Debug)]
pub struct EnrollmentSecret(SecretString);

impl EnrollmentSecret {
    /// A new one: 256 random bits and more. Nobody guesses it, however often it is tried.
    ///
    /// # Errors
    /// [`CryptoError::Seal`] without randomness.
    pub fn generate() -> Result<Self, CryptoError> {
        generate(ENROLLMENT_PREFIX).map(Self)
    }

    /// The one that `text` is, if it is one: what was cut or mistyped is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let random = text.strip_prefix(ENROLLMENT_PREFIX)?;
        let is_whole = random.len() == KEY_RANDOM_CHARS + KEY_CHECKSUM_CHARS
            && random.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let (value, sum) = text.split_at_checked(text.len().checked_sub(KEY_CHECKSUM_CHARS)?)?;
        (is_whole && checksum(value) == sum).then(|| Self(text.to_owned().into()))
    }

    /// The secret.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// SHA-256 of it: what is kept, and looked up by. How long a look-up takes tells of digests only, and nothing of secrets.
    #[must_use]
    pub fn digest(&self) -> Vec<u8> {
        digest(&SHA256, self.expose().as_bytes()).as_ref().to_vec()
    }
}

/// `prefix`, random characters, and their checksum.
fn generate(prefix: &str) -> Result<SecretString, CryptoError> {
    let random = SystemRandom::new();
    let mut value = String::with_capacity(prefix.len() + KEY_RANDOM_CHARS + KEY_CHECKSUM_CHARS);
    value.push_str(prefix);
    let mut byte = [0_u8; 1];
    while value.len() < prefix.len() + KEY_RANDOM_CHARS {
        random.fill(&mut byte).map_err(|_| CryptoError::Seal)?;
        // 248 is the largest multiple of 62 in a byte: above it, the remainder would favour some characters.
        if byte[0] < 248 {
            value.push(char::from(BASE62[usize::from(byte[0] % 62)]));
        }
    }
    let checksum = checksum(&value);
    value.push_str(&checksum);
    Ok(value.into())
}

fn checksum(value: &str) -> String {
    let mut rest = crc32fast::hash(value.as_bytes());
    let mut chars = [b'0'; KEY_CHECKSUM_CHARS];
    for place in chars.iter_mut().rev() {
        *place = BASE62[(rest % 62) as usize];
        rest /= 62;
    }
    String::from_utf8_lossy(&chars).into_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn what_is_sealed_opens_for_its_own_name_only() {
        let key = MasterKey::new(&MasterKey::generate().unwrap()).unwrap();
        let sealed = key.seal("a", b"value").unwrap();
        assert!(!sealed.windows(5).any(|part| part == b"value"));
        assert_eq!(key.open("a", &sealed).unwrap().as_slice(), b"value");
        assert_eq!(key.open("b", &sealed), Err(CryptoError::Open));
        let mut damaged = sealed.clone();
        *damaged.last_mut().unwrap() ^= 1;
        assert_eq!(key.open("a", &damaged), Err(CryptoError::Open));
        let other = MasterKey::new(&MasterKey::generate().unwrap()).unwrap();
        assert_eq!(other.open("a", &sealed), Err(CryptoError::Open));
        assert_eq!(key.open("a", b""), Err(CryptoError::Open));
    }

    #[test]
    fn a_master_key_is_written_as_it_is_or_in_base_64() {
        let bytes = MasterKey::generate().unwrap();
        let key = MasterKey::parse(&bytes).unwrap();
        let text = format!("{}\n", BASE64.encode(&bytes));
        let sealed = MasterKey::parse(text.as_bytes())
            .unwrap()
            .seal("a", b"value");
        assert_eq!(
            key.open("a", &sealed.unwrap()).unwrap().as_slice(),
            b"value"
        );
        let other = MasterKey::new(&MasterKey::generate().unwrap()).unwrap();
        assert_eq!(key.id(), MasterKey::new(&bytes).unwrap().id());
        assert_ne!(key.id(), other.id());
        for wrong in [
            &b""[..],
            &bytes[1..],
            b"not base 64 at all, of another length",
        ] {
            assert_eq!(MasterKey::parse(wrong).unwrap_err(), CryptoError::MasterKey);
        }
    }

    #[test]
    fn keys_have_a_form_that_scanners_know() {
        let (one, two) = (KeyValue::generate().unwrap(), KeyValue::generate().unwrap());
        assert_ne!(one.expose(), two.expose());
        let value = one.expose();
        assert_eq!(value.len(), 4 + 43 + 6);
        let (random, sum) = value.split_at(value.len() - 6);
        assert_eq!(checksum(random), sum);
        assert!(!format!("{one:?}").contains(&value[8..]));
        assert!(one.shown().len() == 8 && value.starts_with(&one.shown()));
    }

    #[test]
    fn enrollment_secrets_are_told_from_what_is_none() {
        let secret = EnrollmentSecret::generate().unwrap();
        let text = secret.expose();
        assert!(!format!("{secret:?}").contains(&text[4..]));
        let same = EnrollmentSecret::parse(text).unwrap();
        assert_eq!(same.digest(), secret.digest());
        let mut other = text.to_owned();
        let last = if other.ends_with('0') { '1' } else { '0' };
        other.pop();
        other.push(last);
        let key = KeyValue::generate().unwrap();
        let long = format!("{text}0");
        for wrong in [
            "",
            "sbe_",
            &text[1..],
            &text[..52],
            &other,
            &long,
            key.expose(),
        ] {
            assert!(EnrollmentSecret::parse(wrong).is_none(), "{wrong}");
        }
        assert!(EnrollmentSecret::parse("sbe_ä").is_none());
    }
}
