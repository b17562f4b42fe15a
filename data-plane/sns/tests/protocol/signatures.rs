//! Signatures that prove nothing, and the confirmations that must not be followed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use signalbox_sns::signer::{Corruption, Draft, Signer};
use signalbox_sns::{
    ConfirmToken, Envelope, ExpectedName, MessageAttribute, MessageAttributes, MessageType,
    Refusal, RefusalKind, SignatureVersion, SigningCertUrl, TrustPolicy, redacted_body,
};

use crate::support::{SIGNER, TOPIC, confirmation, judge, notification, now, reason, signed};

fn signature_of(body: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(body).unwrap();
    value["Signature"].as_str().unwrap().to_owned()
}

#[test]
fn every_type_verifies_in_both_versions() {
    for version in [SignatureVersion::V1, SignatureVersion::V2] {
        for draft in [
            notification(),
            Draft {
                subject: Some("Grüße ☃".into()),
                ..notification()
            },
            Draft {
                subject: Some(String::new()),
                ..notification()
            },
            confirmation(MessageType::SubscriptionConfirmation),
            confirmation(MessageType::UnsubscribeConfirmation),
        ] {
            let draft = Draft { version, ..draft };
            let verified = judge(signed(&draft)).unwrap();
            assert_eq!(verified.signature_version(), version);
            assert_eq!(verified.message_type(), draft.message_type);
            assert_eq!(verified.message(), draft.message);
            assert_eq!(verified.subject(), draft.subject.as_deref());
            assert_eq!(verified.timestamp(), draft.timestamp);
            assert_eq!(verified.token(), draft.token.as_ref());
            assert_eq!(
                verified.confirm_url().is_some(),
                draft.message_type == MessageType::SubscriptionConfirmation
            );
        }
    }
}

#[test]
fn every_corruption_is_refused_for_its_reason() {
    for (corruption, expected) in [
        (Corruption::Signature, "signature-invalid"),
        (Corruption::Message, "signature-invalid"),
        (Corruption::Subject, "signature-invalid"),
        (Corruption::Version, "signature-invalid"),
        (Corruption::Unsigned, "signature-missing"),
        (Corruption::DuplicateKey, "field-duplicate"),
        (Corruption::TrailingData, "body-trailing-data"),
    ] {
        for version in [SignatureVersion::V1, SignatureVersion::V2] {
            for subject in [None, Some("S".to_owned())] {
                let draft = Draft {
                    version,
                    subject,
                    ..notification()
                };
                let body = draft.sign_corrupted(&SIGNER, corruption).unwrap().body;
                assert_eq!(reason(body), expected, "{corruption:?} {version}");
            }
        }
    }
    let body = notification()
        .sign_corrupted(&SIGNER, Corruption::CertificateHost)
        .unwrap()
        .body;
    let envelope = Envelope::parse(&body).unwrap();
    let refusal =
        SigningCertUrl::parse(envelope.signing_cert_url(), &TOPIC, &TrustPolicy::default())
            .unwrap_err();
    assert_eq!(refusal.reason(), "certificate-url-host");
}

#[test]
fn signatures_of_the_wrong_shape_or_of_something_else() {
    let good = signed(&notification());
    let signature = signature_of(&good);
    let bytes = STANDARD.decode(&signature).unwrap();
    let other_message = signature_of(&signed(&Draft {
        message: "other".into(),
        ..notification()
    }));
    let other_key = notification()
        .sign(&Signer::generate().unwrap())
        .unwrap()
        .body;
    let other_key = signature_of(std::str::from_utf8(&other_key).unwrap());
    let url_safe = signature.replace(['+', '/'], "-");
    for (replacement, expected) in [
        ("not base64!".to_owned(), "signature-not-base64"),
        (format!("{signature}=="), "signature-not-base64"),
        (format!(" {signature}"), "signature-not-base64"),
        (
            signature.trim_end_matches('=').to_owned(),
            "signature-not-base64",
        ),
        (STANDARD.encode([]) + "AA==", "signature-invalid"),
        (STANDARD.encode(&bytes[1..]), "signature-invalid"),
        (
            STANDARD.encode([&bytes[..], &[0]].concat()),
            "signature-invalid",
        ),
        (
            STANDARD.encode([&[0], &bytes[..]].concat()),
            "signature-invalid",
        ),
        (STANDARD.encode([0; 256]), "signature-invalid"),
        (STANDARD.encode([0xff; 256]), "signature-invalid"),
        (other_message, "signature-invalid"),
        (other_key, "signature-invalid"),
    ] {
        assert_eq!(
            reason(good.replace(&signature, &replacement)),
            expected,
            "{replacement:.20}"
        );
    }
    if url_safe != signature {
        assert_eq!(
            reason(good.replace(&signature, &url_safe)),
            "signature-not-base64"
        );
    }
}

#[test]
fn versions_are_one_and_two_as_strings() {
    let good = signed(&notification());
    for version in ["3", "0", "02", "2 ", " 2", "V2", "two", "2.0", "\u{ff12}"] {
        let body = good.replace(
            "\"SignatureVersion\" : \"2\"",
            &format!("\"SignatureVersion\" : \"{version}\""),
        );
        let refusal = judge(body).unwrap_err();
        assert_eq!(
            refusal.reason(),
            "signature-version-unsupported",
            "{version:?}"
        );
        assert_eq!(refusal.kind(), RefusalKind::Forbidden);
    }
    assert_eq!(
        reason(good.replace("\"SignatureVersion\" : \"2\"", "\"SignatureVersion\" : 2")),
        "field-wrong-type"
    );
}

#[test]
fn a_type_signed_as_another_is_refused() {
    let subscribed = signed(&confirmation(MessageType::SubscriptionConfirmation));
    let unsubscribed = subscribed.replace(
        "\"SubscriptionConfirmation\"",
        "\"UnsubscribeConfirmation\"",
    );
    assert_eq!(reason(&unsubscribed), "signature-invalid");
    assert_eq!(
        reason(subscribed.replace("\"SubscriptionConfirmation\"", "\"Notification\"")),
        "signature-invalid"
    );
}

#[test]
fn subjects_come_and_go_only_with_the_signature() {
    let subject = |subject: Option<&str>| Draft {
        subject: subject.map(str::to_owned),
        ..notification()
    };
    let plain = signed(&subject(None));
    let empty = signed(&subject(Some("")));
    let full = signed(&subject(Some("S")));
    let add = |body: &str, raw: &str| {
        body.replacen(
            "  \"Message\"",
            &format!("  \"Subject\" : {raw},\n  \"Message\""),
            1,
        )
    };
    for body in [add(&plain, "\"S\""), add(&plain, "\"\"")] {
        assert_eq!(reason(body), "signature-invalid");
    }
    judge(add(&plain, "null")).unwrap();
    for (body, from, to) in [
        (&full, "\"Subject\" : \"S\",", ""),
        (&full, "\"Subject\" : \"S\"", "\"Subject\" : null"),
        (&full, "\"Subject\" : \"S\"", "\"Subject\" : \"\""),
        (&full, "\"Subject\" : \"S\"", "\"Subject\" : \"s\""),
        (&empty, "\"Subject\" : \"\",", ""),
        (&empty, "\"Subject\" : \"\"", "\"Subject\" : null"),
    ] {
        assert!(body.contains(from), "{body}");
        assert_eq!(
            reason(body.replace(from, to)),
            "signature-invalid",
            "{from} {to}"
        );
    }
}

/// One string to sign, two readings: the second shifts signed text from one field into another over a newline.
#[test]
fn no_second_reading_of_a_signed_text_passes() {
    let first = Draft {
        message: "pay\nMessageId\nfresh-id\nSubject\nx".into(),
        ..notification()
    };
    let body = signed(&first);
    judge(&body).unwrap();
    let id = first.message_id.as_str();
    let second = body
        .replace(r"pay\nMessageId\nfresh-id\nSubject\nx", "pay")
        .replace(&format!("\"{id}\""), "\"fresh-id\"")
        .replacen(
            "  \"Message\"",
            &format!("  \"Subject\" : \"x\\nMessageId\\n{id}\",\n  \"Message\""),
            1,
        );
    assert!(
        second.contains("fresh-id") && second.contains("Subject"),
        "{second}"
    );
    assert_eq!(reason(second), "field-control-character");
}

#[test]
fn text_is_signed_as_it_is_not_as_it_looks() {
    let composed = Draft {
        message: "caf\u{e9}".into(),
        ..notification()
    };
    let body = signed(&composed);
    assert_eq!(
        reason(body.replace("caf\u{e9}", "cafe\u{301}")),
        "signature-invalid"
    );
    judge(body.replace("caf\u{e9}", "caf\\u00e9")).unwrap();
    let emoji = signed(&Draft {
        message: "\u{1f600}".into(),
        ..notification()
    });
    judge(emoji.replace('\u{1f600}', "\\ud83d\\ude00")).unwrap();
    assert_eq!(
        reason(emoji.replace('\u{1f600}', "\\ude00\\ud83d")),
        "field-wrong-type"
    );
}

#[test]
fn attributes_and_unsubscribe_url_are_outside_the_signature_and_marked_so() {
    let attribute = MessageAttribute {
        data_type: "String".into(),
        value: "acme".into(),
    };
    let draft = Draft {
        attributes: MessageAttributes::from(
            [("tenant".to_owned(), attribute)]
                .into_iter()
                .collect::<std::collections::BTreeMap<_, _>>(),
        ),
        subscription_arn: Some(format!("{}:fdda020f", *TOPIC).parse().unwrap()),
        ..notification()
    };
    let body = signed(&draft);
    assert_eq!(
        judge(&body).unwrap().unsigned_attributes().to_json(),
        serde_json::json!({"tenant": "acme"})
    );
    let changed = judge(body.replace("acme", "evil")).unwrap();
    assert_eq!(
        changed.unsigned_attributes().to_json(),
        serde_json::json!({"tenant": "evil"})
    );
    let redacted = redacted_body(body.as_bytes()).unwrap();
    assert!(
        body.contains("Action=Unsubscribe")
            && !String::from_utf8_lossy(&redacted).contains("Action=Unsubscribe")
    );
    judge(&redacted).unwrap();
}

#[test]
fn a_hostile_subscribe_url_changes_nothing_about_where_to_confirm() {
    let token = ConfirmToken::parse("signed-token").unwrap();
    for endpoint in [
        "http://169.254.169.254/latest?x=",
        "http://localhost:22",
        "https://10.0.0.1",
        "https://evil.com/?Action=DeleteTopic&",
    ] {
        let draft = Draft {
            endpoint: endpoint.into(),
            ..Draft::confirmation(
                MessageType::SubscriptionConfirmation,
                &TOPIC,
                "m-1",
                &token,
                now(),
            )
        };
        let url = judge(signed(&draft)).unwrap().confirm_url().unwrap();
        assert_eq!(
            url.as_str(),
            "https://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription\
             &TopicArn=arn%3Aaws%3Asns%3Aus-east-1%3A123456789012%3Aorders&Token=signed-token&Version=2010-03-31"
        );
    }
    let body = signed(&confirmation(MessageType::SubscriptionConfirmation));
    assert_eq!(
        reason(body.replace("Token=2336412f", "Token=ffffffff")),
        "signature-invalid"
    );
}

#[test]
fn drafts_go_out_as_sns_lays_them_out() {
    let subscription = format!("{}:fdda020f", *TOPIC).parse().unwrap();
    let draft = Draft {
        subject: Some("S".into()),
        subscription_arn: Some(subscription),
        ..notification()
    };
    let sent = draft.sign(&SIGNER).unwrap();
    let keys = |body: &[u8]| -> Vec<String> {
        let lines = std::str::from_utf8(body)
            .unwrap()
            .lines()
            .filter_map(|line| line.strip_prefix("  \""));
        lines
            .map(|line| line.split('"').next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        keys(&sent.body),
        [
            "Type",
            "MessageId",
            "TopicArn",
            "Subject",
            "Message",
            "Timestamp",
            "SignatureVersion",
            "Signature",
            "SigningCertURL",
            "UnsubscribeURL"
        ]
    );
    let confirmation = confirmation(MessageType::SubscriptionConfirmation)
        .sign(&SIGNER)
        .unwrap();
    let genuine = include_bytes!("../data/aws/subscription-confirmation-v1.json");
    assert_eq!(keys(&confirmation.body), keys(genuine));
    assert!(
        confirmation
            .headers
            .iter()
            .all(|(name, _)| *name != "x-amz-sns-subscription-arn")
    );

    let raw = draft.raw();
    assert_eq!(raw.body, draft.message.as_bytes());
    assert!(
        raw.headers
            .contains(&("x-amz-sns-rawdelivery", "true".to_owned()))
    );
}

#[test]
fn a_signer_is_made_again_from_its_key() {
    let again = Signer::from_pkcs8(SIGNER.pkcs8()).unwrap();
    for version in [SignatureVersion::V1, SignatureVersion::V2] {
        assert_eq!(
            again.sign(version, b"text").unwrap(),
            SIGNER.sign(version, b"text").unwrap()
        );
    }
    assert!(Signer::from_pkcs8(b"no key").is_err());
    assert!(matches!(
        ExpectedName::for_region(TOPIC.region()),
        ExpectedName::OneOf { .. }
    ));
}
