//! Requests that LocalStack sent, exactly as they came, at the time at which they came.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;

use prost::Message as _;
use serde::Deserialize;
use signalbox_model::{
    config::{KeyConfig, KeyDigest, Revision},
    record::SubscriptionChange,
};
use signalbox_proto::{convert, v1};
use signalbox_sns::{Envelope, SigningCertUrl, SigningCertificate};

use super::*;
use crate::{
    config::{Change, Upsert},
    egress::EgressPolicy,
    spool::{SqliteSpool, SqliteSpoolConfig},
    sync::decode_resource,
};

const KEY: &str = "sbk_key";

#[derive(Deserialize)]
struct Capture {
    scenario: String,
    request: Captured,
    signing_cert_pem: Option<String>,
    signature_valid: bool,
}

#[derive(Deserialize)]
struct Captured {
    headers: Vec<(String, String)>,
    body: String,
}

impl Capture {
    fn header(&self, name: &str) -> &str {
        let mut headers = self.request.headers.iter();
        headers
            .find(|(header, _)| header == name)
            .map_or("", |(_, value)| value)
    }

    /// As it was posted, but for the key, which the sender did not have.
    fn head(&self, received_at: Timestamp) -> Head {
        let mut headers: HeaderMap = self
            .request
            .headers
            .iter()
            .filter(|(name, _)| name != "Authorization")
            .map(|(name, value)| {
                (
                    name.parse::<http::HeaderName>().unwrap(),
                    value.parse().unwrap(),
                )
            })
            .collect();
        headers.insert("x-api-key", KEY.parse().unwrap());
        Head {
            kind: Kind::Sns,
            workflow: "projects/default/workflows/w".parse().unwrap(),
            headers,
            uri: http::Uri::default(),
            source: [127, 0, 0, 1].into(),
            is_source_clear: true,
            received_at,
        }
    }
}

fn captures() -> Vec<(String, Capture)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("sns/tests/data/localstack");
    let mut captures: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let capture = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                capture,
            )
        })
        .collect();
    captures.sort_by(|left, right| left.0.cmp(&right.0));
    assert_eq!(captures.len(), 17);
    captures
}

fn configuration(topics: &[&str]) -> Change {
    let yaml = format!(
        "trigger: {{amazonSns: {{apiKeys: [k], topicArns: {topics:?}, allowRawDelivery: true}}}}\n\
         steps:\n  - id: done\n    succeed: {{}}\n"
    );
    let spec: v1::WorkflowSpec = convert::json::from_yaml_str(&yaml).unwrap();
    let source = convert::definition::encode(&spec);
    let workflow = convert::config::workflow_to_wire(
        &"projects/default/workflows/w".parse().unwrap(),
        true,
        Some((1, &source)),
        None,
    );
    let mut digest = [0; 32];
    digest.copy_from_slice(
        aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, KEY.as_bytes()).as_ref(),
    );
    let key = convert::config::key_to_wire(&KeyConfig {
        name: "projects/default/apiKeys/k".parse().unwrap(),
        digest: KeyDigest(digest),
        revoked: false,
        expires_at: None,
        rate_limit: None,
        scope: None,
        previous: None,
    });
    let upserts = [workflow.unwrap(), key].map(|resource| {
        let encoded = Bytes::from(resource.encode_to_vec());
        Upsert {
            name: convert::config::name_of(&resource).to_owned(),
            resource: decode_resource(&encoded).unwrap(),
            encoded,
        }
    });
    Change {
        incarnation: "i".to_owned(),
        revision: Revision(1),
        replaces_all: true,
        upserts: upserts.into(),
        deletes: Vec::new(),
        keep: Vec::new(),
    }
}

async fn records(spool: &dyn Spool) -> (Vec<Delivery>, Vec<SubscriptionChange>, usize) {
    let (mut deliveries, mut changes, mut events) = (Vec::new(), Vec::new(), 0);
    for sequenced in spool.unreported(0, 1000, usize::MAX >> 1).await.unwrap() {
        match sequenced.record.body {
            RecordBody::Delivery(delivery) => deliveries.push(*delivery),
            RecordBody::Subscription(change) => changes.push(*change),
            RecordBody::Accepted(_) => events += 1,
            _ => {}
        }
    }
    (deliveries, changes, events)
}

fn ingest(config: Arc<ConfigStore>, dir: &Path) -> (Ingest, Arc<SqliteSpool>) {
    let settings = SqliteSpoolConfig {
        read_scope: sns::read_scope,
        ..SqliteSpoolConfig::default()
    };
    let spool = Arc::new(SqliteSpool::open(dir, settings).unwrap());
    let ingest = Ingest {
        config,
        spool: spool.clone(),
        certificates: Certificates::new(EgressPolicy::default()).unwrap(),
        trust: TrustPolicy {
            trusted_origins: vec!["http://127.0.0.1:4566".parse().unwrap()],
        },
        deduplication_window: Duration::from_secs(7 * 24 * 3600),
        budget: Budget::default(),
    };
    (ingest, spool)
}

#[tokio::test]
async fn what_localstack_sent_is_taken_and_what_it_did_not_sign_is_not() {
    let captures = captures();
    let dir = tempfile::tempdir().unwrap();
    let config = Arc::new(ConfigStore::open(dir.path(), decode_resource).unwrap());
    let mut topics: Vec<&str> = captures
        .iter()
        .map(|(_, capture)| capture.header("x-amz-sns-topic-arn"))
        .filter(|topic| !topic.ends_with(".fifo"))
        .collect();
    topics.sort_unstable();
    topics.dedup();
    config.apply(configuration(&topics)).unwrap();
    let (ingest, spool) = ingest(config, dir.path());
    let now: Timestamp = "2026-11-24T03:00:00Z".parse().unwrap();
    let mut events = 0;
    for (name, capture) in &captures {
        let body = Bytes::from(capture.request.body.clone());
        if let Some(pem) = &capture.signing_cert_pem {
            // Its port is not ours to open.
            let envelope = Envelope::parse(&body).unwrap();
            let (url, topic) = (envelope.signing_cert_url(), envelope.topic_arn());
            let location = SigningCertUrl::parse(url, topic, &ingest.trust).unwrap();
            let expected = location.expected_name();
            let certificate = SigningCertificate::from_pem(pem.as_bytes(), expected).unwrap();
            ingest.certificates.keep(&location, certificate).await;
        }
        for copy in [false, true] {
            let Ok(authorized) = ingest.authorize(capture.head(now)) else {
                panic!("{name}: the key is live");
            };
            let prepared = ingest.prepare(authorized, body.clone());
            let answer = ingest.handle(prepared, None).await;
            let is_notification = capture.header("x-amz-sns-message-type") == "Notification";
            match answer {
                Answer::Filtered => panic!("{name}: there is no filter policy"),
                Answer::Problem(problem) => {
                    assert_eq!(capture.scenario, "fifo", "{name}: {problem:?}");
                    assert_eq!(problem.status, StatusCode::FORBIDDEN, "{name}");
                }
                Answer::Accepted {
                    execution,
                    duplicate,
                } => {
                    assert!(
                        capture.signature_valid || capture.scenario == "raw",
                        "{name}"
                    );
                    assert_eq!(execution.is_some(), is_notification, "{name}");
                    assert_eq!(duplicate, is_notification && copy, "{name}");
                    events += usize::from(is_notification && !copy);
                }
            }
        }
    }
    let (deliveries, changes, accepted) = records(&*spool).await;
    assert_eq!(accepted, events);
    assert!(events > 5, "{events}");
    let rejected: Vec<_> = deliveries
        .iter()
        .filter(|delivery| delivery.verdict == Verdict::Rejected)
        .collect();
    assert_eq!(rejected.len(), 4, "two fifo captures, twice: {rejected:?}");
    for delivery in rejected {
        assert_eq!(delivery.reason, "signature-missing");
        assert!(delivery.topic_arn.ends_with(".fifo"));
    }
    assert!(!changes.is_empty());
}

/// A webhook's workflow with these steps, as a node has it that starts with it on its disk.
fn unread(steps: &str) -> Change {
    let spec = format!("trigger: {{webhook: {{apiKeys: [k]}}}}\nsteps: {steps}\n");
    let spec: v1::WorkflowSpec = convert::json::from_yaml_str(&spec).unwrap();
    let source = convert::definition::encode(&spec);
    let name = "projects/default/workflows/w".parse().unwrap();
    let workflow = convert::config::workflow_to_wire(&name, true, Some((1, &source)), None);
    let encoded = Bytes::from(workflow.unwrap().encode_to_vec());
    let key = Arc::new(signalbox_runtime::hpke::KeyPair::generate().unwrap());
    let mut change = configuration(&[]);
    change.upserts[0] = Upsert {
        name: name.to_string(),
        resource: crate::sync::decode_with(key)(&encoded).unwrap(),
        encoded,
    };
    change
}

#[tokio::test]
async fn what_this_node_cannot_run_is_for_another_and_the_sender_is_to_try_again() {
    let dir = tempfile::tempdir().unwrap();
    let config = Arc::new(ConfigStore::open(dir.path(), decode_resource).unwrap());
    let (ingest, spool) = ingest(config.clone(), dir.path());
    let now = Timestamp::now();
    let head = || Head {
        kind: Kind::Webhook,
        workflow: "projects/default/workflows/w".parse().unwrap(),
        headers: [("x-api-key", KEY), ("content-type", "application/json")]
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .into_iter()
            .collect(),
        uri: http::Uri::default(),
        source: [127, 0, 0, 1].into(),
        is_source_clear: true,
        received_at: now,
    };
    // Refused when it came, with no earlier state to keep.
    let mut refused = configuration(&[]);
    refused.keep = vec![refused.upserts.remove(0).name];
    config.apply(refused).unwrap();
    let Err(turned) = ingest.authorize(head()) else {
        panic!("there is nothing to run");
    };
    assert_eq!(turned.problem.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(turned.problem.reason, "workflow-unreadable");

    // Not looked at when it came.
    let handle = async |steps| {
        config.apply(unread(steps)).unwrap();
        let mut answers = Vec::new();
        for _ in 0..2 {
            let Ok(authorized) = ingest.authorize(head()) else {
                panic!("the key is the workflow's");
            };
            let prepared = ingest.prepare(authorized, Bytes::from_static(b"{}"));
            answers.push(ingest.handle(prepared, None).await);
        }
        answers
    };
    for answer in handle("[{id: a, succeed: {}}, {id: a, succeed: {}}]").await {
        let Answer::Problem(problem) = answer else {
            panic!("{answer:?}");
        };
        assert_eq!(problem.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(problem.reason, "workflow-unreadable");
    }
    for answer in handle("[{id: a, succeed: {}}]").await {
        assert!(matches!(answer, Answer::Accepted { .. }), "{answer:?}");
    }
    let (deliveries, _, accepted) = records(&*spool).await;
    assert_eq!(accepted, 2);
    let reasons: Vec<_> = deliveries.iter().map(|of| of.reason.as_str()).collect();
    assert_eq!(
        reasons,
        ["workflow-unreadable", "workflow-unreadable", "", ""]
    );
}
