//! The table of statuses: each case of the design, and what must not follow from it.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use signalbox_model::record::Verdict;
use signalbox_sns::{MessageType, SignatureVersion, signer::Corruption};

use crate::{
    node::{EXPIRED_KEY, FOREIGN_KEY, KEY, Node, OTHER_KEY, Options, REVOKED_KEY},
    sns::{ORDERS, SIGNER, STRANGER, TOKEN, sign},
};

/// A request that is refused, and how.
struct Case {
    name: &'static str,
    request: reqwest::RequestBuilder,
    status: u16,
    reason: &'static str,
    recorded: bool,
}

fn case(
    name: &'static str,
    request: reqwest::RequestBuilder,
    status: u16,
    reason: &'static str,
) -> Case {
    Case {
        name,
        request,
        status,
        reason,
        recorded: true,
    }
}

async fn check(node: &Node, cases: Vec<Case>) {
    for Case {
        name,
        request,
        status,
        reason,
        recorded,
    } in cases
    {
        let answer = node.send(request).await;
        assert_eq!(answer.status, status, "{name}: {answer:?}");
        assert_eq!(answer.reason(), reason, "{name}");
        let header = |name: &str| {
            answer
                .headers
                .get(name)
                .map(|value| value.to_str().unwrap())
        };
        assert_eq!(
            header("content-type"),
            Some("application/problem+json"),
            "{name}"
        );
        assert_eq!(header("cache-control"), Some("no-store"), "{name}");
        let problem = answer.json();
        assert_eq!(problem["status"], status, "{name}");
        assert_eq!(
            problem["type"],
            format!("https://signalbox.dev/problems/{reason}"),
            "{name}"
        );
        for member in ["title", "detail"] {
            assert!(
                !problem[member].as_str().unwrap().is_empty(),
                "{name}: {member}"
            );
        }
        let retriable = matches!(status, 503 | 429);
        assert_eq!(header("retry-after").is_some(), retriable, "{name}");
        let challenge = (status == 401).then_some("Basic realm=\"signalbox\"");
        assert_eq!(header("www-authenticate"), challenge, "{name}");
        assert_eq!(header("allow"), (status == 405).then_some("POST"), "{name}");
        assert!(header("location").is_none(), "{name}");
        if recorded {
            let delivery = node.refused(reason).await;
            assert_eq!(delivery.verdict, Verdict::Rejected, "{name}");
            assert_eq!(delivery.http_status, status, "{name}");
            assert_eq!(delivery.source_address, "127.0.0.1", "{name}");
            assert_eq!(delivery.execution, None, "{name}");
        }
    }
    assert_eq!(node.accepted().await, [], "nothing refused runs");
}

fn with_key(node: &Node, url: &str, key: &str) -> reqwest::RequestBuilder {
    let message = sign(&node.origin.notification("m", "hello"));
    node.request(url)
        .header("x-api-key", key)
        .body(message.body)
}

#[tokio::test]
async fn keys_decide_first() {
    let node = Node::start().await;
    let orders = node.sns_url("orders");
    let unknown = node.sns_url("unknown");
    let mut cases = vec![
        case("no key", node.request(&orders), 401, "key-missing"),
        case(
            "unknown",
            with_key(&node, &orders, "sbk_unknown"),
            401,
            "key-unknown",
        ),
        case(
            "revoked",
            with_key(&node, &orders, REVOKED_KEY),
            401,
            "key-revoked",
        ),
        case(
            "expired",
            with_key(&node, &orders, EXPIRED_KEY),
            401,
            "key-expired",
        ),
        case(
            "two that differ",
            with_key(&node, &format!("{orders}?x-api-key={OTHER_KEY}"), KEY),
            401,
            "keys-differ",
        ),
        case(
            "twice in the query",
            node.request(&format!("{orders}?x-api-key={KEY}&x-api-key={KEY}")),
            401,
            "key-repeated",
        ),
        case(
            "not the trigger's",
            with_key(&node, &orders, OTHER_KEY),
            403,
            "key-not-allowed",
        ),
    ];
    // Strangers, and keys of other projects, see no difference between workflows that exist and others.
    for (name, request, status, reason) in [
        (
            "no key, no workflow",
            node.request(&unknown),
            401,
            "key-missing",
        ),
        (
            "unknown key",
            with_key(&node, &unknown, "sbk_unknown"),
            401,
            "key-unknown",
        ),
        (
            "foreign key",
            with_key(&node, &unknown, FOREIGN_KEY),
            403,
            "key-not-allowed",
        ),
        (
            "own key",
            with_key(&node, &unknown, KEY),
            404,
            "workflow-unknown",
        ),
    ] {
        cases.push(Case {
            recorded: false,
            ..case(name, request, status, reason)
        });
    }
    cases.push(case(
        "foreign key, workflow that exists",
        with_key(&node, &orders, FOREIGN_KEY),
        403,
        "key-not-allowed",
    ));
    check(&node, cases).await;
    assert_eq!(
        node.origin.asked(),
        [""; 0],
        "nothing is asked for strangers"
    );
}

#[tokio::test]
async fn routes_are_strict() {
    let node = Node::start().await;
    let mut cases = Vec::new();
    for path in [
        "/",
        "/v1",
        "/healthz",
        "/v1/projects/default/workflows/orders",
        "/v1/projects/default/workflows/orders/",
        "/v1/projects/default/workflows/orders/sns/",
        "/v1/projects/default/workflows/orders/SNS",
        "/v1/projects/default/workflows/orders/run",
        "/v1/projects/default/workflows/%6frders/sns",
        "/v1/projects/default/workflows/orders%2Fsns",
        "/v1/projects/default/workflows/orders/%73ns",
        "/v1/projects/default/workflows/orders;a/sns",
        "//v1/projects/default/workflows/orders/sns",
        "/v1//projects/default/workflows/orders/sns",
        "/v2/projects/default/workflows/orders/sns",
    ] {
        cases.push(Case {
            recorded: false,
            ..case(
                path,
                with_key(&node, &node.url(path), KEY),
                404,
                "path-unknown",
            )
        });
    }
    for method in ["GET", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "POKE"] {
        let request = reqwest::Client::new()
            .request(method.parse().unwrap(), node.sns_url("orders"))
            .header("x-http-method-override", "POST")
            .header("x-api-key", KEY);
        cases.push(Case {
            recorded: false,
            ..case(method, request, 405, "method-not-allowed")
        });
    }
    check(&node, cases).await;
}

#[tokio::test]
async fn workflows_that_cannot_take_a_message_now_say_so_retriably() {
    let node = Node::start().await;
    let hook = |id: &str| {
        with_key(&node, &node.hook_url(id), KEY).header("content-type", "application/json")
    };
    let sns = |id: &str| with_key(&node, &node.sns_url(id), KEY);
    let cases = vec![
        case("disabled sns", sns("disabled"), 503, "workflow-disabled"),
        case("unpublished", sns("unpublished"), 503, "workflow-disabled"),
        case("not bound", sns("unbound"), 503, "topic-not-bound"),
        case("manual", sns("manual"), 403, "key-not-allowed"),
        case("hook at sns", sns("hook"), 404, "trigger-other"),
        case("sns at hook", hook("orders"), 404, "trigger-other"),
    ];
    check(&node, cases).await;
    let answer = node.send(hook("hook-disabled")).await;
    assert_eq!(
        (answer.status.as_u16(), answer.reason().as_str()),
        (429, "workflow-disabled")
    );
    assert!(answer.headers.contains_key("retry-after"));
}

#[tokio::test]
async fn what_the_node_does_not_know_or_cannot_do_is_retriable() {
    let unsynced = Node::with(Options {
        synced: false,
        ..Options::default()
    })
    .await;
    let request = with_key(&unsynced, &unsynced.sns_url("orders"), "sbk_anything");
    let unsynced_case = Case {
        recorded: false,
        ..case("not synced", request, 503, "not-synced")
    };
    check(&unsynced, vec![unsynced_case]).await;

    let full = Node::with(Options {
        spool_max_bytes: 0,
        ..Options::default()
    })
    .await;
    let message = sign(&full.origin.notification("m", "hello"));
    let request = full.delivery_of("orders", message);
    check(&full, vec![case("full", request, 503, "spool-full")]).await;
    let confirmation =
        full.origin
            .confirmation(MessageType::SubscriptionConfirmation, ORDERS, TOKEN);
    let request = full.delivery_of("orders", sign(&confirmation));
    check(&full, vec![case("full", request, 503, "spool-full")]).await;
}

#[tokio::test]
async fn out_of_touch_what_is_not_known_may_exist_and_what_is_known_counts() {
    let node = Node::start().await;
    node.store.contact().lost(Duration::ZERO);
    let (orders, unknown) = (node.sns_url("orders"), node.sns_url("unknown"));
    let long = "k".repeat(300);
    let mut cases = Vec::new();
    for (name, url, key, status, reason) in [
        ("unknown key", &orders, "sbk_unknown", 503, "not-in-sync"),
        ("no key's value", &orders, &*long, 401, "key-unknown"),
        ("revoked key", &orders, REVOKED_KEY, 401, "key-revoked"),
        ("expired key", &orders, EXPIRED_KEY, 401, "key-expired"),
        ("another's key", &orders, OTHER_KEY, 403, "key-not-allowed"),
    ] {
        cases.push(case(name, with_key(&node, url, key), status, reason));
    }
    cases.push(case(
        "disabled",
        with_key(&node, &node.sns_url("disabled"), KEY),
        503,
        "workflow-disabled",
    ));
    cases.push(case("no key", node.request(&orders), 401, "key-missing"));
    for (name, key, status, reason) in [
        ("unknown workflow", KEY, 503, "not-in-sync"),
        ("both unknown", "sbk_unknown", 503, "not-in-sync"),
        ("another project's", FOREIGN_KEY, 403, "key-not-allowed"),
    ] {
        cases.push(Case {
            recorded: false,
            ..case(name, with_key(&node, &unknown, key), status, reason)
        });
    }
    check(&node, cases).await;
    let answer = node.send(with_key(&node, &orders, "sbk_unknown")).await;
    assert_eq!(answer.headers["retry-after"], "5");
    let message = sign(&node.origin.notification("m", "hello"));
    assert_eq!(node.deliver("orders", message).await.status, 200);
    // Nobody fills a history by it: that is 100 at once, and 10 a second.
    let started = std::time::Instant::now();
    let url = node.hook_url("hook");
    for _ in 0..300 {
        let answer = node.send(with_key(&node, &url, "sbk_unknown")).await;
        assert_eq!(answer.reason(), "not-in-sync");
    }
    let of_strangers = node.deliveries().await.into_iter();
    let recorded = of_strangers
        .filter(|delivery| delivery.reason == "not-in-sync")
        .count();
    let most = 103 + usize::try_from(started.elapsed().as_millis() / 100).unwrap();
    assert!((1..=most).contains(&recorded), "{recorded}");

    node.store.contact().regained();
    let answer = node.send(with_key(&node, &unknown, KEY)).await;
    assert_eq!(answer.reason(), "workflow-unknown");
}

#[tokio::test]
async fn messages_that_prove_nothing_are_refused() {
    let node = Node::start().await;
    let origin = &node.origin;
    let good = origin.notification("m", "hello");
    let corrupt = |corruption| good.sign_corrupted(&SIGNER, corruption).unwrap();
    let sns = |message| node.delivery_of("orders", message);
    let mut old = good.clone();
    old.timestamp = Timestamp::now() - SignedDuration::from_hours(24 * 7 + 1);
    let mut minutes_old = good.clone();
    minutes_old.timestamp = Timestamp::now() - SignedDuration::from_secs(90);
    let mut first_version = good.clone();
    first_version.version = SignatureVersion::V1;
    let stranger = origin.of_topic(STRANGER, "m", "hello");
    let plain = sign(&good);
    let headers = |name: &'static str, value: &'static str| {
        let mut message = plain.clone();
        message.headers.retain(|(header, _)| *header != name);
        message.headers.push((name, value.to_owned()));
        sns(message)
    };
    let cases = vec![
        case(
            "signature",
            sns(corrupt(Corruption::Signature)),
            403,
            "signature-invalid",
        ),
        case(
            "message",
            sns(corrupt(Corruption::Message)),
            403,
            "signature-invalid",
        ),
        case(
            "subject",
            sns(corrupt(Corruption::Subject)),
            403,
            "signature-invalid",
        ),
        case(
            "version",
            sns(corrupt(Corruption::Version)),
            403,
            "signature-invalid",
        ),
        case(
            "unsigned",
            sns(corrupt(Corruption::Unsigned)),
            403,
            "signature-missing",
        ),
        case(
            "host",
            sns(corrupt(Corruption::CertificateHost)),
            403,
            "certificate-url-host",
        ),
        case(
            "two keys",
            sns(corrupt(Corruption::DuplicateKey)),
            400,
            "field-duplicate",
        ),
        case(
            "trailing",
            sns(corrupt(Corruption::TrailingData)),
            400,
            "body-trailing-data",
        ),
        case("topic", sns(sign(&stranger)), 403, "topic-not-allowed"),
        case(
            "bound to another",
            node.delivery_of("bound", sign(&stranger)),
            403,
            "topic-not-allowed",
        ),
        case("too old", sns(sign(&old)), 403, "message-too-old"),
        case(
            "too old for its trigger",
            node.delivery_of("strict", sign(&minutes_old)),
            403,
            "message-too-old",
        ),
        case(
            "version too low",
            node.delivery_of("strict", sign(&first_version)),
            403,
            "signature-version-too-low",
        ),
        case(
            "type",
            headers("x-amz-sns-message-type", "SubscriptionConfirmation"),
            400,
            "message-type-contradicts-header",
        ),
        case(
            "id",
            headers("x-amz-sns-message-id", "n"),
            400,
            "message-id-contradicts-header",
        ),
        case(
            "topic",
            headers("x-amz-sns-topic-arn", STRANGER),
            400,
            "topic-arn-contradicts-header",
        ),
        case("raw", sns(good.raw()), 403, "raw-delivery-not-allowed"),
        case(
            "raw of a stranger",
            node.delivery_of("raw", stranger.raw()),
            403,
            "topic-not-allowed",
        ),
        case(
            "content type",
            headers("content-type", "multipart/form-data; boundary=x"),
            415,
            "content-type-unsupported",
        ),
        case(
            "compressed",
            sns(plain.clone()).header("content-encoding", "gzip"),
            415,
            "content-encoding-unsupported",
        ),
    ];
    check(&node, cases).await;
    for body in ["", "null", "[]", "hello", "{", "{\"Type\":1}", "\u{feff}{}"] {
        let request = sns(plain.clone()).body(body);
        let answer = node.send(request).await;
        assert_eq!(answer.status, 400, "{body:?}: {answer:?}");
    }
    assert_eq!(node.accepted().await, []);

    // Whatever was refused stands in nobody's way.
    let answer = node.deliver("orders", sign(&good)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

#[tokio::test]
async fn documents_must_be_json() {
    let node = Node::start().await;
    let url = format!("{}?x-api-key={KEY}", node.hook_url("hook"));
    let post = |body: &str| {
        node.request(&url)
            .header("content-type", "application/json")
            .body(body.to_owned())
    };
    let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
    let long = "k".repeat(257);
    let cases = vec![
        case(
            "none",
            node.request(&url).body("{}"),
            415,
            "content-type-unsupported",
        ),
        case(
            "form",
            node.request(&url)
                .header("content-type", "application/x-www-form-urlencoded")
                .body("a=b"),
            415,
            "content-type-unsupported",
        ),
        case("empty", post(""), 400, "body-not-json"),
        case("two", post("{} {}"), 400, "body-not-json"),
        case("mark", post("\u{feff}{}"), 400, "body-not-json"),
        case("deep", post(&deep), 400, "body-too-deep"),
        case(
            "key",
            post("{}").header("idempotency-key", long),
            400,
            "idempotency-key-malformed",
        ),
        case(
            "two keys",
            post("{}")
                .header("idempotency-key", "a")
                .header("idempotency-key", "b"),
            400,
            "idempotency-key-malformed",
        ),
    ];
    check(&node, cases).await;
}
