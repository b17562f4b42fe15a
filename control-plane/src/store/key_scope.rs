//! The scope of a key's row.

use sea_orm::{ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _};
use serde::{Deserialize, Serialize};
use signalbox_model::{
    error::Error,
    ids::{ProjectId, WorkflowName},
    key_scope::KeyScope,
};

use super::{Tx, entity, internal, rows::ApiKey};

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Stored {
    workflows: Vec<String>,
    source_networks: Vec<String>,
}

/// The scope of the key `id` in `project`, as it is stored.
///
/// # Errors
/// `Internal` for what is damaged: it must not stand for everything.
pub(super) fn read((project, id): (&str, &str), json: Option<&str>) -> Result<KeyScope, Error> {
    let Some(json) = json else {
        return Ok(KeyScope::default());
    };
    let damaged = || Error::Internal {
        message: format!("projects/{project}/apiKeys/{id}: its scope is damaged"),
    };
    let project: ProjectId = project.parse().map_err(|_| damaged())?;
    let stored: Stored = serde_json::from_str(json).map_err(|_| damaged())?;
    KeyScope::new(&project, &stored.workflows, &stored.source_networks).map_err(|_| damaged())
}

impl ApiKey {
    /// For which workflows it counts, and from where.
    ///
    /// # Errors
    /// `Internal` for what is stored damaged: it must not stand for everything.
    pub fn scope(&self) -> Result<KeyScope, Error> {
        read((&self.project, &self.id), self.scope_json.as_deref())
    }

    /// The same with another scope.
    ///
    /// # Errors
    /// `Internal` when it cannot be written down.
    pub fn with_scope(mut self, scope: &KeyScope) -> Result<Self, Error> {
        let (workflows, source_networks) = scope.to_texts();
        let stored = Stored {
            workflows,
            source_networks,
        };
        self.scope_json = match scope.is_everything() {
            true => None,
            false => Some(
                serde_json::to_string(&stored).map_err(|error| Error::Internal {
                    message: error.to_string(),
                })?,
            ),
        };
        Ok(self)
    }
}

impl Tx {
    /// The workflows whose published versions name this key, in order.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn users_of_key(&self, row: &ApiKey) -> Result<Vec<WorkflowName>, Error> {
        use entity::workflow_key::{Column, Entity};
        let users = Entity::find()
            .filter(Column::Project.eq(&row.project))
            .filter(Column::ApiKey.eq(&row.id))
            .order_by_asc(Column::Workflow)
            .all(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        let names = users.iter().filter_map(|user| {
            format!("projects/{}/workflows/{}", user.project, user.workflow)
                .parse()
                .ok()
        });
        Ok(names.collect())
    }
}
