#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use super::*;

fn key() -> (tempfile::TempDir, TokenKey) {
    let dir = tempfile::tempdir().unwrap();
    let data = signalbox_runtime::data_dir::DataDir::open(dir.path().join("d")).unwrap();
    let key = TokenKey::load_or_create(&data).unwrap();
    (dir, key)
}

fn reason(result: Result<Identity, Error>) -> &'static str {
    match result.unwrap_err() {
        Error::Unauthenticated { reason, .. } => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_token_says_who_it_stands_for() {
    let (_dir, key) = key();
    let claims = Claims::new("me", "projects/a", Role::Editor, Duration::from_secs(60));
    let identity = key.verify(&key.mint(&claims).unwrap()).unwrap();
    assert_eq!(identity.subject, "me");
    assert_eq!(identity.role_in(&"a".parse().unwrap()), Some(Role::Editor));
    assert_eq!(identity.role_in(&"b".parse().unwrap()), None);
}

#[test]
fn other_tokens_are_refused_with_the_reason() {
    let (_dir, key) = key();
    let (_other_dir, other) = self::key();
    let good = Claims::new("me", "*", Role::Admin, Duration::from_secs(60));
    let mint = |change: fn(&mut Claims)| {
        let mut claims = good.clone();
        change(&mut claims);
        key.mint(&claims).unwrap()
    };
    assert_eq!(
        reason(key.verify(&mint(|c| c.exp -= 3600))),
        "TOKEN_EXPIRED"
    );
    assert_eq!(
        reason(key.verify(&mint(|c| c.nbf += 3600))),
        "TOKEN_NOT_YET_VALID"
    );
    assert_eq!(
        reason(key.verify(&mint(|c| c.iss = "x".into()))),
        "TOKEN_ISSUER"
    );
    assert_eq!(
        reason(key.verify(&mint(|c| c.aud = "x".into()))),
        "TOKEN_AUDIENCE"
    );
    assert_eq!(
        reason(key.verify(&other.mint(&good).unwrap())),
        "TOKEN_SIGNATURE_INVALID"
    );
    assert_eq!(reason(key.verify("nonsense")), "TOKEN_MALFORMED");
    assert_eq!(reason(key.verify(&"x".repeat(10_000))), "TOKEN_MALFORMED");
    let none = jsonwebtoken::encode(
        &jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256),
        &good,
        &jsonwebtoken::EncodingKey::from_secret(b"s"),
    )
    .unwrap();
    assert_eq!(reason(key.verify(&none)), "TOKEN_ALGORITHM");
}

#[test]
fn a_nodes_token_is_for_that_node_only() {
    let (_dir, key) = key();
    let node: NodeId = "n1".parse().unwrap();
    let claims = Claims::of_node(&node, "i1", Duration::from_secs(60));
    let caller = Caller(key.verify(&key.mint(&claims).unwrap()).unwrap());
    let other: NodeId = "n2".parse().unwrap();
    caller.check_node(&node).unwrap();
    assert!(matches!(
        caller.check_node(&other),
        Err(Error::Denied {
            reason: "NODE_MISMATCH",
            ..
        })
    ));
    let plain = Claims::new("n1", "*", Role::DataPlane, Duration::from_secs(60));
    let plain = Caller(key.verify(&key.mint(&plain).unwrap()).unwrap());
    plain.check_node(&other).unwrap();
    let nobody = Claims {
        sub: "No node".into(),
        ..claims
    };
    let refused = key.verify(&key.mint(&nobody).unwrap());
    assert_eq!(reason(refused), "TOKEN_MALFORMED");
}

#[test]
fn roles_are_ordered_and_nodes_stand_apart() {
    let viewer = Requirement::AtLeast(Role::Viewer);
    assert!(viewer.is_met_by(Some(Role::Admin)));
    assert!(!viewer.is_met_by(Some(Role::DataPlane)));
    assert!(!viewer.is_met_by(None));
    assert!(Requirement::Node.is_met_by(Some(Role::DataPlane)));
    assert!(!Requirement::Node.is_met_by(Some(Role::Admin)));
    assert!(!Requirement::Proof.is_met_by(Some(Role::Admin)));
}

#[test]
fn every_method_has_a_role_and_every_role_a_method() {
    let pool = prost_reflect::DescriptorPool::decode(signalbox_proto::DESCRIPTORS).unwrap();
    let mut methods: Vec<String> = pool
        .services()
        .flat_map(|service| service.methods().collect::<Vec<_>>())
        .map(|method| format!("/{}/{}", method.parent_service().full_name(), method.name()))
        .collect();
    let mut table: Vec<_> = METHODS.iter().map(|(path, _)| (*path).to_owned()).collect();
    methods.sort();
    table.sort();
    assert_eq!(methods, table);
}
