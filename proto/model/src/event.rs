//! Events: accepted inbound messages with their provenance.

use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ids::ApiKeyName;

/// What starts an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TriggerKind {
    /// An Amazon SNS Notification.
    AmazonSns,
    /// A JSON document posted to the webhook.
    Webhook,
    /// A call of RunWorkflow.
    Manual,
    /// A tick of the workflow's schedule.
    Schedule,
    /// A `runWorkflow` step of another execution.
    Workflow,
}

/// One accepted inbound message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// What it came by.
    pub trigger: TriggerKind,
    /// Key that the caller presented; none for manual runs, ticks and children.
    pub api_key: Option<ApiKeyName>,
    /// What expressions see.
    pub scope: EventScope,
    /// Body as received, but for the blanked UnsubscribeURL of an Amazon SNS message.
    #[serde(with = "base64_bytes")]
    pub body: Bytes,
    /// Content-Type as received.
    pub content_type: Option<String>,
    /// Address of the sender.
    pub source_address: Option<String>,
    /// Proof of origin; none for an unsigned message.
    pub signature: Option<SignatureProof>,
    /// When it was received.
    pub received_at: Timestamp,
}

/// The `event` of expressions. [`EventScope::to_value`] adds `json`: the message, parsed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EventScope {
    /// The message as text.
    pub message: String,
    /// Subject of an Amazon SNS message.
    pub subject: Option<String>,
    /// Message attributes by name, each as the JSON value that its type says. Amazon SNS does not sign them.
    pub attributes: BTreeMap<String, Value>,
    /// Topic of an Amazon SNS message.
    pub topic_arn: Option<String>,
    /// Id of the message; of a schedule's tick, the time that it was scheduled for.
    pub message_id: String,
    /// When it was published (by its signed Timestamp), posted, run, or scheduled for: RFC 3339.
    pub timestamp: String,
}

impl EventScope {
    /// Stands for a scope that was not read yet.
    #[must_use]
    pub fn unread() -> Self {
        Self {
            message: String::new(),
            subject: None,
            attributes: BTreeMap::new(),
            topic_arn: None,
            message_id: String::new(),
            timestamp: String::new(),
        }
    }

    /// The value of `event` in expressions: these fields and `json`, which is the message parsed as JSON, or null when
    /// it is none.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let json: Value = serde_json::from_str(&self.message).unwrap_or(Value::Null);
        serde_json::json!({
            "message": self.message,
            "json": json,
            "subject": self.subject,
            "attributes": self.attributes,
            "topicArn": self.topic_arn,
            "messageId": self.message_id,
            "timestamp": self.timestamp,
        })
    }
}

/// What proves, later and offline, that a message came from its topic (invariant I10). The certificate itself is kept
/// once, by its digest: [`crate::record::Certificate`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignatureProof {
    /// SignatureVersion, 1 or 2.
    pub version: u8,
    /// Where the certificate came from.
    pub signing_cert_url: String,
    /// SHA-256 of the certificate (DER), lower-case hex.
    pub certificate_sha256: String,
}

mod base64_bytes {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    use bytes::Bytes;
    use serde::{Deserialize as _, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &Bytes, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        STANDARD
            .decode(text.as_bytes())
            .map(Bytes::from)
            .map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn event(message: &str, body: &'static [u8]) -> Event {
        Event {
            trigger: TriggerKind::AmazonSns,
            api_key: Some("projects/p/apiKeys/k".parse().unwrap()),
            scope: EventScope {
                message: message.to_owned(),
                subject: Some("s".to_owned()),
                attributes: [("n".to_owned(), Value::from(1))].into(),
                topic_arn: Some("arn:aws:sns:eu-central-1:123456789012:t".to_owned()),
                message_id: "m".to_owned(),
                timestamp: "2026-11-24T10:00:00Z".to_owned(),
            },
            body: Bytes::from_static(body),
            content_type: Some("text/plain; charset=UTF-8".to_owned()),
            source_address: None,
            signature: None,
            received_at: "2026-11-24T10:00:01.5Z".parse().unwrap(),
        }
    }

    #[test]
    fn an_event_is_read_as_it_was_written_whatever_its_bytes() {
        let event = event("☃", b"\x00\xff not UTF-8");
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&text).unwrap(), event);
    }

    #[test]
    fn the_message_is_parsed_when_it_is_json() {
        let json = |message: &str| event(message, b"").scope.to_value()["json"].clone();
        assert_eq!(json(r#"{"a": [1]}"#), serde_json::json!({"a": [1]}));
        assert_eq!(json("12"), serde_json::json!(12));
        assert_eq!(json("hello"), Value::Null);
        assert_eq!(json(""), Value::Null);
        // Deeper than a parser's stack should go.
        assert_eq!(json(&"[".repeat(100_000)), Value::Null);
        let value = event("x", b"").scope.to_value();
        let names: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
        assert_eq!(
            names,
            [
                "attributes",
                "json",
                "message",
                "messageId",
                "subject",
                "timestamp",
                "topicArn"
            ]
        );
    }
}
