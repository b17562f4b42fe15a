//! What the `x-amz-sns-*` headers say. They are unsigned: they may contradict a body (then it is refused), never decide
//! for it, except for raw delivery, where there is nothing else.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{ArnError, Refusal, RefusalKind, SubscriptionArn, TopicArn};

#[cfg(test)]
mod tests;

const RAW_MESSAGE_ID_MAX_BYTES: usize = 256;

/// The three things that SNS posts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum MessageType {
    /// A subscription that waits for its endpoint to confirm.
    SubscriptionConfirmation,
    /// A published message.
    Notification,
    /// A subscription that was ended. Its SubscribeURL would subscribe anew: never followed.
    UnsubscribeConfirmation,
}

/// A message type that SNS does not document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("message type is none of SubscriptionConfirmation, Notification, UnsubscribeConfirmation")]
pub struct UnknownMessageType;

impl MessageType {
    /// The name as it stands in the body and in the header.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SubscriptionConfirmation => "SubscriptionConfirmation",
            Self::Notification => "Notification",
            Self::UnsubscribeConfirmation => "UnsubscribeConfirmation",
        }
    }
}

impl FromStr for MessageType {
    type Err = UnknownMessageType;

    /// Parses the value of `x-amz-sns-message-type`, or of the body's `Type`. Case counts.
    fn from_str(text: &str) -> Result<Self, UnknownMessageType> {
        [
            Self::SubscriptionConfirmation,
            Self::Notification,
            Self::UnsubscribeConfirmation,
        ]
        .into_iter()
        .find(|known| known.as_str() == text)
        .ok_or(UnknownMessageType)
    }
}

impl fmt::Display for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The headers of one delivery, as the caller found them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Headers<'a> {
    /// `x-amz-sns-message-type`
    pub message_type: Option<&'a str>,
    /// `x-amz-sns-message-id`
    pub message_id: Option<&'a str>,
    /// `x-amz-sns-topic-arn`
    pub topic_arn: Option<&'a str>,
    /// `x-amz-sns-subscription-arn`
    pub subscription_arn: Option<&'a str>,
    /// Whether `x-amz-sns-rawdelivery` says `true`.
    pub raw_delivery: bool,
}

/// Headers that contradict the body, or (raw delivery) do not carry what the body cannot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// `x-amz-sns-message-type` differs from the signed Type.
    #[error("the message type header contradicts the body's Type")]
    MessageType,
    /// `x-amz-sns-message-id` differs from the signed MessageId.
    #[error("the message id header contradicts the body's MessageId")]
    MessageId,
    /// `x-amz-sns-topic-arn` differs from the signed TopicArn.
    #[error("the topic ARN header contradicts the body's TopicArn")]
    TopicArn,
    /// `x-amz-sns-subscription-arn` is of another topic.
    #[error("the subscription ARN header is not of the message's topic")]
    SubscriptionArn,
    /// `x-amz-sns-rawdelivery: true` over a signed envelope.
    #[error("the raw delivery header contradicts the enveloped body")]
    RawDelivery,
    /// Raw delivery was expected, the header that says so is absent.
    #[error("the raw delivery header is absent")]
    RawNotMarked,
    /// Raw delivery carries Notifications only.
    #[error("a raw delivery is not marked as a Notification")]
    RawNotNotification,
    /// Raw delivery without a usable message id: it could not be deduplicated.
    #[error(
        "a raw delivery has no message id of 1 to {RAW_MESSAGE_ID_MAX_BYTES} visible ASCII characters"
    )]
    RawMessageId,
    /// Raw delivery without a usable topic.
    #[error("a raw delivery names no topic: {0}")]
    RawTopicArn(ArnError),
    /// Raw delivery with an unusable subscription ARN.
    #[error("a raw delivery's subscription ARN is none: {0}")]
    RawSubscriptionArn(ArnError),
}

impl Refusal for HeaderError {
    fn reason(&self) -> &'static str {
        match self {
            Self::MessageType => "message-type-contradicts-header",
            Self::MessageId => "message-id-contradicts-header",
            Self::TopicArn => "topic-arn-contradicts-header",
            Self::SubscriptionArn => "subscription-arn-contradicts-topic",
            Self::RawDelivery => "raw-delivery-contradicts-envelope",
            Self::RawNotMarked => "raw-delivery-not-marked",
            Self::RawNotNotification => "raw-delivery-not-notification",
            Self::RawMessageId => "raw-delivery-message-id",
            Self::RawTopicArn(_) => "raw-delivery-topic-arn",
            Self::RawSubscriptionArn(_) => "raw-delivery-subscription-arn",
        }
    }

    fn kind(&self) -> RefusalKind {
        RefusalKind::Malformed
    }
}

/// What a raw delivery says about itself. Nothing of it is signed; the body is the bare message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawNotification {
    /// The id that deduplicates it.
    pub message_id: String,
    /// The topic it claims to come from.
    pub topic_arn: TopicArn,
    /// The subscription it claims to serve.
    pub subscription_arn: Option<SubscriptionArn>,
}

impl RawNotification {
    /// Reads a raw delivery's headers ("Raw message delivery", SNS developer guide).
    ///
    /// # Errors
    /// When the headers do not mark a raw Notification, or its message id or topic is absent or unusable.
    pub fn parse(headers: &Headers<'_>) -> Result<Self, HeaderError> {
        let Headers {
            message_type,
            message_id,
            topic_arn,
            subscription_arn,
            raw_delivery,
        } = *headers;
        if !raw_delivery {
            return Err(HeaderError::RawNotMarked);
        }
        if message_type != Some(MessageType::Notification.as_str()) {
            return Err(HeaderError::RawNotNotification);
        }
        let message_id = message_id
            .filter(|id| (1..=RAW_MESSAGE_ID_MAX_BYTES).contains(&id.len()))
            .filter(|id| id.bytes().all(|byte| byte.is_ascii_graphic()))
            .ok_or(HeaderError::RawMessageId)?;
        let topic_arn =
            TopicArn::parse(topic_arn.unwrap_or_default()).map_err(HeaderError::RawTopicArn)?;
        let subscription_arn = subscription_arn
            .map(SubscriptionArn::parse)
            .transpose()
            .map_err(HeaderError::RawSubscriptionArn)?;
        if subscription_arn
            .as_ref()
            .is_some_and(|subscription| *subscription.topic() != topic_arn)
        {
            return Err(HeaderError::SubscriptionArn);
        }
        Ok(Self {
            message_id: message_id.to_owned(),
            topic_arn,
            subscription_arn,
        })
    }
}
