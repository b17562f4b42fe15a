//! Senders that behave as Amazon SNS does, and others that only pretend to be it.

use std::sync::LazyLock;

use bytes::Bytes;
use http::HeaderMap;
use jiff::{SignedDuration, Timestamp};
use signalbox_model::ids::{ExecutionId, ExecutionName, WorkflowName};
use signalbox_sns::{
    SignatureVersion, SigningCertUrl, SigningCertificate, TopicArn, TrustPolicy,
    signer::{Corruption, Draft, SignedMessage, Signer, SimulatedCa},
};
use std::time::Duration;

use super::{
    chance::base,
    node::{KEY, WORKFLOW},
};
use crate::{
    egress::EgressPolicy,
    ingest::{Certificates, Head, Kind},
};

pub(super) const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:orders";
const OTHER_TOPIC: &str = "arn:aws:sns:us-east-1:999999999999:orders";
/// Good messages that seeds draw from.
pub(super) const MESSAGES: usize = 48;

/// A message, signed once for all seeds: a signature costs more than all else that happens to it.
pub(super) struct Letter {
    pub(super) id: String,
    pub(super) execution: ExecutionName,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
    key: &'static str,
}

/// What all seeds share.
pub(super) struct Post {
    pub(super) good: Vec<Letter>,
    /// Each is wrong in another way.
    pub(super) forged: Vec<Letter>,
    pub(super) certificates: Certificates,
}

pub(super) static POST: LazyLock<Post> = LazyLock::new(Post::write);

fn workflow() -> WorkflowName {
    WORKFLOW.parse().unwrap()
}

impl Letter {
    fn new(id: String, topic: &str, message: SignedMessage, key: &'static str) -> Self {
        let workflow = workflow();
        Self {
            execution: ExecutionName {
                project: workflow.project.clone(),
                execution: ExecutionId::derive(&workflow, topic, &id, None),
            },
            id,
            headers: message.headers,
            body: message.body.into(),
            key,
        }
    }

    pub(super) fn body(&self) -> Bytes {
        self.body.clone()
    }

    /// As it arrives.
    pub(super) fn head(&self, received_at: Timestamp) -> Head {
        let mut headers: HeaderMap = self
            .headers
            .iter()
            .map(|(name, value)| {
                let name = name.parse::<http::HeaderName>().unwrap();
                (name, value.parse().unwrap())
            })
            .collect();
        headers.insert("x-api-key", self.key.parse().unwrap());
        Head {
            kind: Kind::Sns,
            workflow: workflow(),
            headers,
            uri: http::Uri::default(),
            source: [192, 0, 2, 1].into(),
            is_source_clear: true,
            received_at,
        }
    }
}

impl Post {
    fn write() -> Self {
        signalbox_runtime::tls::install_crypto_provider();
        let signer = Signer::generate().unwrap();
        let draft = |topic: &str, id: &str, at: usize| {
            let topic = TopicArn::parse(topic).unwrap();
            // Now and then a large one, so that groups and segments are filled unevenly.
            let text = "x".repeat(if at.is_multiple_of(8) { 6000 } else { 30 * at });
            let mut draft = Draft::notification(&topic, id, &text, base());
            if at.is_multiple_of(16) {
                draft.version = SignatureVersion::V1;
            }
            draft
        };
        let good = (0..MESSAGES)
            .map(|at| {
                let id = format!("message-{at}");
                let signed = draft(TOPIC, &id, at).sign(&signer).unwrap();
                Letter::new(id, TOPIC, signed, KEY)
            })
            .collect();
        let corrupted = |at: usize, corruption| {
            let id = format!("forged-{at}");
            let signed = draft(TOPIC, &id, at).sign_corrupted(&signer, corruption);
            Letter::new(id, TOPIC, signed.unwrap(), KEY)
        };
        let sign = |topic: &str, id: &str, by: &Signer, key| {
            let signed = draft(topic, id, 1).sign(by).unwrap();
            Letter::new(id.to_owned(), topic, signed, key)
        };
        let forged = vec![
            corrupted(1, Corruption::Signature),
            corrupted(2, Corruption::Message),
            corrupted(3, Corruption::Subject),
            corrupted(4, Corruption::Unsigned),
            sign(TOPIC, "stranger-1", &Signer::generate().unwrap(), KEY),
            sign(OTHER_TOPIC, "stranger-2", &signer, KEY),
            sign(TOPIC, "stranger-3", &signer, "sbk_another"),
        ];
        Self {
            good,
            forged,
            certificates: certificates(&signer),
        }
    }
}

/// A cache that holds the certificate already: the network to Amazon is not part of the simulation.
fn certificates(signer: &Signer) -> Certificates {
    let certificates = Certificates::new(EgressPolicy::default()).unwrap();
    let topic = TopicArn::parse(TOPIC).unwrap();
    let url = Draft::notification(&topic, "m", "", base()).signing_cert_url;
    let location = SigningCertUrl::parse(&url, &topic, &TrustPolicy::default()).unwrap();
    let year = SignedDuration::from_hours(24 * 365);
    let pem = SimulatedCa::new()
        .unwrap()
        .issue("sns.amazonaws.com", signer, base() - year, base() + year)
        .unwrap();
    let certificate =
        SigningCertificate::from_pem(pem.as_bytes(), location.expected_name()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(certificates.keep(&location, certificate));
    certificates
}

/// How long Amazon SNS waits for an answer.
pub(super) const CUT_OFF: Duration = Duration::from_secs(15);
/// Attempts of the default policy for HTTP, the first included.
pub(super) const ATTEMPTS_MAX: u32 = 54;

/// The pause before a retry, by the default policy: 3 without delay, 2 after 1 s, 10 from 1 s to 20 s, 38 after 20 s.
pub(super) fn pause(retry: u32) -> Duration {
    match retry {
        0..=3 => Duration::ZERO,
        4..=5 => Duration::from_secs(1),
        6..=15 => Duration::from_secs_f64(20_f64.powf(f64::from(retry - 6) / 9.0)),
        _ => Duration::from_secs(20),
    }
}
