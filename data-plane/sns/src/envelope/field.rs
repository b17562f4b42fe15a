//! The fields of an envelope, and what each may hold.

use std::fmt;

use super::object::same_but_for_case;

/// A documented field of an SNS envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// `Type`
    Type,
    /// `MessageId`
    MessageId,
    /// `Token` (confirmations)
    Token,
    /// `TopicArn`
    TopicArn,
    /// `Subject` (Notifications, optional)
    Subject,
    /// `Message`
    Message,
    /// `SubscribeURL` (confirmations)
    SubscribeUrl,
    /// `Timestamp`
    Timestamp,
    /// `SignatureVersion`
    SignatureVersion,
    /// `Signature`
    Signature,
    /// `SigningCertURL`
    SigningCertUrl,
    /// `UnsubscribeURL` (Notifications, unsigned)
    UnsubscribeUrl,
    /// `MessageAttributes` (Notifications, optional, unsigned)
    MessageAttributes,
}

impl Field {
    pub(crate) const ALL: [Self; 13] = [
        Self::Type,
        Self::MessageId,
        Self::Token,
        Self::TopicArn,
        Self::Subject,
        Self::Message,
        Self::SubscribeUrl,
        Self::Timestamp,
        Self::SignatureVersion,
        Self::Signature,
        Self::SigningCertUrl,
        Self::UnsubscribeUrl,
        Self::MessageAttributes,
    ];

    /// The key as it stands in the body.
    pub fn name(self) -> &'static str {
        match self {
            Self::Type => "Type",
            Self::MessageId => "MessageId",
            Self::Token => "Token",
            Self::TopicArn => "TopicArn",
            Self::Subject => "Subject",
            Self::Message => "Message",
            Self::SubscribeUrl => "SubscribeURL",
            Self::Timestamp => "Timestamp",
            Self::SignatureVersion => "SignatureVersion",
            Self::Signature => "Signature",
            Self::SigningCertUrl => "SigningCertURL",
            Self::UnsubscribeUrl => "UnsubscribeURL",
            Self::MessageAttributes => "MessageAttributes",
        }
    }

    pub(crate) fn from_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.name() == key)
    }

    /// The field that `key` is or could be taken for by a reader that does not mind case.
    pub(crate) fn resembling(key: &str) -> Option<Self> {
        // Nearly every key is written as it should be.
        Self::from_key(key).or_else(|| {
            Self::ALL
                .into_iter()
                .find(|field| same_but_for_case(field.name(), key))
        })
    }

    /// Longest decoded value in bytes. Message is bounded by the whole body alone: a publisher's payload is AWS's to
    /// limit.
    pub(crate) fn bytes_max(self) -> usize {
        match self {
            Self::Type | Self::Timestamp => 64,
            Self::SignatureVersion => 16,
            Self::MessageId => 256,
            Self::TopicArn => 512,
            Self::Subject => 1024,
            Self::Token | Self::Signature | Self::SigningCertUrl => 2048,
            Self::SubscribeUrl | Self::UnsubscribeUrl => 4096,
            Self::Message | Self::MessageAttributes => super::ENVELOPE_MAX_BYTES,
        }
    }

    /// Whether `null` reads as absent. Some senders write the optional ones so.
    pub(crate) fn is_optional(self) -> bool {
        matches!(
            self,
            Self::Subject | Self::UnsubscribeUrl | Self::MessageAttributes
        )
    }

    /// Whether its value lets its reader act on the subscription.
    pub(crate) fn is_capability(self) -> bool {
        matches!(
            self,
            Self::UnsubscribeUrl | Self::SubscribeUrl | Self::Token
        )
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
