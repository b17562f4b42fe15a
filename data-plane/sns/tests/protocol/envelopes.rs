//! Bodies and headers that no honest SNS sends.

use signalbox_sns::{Envelope, Field, MessageType, Refusal, RefusalKind};

use crate::support::{confirmation, judge, notification, reason, set, signed, with, without};

#[test]
fn bodies_that_are_not_one_unambiguous_object() {
    let good = signed(&notification());
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let many: Vec<String> = (0..100).map(|n| format!("\"k{n}\":0")).collect();
    let cases = [
        (String::new(), "body-not-json-object"),
        ("   ".into(), "body-not-json-object"),
        ("Hello".into(), "body-not-json-object"),
        ("\"text\"".into(), "body-not-json-object"),
        (format!("[{good}]"), "body-not-json-object"),
        ("null".into(), "body-not-json-object"),
        ("{".into(), "body-not-json"),
        (good[..good.len() - 1].into(), "body-not-json"),
        (good.replacen(':', "=", 1), "body-not-json"),
        (good.replacen("Hello\\n", "Hello\n", 1), "body-not-json"),
        (format!("\u{feff}{good}"), "body-byte-order-mark"),
        (format!("{good}{{}}"), "body-trailing-data"),
        (format!("{good},"), "body-trailing-data"),
        (format!("{good}\0"), "body-trailing-data"),
        (format!("{}{good}", " ".repeat(10 << 20)), "body-too-large"),
        (with(&good, &format!("\"Extra\":{deep}")), "body-too-deep"),
        (with(&good, &many.join(",")), "body-too-many-fields"),
        (
            with(&good, "\"MessageAttributes\":{}, \"MessageAttributes\":{}"),
            "field-duplicate",
        ),
        (with(&good, "\"Other\":1, \"Other\":2"), "field-duplicate"),
    ];
    for (body, expected) in cases {
        assert_eq!(reason(&body), expected, "{body:.80}");
    }
    assert_eq!(reason([0x7b, 0xff, 0x7d]), "body-not-utf8");
    let utf16: Vec<u8> = good.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(reason(utf16), "body-not-json");
}

#[test]
fn white_space_and_unknown_fields_are_no_offence() {
    let good = signed(&notification());
    for body in [
        format!("\r\n\t {good} \n"),
        with(&good, "\"SequenceNumber\":null"),
        with(
            &good,
            "\"SequenceNumber\":\"10000000000000003000\", \"Later\":{\"a\":[1,{\"b\":\"\\ud83d\"}]}",
        ),
        with(
            &good,
            "\"UnsubscribeURL\":null, \"MessageAttributes\":null, \"Subject\":null",
        ),
    ] {
        judge(&body).unwrap_or_else(|error| panic!("{error}: {body}"));
    }
}

#[test]
fn a_key_twice_is_refused_whichever_was_signed() {
    for good in [
        signed(&notification()),
        signed(&confirmation(MessageType::SubscriptionConfirmation)),
    ] {
        for field in [
            "Type",
            "MessageId",
            "TopicArn",
            "Message",
            "Timestamp",
            "Signature",
            "SignatureVersion",
            "SigningCertURL",
        ] {
            assert_eq!(
                reason(with(&good, &format!("\"{field}\":\"other\""))),
                "field-duplicate",
                "{field} last"
            );
            let first = good.replacen('{', &format!("{{\"{field}\":\"other\","), 1);
            assert_eq!(reason(first), "field-duplicate", "{field} first");
            let escaped = format!(
                "\"\\u{:04x}{}\":\"other\"",
                u32::from(field.as_bytes()[0]),
                &field[1..]
            );
            assert_eq!(
                reason(with(&good, &escaped)),
                "field-duplicate",
                "{field} escaped"
            );
        }
    }
}

#[test]
fn a_known_key_in_another_case_is_refused() {
    let good = signed(&notification());
    for alias in [
        "SigningCertUrl",
        "SubscribeUrl",
        "UnsubscribeUrl",
        "signingCertURL",
        "message",
        "MESSAGE",
        "subject",
        "type",
        "messageId",
        "topicarn",
        "signatureversion",
        "messageAttributes",
        "token",
        "to\u{212a}en",
        "\u{17f}ubject",
        "\\u0073ubject",
    ] {
        assert_eq!(
            reason(with(&good, &format!("\"{alias}\":\"x\""))),
            "field-alias",
            "{alias}"
        );
    }
    let renamed = good.replace("SigningCertURL", "SigningCertUrl");
    assert_eq!(reason(renamed), "field-alias");
}

#[test]
fn every_required_field_is_required_as_a_string() {
    let fields = ["Type", "MessageId", "TopicArn", "Timestamp", "Message"];
    for good in [
        signed(&notification()),
        signed(&confirmation(MessageType::UnsubscribeConfirmation)),
    ] {
        let of_this: Vec<&str> = fields
            .iter()
            .copied()
            .chain(
                ["Token", "SubscribeURL"]
                    .into_iter()
                    .filter(|name| good.contains(name)),
            )
            .collect();
        for field in of_this {
            assert_eq!(reason(without(&good, field)), "field-missing", "{field}");
            for raw in ["null", "1", "true", "[\"a\"]", "{\"a\":1}"] {
                assert_eq!(
                    reason(set(&good, field, raw)),
                    "field-wrong-type",
                    "{field} {raw}"
                );
            }
            assert_eq!(
                reason(set(&good, field, "\"\\ud800\"")),
                "field-wrong-type",
                "{field} lone surrogate"
            );
            if field != "Message" {
                assert_eq!(reason(set(&good, field, "\"\"")), "field-empty", "{field}");
            }
        }
        for field in ["Signature", "SignatureVersion", "SigningCertURL"] {
            for body in [without(&good, field), set(&good, field, "\"\"")] {
                let refusal = judge(body).unwrap_err();
                assert_eq!(
                    (refusal.reason(), refusal.kind()),
                    ("signature-missing", RefusalKind::Forbidden),
                    "{field}"
                );
            }
            assert_eq!(
                reason(set(&good, field, "2")),
                "field-wrong-type",
                "{field}"
            );
        }
    }
    let good = signed(&notification());
    assert_eq!(
        reason(with(&good, "\"UnsubscribeURL\":1")),
        "field-wrong-type"
    );
    assert_eq!(reason(with(&good, "\"Subject\":[]")), "field-wrong-type");
}

#[test]
fn control_characters_are_refused_in_every_signed_field_but_message() {
    let good = signed(&confirmation(MessageType::SubscriptionConfirmation));
    for control in [
        "\\n", "\\r", "\\u0000", "\\t", "\\u007f", "\\u0085", "\\u2028",
    ] {
        for field in [
            "Type",
            "MessageId",
            "TopicArn",
            "Timestamp",
            "Token",
            "SubscribeURL",
        ] {
            let body = set(&good, field, &format!("\"a{control}b\""));
            let refusal = Envelope::parse(body.as_bytes()).unwrap_err();
            assert_eq!(
                refusal.reason(),
                "field-control-character",
                "{field} {control}"
            );
        }
        let subject = with(
            &signed(&notification()),
            &format!("\"Subject\":\"a{control}b\""),
        );
        assert_eq!(
            reason(subject),
            "field-control-character",
            "Subject {control}"
        );
    }
    let mut message = notification();
    message.message = "tab\tnewline\nnul\0".into();
    judge(signed(&message)).unwrap();
}

#[test]
fn fields_longer_than_sns_writes_them() {
    let good = signed(&confirmation(MessageType::SubscriptionConfirmation));
    let huge = format!("\"{}\"", "a".repeat(1 << 20));
    for field in [
        "Type",
        "MessageId",
        "TopicArn",
        "Timestamp",
        "Token",
        "SubscribeURL",
        "Signature",
        "SignatureVersion",
        "SigningCertURL",
    ] {
        assert_eq!(
            reason(set(&good, field, &huge)),
            "field-too-long",
            "{field}"
        );
    }
    for field in ["Subject", "UnsubscribeURL"] {
        assert_eq!(
            reason(with(
                &signed(&notification()),
                &format!("\"{field}\":{huge}")
            )),
            "field-too-long",
            "{field}"
        );
    }
    let mut large = notification();
    large.message = "\u{1}".repeat(256 * 1024);
    assert_eq!(judge(signed(&large)).unwrap().message().len(), 256 * 1024);
}

#[test]
fn type_topic_and_timestamp_are_what_they_say() {
    let good = signed(&notification());
    for (field, raw, expected) in [
        ("Type", "\"notification\"", "message-type-unknown"),
        ("Type", "\"Publish\"", "message-type-unknown"),
        ("Type", "\"SubscriptionConfirmation\"", "field-missing"),
        (
            "TopicArn",
            "\"arn:aws:sns:us-east-1:1:t\"",
            "topic-arn-account",
        ),
        (
            "TopicArn",
            "\"arn:aws:sqs:us-east-1:123456789012:t\"",
            "topic-arn-malformed",
        ),
        (
            "TopicArn",
            "\"arn:aws-cn:sns:us-east-1:123456789012:t\"",
            "topic-arn-region",
        ),
        ("Timestamp", "\"yesterday\"", "timestamp-malformed"),
        (
            "Timestamp",
            "\"2026-11-24 12:00:00.000Z\"",
            "timestamp-malformed",
        ),
        (
            "Timestamp",
            "\"2026-11-24T12:00:00.000+01:00\"",
            "timestamp-malformed",
        ),
        (
            "Timestamp",
            "\"2026-13-24T12:00:00.000Z\"",
            "timestamp-malformed",
        ),
        // What a lenient reader of RFC 3339 takes as well.
        ("Timestamp", "\"2026-11-24T12:00Z\"", "timestamp-malformed"),
        ("Timestamp", "\"2026-11-24T12Z\"", "timestamp-malformed"),
        ("Timestamp", "\"2026-11-24T120000Z\"", "timestamp-malformed"),
        (
            "Timestamp",
            "\"2026-11-24T12:00:00,5Z\"",
            "timestamp-malformed",
        ),
        (
            "Timestamp",
            "\"2026-11-24T12:00:00.Z\"",
            "timestamp-malformed",
        ),
    ] {
        assert_eq!(reason(set(&good, field, raw)), expected, "{field} {raw}");
    }
}

#[test]
fn refusals_name_the_field_and_quote_nothing() {
    let body = set(&signed(&notification()), "MessageId", "\"evil\\ntext\"");
    let refusal = Envelope::parse(body.as_bytes()).unwrap_err();
    assert_eq!(
        refusal,
        signalbox_sns::EnvelopeError::ControlCharacter(Field::MessageId)
    );
    assert_eq!(refusal.to_string(), "MessageId holds a control character");
}
