#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::json;

use super::*;

const GOOD: &str = "
issuers:
  - issuer: https://login.example.com/realms/acme/
    audiences: [signalbox, other]
    algorithms: [RS256, EdDSA]
    leeway: 5s
    roles:
      - {claim: groups, value: admins, role: admin, projects: ['*']}
      - {claim: groups, value: team, role: editor, projects: [a, b]}
      - {claim: [realm_access, roles], value: ops, role: operator, projects: [a]}
      - {claim: scope, value: read, role: viewer, projects: ['*']}
      - {claim: sub, value: robot, role: viewer, projects: [c]}
";

fn parsed(text: &str) -> Result<Vec<IssuerConfig>, OidcConfigError> {
    parse(Path::new("oidc.yaml"), text)
}

fn roles(claims: Value) -> Vec<(String, Role)> {
    let config = parsed(GOOD).unwrap().remove(0);
    let Value::Object(claims) = claims else {
        panic!("claims are an object")
    };
    config.roles(&claims).into_iter().collect()
}

#[test]
fn a_file_says_whose_tokens_count() {
    let config = parsed(GOOD).unwrap().remove(0);
    assert_eq!(config.issuer, "https://login.example.com/realms/acme/");
    assert_eq!(
        config.discovery.as_str(),
        "https://login.example.com/realms/acme/.well-known/openid-configuration"
    );
    assert_eq!(config.algorithms, [Algorithm::RS256, Algorithm::EdDSA]);
    assert_eq!(config.leeway, Duration::from_secs(5));
    let json = r#"{"issuers": [{"issuer": "http://127.0.0.1:8080", "audiences": ["a"],
        "roles": [{"claim": "sub", "value": "x", "role": "viewer", "projects": ["*"]}]}]}"#;
    let config = parsed(json).unwrap().remove(0);
    assert_eq!(config.leeway, LEEWAY_DEFAULT);
    assert_eq!(config.algorithms, ALGORITHMS);
}

#[test]
fn claims_become_roles() {
    let place = |name: &str, role| (name.to_owned(), role);
    assert_eq!(roles(json!({})), []);
    assert_eq!(
        roles(json!({"groups": "admins"})),
        [place("*", Role::Admin)]
    );
    assert_eq!(
        roles(
            json!({"groups": ["x", "team"], "realm_access": {"roles": ["ops"]}, "scope": "openid read"})
        ),
        [
            place("*", Role::Viewer),
            place("projects/a", Role::Editor),
            place("projects/b", Role::Editor),
        ]
    );
    assert_eq!(
        roles(json!({"realm_access": {"roles": "ops"}, "sub": "robot"})),
        [
            place("projects/a", Role::Operator),
            place("projects/c", Role::Viewer)
        ]
    );
    // Nothing but the very value counts, and words only in what is a list of them.
    for claims in [
        json!({"groups": "Admins"}),
        json!({"groups": "x admins"}),
        json!({"groups": {"admins": true}}),
        json!({"groups": [["admins"]]}),
        json!({"groups": null, "scope": "reader", "sub": ["robot2"]}),
        json!({"realm_access": "ops"}),
        json!({"realm_access": ["ops"]}),
    ] {
        assert_eq!(roles(claims.clone()), [], "{claims}");
    }
}

#[test]
fn what_cannot_be_used_is_named() {
    let with = |from: &str, to: &str| {
        assert!(GOOD.contains(from), "{from}");
        let error = parsed(&GOOD.replacen(from, to, 1)).unwrap_err();
        let text = error.to_string();
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains("oidc.yaml"), "{text}");
        text
    };
    let issuer = "https://login.example.com/realms/acme/";
    for (to, expected) in [
        ("http://login.example.com", "https://"),
        ("https://login.example.com/?a", "query"),
        ("https://login.example.com/#a", "query"),
        ("https://user@login.example.com/", "user"),
        ("login", "expected a URL"),
        ("ftp://127.0.0.1", "https://"),
    ] {
        let text = with(issuer, to);
        assert!(
            text.contains("issuers[0].issuer") && text.contains(expected),
            "{text}"
        );
    }
    for (from, to, expected) in [
        ("RS256", "HS256", "issuers[0].algorithms"),
        ("RS256", "none", "issuers[0].algorithms"),
        ("5s", "1h", "issuers[0].leeway"),
        ("5s", "soon", "issuers[0].leeway"),
        ("[signalbox, other]", "[]", "issuers[0].audiences"),
        ("[signalbox, other]", "['']", "issuers[0].audiences"),
        ("role: admin,", "role: root,", "issuers[0].roles[0].role"),
        (
            "projects: ['*']",
            "projects: []",
            "issuers[0].roles[0].projects",
        ),
        (
            "projects: ['*']",
            "projects: [A]",
            "issuers[0].roles[0].projects",
        ),
        ("claim: groups", "claim: []", "issuers[0].roles[0].claim"),
        ("value: admins", "value: ''", "issuers[0].roles[0].value"),
        ("leeway", "leway", "leway"),
        ("claim: groups", "claims: groups", "claims"),
    ] {
        let text = with(from, to);
        assert!(text.contains(expected), "{text}");
    }
    let twice = format!(
        "{GOOD}{}",
        GOOD.trim_start().trim_start_matches("issuers:\n")
    );
    let text = parsed(&twice).unwrap_err().to_string();
    assert!(text.contains("issuers[1].issuer"), "{text}");
    assert!(parsed("issuers: []").is_err());
    assert!(parsed("").is_err());
    assert!(matches!(
        read(Path::new("/no/oidc.yaml")),
        Err(OidcConfigError::Read { .. })
    ));
}

#[test]
fn keys_come_over_tls_or_from_this_machine() {
    let may = |url: &str| may_be_fetched(&Url::parse(url).unwrap()).is_ok();
    for url in [
        "https://a.example",
        "http://127.0.0.1:1",
        "http://[::1]/",
        "http://localhost/",
    ] {
        assert!(may(url), "{url}");
    }
    for url in [
        "http://a.example",
        "http://localhost.a.example",
        "http://10.0.0.1",
        "https://a:b@c.example",
        "file:///etc/passwd",
    ] {
        assert!(!may(url), "{url}");
    }
}
