//! Projects. What one has is deleted with it: its configuration at once, its history by and by
//! (`docs/decisions/0033-projects.md`).

use std::collections::BTreeSet;

use sea_orm::{
    ColumnTrait as _, Condition, EntityTrait as _, PaginatorTrait as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _,
    sea_query::{LockBehavior, LockType},
};
use signalbox_model::{
    error::Error,
    ids::{ExecutionName, ProjectId},
    labels::LabelSelector,
};

use super::{
    Cancel, Page, PageOf, Store, Tx,
    changes::{KIND_KEY, KIND_PROJECT, KIND_SECRET, KIND_WORKFLOW},
    entity, internal,
    labels::labelled,
    page::keyset,
    rows::Project,
};

/// Where the labels of projects are: in no project.
const NOWHERE: &str = "";
/// States of executions that have not ended, as they are stored.
const UNENDED: [&str; 3] = ["QUEUED", "RUNNING", "WAITING"];

/// How many resources of each kind a project has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Workflows.
    pub workflows: u64,
    /// API keys.
    pub api_keys: u64,
    /// Secrets.
    pub secrets: u64,
}

impl Project {
    /// Its resource name.
    #[must_use]
    pub fn name(&self) -> String {
        format!("projects/{}", self.id)
    }

    /// Whether it is being deleted.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        self.delete_time_us.is_some()
    }
}

/// How many rows of a table are of a project.
macro_rules! count {
    ($db:expr, $table:ident, $project:expr) => {
        entity::$table::Entity::find()
            .filter(entity::$table::Column::Project.eq($project.as_str()))
            .count(&$db)
            .await
            .map_err(|e| internal(&e))
    };
}

fn counted(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// One that is being deleted cannot be changed.
fn deleted(row: &Project) -> Error {
    Error::Precondition {
        subject: row.name(),
        reason: "PROJECT_DELETED",
        message: format!(
            "{} was deleted, and what it had is still being deleted",
            row.name()
        ),
    }
}

impl Tx {
    /// A project that is not being deleted, for making something in it.
    ///
    /// # Errors
    /// `NotFound`; `Precondition` when it is being deleted.
    pub async fn require_project(&self, project: &ProjectId) -> Result<Project, Error> {
        let found = self.project_row(project).await?;
        check(found, project)
    }

    /// The same, for writing it: nobody else does until the commit.
    ///
    /// # Errors
    /// The same.
    pub async fn project(&self, project: &ProjectId) -> Result<Project, Error> {
        let found = entity::project::Entity::find_by_id(project.to_string())
            .lock(LockType::NoKeyUpdate)
            .one(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        check(found, project)
    }

    async fn project_row(&self, project: &ProjectId) -> Result<Option<Project>, Error> {
        entity::project::Entity::find_by_id(project.to_string())
            .one(&self.inner)
            .await
            .map_err(|e| internal(&e))
    }

    /// Every project.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn projects(&self) -> Result<Vec<Project>, Error> {
        all(&self.inner).await
    }

    /// Writes a new project.
    ///
    /// # Errors
    /// `AlreadyExists`; `Precondition` while one of its id is being deleted.
    pub async fn insert_project(&mut self, mut row: Project) -> Result<Project, Error> {
        let name = row.name();
        let found = entity::project::Entity::find_by_id(row.id.clone())
            .one(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        if let Some(found) = found {
            return Err(match found.is_deleted() {
                true => deleted(&found),
                false => Error::AlreadyExists { resource: name },
            });
        }
        row.revision = self.changed(KIND_PROJECT, &name, false).await?;
        self.index_labels(KIND_PROJECT, (NOWHERE, &row.id), &row.labels_json)
            .await?;
        self.insert_row::<entity::project::Entity>(row, &name).await
    }

    /// Writes a project that exists, and is locked.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn update_project(&mut self, mut row: Project) -> Result<Project, Error> {
        row.revision = self
            .changed(KIND_PROJECT, &row.name(), row.is_deleted())
            .await?;
        self.index_labels(KIND_PROJECT, (NOWHERE, &row.id), &row.labels_json)
            .await?;
        self.update_row::<entity::project::Entity>(row).await
    }

    /// How much a project has.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn contents(&self, project: &ProjectId) -> Result<Contents, Error> {
        contents(&self.inner, project).await
    }

    /// How many workflows it has.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_workflows(&self, project: &ProjectId) -> Result<i64, Error> {
        count!(self.inner, workflow, project).map(counted)
    }

    /// How many keys it has.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn count_keys(&self, project: &ProjectId) -> Result<i64, Error> {
        count!(self.inner, api_key, project).map(counted)
    }

    /// Deletes a project's workflows, keys and secrets, deleted ones too, with all that is of them; marks the project as deleted. Its history is
    /// still there.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_project(&mut self, row: Project) -> Result<Project, Error> {
        use entity::{
            api_key, deleted_resource, key_use, label, request, schedule, secret, workflow,
            workflow_call, workflow_key, workflow_secret, workflow_version,
        };
        let project = row.id.clone();
        macro_rules! gone {
            ($($table:ident, $kind:expr, $collection:literal);+) => {
                $(
                    let ids: Vec<String> = $table::Entity::find()
                        .select_only()
                        .column($table::Column::Id)
                        .filter($table::Column::Project.eq(&project))
                        .into_tuple()
                        .all(&self.inner)
                        .await
                        .map_err(|e| internal(&e))?;
                    let name = |id| format!("projects/{project}/{}/{id}", $collection);
                    self.all_deleted($kind, ids.into_iter().map(name).collect())
                        .await?;
                )+
            };
        }
        macro_rules! delete {
            ($($table:ident),+) => {
                $(
                    $table::Entity::delete_many()
                        .filter($table::Column::Project.eq(&project))
                        .exec(&self.inner)
                        .await
                        .map_err(|e| internal(&e))?;
                )+
            };
        }
        // Keys first: without them nobody gets in.
        gone!(api_key, KIND_KEY, "apiKeys"; workflow, KIND_WORKFLOW, "workflows"; secret, KIND_SECRET, "secrets");
        delete!(
            workflow_key,
            workflow_secret,
            workflow_call,
            workflow_version,
            deleted_resource,
            key_use,
            schedule,
            workflow,
            api_key,
            secret,
            label,
            request
        );
        self.update_project(Project {
            delete_time_us: Some(self.now_us()),
            labels_json: "{}".to_owned(),
            ..row
        })
        .await
    }

    /// Asks for the end of executions of a project, at most `max`. Gives of how many; 0: that of all is asked for, or they are
    /// in others' hands.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn cancel_some(&mut self, project: &ProjectId, max: u64) -> Result<u64, Error> {
        use entity::execution::{Column, Entity};
        let ids: Vec<String> = Entity::find()
            .select_only()
            .column(Column::Id)
            .filter(Column::Project.eq(project.as_str()))
            .filter(Column::State.is_in(UNENDED))
            .filter(Column::CancelTimeUs.is_null())
            .limit(max)
            // All of them, before anything else is locked; those that are just being reported come later.
            .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
            .into_tuple()
            .all(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        for id in &ids {
            let execution = id.parse().map_err(|error| Error::Internal {
                message: format!("a stored name cannot be read: {error}"),
            })?;
            let name = ExecutionName {
                project: project.clone(),
                execution,
            };
            self.cancel_execution(&name, Cancel::Ask).await?;
        }
        Ok(ids.len() as u64)
    }

    /// Whether a project has executions or deliveries. Until the commit no node reports any.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn has_history(&self, project: &ProjectId) -> Result<bool, Error> {
        use entity::{delivery, execution};
        entity::project::Entity::find_by_id(project.to_string())
            .lock_exclusive()
            .one(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        let execution = execution::Entity::find()
            .filter(execution::Column::Project.eq(project.as_str()))
            .one(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        let delivery = delivery::Entity::find()
            .filter(delivery::Column::Project.eq(project.as_str()))
            .one(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        Ok(execution.is_some() || delivery.is_some())
    }

    /// Whether a node that was heard since `since_us` does not have a revision yet: it may still take what was allowed before.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn is_awaited(&self, revision: i64, since_us: i64) -> Result<bool, Error> {
        use entity::node::{Column, Entity};
        let found = Entity::find()
            .filter(Column::LastSeenTimeUs.gte(since_us))
            .filter(Column::AppliedRevision.lt(revision))
            .one(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        Ok(found.is_some())
    }

    /// Deletes what is left of a project without a history: its id is free then.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_project(&self, project: &ProjectId) -> Result<(), Error> {
        use entity::{request, subscription};
        subscription::Entity::delete_many()
            .filter(subscription::Column::Project.eq(project.as_str()))
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        request::Entity::delete_many()
            .filter(request::Column::Project.eq(project.as_str()))
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        entity::project::Entity::delete_by_id(project.to_string())
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        Ok(())
    }

    /// Which of these projects there are. They are not forgotten until the commit.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn known_projects<'a>(
        &self,
        projects: &BTreeSet<&'a str>,
    ) -> Result<BTreeSet<&'a str>, Error> {
        use entity::project::{Column, Entity};
        let found: Vec<String> = Entity::find()
            .select_only()
            .column(Column::Id)
            .filter(Column::Id.is_in(projects.iter().copied()))
            .lock(LockType::KeyShare)
            .into_tuple()
            .all(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        let is_known = |project: &&&str| found.iter().any(|id| id == **project);
        Ok(projects.iter().filter(is_known).copied().collect())
    }
}

fn check(found: Option<Project>, project: &ProjectId) -> Result<Project, Error> {
    match found {
        Some(row) if row.is_deleted() => Err(deleted(&row)),
        Some(row) => Ok(row),
        None => Err(Error::not_found(format!("projects/{project}"))),
    }
}

async fn all(db: &impl sea_orm::ConnectionTrait) -> Result<Vec<Project>, Error> {
    use entity::project::{Column, Entity};
    Entity::find()
        .order_by_asc(Column::Id)
        .all(db)
        .await
        .map_err(|e| internal(&e))
}

async fn contents(
    db: &impl sea_orm::ConnectionTrait,
    project: &ProjectId,
) -> Result<Contents, Error> {
    Ok(Contents {
        workflows: count!(*db, workflow, project)?,
        api_keys: count!(*db, api_key, project)?,
        secrets: count!(*db, secret, project)?,
    })
}

impl Store {
    /// A project, whether it is being deleted or not.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn project(&self, project: &ProjectId) -> Result<Project, Error> {
        entity::project::Entity::find_by_id(project.to_string())
            .one(&self.db)
            .await
            .map_err(|e| internal(&e))?
            .ok_or_else(|| Error::not_found(format!("projects/{project}")))
    }

    /// Every project, those that are being deleted, too.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn projects(&self) -> Result<Vec<Project>, Error> {
        all(&self.db).await
    }

    /// How much a project has.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn contents(&self, project: &ProjectId) -> Result<Contents, Error> {
        contents(&self.db, project).await
    }

    /// The projects that have these labels: of all, or of those whose ids are in `among`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_projects(
        &self,
        among: Option<&BTreeSet<String>>,
        labels: &LabelSelector,
        page: &Page,
    ) -> Result<PageOf<Project>, Error> {
        use entity::project::{Column, Entity};
        let among = among.map(|ids| Column::Id.is_in(ids.iter().map(String::as_str)));
        let query = Entity::find()
            .filter(Condition::all().add_option(among))
            .filter(labelled(NOWHERE, KIND_PROJECT, Column::Id, labels));
        let query = |page: &Page| keyset!(query.clone(), page, Column::CreateTimeUs, Column::Id);
        page.read(&self.db, query).await
    }
}
