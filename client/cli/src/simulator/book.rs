//! What the sending and the served side share: certificate, handshakes, subscriptions.

use std::collections::HashMap;

use signalbox_sns::{SubscriptionArn, TopicArn};
use tokio::sync::watch;

use super::SimulatorError;

/// Handshakes that are kept, done ones too: a token may be used again.
pub(super) const TOKENS_MAX: usize = 10_000;

/// What a token confirms.
#[derive(Clone, Debug)]
pub(super) struct Pending(pub(super) SubscriptionArn);

/// An endpoint that gets a topic's messages once it is confirmed.
#[derive(Clone, Debug)]
pub(super) struct Subscription {
    pub(super) arn: SubscriptionArn,
    pub(super) endpoint: String,
    pub(super) raw: bool,
}

#[derive(Debug, Default)]
struct Entries {
    pending: HashMap<String, Pending>,
    confirmed: HashMap<String, SubscriptionArn>,
    subscriptions: Vec<Subscription>,
}

#[derive(Debug)]
pub(super) struct Book {
    pub(super) certificate_path: String,
    pub(super) certificate_pem: String,
    entries: watch::Sender<Entries>,
}

impl Book {
    pub(super) fn new(certificate_path: String, certificate_pem: String) -> Self {
        Self {
            certificate_path,
            certificate_pem,
            entries: watch::Sender::default(),
        }
    }

    /// Notes a token that went out.
    pub(super) fn expect(&self, token: String, pending: Pending) -> Result<(), SimulatorError> {
        let mut is_full = false;
        self.entries.send_modify(|entries| {
            is_full = entries.pending.len() >= TOKENS_MAX;
            if !is_full {
                entries.pending.insert(token, pending);
            }
        });
        if is_full {
            Err(SimulatorError::Full)
        } else {
            Ok(())
        }
    }

    /// ConfirmSubscription: at Amazon SNS the token alone decides, and may come again.
    pub(super) fn confirm(&self, token: &str) -> Option<SubscriptionArn> {
        let Pending(arn) = self.entries.borrow().pending.get(token)?.clone();
        self.entries.send_modify(|entries| {
            entries
                .confirmed
                .insert(arn.as_str().to_owned(), arn.clone());
        });
        Some(arn)
    }

    pub(super) fn add(&self, subscription: Subscription) {
        self.entries
            .send_modify(|entries| entries.subscriptions.push(subscription));
    }

    /// Takes a subscription away; gives it, if there was one.
    pub(super) fn remove(&self, arn: &str) -> Option<Subscription> {
        let mut removed = None;
        self.entries.send_modify(|entries| {
            entries.confirmed.remove(arn);
            let place = entries
                .subscriptions
                .iter()
                .position(|s| s.arn.as_str() == arn);
            removed = place.map(|place| entries.subscriptions.remove(place));
        });
        removed
    }

    /// The confirmed subscriptions of a topic.
    pub(super) fn confirmed(&self, topic: &TopicArn) -> Vec<Subscription> {
        let entries = self.entries.borrow();
        entries
            .subscriptions
            .iter()
            .filter(|s| s.arn.topic() == topic && entries.confirmed.contains_key(s.arn.as_str()))
            .cloned()
            .collect()
    }

    /// Waits until a subscription of which `wanted` holds is confirmed.
    pub(super) async fn wait_confirmed(&self, wanted: impl Fn(&SubscriptionArn) -> bool) {
        let mut changes = self.entries.subscribe();
        // The sender lives as long as this.
        let _ = changes
            .wait_for(|entries| entries.confirmed.values().any(&wanted))
            .await;
    }
}
