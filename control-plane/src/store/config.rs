//! Keys and workflows.

use std::collections::BTreeSet;

use sea_orm::{
    ActiveModelTrait as _, ActiveValue::Set, ColumnTrait as _, Condition, EntityTrait as _,
    IntoActiveModel as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};
use signalbox_model::{
    error::Error,
    ids::{ApiKeyName, ProjectId, WorkflowName},
    labels::LabelSelector,
};

use super::{
    Deletable, Page, PageOf, Store, Tx,
    changes::{KIND_KEY, KIND_WORKFLOW},
    entity, internal,
    rows::{ApiKey, Workflow, WorkflowVersion},
};

/// What a request made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Name of the resource.
    pub resource: String,
    /// Whom it gave the value of a key, and the value's SHA-256.
    pub value: Option<(String, Vec<u8>)>,
}

fn key_name(row: &ApiKey) -> String {
    format!("projects/{}/apiKeys/{}", row.project, row.id)
}

fn workflow_name(row: &Workflow) -> String {
    format!("projects/{}/workflows/{}", row.project, row.id)
}

impl Tx {
    /// What the request with this id made before. One that is repeated while the first is under way, at another replica, waits
    /// for its end.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn request(
        &self,
        project: &ProjectId,
        method: &str,
        request_id: &str,
    ) -> Result<Option<String>, Error> {
        let made = self.key_request(project, method, request_id).await?;
        Ok(made.map(|made| made.resource))
    }

    /// The same of a request that made the value of a key.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn key_request(
        &self,
        project: &ProjectId,
        method: &str,
        request_id: &str,
    ) -> Result<Option<Made>, Error> {
        let key = (
            project.to_string(),
            method.to_owned(),
            request_id.to_owned(),
        );
        self.lock_name(&format!("{project}/{method}/{request_id}"))
            .await?;
        let found = entity::request::Entity::find_by_id(key)
            .one(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        Ok(found.map(|row| Made {
            resource: row.resource,
            value: row.subject.zip(row.value_digest),
        }))
    }

    /// Notes what the request with this id made; forgets those of more than a day ago.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_request(
        &self,
        project: &ProjectId,
        method: &str,
        request_id: &str,
        resource: &str,
    ) -> Result<(), Error> {
        let made = Made {
            resource: resource.to_owned(),
            value: None,
        };
        self.note_key_request(project, method, request_id, made)
            .await
    }

    /// The same of a request that made the value of a key.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_key_request(
        &self,
        project: &ProjectId,
        method: &str,
        request_id: &str,
        made: Made,
    ) -> Result<(), Error> {
        const KEPT_US: i64 = 24 * 3600 * 1_000_000;
        use entity::request::{ActiveModel, Column, Entity};
        Entity::delete_many()
            .filter(Column::CreateTimeUs.lt(self.now_us() - KEPT_US))
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        let (subject, value_digest) = made.value.unzip();
        ActiveModel {
            project: Set(project.to_string()),
            method: Set(method.to_owned()),
            request_id: Set(request_id.to_owned()),
            resource: Set(made.resource),
            create_time_us: Set(self.now_us()),
            subject: Set(subject),
            value_digest: Set(value_digest),
        }
        .insert(&self.inner)
        .await
        .map_err(|e| internal(&e))?;
        Ok(())
    }

    /// Writes a new key.
    ///
    /// # Errors
    /// `AlreadyExists`, `IdKept`.
    pub async fn insert_key(&mut self, mut row: ApiKey) -> Result<ApiKey, Error> {
        let name = key_name(&row);
        self.refuse_kept(KIND_KEY, (&row.project, &row.id), &name)
            .await?;
        row.revision = self.changed(KIND_KEY, &name, false).await?;
        self.index_labels(KIND_KEY, (&row.project, &row.id), &row.labels_json)
            .await?;
        self.insert_row::<entity::api_key::Entity>(row, &name).await
    }

    /// A key.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn key(&self, name: &ApiKeyName) -> Result<ApiKey, Error> {
        find_key(&self.inner, name).await
    }

    /// Writes a key that exists.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn update_key(&mut self, mut row: ApiKey) -> Result<ApiKey, Error> {
        row.revision = self.changed(KIND_KEY, &key_name(&row), false).await?;
        self.index_labels(KIND_KEY, (&row.project, &row.id), &row.labels_json)
            .await?;
        self.update_row::<entity::api_key::Entity>(row).await
    }

    /// Deletes a key; gives the revision of that.
    ///
    /// # Errors
    /// `Precondition` while a published version names it.
    pub async fn delete_key(&mut self, row: ApiKey) -> Result<i64, Error> {
        use entity::workflow_key::{Column, Entity};
        let name = key_name(&row);
        let user = Entity::find()
            .filter(Column::Project.eq(&row.project))
            .filter(Column::ApiKey.eq(&row.id))
            .one(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        if let Some(user) = user {
            return Err(Error::Precondition {
                subject: name.clone(),
                reason: "REFERENCED",
                message: format!(
                    "{name} is named by the published version of projects/{}/workflows/{}; revoke it, or publish a \
                     version without it",
                    user.project, user.workflow
                ),
            });
        }
        let revision = self.changed(KIND_KEY, &name, true).await?;
        self.index_labels(KIND_KEY, (&row.project, &row.id), "{}")
            .await?;
        let key = (row.project, row.id);
        entity::api_key::Entity::delete_by_id(key)
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        Ok(revision)
    }

    /// A workflow.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn workflow(&self, name: &WorkflowName) -> Result<Workflow, Error> {
        find_workflow(&self.inner, name).await
    }

    /// A version of a workflow.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn workflow_version(
        &self,
        name: &WorkflowName,
        version: i64,
    ) -> Result<WorkflowVersion, Error> {
        find_version(&self.inner, name, version).await
    }

    /// Writes a new workflow.
    ///
    /// # Errors
    /// `AlreadyExists`, `IdKept`.
    pub async fn insert_workflow(&mut self, mut row: Workflow) -> Result<Workflow, Error> {
        let name = workflow_name(&row);
        self.refuse_kept(KIND_WORKFLOW, (&row.project, &row.id), &name)
            .await?;
        row.revision = self.changed(KIND_WORKFLOW, &name, false).await?;
        self.index_labels(KIND_WORKFLOW, (&row.project, &row.id), &row.labels_json)
            .await?;
        self.insert_row::<entity::workflow::Entity>(row, &name)
            .await
    }

    /// Writes a workflow that exists.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn update_workflow(&mut self, mut row: Workflow) -> Result<Workflow, Error> {
        row.revision = self
            .changed(KIND_WORKFLOW, &workflow_name(&row), false)
            .await?;
        self.index_labels(KIND_WORKFLOW, (&row.project, &row.id), &row.labels_json)
            .await?;
        self.update_row::<entity::workflow::Entity>(row).await
    }

    /// Writes a version.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn insert_version(&self, row: WorkflowVersion) -> Result<(), Error> {
        let active = row.into_active_model().reset_all();
        active.insert(&self.inner).await.map_err(|e| internal(&e))?;
        Ok(())
    }

    /// Says which keys the published version names.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_workflow_keys(
        &self,
        name: &WorkflowName,
        keys: &[ApiKeyName],
    ) -> Result<(), Error> {
        use entity::workflow_key::{ActiveModel, Column, Entity};
        Entity::delete_many()
            .filter(Column::Project.eq(name.project.as_str()))
            .filter(Column::Workflow.eq(name.workflow.as_str()))
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        for key in keys {
            ActiveModel {
                project: Set(name.project.to_string()),
                workflow: Set(name.workflow.to_string()),
                api_key: Set(key.api_key.to_string()),
            }
            .insert(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        }
        Ok(())
    }

    /// Deletes a workflow, but not its versions; gives the revision of that.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn delete_workflow(&mut self, name: &WorkflowName) -> Result<i64, Error> {
        let revision = self.changed(KIND_WORKFLOW, &name.to_string(), true).await?;
        let key = (name.project.as_str(), name.workflow.as_str());
        self.index_labels(KIND_WORKFLOW, key, "{}").await?;
        self.set_workflow_keys(name, &[]).await?;
        self.delete_schedule(name).await?;
        self.set_workflow_secrets(name, &BTreeSet::new()).await?;
        self.set_workflow_calls(name, 0, &[]).await?;
        let key = (name.project.to_string(), name.workflow.to_string());
        entity::workflow::Entity::delete_by_id(key)
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        Ok(revision)
    }
}

async fn find_key(db: &impl sea_orm::ConnectionTrait, name: &ApiKeyName) -> Result<ApiKey, Error> {
    let live = ApiKey::live(db, name.project.as_str(), name.api_key.as_str());
    live.await?.ok_or_else(|| Error::not_found(name))
}

async fn find_workflow(
    db: &impl sea_orm::ConnectionTrait,
    name: &WorkflowName,
) -> Result<Workflow, Error> {
    let live = Workflow::live(db, name.project.as_str(), name.workflow.as_str());
    live.await?.ok_or_else(|| Error::not_found(name))
}

async fn find_version(
    db: &impl sea_orm::ConnectionTrait,
    name: &WorkflowName,
    version: i64,
) -> Result<WorkflowVersion, Error> {
    let key = (name.project.to_string(), name.workflow.to_string(), version);
    entity::workflow_version::Entity::find_by_id(key)
        .one(db)
        .await
        .map_err(|e| internal(&e))?
        .ok_or_else(|| Error::not_found(format!("{name}/versions/{version}")))
}

impl Store {
    /// A key.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn key(&self, name: &ApiKeyName) -> Result<ApiKey, Error> {
        find_key(&self.db, name).await
    }

    /// The keys of a project that have these labels.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keys(
        &self,
        project: &ProjectId,
        labels: &LabelSelector,
        page: &Page,
    ) -> Result<PageOf<ApiKey>, Error> {
        ApiKey::list(&self.db, project, labels, page).await
    }

    /// A workflow.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn workflow(&self, name: &WorkflowName) -> Result<Workflow, Error> {
        find_workflow(&self.db, name).await
    }

    /// A version of a workflow.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn workflow_version(
        &self,
        name: &WorkflowName,
        version: i64,
    ) -> Result<WorkflowVersion, Error> {
        find_version(&self.db, name, version).await
    }

    /// The workflows of a project that have these labels.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn workflows(
        &self,
        project: &ProjectId,
        labels: &LabelSelector,
        page: &Page,
    ) -> Result<PageOf<Workflow>, Error> {
        Workflow::list(&self.db, project, labels, page).await
    }

    /// The versions of a workflow, newest first; also of one that is deleted and not purged.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn versions(
        &self,
        name: &WorkflowName,
        page: &Page,
    ) -> Result<PageOf<WorkflowVersion>, Error> {
        use entity::workflow_version::{Column, Entity};
        let query = |page: &Page| {
            let after = page.after.as_ref();
            let condition = Condition::all()
                .add(Column::Project.eq(name.project.as_str()))
                .add(Column::Workflow.eq(name.workflow.as_str()))
                .add_option(after.map(|(version, _)| Column::Version.lt(*version)));
            Entity::find()
                .filter(condition)
                .order_by_desc(Column::Version)
                .limit(page.size + 1)
        };
        page.read(&self.db, query).await
    }
}
