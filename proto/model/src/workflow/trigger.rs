//! What starts a workflow.

use std::{fmt, str::FromStr, sync::Arc, time::Duration};

use crate::{
    event::TriggerKind, execution::JsonText, filter_policy::FilterPolicy, ids::ApiKeyName,
    schedule::Schedule,
};

/// What starts a workflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trigger {
    /// Amazon SNS Notifications.
    AmazonSns(AmazonSnsTrigger),
    /// JSON documents.
    Webhook(WebhookTrigger),
    /// RunWorkflow only.
    Manual,
    /// Times.
    Schedule(ScheduleTrigger),
}

impl Trigger {
    /// Keys that may call the webhook.
    #[must_use]
    pub fn api_keys(&self) -> &[ApiKeyName] {
        match self {
            Self::AmazonSns(trigger) => &trigger.api_keys,
            Self::Webhook(trigger) => &trigger.api_keys,
            Self::Manual | Self::Schedule(_) => &[],
        }
    }

    /// The kind of events that it gives.
    #[must_use]
    pub fn kind(&self) -> TriggerKind {
        match self {
            Self::AmazonSns(_) => TriggerKind::AmazonSns,
            Self::Webhook(_) => TriggerKind::Webhook,
            Self::Manual => TriggerKind::Manual,
            Self::Schedule(_) => TriggerKind::Schedule,
        }
    }
}

/// Starts the workflow for each Notification of the allowed topics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AmazonSnsTrigger {
    /// Keys that may call the webhook.
    pub api_keys: Vec<ApiKeyName>,
    /// Allowed topics; empty: the first topic whose subscription is confirmed binds.
    pub topic_arns: Vec<TopicArn>,
    /// Accept messages without signature.
    pub allow_raw_delivery: bool,
    /// Lowest SignatureVersion accepted, 1 or 2.
    pub minimum_signature_version: u8,
    /// Refuse older messages, by their signed Timestamp.
    pub max_message_age: Option<Duration>,
    /// Which Notifications are wanted; none: all.
    pub filter_policy: Option<FilterPolicy>,
}

/// Starts the workflow for each JSON document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookTrigger {
    /// Keys that may call the webhook.
    pub api_keys: Vec<ApiKeyName>,
}

/// Starts the workflow at times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleTrigger {
    /// At which.
    pub schedule: Schedule,
    /// What steps read as `event.json`.
    pub input: JsonText,
}

/// Name of a standard Amazon SNS topic: `arn:{partition}:sns:{region}:{account}:{topic}`. FIFO topics cannot deliver to
/// HTTP endpoints (<https://docs.aws.amazon.com/sns/latest/dg/fifo-message-delivery.html>), so they are refused.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TopicArn(Arc<str>);

/// Why a text is no [`TopicArn`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicArnError {
    /// Not of the form.
    #[error(
        "{0:?} is not a topic ARN, arn:{{partition}}:sns:{{region}}:{{12-digit account}}:{{topic}}"
    )]
    Malformed(String),
    /// A FIFO topic.
    #[error("{0:?} is a FIFO topic, and those cannot deliver to HTTP endpoints")]
    Fifo(String),
}

impl TopicArn {
    /// The ARN as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TopicArn {
    type Err = TopicArnError;
    fn from_str(text: &str) -> Result<Self, TopicArnError> {
        let is_word = |part: &str, extra: &str, max: usize| {
            (1..=max).contains(&part.len())
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || extra.as_bytes().contains(&b))
        };
        let shown = || text.chars().take(96).collect::<String>();
        match text.split(':').collect::<Vec<_>>()[..] {
            ["arn", partition, "sns", region, account, topic]
                if is_word(partition, "-", 32)
                    && is_word(region, "-", 32)
                    && account.len() == 12
                    && account.bytes().all(|b| b.is_ascii_digit())
                    && is_word(topic.strip_suffix(".fifo").unwrap_or(topic), "-_", 256) =>
            {
                if topic.ends_with(".fifo") {
                    Err(TopicArnError::Fifo(shown()))
                } else {
                    Ok(Self(text.into()))
                }
            }
            _ => Err(TopicArnError::Malformed(shown())),
        }
    }
}

impl fmt::Display for TopicArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TopicArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn topics_of_every_partition_are_topics() {
        for arn in [
            "arn:aws:sns:eu-central-1:123456789012:orders",
            "arn:aws-cn:sns:cn-north-1:123456789012:Orders_v2-x",
            "arn:aws-us-gov:sns:us-gov-west-1:123456789012:a",
            "arn:aws:sns:us-east-1:000000000000:t",
        ] {
            let topic: TopicArn = arn.parse().unwrap();
            assert_eq!(topic.to_string(), arn);
        }
    }

    #[test]
    fn other_texts_are_no_topics() {
        for arn in [
            "",
            "orders",
            "arn:aws:sqs:eu-central-1:123456789012:orders",
            "arn:aws:sns:eu-central-1:12345678901:orders",
            "arn:aws:sns:eu-central-1:12345678901x:orders",
            "arn:aws:sns::123456789012:orders",
            "arn:aws:sns:eu-central-1:123456789012:",
            "arn:aws:sns:eu-central-1:123456789012:a b",
            "arn:aws:sns:eu-central-1:123456789012:a\nb",
            "arn:aws:sns:eu-central-1:123456789012:orders:2f5c",
            "ARN:aws:sns:eu-central-1:123456789012:orders",
        ] {
            let error = arn.parse::<TopicArn>().unwrap_err();
            assert!(matches!(error, TopicArnError::Malformed(_)), "{arn}");
        }
        let long = format!("arn:aws:sns:eu-central-1:123456789012:{}", "a".repeat(257));
        let error = long.parse::<TopicArn>().unwrap_err();
        assert!(error.to_string().len() < 250, "{error}");
    }

    #[test]
    fn fifo_topics_cannot_deliver_here() {
        let arn = "arn:aws:sns:eu-central-1:123456789012:orders.fifo";
        let error = arn.parse::<TopicArn>().unwrap_err();
        assert_eq!(error, TopicArnError::Fifo(arn.to_owned()));
    }
}
