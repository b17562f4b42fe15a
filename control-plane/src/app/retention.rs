//! Deleting what is kept no longer (`docs/decisions/0025-history.md`).

use std::time::Duration;

use jiff::Timestamp;
use signalbox_model::error::Error;

use super::{App, projects::in_us};
use crate::store::{Tx, rows::Project};

/// What is deleted when it is kept no longer.
#[derive(Clone, Debug)]
pub enum Expiring {
    /// Executions of a project.
    Executions(Project),
    /// Deliveries of a project.
    Deliveries(Project),
    /// All that a deleted project had.
    Deleted(Project),
    /// Executions of a project whose history is larger than its quota.
    Excess(Project),
}

impl Expiring {
    /// What of it is called in metrics.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Executions(_) => "executions",
            Self::Deliveries(_) => "deliveries",
            Self::Deleted(_) => "project",
            Self::Excess(_) => "excess",
        }
    }

    /// Of which project.
    #[must_use]
    pub fn project(&self) -> &Project {
        match self {
            Self::Executions(project)
            | Self::Deliveries(project)
            | Self::Deleted(project)
            | Self::Excess(project) => project,
        }
    }
}

impl App {
    /// All that expires.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn expiring(&self) -> Result<Vec<Expiring>, Error> {
        let projects = self.store.projects().await?;
        let of_projects = projects.into_iter().flat_map(|project| {
            if project.is_deleted() {
                return vec![Expiring::Deleted(project)];
            }
            let mut all = vec![
                Expiring::Executions(project.clone()),
                Expiring::Deliveries(project.clone()),
            ];
            if self.excess_bytes(&project, project.history_bytes) > 0 {
                all.push(Expiring::Excess(project));
            }
            all
        });
        Ok(of_projects.collect())
    }

    /// How long it is kept.
    #[must_use]
    pub fn retention(&self, of: &Expiring) -> Duration {
        match of {
            Expiring::Deleted(_) | Expiring::Excess(_) => Duration::ZERO,
            Expiring::Executions(project) | Expiring::Deliveries(project) => {
                self.history_retention(project)
            }
        }
    }

    /// Deletes what at `now` is kept no longer: one batch, the oldest first. Gives how many; 0: there is no more of it.
    /// Safe while others do the same, and while nodes report.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn purge(&self, of: &Expiring, now: Timestamp) -> Result<u64, Error> {
        let before_us = now
            .as_microsecond()
            .saturating_sub(in_us(self.retention(of)));
        match of {
            Expiring::Executions(project) => {
                let delete = async |tx: &mut Tx| tx.delete_ended(&project.id, before_us).await;
                self.store.write(delete).await
            }
            Expiring::Deliveries(project) => {
                let delete = async |tx: &mut Tx| tx.delete_deliveries(&project.id, before_us).await;
                self.store.write(delete).await
            }
            Expiring::Deleted(project) => self.purge_project(project, now).await,
            Expiring::Excess(project) => self.purge_excess(project).await,
        }
    }
}
