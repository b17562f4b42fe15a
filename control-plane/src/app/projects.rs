//! Projects, and what is decided for each as a whole.

use std::{collections::BTreeSet, time::Duration};

use jiff::Timestamp;
use signalbox_model::{
    error::Error,
    ids::ProjectId,
    labels::{LabelSelector, Labels},
    limits,
};

use super::{
    App, audit, check_etag, check_length, check_request_id,
    quotas::{Limits, OwnQuotas, Quotas, id_of},
};
use crate::store::{Actor, Contents, Page, PageOf, Tx, rows::Project};

const CREATE: &str = "CreateProject";
/// Executions whose end is asked for at once.
const CANCELLED_AT_ONCE: u64 = 100;
/// A node that was not heard for so long is not waited for, nor for what runs there.
const ABSENCE_MAX: Duration = Duration::from_secs(24 * 3600);
/// So long a deleted project is kept at least that had something: nodes may be a little behind with what they report.
const DELETED_FOR_MIN: Duration = Duration::from_secs(60);

/// What of a project is written; what is [`None`] stays, or is as in a new one.
#[derive(Clone, Debug, Default)]
pub struct ProjectChange {
    /// Name for people.
    pub display_name: Option<String>,
    /// All of its labels.
    pub labels: Option<Labels>,
    /// How long its history is kept; inner [`None`]: as long as the control plane says.
    pub history_retention: Option<Option<Duration>>,
    /// Its quotas; inner [`None`]: the control plane's counts.
    pub quotas: Quotas<Option<Option<i64>>>,
}

/// A project as it is shown.
#[derive(Clone, Debug)]
pub struct ShownProject {
    /// It.
    pub row: Project,
    /// How long its history is kept.
    pub history_retention: Duration,
    /// The quotas that count.
    pub quotas: Limits,
    /// What it has, when that was asked for.
    pub contents: Option<Contents>,
}

impl ProjectChange {
    /// Whether it changes quotas.
    #[must_use]
    pub fn has_quotas(&self) -> bool {
        self.quotas != Quotas::default()
    }

    fn check(&self) -> Result<(), Error> {
        if let Some(display_name) = &self.display_name {
            check_length(
                "project.display_name",
                display_name,
                limits::DISPLAY_NAME_MAX_CHARS,
            )?;
        }
        let allowed = limits::RETENTION_MIN..=limits::RETENTION_MAX;
        let retention = self.history_retention.flatten();
        if retention.is_some_and(|retention| !allowed.contains(&retention)) {
            let text = format!(
                "must be from {} second to {} days",
                limits::RETENTION_MIN.as_secs(),
                limits::RETENTION_MAX.as_secs() / (24 * 3600)
            );
            return Err(Error::invalid("project.history_retention", text));
        }
        self.quotas_over(OwnQuotas::default()).check()?;
        Ok(())
    }

    fn quotas_over(&self, before: OwnQuotas) -> OwnQuotas {
        let Quotas {
            workflows,
            api_keys,
            events_per_second,
            history_bytes,
        } = self.quotas;
        Quotas {
            workflows: workflows.unwrap_or(before.workflows),
            api_keys: api_keys.unwrap_or(before.api_keys),
            events_per_second: events_per_second.unwrap_or(before.events_per_second),
            history_bytes: history_bytes.unwrap_or(before.history_bytes),
        }
    }

    fn over(&self, row: Project, defaults: &Limits) -> Project {
        let quotas = self.quotas_over(row.quotas());
        let mut row = row.with_quotas(&quotas, defaults);
        if let Some(display_name) = &self.display_name {
            row.display_name.clone_from(display_name);
        }
        if let Some(retention) = self.history_retention {
            row.history_retention_us = retention.map(in_us);
        }
        match &self.labels {
            Some(labels) => row.with_labels(labels),
            None => row,
        }
    }
}

impl App {
    /// Creates a project.
    ///
    /// # Errors
    /// `AlreadyExists`; `Precondition` while one of its id is being deleted; `Invalid`.
    pub async fn create_project(
        &self,
        actor: &Actor,
        project: &ProjectId,
        new: &ProjectChange,
        request_id: &str,
    ) -> Result<Project, Error> {
        new.check()?;
        let request_id = check_request_id(request_id)?;
        let name = format!("projects/{project}");
        self.store
            .configure(async |tx| {
                if let Some(request_id) = request_id
                    && tx.request(project, CREATE, request_id).await?.is_some()
                {
                    return tx.require_project(project).await;
                }
                let blank = Project {
                    id: project.to_string(),
                    create_time_us: tx.now_us(),
                    history_retention_us: None,
                    display_name: String::new(),
                    labels_json: "{}".to_owned(),
                    revision: 0,
                    delete_time_us: None,
                    quota_workflows: None,
                    quota_api_keys: None,
                    quota_events_per_second: None,
                    quota_history_bytes: None,
                    events_per_second: 0,
                    history_bytes: 0,
                    history_count_time_us: Some(tx.now_us()),
                };
                let row = new.over(blank, &self.settings.quotas);
                let row = tx.insert_project(row).await?;
                if let Some(request_id) = request_id {
                    tx.note_request(project, CREATE, request_id, &name).await?;
                }
                let changes = audit::diff(None, Some(&audit::project(&row)));
                tx.audit(actor, CREATE, &name, changes);
                Ok(row)
            })
            .await
    }

    /// A project.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn project(&self, project: &ProjectId) -> Result<ShownProject, Error> {
        let row = self.store.project(project).await?;
        let contents = self.store.contents(project).await?;
        Ok(ShownProject {
            contents: Some(contents),
            ..self.shown(row)
        })
    }

    /// A project without what it has.
    #[must_use]
    pub fn shown(&self, row: Project) -> ShownProject {
        ShownProject {
            history_retention: self.history_retention(&row),
            quotas: self.quotas(&row),
            contents: None,
            row,
        }
    }

    /// The projects that have these labels: of all, or of those whose ids are in `among`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn projects(
        &self,
        among: Option<&BTreeSet<String>>,
        labels: &LabelSelector,
        page: &Page,
    ) -> Result<PageOf<Project>, Error> {
        self.store.list_projects(among, labels, page).await
    }

    /// Writes what is set of `change`.
    ///
    /// # Errors
    /// `NotFound`; `Precondition` when it is being deleted; `Stale`; `Invalid`.
    pub async fn update_project(
        &self,
        actor: &Actor,
        project: &ProjectId,
        change: &ProjectChange,
        etag: &str,
    ) -> Result<Project, Error> {
        change.check()?;
        let row = self
            .store
            .configure(async |tx| {
                let before = tx.project(project).await?;
                check_etag(etag, before.revision, &before.name())?;
                let after = change.over(before.clone(), &self.settings.quotas);
                if after == before {
                    return Ok(before);
                }
                let row = tx.update_project(after).await?;
                let changes =
                    audit::diff(Some(&audit::project(&before)), Some(&audit::project(&row)));
                tx.audit(actor, "UpdateProject", &row.name(), changes);
                Ok(row)
            })
            .await?;
        self.look.notify_one();
        Ok(row)
    }

    /// Deletes a project; with `force` its workflows, keys and secrets, too. Its history goes in the background.
    ///
    /// # Errors
    /// `NotFound`, `Stale`; `Precondition` for the default project, one that is being deleted, or, without `force`, one that
    /// has something.
    pub async fn delete_project(
        &self,
        actor: &Actor,
        project: &ProjectId,
        etag: &str,
        force: bool,
    ) -> Result<(), Error> {
        let name = format!("projects/{project}");
        let refuse = |reason, message: String| {
            Err(Error::Precondition {
                subject: name.clone(),
                reason,
                message,
            })
        };
        if *project == ProjectId::default_project() {
            return refuse("DEFAULT_PROJECT", format!("{name} cannot be deleted"));
        }
        self.store
            .configure(async |tx| {
                let row = tx.project(project).await?;
                check_etag(etag, row.revision, &name)?;
                let contents = tx.contents(project).await?;
                let is_empty = contents == Contents::default();
                if !is_empty && !force {
                    let Contents {
                        workflows,
                        api_keys,
                        secrets,
                    } = contents;
                    return refuse(
                        "PROJECT_NOT_EMPTY",
                        format!(
                            "{name} has {workflows} workflows, {api_keys} API keys and {secrets} secrets; delete them \
                             first, or ask for it by force"
                        ),
                    );
                }
                let mut before = audit::project(&row);
                before["had"] = audit::contents(&contents);
                tx.delete_project(row).await?;
                if is_empty && !tx.has_history(project).await? {
                    tx.forget_project(project).await?;
                }
                let changes = audit::diff(Some(&before), None);
                tx.audit(actor, "DeleteProject", &name, changes);
                Ok(())
            })
            .await?;
        self.look.notify_one();
        Ok(())
    }

    /// Returns when something was done here after which more is to be deleted at once.
    pub async fn look_wanted(&self) {
        self.look.notified().await;
    }

    /// Asks for the end of all executions of a deleted project.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn cancel_all(&self, row: &Project) -> Result<(), Error> {
        let project = id_of(row)?;
        let cancel = async |tx: &mut Tx| tx.cancel_some(&project, CANCELLED_AT_ONCE).await;
        while self.store.write(cancel).await? > 0 {}
        Ok(())
    }

    /// Deletes some of what a deleted project had; at last, itself. Gives how much; 0: what is left cannot be deleted yet.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn purge_project(&self, row: &Project, now: Timestamp) -> Result<u64, Error> {
        let project = id_of(row)?;
        let now_us = now.as_microsecond();
        let deleted_for_us = now_us.saturating_sub(row.delete_time_us.unwrap_or(now_us));
        self.store
            .write(async |tx| {
                let mut deleted = tx.delete_ended(&row.id, i64::MAX).await?;
                deleted += tx.delete_deliveries(&row.id, i64::MAX).await?;
                if deleted == 0 && deleted_for_us > in_us(ABSENCE_MAX) {
                    deleted = tx.delete_unended(&row.id).await?;
                }
                if deleted > 0 || deleted_for_us < in_us(DELETED_FOR_MIN) {
                    return Ok(deleted);
                }
                let since_us = now_us.saturating_sub(in_us(ABSENCE_MAX));
                let is_over = !tx.has_history(&project).await?
                    && !tx.is_awaited(row.revision, since_us).await?;
                if is_over {
                    tx.forget_project(&project).await?;
                    tracing::info!(%project, "all of the deleted project is gone: its id is free");
                }
                Ok(0)
            })
            .await
    }

    /// How long the history of a project is kept.
    #[must_use]
    pub fn history_retention(&self, project: &Project) -> Duration {
        let of_project = project.history_retention_us.map(|us| {
            // No row has less than nothing.
            Duration::from_micros(u64::try_from(us).unwrap_or_default())
        });
        of_project.unwrap_or(self.settings.history_retention)
    }
}

/// A span of time in microseconds.
pub(super) fn in_us(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}
