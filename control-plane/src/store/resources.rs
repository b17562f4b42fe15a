//! The resources of the configuration, as nodes need them: some by their names, or all, in pages.

use sea_orm::{
    ColumnTrait as _, Condition, EntityTrait, ExprTrait as _, FromQueryResult, IntoSimpleExpr as _,
    JoinType, QueryFilter as _, QueryOrder as _, QuerySelect as _, RelationDef, Select,
    sea_query::Expr,
};
use signalbox_model::{error::Error, key_scope::KeyScope, rate_limit::RateLimit};

use super::{
    Store, entity, internal, key_scope, rate_limit,
    rows::{Project, Secret},
};

/// A resource of the configuration as the nodes need it.
#[derive(Clone, Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "there are few at a time, each used once"
)]
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

impl WorkflowEntry {
    /// Not so while its version is being written, or was damaged.
    fn is_whole(&self) -> bool {
        self.published_version == 0 || self.source.is_some()
    }
}

/// Kinds of resources.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigKind {
    /// API keys.
    Key,
    /// Workflows.
    Workflow,
    /// Secrets.
    Secret,
    /// Projects.
    Project,
}

impl ConfigKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Key, Self::Workflow, Self::Secret, Self::Project];
}

/// A page of the resources of one kind.
#[derive(Clone, Debug)]
pub struct ConfigPage {
    /// The resources, in the order of their names.
    pub entries: Vec<ConfigEntry>,
    /// Where the next page begins; none on the last.
    pub next: Option<Behind>,
}

/// The resource behind which a page begins: the values of its primary key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behind(pub(super) Vec<String>);

impl Store {
    /// The resources of a kind, of all projects, behind one, or from the first: at most `max`, 1 at least, as they are now.
    /// Unlike [`Store::changes_since`] it reads no change log, and looks for no names: less work, where all are wanted.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn config_page(
        &self,
        kind: ConfigKind,
        behind: Option<&Behind>,
        max: u64,
    ) -> Result<ConfigPage, Error> {
        use entity::{api_key, project, secret, workflow};
        match kind {
            ConfigKind::Key => {
                let key = [api_key::Column::Project, api_key::Column::Id];
                let page = page(keys(), &key, behind, max).into_model::<KeyEntry>();
                let rows = page.all(&self.db).await.map_err(|e| internal(&e))?;
                let last = |row: &KeyEntry| vec![row.project.clone(), row.id.clone()];
                Ok(page_of(rows, max, last, |row| Some(ConfigEntry::Key(row))))
            }
            ConfigKind::Workflow => {
                let key = [workflow::Column::Project, workflow::Column::Id];
                let page = page(workflows(), &key, behind, max).into_model::<WorkflowEntry>();
                let rows = page.all(&self.db).await.map_err(|e| internal(&e))?;
                let last = |row: &WorkflowEntry| vec![row.project.clone(), row.id.clone()];
                Ok(page_of(rows, max, last, |row| {
                    row.is_whole().then_some(ConfigEntry::Workflow(row))
                }))
            }
            ConfigKind::Secret => {
                let key = [secret::Column::Project, secret::Column::Id];
                let page = page(secret::Entity::find(), &key, behind, max);
                let rows = page.all(&self.db).await.map_err(|e| internal(&e))?;
                let last = |row: &Secret| vec![row.project.clone(), row.id.clone()];
                Ok(page_of(rows, max, last, |row| {
                    Some(ConfigEntry::Secret(row))
                }))
            }
            ConfigKind::Project => {
                let page = page(project::Entity::find(), &[project::Column::Id], behind, max);
                let rows = page.all(&self.db).await.map_err(|e| internal(&e))?;
                let last = |row: &Project| vec![row.id.clone()];
                Ok(page_of(rows, max, last, |row| {
                    Some(ConfigEntry::Project(row))
                }))
            }
        }
    }

    /// The keys of a project that have these ids.
    pub(super) async fn key_entries(
        &self,
        project: &str,
        ids: Vec<String>,
    ) -> Result<Vec<KeyEntry>, Error> {
        use entity::api_key::Column;
        keys()
            .filter(Column::Project.eq(project))
            .filter(Column::Id.is_in(ids))
            .into_model::<KeyEntry>()
            .all(&self.db)
            .await
            .map_err(|e| internal(&e))
    }

    /// The same of workflows.
    pub(super) async fn workflow_entries(
        &self,
        project: &str,
        ids: Vec<String>,
    ) -> Result<Vec<WorkflowEntry>, Error> {
        use entity::workflow::Column;
        let mut found = workflows()
            .filter(Column::Project.eq(project))
            .filter(Column::Id.is_in(ids))
            .into_model::<WorkflowEntry>()
            .all(&self.db)
            .await
            .map_err(|e| internal(&e))?;
        found.retain(WorkflowEntry::is_whole);
        Ok(found)
    }
}

/// The rows of `query` behind one, in the order of the primary key.
pub(super) fn page<E: EntityTrait>(
    query: Select<E>,
    key: &[E::Column],
    behind: Option<&Behind>,
    max: u64,
) -> Select<E> {
    let columns = || key.iter().map(|column| column.into_simple_expr());
    let behind = behind.map(|Behind(values)| {
        let values = values.iter().map(|value| Expr::value(value.as_str()));
        Expr::tuple(columns()).gt(Expr::tuple(values))
    });
    let query = query.filter(Condition::all().add_option(behind));
    key.iter()
        .fold(query, |query, column| query.order_by_asc(*column))
        .limit(max)
}

fn page_of<R>(
    rows: Vec<R>,
    max: u64,
    key: impl Fn(&R) -> Vec<String>,
    entry: impl Fn(R) -> Option<ConfigEntry>,
) -> ConfigPage {
    let may_be_more = rows.len() as u64 >= max;
    let next = rows.last().filter(|_| may_be_more).map(key).map(Behind);
    ConfigPage {
        entries: rows.into_iter().filter_map(entry).collect(),
        next,
    }
}

pub(super) fn keys() -> Select<entity::api_key::Entity> {
    use entity::api_key::{Column, Entity};
    Entity::find().select_only().columns([
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
}

pub(super) fn workflows() -> Select<entity::workflow::Entity> {
    use entity::{workflow, workflow_version};
    workflow::Entity::find()
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
