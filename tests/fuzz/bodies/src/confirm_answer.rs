//! The answer to ConfirmSubscription.

use signalbox_sns::{ConfirmError, TopicArn, parse_confirm_response};

use crate::Target;

/// The target.
pub const TARGET: Target = Target {
    name: "confirm_answer",
    body,
    mutations: 20_000,
    tokens: &[
        "<ConfirmSubscriptionResponse>",
        "</ConfirmSubscriptionResponse>",
        "<ConfirmSubscriptionResult>",
        "<SubscriptionArn>",
        "</SubscriptionArn>",
        "arn:aws:sns:us-east-1:123456789012:t:",
        "arn:aws:sns:us-east-1:123456789012:other:6b0e71bd-7e97-4d97-80ce-4a0994e55286",
        "<ErrorResponse><Error><Code>",
        "<!DOCTYPE x [<!ENTITY e \"t\">]>",
        "&e;",
        "<![CDATA[",
        "]]>",
        "<!-- -->",
        "xmlns:x=\"y\"",
        "{\"ConfirmSubscriptionResponse\":",
    ],
};

const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:t";

/// The bytes as the answer.
pub fn body(bytes: &[u8]) {
    let topic = TopicArn::parse(TOPIC).unwrap();
    match parse_confirm_response(bytes, &topic) {
        Ok(subscription) => {
            let id = subscription.as_str().strip_prefix(TOPIC).unwrap();
            let id = id.strip_prefix(':').unwrap();
            assert!(
                id.bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            );
            let text = std::str::from_utf8(bytes).unwrap();
            if text
                .trim_start_matches('\u{feff}')
                .trim_start()
                .starts_with('<')
            {
                // Nothing was put together from pieces.
                assert!(text.contains(subscription.as_str()), "{subscription}");
            }
        }
        Err(ConfirmError::Refused { code }) => {
            assert!(code.len() <= 64, "{code}");
            assert!(
                code.bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'.')
            );
        }
        Err(_) => {}
    }
}
