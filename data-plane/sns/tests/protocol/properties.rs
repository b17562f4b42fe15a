//! What holds for any message, any field and any bytes.

use proptest::prelude::*;
use signalbox_sns::signer::Draft;
use signalbox_sns::{
    ConfirmToken, Envelope, ExpectedName, MessageAttributes, MessageType, SignatureVersion,
    SigningCertUrl, SigningCertificate, TopicArn, TrustPolicy, parse_confirm_response,
    redacted_body,
};

use crate::support::{TOPIC, confirmation, judge, notification, now, signed};

/// Text without control characters or line separators, as signed fields other than Message must be.
const PLAIN: &str = "[^\\p{Cc}\\u{2028}\\u{2029}]{1,40}";

fn drafts() -> impl Strategy<Value = Draft> {
    let version = prop_oneof![3 => Just(SignatureVersion::V2), 1 => Just(SignatureVersion::V1)];
    let notifications = (
        any::<String>(),
        proptest::option::of(PLAIN),
        PLAIN,
        version.clone(),
    )
        .prop_map(|(message, subject, message_id, version)| Draft {
            message,
            subject,
            message_id,
            version,
            ..notification()
        });
    let types = prop_oneof![
        Just(MessageType::SubscriptionConfirmation),
        Just(MessageType::UnsubscribeConfirmation)
    ];
    let confirmations = (types, any::<String>(), PLAIN, version).prop_map(
        |(message_type, message, token, version)| {
            let token = ConfirmToken::parse(&token).unwrap();
            Draft {
                message,
                version,
                ..Draft::confirmation(message_type, &TOPIC, "m-1", &token, now())
            }
        },
    );
    prop_oneof![2 => notifications, 1 => confirmations]
}

fn fields_of(draft: &Draft) -> Vec<&'static str> {
    let mut fields = vec![
        "Type",
        "MessageId",
        "TopicArn",
        "Message",
        "Timestamp",
        "Signature",
        "SignatureVersion",
    ];
    if draft.subject.is_some() {
        fields.push("Subject");
    }
    if draft.token.is_some() {
        fields.extend(["Token", "SubscribeURL"]);
    }
    fields
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_signed_verifies_and_says_what_was_signed(draft in drafts()) {
        let body = signed(&draft);
        let verified = judge(&body).unwrap();
        prop_assert_eq!(verified.message(), draft.message.as_str());
        prop_assert_eq!(verified.message_id(), draft.message_id.as_str());
        prop_assert_eq!(verified.subject(), draft.subject.as_deref());
        prop_assert_eq!(verified.token(), draft.token.as_ref());
        prop_assert_eq!(verified.topic_arn(), &draft.topic_arn);
    }

    #[test]
    fn any_change_of_any_one_signed_field_fails(
        draft in drafts(),
        pick in any::<prop::sample::Index>(),
        replacement in any::<String>(),
    ) {
        let mut value: serde_json::Value = serde_json::from_str(&signed(&draft)).unwrap();
        let field = *pick.get(&fields_of(&draft));
        prop_assume!(value[field] != replacement.as_str());
        value[field] = replacement.into();
        prop_assert!(judge(value.to_string()).is_err(), "{} in {}", field, value);
    }

    #[test]
    fn a_field_left_out_fails(draft in drafts(), pick in any::<prop::sample::Index>()) {
        let mut value: serde_json::Value = serde_json::from_str(&signed(&draft)).unwrap();
        let field = *pick.get(&fields_of(&draft));
        value.as_object_mut().unwrap().remove(field);
        prop_assert!(judge(value.to_string()).is_err(), "{} left out of {}", field, value);
    }

    #[test]
    fn newlines_in_signed_fields_are_refused_even_when_signed(
        before in PLAIN, after in any::<String>(), newline in prop_oneof![Just("\n"), Just("\r"), Just("\r\n")],
    ) {
        let injected = format!("{before}{newline}{after}");
        let subject = Draft { subject: Some(injected.clone()), ..notification() };
        let message_id = Draft { message_id: injected.clone(), ..notification() };
        let endpoint = Draft { endpoint: injected, ..confirmation(MessageType::SubscriptionConfirmation) };
        for draft in [subject, message_id, endpoint] {
            prop_assert!(Envelope::parse(signed(&draft).as_bytes()).is_err());
        }
    }

    /// Bytes lost, changed or added on the way: the verdict is a refusal, or what was signed.
    #[test]
    fn damage_is_noticed_or_harmless(
        draft in drafts(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 1..4),
    ) {
        let mut body = signed(&draft).into_bytes();
        for (index, byte, kind) in damage {
            let at = index.index(body.len());
            match kind {
                0 => body[at] = byte,
                1 => body.insert(at, byte),
                _ => drop(body.remove(at)),
            }
        }
        let _ = redacted_body(&body);
        if let Ok(verified) = judge(&body) {
            prop_assert_eq!(verified.message(), draft.message.as_str());
            prop_assert_eq!(verified.message_id(), draft.message_id.as_str());
            prop_assert_eq!(verified.subject(), draft.subject.as_deref());
            prop_assert_eq!(verified.token(), draft.token.as_ref());
        }
    }

    #[test]
    fn redaction_leaves_no_capability_and_a_notification_that_verifies(
        message in any::<String>(), id in "[a-z0-9]{20}",
    ) {
        let subscription = format!("{}:{id}", *TOPIC).parse().unwrap();
        let body = signed(&Draft { message: message.clone(), subscription_arn: Some(subscription), ..notification() });
        let redacted = redacted_body(body.as_bytes()).unwrap();
        prop_assert!(!String::from_utf8_lossy(&redacted).contains(&id));
        let verified = judge(&redacted).unwrap();
        prop_assert_eq!(verified.message(), message.as_str());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_any_parser_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Envelope::parse(&bytes).map(|envelope| envelope.string_to_sign());
        let _ = redacted_body(&bytes);
        let _ = parse_confirm_response(&bytes, &TOPIC);
        let _ = SigningCertificate::from_pem(&bytes, &ExpectedName::for_region(TOPIC.region()));
    }

    #[test]
    fn no_text_makes_any_parser_panic(text in any::<String>(), jsonish in "[{}\\[\\]\":,\\\\ a-zA-Z0-9.u]{0,120}") {
        for text in [&text, &jsonish] {
            let _ = TopicArn::parse(text);
            let _ = MessageAttributes::parse(text);
            let _ = redacted_body(text.as_bytes());
            let _ = Envelope::parse(text.as_bytes());
            let _ = SigningCertUrl::parse(text, &TOPIC, &TrustPolicy::default());
        }
    }

    #[test]
    fn no_der_makes_the_certificate_parser_panic(der in proptest::collection::vec(any::<u8>(), 0..400)) {
        use base64::Engine as _;
        let base64 = base64::engine::general_purpose::STANDARD.encode(der);
        let pem = format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n");
        let _ = SigningCertificate::from_pem(pem.as_bytes(), &ExpectedName::for_region(TOPIC.region()));
    }

    #[test]
    fn no_url_but_the_topics_own_is_believed(
        host in "[a-z.]{0,12}", middle in "[@:/?#.\\\\%a-z-]{0,8}", file in "[0-9a-f]{32}",
    ) {
        let genuine = format!("https://sns.us-east-1.amazonaws.com/SimpleNotificationService-{file}.pem");
        prop_assert!(SigningCertUrl::parse(&genuine, &TOPIC, &TrustPolicy::default()).is_ok());
        for url in [
            format!("https://{host}{middle}sns.us-east-1.amazonaws.com/SimpleNotificationService-{file}.pem"),
            format!("https://sns.us-east-1.amazonaws.com{middle}{host}/SimpleNotificationService-{file}.pem"),
        ] {
            let believed = SigningCertUrl::parse(&url, &TOPIC, &TrustPolicy::default()).is_ok();
            prop_assert_eq!(believed, url == genuine, "{}", url);
        }
    }
}
