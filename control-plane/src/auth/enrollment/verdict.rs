//! Whether an enrollment token makes who presents it a node.

use signalbox_model::error::Error;

use super::{Enrolling, denied, replayed};
use crate::store::{EnrollmentTokenRow, NodeIdentityRow};

/// Why an enrollment token that exists makes no node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    Used,
    Expired,
    ForAnother,
    Enrolled,
    Replayed,
}

impl Refusal {
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Used => "ENROLLMENT_TOKEN_USED",
            Self::Expired => "ENROLLMENT_TOKEN_EXPIRED",
            Self::ForAnother => "ENROLLMENT_TOKEN_FOR_ANOTHER",
            Self::Enrolled => "NODE_ENROLLED",
            Self::Replayed => "PROOF_REPLAYED",
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let message = match refusal {
            Refusal::Used => "the enrollment token was used: each makes one node",
            Refusal::Expired => "the enrollment token can be used no more",
            Refusal::ForAnother => "the enrollment token is for another node",
            Refusal::Enrolled => {
                "the node has an identity: only an enrollment token that names the node gives it another"
            }
            Refusal::Replayed => return replayed(),
        };
        denied(refusal.reason(), message)
    }
}

/// What a node that presents an enrollment token gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict<'a> {
    /// An identity, in the place of any that it has.
    New,
    /// The one that it got by the same token: it lost the answer.
    Again(&'a NodeIdentityRow),
    Nothing(Refusal),
}

pub(super) fn verdict<'a>(
    token: &EnrollmentTokenRow,
    before: Option<&'a NodeIdentityRow>,
    asked: &Enrolling,
    now_us: i64,
) -> Verdict<'a> {
    if token.use_time_us.is_some() {
        let own = before.filter(|identity| {
            identity.enrollment_token == token.id
                && identity.public_key == asked.public_key
                && identity.revoke_time_us.is_none()
        });
        return match own {
            None => Verdict::Nothing(Refusal::Used),
            Some(own) if asked.proof.time_us() <= own.proof_time_us => {
                Verdict::Nothing(Refusal::Replayed)
            }
            Some(own) => Verdict::Again(own),
        };
    }
    if token.expire_time_us <= now_us {
        return Verdict::Nothing(Refusal::Expired);
    }
    match &token.node {
        Some(node) if node != asked.node.as_str() => Verdict::Nothing(Refusal::ForAnother),
        None if before.is_some() => Verdict::Nothing(Refusal::Enrolled),
        _ => Verdict::New,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use jiff::Timestamp;

    use super::*;
    use crate::{auth::Proof, crypto::EnrollmentSecret};

    const NOW_US: i64 = 1_000_000;

    fn token(change: impl FnOnce(&mut EnrollmentTokenRow)) -> EnrollmentTokenRow {
        let mut token = EnrollmentTokenRow {
            id: "e1".into(),
            digest: vec![1],
            node: None,
            display_name: String::new(),
            actor: "ann".into(),
            create_time_us: 0,
            expire_time_us: NOW_US + 1,
            use_time_us: None,
            used_by: None,
            refusals: 0,
        };
        change(&mut token);
        token
    }

    fn identity(change: impl FnOnce(&mut NodeIdentityRow)) -> Option<NodeIdentityRow> {
        let mut identity = NodeIdentityRow {
            node: "n1".into(),
            id: "i1".into(),
            public_key: vec![2],
            display_name: String::new(),
            enrollment_token: "e1".into(),
            enroll_time_us: 0,
            renew_time_us: 0,
            proof_time_us: 100,
            revoke_time_us: None,
        };
        change(&mut identity);
        Some(identity)
    }

    #[test]
    fn a_token_makes_one_node() {
        let asked = Enrolling {
            secret: EnrollmentSecret::generate().unwrap(),
            node: "n1".parse().unwrap(),
            public_key: vec![2],
            proof: Proof {
                time: Timestamp::from_microsecond(101).unwrap(),
                signature: Vec::new(),
            },
        };
        let used = || {
            token(|token| {
                token.use_time_us = Some(1);
                // It ends while its node may still ask again.
                token.expire_time_us = NOW_US;
            })
        };
        let for_node = |node: &str| token(|token| token.node = Some(node.to_owned()));
        let nothing = Verdict::Nothing;
        for (token, before, expected) in [
            (token(|_| ()), None, Verdict::New),
            (
                token(|token| token.expire_time_us = NOW_US),
                None,
                nothing(Refusal::Expired),
            ),
            (token(|_| ()), identity(|_| ()), nothing(Refusal::Enrolled)),
            (
                token(|_| ()),
                identity(|it| it.revoke_time_us = Some(1)),
                nothing(Refusal::Enrolled),
            ),
            (for_node("n1"), None, Verdict::New),
            (for_node("n1"), identity(|_| ()), Verdict::New),
            (for_node("n2"), None, nothing(Refusal::ForAnother)),
            (used(), None, nothing(Refusal::Used)),
            (
                used(),
                identity(|it| it.proof_time_us = 101),
                nothing(Refusal::Replayed),
            ),
            (
                used(),
                identity(|it| it.public_key = vec![3]),
                nothing(Refusal::Used),
            ),
            (
                used(),
                identity(|it| it.revoke_time_us = Some(1)),
                nothing(Refusal::Used),
            ),
            (
                used(),
                identity(|it| it.enrollment_token = "e2".into()),
                nothing(Refusal::Used),
            ),
        ] {
            let found = verdict(&token, before.as_ref(), &asked, NOW_US);
            assert_eq!(found, expected, "{token:?} {before:?}");
        }
        // It lost the answer.
        let own = identity(|_| ());
        let again = verdict(&used(), own.as_ref(), &asked, NOW_US);
        assert!(matches!(again, Verdict::Again(_)), "{again:?}");
    }
}
