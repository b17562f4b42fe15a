//! Subscriptions that are being confirmed.

use jiff::Timestamp;
use rusqlite::params;
use signalbox_model::record::{
    Delivery, RecordBody, SubscriptionChange, SubscriptionState, Verdict,
};

use super::batch::{Batch, Sql};
use crate::spool::Handshake;

impl Batch<'_> {
    pub(super) fn handshake(
        &mut self,
        handshake: &Handshake,
        delivery: Delivery,
        traceparent: Option<String>,
    ) -> Sql<()> {
        let Handshake {
            workflow,
            topic_arn,
            token,
            certificate_origin,
            received_at,
            attempts,
        } = handshake;
        let inserted = self
            .transaction
            .prepare_cached("INSERT OR IGNORE INTO handshakes VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?5)")?
            .execute(params![
                workflow.to_string(),
                topic_arn,
                token,
                certificate_origin,
                received_at.as_microsecond(),
                attempts
            ])?;
        if inserted > 0 {
            let change = SubscriptionChange {
                workflow: workflow.clone(),
                topic_arn: topic_arn.clone(),
                subscription_arn: None,
                state: SubscriptionState::Pending,
                confirm_attempts: *attempts,
                last_error: None,
            };
            self.other(
                RecordBody::Subscription(Box::new(change)),
                *received_at,
                traceparent.clone(),
            )?;
            self.delivery(delivery, *received_at, traceparent)?;
            self.effects.handshakes += 1;
        } else {
            let copy = Delivery {
                verdict: Verdict::Duplicate,
                reason: "duplicate".to_owned(),
                detail: "this subscription is being, or was, confirmed".to_owned(),
                ..delivery
            };
            self.delivery(copy, *received_at, traceparent)?;
        }
        Ok(())
    }

    pub(super) fn update_handshake(
        &mut self,
        handshake: &Handshake,
        next_attempt_at: Option<Timestamp>,
        change: SubscriptionChange,
    ) -> Sql<()> {
        self.transaction
            .prepare_cached(
                "UPDATE handshakes SET attempts = ?4, next_attempt_at_us = ?5
                 WHERE workflow = ?1 AND topic_arn = ?2 AND token = ?3",
            )?
            .execute(params![
                handshake.workflow.to_string(),
                handshake.topic_arn,
                handshake.token,
                change.confirm_attempts,
                next_attempt_at.map(Timestamp::as_microsecond)
            ])?;
        self.other(RecordBody::Subscription(Box::new(change)), self.now, None)
    }
}
