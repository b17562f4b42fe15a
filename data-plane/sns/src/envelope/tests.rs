#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;

const NOTIFICATION: &str = concat!(
    r#"{"Type":"Notification","MessageId":"m-1","TopicArn":"arn:aws:sns:us-east-1:000000000000:lab","Subject":"S","#,
    r#""Message":"line\none \u00fc","Timestamp":"2026-11-24T02:23:40.602Z","SignatureVersion":"2","Signature":"AA==","#,
    r#""SigningCertURL":"https://x/","UnsubscribeURL" : "https://sns/?Action=Unsubscribe\u0026x=\"1\"" ,"SequenceNumber":7}"#
);
const CONFIRMATION: &str = concat!(
    r#"{"Type":"SubscriptionConfirmation","MessageId":"m-1","Token":"s3cr3t","#,
    r#""TopicArn":"arn:aws:sns:us-east-1:000000000000:lab","Message":"hello","#,
    r#""SubscribeURL":"https://sns/?Token=s3cr3t","Timestamp":"2026-11-24T02:23:40.602Z","SignatureVersion":"1","#,
    r#""Signature":"AA==","SigningCertURL":"https://x/"}"#
);

#[test]
fn a_notification_signs_its_six_fields_in_order() {
    let envelope = Envelope::parse(NOTIFICATION.as_bytes()).unwrap();
    let signed = "Message\nline\none ü\nMessageId\nm-1\nSubject\nS\nTimestamp\n2026-11-24T02:23:40.602Z\nTopicArn\n\
                  arn:aws:sns:us-east-1:000000000000:lab\nType\nNotification\n";
    assert_eq!(
        String::from_utf8(envelope.string_to_sign()).unwrap(),
        signed
    );
    let without = NOTIFICATION.replace(r#""Subject":"S","#, "");
    let null = NOTIFICATION.replace(r#""Subject":"S""#, r#""Subject":null"#);
    for body in [without, null] {
        let envelope = Envelope::parse(body.as_bytes()).unwrap();
        assert_eq!(envelope.subject(), None);
        assert_eq!(
            String::from_utf8(envelope.string_to_sign()).unwrap(),
            signed.replace("Subject\nS\n", "")
        );
    }
}

#[test]
fn a_confirmation_signs_token_and_subscribe_url_and_no_subject() {
    for message_type in ["SubscriptionConfirmation", "UnsubscribeConfirmation"] {
        let body = CONFIRMATION
            .replace("SubscriptionConfirmation", message_type)
            .replace(r#""Message":"#, r#""Subject":"unsigned","Message":"#);
        let envelope = Envelope::parse(body.as_bytes()).unwrap();
        assert_eq!(
            String::from_utf8(envelope.string_to_sign()).unwrap(),
            format!(
                "Message\nhello\nMessageId\nm-1\nSubscribeURL\nhttps://sns/?Token=s3cr3t\nTimestamp\n\
                 2026-11-24T02:23:40.602Z\nToken\ns3cr3t\nTopicArn\narn:aws:sns:us-east-1:000000000000:lab\nType\n\
                 {message_type}\n"
            )
        );
        assert_eq!(envelope.subject(), None);
    }
}

#[test]
fn values_without_escapes_are_borrowed() {
    let envelope = Envelope::parse(NOTIFICATION.as_bytes()).unwrap();
    assert!(matches!(envelope.message_id, Cow::Borrowed("m-1")));
    assert!(matches!(envelope.message, Cow::Owned(_)));
}

#[test]
fn redaction_takes_the_capabilities_and_leaves_every_other_byte() {
    let unsubscribe = r#""https://sns/?Action=Unsubscribe\u0026x=\"1\"""#;
    let expected = NOTIFICATION.replace(unsubscribe, r#""[redacted]""#);
    assert_eq!(
        redacted_body(NOTIFICATION.as_bytes()).unwrap(),
        expected.as_bytes()
    );
    assert_eq!(
        Envelope::parse(NOTIFICATION.as_bytes())
            .unwrap()
            .redacted_body(),
        expected.as_bytes()
    );

    let redacted = redacted_body(CONFIRMATION.as_bytes()).unwrap();
    let expected = CONFIRMATION
        .replace(r#""s3cr3t""#, r#""[redacted]""#)
        .replace(r#""https://sns/?Token=s3cr3t""#, r#""[redacted]""#);
    assert_eq!(redacted, expected.as_bytes());

    let nothing = NOTIFICATION.replace(&format!(r#""UnsubscribeURL" : {unsubscribe} ,"#), "");
    assert!(matches!(
        redacted_body(nothing.as_bytes()),
        Ok(Cow::Borrowed(_))
    ));
}

#[test]
fn redaction_finds_a_capability_in_any_spelling_and_refuses_what_it_cannot_read() {
    for key in [
        "UnsubscribeUrl",
        "unsubscribeurl",
        r"\u0055nsubscribeURL",
        "un\u{17f}ubscribeURL",
    ] {
        let body = format!("\t{{\"a\":[{{\"Token\":1}}],\"{key}\":{{\"x\":\"secret\"}} }}\n");
        let redacted = redacted_body(body.as_bytes()).unwrap();
        assert_eq!(
            redacted,
            body.replace("{\"x\":\"secret\"}", "\"[redacted]\"")
                .as_bytes(),
            "{key}"
        );
    }
    for body in [
        "",
        "xxxxx",
        "[]",
        "{\"Token\":\"a\"",
        "{} {\"Token\":\"a\"}",
        "{\"Token\":1,\"Token\":2}",
    ] {
        assert!(redacted_body(body.as_bytes()).is_err(), "{body}");
    }
}

#[test]
fn debug_shows_neither_message_nor_capabilities() {
    let printed = format!("{:?}", Envelope::parse(CONFIRMATION.as_bytes()).unwrap());
    assert!(
        printed.contains("m-1") && !printed.contains("s3cr3t") && !printed.contains("hello"),
        "{printed}"
    );
}

#[test]
fn attributes_are_typed_by_their_word_or_stay_text() {
    let attribute = |data_type: &str, value: &str| {
        crate::MessageAttribute {
            data_type: data_type.into(),
            value: value.into(),
        }
        .to_json()
        .to_string()
    };
    for (data_type, value, json) in [
        ("String", "42", "\"42\""),
        ("Number", "42", "42"),
        ("Number", "-7", "-7"),
        ("Number", "18446744073709551615", "18446744073709551615"),
        ("Number", "1.5e3", "1500.0"),
        ("Number.cents", "250", "250"),
        ("Number", "NaN", "\"NaN\""),
        ("Number", "inf", "\"inf\""),
        ("Number", "1e999", "\"1e999\""),
        ("Number", "forty-two", "\"forty-two\""),
        (
            "String.Array",
            r#"["a",1,true,null]"#,
            r#"["a",1,true,null]"#,
        ),
        ("String.Array", r#"{"a":1}"#, r#""{\"a\":1}""#),
        (
            "String.Array",
            "[[[[[[[[[[]]]]]]]]]]",
            "\"[[[[[[[[[[]]]]]]]]]]\"",
        ),
        ("Binary", "AAH/", "\"AAH/\""),
        ("Whatever", "x", "\"x\""),
    ] {
        assert_eq!(attribute(data_type, value), json, "{data_type} {value}");
    }
}

#[test]
fn nesting_is_counted_outside_strings_only() {
    assert!(!object::nests_deeper(r#"{"a":"[[[[\"[[[["}"#, 1));
    assert!(object::nests_deeper(r#"{"a":[[1]]}"#, 2));
    assert!(!object::nests_deeper(r#"{"a":[[1]],"b":[[2]]}"#, 3));
}

#[test]
fn what_redacting_made_longer_than_what_may_come_is_read_again() {
    let empty = NOTIFICATION.replace(r#""https://sns/?Action=Unsubscribe\u0026x=\"1\"""#, r#""""#);
    let body = format!("{empty}{}", " ".repeat(ENVELOPE_MAX_BYTES - empty.len()));
    assert_eq!(body.len(), ENVELOPE_MAX_BYTES);
    let envelope = Envelope::parse(body.as_bytes()).unwrap();
    let kept = envelope.redacted_body();
    assert!(kept.len() > ENVELOPE_MAX_BYTES);
    let again = Envelope::parse(&kept);
    assert_eq!(
        again.err(),
        Some(EnvelopeError::TooLarge),
        "nobody may send it"
    );
    let again = Envelope::parse_kept(&kept).unwrap();
    assert_eq!(again.string_to_sign(), envelope.string_to_sign());
}
