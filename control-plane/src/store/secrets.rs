//! Secrets, as they are stored.

use std::collections::BTreeSet;

use sea_orm::{
    ActiveModelTrait as _, ActiveValue::Set, ColumnTrait as _, EntityTrait as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _,
};
use signalbox_model::{
    error::Error,
    ids::{ProjectId, SecretId, SecretName, WorkflowName},
};

use super::{
    Page, PageOf, Store, Tx, changes::KIND_SECRET, entity, internal, page::keyset, rows::Secret,
};

/// Workflows that a refusal to delete a secret names.
const USERS_SHOWN_MAX: u64 = 10;

fn secret_name(row: &Secret) -> String {
    format!("projects/{}/secrets/{}", row.project, row.id)
}

fn listed(users: &[entity::workflow_secret::Model]) -> String {
    let shown = usize::try_from(USERS_SHOWN_MAX).unwrap_or(usize::MAX);
    let names: Vec<_> = users
        .iter()
        .take(shown)
        .map(|user| format!("projects/{}/workflows/{}", user.project, user.workflow))
        .collect();
    let more = if users.len() > shown {
        " and others"
    } else {
        ""
    };
    format!("{}{more}", names.join(", "))
}

impl Tx {
    /// Writes a new secret.
    ///
    /// # Errors
    /// `AlreadyExists`.
    pub async fn insert_secret(&mut self, mut row: Secret) -> Result<Secret, Error> {
        let name = secret_name(&row);
        row.revision = self.changed(KIND_SECRET, &name, false).await?;
        self.insert_row::<entity::secret::Entity>(row, &name).await
    }

    /// A secret.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn secret(&self, name: &SecretName) -> Result<Secret, Error> {
        find_secret(&self.inner, name).await
    }

    /// Writes a secret that exists.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn update_secret(&mut self, mut row: Secret) -> Result<Secret, Error> {
        row.revision = self.changed(KIND_SECRET, &secret_name(&row), false).await?;
        self.update_row::<entity::secret::Entity>(row).await
    }

    /// Deletes a secret.
    ///
    /// # Errors
    /// `Precondition` while a published version names it.
    pub async fn delete_secret(&mut self, row: Secret) -> Result<(), Error> {
        use entity::workflow_secret::{Column, Entity};
        let name = secret_name(&row);
        let users = Entity::find()
            .filter(Column::Project.eq(&row.project))
            .filter(Column::Secret.eq(&row.id))
            .order_by_asc(Column::Workflow)
            .limit(USERS_SHOWN_MAX + 1)
            .all(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        if !users.is_empty() {
            return Err(Error::Precondition {
                message: format!(
                    "{name} is named by the published version of {}; publish versions without it first",
                    listed(&users)
                ),
                subject: name,
                reason: "REFERENCED",
            });
        }
        self.changed(KIND_SECRET, &name, true).await?;
        entity::secret::Entity::delete_by_id((row.project, row.id))
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        Ok(())
    }

    /// Says which secrets of its project the published version names.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn set_workflow_secrets(
        &self,
        name: &WorkflowName,
        secrets: &BTreeSet<&SecretId>,
    ) -> Result<(), Error> {
        use entity::workflow_secret::{ActiveModel, Column, Entity};
        Entity::delete_many()
            .filter(Column::Project.eq(name.project.as_str()))
            .filter(Column::Workflow.eq(name.workflow.as_str()))
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        for secret in secrets {
            ActiveModel {
                project: Set(name.project.to_string()),
                workflow: Set(name.workflow.to_string()),
                secret: Set(secret.to_string()),
            }
            .insert(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        }
        Ok(())
    }
}

async fn find_secret(
    db: &impl sea_orm::ConnectionTrait,
    name: &SecretName,
) -> Result<Secret, Error> {
    entity::secret::Entity::find_by_id((name.project.to_string(), name.secret.to_string()))
        .one(db)
        .await
        .map_err(|e| internal(&e))?
        .ok_or_else(|| Error::not_found(name))
}

impl Store {
    /// A secret.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn secret(&self, name: &SecretName) -> Result<Secret, Error> {
        find_secret(&self.db, name).await
    }

    /// The secrets of a project.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn secrets(&self, project: &ProjectId, page: &Page) -> Result<PageOf<Secret>, Error> {
        use entity::secret::{Column, Entity};
        let query = Entity::find().filter(Column::Project.eq(project.as_str()));
        let query = |page: &Page| keyset!(query.clone(), page, Column::CreateTimeUs, Column::Id);
        page.read(&self.db, query).await
    }
}
