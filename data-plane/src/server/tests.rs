//! The table of DESIGN.md §4.1 against a real listener, with a real signer on a real origin.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use jiff::Timestamp;
use serde_json::Value;
use signalbox_model::{
    config::{KeyConfig, KeyDigest, Resource, Revision},
    record::{RecordBody, SubscriptionState, Verdict},
};
use signalbox_proto::{convert, dataplane::v1 as wire, v1};
use signalbox_sns::{
    ConfirmToken, MessageType, SignatureVersion, TopicArn, TrustPolicy,
    signer::{Corruption, Draft, SignedMessage, Signer, SimulatedCa},
};

use super::*;
use crate::{
    config::{Change, ConfigStore, Upsert},
    ingest::{Certificates, Ingest, confirm::Confirmer},
    layer,
    spool::{Spool, SqliteSpool, SqliteSpoolConfig},
};

const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:alarms";
const KEY: &str = "sbk_the-key-of-the-tests-that-no-log-may-hold";
const CERTIFICATE_PATH: &str = "/SimpleNotificationService-00000000000000000000000000000001.pem";
const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

/// What plays Amazon SNS: serves a certificate and ConfirmSubscription, failing the first `failures` confirmations.
struct Origin {
    url: String,
    signer: Signer,
    fetches: Arc<AtomicU32>,
    confirmations: Arc<AtomicU32>,
}

impl Origin {
    async fn start(failures: u32) -> Self {
        let signer = Signer::generate().unwrap();
        let now = Timestamp::now();
        let day = Duration::from_secs(86_400);
        let pem = SimulatedCa::new()
            .unwrap()
            .issue("sns.amazonaws.com", &signer, now - day, now + day)
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (fetches, confirmations) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let counts = (fetches.clone(), confirmations.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (pem, counts) = (pem.clone(), counts.clone());
                let service = service_fn(move |request: Request<Incoming>| {
                    let (status, body) = if request.uri().path() == CERTIFICATE_PATH {
                        counts.0.fetch_add(1, Ordering::SeqCst);
                        (200, pem.clone())
                    } else if request
                        .uri()
                        .query()
                        .is_some_and(|q| q.contains("Action=ConfirmSubscription"))
                    {
                        if counts.1.fetch_add(1, Ordering::SeqCst) < failures {
                            (500, String::new())
                        } else {
                            let xml = format!(
                                "<ConfirmSubscriptionResponse><ConfirmSubscriptionResult><SubscriptionArn>{TOPIC}:\
                                 8c1e5a0e-0000-4000-8000-000000000000</SubscriptionArn></ConfirmSubscriptionResult>\
                                 </ConfirmSubscriptionResponse>"
                            );
                            (200, xml)
                        }
                    } else {
                        (404, String::new())
                    };
                    let mut response = Response::new(Full::new(Bytes::from(body)));
                    *response.status_mut() = http::StatusCode::from_u16(status).unwrap();
                    async move { Ok::<_, std::convert::Infallible>(response) }
                });
                let connection = hyper::server::conn::http1::Builder::new();
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
            }
        });
        Self {
            url,
            signer,
            fetches,
            confirmations,
        }
    }

    fn ready(&self, mut draft: Draft) -> Draft {
        draft.signing_cert_url = format!("{}{CERTIFICATE_PATH}", self.url);
        draft.endpoint.clone_from(&self.url);
        draft
    }

    fn draft(&self, id: &str) -> Draft {
        self.ready(Draft::notification(
            &topic(),
            id,
            "{\"n\":1}",
            Timestamp::now(),
        ))
    }

    fn handshake(&self, kind: MessageType) -> Draft {
        let token = ConfirmToken::parse(&"a1".repeat(64)).unwrap();
        self.ready(Draft::confirmation(
            kind,
            &topic(),
            "h1",
            &token,
            Timestamp::now(),
        ))
    }

    fn sign(&self, draft: &Draft) -> SignedMessage {
        draft.sign(&self.signer).unwrap()
    }
}

fn topic() -> TopicArn {
    TopicArn::parse(TOPIC).unwrap()
}

struct Node {
    url: String,
    spool: Arc<dyn Spool>,
    store: Arc<ConfigStore>,
    shutdown: Shutdown,
    certificates: Certificates,
    trust: TrustPolicy,
    client: reqwest::Client,
    dir: tempfile::TempDir,
}

const LIMITS: (usize, Duration) = (64 * 1024, Duration::from_millis(500));

impl Node {
    /// Synced, unless `synced` says otherwise.
    async fn start(origin: &Origin, synced: bool) -> Self {
        signalbox_runtime::tls::install_crypto_provider();
        let dir = tempfile::tempdir().unwrap();
        let store = Arc::new(ConfigStore::open(dir.path(), crate::sync::decode_resource).unwrap());
        let spool: Arc<dyn Spool> =
            Arc::new(SqliteSpool::open(dir.path(), SqliteSpoolConfig::default()).unwrap());
        let trust = TrustPolicy {
            trusted_origins: vec![origin.url.parse().unwrap()],
        };
        let certificates = Certificates::new().unwrap();
        let shutdown = Shutdown::new();
        let handler = Arc::new(Handler {
            ingest: Ingest {
                config: store.clone(),
                spool: spool.clone(),
                certificates: certificates.clone(),
                trust: trust.clone(),
                deduplication_window: WEEK,
            },
            body_max_bytes: LIMITS.0,
            body_timeout: LIMITS.1,
            shutdown: shutdown.clone(),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let limits = ServerConfigLimits {
            connections_max: 100,
            header_timeout: Duration::from_millis(500),
        };
        let stack = layer::stack(handler, 64, Duration::from_secs(14));
        shutdown.spawn(run(listener, None, limits, stack, shutdown.clone()));
        let node = Self {
            url,
            spool,
            store,
            shutdown,
            certificates,
            trust,
            client: reqwest::Client::builder().no_proxy().build().unwrap(),
            dir,
        };
        if synced {
            node.configure(&[
                workflow("open", &format!("amazonSns: {{apiKeys: [k], topicArns: ['{TOPIC}']}}"), true, ""),
                workflow("strict", &format!("amazonSns: {{apiKeys: [k], topicArns: ['{TOPIC}'], minimumSignatureVersion: 2}}"), true, ""),
                workflow("fresh", &format!("amazonSns: {{apiKeys: [k], topicArns: ['{TOPIC}'], maxMessageAge: 60s}}"), true, ""),
                workflow("raw", &format!("amazonSns: {{apiKeys: [k], topicArns: ['{TOPIC}'], allowRawDelivery: true}}"), true, ""),
                workflow("unbound", "amazonSns: {apiKeys: [k]}", true, ""),
                workflow("bound", "amazonSns: {apiKeys: [k]}", true, TOPIC),
                workflow("other-topic", "amazonSns: {apiKeys: [k], topicArns: ['arn:aws:sns:us-east-1:123456789012:other']}", true, ""),
                workflow("other-key", &format!("amazonSns: {{apiKeys: [k2], topicArns: ['{TOPIC}']}}"), true, ""),
                workflow("off", &format!("amazonSns: {{apiKeys: [k], topicArns: ['{TOPIC}']}}"), false, ""),
                workflow("hook", "webhook: {apiKeys: [k]}", true, ""),
                workflow("hook-off", "webhook: {apiKeys: [k]}", false, ""),
            ]);
        }
        node
    }

    fn configure(&self, workflows: &[wire::Resource]) {
        let key = |name: &str, value: &str, revoked: bool, expires: Option<&str>| {
            convert::config::key_to_wire(&KeyConfig {
                name: name.parse().unwrap(),
                digest: digest(value),
                revoked,
                expires_at: expires.map(|at| at.parse().unwrap()),
            })
        };
        let mut resources = vec![
            key("projects/default/apiKeys/k", KEY, false, None),
            key("projects/default/apiKeys/old", "sbk_revoked", true, None),
            key(
                "projects/default/apiKeys/past",
                "sbk_expired",
                false,
                Some("2020-01-01T00:00:00Z"),
            ),
            key("projects/elsewhere/apiKeys/k", "sbk_elsewhere", false, None),
        ];
        resources.extend_from_slice(workflows);
        let upserts = resources.into_iter().map(|resource| Upsert {
            name: convert::config::name_of(&resource).to_owned(),
            encoded: prost::Message::encode_to_vec(&resource).into(),
            resource: convert::config::resource(resource).unwrap(),
        });
        let change = Change {
            incarnation: "i".into(),
            revision: Revision(1),
            replaces_all: true,
            upserts: upserts.collect(),
            deletes: vec![],
            keep: vec![],
        };
        self.store.apply(change).unwrap();
        assert!(matches!(
            self.store
                .current()
                .key(&digest(KEY))
                .map(|key| Resource::Key(KeyConfig::clone(key))),
            Some(Resource::Key(_))
        ));
    }

    fn path(&self, workflow: &str, kind: &str) -> String {
        format!(
            "{}/v1/projects/default/workflows/{workflow}/{kind}",
            self.url
        )
    }

    /// Posts a signed message with the key in the query.
    async fn post(&self, workflow: &str, message: &SignedMessage) -> (u16, Value) {
        let url = format!("{}?x-api-key={KEY}", self.path(workflow, "sns"));
        let mut request = self.client.post(url).body(message.body.clone());
        for (name, value) in &message.headers {
            request = request.header(*name, value);
        }
        answer(request).await
    }

    async fn deliveries(&self) -> Vec<(Verdict, String)> {
        let records = self.spool.unreported(0, 1000, usize::MAX).await.unwrap();
        let found = records
            .into_iter()
            .filter_map(|sequenced| match sequenced.record.body {
                RecordBody::Delivery(delivery) => Some((delivery.verdict, delivery.reason)),
                _ => None,
            });
        found.collect()
    }
}

fn digest(value: &str) -> KeyDigest {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, value.as_bytes());
    KeyDigest(digest.as_ref().try_into().unwrap())
}

fn workflow(id: &str, trigger: &str, enabled: bool, bound: &str) -> wire::Resource {
    let yaml = format!(
        "trigger: {{{trigger}}}\nsteps: [{{id: a, transform: {{expression: event.message}}}}]"
    );
    let spec: v1::WorkflowSpec = convert::json::from_yaml_str(&yaml).unwrap();
    let name = format!("projects/default/workflows/{id}").parse().unwrap();
    let source = convert::definition::encode(&spec);
    let bound = (!bound.is_empty()).then_some(bound);
    convert::config::workflow_to_wire(&name, enabled, Some((1, &source)), bound).unwrap()
}

async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let retriable = matches!(status, 429 | 503);
    assert_eq!(
        response.headers().contains_key("retry-after"),
        retriable,
        "{status}"
    );
    assert_eq!(
        response.headers().contains_key("www-authenticate"),
        status == 401,
        "{status}"
    );
    let content_type = response.headers()["content-type"]
        .to_str()
        .unwrap()
        .to_owned();
    let expected = if status == 200 {
        "application/json"
    } else {
        "application/problem+json"
    };
    assert_eq!(content_type, expected);
    let text = response.text().await.unwrap();
    assert!(!text.contains(KEY), "{text}");
    (status, serde_json::from_str(&text).unwrap())
}

#[track_caller]
fn check(found: &(u16, Value), status: u16, reason: &str) {
    assert_eq!(found.0, status, "{}", found.1);
    let problem = found.1["type"].as_str().unwrap_or_default();
    assert!(
        problem.ends_with(&format!("/{reason}")),
        "expected {reason}: {}",
        found.1
    );
}

#[tokio::test]
async fn a_signed_message_is_accepted_once_and_durable_before_its_answer() {
    let origin = Origin::start(0).await;
    let node = Node::start(&origin, true).await;
    for version in [SignatureVersion::V1, SignatureVersion::V2] {
        let mut draft = origin.draft(&format!("m-{version}"));
        draft.version = version;
        let message = origin.sign(&draft);
        let (status, body) = node.post("open", &message).await;
        assert_eq!((status, &body["duplicate"]), (200, &Value::Bool(false)));
        assert_eq!(
            node.post("open", &message).await,
            (
                200,
                serde_json::json!({
                    "execution": body["execution"], "duplicate": true
                })
            )
        );
        // The same message for another workflow is another execution.
        let (_, other) = node.post("bound", &message).await;
        assert_ne!(other["execution"], body["execution"]);
    }
    assert_eq!(
        origin.fetches.load(Ordering::SeqCst),
        1,
        "the certificate is fetched once"
    );
    let claimed = node.spool.claim(10).await.unwrap();
    assert_eq!(claimed.len(), 4);
    let event = &claimed[0].accepted.event;
    assert_eq!(event.scope.message, "{\"n\":1}");
    assert!(!String::from_utf8_lossy(&event.body).contains("Action=Unsubscribe"));
    assert!(event.signature.is_some());
}

#[tokio::test]
async fn a_reused_id_with_other_content_is_refused() {
    let origin = Origin::start(0).await;
    let node = Node::start(&origin, true).await;
    let mut draft = origin.draft("same");
    assert_eq!(node.post("open", &origin.sign(&draft)).await.0, 200);
    draft.message = "other".into();
    check(
        &node.post("open", &origin.sign(&draft)).await,
        403,
        "message-id-reused",
    );
}

#[tokio::test]
async fn forgeries_are_refused_and_recorded() {
    let origin = Origin::start(0).await;
    let node = Node::start(&origin, true).await;
    let spoiled = |corruption| {
        origin
            .draft("f")
            .sign_corrupted(&origin.signer, corruption)
            .unwrap()
    };
    for (corruption, status, reason) in [
        (Corruption::Signature, 403, "signature-invalid"),
        (Corruption::Message, 403, "signature-invalid"),
        (Corruption::Subject, 403, "signature-invalid"),
        (Corruption::Version, 403, "signature-invalid"),
        (Corruption::Unsigned, 403, "signature-missing"),
        (Corruption::DuplicateKey, 400, ""),
        (Corruption::TrailingData, 400, ""),
    ] {
        let found = node.post("open", &spoiled(corruption)).await;
        assert_eq!(found.0, status, "{corruption:?}: {}", found.1);
        if !reason.is_empty() {
            check(&found, status, reason);
        }
    }
    assert_eq!(
        node.post("open", &spoiled(Corruption::CertificateHost))
            .await
            .0,
        403
    );
    // Header and body contradict each other.
    let mut message = origin.sign(&origin.draft("h"));
    for (name, value) in &mut message.headers {
        if *name == "x-amz-sns-message-type" {
            *value = "SubscriptionConfirmation".to_owned();
        }
    }
    assert!(matches!(node.post("open", &message).await.0, 400 | 403));

    let verdicts = loop {
        let verdicts = node.deliveries().await;
        if verdicts.len() >= 9 {
            break verdicts;
        }
        tokio::task::yield_now().await;
    };
    assert!(
        verdicts
            .iter()
            .all(|(verdict, _)| *verdict == Verdict::Rejected)
    );
    assert!(node.spool.claim(10).await.unwrap().is_empty());
}

#[tokio::test]
async fn policies_of_the_trigger_hold() {
    let origin = Origin::start(0).await;
    let node = Node::start(&origin, true).await;
    let message = origin.sign(&origin.draft("p"));
    check(
        &node.post("other-topic", &message).await,
        403,
        "topic-not-allowed",
    );
    check(
        &node.post("unbound", &message).await,
        503,
        "topic-not-bound",
    );
    assert_eq!(node.post("bound", &message).await.0, 200);
    check(
        &node.post("other-key", &message).await,
        403,
        "key-not-allowed",
    );
    check(&node.post("off", &message).await, 503, "workflow-disabled");
    check(
        &node.post("nothing", &message).await,
        404,
        "workflow-unknown",
    );
    check(&node.post("hook", &message).await, 404, "trigger-other");
    let mut first = origin.draft("v1");
    first.version = SignatureVersion::V1;
    assert_eq!(node.post("strict", &origin.sign(&first)).await.0, 403);
    let mut old = origin.draft("old");
    old.timestamp = Timestamp::now() - Duration::from_secs(3600);
    check(
        &node.post("fresh", &origin.sign(&old)).await,
        403,
        "message-too-old",
    );
    assert_eq!(node.post("open", &origin.sign(&old)).await.0, 200);
    old.timestamp = Timestamp::now() - WEEK - Duration::from_secs(60);
    old.message_id = "older".into();
    check(
        &node.post("open", &origin.sign(&old)).await,
        403,
        "message-too-old",
    );
    let raw = origin.draft("raw").raw();
    check(
        &node.post("open", &raw).await,
        403,
        "raw-delivery-not-allowed",
    );
    assert_eq!(node.post("raw", &raw).await.0, 200);
}

#[tokio::test]
async fn a_certificate_that_cannot_be_had_now_is_for_later() {
    let origin = Origin::start(0).await;
    let node = Node::start(&origin, true).await;
    let mut draft = origin.draft("c");
    draft.signing_cert_url = format!(
        "{}/SimpleNotificationService-{}.pem",
        origin.url,
        "f".repeat(32)
    );
    check(
        &node.post("open", &origin.sign(&draft)).await,
        503,
        "certificate-unavailable",
    );
    assert_eq!(
        node.post("open", &origin.sign(&origin.draft("good")))
            .await
            .0,
        200
    );
}

#[tokio::test]
async fn keys_are_checked_first_and_every_way_of_giving_one_works() {
    let origin = Origin::start(0).await;
    let node = Node::start(&origin, true).await;
    let url = node.path("hook", "webhook");
    let post = |url: String| node.client.post(url).json(&serde_json::json!({"a": 1}));
    for request in [
        post(format!("{url}?x-api-key={KEY}")),
        post(url.clone()).header("x-api-key", KEY),
        post(url.clone()).basic_auth("anyone", Some(KEY)),
        post(format!("{url}?x-api-key={KEY}")).header("x-api-key", KEY),
    ] {
        assert_eq!(answer(request).await.0, 200);
    }
    for (request, reason) in [
        (post(url.clone()), "key-missing"),
        (post(format!("{url}?x-api-key=sbk_wrong")), "key-unknown"),
        (post(format!("{url}?x-api-key=")), "key-unknown"),
        (
            post(format!("{url}?x-api-key={}", "x".repeat(20_000))),
            "key-unknown",
        ),
        (post(format!("{url}?x-api-key=sbk_revoked")), "key-revoked"),
        (post(format!("{url}?x-api-key=sbk_expired")), "key-expired"),
        (
            post(format!("{url}?x-api-key={KEY}&x-api-key=other")),
            "keys-differ",
        ),
        (
            post(format!("{url}?x-api-key={KEY}")).header("x-api-key", "other"),
            "keys-differ",
        ),
        (post(node.path("nothing", "webhook")), "key-missing"),
    ] {
        check(&answer(request).await, 401, reason);
    }
    // A key of another project learns nothing of what exists here.
    for workflow in ["hook", "nothing"] {
        let url = format!("{}?x-api-key=sbk_elsewhere", node.path(workflow, "webhook"));
        check(&answer(post(url)).await, 403, "key-not-allowed");
    }
    let off = format!("{}?x-api-key={KEY}", node.path("hook-off", "webhook"));
    check(&answer(post(off)).await, 429, "workflow-disabled");
}

#[tokio::test]
async fn requests_that_are_none_are_told_so() {
    let origin = Origin::start(0).await;
    let node = Node::start(&origin, true).await;
    let url = format!("{}?x-api-key={KEY}", node.path("hook", "webhook"));
    check(
        &answer(node.client.get(&url)).await,
        405,
        "method-not-allowed",
    );
    check(
        &answer(node.client.post(format!("{}/", node.url))).await,
        404,
        "path-unknown",
    );
    let json = |body: &str| {
        node.client
            .post(&url)
            .header("content-type", "application/json")
            .body(body.to_owned())
    };
    check(&answer(json("{")).await, 400, "body-not-json");
    check(
        &answer(node.client.post(&url).body("{}")).await,
        415,
        "content-type-unsupported",
    );
    check(
        &answer(json(&format!("\"{}\"", "x".repeat(LIMITS.0)))).await,
        413,
        "body-too-large",
    );
    check(
        &answer(json("{}").header("idempotency-key", "x".repeat(300))).await,
        400,
        "idempotency-key-malformed",
    );
    let twice = || json("{}").header("idempotency-key", "once");
    assert_eq!(answer(twice()).await.1["duplicate"], false);
    assert_eq!(answer(twice()).await.1["duplicate"], true);
    let sns = format!("{}?x-api-key={KEY}", node.path("open", "sns"));
    let image = node
        .client
        .post(&sns)
        .header("content-type", "image/png")
        .body("{}");
    check(&answer(image).await, 415, "content-type-unsupported");
}

#[tokio::test]
async fn slow_senders_hold_nothing() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let origin = Origin::start(0).await;
    let node = Node::start(&origin, true).await;
    let address = node.url.strip_prefix("http://").unwrap().to_owned();
    let talk = |text: String| {
        let address = address.clone();
        async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(text.as_bytes()).await.unwrap();
            let mut answer = String::new();
            let read = stream.read_to_string(&mut answer);
            tokio::time::timeout(Duration::from_secs(5), read)
                .await
                .expect("the connection is let go")
                .unwrap();
            answer
        }
    };
    assert!(
        !talk("POST /v1/x HTTP/1.1\r\nhost: a\r\nx-slow: ".into())
            .await
            .contains(" 200 ")
    );
    let head = format!(
        "POST /v1/projects/default/workflows/hook/webhook HTTP/1.1\r\nhost: a\r\nx-api-key: {KEY}\r\n\
         content-type: application/json\r\ncontent-length: 100\r\nconnection: close\r\n\r\n{{"
    );
    let answer = talk(head).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    let lies = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n0\r\n\r\n";
    assert!(!talk(lies.into()).await.contains(" 200 "));
}

#[tokio::test]
async fn a_node_that_knows_nothing_says_later() {
    let origin = Origin::start(0).await;
    let node = Node::start(&origin, false).await;
    let message = origin.sign(&origin.draft("m"));
    check(&node.post("open", &message).await, 503, "not-synced");
    node.shutdown.stop();
    // Draining: nothing new is taken; whoever still gets in is told to try again.
    let _ = node.client.post(node.path("open", "sns")).send().await;
    assert!(node.dir.path().exists());
}

#[tokio::test]
async fn handshakes_confirm_in_the_background_and_unsubscribing_is_only_noted() {
    let origin = Origin::start(2).await;
    let node = Node::start(&origin, true).await;
    let message = origin.sign(&origin.handshake(MessageType::SubscriptionConfirmation));
    assert_eq!(node.post("unbound", &message).await.0, 200);
    assert_eq!(
        origin.confirmations.load(Ordering::SeqCst),
        0,
        "it is durable first"
    );
    let confirmer = Confirmer {
        spool: node.spool.clone(),
        certificates: node.certificates.clone(),
        trust: node.trust.clone(),
    };
    node.shutdown.spawn(confirmer.run(node.shutdown.clone()));
    let states = |node: &Node| {
        let spool = node.spool.clone();
        async move {
            let records = spool.unreported(0, 1000, usize::MAX).await.unwrap();
            let all = records
                .into_iter()
                .filter_map(|sequenced| match sequenced.record.body {
                    RecordBody::Subscription(change) => {
                        Some((change.state, change.confirm_attempts))
                    }
                    _ => None,
                });
            all.collect::<Vec<_>>()
        }
    };
    let mut head = node.spool.head();
    let found = loop {
        let found = states(&node).await;
        if found
            .last()
            .is_some_and(|(state, _)| *state == SubscriptionState::Confirmed)
        {
            break found;
        }
        tokio::time::timeout(Duration::from_secs(20), head.changed())
            .await
            .unwrap()
            .unwrap();
    };
    use SubscriptionState::{Confirmed, Pending, Unsubscribed};
    assert_eq!(
        found,
        [(Pending, 0), (Pending, 1), (Pending, 2), (Confirmed, 3)]
    );

    let message = origin.sign(&origin.handshake(MessageType::UnsubscribeConfirmation));
    assert_eq!(node.post("open", &message).await.0, 200);
    assert_eq!(states(&node).await.last().unwrap().0, Unsubscribed);
    assert_eq!(
        origin.confirmations.load(Ordering::SeqCst),
        3,
        "an unsubscription is never undone"
    );
    node.shutdown.drain(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_storm_of_copies_is_one_execution() {
    let origin = Origin::start(0).await;
    let node = Node::start(&origin, true).await;
    let message = origin.sign(&origin.draft("storm"));
    let posts = (0..200).map(|_| node.post("open", &message));
    let answers = futures::future::join_all(posts).await;
    let accepted = answers.iter().filter(|(status, _)| *status == 200).count();
    let fresh = answers
        .iter()
        .filter(|(_, body)| body["duplicate"] == false)
        .count();
    // More than may be under way at once are shed, to be tried again.
    assert!(
        answers
            .iter()
            .all(|(status, _)| matches!(status, 200 | 503))
    );
    assert!(accepted > 0);
    assert_eq!(fresh, 1);
    assert_eq!(node.spool.claim(10).await.unwrap().len(), 1);
    assert_eq!(
        origin.fetches.load(Ordering::SeqCst),
        1,
        "one fetch for all"
    );
}
