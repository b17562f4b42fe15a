//! Messages that Amazon SNS itself signed.

use signalbox_sns::{
    CertOrigin, Envelope, Fingerprint, MessageType, Refusal, SignaturePolicy, SignatureVersion,
    SigningCertUrl, SigningCertificate, SnsError, TrustPolicy, Verified, redacted_body, verify,
};

use crate::support::{parsed, time};

const CONFIRMATION: &str = include_str!("../data/aws/subscription-confirmation-v1.json");
const NOTIFICATION: &str = include_str!("../data/aws/notification-v2.json");
const PEM: &[u8] =
    include_bytes!("../data/aws/SimpleNotificationService-7506a1e35b36ef5a444dd1a8e7cc3ed8.pem");
const URL: &str = "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-7506a1e35b36ef5a444dd1a8e7cc3ed8.pem";

/// The published Notification leaves the unsigned SigningCertURL out.
fn notification() -> String {
    let end = NOTIFICATION.rfind('}').unwrap();
    format!(
        "{},\n  \"SigningCertURL\" : \"{URL}\",\n  \"UnsubscribeURL\" : \"https://sns/?Action=Unsubscribe&secret\"\n}}",
        NOTIFICATION[..end].trim_end()
    )
}

fn judge(body: &[u8], at: &str, policy: SignaturePolicy) -> Result<Verified<'static>, SnsError> {
    let envelope = parsed(body)?;
    let location = SigningCertUrl::parse(
        envelope.signing_cert_url(),
        envelope.topic_arn(),
        &TrustPolicy::default(),
    )?;
    assert_eq!(location.url(), URL);
    let certificate = SigningCertificate::from_pem(PEM, location.expected_name())?;
    Ok(verify(envelope, &certificate, time(at), &policy)?)
}

#[test]
fn the_genuine_confirmation_verifies_and_gives_the_url_that_aws_gives() {
    let verified = judge(
        CONFIRMATION.as_bytes(),
        "2026-03-06T19:31:33Z",
        SignaturePolicy::default(),
    )
    .unwrap();
    assert_eq!(
        verified.message_type(),
        MessageType::SubscriptionConfirmation
    );
    assert_eq!(verified.signature_version(), SignatureVersion::V1);
    assert_eq!(verified.certificate_origin(), &CertOrigin::Aws);
    assert_eq!(
        verified.message_id(),
        "f3f2fc87-c426-4c2f-9044-b55890c0939c"
    );
    let token = verified.token().unwrap().expose();
    let url = verified.confirm_url().unwrap();
    assert_eq!(
        url.as_str(),
        format!(
            "https://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription\
             &TopicArn=arn%3Aaws%3Asns%3Aus-west-2%3A131990247566%3Adongie-standard-topic&Token={token}&Version=2010-03-31"
        )
    );
}

#[test]
fn the_genuine_notification_verifies() {
    let verified = judge(
        notification().as_bytes(),
        "2026-03-06T20:00:27Z",
        SignaturePolicy::default(),
    )
    .unwrap();
    assert_eq!(verified.message_type(), MessageType::Notification);
    assert_eq!(verified.signature_version(), SignatureVersion::V2);
    assert_eq!(verified.message(), "This message uses signature version 2.");
    assert_eq!(verified.subject(), None);
    assert_eq!(verified.timestamp(), time("2026-03-06T20:00:26.893Z"));
    assert!(verified.confirm_url().is_none());
    let fingerprint = verified.certificate_fingerprint().to_string();
    assert_eq!(
        fingerprint,
        "ee6f7928eab1b920f8881d7b57ec815ef173c67504bb685bf3146e93b66512aa"
    );
    let again: Fingerprint = serde_json::from_str(&format!("\"{fingerprint}\"")).unwrap();
    assert_eq!(again, verified.certificate_fingerprint());
}

#[test]
fn the_redacted_notification_still_verifies_and_the_redacted_confirmation_cannot() {
    let body = notification();
    let redacted = redacted_body(body.as_bytes()).unwrap();
    assert!(!String::from_utf8_lossy(&redacted).contains("secret"));
    judge(
        &redacted,
        "2026-03-06T20:00:27Z",
        SignaturePolicy::default(),
    )
    .unwrap();

    let redacted = redacted_body(CONFIRMATION.as_bytes()).unwrap();
    assert!(!String::from_utf8_lossy(&redacted).contains("2336412f37fb"));
    let refusal = judge(
        &redacted,
        "2026-03-06T19:31:33Z",
        SignaturePolicy::default(),
    )
    .unwrap_err();
    assert_eq!(refusal.reason(), "signature-invalid");
}

#[test]
fn the_clock_decides_with_both_ends_included() {
    for (at, verdict) in [
        (
            "2025-11-09T23:59:59.999Z",
            Some("certificate-not-yet-valid"),
        ),
        ("2025-11-10T00:00:00Z", None),
        ("2026-10-14T23:59:59.999Z", None),
        ("2026-10-15T00:00:00Z", Some("certificate-expired")),
    ] {
        let refusal = judge(notification().as_bytes(), at, SignaturePolicy::default()).err();
        assert_eq!(refusal.map(|refusal| refusal.reason()), verdict, "{at}");
    }
}

#[test]
fn a_workflow_may_demand_version_two() {
    let strict = SignaturePolicy {
        minimum_version: SignatureVersion::V2,
    };
    judge(notification().as_bytes(), "2026-03-06T20:00:27Z", strict).unwrap();
    let refusal = judge(CONFIRMATION.as_bytes(), "2026-03-06T19:31:33Z", strict).unwrap_err();
    assert_eq!(refusal.reason(), "signature-version-too-low");
}

#[test]
fn the_genuine_certificate_proves_no_other_regions_topics() {
    let elsewhere = notification().replace("us-west-2", "us-east-1");
    let envelope = Envelope::parse(elsewhere.as_bytes()).unwrap();
    let original = notification();
    let home = Envelope::parse(original.as_bytes()).unwrap();
    let location = SigningCertUrl::parse(
        home.signing_cert_url(),
        home.topic_arn(),
        &TrustPolicy::default(),
    )
    .unwrap();
    let certificate = SigningCertificate::from_pem(PEM, location.expected_name()).unwrap();
    let refusal = verify(
        &envelope,
        &certificate,
        time("2026-03-06T20:00:27Z"),
        &SignaturePolicy::default(),
    )
    .unwrap_err();
    assert_eq!(refusal.reason(), "certificate-region");
}
