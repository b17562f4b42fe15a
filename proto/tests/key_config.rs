//! What nodes are sent of API keys, and what nodes of earlier versions make of it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use signalbox_model::{
    config::{KeyConfig, KeyDigest, PreviousValue, Resource},
    key_scope::KeyScope,
};
use signalbox_proto::{
    convert::{
        WireError,
        config::{self, Reading},
    },
    dataplane::v1::{self as wire, resource::Kind},
};

fn key(scope: Option<(&[&str], &[&str])>, revoked: bool) -> KeyConfig {
    let project = "default".parse().unwrap();
    let scope = scope.map(|(workflows, networks)| {
        Arc::new(KeyScope::new(&project, workflows, networks).unwrap())
    });
    KeyConfig {
        name: "projects/default/apiKeys/k".parse().unwrap(),
        digest: KeyDigest([1; 32]),
        revoked,
        expires_at: None,
        rate_limit: None,
        scope,
        previous: None,
    }
}

fn sent(key: &KeyConfig) -> wire::KeyConfig {
    match config::key_to_wire(key).kind {
        Some(Kind::Key(key)) => key,
        other => panic!("{other:?}"),
    }
}

fn taken(key: wire::KeyConfig) -> Result<KeyConfig, WireError> {
    let resource = wire::Resource {
        kind: Some(Kind::Key(key)),
    };
    match config::resource(
        resource,
        |_| Reading::Whole,
        |_| Err("is no secret".to_owned()),
    )? {
        Resource::Key(key) => Ok(key),
        other => panic!("{other:?}"),
    }
}

#[test]
fn keys_arrive_as_they_are() {
    let scopes: [Option<(&[&str], &[&str])>; 4] = [
        None,
        Some((&["a", "b"], &[])),
        Some((&[], &["10.0.0.0/8", "2001:db8::/32"])),
        Some((&["a"], &["10.0.0.0/8"])),
    ];
    for scope in scopes {
        for revoked in [false, true] {
            let mut key = key(scope, revoked);
            assert_eq!(taken(sent(&key)).unwrap(), key);
            key.previous = Some(Box::new(PreviousValue {
                digest: KeyDigest([2; 32]),
                expires_at: "2026-12-01T00:00:00Z".parse().unwrap(),
            }));
            assert_eq!(taken(sent(&key)).unwrap(), key);
        }
    }
}

#[test]
fn a_node_that_knows_no_scopes_refuses_a_key_that_has_one() {
    let scoped = sent(&key(Some((&["a"], &[])), false));
    assert!(scoped.revoked && !scoped.scope.unwrap().revoked);
    assert!(!sent(&key(None, false)).revoked);
}

#[test]
fn what_means_nothing_is_refused() {
    let wrong = |change: fn(&mut wire::KeyConfig)| {
        let mut key = sent(&key(None, false));
        change(&mut key);
        taken(key).unwrap_err().to_string()
    };
    let text = wrong(|key| key.digest = vec![1; 31].into());
    assert_eq!(text, "digest: is no SHA-256");
    let text = wrong(|key| key.previous_digest = vec![1; 33].into());
    assert_eq!(text, "previous_digest: is no SHA-256");
    let text = wrong(|key| key.previous_digest = vec![1; 32].into());
    assert_eq!(text, "previous_expire_time is missing");
    let text = wrong(|key| {
        key.scope = Some(wire::KeyScope {
            source_networks: vec!["anywhere".to_owned()],
            ..wire::KeyScope::default()
        });
    });
    assert!(text.starts_with("scope: is \"anywhere\""), "{text}");
}
