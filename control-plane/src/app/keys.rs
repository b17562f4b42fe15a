//! API keys.

mod rotation;
mod scopes;
mod uses;

use jiff::Timestamp;
use signalbox_model::{
    error::Error,
    ids::{ApiKeyId, ApiKeyName, ProjectId},
    key_scope::{KeyScope, KeyScopeChange},
    labels::{LabelSelector, Labels},
    limits,
    rate_limit::RateLimit,
};

use super::{
    App, Found, audit, check_etag, check_length, check_request_id, crypto, deleted::live_key,
    quotas::Counted,
};
use crate::{
    crypto::KeyValue,
    store::{Actor, Made, Page, PageOf, Tx, rows::ApiKey},
};

const CREATE: &str = "CreateApiKey";

/// What a new key is given.
#[derive(Clone, Debug, Default)]
pub struct NewKey {
    /// Name for people.
    pub display_name: String,
    /// When it stops working by itself.
    pub expires_at: Option<Timestamp>,
    /// How many requests are taken with it.
    pub rate_limit: Option<RateLimit>,
    /// Its labels.
    pub labels: Labels,
    /// For which workflows it counts, and from where.
    pub scope: KeyScope,
}

/// What of a key is changed; what is [`None`] stays.
#[derive(Clone, Debug, Default)]
pub struct KeyChange {
    /// Name for people.
    pub display_name: Option<String>,
    /// How many requests are taken with it; inner [`None`]: no limit of its own.
    pub rate_limit: Option<Option<RateLimit>>,
    /// When it stops working by itself; inner [`None`]: never.
    pub expires_at: Option<Option<Timestamp>>,
    /// All of its labels.
    pub labels: Option<Labels>,
    /// For which workflows it counts, and from where.
    pub scope: KeyScopeChange,
}

impl App {
    /// Creates a key; its value leaves here, at [`App::rotate_key`] and at [`App::reveal_key`] only.
    ///
    /// # Errors
    /// `NotFound` (project), `Precondition` (project), `Quota`, `AlreadyExists`, `IdKept`, `Invalid`.
    pub async fn create_key(
        &self,
        actor: &Actor,
        project: &ProjectId,
        id: &ApiKeyId,
        new: NewKey,
        request_id: &str,
    ) -> Result<(ApiKey, KeyValue), Error> {
        check_display_name(&new.display_name)?;
        check_expiry(new.expires_at)?;
        let request_id = check_request_id(request_id)?;
        let name = ApiKeyName {
            project: project.clone(),
            api_key: id.clone(),
        };
        let text = name.to_string();
        let (value, ciphertext) = self.new_value(&text)?;
        let (row, made) = self
            .store
            .configure(async |tx| {
                if let Some(request_id) = request_id
                    && let Some(before) = tx.key_request(project, CREATE, request_id).await?
                {
                    return Ok((shown_again(tx, &name, before, actor).await?, false));
                }
                self.require_quota(tx, project, Counted::ApiKey).await?;
                let row = tx
                    .insert_key(
                        ApiKey {
                            project: project.to_string(),
                            id: id.to_string(),
                            display_name: new.display_name.clone(),
                            prefix: value.shown(),
                            digest: value.digest(),
                            ciphertext: ciphertext.clone(),
                            expire_time_us: new.expires_at.map(Timestamp::as_microsecond),
                            create_time_us: tx.now_us(),
                            revoke_time_us: None,
                            revision: 0,
                            rate_limit_events_per_second: None,
                            rate_limit_burst: None,
                            labels_json: String::new(),
                            scope_json: None,
                            previous_digest: None,
                            previous_expire_time_us: None,
                            rotate_time_us: None,
                        }
                        .with_labels(&new.labels)
                        .with_rate_limit(new.rate_limit)
                        .with_scope(&new.scope)?,
                    )
                    .await?;
                tx.require_master_key(self.master_key.id()).await?;
                if let Some(request_id) = request_id {
                    let made = made(&row, &text, actor);
                    tx.note_key_request(project, CREATE, request_id, made)
                        .await?;
                }
                let changes = audit::diff(None, Some(&audit::key(&row)));
                tx.audit(actor, CREATE, &text, changes);
                Ok((row, true))
            })
            .await?;
        self.with_value(row, &text, made.then_some(value))
    }

    /// A value for the key `name`, and the same sealed.
    fn new_value(&self, name: &str) -> Result<(KeyValue, Vec<u8>), Error> {
        let value = KeyValue::generate().map_err(crypto)?;
        let sealed = self.master_key.seal(name, value.expose().as_bytes());
        Ok((value, sealed.map_err(crypto)?))
    }

    /// The key `name` with the value that was made for it; of a request that was repeated, with the one that it has, which is the same
    /// ([`shown_again`]).
    fn with_value(
        &self,
        row: ApiKey,
        name: &str,
        made: Option<KeyValue>,
    ) -> Result<(ApiKey, KeyValue), Error> {
        let value = match made {
            Some(value) => value,
            None => self.open_key(&row, name)?,
        };
        Ok((row, value))
    }

    fn open_key(&self, row: &ApiKey, name: &str) -> Result<KeyValue, Error> {
        let opened = self
            .master_key
            .open(name, &row.ciphertext)
            .map_err(crypto)?;
        KeyValue::from_stored(&opened).map_err(crypto)
    }

    /// A key, deleted or not.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn key(&self, name: &ApiKeyName) -> Result<Found<ApiKey>, Error> {
        self.found_key(name).await
    }

    /// The keys of a project that have these labels; on demand with those that are deleted.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keys(
        &self,
        project: &ProjectId,
        labels: &LabelSelector,
        with_deleted: bool,
        page: &Page,
    ) -> Result<PageOf<Found<ApiKey>>, Error> {
        if with_deleted {
            return self.list_with_deleted(project, labels, page).await;
        }
        let live = self.store.keys(project, labels, page).await?;
        Ok(PageOf {
            rows: live.rows.into_iter().map(Found::live).collect(),
            next: live.next,
        })
    }

    /// Changes a key. Revoked ones, too: nothing comes of it.
    ///
    /// # Errors
    /// `NotFound`, `Stale`, `Invalid`; `Precondition` while a published version names it that it would not count for.
    pub async fn update_key(
        &self,
        actor: &Actor,
        name: &ApiKeyName,
        change: KeyChange,
        etag: &str,
    ) -> Result<ApiKey, Error> {
        if let Some(display_name) = &change.display_name {
            check_display_name(display_name)?;
        }
        let text = name.to_string();
        self.store
            .configure(async |tx| {
                let before = live_key(tx, name).await?;
                check_etag(etag, before.revision, &text)?;
                let mut after = before.clone();
                if let Some(display_name) = &change.display_name {
                    after.display_name.clone_from(display_name);
                }
                if let Some(rate_limit) = change.rate_limit {
                    after = after.with_rate_limit(rate_limit);
                }
                if let Some(expires_at) = change.expires_at {
                    after.expire_time_us = expires_at.map(Timestamp::as_microsecond);
                }
                if let Some(labels) = &change.labels {
                    after = after.with_labels(labels);
                }
                let scope = change.scope.of(before.scope()?);
                after = after.with_scope(&scope)?;
                if after == before {
                    return Ok(before);
                }
                if after.scope_json != before.scope_json {
                    scopes::check_users(tx, &before, &scope).await?;
                }
                if after.expire_time_us != before.expire_time_us {
                    check_expiry(change.expires_at.flatten())?;
                }
                let row = tx.update_key(after).await?;
                let changes = audit::diff(Some(&audit::key(&before)), Some(&audit::key(&row)));
                tx.audit(actor, "UpdateApiKey", &text, changes);
                Ok(row)
            })
            .await
    }

    /// The value of a live key, once more. Audited before it is shown.
    ///
    /// # Errors
    /// `NotFound`; `Precondition` for a revoked key, or where revealing is switched off.
    pub async fn reveal_key(&self, actor: &Actor, name: &ApiKeyName) -> Result<KeyValue, Error> {
        let text = name.to_string();
        let refuse = |reason, message: &str| Error::Precondition {
            subject: text.clone(),
            reason,
            message: message.to_owned(),
        };
        if !self.settings.reveal_enabled {
            return Err(refuse(
                "REVEAL_DISABLED",
                "revealing keys is switched off in this installation",
            ));
        }
        let row = self
            .store
            .write(async |tx| {
                let row = live_key(tx, name).await?;
                if row.revoke_time_us.is_some() {
                    return Err(refuse("KEY_REVOKED", "the key was revoked"));
                }
                tx.audit(actor, "RevealApiKey", &text, Vec::new());
                Ok(row)
            })
            .await?;
        self.open_key(&row, &text)
    }

    /// Revokes a key for good. Revoking a revoked one changes nothing.
    ///
    /// # Errors
    /// `NotFound`, `Stale`.
    pub async fn revoke_key(
        &self,
        actor: &Actor,
        name: &ApiKeyName,
        etag: &str,
    ) -> Result<ApiKey, Error> {
        let text = name.to_string();
        self.store
            .configure(async |tx| {
                let row = live_key(tx, name).await?;
                check_etag(etag, row.revision, &text)?;
                if row.revoke_time_us.is_some() {
                    return Ok(row);
                }
                let before = audit::key(&row);
                let revoked = ApiKey {
                    revoke_time_us: Some(tx.now_us()),
                    ..row
                };
                let row = tx.update_key(revoked).await?;
                let changes = audit::diff(Some(&before), Some(&audit::key(&row)));
                tx.audit(actor, "RevokeApiKey", &text, changes);
                Ok(row)
            })
            .await
    }

    /// Deletes a key that no published version names; it can be undeleted.
    ///
    /// # Errors
    /// `NotFound`, `Stale`, `Precondition`.
    pub async fn delete_key(
        &self,
        actor: &Actor,
        name: &ApiKeyName,
        etag: &str,
    ) -> Result<(), Error> {
        let text = name.to_string();
        self.store
            .configure(async |tx| {
                let row = tx.key(name).await?;
                check_etag(etag, row.revision, &text)?;
                let changes = audit::diff(Some(&audit::key(&row)), None);
                let revision = tx.delete_key(row.clone()).await?;
                tx.keep_deleted(&ApiKey { revision, ..row }).await?;
                tx.audit(actor, "DeleteApiKey", &text, changes);
                Ok(())
            })
            .await
    }
}

/// What a request made: the value that the key has, for whoever asked.
fn made(row: &ApiKey, name: &str, actor: &Actor) -> Made {
    Made {
        resource: name.to_owned(),
        value: Some((actor.subject.clone(), row.digest.clone())),
    }
}

/// The key `name`, for whoever repeats the request that made its value. Its answer is given once more to whom it was given, as long as
/// it is the key's: a newer value, or one of somebody else, would be a reveal that nobody notes.
///
/// # Errors
/// `Invalid` when the request was for another key; `Precondition` when its answer is not to be had any more; as [`live_key`].
async fn shown_again(
    tx: &Tx,
    name: &ApiKeyName,
    made: Made,
    actor: &Actor,
) -> Result<ApiKey, Error> {
    if made.resource != name.to_string() {
        return Err(Error::invalid("request_id", "was used for another key"));
    }
    let row = live_key(tx, name).await?;
    let is_his = made
        .value
        .is_some_and(|(subject, digest)| subject == actor.subject && digest == row.digest);
    if !is_his || row.revoke_time_us.is_some() {
        return Err(Error::Precondition {
            subject: name.to_string(),
            reason: "VALUE_NOT_SHOWN",
            message: "this request was made before, by somebody else or for a value that is not the key's any more: \
                      the value is not shown again"
                .to_owned(),
        });
    }
    Ok(row)
}

/// A key that never worked would be a mistake.
fn check_expiry(expires_at: Option<Timestamp>) -> Result<(), Error> {
    if expires_at.is_some_and(|at| at <= Timestamp::now()) {
        return Err(Error::invalid("api_key.expire_time", "is in the past"));
    }
    Ok(())
}

fn check_display_name(display_name: &str) -> Result<(), Error> {
    check_length(
        "api_key.display_name",
        display_name,
        limits::DISPLAY_NAME_MAX_CHARS,
    )
}
