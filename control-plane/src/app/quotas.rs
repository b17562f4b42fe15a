//! How much a project may have (`docs/decisions/0033-projects.md`).

use std::time::{Duration, Instant};

use jiff::Timestamp;
use signalbox_model::{
    error::Error,
    ids::ProjectId,
    limits,
    violation::{Collector, Violations},
};

use super::{App, projects::in_us};
use crate::store::{Tx, rows::Project};

/// Executions that are weighed at once.
const WEIGHED_AT_ONCE: u64 = 200;
/// How often the history of a project with a quota is counted as a whole.
const COUNT_INTERVAL: Duration = Duration::from_secs(7 * 24 * 3600);

/// One of each quota: what a project says, what the control plane says, or what is changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quotas<T> {
    /// Workflows.
    pub workflows: T,
    /// API keys.
    pub api_keys: T,
    /// Requests with events a second that each node takes.
    pub events_per_second: T,
    /// Size of the history in bytes.
    pub history_bytes: T,
}

/// Numbers that count; 0 stands for no limit.
pub type Limits = Quotas<i64>;
/// Numbers of a project itself; none: the control plane's counts.
pub(super) type OwnQuotas = Quotas<Option<i64>>;

impl Limits {
    /// What counts where nobody says anything.
    pub const USUAL: Self = Self {
        workflows: limits::QUOTA_WORKFLOWS,
        api_keys: limits::QUOTA_API_KEYS,
        events_per_second: 0,
        history_bytes: 0,
    };
}

impl OwnQuotas {
    /// Whether they can be.
    ///
    /// # Errors
    /// `Invalid`, with each that cannot.
    pub(super) fn check(&self) -> Result<(), Violations> {
        let Self {
            workflows,
            api_keys,
            events_per_second,
            history_bytes,
        } = self;
        let mut problems = Collector::default();
        for (field, given, max) in [
            ("workflows", workflows, i64::MAX),
            ("api_keys", api_keys, i64::MAX),
            (
                "events_per_second",
                events_per_second,
                i64::from(limits::RATE_MAX),
            ),
            ("history_bytes", history_bytes, i64::MAX),
        ] {
            if given.is_some_and(|given| !(0..=max).contains(&given)) {
                let range = match max {
                    i64::MAX => "not be negative".to_owned(),
                    max => format!("be from 0 to {max}"),
                };
                problems.add(format!("project.quotas.{field}"), format!("must {range}"));
            }
        }
        problems.finish(Some(()))
    }

    /// Those that count, where `defaults` do for what it does not say.
    #[must_use]
    pub fn or(&self, defaults: &Limits) -> Limits {
        Quotas {
            workflows: self.workflows.unwrap_or(defaults.workflows),
            api_keys: self.api_keys.unwrap_or(defaults.api_keys),
            events_per_second: self.events_per_second.unwrap_or(defaults.events_per_second),
            history_bytes: self.history_bytes.unwrap_or(defaults.history_bytes),
        }
    }
}

impl Project {
    /// What it says itself.
    #[must_use]
    pub fn quotas(&self) -> OwnQuotas {
        Quotas {
            workflows: self.quota_workflows,
            api_keys: self.quota_api_keys,
            events_per_second: self.quota_events_per_second,
            history_bytes: self.quota_history_bytes,
        }
    }

    /// The same with other quotas, where `defaults` count for what they do not say.
    pub(super) fn with_quotas(self, quotas: &OwnQuotas, defaults: &Limits) -> Self {
        Self {
            quota_workflows: quotas.workflows,
            quota_api_keys: quotas.api_keys,
            quota_events_per_second: quotas.events_per_second,
            quota_history_bytes: quotas.history_bytes,
            events_per_second: quotas.or(defaults).events_per_second,
            ..self
        }
    }
}

/// What is made in a project, and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// A workflow.
    Workflow,
    /// An API key.
    ApiKey,
}

impl App {
    /// The quotas of a project that count.
    #[must_use]
    pub fn quotas(&self, project: &Project) -> Limits {
        project.quotas().or(&self.settings.quotas)
    }

    /// There is such a project, and it may have one more. The configuration is locked.
    ///
    /// # Errors
    /// `NotFound`; `Precondition` when it is being deleted; `Quota`.
    pub(super) async fn require_quota(
        &self,
        tx: &Tx,
        project: &ProjectId,
        of: Counted,
    ) -> Result<(), Error> {
        let row = tx.require_project(project).await?;
        let limits = self.quotas(&row);
        let (quota, limit) = match of {
            Counted::Workflow => ("workflows", limits.workflows),
            Counted::ApiKey => ("api_keys", limits.api_keys),
        };
        if limit == 0 {
            return Ok(());
        }
        let used = match of {
            Counted::Workflow => tx.count_workflows(project).await?,
            Counted::ApiKey => tx.count_keys(project).await?,
        };
        exceeded(&row, quota, limit, used)
    }

    /// By how much a history of `bytes` is larger than the project's quota. Nothing is, until it has been counted.
    pub(super) fn excess_bytes(&self, project: &Project, bytes: i64) -> i64 {
        match self.quotas(project).history_bytes {
            0 => 0,
            _ if project.history_count_time_us.is_none() => 0,
            limit => bytes.saturating_sub(limit),
        }
    }

    /// There is room for another execution that somebody asks for: what ended first makes it, but for the execution of the id
    /// `except`.
    ///
    /// # Errors
    /// `NotFound` and `Precondition` (project); `Quota` when nothing that has ended is left, or not enough for now.
    pub(super) async fn require_room(
        &self,
        tx: &mut Tx,
        project: &ProjectId,
        except: Option<&str>,
    ) -> Result<(), Error> {
        let row = tx.require_project(project).await?;
        // At the quota is too much already: something is to be added.
        let excess_bytes = |tx: &Tx| self.excess_bytes(&row, tx.history_bytes(&row) + 1);
        let too_many = excess_bytes(tx);
        if too_many <= 0 {
            return Ok(());
        }
        tx.delete_oldest(&row.id, too_many, except).await?;
        if excess_bytes(tx) <= 0 {
            return Ok(());
        }
        let limit = self.quotas(&row).history_bytes;
        exceeded(&row, "history_bytes", limit, tx.history_bytes(&row))
    }

    /// Deletes some of what a project's history has beyond its quota: one batch. Gives how many executions.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn purge_excess(&self, project: &Project) -> Result<u64, Error> {
        let id = id_of(project)?;
        self.store
            .write(async |tx| {
                let row = tx.require_project(&id).await?;
                match self.excess_bytes(&row, row.history_bytes) {
                    excess @ 1.. => tx.delete_oldest(&row.id, excess, None).await,
                    _ => Ok(0),
                }
            })
            .await
    }

    /// The projects whose history is to be counted as a whole: those of which nobody has, and after a while those with a quota,
    /// since what an earlier Signalbox writes beside this one is not noted.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn uncounted(&self, now: Timestamp) -> Result<Vec<Project>, Error> {
        let long_ago_us = now.as_microsecond().saturating_sub(in_us(COUNT_INTERVAL));
        let mut projects = self.store.projects().await?;
        projects.retain(|project| match project.history_count_time_us {
            None => true,
            Some(time_us) => time_us < long_ago_us && self.quotas(project).history_bytes > 0,
        });
        Ok(projects)
    }

    /// Counts how large the history of a project is. What is written and deleted meanwhile may count twice, or not; it is little
    /// beside the whole.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_history(&self, project: &Project) -> Result<(), Error> {
        let mut total_bytes: i64 = 0;
        let mut after = None;
        loop {
            let began = Instant::now();
            let (bytes, last) = self
                .store
                .weigh_some(&project.id, after.as_ref(), WEIGHED_AT_ONCE)
                .await?;
            total_bytes = total_bytes.saturating_add(bytes);
            if last.is_none() {
                break;
            }
            after = last;
            tokio::time::sleep(began.elapsed()).await;
        }
        self.store
            .write(async |tx| tx.history_counted(project, total_bytes).await)
            .await
    }

    /// Tells nodes what the control plane says of projects that say nothing, if it said otherwise before: once, at a start.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn settle_quotas(&self) -> Result<(), Error> {
        self.store
            .configure(async |tx| {
                for row in tx.projects().await? {
                    let events_per_second = self.quotas(&row).events_per_second;
                    if row.events_per_second == events_per_second || row.is_deleted() {
                        continue;
                    }
                    let row = tx.project(&id_of(&row)?).await?;
                    tx.update_project(Project {
                        events_per_second,
                        ..row
                    })
                    .await?;
                }
                Ok(())
            })
            .await
    }
}

pub(super) fn id_of(project: &Project) -> Result<ProjectId, Error> {
    project.id.parse().map_err(|error| Error::Internal {
        message: format!("a stored name cannot be read: {error}"),
    })
}

/// Whether one more is too many.
pub(super) fn exceeded(
    project: &Project,
    quota: &'static str,
    limit: i64,
    used: i64,
) -> Result<(), Error> {
    if used < limit {
        return Ok(());
    }
    Err(Error::Quota {
        subject: project.name(),
        quota,
        limit,
        used,
    })
}
