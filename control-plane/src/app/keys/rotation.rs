//! Keys get new values; the ones before go on working for a while.

use std::time::Duration;

use signalbox_model::{error::Error, ids::ApiKeyName, limits};

use super::{
    super::{App, audit, check_etag, check_request_id, deleted::live_key},
    made, shown_again,
};
use crate::{
    crypto::KeyValue,
    store::{Actor, rows::ApiKey},
};

const ROTATE: &str = "RotateApiKey";

impl App {
    /// Gives a key a new value; the one before works for `overlap`, or [`limits::KEY_OVERLAP_DEFAULT`]. A key has two values at
    /// most, so that a second rotation within the overlap of the first must have none.
    ///
    /// # Errors
    /// `NotFound`, `Stale`, `Invalid`; `Precondition` for a key that is revoked or expired, or has two values, and for a repeated
    /// request whose value is not to be shown again.
    pub async fn rotate_key(
        &self,
        actor: &Actor,
        name: &ApiKeyName,
        overlap: Option<Duration>,
        etag: &str,
        request_id: &str,
    ) -> Result<(ApiKey, KeyValue), Error> {
        let overlap_us = micros(overlap.unwrap_or(limits::KEY_OVERLAP_DEFAULT))?;
        let request_id = check_request_id(request_id)?;
        let text = name.to_string();
        let (value, ciphertext) = self.new_value(&text)?;
        let (row, made) = self
            .store
            .configure(async |tx| {
                if let Some(request_id) = request_id
                    && let Some(earlier) = tx.key_request(&name.project, ROTATE, request_id).await?
                {
                    return Ok((shown_again(tx, name, earlier, actor).await?, false));
                }
                let before = live_key(tx, name).await?;
                check_etag(etag, before.revision, &text)?;
                check(&before, overlap_us, tx.now_us(), &text)?;
                let after = ApiKey {
                    prefix: value.shown(),
                    digest: value.digest(),
                    ciphertext: ciphertext.clone(),
                    rotate_time_us: Some(tx.now_us()),
                    ..before.clone()
                };
                let row = tx
                    .update_key(with_previous(after, &before, tx.now_us(), overlap_us))
                    .await?;
                tx.require_master_key(self.master_key.id()).await?;
                if let Some(request_id) = request_id {
                    let made = made(&row, &text, actor);
                    tx.note_key_request(&name.project, ROTATE, request_id, made)
                        .await?;
                }
                let mut changes = audit::diff(Some(&audit::key(&before)), Some(&audit::key(&row)));
                changes.extend(audit::hidden_value(true));
                tx.audit(actor, ROTATE, &text, changes);
                Ok((row, true))
            })
            .await?;
        self.with_value(row, &text, made.then_some(value))
    }
}

fn micros(overlap: Duration) -> Result<i64, Error> {
    if overlap > limits::KEY_OVERLAP_MAX {
        let days = limits::KEY_OVERLAP_MAX.as_secs() / 86_400;
        let problem = format!("is longer than {days} days");
        return Err(Error::invalid("overlap", problem));
    }
    i64::try_from(overlap.as_micros()).map_err(|error| Error::invalid("overlap", error.to_string()))
}

/// The value of `before` is the one before of `after`, if it is to work at all.
fn with_previous(after: ApiKey, before: &ApiKey, now_us: i64, overlap_us: i64) -> ApiKey {
    let works = overlap_us > 0;
    ApiKey {
        previous_digest: works.then(|| before.digest.clone()),
        previous_expire_time_us: works.then(|| now_us.saturating_add(overlap_us)),
        ..after
    }
}

fn check(row: &ApiKey, overlap_us: i64, now_us: i64, name: &str) -> Result<(), Error> {
    let refuse = |reason, message: String| {
        Err(Error::Precondition {
            subject: name.to_owned(),
            reason,
            message,
        })
    };
    if row.revoke_time_us.is_some() {
        return refuse("KEY_REVOKED", "the key was revoked".to_owned());
    }
    if row.expire_time_us.is_some_and(|at| at <= now_us) {
        let message = "the key has expired: give it another expire_time first";
        return refuse("KEY_EXPIRED", message.to_owned());
    }
    match row.previous_expires_at(now_us) {
        Some(until) if overlap_us > 0 => refuse(
            "ROTATION_OVERLAP",
            format!(
                "the value before the last rotation works until {until}; rotate then, or without an overlap, which ends \
                 both values at once"
            ),
        ),
        _ => Ok(()),
    }
}
