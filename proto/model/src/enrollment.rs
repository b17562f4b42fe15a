//! How a node proves which it is: a signature by the private key of its identity, of what it asks for and when.
//!
//! The time is what keeps a proof from being used twice: who takes it notes it, and takes only later ones of that node.

use std::{fmt::Write as _, time::Duration};

use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::{ED25519, UnparsedPublicKey},
};
use data_encoding::HEXLOWER;
use jiff::Timestamp;

use crate::ids::NodeId;

/// Length of a public key (Ed25519, RFC 8032).
pub const PUBLIC_KEY_BYTES: usize = 32;
/// Length of a signature.
pub const SIGNATURE_BYTES: usize = 64;
/// How far the sender's clock may be from the one of who takes the proof.
pub const SKEW_MAX: Duration = Duration::from_secs(300);
/// What every proof begins with: the form of what follows.
const FORM: &str = "signalbox node proof 1";

/// What is asked for.
#[derive(Clone, Copy)]
pub enum Purpose<'a> {
    /// To become a node, by this enrollment token.
    Enroll(&'a str),
    /// Another token.
    Renew,
}

/// What is signed.
#[must_use]
pub fn statement(purpose: Purpose<'_>, node: &NodeId, time: Timestamp) -> Vec<u8> {
    let name = match purpose {
        Purpose::Enroll(_) => "enroll",
        Purpose::Renew => "renew",
    };
    let mut text = format!("{FORM}\n{name}\n{node}\n{}\n", time.as_microsecond());
    if let Purpose::Enroll(token) = purpose {
        let token = HEXLOWER.encode(digest(&SHA256, token.as_bytes()).as_ref());
        // Writing to a String does not fail.
        let _ = writeln!(text, "{token}");
    }
    text.into_bytes()
}

/// Whether `signature` is by the private half of `public_key`.
#[must_use]
pub fn is_signed(public_key: &[u8], statement: &[u8], signature: &[u8]) -> bool {
    let key = UnparsedPublicKey::new(&ED25519, public_key);
    key.verify(statement, signature).is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use aws_lc_rs::{
        rand::SystemRandom,
        signature::{Ed25519KeyPair, KeyPair as _},
    };

    use super::*;

    fn at(us: i64) -> Timestamp {
        Timestamp::from_microsecond(us).unwrap()
    }

    #[test]
    fn a_statement_is_what_the_proto_file_says() {
        let node: NodeId = "n1".parse().unwrap();
        let renew = statement(Purpose::Renew, &node, at(1_700_000_000_000_001));
        assert_eq!(
            renew,
            b"signalbox node proof 1\nrenew\nn1\n1700000000000001\n"
        );
        let enroll = statement(Purpose::Enroll("abc"), &node, at(5));
        // SHA-256 of "abc", of FIPS 180-2.
        let digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let expected = format!("signalbox node proof 1\nenroll\nn1\n5\n{digest}\n");
        assert_eq!(enroll, expected.as_bytes());
    }

    #[test]
    fn a_signature_is_good_for_its_statement_and_key_only() {
        let pair = || {
            let document = Ed25519KeyPair::generate_pkcs8v1(&SystemRandom::new()).unwrap();
            Ed25519KeyPair::from_pkcs8_maybe_unchecked(document.as_ref()).unwrap()
        };
        let (own, other) = (pair(), pair());
        let public = own.public_key().as_ref();
        let node: NodeId = "n1".parse().unwrap();
        let said = statement(Purpose::Renew, &node, at(1));
        let signature = own.sign(&said);
        let signature = signature.as_ref();
        assert_eq!(
            (public.len(), signature.len()),
            (PUBLIC_KEY_BYTES, SIGNATURE_BYTES)
        );
        assert!(is_signed(public, &said, signature));
        assert!(!is_signed(other.public_key().as_ref(), &said, signature));
        assert!(!is_signed(public, &said, &signature[1..]));
        assert!(!is_signed(&public[1..], &said, signature));
        let another: NodeId = "n2".parse().unwrap();
        for unsaid in [
            statement(Purpose::Renew, &node, at(2)),
            statement(Purpose::Renew, &another, at(1)),
            statement(Purpose::Enroll(""), &node, at(1)),
        ] {
            assert!(!is_signed(public, &unsaid, signature));
        }
    }
}
