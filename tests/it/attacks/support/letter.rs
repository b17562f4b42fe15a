//! Amazon SNS's envelopes as a forger writes them: signed by the rules of AWS's page, then changed at will.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use jiff::Timestamp;
use serde_json::Value;
use signalbox_sns::{SignatureVersion, signer::Signer};

pub(crate) const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:orders";

/// "Verifying the signatures of Amazon SNS messages": the keys of each kind, in the order in which they are signed.
const NOTIFICATION: [&str; 6] = [
    "Message",
    "MessageId",
    "Subject",
    "Timestamp",
    "TopicArn",
    "Type",
];
const CONFIRMATION: [&str; 7] = [
    "Message",
    "MessageId",
    "SubscribeURL",
    "Timestamp",
    "Token",
    "TopicArn",
    "Type",
];

/// An envelope: its members in order, each with the JSON text of its value; and the headers that go with it.
#[derive(Clone, Debug)]
pub(crate) struct Letter {
    members: Vec<(String, String)>,
    pub(crate) headers: Vec<(String, String)>,
}

impl Letter {
    pub(crate) fn notification(message_id: &str) -> Self {
        Self::new("Notification", message_id, TOPIC)
    }

    /// With a token of its own that must be shown nowhere.
    pub(crate) fn confirmation(kind: &str, message_id: &str) -> Self {
        let token = token_of(message_id);
        let url = format!(
            "https://sns.us-east-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token={token}"
        );
        Self::new(kind, message_id, TOPIC)
            .with("Token", &token)
            .with("SubscribeURL", &url)
    }

    fn new(kind: &str, message_id: &str, topic: &str) -> Self {
        let letter = Self {
            members: Vec::new(),
            headers: Vec::new(),
        };
        letter
            .with("Type", kind)
            .with("MessageId", message_id)
            .with("TopicArn", topic)
            .with("Message", super::MESSAGE)
            .with("Timestamp", &time_text(Timestamp::now()))
            .header("x-amz-sns-message-type", kind)
            .header("x-amz-sns-message-id", message_id)
            .header("x-amz-sns-topic-arn", topic)
            .header("content-type", "text/plain; charset=UTF-8")
            .header("user-agent", "Amazon Simple Notification Service Agent")
    }

    /// Of another topic, in body and header.
    pub(crate) fn of_topic(self, topic: &str) -> Self {
        self.with("TopicArn", topic)
            .header("x-amz-sns-topic-arn", topic)
    }

    /// With a string member, in its old place if it had one.
    pub(crate) fn with(self, key: &str, text: &str) -> Self {
        self.raw(key, &Value::from(text).to_string())
    }

    /// With a member whose value is this JSON text, whatever it is.
    pub(crate) fn raw(mut self, key: &str, json: &str) -> Self {
        match self.members.iter_mut().find(|(found, _)| found == key) {
            Some((_, value)) => json.clone_into(value),
            None => self = self.also(key, json),
        }
        self
    }

    /// With one more member, also when there is one of that name.
    pub(crate) fn also(mut self, key: &str, json: &str) -> Self {
        self.members.push((key.to_owned(), json.to_owned()));
        self
    }

    /// With a member before all others.
    pub(crate) fn first(mut self, key: &str, json: &str) -> Self {
        self.members.insert(0, (key.to_owned(), json.to_owned()));
        self
    }

    pub(crate) fn without(mut self, key: &str) -> Self {
        self.members.retain(|(found, _)| found != key);
        self
    }

    /// With a header instead of any of that name.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.retain(|(found, _)| found != name);
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Signed as it stands now. What is changed later is not.
    pub(crate) fn sign(
        self,
        signer: &Signer,
        version: SignatureVersion,
        certificate_url: &str,
    ) -> Self {
        let keys: &[&str] = match self.text("Type").as_deref() {
            Some("Notification") => &NOTIFICATION,
            _ => &CONFIRMATION,
        };
        let mut text = String::new();
        for key in keys {
            if let Some(value) = self.text(key) {
                text.push_str(&format!("{key}\n{value}\n"));
            }
        }
        let signature = signer.sign(version, text.as_bytes()).unwrap();
        self.with("SignatureVersion", version.as_str())
            .with("Signature", &STANDARD.encode(signature))
            .with("SigningCertURL", certificate_url)
    }

    /// The decoded string of a member.
    pub(crate) fn text(&self, key: &str) -> Option<String> {
        let (_, raw) = self.members.iter().find(|(found, _)| found == key)?;
        serde_json::from_str(raw).ok()
    }

    /// With the Signature of another one.
    pub(crate) fn signature_of(self, other: &Self) -> Self {
        let signature = other.text("Signature").unwrap();
        self.with("Signature", &signature)
    }

    pub(crate) fn body(&self) -> String {
        let members: Vec<_> = self
            .members
            .iter()
            .map(|(key, value)| format!("  {} : {value}", quoted_key(key)))
            .collect();
        format!("{{\n{}\n}}", members.join(",\n"))
    }
}

/// A key that is written with its quotes stands as it is, escapes and all.
fn quoted_key(key: &str) -> String {
    if key.starts_with('"') {
        key.to_owned()
    } else {
        Value::from(key).to_string()
    }
}

/// The token of a confirmation of this id: a capability.
pub(crate) fn token_of(message_id: &str) -> String {
    format!("{}{message_id}", super::TOKEN)
}

pub(crate) fn time_text(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string()
}
