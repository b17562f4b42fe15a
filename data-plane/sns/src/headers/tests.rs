#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;

const TOPIC: &str = "arn:aws:sns:us-east-1:000000000000:lab";
const GOOD: Headers<'static> = Headers {
    message_type: Some("Notification"),
    message_id: Some("eae737d6-023f-4230-9c0c-23d0e47e9f6b"),
    topic_arn: Some(TOPIC),
    subscription_arn: Some("arn:aws:sns:us-east-1:000000000000:lab:273625e0"),
    raw_delivery: true,
};

#[test]
fn raw_headers_give_id_topic_and_subscription() {
    let raw = RawNotification::parse(&GOOD).unwrap();
    assert_eq!(raw.message_id, GOOD.message_id.unwrap());
    assert_eq!(raw.topic_arn.as_str(), TOPIC);
    assert_eq!(raw.subscription_arn.unwrap().topic(), &raw.topic_arn);
}

#[test]
fn raw_headers_that_lack_or_bend_something_are_refused() {
    let long = "m".repeat(257);
    let cases = [
        (
            Headers {
                raw_delivery: false,
                ..GOOD
            },
            "raw-delivery-not-marked",
        ),
        (
            Headers {
                message_type: None,
                ..GOOD
            },
            "raw-delivery-not-notification",
        ),
        (
            Headers {
                message_type: Some("SubscriptionConfirmation"),
                ..GOOD
            },
            "raw-delivery-not-notification",
        ),
        (
            Headers {
                message_id: None,
                ..GOOD
            },
            "raw-delivery-message-id",
        ),
        (
            Headers {
                message_id: Some(""),
                ..GOOD
            },
            "raw-delivery-message-id",
        ),
        (
            Headers {
                message_id: Some("a b"),
                ..GOOD
            },
            "raw-delivery-message-id",
        ),
        (
            Headers {
                message_id: Some(&long),
                ..GOOD
            },
            "raw-delivery-message-id",
        ),
        (
            Headers {
                topic_arn: None,
                ..GOOD
            },
            "raw-delivery-topic-arn",
        ),
        (
            Headers {
                topic_arn: Some("arn:aws:sns:us-east-1:0:lab"),
                ..GOOD
            },
            "raw-delivery-topic-arn",
        ),
        (
            Headers {
                subscription_arn: Some("x"),
                ..GOOD
            },
            "raw-delivery-subscription-arn",
        ),
        (
            Headers {
                subscription_arn: Some("arn:aws:sns:us-east-1:000000000000:other:1"),
                ..GOOD
            },
            "subscription-arn-contradicts-topic",
        ),
    ];
    for (headers, reason) in cases {
        assert_eq!(
            RawNotification::parse(&headers).unwrap_err().reason(),
            reason,
            "{headers:?}"
        );
    }
}

#[test]
fn message_types_parse_exactly() {
    assert_eq!("Notification".parse(), Ok(MessageType::Notification));
    for bad in ["notification", "Notification ", "", "Publish"] {
        assert_eq!(
            bad.parse::<MessageType>(),
            Err(UnknownMessageType),
            "{bad:?}"
        );
    }
}
