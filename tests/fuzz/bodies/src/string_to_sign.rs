//! The string to sign: what AWS says it is, and never the same for two messages.

use std::collections::BTreeMap;

use serde_json::{Map, Value, value::RawValue};
use signalbox_sns::{Envelope, MessageType};

use crate::Target;

/// The target.
pub const TARGET: Target = Target {
    name: "string_to_sign",
    body,
    mutations: 20_000,
    tokens: &[
        "\u{1f}",
        "\nMessageId\n",
        "\nSubject\n",
        "\nTimestamp\n2026-03-06T20:00:26.893Z\n",
        "\nTopicArn\narn:aws:sns:us-west-2:131990247566:t\nType\nNotification\n",
        "\nToken\n",
        "\nSubscribeURL\n",
        "\r\n",
        "\u{85}",
        "\u{2028}",
        "2026-03-06T20:00:26.893Z",
        "2026-03-06T20:00Z",
        "arn:aws:sns:us-west-2:131990247566:t",
    ],
};

/// "Verifying the signatures of Amazon SNS messages": the keys in their order.
const NOTIFICATION: &[&str] = &[
    "Message",
    "MessageId",
    "Subject",
    "Timestamp",
    "TopicArn",
    "Type",
];
const CONFIRMATION: &[&str] = &[
    "Message",
    "MessageId",
    "SubscribeURL",
    "Timestamp",
    "Token",
    "TopicArn",
    "Type",
];
const TYPES: [MessageType; 3] = [
    MessageType::Notification,
    MessageType::SubscriptionConfirmation,
    MessageType::UnsubscribeConfirmation,
];

/// Fields of a message, cut by the unit separator: the first byte says its type, and whether it has a subject.
pub fn body(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(rest) else {
        return;
    };
    let message_type = TYPES[usize::from(kind % 3)];
    let keys = match message_type {
        MessageType::Notification => NOTIFICATION,
        _ => CONFIRMATION,
    };
    let has_subject = kind & 0x40 == 0;
    let mut values = text.split('\u{1f}');
    let mut members = Map::new();
    for key in keys.iter().filter(|key| **key != "Subject" || has_subject) {
        let value = match *key {
            "Type" => message_type.as_str(),
            _ => values.next().unwrap_or_default(),
        };
        members.insert((*key).to_owned(), value.into());
    }
    for key in ["Signature", "SignatureVersion", "SigningCertURL"] {
        members.insert(key.to_owned(), "1".into());
    }
    let body = Value::Object(members).to_string();
    if let Ok(envelope) = Envelope::parse(body.as_bytes()) {
        check(&envelope, body.as_bytes());
    }
}

/// The members of a body, read by `serde_json`; the values as they stand there, since nobody reads the unknown ones.
pub(crate) fn members(body: &[u8]) -> Option<BTreeMap<String, Box<RawValue>>> {
    serde_json::from_slice(body).ok()
}

/// That an envelope's string to sign is the one of AWS's page, and says which message it is of.
pub fn check(envelope: &Envelope<'_>, body: &[u8]) {
    let members = members(body).unwrap();
    let text_of = |key: &str| serde_json::from_str::<String>(members.get(key)?.get()).ok();
    let keys = match envelope.message_type() {
        MessageType::Notification => NOTIFICATION,
        _ => CONFIRMATION,
    };
    let fields: Vec<(&str, String)> = keys
        .iter()
        .filter_map(|key| Some((*key, text_of(key)?)))
        .collect();
    let expected: String = fields
        .iter()
        .map(|(key, value)| format!("{key}\n{value}\n"))
        .collect();
    let signed = envelope.string_to_sign();
    assert_eq!(String::from_utf8_lossy(&signed), expected);
    // Whoever can read every field back from it has shown that no other message has the same.
    assert_eq!(read_back(&expected).as_deref(), Some(fields.as_slice()));
}

/// The fields that a string to sign is of. From its end, since only the message may hold what it likes.
fn read_back(signed: &str) -> Option<Vec<(&'static str, String)>> {
    let mut rest = signed.strip_suffix('\n')?;
    let mut fields = Vec::new();
    let kind = rest.rsplit('\n').next()?;
    let keys = match kind {
        "Notification" => NOTIFICATION,
        _ => CONFIRMATION,
    };
    for key in keys.iter().skip(1).rev() {
        let (before, value) = rest.rsplit_once('\n')?;
        match before
            .strip_suffix(key)
            .and_then(|before| before.strip_suffix('\n'))
        {
            Some(before) => {
                fields.push((*key, value.to_owned()));
                rest = before;
            }
            None if *key == "Subject" => {}
            None => return None,
        }
    }
    fields.push(("Message", rest.strip_prefix("Message\n")?.to_owned()));
    fields.reverse();
    Some(fields)
}
