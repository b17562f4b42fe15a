//! The change log, and what its resources are now. It holds each resource once, so that reading all of it is reading the newest
//! state of all.

use std::collections::{BTreeMap, HashMap};

use sea_orm::{
    ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};
use signalbox_model::{
    error::Error,
    ids::{ApiKeyName, ProjectName, SecretName, WorkflowName},
};

use super::{Store, entity, internal, resources::ConfigEntry};

pub(super) const KIND_KEY: &str = "key";
pub(super) const KIND_WORKFLOW: &str = "workflow";
pub(super) const KIND_SECRET: &str = "secret";
pub(super) const KIND_PROJECT: &str = "project";

/// A change of the configuration: the newest state of one resource.
#[derive(Clone, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "there are few at a time, each used once"
)]
pub enum ConfigChange {
    /// It is this now.
    Upsert(ConfigEntry),
    /// It is gone.
    Delete(String),
}

impl Store {
    /// The changes after `revision` that this process knows of, oldest first, at most `max`, and the revision that they lead to.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn changes_since(
        &self,
        revision: i64,
        max: u64,
    ) -> Result<(Vec<ConfigChange>, i64), Error> {
        use entity::change::{Column, Entity};
        let until = *self.revision().borrow();
        let rows = Entity::find()
            .filter(Column::Revision.gt(revision))
            .filter(Column::Revision.lte(until))
            .order_by_asc(Column::Revision)
            .limit(max)
            .all(&self.db)
            .await
            .map_err(|e| internal(&e))?;
        let reached = if (rows.len() as u64) < max {
            until
        } else {
            rows.last().map_or(until, |row| row.revision)
        };
        let mut entries = self.entries(&rows).await?;
        let changes = rows.into_iter().filter_map(|row| {
            if row.deleted {
                return Some(ConfigChange::Delete(row.resource));
            }
            // Deleted, or published anew, since the log was read: its own entry comes later.
            entries.remove(&row.resource).map(ConfigChange::Upsert)
        });
        Ok((changes.collect(), reached))
    }

    /// Whether there are more than `count` changes after `revision`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn is_behind(&self, revision: i64, count: u64) -> Result<bool, Error> {
        use entity::change::{Column, Entity};
        let one_more: Option<i64> = Entity::find()
            .select_only()
            .column(Column::Revision)
            .filter(Column::Revision.gt(revision))
            .order_by_asc(Column::Revision)
            .offset(count)
            .limit(1)
            .into_tuple()
            .one(&self.db)
            .await
            .map_err(|e| internal(&e))?;
        Ok(one_more.is_some())
    }

    /// What the resources of entries of the change log are now, by their names: one statement for all of a kind in a project.
    async fn entries(
        &self,
        rows: &[entity::change::Model],
    ) -> Result<HashMap<String, ConfigEntry>, Error> {
        let mut keys = Names::default();
        let mut workflows = Names::default();
        let mut secrets = Names::default();
        let mut projects = Vec::new();
        for row in rows.iter().filter(|row| !row.deleted) {
            let resource = row.resource.as_str();
            match row.kind.as_str() {
                KIND_KEY => {
                    if let Ok(ApiKeyName { project, api_key }) = resource.parse() {
                        keys.add(project, api_key);
                    }
                }
                KIND_SECRET => {
                    if let Ok(SecretName { project, secret }) = resource.parse() {
                        secrets.add(project, secret);
                    }
                }
                KIND_PROJECT => {
                    if let Ok(ProjectName { project }) = resource.parse() {
                        projects.push(project.to_string());
                    }
                }
                _ => {
                    if let Ok(WorkflowName { project, workflow }) = resource.parse() {
                        workflows.add(project, workflow);
                    }
                }
            }
        }
        let mut entries = HashMap::with_capacity(rows.len());
        for (project, ids) in keys.0 {
            for row in self.key_entries(&project, ids).await? {
                let name = format!("projects/{project}/apiKeys/{}", row.id);
                entries.insert(name, ConfigEntry::Key(row));
            }
        }
        for (project, ids) in secrets.0 {
            use entity::secret::{Column, Entity};
            let of_project = Entity::find().filter(Column::Project.eq(&project));
            let found = of_project.filter(Column::Id.is_in(ids)).all(&self.db).await;
            for row in found.map_err(|e| internal(&e))? {
                let name = format!("projects/{project}/secrets/{}", row.id);
                entries.insert(name, ConfigEntry::Secret(row));
            }
        }
        if !projects.is_empty() {
            use entity::project::{Column, Entity};
            let found = Entity::find().filter(Column::Id.is_in(projects));
            for row in found.all(&self.db).await.map_err(|e| internal(&e))? {
                entries.insert(row.name(), ConfigEntry::Project(row));
            }
        }
        for (project, ids) in workflows.0 {
            for row in self.workflow_entries(&project, ids).await? {
                let name = format!("projects/{project}/workflows/{}", row.id);
                entries.insert(name, ConfigEntry::Workflow(row));
            }
        }
        Ok(entries)
    }
}

/// Ids by project.
#[derive(Default)]
struct Names(BTreeMap<String, Vec<String>>);

impl Names {
    fn add(&mut self, project: impl ToString, id: impl ToString) {
        let ids = self.0.entry(project.to_string()).or_default();
        ids.push(id.to_string());
    }
}
