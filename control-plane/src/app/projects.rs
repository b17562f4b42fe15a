//! What is decided for a project as a whole.

use std::time::Duration;

use signalbox_model::{audit::Change, error::Error, ids::ProjectId, limits};

use super::App;
use crate::store::{Actor, rows::Project};

impl App {
    /// A project.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn project(&self, project: &ProjectId) -> Result<Project, Error> {
        self.store.project(project).await
    }

    /// Says how long the history of a project is kept; none: as long as the control plane says.
    ///
    /// # Errors
    /// `NotFound`, `Invalid`.
    pub async fn set_history_retention(
        &self,
        actor: &Actor,
        project: &ProjectId,
        retention: Option<Duration>,
    ) -> Result<Project, Error> {
        let allowed = limits::RETENTION_MIN..=limits::RETENTION_MAX;
        if retention.is_some_and(|retention| !allowed.contains(&retention)) {
            let text = format!(
                "must be from {} second to {} days",
                limits::RETENTION_MIN.as_secs(),
                limits::RETENTION_MAX.as_secs() / (24 * 3600)
            );
            return Err(Error::invalid("project.history_retention", text));
        }
        self.store
            .write(async |tx| {
                let row = tx.project(project).await?;
                let before = row.history_retention_us;
                let row = tx
                    .update_project(Project {
                        history_retention_us: retention.map(in_us),
                        ..row
                    })
                    .await?;
                let change = Change {
                    field: "historyRetention".to_owned(),
                    before: before.map(shown),
                    after: retention.map(in_us).map(shown),
                };
                tx.audit(
                    actor,
                    "UpdateProject",
                    &format!("projects/{project}"),
                    vec![change],
                );
                Ok(row)
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

/// A span of time as JSON text.
fn shown(us: i64) -> String {
    let span = Duration::from_micros(u64::try_from(us).unwrap_or_default());
    format!("\"{}s\"", span.as_secs_f64())
}

/// A span of time in microseconds.
pub(super) fn in_us(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}
