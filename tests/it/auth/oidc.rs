//! Tokens of a real issuer: keys over TLS, rotated, away, and whatever somebody may try.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use signalbox_proto::{convert::status::ApiError, v1};
use signalbox_tests::{
    api::Api,
    oidc::{Fault, Provider, SigningKey},
    planes::{Options, Planes},
    process::binary,
    wait,
};
use tonic::Code;

const ROLES: &str = "[{claim: groups, value: readers, role: viewer, projects: ['*']}, \
                      {claim: groups, value: team, role: editor, projects: [default]}, \
                      {claim: [realm_access, roles], value: root, role: admin, projects: ['*']}]";
const LIMIT: Duration = Duration::from_secs(20);

/// A control plane that trusts `entries`.
async fn control_plane(entries: &[String]) -> Planes {
    let dir = tempfile::tempdir().unwrap().keep();
    let file = dir.join("oidc.yaml");
    std::fs::write(&file, format!("issuers:\n{}", entries.concat())).unwrap();
    let mut planes = Planes::new(Options {
        control_plane: vec!["--oidc-config".into(), file.display().to_string()],
        // Each process fetches an issuer's keys for itself.
        one_replica: true,
        ..Options::default()
    });
    planes.control.start().await;
    std::fs::remove_dir_all(dir).unwrap();
    planes
}

async fn list(planes: &Planes, project: &str, token: &str) -> Result<(), ApiError> {
    let request = v1::ListApiKeysRequest {
        parent: format!("projects/{project}"),
        ..Default::default()
    };
    let listed = Api::new(&planes.control.endpoint, token)
        .keys()
        .list_api_keys(request)
        .await;
    listed.map(|_| ()).map_err(ApiError::from)
}

async fn create(planes: &Planes, id: &str, token: &str) -> Result<(), ApiError> {
    let request = v1::CreateApiKeyRequest {
        parent: "projects/default".into(),
        api_key_id: id.into(),
        ..Default::default()
    };
    let created = Api::new(&planes.control.endpoint, token)
        .keys()
        .create_api_key(request)
        .await;
    created.map(|_| ()).map_err(ApiError::from)
}

/// Code and reason of a refusal.
async fn refusal(planes: &Planes, token: &str) -> (Code, String) {
    let error = list(planes, "default", token).await.unwrap_err();
    (error.code, error.reason.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_of_an_issuer_are_roles() {
    let dir = tempfile::tempdir().unwrap();
    let provider = Provider::https(dir.path()).await;
    let (rsa, ec) = (SigningKey::rsa("rsa"), SigningKey::ec("ec"));
    provider.publish(&[&rsa, &ec]);
    let planes = control_plane(&[provider.entry(ROLES)]).await;
    let with = |claims: Value| rsa.sign(&provider.claims(claims));

    let reader = with(json!({"groups": ["x", "readers"]}));
    list(&planes, "default", &reader).await.unwrap();
    let denied = create(&planes, "by-reader", &reader).await.unwrap_err();
    assert_eq!(denied.code, Code::PermissionDenied);
    // Who it is, as audits will have it.
    let subject = format!("{}#ann", provider.issuer);
    assert!(denied.message.contains(&subject), "{}", denied.message);

    let team = ec.sign(&provider.claims(json!({"groups": "team", "aud": ["other", "signalbox"]})));
    create(&planes, "by-team", &team).await.unwrap();
    let elsewhere = list(&planes, "other", &team).await.unwrap_err();
    assert_eq!(elsewhere.code, Code::PermissionDenied);

    let root = json!({"realm_access": {"roles": ["root"]}});
    let root = rsa.sign_with(Algorithm::PS384, &provider.claims(root));
    create(&planes, "by-root", &root).await.unwrap();

    let nobody = list(&planes, "default", &with(json!({})))
        .await
        .unwrap_err();
    assert_eq!(nobody.code, Code::PermissionDenied);
    // Our own tokens count beside them.
    list(&planes, "default", &planes.control.token("viewer"))
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_with_its_token() {
    let provider = Provider::http(None).await;
    let key = SigningKey::ec("key");
    provider.publish(&[&key]);
    let planes = control_plane(&[provider.entry(ROLES)]).await;
    let watch = async |more: Value| {
        let api = Api::new(&planes.control.endpoint, &key.sign(&provider.claims(more)));
        let request = v1::WatchExecutionsRequest {
            parent: "projects/default".into(),
            ..Default::default()
        };
        let watched = api.executions().watch_executions(request).await;
        watched.unwrap().into_inner()
    };
    let mut lasts = watch(json!({"groups": "readers"})).await;
    // With the leeway it counts for five seconds more.
    let now = jiff::Timestamp::now().as_second();
    let mut ends = watch(json!({"groups": "readers", "exp": now})).await;
    let ended = tokio::time::timeout(LIMIT, ends.message()).await;
    let error = ApiError::from(ended.expect("it ends").unwrap_err());
    assert_eq!(error.code, Code::Unauthenticated);
    assert_eq!(error.reason.as_deref(), Some("TOKEN_EXPIRED"));
    assert!(jiff::Timestamp::now().as_second() >= now + 5, "too soon");
    let quiet = tokio::time::timeout(Duration::from_millis(300), lasts.message()).await;
    assert!(quiet.is_err(), "another's stream goes on: {quiet:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_tokens_are_refused_with_the_reason() {
    let provider = Provider::http(None).await;
    let key = SigningKey::rsa("key");
    let other = SigningKey::rsa("key");
    provider.publish(&[&key, &SigningKey::ec("ec")]);
    let planes = control_plane(&[provider.entry(ROLES)]).await;
    let claims = |more: Value| {
        let mut claims = provider.claims(more);
        claims["groups"] = json!("readers");
        claims
    };
    let now = jiff::Timestamp::now().as_second();
    let good = key.sign(&claims(json!({})));
    // Clocks may differ by the leeway.
    for fine in [json!({}), json!({"exp": now - 2}), json!({"nbf": now + 3})] {
        let fine = key.sign(&claims(fine));
        list(&planes, "default", &fine).await.unwrap();
    }

    let unauthenticated = |reason: &str| (Code::Unauthenticated, reason.to_owned());
    for (wrong, reason) in [
        (json!({"exp": now - 60}), "TOKEN_EXPIRED"),
        (json!({"exp": null}), "TOKEN_MALFORMED"),
        (json!({"exp": "soon"}), "TOKEN_MALFORMED"),
        (json!({"nbf": now + 60}), "TOKEN_NOT_YET_VALID"),
        (json!({"aud": "other"}), "TOKEN_AUDIENCE"),
        (json!({"aud": ["a", "b"]}), "TOKEN_AUDIENCE"),
        (json!({"aud": null}), "TOKEN_MALFORMED"),
        (json!({"aud": {"signalbox": 1}}), "TOKEN_MALFORMED"),
        (json!({"sub": null}), "TOKEN_MALFORMED"),
        (json!({"sub": ""}), "TOKEN_MALFORMED"),
        (json!({"sub": "x".repeat(256)}), "TOKEN_MALFORMED"),
    ] {
        let token = key.sign(&claims(wrong.clone()));
        assert_eq!(
            refusal(&planes, &token).await,
            unauthenticated(reason),
            "{wrong}"
        );
    }
    // Of another issuer, of none, of the control plane itself: none is signed by its issuer's key.
    for issuer in [
        json!("https://elsewhere.example"),
        json!(provider.issuer.clone() + "/"),
        json!(null),
        json!("signalbox"),
        json!([provider.issuer]),
    ] {
        let token = key.sign(&claims(json!({"iss": issuer})));
        let (code, reason) = refusal(&planes, &token).await;
        assert_eq!(code, Code::Unauthenticated, "{issuer}: {reason}");
    }
    let forged = other.sign(&claims(json!({})));
    assert_eq!(
        refusal(&planes, &forged).await,
        unauthenticated("TOKEN_SIGNATURE_INVALID")
    );
    let (head, _) = good.rsplit_once('.').unwrap();
    assert_eq!(
        refusal(&planes, &format!("{head}.")).await,
        unauthenticated("TOKEN_SIGNATURE_INVALID")
    );
    let parts: Vec<_> = good.split('.').collect();
    let more = BASE64.encode(claims(json!({"realm_access": {"roles": ["root"]}})).to_string());
    let changed = format!("{}.{more}.{}", parts[0], parts[2]);
    assert_eq!(
        refusal(&planes, &changed).await,
        unauthenticated("TOKEN_SIGNATURE_INVALID")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn algorithms_cannot_be_confused() {
    let provider = Provider::http(None).await;
    let (rsa, ec) = (SigningKey::rsa("rsa"), SigningKey::ec("ec"));
    provider.publish(&[&rsa, &ec]);
    let planes = control_plane(&[provider.entry(ROLES)]).await;
    let claims = provider.claims(json!({"groups": "readers"}));
    list(&planes, "default", &rsa.sign(&claims)).await.unwrap();
    let refused = (Code::Unauthenticated, "TOKEN_ALGORITHM".to_owned());

    // What everybody knows as a shared secret.
    for public in rsa.public.iter().chain(&ec.public) {
        for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
            let mut header = Header::new(algorithm);
            header.kid = Some("rsa".into());
            let secret = EncodingKey::from_secret(public);
            let token = jsonwebtoken::encode(&header, &claims, &secret).unwrap();
            assert_eq!(refusal(&planes, &token).await, refused, "{algorithm:?}");
        }
    }
    // No signature at all, however it is written; and another kind's algorithm for a key.
    let payload = BASE64.encode(claims.to_string());
    let [_, _, signature]: [String; 3] = rsa
        .sign(&claims)
        .split('.')
        .map(str::to_owned)
        .collect::<Vec<_>>()
        .try_into()
        .unwrap();
    for (alg, kid) in [
        ("none", "rsa"),
        ("None", "rsa"),
        ("NONE", "rsa"),
        ("", "rsa"),
        ("ES256", "rsa"),
        ("EdDSA", "rsa"),
        ("RS256", "ec"),
        ("ES384", "ec"),
    ] {
        let head = BASE64.encode(json!({"alg": alg, "kid": kid, "typ": "JWT"}).to_string());
        for signature in ["", &signature] {
            let token = format!("{head}.{payload}.{signature}");
            assert_eq!(refusal(&planes, &token).await, refused, "{alg} {kid}");
        }
    }
    // A key of the sender's own by that name; what must be understood and is not.
    let own = SigningKey::rsa("rsa");
    let token = own.sign(&claims);
    assert_eq!(refusal(&planes, &token).await.1, "TOKEN_SIGNATURE_INVALID");
    let head = BASE64.encode(json!({"alg": "RS256", "kid": "rsa", "crit": ["exp"]}).to_string());
    let token = format!("{head}.{payload}.{signature}");
    assert_eq!(refusal(&planes, &token).await.1, "TOKEN_MALFORMED");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_rotate_and_made_up_ones_cost_the_issuer_little() {
    let provider = Provider::http(None).await;
    let (old, new) = (SigningKey::ec("old"), SigningKey::ec("new"));
    provider.publish(&[&old]);
    let planes = control_plane(&[provider.entry(ROLES)]).await;
    let claims = provider.claims(json!({"groups": "readers"}));
    list(&planes, "default", &old.sign(&claims)).await.unwrap();

    // The new key is there as soon as a token names it; the old one is gone with the same look.
    provider.publish(&[&new]);
    list(&planes, "default", &new.sign(&claims)).await.unwrap();
    let gone = (Code::Unauthenticated, "TOKEN_KEY_UNKNOWN".to_owned());
    assert_eq!(refusal(&planes, &old.sign(&claims)).await, gone);

    let before = provider.fetches();
    let start = Instant::now();
    let storm = (0..300).map(|number| {
        let token = old.named(&format!("made-up-{number}")).sign(&claims);
        let planes = &planes;
        async move { refusal(planes, &token).await }
    });
    for refused in futures::future::join_all(storm).await {
        assert_eq!(refused, gone);
    }
    let (fetches, took) = (provider.fetches() - before, start.elapsed());
    // Three at once, one more every ten seconds.
    let allowed = 3 + usize::try_from(took.as_secs() / 10).unwrap();
    eprintln!("300 made-up keys in {took:?}: {fetches} fetches");
    assert!(fetches <= allowed, "{fetches} fetches in {took:?}");
    list(&planes, "default", &new.sign(&claims)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_is_away_is_no_reason_to_refuse_for_good() {
    let provider = Provider::http(None).await;
    let (old, new) = (SigningKey::ec("old"), SigningKey::ec("new"));
    provider.publish(&[&old]);
    provider.set_away(true);
    let planes = control_plane(&[provider.entry(ROLES)]).await;
    let claims = provider.claims(json!({"groups": "readers"}));
    let away = list(&planes, "default", &old.sign(&claims))
        .await
        .unwrap_err();
    assert_eq!(away.code, Code::Unavailable, "{away}");
    assert!(away.retry_after.is_some());
    list(&planes, "default", &planes.control.token("viewer"))
        .await
        .unwrap();

    let accepted = |token: String| {
        let planes = &planes;
        async move {
            list(planes, "default", &token)
                .await
                .map_err(|error| error.to_string())
        }
    };
    provider.set_away(false);
    wait::until("the issuer's keys", LIMIT, || accepted(old.sign(&claims))).await;

    provider.set_away(true);
    list(&planes, "default", &old.sign(&claims)).await.unwrap();
    // Until somebody has looked in vain, what was fetched last is what there is.
    wait::until("the look in vain", LIMIT, || async {
        match refusal(&planes, &new.sign(&claims)).await {
            (Code::Unavailable, _) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    list(&planes, "default", &old.sign(&claims)).await.unwrap();
    provider.publish(&[&old, &new]);
    provider.set_away(false);
    wait::until("the new key", LIMIT, || accepted(new.sign(&claims))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_issuer_that_misbehaves_is_not_believed() {
    let key = SigningKey::ec("key");
    let mut providers = Vec::new();
    for (fault, said) in [
        (Fault::OtherIssuer, "is of the issuer"),
        (Fault::KeysInTheClear, "names a jwks_uri that is not used"),
        (Fault::Redirect, "answered 302"),
        (Fault::Flood, "has more than"),
        (Fault::Garbage, "is not what it should be"),
    ] {
        let provider = Provider::http(Some(fault)).await;
        provider.publish(&[&key]);
        providers.push((provider, fault, said));
    }
    let good = Provider::http(None).await;
    good.publish(&[&key]);
    let mut entries: Vec<_> = providers
        .iter()
        .map(|(provider, ..)| provider.entry(ROLES))
        .collect();
    entries.push(good.entry(ROLES));
    let planes = control_plane(&entries).await;
    for (provider, fault, said) in &providers {
        let token = key.sign(&provider.claims(json!({"groups": "readers"})));
        let (code, _) = refusal(&planes, &token).await;
        assert_eq!(code, Code::Unavailable, "{fault:?}");
        assert!(
            planes.control.log().contains(said),
            "{fault:?}: {}",
            planes.control.log()
        );
    }
    let token = key.sign(&good.claims(json!({"groups": "readers"})));
    list(&planes, "default", &token).await.unwrap();
}

#[test]
fn a_file_that_cannot_be_used_keeps_it_from_starting() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("oidc.yaml");
    std::fs::write(
        &file,
        "issuers: [{issuer: 'http://login.example.com', audiences: [a], roles: []}]",
    )
    .unwrap();
    let output = Command::new(binary("signalbox-control-plane"))
        .args([
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
            "--oidc-config",
        ])
        .arg(&file)
        .arg("--data-dir")
        .arg(dir.path().join("data"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(64));
    let error = String::from_utf8(output.stderr).unwrap();
    let last = error.lines().last().unwrap_or_default();
    assert!(
        last.contains("issuers[0].issuer") && last.contains("https://"),
        "{error}"
    );
}
