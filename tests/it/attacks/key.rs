//! Keys that are none, and keys that must not be seen.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use signalbox_proto::v1::{ApiKey, CreateApiKeyRequest, RevokeApiKeyRequest};
use signalbox_tests::wait;

use super::support::{Case, Post, Stage, TOPIC, Workflow, exchange, exchange_from, stage::path};
use crate::local_stack::synced;

/// Keys that open nothing here.
struct Keys {
    revoked: String,
    expired: String,
    of_another_workflow: String,
    wrong: String,
    wrong_secret: String,
}

async fn create(stage: &Stage, id: &str, lives_s: Option<i64>) -> String {
    let expire_time = lives_s.map(|seconds| {
        let now = std::time::SystemTime::now() + Duration::from_secs(seconds.unsigned_abs());
        now.into()
    });
    let request = CreateApiKeyRequest {
        parent: "projects/default".to_owned(),
        api_key_id: id.to_owned(),
        api_key: Some(ApiKey {
            expire_time,
            ..Default::default()
        }),
        ..Default::default()
    };
    let created = stage.api.keys().create_api_key(request).await;
    created.unwrap().into_inner().value
}

async fn keys(stage: &Stage) -> Keys {
    let revoked = create(stage, "revoked", None).await;
    let expired = create(stage, "expired", Some(1)).await;
    let other = create(stage, "other", None).await;
    let spec = Workflow::spec("sender, revoked, expired", TOPIC);
    stage.api.create_workflow("guarded", &spec).await;
    let spec = Workflow::spec("other", TOPIC);
    stage.api.create_workflow("other", &spec).await;
    let request = RevokeApiKeyRequest {
        name: "projects/default/apiKeys/revoked".into(),
        ..Default::default()
    };
    stage.api.keys().revoke_api_key(request).await.unwrap();
    synced(&stage.api).await;

    // The part after the last separator is the secret: an id that exists, with a secret that does not.
    let last = if stage.key.ends_with('A') { 'B' } else { 'A' };
    let wrong_secret = format!("{}{last}", &stage.key[..stage.key.len() - 1]);
    let wrong = format!("{}{}", &stage.key[..4], "x".repeat(stage.key.len() - 4));
    let keys = Keys {
        revoked,
        expired,
        of_another_workflow: other,
        wrong,
        wrong_secret,
    };
    for secret in [
        &keys.revoked,
        &keys.expired,
        &keys.of_another_workflow,
        &keys.wrong,
        &keys.wrong_secret,
    ] {
        stage.watch(secret);
    }
    keys
}

fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// Makes posts to the workflow, each with a message of its own.
struct Maker<'a> {
    stage: &'a Stage,
    cases: Vec<Case>,
}

impl Maker<'_> {
    /// `query` follows the path as it stands; `headers` are added.
    fn add(
        &mut self,
        name: &str,
        (query, headers): (&str, &[(&str, &str)]),
        (status, reason): (u16, &'static str),
    ) {
        let post = self.post(&format!("{}{query}", path("guarded")), headers);
        let id = format!("key-{}", self.cases.len());
        let case = Case::new(name, post, status, reason);
        self.cases.push(case.shows(&id, TOPIC));
    }

    fn post(&self, target: &str, headers: &[(&str, &str)]) -> Post {
        let letter = self
            .stage
            .signing
            .notification(&format!("key-{}", self.cases.len()));
        headers.iter().fold(
            self.stage.post(&letter).target(target),
            |post, (name, value)| post.header(name, value),
        )
    }

    fn at(&mut self, name: &str, target: &str, status: u16, reason: &'static str) {
        let case = Case::new(name, self.post(target, &[]), status, reason);
        self.cases.push(case.unrecorded());
    }
}

fn values(maker: &mut Maker<'_>, keys: &Keys) {
    let key = maker.stage.key.clone();
    let unknown = (401, "key-unknown");
    let missing = (401, "key-missing");
    let query = |key: &str| format!("?x-api-key={key}");
    maker.add("none", ("", &[]), missing);
    maker.add("empty", ("?x-api-key=", &[]), unknown);
    maker.add("wrong", (&query(&keys.wrong), &[]), unknown);
    maker.add("wrong secret", (&query(&keys.wrong_secret), &[]), unknown);
    maker.add(
        "revoked",
        (&query(&keys.revoked), &[]),
        (401, "key-revoked"),
    );
    maker.add(
        "expired",
        (&query(&keys.expired), &[]),
        (401, "key-expired"),
    );
    let not_allowed = (403, "key-not-allowed");
    maker.add(
        "of another workflow",
        (&query(&keys.of_another_workflow), &[]),
        not_allowed,
    );
    for (name, text) in [
        ("longer", format!("{key}0")),
        ("shorter", key[..key.len() - 1].to_owned()),
        ("lower case", key.to_lowercase()),
        ("blank after it", format!("{key}%20")),
        ("NUL after it", format!("{key}%00")),
        ("newline after it", format!("{key}%0A")),
        (
            "encoded twice",
            percent_encoded(&percent_encoded(&key)).replace("%25", "%2525"),
        ),
        ("300 bytes", "k".repeat(300)),
        ("60 KiB", "k".repeat(60_000)),
        ("a quote", "'%20or%20'1'='1".to_owned()),
    ] {
        maker.add(name, (&query(&text), &[]), unknown);
    }
    for (name, text) in [
        ("name in upper case", format!("?X-API-KEY={key}")),
        ("another name", format!("?api-key={key}")),
        ("behind a semicolon", format!("?a=b;x-api-key={key}")),
        ("in a fragment's place", format!("?%23x-api-key={key}")),
    ] {
        maker.add(name, (&text, &[]), missing);
    }
}

fn places(maker: &mut Maker<'_>, keys: &Keys) {
    let key = maker.stage.key.clone();
    let good = format!("?x-api-key={key}");
    let taken = (200, "");
    maker.add(
        "percent-encoded",
        (&format!("?x-api-key={}", percent_encoded(&key)), &[]),
        taken,
    );
    maker.add(
        "header and query, the same",
        (&good, &[("x-api-key", &key)]),
        taken,
    );
    maker.add(
        "as a password",
        ("", &[("authorization", &basic("sns", &key))]),
        taken,
    );

    let differ = (401, "keys-differ");
    maker.add(
        "header and query",
        (&good, &[("x-api-key", &keys.wrong)]),
        differ,
    );
    maker.add(
        "query and header",
        (
            &format!("?x-api-key={}", keys.wrong),
            &[("x-api-key", &key)],
        ),
        differ,
    );
    maker.add(
        "query and empty header",
        (&good, &[("x-api-key", "")]),
        differ,
    );
    maker.add(
        "two headers",
        ("", &[("x-api-key", &key), ("x-api-key", &keys.wrong)]),
        differ,
    );
    maker.add(
        "query and password",
        (&good, &[("authorization", &basic("sns", &keys.wrong))]),
        differ,
    );
    let repeated = (401, "key-repeated");
    maker.add(
        "twice",
        (&format!("{good}&x-api-key={}", keys.wrong), &[]),
        repeated,
    );
    maker.add(
        "twice the same",
        (&format!("{good}&x-api-key={key}"), &[]),
        repeated,
    );
    maker.add(
        "twice, a name encoded",
        (&format!("{good}&x%2Dapi-key={key}"), &[]),
        repeated,
    );

    let missing = (401, "key-missing");
    let bearer = format!("Bearer {key}");
    maker.add("as a bearer", ("", &[("authorization", &bearer)]), missing);
    maker.add(
        "as a cookie",
        ("", &[("cookie", &format!("x-api-key={key}"))]),
        missing,
    );
    maker.add(
        "in a list",
        ("", &[("x-api-key", &format!("{key}, {key}"))]),
        (401, "key-unknown"),
    );
    maker.add(
        "as a user",
        ("", &[("authorization", &basic(&key, ""))]),
        (401, "key-unknown"),
    );
    maker.add(
        "Basic of no base64",
        ("", &[("authorization", "Basic !!!")]),
        missing,
    );
    maker.add(
        "Basic without colon",
        ("", &[("authorization", "Basic a2V5")]),
        missing,
    );

    let base = path("guarded");
    maker.at(
        "in the path's end",
        &format!("{base}/{key}"),
        404,
        "path-unknown",
    );
    maker.at(
        "in the path's start",
        &format!("/{key}{base}"),
        404,
        "path-unknown",
    );
    maker.at("as a workflow", &path(&key), 404, "path-unknown");
    maker.at(
        "as a parameter of the path",
        &format!("{base};x-api-key={key}"),
        404,
        "path-unknown",
    );
    // What exists is told only to who has a key, and of other projects nothing at all.
    maker.at("no key, no workflow", &path("nothing"), 401, "key-missing");
    maker.at(
        "wrong key, no workflow",
        &format!("{}?x-api-key={}", path("nothing"), keys.wrong),
        401,
        "key-unknown",
    );
    maker.at(
        "good key, no workflow",
        &format!("{}{good}", path("nothing")),
        404,
        "workflow-unknown",
    );
    let foreign = base.replace("default", "foreign");
    maker.at(
        "good key, another project",
        &format!("{foreign}{good}"),
        403,
        "key-not-allowed",
    );
    // Too long to be a request: answered below the handler.
    let megabyte = "k".repeat(1 << 20);
    maker.at(
        "a megabyte in the query",
        &format!("{base}?x-api-key={megabyte}"),
        431,
        "",
    );
    let post = maker.post(&base, &[("x-api-key", &megabyte)]);
    maker
        .cases
        .push(Case::new("a megabyte in the header", post, 431, ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_key_nothing_runs_and_no_key_is_seen() {
    let stage = Stage::start().await;
    let keys = keys(&stage).await;
    let flow = stage.flow().await;
    let expired = format!("{}?x-api-key={}", path("guarded"), keys.expired);
    let probe = stage
        .post(&stage.signing.notification("probe"))
        .target(&expired);
    wait::until("the key to expire", Duration::from_secs(5), || async {
        // Until then it is a key, and what it brings is a copy of what came before: 200.
        let answer = exchange(stage.addr(), probe.bytes()).await.unwrap();
        stage.know(&answer);
        match answer.reason().as_str() {
            "key-expired" => Ok(()),
            other => Err(other.to_owned()),
        }
    })
    .await;

    let mut maker = Maker {
        stage: &stage,
        cases: Vec::new(),
    };
    values(&mut maker, &keys);
    places(&mut maker, &keys);
    let cases = maker.cases;
    let answers = stage.judge(&cases, flow).await;

    for (case, answer) in cases.iter().zip(&answers) {
        let challenges = answer.header("www-authenticate").is_some();
        assert_eq!(challenges, case.status == 401, "{}", case.name);
    }
    // Who guesses learns the same from a key whose id exists as from one whose does not.
    let told = |name: &str| {
        let at = cases.iter().position(|case| case.name == name).unwrap();
        let answer = &answers[at];
        answer.body.replace(&answer.trace_id(), "")
    };
    assert_eq!(told("wrong"), told("wrong secret"));
    assert_eq!(told("wrong"), told("wrong key, no workflow"));
}

/// Strangers can have entries made: so many, and no more, and not in place of those of who has a key.
#[tokio::test(flavor = "multi_thread")]
async fn strangers_fill_no_history() {
    const STRANGERS: usize = 2000;
    let stage = Stage::start().await;
    let flow = stage.flow().await;
    let bare = path(Workflow::NAME);
    let addr = stage.addr();
    let crowd: Vec<_> = (0..STRANGERS)
        .map(|n| {
            let letter = stage.signing.notification(&format!("stranger-{n}"));
            let post = stage.post(&letter).target(&bare);
            tokio::spawn(exchange_from(n, addr, post.bytes()))
        })
        .collect();
    for stranger in crowd {
        let answer = stranger.await.unwrap().expect("an answer");
        // Shed, where it is more than the node takes at once.
        let expected = [(401, "key-missing"), (503, "overloaded")];
        assert!(
            expected.contains(&(answer.status, answer.reason().as_str())),
            "{answer:?}"
        );
    }
    let letter = stage
        .signing
        .notification("known")
        .with("Message", "another");
    let case = Case::new(
        "of who has a key",
        stage.post(&letter),
        403,
        "signature-invalid",
    );
    stage.judge(&[case], flow).await;
    stage.accounts_for_refusals().await;
    let shown = stage.refused_deliveries().await.len();
    assert!((100..STRANGERS / 2).contains(&shown), "{shown}");
}
