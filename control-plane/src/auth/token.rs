//! Tokens: EdDSA JWTs (RFC 7519, RFC 8037) that the control plane's own key signs.

use std::{collections::BTreeMap, path::Path, time::Duration};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode, errors::ErrorKind,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use signalbox_model::{error::Error, ids::NodeId};
use signalbox_runtime::data_dir::{DataDir, DataDirError};
use zeroize::Zeroizing;

use super::{Identity, OfNode, OwnToken, Role};

/// Name of the signing key's file in the data folder: PKCS#8, PEM.
pub const SIGNING_KEY_FILE: &str = "jwt-signing-key.pem";
/// The place of a role that holds everywhere.
pub const ALL_PROJECTS: &str = "*";
const ISSUER: &str = "signalbox";
pub(super) const AUDIENCE: &str = "signalbox";
/// Clocks may differ by so much.
const LEEWAY: Duration = Duration::from_secs(30);
/// Bytes of the public half of a key.
const PUBLIC_KEY_BYTES: usize = 32;
/// Characters of a key's id.
const KEY_ID_CHARS: usize = 16;
/// A longer token is none of ours.
const TOKEN_MAX_BYTES: usize = 8 * 1024;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who made it.
    pub iss: String,
    /// For whom.
    pub aud: String,
    /// Who it stands for.
    pub sub: String,
    /// Its id.
    pub jti: String,
    /// When it was made, seconds since the epoch.
    pub iat: i64,
    /// From when it counts.
    pub nbf: i64,
    /// Until when.
    pub exp: i64,
    /// Roles by project name, or `*`.
    pub roles: BTreeMap<String, Role>,
    /// Id of the identity of the node that `sub` is, in a token of an enrolled node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_identity: Option<String>,
}

impl Claims {
    /// Claims that begin now.
    #[must_use]
    pub fn new(subject: &str, place: &str, role: Role, ttl: Duration) -> Self {
        let now = Timestamp::now().as_second();
        Self {
            iss: ISSUER.to_owned(),
            aud: AUDIENCE.to_owned(),
            sub: subject.to_owned(),
            jti: uuid::Uuid::new_v4().to_string(),
            iat: now,
            nbf: now,
            exp: now.saturating_add(i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX)),
            roles: BTreeMap::from([(place.to_owned(), role)]),
            node_identity: None,
        }
    }

    /// Claims of an enrolled node: they may be used as that node only.
    #[must_use]
    pub fn of_node(node: &NodeId, identity: &str, ttl: Duration) -> Self {
        Self {
            node_identity: Some(identity.to_owned()),
            ..Self::new(node.as_str(), ALL_PROJECTS, Role::DataPlane, ttl)
        }
    }

    /// Who it is that a token by the key `key_id` says this of.
    ///
    /// # Errors
    /// `Unauthenticated` when it is of a node, and names none.
    pub(super) fn identity(self, key_id: &str) -> Result<Identity, Error> {
        let node = self.node_identity.map(|identity| {
            let node = self
                .sub
                .parse()
                .map_err(|_| refused("TOKEN_MALFORMED", "the token is of a node, and names none"));
            node.map(|node| OfNode { node, identity })
        });
        Ok(Identity {
            ends_at: end(Timestamp::from_second(self.exp), LEEWAY),
            subject: self.sub.clone(),
            roles: self.roles,
            token: Some(OwnToken {
                id: self.jti,
                key_id: key_id.to_owned(),
                of_node: node.transpose()?,
            }),
        })
    }
}

/// Why there is no signing key.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The data folder.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The file cannot be read.
    #[error("the signing key {} cannot be read", .0.display())]
    Read(std::path::PathBuf, #[source] std::io::Error),
    /// What is in it is no key.
    #[error("the signing key is no Ed25519 key in PKCS#8 PEM")]
    Malformed,
    /// No randomness.
    #[error("a signing key cannot be made")]
    Generate,
    /// The database.
    #[error(transparent)]
    Store(#[from] Error),
    /// The token cannot be signed.
    #[error("the token cannot be signed")]
    Sign(#[source] jsonwebtoken::errors::Error),
}

/// Verifies tokens: the public half of a key.
#[derive(Clone)]
pub(super) struct PublicKey {
    bytes: Vec<u8>,
    decoding: DecodingKey,
}

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("PublicKey").field(&self.id()).finish()
    }
}

impl PublicKey {
    /// From its 32 bytes.
    ///
    /// # Errors
    /// [`TokenError::Malformed`].
    pub(super) fn new(bytes: &[u8]) -> Result<Self, TokenError> {
        if bytes.len() != PUBLIC_KEY_BYTES {
            return Err(TokenError::Malformed);
        }
        let x = URL_SAFE_NO_PAD.encode(bytes);
        Ok(Self {
            bytes: bytes.to_vec(),
            decoding: DecodingKey::from_ed_components(&x).map_err(|_| TokenError::Malformed)?,
        })
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What `kid` says of tokens by it.
    fn id(&self) -> String {
        let x = URL_SAFE_NO_PAD.encode(&self.bytes);
        x.chars().take(KEY_ID_CHARS).collect()
    }

    /// What a token for `audience` says.
    ///
    /// # Errors
    /// `Unauthenticated` with the reason; never with a part of the token.
    pub(super) fn claims_of<T: DeserializeOwned>(
        &self,
        token: &str,
        audience: &str,
    ) -> Result<T, Error> {
        if token.len() > TOKEN_MAX_BYTES {
            return Err(refused("TOKEN_MALFORMED", "the token is too long"));
        }
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.leeway = LEEWAY.as_secs();
        validation.validate_nbf = true;
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        decode::<T>(token, &self.decoding, &validation)
            .map(|data| data.claims)
            .map_err(|error| explain(error.kind()))
    }
}

/// Signs tokens.
pub struct TokenKey {
    pem: Zeroizing<Vec<u8>>,
    encoding: EncodingKey,
    public: PublicKey,
    id: String,
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl TokenKey {
    /// The key of a data folder; made when there is none.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn load_or_create(dir: &DataDir) -> Result<Self, TokenError> {
        if let Some(text) = dir.read(SIGNING_KEY_FILE)? {
            return Self::from_pem(&text);
        }
        let key = Self::generate()?;
        key.save(dir)?;
        Ok(key)
    }

    /// A new key, kept nowhere yet.
    ///
    /// # Errors
    /// [`TokenError::Generate`].
    pub(super) fn generate() -> Result<Self, TokenError> {
        let document = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new())
            .map_err(|_| TokenError::Generate)?;
        let text = pem::encode(&pem::Pem::new("PRIVATE KEY", document.as_ref()));
        Self::from_pem(text.as_bytes())
    }

    /// Makes it the key of a data folder.
    ///
    /// # Errors
    /// [`TokenError::DataDir`].
    pub(super) fn save(&self, dir: &DataDir) -> Result<(), TokenError> {
        Ok(dir.write_secret_file(SIGNING_KEY_FILE, &self.pem)?)
    }

    /// The key in a file.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let text = std::fs::read(path).map_err(|error| TokenError::Read(path.to_owned(), error))?;
        Self::from_pem(&text)
    }

    fn from_pem(text: &[u8]) -> Result<Self, TokenError> {
        let parsed = pem::parse(text).map_err(|_| TokenError::Malformed)?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(parsed.contents())
            .map_err(|_| TokenError::Malformed)?;
        let public = PublicKey::new(pair.public_key().as_ref())?;
        Ok(Self {
            pem: Zeroizing::new(text.to_vec()),
            encoding: EncodingKey::from_ed_pem(text).map_err(|_| TokenError::Malformed)?,
            id: public.id(),
            public,
        })
    }

    /// What `kid` says of tokens by it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The token that says `claims`.
    ///
    /// # Errors
    /// [`TokenError::Sign`].
    pub fn mint(&self, claims: &Claims) -> Result<String, TokenError> {
        self.sign(claims)
    }

    /// A token that says `claims`, of whatever kind.
    pub(super) fn sign(&self, claims: &impl Serialize) -> Result<String, TokenError> {
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(self.id.clone());
        encode(&header, claims, &self.encoding).map_err(TokenError::Sign)
    }

    /// Who a token by this key stands for, whether it is revoked or not.
    ///
    /// # Errors
    /// `Unauthenticated` with the reason; never with a part of the token.
    pub fn verify(&self, token: &str) -> Result<Identity, Error> {
        let claims: Claims = self.public.claims_of(token, AUDIENCE)?;
        claims.identity(&self.id)
    }
}

/// Id and end of a token of our own, by what it says: nothing is verified.
#[must_use]
pub fn id_and_end(token: &str) -> Option<(String, Option<Timestamp>)> {
    #[derive(Deserialize)]
    struct Said {
        jti: String,
        exp: Option<i64>,
    }
    let said: Said = jsonwebtoken::dangerous::insecure_decode_claims(token).ok()?;
    let ends = said.exp.and_then(|exp| Timestamp::from_second(exp).ok());
    Some((said.jti, ends))
}

/// When a token that says `exp` counts no more, where clocks may differ by `leeway`: it is looked at to the second.
pub(super) fn end(exp: Result<Timestamp, jiff::Error>, leeway: Duration) -> Timestamp {
    // What no clock will ever show is the end of time.
    exp.and_then(|exp| exp.checked_add(leeway + Duration::from_secs(1)))
        .unwrap_or(Timestamp::MAX)
}

/// The id of the key that a token says it is signed by.
pub(super) fn kid_of(token: &str) -> Result<String, Error> {
    if token.len() > TOKEN_MAX_BYTES {
        return Err(refused("TOKEN_MALFORMED", "the token is too long"));
    }
    let header = jsonwebtoken::decode_header(token).map_err(|error| explain(error.kind()))?;
    if header.alg != Algorithm::EdDSA {
        return Err(explain(&ErrorKind::InvalidAlgorithm));
    }
    let malformed = || refused("TOKEN_MALFORMED", "the token is no JWT that is understood");
    header.kid.ok_or_else(malformed)
}

/// Why a token is refused, never with a part of it.
pub(super) fn explain(kind: &ErrorKind) -> Error {
    match kind {
        ErrorKind::ExpiredSignature => refused("TOKEN_EXPIRED", "the token has expired"),
        ErrorKind::ImmatureSignature => {
            refused("TOKEN_NOT_YET_VALID", "the token does not count yet")
        }
        ErrorKind::InvalidSignature => refused(
            "TOKEN_SIGNATURE_INVALID",
            "the token's signature is not by its issuer's key",
        ),
        ErrorKind::InvalidIssuer => refused("TOKEN_ISSUER", "the token's issuer is another"),
        ErrorKind::InvalidAudience => {
            refused("TOKEN_AUDIENCE", "the token is for another audience")
        }
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => {
            refused("TOKEN_ALGORITHM", "the token's algorithm is not allowed")
        }
        ErrorKind::MissingRequiredClaim(claim) => refused(
            "TOKEN_MALFORMED",
            &format!("the token says nothing, or nothing that can be read, as {claim:?}"),
        ),
        _ => refused("TOKEN_MALFORMED", "the token is no JWT that is understood"),
    }
}

pub(super) fn refused(reason: &'static str, message: &str) -> Error {
    Error::Unauthenticated {
        reason,
        message: message.to_owned(),
    }
}
