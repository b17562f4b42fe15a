//! The envelope, its redaction, its headers: against what `serde_json` reads of the same bytes.

use std::collections::BTreeMap;

use serde_json::{Value, value::RawValue};
use signalbox_data_plane::ingest::read_scope;
use signalbox_sns::{
    ENVELOPE_MAX_BYTES, Envelope, Headers, MessageType, RawNotification, redacted_body,
};

use crate::{
    Target,
    string_to_sign::{self, members},
};

/// The target.
pub const TARGET: Target = Target {
    name: "envelope",
    body,
    mutations: 20_000,
    tokens: &[
        "\"Type\"",
        "\"Notification\"",
        "\"SubscriptionConfirmation\"",
        "\"Message\":",
        "\"MessageId\":",
        "\"Subject\":null,",
        "\"subject\":\"\",",
        "\"\\u0053ubject\":\"\",",
        "\"Token\":\"t\",",
        "\"UnsubscribeURL\":\"https://x/\",",
        "\"UnsubscribeUrl\":\"https://x/\",",
        "\"MessageAttributes\":{\"n\":{\"Type\":\"Number\",\"Value\":\"1e400\"}},",
        "\\u000a",
        "\\ud83d\\ude00",
        "\\ud83d",
        "\u{17f}",
        "\u{2028}",
        "{",
        "}",
        "[",
        "]",
        "\"",
        ",",
        ":",
        "\u{feff}",
        "\"SequenceNumber\":\"10000000000000003000\",",
    ],
};

const CAPABILITIES: [&str; 3] = ["UnsubscribeURL", "SubscribeURL", "Token"];

/// The bytes as a body.
pub fn body(bytes: &[u8]) {
    let redacted = redacted_body(bytes);
    if let Ok(redacted) = &redacted {
        check_redaction(bytes, redacted);
    }
    let scope = read_scope(bytes);
    let Ok(envelope) = Envelope::parse(bytes) else {
        assert!(scope.is_err());
        return;
    };
    assert!(bytes.len() <= ENVELOPE_MAX_BYTES);
    // Strict in all that matters: a plain reader agrees on what it says.
    let members = members(bytes).unwrap();
    let value = |key: &str| serde_json::from_str::<Value>(members.get(key)?.get()).ok();
    let text = |key: &str| Some(value(key)?.as_str()?.to_owned());
    for (key, said) in [
        ("Type", envelope.message_type().as_str()),
        ("MessageId", envelope.message_id()),
        ("TopicArn", envelope.topic_arn().as_str()),
        ("Message", envelope.message()),
        ("SigningCertURL", envelope.signing_cert_url()),
    ] {
        assert_eq!(text(key).as_deref(), Some(said), "{key}");
    }
    if envelope.message_type() == MessageType::Notification {
        assert_eq!(text("Subject").as_deref(), envelope.subject());
    }
    let time = text("Timestamp").unwrap();
    assert!(is_timestamp(&time), "{time:?}");
    check_attributes(
        &envelope,
        members.get("MessageAttributes").map(|raw| raw.get()),
    );
    string_to_sign::check(&envelope, bytes);
    check_headers(&envelope);

    let redacted = redacted.unwrap();
    assert_eq!(envelope.redacted_body(), redacted);
    if envelope.message_type() == MessageType::Notification {
        // What is kept can be verified later.
        let kept = Envelope::parse(&redacted).unwrap();
        assert_eq!(kept.string_to_sign(), envelope.string_to_sign());
        assert_eq!(read_scope(&redacted), scope);
    }
    let scope = scope.unwrap();
    assert_eq!(scope.message, envelope.message());
    assert_eq!(scope.message_id, envelope.message_id());
}

/// `2026-03-06T20:00:26.893Z`.
fn is_timestamp(text: &str) -> bool {
    let Some((seconds, fraction)) = text
        .strip_suffix('Z')
        .and_then(|text| text.split_at_checked(19))
    else {
        return false;
    };
    let shape = seconds
        .bytes()
        .map(|byte| if byte.is_ascii_digit() { b'0' } else { byte });
    let digits = fraction.strip_prefix('.').unwrap_or("0");
    shape.eq(*b"0000-00-00T00:00:00")
        && (fraction.is_empty() || fraction.starts_with('.'))
        && !digits.is_empty()
        && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// No capability is left, and nothing else is touched.
fn check_redaction(body: &[u8], redacted: &[u8]) {
    let (before, after) = (members(body).unwrap(), members(redacted).unwrap());
    assert!(before.keys().eq(after.keys()));
    for (key, value) in &after {
        if CAPABILITIES
            .iter()
            .any(|name| name.eq_ignore_ascii_case(key))
        {
            assert_eq!(value.get(), "\"[redacted]\"", "{key}");
        } else if key.is_ascii() {
            assert_eq!(value.get(), before[key].get(), "{key}");
        }
    }
    assert_eq!(
        redacted_body(redacted).unwrap(),
        redacted,
        "twice is as good as once"
    );
}

fn check_attributes(envelope: &Envelope<'_>, raw: Option<&str>) {
    type Members = BTreeMap<String, Box<RawValue>>;
    let attributes = envelope.unsigned_attributes();
    let said: Option<BTreeMap<String, Members>> =
        raw.and_then(|raw| serde_json::from_str(raw).unwrap());
    assert_eq!(attributes.len(), said.as_ref().map_or(0, BTreeMap::len));
    for (name, attribute) in attributes.iter() {
        let member = &said.as_ref().unwrap()[name];
        let text = |key: &str| serde_json::from_str::<String>(member[key].get()).unwrap();
        assert_eq!(text("Type"), attribute.data_type);
        assert_eq!(text("Value"), attribute.value);
        if let Value::String(text) = attribute.to_json() {
            assert_eq!(text, attribute.value);
        }
    }
}

/// Its own headers do not contradict it, every other does.
fn check_headers(envelope: &Envelope<'_>) {
    let own = Headers {
        message_type: Some(envelope.message_type().as_str()),
        message_id: Some(envelope.message_id()),
        topic_arn: Some(envelope.topic_arn().as_str()),
        subscription_arn: None,
        raw_delivery: false,
    };
    assert_eq!(envelope.check_headers(&own), Ok(()));
    assert_eq!(envelope.check_headers(&Headers::default()), Ok(()));
    let other = Some("other");
    for wrong in [
        Headers {
            message_type: other,
            ..own
        },
        Headers {
            message_id: Some(&format!("{} ", envelope.message_id())),
            ..own
        },
        Headers {
            topic_arn: other,
            ..own
        },
        Headers {
            subscription_arn: Some("arn:aws:sns:us-east-1:000000000000:none-has-this-name:id"),
            ..own
        },
        Headers {
            raw_delivery: true,
            ..own
        },
    ] {
        assert!(envelope.check_headers(&wrong).is_err(), "{wrong:?}");
    }
    let raw = Headers {
        raw_delivery: true,
        ..own
    };
    if let Ok(raw) = RawNotification::parse(&raw) {
        assert_eq!(raw.message_id, envelope.message_id());
        assert_eq!(raw.topic_arn, *envelope.topic_arn());
    }
}
