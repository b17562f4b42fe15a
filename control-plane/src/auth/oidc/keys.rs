//! An issuer's keys: a JSON Web Key Set (RFC 7517).

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, CommonParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::Value;

/// Keys of a set that are looked at.
const KEYS_MAX: usize = 200;

/// The keys that can verify signatures.
#[derive(Clone, Debug, Default)]
pub(super) struct KeySet(Vec<Key>);

#[derive(Clone, Debug)]
struct Key {
    id: Option<String>,
    /// What it is for: never more than its own kind, so that no key is used with another kind's algorithm.
    algorithms: Vec<Algorithm>,
    key: DecodingKey,
}

/// What a set has for a token.
#[derive(Debug)]
pub(super) enum Found<'a> {
    /// Its key.
    Key(&'a DecodingKey),
    /// Keys of that id, for other algorithms.
    OtherAlgorithm,
    /// The token names no key, and there is not one alone.
    Unnamed,
    /// No key of that id.
    Unknown,
}

#[derive(Deserialize)]
struct SetDocument {
    keys: Vec<Value>,
}

impl KeySet {
    /// The keys of a document. Those that are not understood are passed over (RFC 7517 §5).
    ///
    /// # Errors
    /// When it is no set.
    pub(super) fn parse(document: &[u8]) -> Result<Self, serde_json::Error> {
        let SetDocument { keys } = serde_json::from_slice(document)?;
        let keys = keys.into_iter().take(KEYS_MAX);
        Ok(Self(keys.filter_map(Key::parse).collect()))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The key for a token of `algorithm` that names the key `id`. A token that names none is verified only where the choice
    /// is none (OpenID Connect Core 1.0 §10.1).
    pub(super) fn find(&self, id: Option<&str>, algorithm: Algorithm) -> Found<'_> {
        let mut named = self
            .0
            .iter()
            .filter(|key| id.is_none() || key.id.as_deref() == id);
        let mut fitting = named
            .clone()
            .filter(|key| key.algorithms.contains(&algorithm));
        match (fitting.next(), fitting.next(), named.next(), id) {
            (Some(key), None, _, _) => Found::Key(&key.key),
            (Some(_), Some(_), _, None) => Found::Unnamed,
            // Two of the same id: an issuer that does so means the first.
            (Some(key), Some(_), _, Some(_)) => Found::Key(&key.key),
            (None, _, Some(_), _) => Found::OtherAlgorithm,
            (None, _, None, _) => Found::Unknown,
        }
    }
}

impl Key {
    fn parse(value: Value) -> Option<Self> {
        let jwk: Jwk = serde_json::from_value(value).ok()?;
        let algorithms = algorithms(&jwk);
        if algorithms.is_empty() || !verifies(&jwk.common) {
            return None;
        }
        Some(Self {
            key: DecodingKey::from_jwk(&jwk).ok()?,
            id: jwk.common.key_id,
            algorithms,
        })
    }
}

/// Whether it is for signatures at all.
fn verifies(common: &CommonParameters) -> bool {
    let used = matches!(common.public_key_use, None | Some(PublicKeyUse::Signature));
    let operations = common.key_operations.as_ref();
    used && operations.is_none_or(|all| all.contains(&KeyOperations::Verify))
}

fn algorithms(jwk: &Jwk) -> Vec<Algorithm> {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    let of_kind: &[Algorithm] = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => &[RS256, RS384, RS512, PS256, PS384, PS512],
        AlgorithmParameters::EllipticCurve(key) => match key.curve {
            EllipticCurve::P256 => &[ES256],
            EllipticCurve::P384 => &[ES384],
            _ => &[],
        },
        AlgorithmParameters::OctetKeyPair(key) => match key.curve {
            EllipticCurve::Ed25519 => &[EdDSA],
            _ => &[],
        },
        // A shared key in a public document is no secret.
        _ => &[],
    };
    let said = jwk.common.key_algorithm;
    let fits = |algorithm: &&Algorithm| said.is_none_or(|said| said == (**algorithm).into());
    of_kind.iter().filter(fits).copied().collect()
}

#[cfg(test)]
mod tests;
