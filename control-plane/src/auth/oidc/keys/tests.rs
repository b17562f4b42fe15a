#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::json;

use super::*;

// RFC 7517, appendix A.1; RFC 8037, appendix A.2.
const EC_X: &str = "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4";
const EC_Y: &str = "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM";
const ED_X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
const RSA_N: &str = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw";

fn set(keys: &[Value]) -> KeySet {
    KeySet::parse(json!({"keys": keys}).to_string().as_bytes()).unwrap()
}

fn rsa(id: &str) -> Value {
    json!({"kty": "RSA", "n": RSA_N, "e": "AQAB", "kid": id})
}

fn with(mut key: Value, name: &str, value: Value) -> Value {
    key[name] = value;
    key
}

#[test]
fn a_key_is_for_algorithms_of_its_own_kind() {
    let ec = json!({"kty": "EC", "crv": "P-256", "x": EC_X, "y": EC_Y, "kid": "ec"});
    let ed = json!({"kty": "OKP", "crv": "Ed25519", "x": ED_X, "kid": "ed"});
    let keys = set(&[rsa("rsa"), ec, ed, with(rsa("one"), "alg", json!("RS512"))]);
    let fits = |id, algorithm| matches!(keys.find(Some(id), algorithm), Found::Key(_));
    assert!(fits("rsa", Algorithm::RS256) && fits("rsa", Algorithm::PS512));
    assert!(fits("ec", Algorithm::ES256) && fits("ed", Algorithm::EdDSA));
    assert!(fits("one", Algorithm::RS512));
    for (id, algorithm) in [
        ("rsa", Algorithm::ES256),
        ("rsa", Algorithm::HS256),
        ("ec", Algorithm::ES384),
        ("ec", Algorithm::RS256),
        ("ed", Algorithm::ES256),
        ("one", Algorithm::RS256),
    ] {
        let found = keys.find(Some(id), algorithm);
        assert!(matches!(found, Found::OtherAlgorithm), "{id} {algorithm:?}");
    }
    let unknown = keys.find(Some("other"), Algorithm::RS256);
    assert!(matches!(unknown, Found::Unknown));
}

#[test]
fn without_a_name_there_must_be_no_choice() {
    let one = set(&[rsa("a")]);
    assert!(matches!(one.find(None, Algorithm::RS256), Found::Key(_)));
    let two = set(&[rsa("a"), rsa("b")]);
    assert!(matches!(two.find(None, Algorithm::RS256), Found::Unnamed));
    let none = KeySet::default();
    assert!(matches!(none.find(None, Algorithm::RS256), Found::Unknown));
}

#[test]
fn what_is_no_key_for_signatures_is_passed_over() {
    let keys = set(&[
        json!({"kty": "oct", "k": "c2VjcmV0", "kid": "shared"}),
        json!({"kty": "oct", "k": "c2VjcmV0", "kid": "shared", "alg": "HS256"}),
        json!({"kty": "RSA", "kid": "no-modulus", "e": "AQAB"}),
        json!({"kty": "RSA", "n": "!!", "e": "AQAB", "kid": "no-base64"}),
        json!({"kty": "EC", "crv": "P-521", "x": EC_X, "y": EC_Y}),
        json!({"kty": "OKP", "crv": "X25519", "x": ED_X}),
        json!({"kty": "new", "kid": "new"}),
        with(rsa("encrypts"), "use", json!("enc")),
        with(rsa("signs"), "key_ops", json!(["sign"])),
        with(rsa("hmac"), "alg", json!("HS256")),
        with(rsa("unknown"), "alg", json!("XY1")),
        json!("nothing"),
        with(
            with(rsa("good"), "use", json!("sig")),
            "key_ops",
            json!(["verify"]),
        ),
    ]);
    assert_eq!(keys.len(), 1, "{keys:?}");
    assert!(matches!(
        keys.find(Some("good"), Algorithm::RS256),
        Found::Key(_)
    ));
    for wrong in ["", "[]", "{}", r#"{"keys": 1}"#] {
        assert!(KeySet::parse(wrong.as_bytes()).is_err(), "{wrong}");
    }
}
