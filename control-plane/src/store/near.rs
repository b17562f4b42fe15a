//! Which ids there are about one that there is not, for whoever asks what was meant.

use sea_orm::{
    ColumnTrait as _, EntityTrait, QueryFilter as _, QueryOrder as _, QuerySelect as _, Select,
};
use signalbox_model::{
    error::Error,
    ids::{ApiKeyName, ProjectId, SecretName, WorkflowName},
};

use super::{Tx, entity, internal};

/// Ids that are read on either side of one that is looked for.
pub const NEAR_MAX: u64 = 50;

/// Ids of a project.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Near {
    /// Those next to the one that was looked for, in their order.
    pub ids: Vec<String>,
    /// Whether there are no others.
    pub are_all: bool,
}

impl Tx {
    /// The ids of keys next to this one's, in its project: at most twice [`NEAR_MAX`], however many there are.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keys_near(&self, name: &ApiKeyName) -> Result<Near, Error> {
        use entity::api_key::{Column, Entity};
        let columns = (Column::Project, Column::Id);
        self.near(Entity::find, columns, &name.project, name.api_key.as_str())
            .await
    }

    /// The same of secrets.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn secrets_near(&self, name: &SecretName) -> Result<Near, Error> {
        use entity::secret::{Column, Entity};
        let columns = (Column::Project, Column::Id);
        self.near(Entity::find, columns, &name.project, name.secret.as_str())
            .await
    }

    /// The same of workflows.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn workflows_near(&self, name: &WorkflowName) -> Result<Near, Error> {
        use entity::workflow::{Column, Entity};
        let columns = (Column::Project, Column::Id);
        self.near(Entity::find, columns, &name.project, name.workflow.as_str())
            .await
    }

    /// By the primary key, from `id` up and down: so a slip is found that is not at the very beginning, and any where there
    /// are few.
    async fn near<E: EntityTrait>(
        &self,
        all: impl Fn() -> Select<E>,
        (of, by): (E::Column, E::Column),
        project: &ProjectId,
        id: &str,
    ) -> Result<Near, Error> {
        let some = || {
            let some = all().select_only().column(by);
            some.filter(of.eq(project.as_str())).limit(NEAR_MAX)
        };
        let below = some().filter(by.lt(id)).order_by_desc(by);
        let above = some().filter(by.gte(id)).order_by_asc(by);
        let read = async |query: Select<E>| {
            let ids = query.into_tuple::<String>().all(&self.inner).await;
            ids.map_err(|error| internal(&error))
        };
        let (below, above) = (read(below).await?, read(above).await?);
        let max = usize::try_from(NEAR_MAX).unwrap_or(usize::MAX);
        Ok(Near {
            are_all: below.len() < max && above.len() < max,
            ids: below.into_iter().rev().chain(above).collect(),
        })
    }
}
