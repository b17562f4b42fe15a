//! Labels: a row has its own as JSON, and a table has all of them, by which rows are found.

use std::collections::BTreeMap;

use sea_orm::{
    ActiveModelTrait as _, ActiveValue::Set, ColumnTrait, Condition, EntityTrait as _,
    QueryFilter as _, QuerySelect as _, QueryTrait as _,
};
use signalbox_model::{
    error::Error,
    labels::{LabelSelector, Labels},
};

use super::{
    Tx, entity, internal,
    rows::{ApiKey, Project, Workflow},
};

/// What a row has; none for what is stored damaged.
fn stored(json: &str) -> BTreeMap<String, String> {
    serde_json::from_str(json).unwrap_or_default()
}

fn to_json(labels: &Labels) -> String {
    serde_json::to_string(labels.get()).unwrap_or_else(|_| "{}".to_owned())
}

impl ApiKey {
    /// Its labels.
    #[must_use]
    pub fn labels(&self) -> BTreeMap<String, String> {
        stored(&self.labels_json)
    }

    /// The same with other labels.
    #[must_use]
    pub fn with_labels(mut self, labels: &Labels) -> Self {
        self.labels_json = to_json(labels);
        self
    }
}

impl Workflow {
    /// Its labels.
    #[must_use]
    pub fn labels(&self) -> BTreeMap<String, String> {
        stored(&self.labels_json)
    }

    /// The same with other labels.
    #[must_use]
    pub fn with_labels(mut self, labels: &Labels) -> Self {
        self.labels_json = to_json(labels);
        self
    }
}

impl Project {
    /// Its labels.
    #[must_use]
    pub fn labels(&self) -> BTreeMap<String, String> {
        stored(&self.labels_json)
    }

    /// The same with other labels.
    #[must_use]
    pub fn with_labels(mut self, labels: &Labels) -> Self {
        self.labels_json = to_json(labels);
        self
    }
}

impl Tx {
    /// Notes under which labels the resource `id` of `kind` is found: those of `json`, none when it is gone.
    pub(super) async fn index_labels(
        &self,
        kind: &str,
        (project, id): (&str, &str),
        json: &str,
    ) -> Result<(), Error> {
        use entity::label::{ActiveModel, Column, Entity};
        Entity::delete_many()
            .filter(Column::Project.eq(project))
            .filter(Column::Kind.eq(kind))
            .filter(Column::Id.eq(id))
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        for (name, value) in stored(json) {
            ActiveModel {
                project: Set(project.to_owned()),
                kind: Set(kind.to_owned()),
                id: Set(id.to_owned()),
                name: Set(name),
                value: Set(value),
            }
            .insert(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        }
        Ok(())
    }
}

/// Rows of `kind` in `project`, whose ids are in `id`, that have all labels of `selector`.
pub(super) fn labelled(
    project: &str,
    kind: &str,
    id: impl ColumnTrait,
    selector: &LabelSelector,
) -> Condition {
    use entity::label::{Column, Entity};
    let mut condition = Condition::all();
    for (name, value) in selector {
        let found = Entity::find()
            .select_only()
            .column(Column::Id)
            .filter(Column::Project.eq(project))
            .filter(Column::Kind.eq(kind))
            .filter(Column::Name.eq(name.as_str()))
            .filter(Column::Value.eq(value.as_str()))
            .into_query();
        condition = condition.add(id.in_subquery(found));
    }
    condition
}
