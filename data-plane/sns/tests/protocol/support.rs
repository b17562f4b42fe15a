//! A topic, a signer and the certificate that AWS would have issued to it.

use std::sync::LazyLock;

use jiff::Timestamp;
use signalbox_sns::signer::{Draft, Signer, SimulatedCa};
use signalbox_sns::{
    ConfirmToken, Envelope, ExpectedName, MessageType, Refusal, SignaturePolicy,
    SigningCertificate, SnsError, TopicArn, Verified, verify,
};

pub(crate) static TOPIC: LazyLock<TopicArn> =
    LazyLock::new(|| TopicArn::parse("arn:aws:sns:us-east-1:123456789012:orders").unwrap());
pub(crate) static SIGNER: LazyLock<Signer> = LazyLock::new(|| Signer::generate().unwrap());
pub(crate) static CERTIFICATE: LazyLock<SigningCertificate> = LazyLock::new(|| {
    SigningCertificate::from_pem(
        leaf("sns.amazonaws.com").as_bytes(),
        &ExpectedName::for_region(TOPIC.region()),
    )
    .unwrap()
});

pub(crate) fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn now() -> Timestamp {
    time("2026-11-24T12:00:00Z")
}

/// A leaf for [`SIGNER`] that is valid through November 2026.
pub(crate) fn leaf(name: &str) -> String {
    let ca = SimulatedCa::new().unwrap();
    ca.issue(
        name,
        &SIGNER,
        time("2026-11-01T00:00:00Z"),
        time("2026-11-30T00:00:00Z"),
    )
    .unwrap()
}

pub(crate) fn notification() -> Draft {
    Draft::notification(
        &TOPIC,
        "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "Hello\nworld",
        now(),
    )
}

pub(crate) fn confirmation(message_type: MessageType) -> Draft {
    let token = ConfirmToken::parse("2336412f37fb687f5d51e6e2425929f52e8e3531").unwrap();
    Draft::confirmation(
        message_type,
        &TOPIC,
        "165545c9-2a5c-472c-8df2-7ff2be2b3b1b",
        &token,
        now(),
    )
}

/// A signed Notification's body.
pub(crate) fn signed(draft: &Draft) -> String {
    String::from_utf8(draft.sign(&SIGNER).unwrap().body).unwrap()
}

/// The envelope of a body, for the rest of the test.
pub(crate) fn parsed(body: &[u8]) -> Result<&'static Envelope<'static>, SnsError> {
    let envelope = Envelope::parse(body.to_vec().leak())?;
    Ok(Box::leak(Box::new(envelope)))
}

/// Parse and verify, with [`CERTIFICATE`], now.
pub(crate) fn judge(body: impl AsRef<[u8]>) -> Result<Verified<'static>, SnsError> {
    Ok(verify(
        parsed(body.as_ref())?,
        &CERTIFICATE,
        now(),
        &SignaturePolicy::default(),
    )?)
}

pub(crate) fn reason(body: impl AsRef<[u8]>) -> &'static str {
    judge(body).expect_err("a refusal").reason()
}

/// `body` with another member put last.
pub(crate) fn with(body: &str, member: &str) -> String {
    format!("{}, {member}}}", body.strip_suffix('}').unwrap())
}

/// `body` with the JSON text of `field`'s value replaced.
pub(crate) fn set(body: &str, field: &str, raw: &str) -> String {
    let start = body.find(&format!("\"{field}\" : ")).unwrap() + field.len() + 5;
    let length = body[start..].find(['\n', '}']).unwrap();
    let value = body[start..start + length].trim_end_matches(',');
    format!("{}{raw}{}", &body[..start], &body[start + value.len()..])
}

/// `body` with `field` left out.
pub(crate) fn without(body: &str, field: &str) -> String {
    let member = format!("\"{field}\"");
    let kept: Vec<&str> = body
        .lines()
        .filter(|line| line.starts_with("  ") && !line.trim_start().starts_with(&member))
        .map(|line| line.trim_end_matches(','))
        .collect();
    format!("{{\n{}\n}}", kept.join(",\n"))
}
