//! A signing certificate, as a host that we are sure of, or somebody in its place, might serve it.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use signalbox_sns::{ExpectedName, SigningCertificate, TopicArn};

use crate::Target;

/// The target.
pub const TARGET: Target = Target {
    name: "certificate",
    body,
    mutations: 10_000,
    tokens: &[
        "-----BEGIN CERTIFICATE-----\n",
        "-----END CERTIFICATE-----\n",
        "-----BEGIN PRIVATE KEY-----\n",
        "=",
    ],
};

/// The bytes as a PEM file, and as the DER in one.
pub fn body(bytes: &[u8]) {
    let topic = TopicArn::parse("arn:aws:sns:us-west-2:131990247566:t").unwrap();
    let expected = ExpectedName::for_region(topic.region());
    judge(bytes, &expected);
    let base64 = STANDARD.encode(bytes);
    let pem = format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n");
    judge(pem.as_bytes(), &expected);
}

fn judge(pem: &[u8], expected: &ExpectedName) {
    let Ok(certificate) = SigningCertificate::from_pem(pem, expected) else {
        return;
    };
    assert_eq!(certificate.expected_name(), expected);
    for at in [Timestamp::MIN, Timestamp::UNIX_EPOCH, Timestamp::MAX] {
        let _ = certificate.check_validity(at);
    }
    // One block, and nothing but blanks around it.
    let text = std::str::from_utf8(pem).unwrap();
    assert!(text.trim_start().starts_with("-----BEGIN CERTIFICATE-----"));
    assert_eq!(text.matches("-----BEGIN").count(), 1);
    assert!(text.trim_end().ends_with("-----END CERTIFICATE-----"));
}
