//! Tokens of our own: the public halves of the keys that sign them, and which are revoked.

use sea_orm::{
    ColumnTrait as _, Condition, EntityTrait as _, PaginatorTrait as _, QueryFilter as _,
    QueryOrder as _, sea_query::Expr,
};
use signalbox_model::error::Error;

use super::{Page, PageOf, Store, Tx, counter, entity, internal, page::keyset};

/// A key that verifies tokens.
pub type TokenKeyRow = entity::token_key::Model;
/// A token that counts no more.
pub type RevokedTokenRow = entity::revoked_token::Model;

/// Counts the changes.
const TOKENS: &str = "tokens";

impl Tx {
    /// Notes a key, unless it is known.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn put_token_key(&mut self, id: &str, public_key: &[u8]) -> Result<(), Error> {
        use entity::token_key::Entity;
        let found = Entity::find_by_id(id.to_owned()).one(&self.inner).await;
        if found.map_err(|e| internal(&e))?.is_some() {
            return Ok(());
        }
        let row = TokenKeyRow {
            id: id.to_owned(),
            public_key: public_key.to_vec(),
            create_time_us: self.now_us(),
            retire_time_us: None,
        };
        self.insert_row::<Entity>(row, &format!("signingKeys/{id}"))
            .await?;
        self.tokens_changed().await
    }

    /// Lets the keys that are there verify until `retire_us`, or until the end that they have, if that is sooner.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn retire_token_keys(&mut self, retire_us: i64) -> Result<(), Error> {
        use entity::token_key::{Column, Entity};
        let later = Condition::any()
            .add(Column::RetireTimeUs.is_null())
            .add(Column::RetireTimeUs.gt(retire_us));
        Entity::update_many()
            .col_expr(Column::RetireTimeUs, Expr::value(retire_us))
            .filter(later)
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        self.tokens_changed().await
    }

    /// Revokes a token; one that is revoked stays as it is. Forgets those that have ended by themselves.
    ///
    /// # Errors
    /// `Exhausted` when more than `max` are.
    pub async fn revoke_token(
        &mut self,
        row: RevokedTokenRow,
        forget_before_us: i64,
        max: u64,
    ) -> Result<RevokedTokenRow, Error> {
        use entity::revoked_token::{Column, Entity};
        Entity::delete_many()
            .filter(Column::ExpireTimeUs.lt(forget_before_us))
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        let found = Entity::find_by_id(row.id.clone()).one(&self.inner).await;
        if let Some(found) = found.map_err(|e| internal(&e))? {
            return Ok(found);
        }
        let count = Entity::find().count(&self.inner).await;
        if count.map_err(|e| internal(&e))? >= max {
            return Err(Error::Exhausted {
                message: format!(
                    "{max} tokens are revoked, which is as many as can be: rotate the signing key instead"
                ),
            });
        }
        let name = format!("revokedTokens/{}", row.id);
        let row = self.insert_row::<Entity>(row, &name).await?;
        self.tokens_changed().await?;
        Ok(row)
    }

    async fn tokens_changed(&mut self) -> Result<(), Error> {
        self.advance(TOKENS, 1).await.map(|_| ())
    }
}

impl Store {
    /// Changes whenever a key or a revocation does.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tokens_version(&self) -> Result<i64, Error> {
        counter(&self.db, TOKENS).await.map_err(|e| internal(&e))
    }

    /// All keys, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn token_keys(&self) -> Result<Vec<TokenKeyRow>, Error> {
        use entity::token_key::{Column, Entity};
        Entity::find()
            .order_by_desc(Column::CreateTimeUs)
            .order_by_desc(Column::Id)
            .all(&self.db)
            .await
            .map_err(|e| internal(&e))
    }

    /// All tokens that are revoked.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn all_revoked_tokens(&self) -> Result<Vec<RevokedTokenRow>, Error> {
        let all = entity::revoked_token::Entity::find().all(&self.db).await;
        all.map_err(|e| internal(&e))
    }

    /// The tokens that are revoked, last revoked first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn revoked_tokens(&self, page: &Page) -> Result<PageOf<RevokedTokenRow>, Error> {
        use entity::revoked_token::{Column, Entity};
        let query = |page: &Page| keyset!(Entity::find(), page, Column::RevokeTimeUs, Column::Id);
        page.read(&self.db, query).await
    }
}
