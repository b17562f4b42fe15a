//! Keys and workflows that were deleted and can be undeleted, until they are purged (`docs/decisions/0031-deleted.md`).
//!
//! Each is the row that it was, as JSON, in a table of its own: nothing that looks for keys and workflows finds it, least of all a
//! replica that does not know of this table. The versions of a workflow stay in theirs.

use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, ConnectionTrait, EntityTrait as _,
    IntoActiveModel as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, sea_query::Expr,
};
use serde::{Serialize, de::DeserializeOwned};
use signalbox_model::{error::Error, ids::ProjectId, labels::LabelSelector};

use super::{
    Page, PageOf, Placed, Sealed, Store, Tx,
    changes::{KIND_KEY, KIND_WORKFLOW},
    entity, internal,
    labels::labelled,
    page::keyset,
    rows::{ApiKey, Workflow},
};

/// Rows that are read at once.
const ROWS_MAX: u64 = 100;

/// What can be undeleted.
pub trait Deletable: Placed + Serialize + DeserializeOwned + Send {
    /// Its kind, as it is stored.
    const KIND: &'static str;
    /// The kind under which its labels are found while it is deleted.
    const DELETED_KIND: &'static str;
    /// Its project, and its id in there.
    fn place(&self) -> (&str, &str);
    /// When it was made.
    fn create_time_us(&self) -> i64;
    /// Its labels, as they are stored.
    fn labels_json(&self) -> &str;
    /// Those of a project that are not deleted and have these labels.
    ///
    /// # Errors
    /// When the database fails.
    fn list(
        db: &impl ConnectionTrait,
        project: &ProjectId,
        labels: &LabelSelector,
        page: &Page,
    ) -> impl Future<Output = Result<PageOf<Self>, Error>> + Send;
    /// The one that is not deleted, if there is one.
    ///
    /// # Errors
    /// When the database fails.
    fn live(
        db: &impl ConnectionTrait,
        project: &str,
        id: &str,
    ) -> impl Future<Output = Result<Option<Self>, Error>> + Send;
    /// Drops what is kept of it in other tables until it is purged.
    ///
    /// # Errors
    /// When the database fails.
    fn forget_rest(
        tx: &Tx,
        project: &str,
        id: &str,
    ) -> impl Future<Output = Result<(), Error>> + Send;
}

/// A page of what a project has in a table and has these labels, which are found under a kind.
macro_rules! listed {
    ($entity:ident, $kind:expr, ($db:expr, $project:expr, $labels:expr, $page:expr) $(, $condition:expr)?) => {{
        use entity::$entity::{Column, Entity};
        let project = $project.as_str();
        let query = Entity::find()
            .filter(Column::Project.eq(project))
            $(.filter($condition))?
            .filter(labelled(project, $kind, Column::Id, $labels));
        let rows = keyset!(query, $page, Column::CreateTimeUs, Column::Id)
            .all($db)
            .await
            .map_err(|e| internal(&e))?;
        $page.of(rows)
    }};
}

macro_rules! deletable {
    ($row:ident, $entity:ident, $kind:ident, $deleted:literal, $forget_rest:ident) => {
        impl Deletable for $row {
            const KIND: &'static str = $kind;
            const DELETED_KIND: &'static str = $deleted;
            fn place(&self) -> (&str, &str) {
                (&self.project, &self.id)
            }
            fn create_time_us(&self) -> i64 {
                self.create_time_us
            }
            fn labels_json(&self) -> &str {
                &self.labels_json
            }
            async fn list(
                db: &impl ConnectionTrait,
                project: &ProjectId,
                labels: &LabelSelector,
                page: &Page,
            ) -> Result<PageOf<Self>, Error> {
                Ok(listed!($entity, $kind, (db, project, labels, page)))
            }
            async fn live(
                db: &impl ConnectionTrait,
                project: &str,
                id: &str,
            ) -> Result<Option<Self>, Error> {
                entity::$entity::Entity::find_by_id((project.to_owned(), id.to_owned()))
                    .one(db)
                    .await
                    .map_err(|e| internal(&e))
            }
            async fn forget_rest(tx: &Tx, project: &str, id: &str) -> Result<(), Error> {
                tx.$forget_rest(project, id).await
            }
        }
    };
}

deletable!(ApiKey, api_key, KIND_KEY, "deleted-key", forget_key_use);
deletable!(
    Workflow,
    workflow,
    KIND_WORKFLOW,
    "deleted-workflow",
    delete_versions
);

/// What was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted<T> {
    /// As it was; its revision is that of the deletion.
    pub row: T,
    /// When.
    pub delete_time_us: i64,
}

impl<T: Deletable> Deleted<T> {
    fn read(stored: &entity::deleted_resource::Model) -> Result<Self, Error> {
        let row = serde_json::from_str(&stored.row_json).map_err(|error| {
            tracing::error!(%error, id = stored.id, "a deleted resource cannot be read");
            Error::Internal {
                message: "a deleted resource cannot be read; the log says why".to_owned(),
            }
        })?;
        Ok(Self {
            row,
            delete_time_us: stored.delete_time_us,
        })
    }
}

fn written<T: Deletable>(row: &T) -> Result<String, Error> {
    serde_json::to_string(row).map_err(|error| {
        tracing::error!(%error, "a row cannot be written as JSON");
        Error::Internal {
            message: "a row cannot be written as JSON; the log says why".to_owned(),
        }
    })
}

async fn find<T: Deletable>(
    db: &impl ConnectionTrait,
    project: &str,
    id: &str,
) -> Result<Option<Deleted<T>>, Error> {
    let key = (project.to_owned(), T::KIND.to_owned(), id.to_owned());
    let found = entity::deleted_resource::Entity::find_by_id(key)
        .one(db)
        .await
        .map_err(|e| internal(&e))?;
    found.as_ref().map(Deleted::read).transpose()
}

/// What is deleted in a project, and has these labels.
async fn list_deleted<T: Deletable>(
    db: &impl ConnectionTrait,
    project: &ProjectId,
    labels: &LabelSelector,
    page: &Page,
) -> Result<PageOf<Deleted<T>>, Error> {
    let is_of_kind = entity::deleted_resource::Column::Kind.eq(T::KIND);
    let page = listed!(
        deleted_resource,
        T::DELETED_KIND,
        (db, project, labels, page),
        is_of_kind
    );
    Ok(PageOf {
        rows: page
            .rows
            .iter()
            .map(Deleted::read)
            .collect::<Result<_, _>>()?,
        next: page.next,
    })
}

impl Tx {
    /// Keeps a row that is deleted now, in the place of one of the same id before.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn keep_deleted<T: Deletable>(&self, row: &T) -> Result<(), Error> {
        let (project, id) = row.place();
        self.forget_deleted::<T>(project, id).await?;
        self.index_labels(T::DELETED_KIND, (project, id), row.labels_json())
            .await?;
        let kept = entity::deleted_resource::Model {
            project: project.to_owned(),
            kind: T::KIND.to_owned(),
            id: id.to_owned(),
            create_time_us: row.create_time_us(),
            delete_time_us: self.now_us(),
            row_json: written(row)?,
        };
        let active = kept.into_active_model().reset_all();
        active.insert(&self.inner).await.map_err(|e| internal(&e))?;
        Ok(())
    }

    /// What is deleted, and not purged.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn deleted<T: Deletable>(
        &self,
        project: &str,
        id: &str,
    ) -> Result<Option<Deleted<T>>, Error> {
        find(&self.inner, project, id).await
    }

    /// Drops what is deleted, if it is there.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn forget_deleted<T: Deletable>(&self, project: &str, id: &str) -> Result<(), Error> {
        let key = (project.to_owned(), T::KIND.to_owned(), id.to_owned());
        let forgotten = entity::deleted_resource::Entity::delete_by_id(key)
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        if forgotten.rows_affected == 0 {
            return Ok(());
        }
        self.index_labels(T::DELETED_KIND, (project, id), "{}")
            .await
    }

    /// Deletes the versions of a workflow.
    ///
    /// # Errors
    /// When the database fails.
    async fn delete_versions(&self, project: &str, workflow: &str) -> Result<(), Error> {
        use entity::workflow_version::{Column, Entity};
        Entity::delete_many()
            .filter(Column::Project.eq(project))
            .filter(Column::Workflow.eq(workflow))
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        Ok(())
    }

    /// The id of what is deleted is not free.
    ///
    /// # Errors
    /// `IdKept`, of the resource `name`.
    pub(super) async fn refuse_kept(
        &self,
        kind: &str,
        (project, id): (&str, &str),
        name: &str,
    ) -> Result<(), Error> {
        let key = (project.to_owned(), kind.to_owned(), id.to_owned());
        let found = entity::deleted_resource::Entity::find_by_id(key)
            .one(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        match found {
            None => Ok(()),
            Some(_) => Err(Error::IdKept {
                resource: name.to_owned(),
            }),
        }
    }

    /// Seals the values of deleted keys anew; gives how many.
    pub(super) async fn reseal_deleted(
        &self,
        reseal: impl Fn(&Sealed) -> Result<Vec<u8>, Error>,
    ) -> Result<u64, Error> {
        use entity::deleted_resource::{Column, Entity};
        let mut count = 0;
        let mut after = (String::new(), String::new());
        loop {
            let place = Expr::tuple([Expr::col(Column::Project), Expr::col(Column::Id)]);
            let begin = Expr::tuple([Expr::val(after.0), Expr::val(after.1)]);
            let stored = Entity::find()
                .filter(Column::Kind.eq(KIND_KEY))
                .filter(sea_orm::sea_query::ExprTrait::gt(place, begin))
                .order_by_asc(Column::Project)
                .order_by_asc(Column::Id)
                .limit(ROWS_MAX)
                .all(&self.inner)
                .await
                .map_err(|e| internal(&e))?;
            let Some(last) = stored.last() else {
                return Ok(count);
            };
            after = (last.project.clone(), last.id.clone());
            for kept in stored {
                let mut row = Deleted::<ApiKey>::read(&kept)?.row;
                row.ciphertext = reseal(&sealed(&row))?;
                let row_json = written(&row)?;
                self.update_row::<Entity>(entity::deleted_resource::Model { row_json, ..kept })
                    .await?;
                count += 1;
            }
        }
    }
}

fn sealed(row: &ApiKey) -> Sealed {
    Sealed {
        name: format!("projects/{}/apiKeys/{}", row.project, row.id),
        ciphertext: row.ciphertext.clone(),
    }
}

impl Store {
    /// What has this id, or else what is deleted and had it, in one state of the database: who is just undeleted is one of both.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn live_or_deleted<T: Deletable>(
        &self,
        project: &str,
        id: &str,
    ) -> Result<(Option<T>, Option<Deleted<T>>), Error> {
        self.read(async |db| match T::live(db, project, id).await? {
            Some(live) => Ok((Some(live), None)),
            None => Ok((None, find(db, project, id).await?)),
        })
        .await
    }

    /// A page of what a project has with these labels, and the same of what is deleted, in one state of the database.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_with_deleted<T: Deletable>(
        &self,
        project: &ProjectId,
        labels: &LabelSelector,
        page: &Page,
    ) -> Result<(PageOf<T>, PageOf<Deleted<T>>), Error> {
        self.read(async |db| {
            let live = T::list(db, project, labels, page).await?;
            Ok((live, list_deleted(db, project, labels, page).await?))
        })
        .await
    }

    /// What was deleted before a time, at most `max`: kind, project and id of each.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn deleted_before(
        &self,
        before_us: i64,
        max: u64,
    ) -> Result<Vec<(String, String, String)>, Error> {
        use entity::deleted_resource::{Column, Entity};
        Entity::find()
            .select_only()
            .columns([Column::Kind, Column::Project, Column::Id])
            .filter(Column::DeleteTimeUs.lt(before_us))
            .order_by_asc(Column::DeleteTimeUs)
            .limit(max)
            .into_tuple()
            .all(&self.db)
            .await
            .map_err(|e| internal(&e))
    }

    /// Any one value of a deleted key, if there is some.
    pub(super) async fn any_deleted_sealed(&self) -> Result<Option<Sealed>, Error> {
        use entity::deleted_resource::{Column, Entity};
        let stored = Entity::find()
            .filter(Column::Kind.eq(KIND_KEY))
            .one(&self.db)
            .await
            .map_err(|e| internal(&e))?;
        let row = stored.as_ref().map(Deleted::<ApiKey>::read).transpose()?;
        Ok(row.map(|deleted| sealed(&deleted.row)))
    }
}
