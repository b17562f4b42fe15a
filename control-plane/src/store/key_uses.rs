//! When, and from where, keys were last used: in a table of its own, so that neither a use changes a key (its etag, its revision)
//! nor who changes a key puts a use back.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, Condition, EntityTrait as _, IntoActiveModel as _,
    QueryFilter as _, QuerySelect as _,
    sea_query::{Alias, Expr, ExprTrait as _, OnConflict},
};
use signalbox_model::{error::Error, key_use::KeyUse};

use super::{
    Store, Tx, entity, internal,
    rows::{ApiKey, KeyUse as Row},
};

/// Rows of one statement.
const ROWS_MAX: usize = 500;

impl Tx {
    /// Keeps those that are newer than what is known, and whose keys exist. A time that is to come is now: the node's clock is
    /// ahead.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn note_key_uses(&self, uses: &[KeyUse]) -> Result<(), Error> {
        let now_us = self.now_us();
        // The newest of each key, in the order of names: two replicas that write the same rows do not wait for each other in turn.
        let mut newest: BTreeMap<(String, String), Row> = BTreeMap::new();
        for KeyUse { key, time, source } in uses {
            let name = (key.project.to_string(), key.api_key.to_string());
            let row = Row {
                project: name.0.clone(),
                api_key: name.1.clone(),
                use_time_us: Ord::min(time.as_microsecond(), now_us),
                source_address: source.to_string(),
            };
            let is_newer = |known: &Row| {
                (row.use_time_us, &row.source_address) > (known.use_time_us, &known.source_address)
            };
            if newest.get(&name).is_none_or(is_newer) {
                newest.insert(name, row);
            }
        }
        let rows: Vec<Row> = newest.into_values().collect();
        for rows in rows.chunks(ROWS_MAX) {
            self.put_key_uses(rows).await?;
        }
        Ok(())
    }

    async fn put_key_uses(&self, rows: &[Row]) -> Result<(), Error> {
        use entity::key_use::{Column, Entity};
        let known = self.known_keys(rows).await?;
        let is_known = |row: &&Row| known.contains(&(row.project.clone(), row.api_key.clone()));
        let rows: Vec<_> = rows
            .iter()
            .filter(is_known)
            .map(|row| row.clone().into_active_model().reset_all())
            .collect();
        if rows.is_empty() {
            return Ok(());
        }
        let excluded = Expr::col((Alias::new("excluded"), Column::UseTimeUs));
        let newer = OnConflict::columns([Column::Project, Column::ApiKey])
            .update_columns([Column::UseTimeUs, Column::SourceAddress])
            .action_and_where(excluded.gt(Expr::col((Entity, Column::UseTimeUs))))
            .to_owned();
        Entity::insert_many(rows)
            .on_conflict(newer)
            .exec_without_returning(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        Ok(())
    }

    /// Which of the keys exist.
    async fn known_keys(&self, rows: &[Row]) -> Result<BTreeSet<(String, String)>, Error> {
        use entity::api_key::{Column, Entity};
        let mut ids: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for row in rows {
            ids.entry(&row.project).or_default().push(&row.api_key);
        }
        let of_project = |(project, ids): (&str, Vec<&str>)| {
            Column::Project.eq(project).and(Column::Id.is_in(ids))
        };
        let any = ids
            .into_iter()
            .map(of_project)
            .fold(Condition::any(), Condition::add);
        let found: Vec<(String, String)> = Entity::find()
            .select_only()
            .columns([Column::Project, Column::Id])
            .filter(any)
            .into_tuple()
            .all(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        Ok(found.into_iter().collect())
    }

    /// Forgets the last use of a key that goes for good.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn forget_key_use(&self, project: &str, id: &str) -> Result<(), Error> {
        entity::key_use::Entity::delete_by_id((project.to_owned(), id.to_owned()))
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        Ok(())
    }
}

impl Store {
    /// The last uses of keys of one project, by their ids.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn key_uses<'a>(
        &self,
        keys: impl IntoIterator<Item = &'a ApiKey>,
    ) -> Result<HashMap<String, Row>, Error> {
        use entity::key_use::{Column, Entity};
        let mut keys = keys.into_iter().peekable();
        let Some(first) = keys.peek().copied() else {
            return Ok(HashMap::new());
        };
        let created: HashMap<&str, i64> = keys
            .map(|key| (key.id.as_str(), key.create_time_us))
            .collect();
        let rows = Entity::find()
            .filter(Column::Project.eq(&first.project))
            .filter(Column::ApiKey.is_in(created.keys().copied()))
            .all(&self.db)
            .await
            .map_err(|e| internal(&e))?;
        // One that is older is of another key of the name, which was deleted when it was reported.
        let is_of_key = |row: &Row| {
            created
                .get(row.api_key.as_str())
                .is_some_and(|created_us| row.use_time_us >= *created_us)
        };
        Ok(rows
            .into_iter()
            .filter(is_of_key)
            .map(|row| (row.api_key.clone(), row))
            .collect())
    }
}
