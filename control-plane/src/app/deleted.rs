//! Keys and workflows that are deleted: they are shown, undeleted, and in the end purged (`docs/decisions/0031-deleted.md`).

use std::time::Duration;

use jiff::Timestamp;
use signalbox_model::{
    audit::Change,
    error::Error,
    ids::{ApiKeyName, ProjectId, WorkflowName},
    labels::LabelSelector,
};
use signalbox_proto::convert::definition;

use super::{
    App, audit, check_etag,
    projects::in_us,
    quotas::Counted,
    workflows::{calls, references},
};
use crate::store::{
    Actor, Deletable, Deleted, Order, Page, PageOf, Tx,
    rows::{ApiKey, Workflow},
};

/// Resources that are purged in one transaction.
const PURGED_MAX: u64 = 100;

/// A resource, deleted or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found<T> {
    /// It; when it is deleted, as it was.
    pub row: T,
    /// That it is deleted.
    pub deletion: Option<Deletion>,
}

/// When something was deleted, and when that is for good: microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// When it was deleted.
    pub delete_time_us: i64,
    /// When it is purged.
    pub purge_time_us: i64,
}

impl<T> Found<T> {
    /// What is not deleted.
    pub fn live(row: T) -> Self {
        Self {
            row,
            deletion: None,
        }
    }
}

/// A workflow that is not deleted.
///
/// # Errors
/// `NotFound`; `Precondition` when it is deleted.
pub(super) async fn live_workflow(tx: &Tx, name: &WorkflowName) -> Result<Workflow, Error> {
    let found = tx.workflow(name).await;
    if matches!(found, Err(Error::NotFound { .. })) {
        let (project, id) = (name.project.as_str(), name.workflow.as_str());
        if tx.deleted::<Workflow>(project, id).await?.is_some() {
            return Err(Error::deleted(name));
        }
    }
    found
}

/// A key that is not deleted.
///
/// # Errors
/// `NotFound`; `Precondition` when it is deleted.
pub(super) async fn live_key(tx: &Tx, name: &ApiKeyName) -> Result<ApiKey, Error> {
    let found = tx.key(name).await;
    if matches!(found, Err(Error::NotFound { .. })) {
        let (project, id) = (name.project.as_str(), name.api_key.as_str());
        if tx.deleted::<ApiKey>(project, id).await?.is_some() {
            return Err(Error::deleted(name));
        }
    }
    found
}

/// What is wrong with what is to come back, as a state that it is in: nobody sent it.
fn refused(error: Error, name: &WorkflowName) -> Error {
    match error {
        Error::Invalid(violations) => Error::Precondition {
            subject: name.to_string(),
            reason: "REFERENCES_GONE",
            message: format!(
                "{name} cannot be undeleted: its published version does not fit any more: {violations}"
            ),
        },
        other => other,
    }
}

/// That it was for good.
fn purged() -> Vec<Change> {
    vec![Change::new_field("purged", true)]
}

/// Whoever purges in the background.
fn system() -> Actor {
    Actor {
        subject: "control-plane".to_owned(),
        request_id: None,
        trace_id: None,
    }
}

impl App {
    /// How long what is deleted is kept.
    #[must_use]
    pub fn deleted_retention(&self) -> Duration {
        self.settings.deleted_retention
    }

    fn found<T>(&self, deleted: Deleted<T>) -> Found<T> {
        let Deleted {
            row,
            delete_time_us,
        } = deleted;
        let kept_us = in_us(self.settings.deleted_retention);
        Found {
            row,
            deletion: Some(Deletion {
                delete_time_us,
                purge_time_us: delete_time_us.saturating_add(kept_us),
            }),
        }
    }

    /// What has this name, deleted or not.
    async fn live_or_deleted<T: Deletable>(
        &self,
        name: impl ToString,
        project: &ProjectId,
        id: &str,
    ) -> Result<Found<T>, Error> {
        let found = self.store.live_or_deleted(project.as_str(), id).await?;
        match found {
            (Some(live), _) => Ok(Found::live(live)),
            (None, Some(deleted)) => Ok(self.found(deleted)),
            (None, None) => Err(Error::not_found(name)),
        }
    }

    pub(super) async fn found_key(&self, name: &ApiKeyName) -> Result<Found<ApiKey>, Error> {
        self.live_or_deleted(name, &name.project, name.api_key.as_str())
            .await
    }

    pub(super) async fn found_workflow(
        &self,
        name: &WorkflowName,
    ) -> Result<Found<Workflow>, Error> {
        self.live_or_deleted(name, &name.project, name.workflow.as_str())
            .await
    }

    /// A workflow that is not deleted.
    ///
    /// # Errors
    /// `NotFound`; `Precondition` when it is deleted.
    pub async fn live_workflow(&self, name: &WorkflowName) -> Result<Workflow, Error> {
        let found = self.found_workflow(name).await?;
        match found.deletion {
            None => Ok(found.row),
            Some(_) => Err(Error::deleted(name)),
        }
    }

    /// A page of what is live and what is deleted, in the same order.
    pub(super) async fn list_with_deleted<T: Deletable>(
        &self,
        project: &ProjectId,
        labels: &LabelSelector,
        page: &Page,
    ) -> Result<PageOf<Found<T>>, Error> {
        let (live, deleted) = self
            .store
            .list_with_deleted::<T>(project, labels, page)
            .await?;
        let more = live.next.is_some() || deleted.next.is_some();
        let mut rows: Vec<_> = live.rows.into_iter().map(Found::live).collect();
        rows.extend(deleted.rows.into_iter().map(|row| self.found(row)));
        let position = |found: &Found<T>| found.row.position();
        rows.sort_by(|a, b| match page.order {
            Order::Ascending => position(a).cmp(&position(b)),
            Order::Descending => position(b).cmp(&position(a)),
        });
        let size = usize::try_from(page.size).unwrap_or(usize::MAX);
        let more = more || rows.len() > size;
        rows.truncate(size);
        let next = rows.last().filter(|_| more).map(position);
        Ok(PageOf { rows, next })
    }

    /// Brings a deleted key back.
    ///
    /// # Errors
    /// `NotFound`, `AlreadyExists` when it is not deleted, `Stale`, `Quota`; `Precondition` (project).
    pub async fn undelete_key(
        &self,
        actor: &Actor,
        name: &ApiKeyName,
        etag: &str,
    ) -> Result<ApiKey, Error> {
        let text = name.to_string();
        let (project, id) = (name.project.as_str(), name.api_key.as_str());
        self.store
            .configure(async |tx| {
                is_gone(tx.key(name).await, &text)?;
                let deleted = tx.deleted::<ApiKey>(project, id).await?;
                let row = deleted.ok_or_else(|| Error::not_found(name))?.row;
                check_etag(etag, row.revision, &text)?;
                self.require_quota(tx, &name.project, Counted::ApiKey)
                    .await?;
                tx.forget_deleted::<ApiKey>(project, id).await?;
                let row = tx.insert_key(row).await?;
                let changes = audit::diff(None, Some(&audit::key(&row)));
                tx.audit(actor, "UndeleteApiKey", &text, changes);
                Ok(row)
            })
            .await
    }

    /// Brings a deleted workflow back, as it was, or with nothing published. A schedule goes on from now.
    ///
    /// # Errors
    /// `NotFound`, `AlreadyExists` when it is not deleted, `Stale`, `Quota`; `Precondition` (project), and when what its published version names is gone.
    pub async fn undelete_workflow(
        &self,
        actor: &Actor,
        name: &WorkflowName,
        unpublished: bool,
        etag: &str,
    ) -> Result<Workflow, Error> {
        let text = name.to_string();
        let (project, id) = (name.project.as_str(), name.workflow.as_str());
        self.store
            .configure(async |tx| {
                is_gone(tx.workflow(name).await, &text)?;
                let deleted = tx.deleted::<Workflow>(project, id).await?;
                let row = deleted.ok_or_else(|| Error::not_found(name))?.row;
                check_etag(etag, row.revision, &text)?;
                self.require_quota(tx, &name.project, Counted::Workflow)
                    .await?;
                tx.forget_deleted::<Workflow>(project, id).await?;
                let published_version = if unpublished {
                    0
                } else {
                    row.published_version
                };
                let back = Workflow {
                    update_time_us: tx.now_us(),
                    published_version,
                    ..row
                };
                let row = tx.insert_workflow(back).await?;
                let latest = tx.workflow_version(name, row.latest_version).await?;
                if row.published_version > 0 {
                    let version = row.published_version;
                    let source = tx.workflow_version(name, version).await?.source;
                    let published = definition::decode(&source, &name.project)
                        .map_err(|violations| refused(violations.into(), name))?;
                    references::check_published(tx, name, &published)
                        .await
                        .map_err(|error| refused(error, name))?;
                    references::note(tx, name, row.enabled, version, &published).await?;
                }
                let after = audit::workflow_with_spec(&row, &latest.source);
                let changes = audit::diff(None, Some(&after));
                tx.audit(actor, "UndeleteWorkflow", &text, changes);
                Ok(row)
            })
            .await
    }

    /// Deletes a key, deleted or not, for good.
    ///
    /// # Errors
    /// As [`App::delete_key`].
    pub async fn purge_key(
        &self,
        actor: &Actor,
        name: &ApiKeyName,
        etag: &str,
    ) -> Result<(), Error> {
        let text = name.to_string();
        let (project, id) = (name.project.as_str(), name.api_key.as_str());
        self.store
            .configure(async |tx| {
                let row = match tx.deleted::<ApiKey>(project, id).await? {
                    Some(Deleted { row, .. }) => {
                        check_etag(etag, row.revision, &text)?;
                        tx.forget_deleted::<ApiKey>(project, id).await?;
                        row
                    }
                    None => {
                        let row = tx.key(name).await?;
                        check_etag(etag, row.revision, &text)?;
                        tx.delete_key(row.clone()).await?;
                        row
                    }
                };
                ApiKey::forget_rest(tx, project, id).await?;
                let mut changes = audit::diff(Some(&audit::key(&row)), None);
                changes.extend(purged());
                tx.audit(actor, "DeleteApiKey", &text, changes);
                Ok(())
            })
            .await
    }

    /// Deletes a workflow, deleted or not, for good, with its versions.
    ///
    /// # Errors
    /// As [`App::delete_workflow`].
    pub async fn purge_workflow(
        &self,
        actor: &Actor,
        name: &WorkflowName,
        etag: &str,
    ) -> Result<(), Error> {
        let text = name.to_string();
        let (project, id) = (name.project.as_str(), name.workflow.as_str());
        self.store
            .configure(async |tx| {
                let (row, is_deleted) = match tx.deleted::<Workflow>(project, id).await? {
                    Some(Deleted { row, .. }) => (row, true),
                    None => (tx.workflow(name).await?, false),
                };
                check_etag(etag, row.revision, &text)?;
                let latest = tx.workflow_version(name, row.latest_version).await?;
                if is_deleted {
                    tx.forget_deleted::<Workflow>(project, id).await?;
                } else {
                    calls::refuse_while_called(tx, name).await?;
                    tx.delete_workflow(name).await?;
                }
                Workflow::forget_rest(tx, project, id).await?;
                let before = audit::workflow_with_spec(&row, &latest.source);
                let mut changes = audit::diff(Some(&before), None);
                changes.extend(purged());
                tx.audit(actor, "DeleteWorkflow", &text, changes);
                Ok(())
            })
            .await
    }

    /// Purges what at `now` was kept long enough: one batch. Gives how many; 0: there is no more of it. Safe while others do the
    /// same, and while somebody undeletes.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn purge_deleted(&self, now: Timestamp) -> Result<u64, Error> {
        let kept_us = in_us(self.settings.deleted_retention);
        let before_us = now.as_microsecond().saturating_sub(kept_us);
        // Nobody waits for the configuration while there is nothing to do.
        let due = self.store.deleted_before(before_us, PURGED_MAX).await?;
        if due.is_empty() {
            return Ok(0);
        }
        self.store
            .configure(async |tx| {
                let mut count = 0;
                for (kind, project, id) in &due {
                    let purged = match kind.as_str() {
                        ApiKey::KIND => purge_one::<ApiKey>(tx, project, id, before_us).await?,
                        _ => purge_one::<Workflow>(tx, project, id, before_us).await?,
                    };
                    count += u64::from(purged);
                }
                Ok(count)
            })
            .await
    }
}

/// Purges what is still deleted, and was before the time.
async fn purge_one<T: Deletable>(
    tx: &mut Tx,
    project: &str,
    id: &str,
    before_us: i64,
) -> Result<bool, Error> {
    let deleted = tx.deleted::<T>(project, id).await?;
    if deleted.is_none_or(|deleted| deleted.delete_time_us >= before_us) {
        return Ok(false);
    }
    tx.forget_deleted::<T>(project, id).await?;
    T::forget_rest(tx, project, id).await?;
    let (action, collection) = if T::KIND == Workflow::KIND {
        ("PurgeWorkflow", "workflows")
    } else {
        ("PurgeApiKey", "apiKeys")
    };
    let name = format!("projects/{project}/{collection}/{id}");
    tx.audit(&system(), action, &name, purged());
    Ok(true)
}

/// What is to be undeleted must not be there.
fn is_gone<T>(found: Result<T, Error>, name: &str) -> Result<(), Error> {
    match found {
        Ok(_) => Err(Error::AlreadyExists {
            resource: name.to_owned(),
        }),
        Err(Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}
