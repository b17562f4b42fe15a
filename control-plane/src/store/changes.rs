//! The change log, and what its resources are now. It holds each resource once, so that reading all of it is reading the newest
//! state of all.

use std::collections::{BTreeMap, HashMap};

use sea_orm::{
    ColumnTrait as _, EntityTrait as _, FromQueryResult, JoinType, QueryFilter as _,
    QueryOrder as _, QuerySelect as _, RelationDef,
};
use signalbox_model::{
    error::Error,
    ids::{ApiKeyName, ProjectName, SecretName, WorkflowName},
    key_scope::KeyScope,
    rate_limit::RateLimit,
};

use super::{
    Store, entity, internal, key_scope, rate_limit,
    rows::{Project, Secret},
};

pub(super) const KIND_KEY: &str = "key";
pub(super) const KIND_WORKFLOW: &str = "workflow";
pub(super) const KIND_SECRET: &str = "secret";
pub(super) const KIND_PROJECT: &str = "project";

/// A resource of the configuration as the nodes need it.
#[derive(Clone, Debug)]
pub enum ConfigEntry {
    /// A key.
    Key(KeyEntry),
    /// A workflow.
    Workflow(WorkflowEntry),
    /// A secret, as it is stored.
    Secret(Secret),
    /// A project.
    Project(Project),
}

/// What nodes need of a key's row. Reading a column takes about as long as all else that is done with it, and a snapshot reads
/// all keys.
#[derive(Clone, Debug, FromQueryResult)]
pub struct KeyEntry {
    /// Its project.
    pub project: String,
    /// Its id.
    pub id: String,
    /// Digest of its value.
    pub digest: Vec<u8>,
    /// When it stops working by itself.
    pub expire_time_us: Option<i64>,
    /// When it was revoked.
    pub revoke_time_us: Option<i64>,
    rate_limit_events_per_second: Option<i64>,
    rate_limit_burst: Option<i64>,
    scope_json: Option<String>,
    /// Digest of the value before.
    pub previous_digest: Option<Vec<u8>>,
    /// When that stops working.
    pub previous_expire_time_us: Option<i64>,
}

impl KeyEntry {
    /// How many requests are taken with it; [`None`] also for what is stored damaged.
    #[must_use]
    pub fn rate_limit(&self) -> Option<RateLimit> {
        rate_limit::read(self.rate_limit_events_per_second, self.rate_limit_burst)
    }

    /// For which workflows it counts, and from where.
    ///
    /// # Errors
    /// `Internal` for what is stored damaged: it must not stand for everything.
    pub fn scope(&self) -> Result<KeyScope, Error> {
        key_scope::read((&self.project, &self.id), self.scope_json.as_deref())
    }
}

/// The same of a workflow.
#[derive(Clone, Debug, FromQueryResult)]
pub struct WorkflowEntry {
    /// Its project.
    pub project: String,
    /// Its id.
    pub id: String,
    /// Whether it accepts events.
    pub enabled: bool,
    /// Number of the version that runs; 0: none does.
    pub published_version: i64,
    /// Topic bound by its first confirmed subscription.
    pub bound_topic: Option<String>,
    /// Definition of the version that runs.
    pub source: Option<Vec<u8>>,
}

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
        let head = *self.revision().borrow();
        self.changes_between(revision, head, max).await
    }

    /// The same up to `until`: of resources that were changed after it there is nothing.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn changes_between(
        &self,
        revision: i64,
        until: i64,
        max: u64,
    ) -> Result<(Vec<ConfigChange>, i64), Error> {
        use entity::change::{Column, Entity};
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

    /// The revision of the change that is the `count`th after `revision`, if that is not later than `until`: where the first `count`
    /// of them end.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn revision_after(
        &self,
        revision: i64,
        until: i64,
        count: u64,
    ) -> Result<Option<i64>, Error> {
        use entity::change::{Column, Entity};
        Entity::find()
            .select_only()
            .column(Column::Revision)
            .filter(Column::Revision.gt(revision))
            .filter(Column::Revision.lte(until))
            .order_by_asc(Column::Revision)
            .offset(count.saturating_sub(1))
            .limit(1)
            .into_tuple()
            .one(&self.db)
            .await
            .map_err(|e| internal(&e))
    }

    /// Whether there are more than `count` changes after `revision`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn is_behind(&self, revision: i64, count: u64) -> Result<bool, Error> {
        let one_more = self.revision_after(revision, i64::MAX, count.saturating_add(1));
        Ok(one_more.await?.is_some())
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
            self.key_entries(&project, ids, &mut entries).await?;
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
            self.workflow_entries(&project, ids, &mut entries).await?;
        }
        Ok(entries)
    }

    async fn key_entries(
        &self,
        project: &str,
        ids: Vec<String>,
        entries: &mut HashMap<String, ConfigEntry>,
    ) -> Result<(), Error> {
        use entity::api_key::{Column, Entity};
        let found = Entity::find()
            .select_only()
            .columns([
                Column::Project,
                Column::Id,
                Column::Digest,
                Column::ExpireTimeUs,
                Column::RevokeTimeUs,
                Column::RateLimitEventsPerSecond,
                Column::RateLimitBurst,
                Column::ScopeJson,
                Column::PreviousDigest,
                Column::PreviousExpireTimeUs,
            ])
            .filter(Column::Project.eq(project))
            .filter(Column::Id.is_in(ids))
            .into_model::<KeyEntry>()
            .all(&self.db)
            .await
            .map_err(|e| internal(&e))?;
        for row in found {
            let name = format!("projects/{project}/apiKeys/{}", row.id);
            entries.insert(name, ConfigEntry::Key(row));
        }
        Ok(())
    }

    async fn workflow_entries(
        &self,
        project: &str,
        ids: Vec<String>,
        entries: &mut HashMap<String, ConfigEntry>,
    ) -> Result<(), Error> {
        use entity::{workflow, workflow_version};
        let found = workflow::Entity::find()
            .select_only()
            .columns([
                workflow::Column::Project,
                workflow::Column::Id,
                workflow::Column::Enabled,
                workflow::Column::PublishedVersion,
                workflow::Column::BoundTopic,
            ])
            .column(workflow_version::Column::Source)
            .join(JoinType::LeftJoin, published())
            .filter(workflow::Column::Project.eq(project))
            .filter(workflow::Column::Id.is_in(ids))
            .into_model::<WorkflowEntry>()
            .all(&self.db)
            .await
            .map_err(|e| internal(&e))?;
        let whole = |row: &WorkflowEntry| row.published_version == 0 || row.source.is_some();
        for row in found.into_iter().filter(whole) {
            let name = format!("projects/{project}/workflows/{}", row.id);
            entries.insert(name, ConfigEntry::Workflow(row));
        }
        Ok(())
    }
}

/// From a workflow to its published version.
fn published() -> RelationDef {
    use entity::{workflow, workflow_version};
    let version = (
        workflow_version::Column::Project,
        workflow_version::Column::Workflow,
        workflow_version::Column::Version,
    );
    let workflow = (
        workflow::Column::Project,
        workflow::Column::Id,
        workflow::Column::PublishedVersion,
    );
    workflow::Entity::belongs_to(workflow_version::Entity)
        .from(workflow)
        .to(version)
        .into()
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
