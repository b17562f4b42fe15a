//! What is sealed under the master key, and which keys the replicas have.

use sea_orm::{
    ActiveModelTrait as _, ActiveValue::Set, ColumnTrait as _, Condition, ConnectionTrait,
    EntityTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _, sea_query::Expr,
};
use signalbox_model::error::Error;

use super::{MASTER_KEY, Store, Tx, entity, internal};

/// Rows that are read at once: secrets have up to 64 KiB.
const ROWS_MAX: u64 = 100;

/// A value that was sealed for its resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The resource's name.
    pub name: String,
    /// The ciphertext.
    pub ciphertext: Vec<u8>,
}

/// How many values were sealed anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resealed {
    /// Values of API keys, deleted ones too.
    pub keys: u64,
    /// Values of secrets.
    pub secrets: u64,
}

/// Seals all rows of a table anew, in the order of their primary keys.
macro_rules! reseal_table {
    ($tx:expr, $table:ident, $collection:literal, $reseal:expr) => {{
        use entity::$table::{Column, Entity};
        let mut count = 0_u64;
        let mut after: Option<(String, String)> = None;
        loop {
            let mut query = Entity::find()
                .order_by_asc(Column::Project)
                .order_by_asc(Column::Id)
                .limit(ROWS_MAX);
            if let Some((project, id)) = after.take() {
                let later = Condition::all()
                    .add(Column::Project.eq(project.clone()))
                    .add(Column::Id.gt(id));
                query = query.filter(Condition::any().add(Column::Project.gt(project)).add(later));
            }
            let rows = query.all($tx).await.map_err(|e| internal(&e))?;
            let Some(last) = rows.last() else {
                break count;
            };
            after = Some((last.project.clone(), last.id.clone()));
            for row in rows {
                let sealed = Sealed {
                    name: format!("projects/{}/{}/{}", row.project, $collection, row.id),
                    ciphertext: row.ciphertext,
                };
                Entity::update_many()
                    .col_expr(Column::Ciphertext, Expr::value($reseal(&sealed)?))
                    .filter(Column::Project.eq(row.project))
                    .filter(Column::Id.eq(row.id))
                    .exec($tx)
                    .await
                    .map_err(|e| internal(&e))?;
                count += 1;
            }
        }
    }};
}

impl Tx {
    /// The master key called `id` must be the one that values are sealed under. Call it after what was written: from then on
    /// no other process can change it until the commit.
    ///
    /// # Errors
    /// `Unavailable` when it was rotated since this process started.
    pub async fn require_master_key(&self, id: &str) -> Result<(), Error> {
        match label(&self.inner, MASTER_KEY).await? {
            Some(current) if current != id => Err(Error::Unavailable {
                message: "the master key was rotated: this control plane must be restarted with the new one"
                    .to_owned(),
            }),
            _ => Ok(()),
        }
    }

    /// Notes the id of the master key that values are sealed under.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_master_key(&self, id: &str) -> Result<(), Error> {
        self.note_label(MASTER_KEY, id).await
    }

    async fn note_label(&self, name: &str, label: &str) -> Result<(), Error> {
        use entity::counter::{ActiveModel, Column, Entity};
        let updated = Entity::update_many()
            .col_expr(Column::Label, Expr::value(label))
            .filter(Column::Name.eq(name))
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        if updated.rows_affected == 0 {
            let made = ActiveModel {
                name: Set(name.to_owned()),
                value: Set(0),
                label: Set(label.to_owned()),
            };
            made.insert(&self.inner).await.map_err(|e| internal(&e))?;
        }
        Ok(())
    }

    /// Forgets it, as a database of an earlier version has none.
    #[cfg(test)]
    pub(crate) async fn forget_master_key(&self) -> Result<(), Error> {
        entity::counter::Entity::delete_by_id(MASTER_KEY.to_owned())
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        Ok(())
    }

    /// Seals every value anew by `reseal`. Nothing else is written to the configuration meanwhile.
    ///
    /// # Errors
    /// What `reseal` gave, or that the database failed.
    pub async fn reseal(
        &mut self,
        reseal: impl Fn(&Sealed) -> Result<Vec<u8>, Error>,
    ) -> Result<Resealed, Error> {
        self.next_revision().await?;
        let deleted = self.reseal_deleted(&reseal).await?;
        Ok(Resealed {
            keys: deleted + reseal_table!(&self.inner, api_key, "apiKeys", reseal),
            secrets: reseal_table!(&self.inner, secret, "secrets", reseal),
        })
    }
}

impl Store {
    /// The id of the master key that values are sealed under; none where it was never noted.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn master_key(&self) -> Result<Option<String>, Error> {
        label(&self.db, MASTER_KEY).await
    }

    /// Any one sealed value, if there is some.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn any_sealed(&self) -> Result<Option<Sealed>, Error> {
        let key = entity::api_key::Entity::find().one(&self.db).await;
        if let Some(row) = key.map_err(|e| internal(&e))? {
            return Ok(Some(Sealed {
                name: format!("projects/{}/apiKeys/{}", row.project, row.id),
                ciphertext: row.ciphertext,
            }));
        }
        let secret = entity::secret::Entity::find().one(&self.db).await;
        if let Some(row) = secret.map_err(|e| internal(&e))? {
            return Ok(Some(Sealed {
                name: format!("projects/{}/secrets/{}", row.project, row.id),
                ciphertext: row.ciphertext,
            }));
        }
        self.any_deleted_sealed().await
    }
}

async fn label(db: &impl ConnectionTrait, name: &str) -> Result<Option<String>, Error> {
    let row = entity::counter::Entity::find_by_id(name.to_owned())
        .one(db)
        .await
        .map_err(|e| internal(&e))?;
    Ok(row.map(|row| row.label))
}
