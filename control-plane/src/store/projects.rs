//! Projects.

use sea_orm::{EntityTrait as _, QueryOrder as _, QuerySelect as _};
use signalbox_model::{error::Error, ids::ProjectId};

use super::{Store, Tx, entity, internal, rows::Project};

impl Tx {
    /// A project, locked until the commit.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn project(&self, project: &ProjectId) -> Result<Project, Error> {
        entity::project::Entity::find_by_id(project.to_string())
            .lock_exclusive()
            .one(&self.inner)
            .await
            .map_err(|e| internal(&e))?
            .ok_or_else(|| Error::not_found(format!("projects/{project}")))
    }

    /// Writes a project that exists.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn update_project(&self, row: Project) -> Result<Project, Error> {
        self.update_row::<entity::project::Entity>(row).await
    }
}

impl Store {
    /// A project.
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

    /// Every project.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn projects(&self) -> Result<Vec<Project>, Error> {
        use entity::project::{Column, Entity};
        Entity::find()
            .order_by_asc(Column::Id)
            .all(&self.db)
            .await
            .map_err(|e| internal(&e))
    }
}
