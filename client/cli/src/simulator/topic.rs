//! Topics and their subscriptions.

use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use jiff::Timestamp;
use signalbox_sns::{MessageType, SignatureVersion, SubscriptionArn, TopicArn};

use super::{
    Delivered, Publication, SimulatedSns, SimulatorError, book::Subscription, draft,
    new_subscription, raw,
};

/// Deliveries of one message under way at once.
const FAN_OUT_MAX: usize = 32;

/// A new subscription.
#[derive(Clone, Debug)]
pub struct Subscribed {
    /// Its name. Until it is confirmed it gets nothing.
    pub arn: SubscriptionArn,
    /// What became of its SubscriptionConfirmation.
    pub delivered: Delivered,
    /// Attempts that took.
    pub attempts: u32,
}

/// What became of a message at one subscription.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Which.
    pub subscription: SubscriptionArn,
    /// The last attempt.
    pub delivered: Delivered,
    /// How many there were.
    pub attempts: u32,
}

impl SimulatedSns {
    /// Subscribes an endpoint (`http://host/path?x-api-key=…` or `http://user:key@host/path`) to a topic, and sends the
    /// SubscriptionConfirmation. `raw`: raw message delivery.
    ///
    /// # Errors
    /// When the confirmation cannot be made.
    pub async fn subscribe(
        &self,
        topic: &TopicArn,
        endpoint: &str,
        raw: bool,
    ) -> Result<Subscribed, SimulatorError> {
        let arn = new_subscription(topic)?;
        let kind = MessageType::SubscriptionConfirmation;
        let post = self.handshake(kind, &arn, SignatureVersion::V2, false)?;
        self.book.add(Subscription {
            arn: arn.clone(),
            endpoint: endpoint.to_owned(),
            raw,
        });
        let (delivered, attempts) = self.deliver(endpoint, &post).await;
        Ok(Subscribed {
            arn,
            delivered,
            attempts,
        })
    }

    /// Delivers a message to every confirmed subscription of a topic, each by the delivery policy.
    ///
    /// # Errors
    /// When the message cannot be signed.
    pub async fn publish(
        &self,
        topic: &TopicArn,
        publication: &Publication,
    ) -> Result<Vec<Delivery>, SimulatorError> {
        // One message, one id and one time, at however many subscriptions.
        let at = Timestamp::now();
        let mut publication = publication.clone();
        publication
            .message_id
            .get_or_insert_with(|| uuid::Uuid::new_v4().to_string());
        let mut posts = Vec::new();
        for subscription in self.book.confirmed(topic) {
            let post = if subscription.raw {
                raw(&publication, &subscription.arn)
            } else {
                let draft = draft(&publication, &subscription.arn, at);
                self.sign(draft, publication.signature_version, false)?
            };
            posts.push((subscription, post));
        }
        let deliveries = stream::iter(posts).map(|(subscription, post)| async move {
            let (delivered, attempts) = self.deliver(&subscription.endpoint, &post).await;
            Delivery {
                subscription: subscription.arn,
                delivered,
                attempts,
            }
        });
        Ok(deliveries.buffer_unordered(FAN_OUT_MAX).collect().await)
    }

    /// Cuts a subscription and sends its UnsubscribeConfirmation; [`None`] when there is no such subscription.
    ///
    /// # Errors
    /// When the confirmation cannot be made.
    pub async fn unsubscribe(
        &self,
        arn: &SubscriptionArn,
    ) -> Result<Option<Delivery>, SimulatorError> {
        let Some(subscription) = self.book.remove(arn.as_str()) else {
            return Ok(None);
        };
        let kind = MessageType::UnsubscribeConfirmation;
        let post = self.handshake(kind, arn, SignatureVersion::V2, false)?;
        let (delivered, attempts) = self.deliver(&subscription.endpoint, &post).await;
        Ok(Some(Delivery {
            subscription: subscription.arn,
            delivered,
            attempts,
        }))
    }

    /// The confirmed subscriptions of a topic, in the order in which they were made.
    #[must_use]
    pub fn confirmed(&self, topic: &TopicArn) -> Vec<SubscriptionArn> {
        let confirmed = self.book.confirmed(topic);
        confirmed
            .into_iter()
            .map(|subscription| subscription.arn)
            .collect()
    }

    /// Waits until a subscription to `topic` is confirmed; says whether it was within `limit`.
    pub async fn wait_confirmed(&self, topic: &TopicArn, limit: Duration) -> bool {
        let confirmed = self.book.wait_confirmed(|arn| arn.topic() == topic);
        tokio::time::timeout(limit, confirmed).await.is_ok()
    }
}
