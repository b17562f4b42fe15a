//! What stands beside the signed fields: headers, and attributes.

use signalbox_sns::{Envelope, Headers, MessageType, Refusal, RefusalKind};

use crate::support::{confirmation, notification, reason, signed, with};

#[test]
fn headers_may_be_absent_but_not_contradict() {
    let body = signed(&notification());
    let envelope = Envelope::parse(body.as_bytes()).unwrap();
    let id = envelope.message_id().to_owned();
    let topic = envelope.topic_arn().to_string();
    let subscription = format!("{topic}:fdda020f");
    let good = Headers {
        message_type: Some("Notification"),
        message_id: Some(&id),
        topic_arn: Some(&topic),
        subscription_arn: Some(&subscription),
        raw_delivery: false,
    };
    envelope.check_headers(&good).unwrap();
    envelope.check_headers(&Headers::default()).unwrap();
    let other_topic = format!("{topic}2");
    let other_subscription = format!("{topic}2:fdda020f");
    for (headers, expected) in [
        (
            Headers {
                message_type: Some("SubscriptionConfirmation"),
                ..good
            },
            "message-type-contradicts-header",
        ),
        (
            Headers {
                message_type: Some("UnsubscribeConfirmation"),
                ..good
            },
            "message-type-contradicts-header",
        ),
        (
            Headers {
                message_type: Some("notification"),
                ..good
            },
            "message-type-contradicts-header",
        ),
        (
            Headers {
                message_type: Some(""),
                ..good
            },
            "message-type-contradicts-header",
        ),
        (
            Headers {
                message_id: Some("another"),
                ..good
            },
            "message-id-contradicts-header",
        ),
        (
            Headers {
                topic_arn: Some(&other_topic),
                ..good
            },
            "topic-arn-contradicts-header",
        ),
        (
            Headers {
                subscription_arn: Some(&other_subscription),
                ..good
            },
            "subscription-arn-contradicts-topic",
        ),
        (
            Headers {
                raw_delivery: true,
                ..good
            },
            "raw-delivery-contradicts-envelope",
        ),
    ] {
        let refusal = envelope.check_headers(&headers).unwrap_err();
        assert_eq!(
            (refusal.reason(), refusal.kind()),
            (expected, RefusalKind::Malformed),
            "{headers:?}"
        );
    }
    for actual in [
        MessageType::SubscriptionConfirmation,
        MessageType::UnsubscribeConfirmation,
    ] {
        let body = signed(&confirmation(actual));
        let refusal = Envelope::parse(body.as_bytes())
            .unwrap()
            .check_headers(&Headers {
                message_type: Some("Notification"),
                ..Headers::default()
            });
        assert_eq!(
            refusal.unwrap_err().reason(),
            "message-type-contradicts-header",
            "{actual}"
        );
    }
}

#[test]
fn attributes_keep_their_form() {
    let good = signed(&notification());
    let many: Vec<String> = (0..1100)
        .map(|n| format!("\"k{n}\":{{\"Type\":\"String\",\"Value\":\"\"}}"))
        .collect();
    let cases = [
        ("[]".into(), "attributes-not-an-object"),
        ("\"x\"".into(), "attributes-not-an-object"),
        ("{\"a\":\"x\"}".into(), "attributes-not-an-object"),
        ("{\"a\":{}}".into(), "attribute-incomplete"),
        ("{\"a\":{\"Type\":\"String\"}}".into(), "attribute-incomplete"),
        ("{\"a\":{\"Type\":\"String\",\"value\":\"x\"}}".into(), "attribute-incomplete"),
        ("{\"a\":{\"Type\":\"String\",\"Value\":\"x\",\"TYPE\":\"x\"}}".into(), "attribute-incomplete"),
        ("{\"a\":{\"Type\":\"String\",\"Value\":1}}".into(), "attribute-wrong-type"),
        ("{\"a\":{\"Type\":\"String\",\"Value\":null}}".into(), "attribute-wrong-type"),
        ("{\"a\":{\"Type\":\"String\",\"Value\":\"x\",\"Value\":\"y\"}}".into(), "attribute-duplicate"),
        ("{\"a\":{\"Type\":\"String\",\"Value\":\"x\"},\"a\":{\"Type\":\"String\",\"Value\":\"y\"}}".into(), "attribute-duplicate"),
        ("{\"a\":{\"Type\":\"String\",\"Value\":\"x\"},\"\\u0061\":{\"Type\":\"String\",\"Value\":\"y\"}}".into(), "attribute-duplicate"),
        ("{\"\":{\"Type\":\"String\",\"Value\":\"x\"}}".into(), "attribute-length"),
        ("{\"a\":{\"Type\":\"\",\"Value\":\"x\"}}".into(), "attribute-length"),
        (format!("{{\"{}\":{{\"Type\":\"String\",\"Value\":\"x\"}}}}", "n".repeat(257)), "attribute-length"),
        (format!("{{\"a\":{{\"x\":{}{}}}}}", "[".repeat(5000), "]".repeat(5000)), "attribute-too-deep"),
        (format!("{{{}}}", many.join(",")), "attributes-too-many"),
    ];
    for (raw, expected) in cases {
        assert_eq!(
            reason(with(&good, &format!("\"MessageAttributes\":{raw}"))),
            expected,
            "{raw:.120}"
        );
    }
}
