//! Requests that LocalStack sent, exactly as they came.

use std::path::Path;

use serde::Deserialize;
use signalbox_sns::{
    CertOrigin, Envelope, Headers, MessageType, RawNotification, Refusal, SignaturePolicy,
    SigningCertUrl, SigningCertificate, TrustPolicy, redacted_body, verify,
};

use crate::support::time;

#[derive(Deserialize)]
struct Capture {
    scenario: String,
    request: Request,
    signing_cert_pem: Option<String>,
    signature_valid: bool,
}

#[derive(Deserialize)]
struct Request {
    headers: Vec<(String, String)>,
    body: String,
}

impl Capture {
    fn headers(&self) -> Headers<'_> {
        let find = |wanted: &str| {
            let found = self
                .request
                .headers
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(wanted));
            found.map(|(_, value)| value.as_str())
        };
        Headers {
            message_type: find("x-amz-sns-message-type"),
            message_id: find("x-amz-sns-message-id"),
            topic_arn: find("x-amz-sns-topic-arn"),
            subscription_arn: find("x-amz-sns-subscription-arn"),
            raw_delivery: find("x-amz-sns-rawdelivery") == Some("true"),
        }
    }
}

fn captures() -> Vec<(String, Capture)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/localstack");
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

fn trusting() -> TrustPolicy {
    TrustPolicy {
        trusted_origins: vec!["http://127.0.0.1:4566".parse().unwrap()],
    }
}

#[test]
fn every_signed_capture_verifies_from_its_trusted_origin() {
    let mut verified_count = 0;
    for (name, capture) in captures()
        .iter()
        .filter(|(_, capture)| capture.signature_valid)
    {
        let envelope = Envelope::parse(capture.request.body.as_bytes()).expect(name);
        envelope.check_headers(&capture.headers()).expect(name);
        let location = SigningCertUrl::parse(
            envelope.signing_cert_url(),
            envelope.topic_arn(),
            &trusting(),
        )
        .expect(name);
        assert!(
            location
                .url()
                .starts_with("http://127.0.0.1:4566/_aws/sns/"),
            "{name}"
        );
        let pem = capture.signing_cert_pem.as_deref().expect(name);
        let certificate =
            SigningCertificate::from_pem(pem.as_bytes(), location.expected_name()).expect(name);
        let now = time("2026-11-24T03:00:00Z");
        let verified =
            verify(&envelope, &certificate, now, &SignaturePolicy::default()).expect(name);
        assert!(
            matches!(verified.certificate_origin(), CertOrigin::Trusted(_)),
            "{name}"
        );
        match verified.message_type() {
            MessageType::SubscriptionConfirmation => {
                let url = verified.confirm_url().expect(name);
                assert!(
                    url.as_str()
                        .starts_with("http://127.0.0.1:4566/?Action=ConfirmSubscription&"),
                    "{name}"
                );
            }
            MessageType::Notification => {
                let redacted = envelope.redacted_body();
                assert!(
                    !String::from_utf8_lossy(&redacted).contains("Action=Unsubscribe"),
                    "{name}"
                );
                let kept = Envelope::parse(&redacted).expect(name);
                verify(&kept, &certificate, now, &SignaturePolicy::default()).expect(name);
                assert!(verified.confirm_url().is_none(), "{name}");
            }
            MessageType::UnsubscribeConfirmation => {
                assert!(verified.confirm_url().is_none(), "{name}")
            }
        }
        verified_count += 1;
    }
    assert_eq!(verified_count, 13);
}

#[test]
fn without_the_trusted_origin_none_of_them_is_believed() {
    for (name, capture) in captures()
        .iter()
        .filter(|(_, capture)| capture.signature_valid)
    {
        let envelope = Envelope::parse(capture.request.body.as_bytes()).expect(name);
        let refusal = SigningCertUrl::parse(
            envelope.signing_cert_url(),
            envelope.topic_arn(),
            &TrustPolicy::default(),
        );
        assert_eq!(
            refusal.unwrap_err().reason(),
            "certificate-url-scheme",
            "{name}"
        );
    }
}

#[test]
fn unsigned_captures_are_no_envelopes() {
    let captures = captures();
    let mut refused = Vec::new();
    for (name, capture) in captures
        .iter()
        .filter(|(_, capture)| !capture.signature_valid)
    {
        let reason = Envelope::parse(capture.request.body.as_bytes())
            .expect_err(name)
            .reason();
        let expected = if capture.scenario == "fifo" {
            "signature-missing"
        } else {
            "body-not-json-object"
        };
        assert_eq!(reason, expected, "{name}");
        refused.push(name.as_str());
    }
    assert_eq!(
        refused,
        ["fifo.0.json", "fifo.1.json", "raw.1.json", "raw.2.json"]
    );
}

#[test]
fn raw_captures_are_known_by_their_headers() {
    for (name, capture) in captures()
        .iter()
        .filter(|(_, capture)| capture.scenario == "raw")
    {
        let raw = RawNotification::parse(&capture.headers());
        if capture.signature_valid {
            assert_eq!(
                raw.unwrap_err().reason(),
                "raw-delivery-not-marked",
                "{name}"
            );
        } else {
            let raw = raw.expect(name);
            assert_eq!(
                raw.topic_arn.as_str(),
                "arn:aws:sns:us-east-1:000000000000:lab-6b04f526-raw",
                "{name}"
            );
            assert_eq!(
                Some(raw.message_id.as_str()),
                capture.headers().message_id,
                "{name}"
            );
        }
    }
}

#[test]
fn attributes_of_a_capture_come_typed() {
    let captures = captures();
    let (_, capture) = captures
        .iter()
        .find(|(name, _)| name == "v2_full.1.json")
        .unwrap();
    let envelope = Envelope::parse(capture.request.body.as_bytes()).unwrap();
    assert_eq!(
        envelope.unsigned_attributes().to_json(),
        serde_json::json!({"tenant": "acme", "n": 42, "tags": ["a", "b"], "bin": "AAH/"})
    );
    assert_eq!(envelope.subject(), Some("A subject"));
    assert_eq!(
        envelope.message(),
        "line one\nzwei: grüße ☃ 😀 \"quoted\" \\ / <&>\n{\"k\": 1}"
    );
}

#[test]
fn a_redacted_fifo_body_keeps_no_capability_though_it_is_no_envelope() {
    for (name, capture) in captures()
        .iter()
        .filter(|(_, capture)| capture.scenario == "fifo")
    {
        let redacted = redacted_body(capture.request.body.as_bytes()).expect(name);
        let redacted = String::from_utf8_lossy(&redacted);
        assert!(
            !redacted.contains("Action=") && redacted.contains("[redacted]"),
            "{name}: {redacted}"
        );
    }
}
