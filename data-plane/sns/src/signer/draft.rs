//! Messages as SNS lays them out.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;

use super::{Signer, SignerError};
use crate::envelope::each_part;
use crate::{
    ConfirmToken, Field, MessageAttributes, MessageType, SignatureVersion, SubscriptionArn,
    TopicArn,
};

/// A message that is about to be sent. What is optional can be set on it directly.
#[derive(Clone, Debug)]
pub struct Draft {
    /// Which of the three.
    pub message_type: MessageType,
    /// MessageId.
    pub message_id: String,
    /// TopicArn.
    pub topic_arn: TopicArn,
    /// Subject, for Notifications.
    pub subject: Option<String>,
    /// Message.
    pub message: String,
    /// Timestamp; sent to the millisecond.
    pub timestamp: Timestamp,
    /// Token, for confirmations.
    pub token: Option<ConfirmToken>,
    /// The subscription that it serves: absent from a SubscriptionConfirmation's headers.
    pub subscription_arn: Option<SubscriptionArn>,
    /// MessageAttributes, for Notifications.
    pub attributes: MessageAttributes,
    /// SignatureVersion.
    pub version: SignatureVersion,
    /// SigningCertURL.
    pub signing_cert_url: String,
    /// Scheme, host and port of SubscribeURL and UnsubscribeURL.
    pub endpoint: String,
}

/// What to spoil, so that a receiver can be shown to refuse it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Corruption {
    /// One bit of the signature.
    Signature,
    /// The message, after it was signed.
    Message,
    /// The subject, after it was signed: added, or taken away.
    Subject,
    /// The version claims to be the other one.
    Version,
    /// No signature, version or certificate URL: an unsigned message.
    Unsigned,
    /// The certificate's URL names a host that is nobody's.
    CertificateHost,
    /// A second, differing Message after the signed one.
    DuplicateKey,
    /// Something after the object.
    TrailingData,
}

/// A request as it goes out.
#[derive(Clone, Debug)]
pub struct SignedMessage {
    /// Name and value, in SNS's order.
    pub headers: Vec<(&'static str, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Draft {
    /// A Notification of version 2 without subject and attributes, its certificate under SNS's own URL.
    pub fn notification(
        topic_arn: &TopicArn,
        message_id: &str,
        message: &str,
        timestamp: Timestamp,
    ) -> Self {
        let endpoint = format!("https://{}", topic_arn.region().sns_host());
        Self {
            message_type: MessageType::Notification,
            message_id: message_id.to_owned(),
            topic_arn: topic_arn.clone(),
            subject: None,
            message: message.to_owned(),
            timestamp,
            token: None,
            subscription_arn: None,
            attributes: MessageAttributes::default(),
            version: SignatureVersion::V2,
            signing_cert_url: format!(
                "{endpoint}/SimpleNotificationService-{}.pem",
                "5".repeat(32)
            ),
            endpoint,
        }
    }

    /// A confirmation (`message_type` says which) with SNS's own wording.
    pub fn confirmation(
        message_type: MessageType,
        topic_arn: &TopicArn,
        message_id: &str,
        token: &ConfirmToken,
        timestamp: Timestamp,
    ) -> Self {
        let message = match message_type {
            MessageType::UnsubscribeConfirmation => format!(
                "You have chosen to deactivate subscription {topic_arn}.\nTo cancel this operation and restore the \
                 subscription, visit the SubscribeURL included in this message."
            ),
            _ => format!(
                "You have chosen to subscribe to the topic {topic_arn}.\nTo confirm the subscription, visit the \
                 SubscribeURL included in this message."
            ),
        };
        let draft = Self::notification(topic_arn, message_id, &message, timestamp);
        Self {
            message_type,
            token: Some(token.clone()),
            ..draft
        }
    }

    /// Signs it.
    ///
    /// # Errors
    /// [`SignerError::Sign`] when the operation fails.
    pub fn sign(&self, signer: &Signer) -> Result<SignedMessage, SignerError> {
        let signature = signer.sign(self.version, &self.string_to_sign())?;
        Ok(SignedMessage {
            headers: self.headers(),
            body: self.layout(Some(&signature)),
        })
    }

    /// Signs it and spoils it.
    ///
    /// # Errors
    /// [`SignerError::Sign`] when the operation fails.
    pub fn sign_corrupted(
        &self,
        signer: &Signer,
        corruption: Corruption,
    ) -> Result<SignedMessage, SignerError> {
        let mut signature = signer.sign(self.version, &self.string_to_sign())?;
        let mut sent = self.clone();
        match corruption {
            Corruption::Signature => signature[0] ^= 1,
            Corruption::Message => sent.message.push('!'),
            Corruption::Subject => {
                sent.subject = if self.subject.is_some() {
                    None
                } else {
                    Some("added".to_owned())
                };
            }
            Corruption::Version => {
                sent.version = match self.version {
                    SignatureVersion::V1 => SignatureVersion::V2,
                    SignatureVersion::V2 => SignatureVersion::V1,
                };
            }
            Corruption::CertificateHost => {
                let host = self.topic_arn.region().sns_host();
                sent.signing_cert_url = format!(
                    "https://{host}.example.com/SimpleNotificationService-{}.pem",
                    "5".repeat(32)
                );
            }
            Corruption::Unsigned | Corruption::DuplicateKey | Corruption::TrailingData => {}
        }
        let mut body =
            sent.layout(Some(signature.as_slice()).filter(|_| corruption != Corruption::Unsigned));
        match corruption {
            Corruption::DuplicateKey => {
                body.truncate(body.len() - "\n}".len());
                body.extend_from_slice(b",\n  \"Message\" : \"another\"\n}");
            }
            Corruption::TrailingData => body.extend_from_slice(b"{}"),
            _ => {}
        }
        Ok(SignedMessage {
            headers: self.headers(),
            body,
        })
    }

    /// The raw delivery of a Notification: the bare message, unsigned.
    pub fn raw(&self) -> SignedMessage {
        let mut headers = self.headers();
        headers.push(("x-amz-sns-rawdelivery", "true".to_owned()));
        SignedMessage {
            headers,
            body: self.message.clone().into_bytes(),
        }
    }

    fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            ("x-amz-sns-message-type", self.message_type.to_string()),
            ("x-amz-sns-message-id", self.message_id.clone()),
            ("x-amz-sns-topic-arn", self.topic_arn.to_string()),
        ];
        if let Some(subscription) = &self.subscription_arn {
            headers.push(("x-amz-sns-subscription-arn", subscription.to_string()));
        }
        headers.push(("content-type", "text/plain; charset=UTF-8".to_owned()));
        headers.push((
            "user-agent",
            "Amazon Simple Notification Service Agent".to_owned(),
        ));
        headers
    }

    fn string_to_sign(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.message.len() + 1024);
        let mut push = |field, value: &str| {
            each_part(field, value, &mut |part| text.extend_from_slice(part));
        };
        push(Field::Message, &self.message);
        push(Field::MessageId, &self.message_id);
        if let Some(subject) = &self.subject {
            push(Field::Subject, subject);
        }
        if let Some(url) = self.subscribe_url() {
            push(Field::SubscribeUrl, &url);
        }
        push(Field::Timestamp, &self.timestamp_text());
        if let Some(token) = &self.token {
            push(Field::Token, token.expose());
        }
        push(Field::TopicArn, self.topic_arn.as_str());
        push(Field::Type, self.message_type.as_str());
        text
    }

    fn timestamp_text(&self) -> String {
        self.timestamp
            .strftime("%Y-%m-%dT%H:%M:%S.%3fZ")
            .to_string()
    }

    fn subscribe_url(&self) -> Option<String> {
        let token = self.token.as_ref()?.expose();
        Some(format!(
            "{}/?Action=ConfirmSubscription&TopicArn={}&Token={token}",
            self.endpoint, self.topic_arn
        ))
    }

    /// The body, in the key order and with the white space of AWS's.
    fn layout(&self, signature: Option<&[u8]>) -> Vec<u8> {
        let mut members = Vec::with_capacity(12);
        let mut push = |field: Field, value: &str| members.push((field, quoted(value)));
        push(Field::Type, self.message_type.as_str());
        push(Field::MessageId, &self.message_id);
        if let Some(token) = &self.token {
            push(Field::Token, token.expose());
        }
        push(Field::TopicArn, self.topic_arn.as_str());
        if let Some(subject) = &self.subject {
            push(Field::Subject, subject);
        }
        push(Field::Message, &self.message);
        if let Some(url) = self.subscribe_url() {
            push(Field::SubscribeUrl, &url);
        }
        push(Field::Timestamp, &self.timestamp_text());
        if let Some(signature) = signature {
            push(Field::SignatureVersion, self.version.as_str());
            push(Field::Signature, &STANDARD.encode(signature));
            push(Field::SigningCertUrl, &self.signing_cert_url);
        }
        if let Some(subscription) = self
            .subscription_arn
            .as_ref()
            .filter(|_| self.token.is_none())
        {
            push(
                Field::UnsubscribeUrl,
                &format!(
                    "{}/?Action=Unsubscribe&SubscriptionArn={subscription}",
                    self.endpoint
                ),
            );
        }
        if !self.attributes.is_empty() {
            members.push((Field::MessageAttributes, attributes_text(&self.attributes)));
        }
        let lines: Vec<String> = members
            .into_iter()
            .map(|(field, value)| format!("  \"{field}\" : {value}"))
            .collect();
        format!("{{\n{}\n}}", lines.join(",\n")).into_bytes()
    }
}

fn attributes_text(attributes: &MessageAttributes) -> String {
    let lines: Vec<String> = attributes
        .iter()
        .map(|(name, attribute)| {
            let (data_type, value) = (quoted(&attribute.data_type), quoted(&attribute.value));
            format!(
                "    {} : {{\"Type\":{data_type},\"Value\":{value}}}",
                quoted(name)
            )
        })
        .collect();
    format!("{{\n{}\n  }}", lines.join(",\n"))
}

/// A JSON string. Going by way of `Value` cannot fail, as a serializer in general could.
fn quoted(text: &str) -> String {
    serde_json::Value::String(text.to_owned()).to_string()
}
