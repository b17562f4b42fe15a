//! How large the history of each project is (`docs/decisions/0033-projects.md`): a sum that goes with what is written and
//! deleted, in the same transaction, and is counted as a whole now and then.
//!
//! A row weighs what its texts and bodies have, and an allowance for the rest of it. What is said of that in Rust is said in
//! SQL, too: a row is weighed when it is written, and again when it is deleted.

use std::collections::HashMap;

use sea_orm::{
    ColumnTrait as _, Condition, ConnectionTrait, EntityTrait, ExprTrait as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _, sea_query::Expr,
};
use signalbox_model::{error::Error, ids::ExecutionName};

use super::{
    Position, Store, Tx, entity, internal,
    rows::{Attempt, Event, Execution, Project, Signal, StepRun},
};

/// Bytes of a row beside those that are counted.
const LARGE_ROW_BYTES: i64 = 512;
const ROW_BYTES: i64 = 256;
const SMALL_ROW_BYTES: i64 = 128;

/// What a row adds to the history of its project, in bytes.
pub(super) trait Weight {
    fn weight(&self) -> i64;
}

fn bytes(text: &str) -> i64 {
    i64::try_from(text.len()).unwrap_or(i64::MAX)
}

fn of(text: Option<&String>) -> i64 {
    text.map_or(0, |text| bytes(text))
}

impl Weight for Execution {
    fn weight(&self) -> i64 {
        LARGE_ROW_BYTES + of(self.output_json.as_ref())
    }
}

impl Weight for Event {
    fn weight(&self) -> i64 {
        let body = i64::try_from(self.body.len()).unwrap_or(i64::MAX);
        ROW_BYTES + body + bytes(&self.scope_json)
    }
}

impl Weight for StepRun {
    fn weight(&self) -> i64 {
        ROW_BYTES
            + bytes(&self.input_json)
            + of(self.output_json.as_ref())
            + of(self.error_message.as_ref())
    }
}

impl Weight for Attempt {
    fn weight(&self) -> i64 {
        SMALL_ROW_BYTES + of(self.error_message.as_ref())
    }
}

impl Weight for entity::whole_value::Model {
    fn weight(&self) -> i64 {
        SMALL_ROW_BYTES + bytes(&self.json)
    }
}

impl Weight for Signal {
    fn weight(&self) -> i64 {
        ROW_BYTES + of(self.payload_json.as_ref())
    }
}

impl Weight for entity::command::Model {
    fn weight(&self) -> i64 {
        ROW_BYTES + bytes(&self.input_json)
    }
}

/// Weighs rows of executions, each by the execution's id.
struct Scales<'a> {
    project: &'a str,
    ids: &'a [String],
    found: HashMap<String, i64>,
}

impl Scales<'_> {
    async fn add<E: EntityTrait>(
        &mut self,
        db: &impl ConnectionTrait,
        (project, id): (E::Column, E::Column),
        (row_bytes, texts): (i64, &[&str]),
    ) -> Result<(), Error> {
        let texts = texts
            .iter()
            .map(|text| format!(" + COALESCE(octet_length({text}), 0)"));
        let texts: String = texts.collect();
        let sum = Expr::cust(format!("CAST(SUM({row_bytes}{texts}) AS BIGINT)"));
        let rows: Vec<(String, i64)> = E::find()
            .select_only()
            .column_as(id, "execution")
            .column_as(sum, "bytes")
            .filter(project.eq(self.project))
            .filter(id.is_in(self.ids.iter().map(String::as_str)))
            .group_by(id)
            .into_tuple()
            .all(db)
            .await
            .map_err(|e| internal(&e))?;
        for (id, bytes) in rows {
            *self.found.entry(id).or_default() += bytes;
        }
        Ok(())
    }

    /// What begins anew with an execution.
    async fn add_steps(&mut self, db: &impl ConnectionTrait) -> Result<(), Error> {
        use entity::{attempt, step_run};
        let texts: &[&str] = &["input_json", "output_json", "error_message"];
        let columns = (step_run::Column::Project, step_run::Column::Execution);
        self.add::<step_run::Entity>(db, columns, (ROW_BYTES, texts))
            .await?;
        let columns = (attempt::Column::Project, attempt::Column::Execution);
        self.add::<attempt::Entity>(db, columns, (SMALL_ROW_BYTES, &["error_message"]))
            .await
    }

    async fn add_whole_values(&mut self, db: &impl ConnectionTrait) -> Result<(), Error> {
        use entity::whole_value::{Column, Entity};
        let columns = (Column::Project, Column::Execution);
        self.add::<Entity>(db, columns, (SMALL_ROW_BYTES, &["json"]))
            .await
    }

    async fn add_the_rest(&mut self, db: &impl ConnectionTrait) -> Result<(), Error> {
        use entity::{command, event, execution, signal};
        let columns = (execution::Column::Project, execution::Column::Id);
        self.add::<execution::Entity>(db, columns, (LARGE_ROW_BYTES, &["output_json"]))
            .await?;
        let columns = (event::Column::Project, event::Column::Execution);
        self.add::<event::Entity>(db, columns, (ROW_BYTES, &["body", "scope_json"]))
            .await?;
        let columns = (signal::Column::Project, signal::Column::Execution);
        self.add::<signal::Entity>(db, columns, (ROW_BYTES, &["payload_json"]))
            .await?;
        let columns = (command::Column::Project, command::Column::Execution);
        self.add::<command::Entity>(db, columns, (ROW_BYTES, &["input_json"]))
            .await
    }
}

/// What each of these executions weighs, with all that is of it.
async fn weigh(
    db: &impl ConnectionTrait,
    project: &str,
    ids: &[String],
) -> Result<HashMap<String, i64>, Error> {
    let found = HashMap::new();
    let mut scales = Scales {
        project,
        ids,
        found,
    };
    if !ids.is_empty() {
        scales.add_steps(db).await?;
        scales.add_whole_values(db).await?;
        scales.add_the_rest(db).await?;
    }
    Ok(scales.found)
}

impl Tx {
    /// Notes that the history of a project becomes so much larger, or smaller.
    pub(super) fn grows(&mut self, project: &str, bytes: i64) {
        if bytes != 0 {
            *self.growth.entry(project.to_owned()).or_default() += bytes;
        }
    }

    /// Writes what was noted. Late in the transaction: the row is locked for the shortest time, and after all others.
    pub(super) async fn write_growth(&mut self) -> Result<(), Error> {
        use entity::project::{Column, Entity};
        for (project, bytes) in std::mem::take(&mut self.growth) {
            Entity::update_many()
                .col_expr(
                    Column::HistoryBytes,
                    Expr::col(Column::HistoryBytes).add(bytes),
                )
                .filter(Column::Id.eq(project))
                .exec(&self.inner)
                .await
                .map_err(|e| internal(&e))?;
        }
        Ok(())
    }

    /// How large the history of a project is, with what this transaction has noted.
    #[must_use]
    pub fn history_bytes(&self, project: &Project) -> i64 {
        project.history_bytes + self.growth.get(&project.id).copied().unwrap_or_default()
    }

    /// What each of these executions weighs, with all that is of it.
    pub(super) async fn weigh(
        &self,
        project: &str,
        ids: &[String],
    ) -> Result<HashMap<String, i64>, Error> {
        weigh(&self.inner, project, ids).await
    }

    /// What the database has of an execution's steps, or only of their whole values.
    pub(super) async fn weigh_steps(
        &self,
        name: &ExecutionName,
        only_whole_values: bool,
    ) -> Result<i64, Error> {
        let ids = [name.execution.to_string()];
        let found = HashMap::new();
        let mut scales = Scales {
            project: name.project.as_str(),
            ids: &ids,
            found,
        };
        scales.add_whole_values(&self.inner).await?;
        if !only_whole_values {
            scales.add_steps(&self.inner).await?;
        }
        Ok(scales.found.into_values().sum())
    }

    /// Notes that the history of a project was counted: `bytes`, and what it has grown by since `before` was read. Nothing, when
    /// another replica was quicker.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn history_counted(&self, before: &Project, bytes: i64) -> Result<(), Error> {
        use entity::project::{Column, Entity};
        let is_as_before = match before.history_count_time_us {
            Some(time_us) => Column::HistoryCountTimeUs.eq(time_us),
            None => Column::HistoryCountTimeUs.is_null(),
        };
        let more = bytes.saturating_sub(before.history_bytes);
        Entity::update_many()
            .col_expr(
                Column::HistoryBytes,
                Expr::col(Column::HistoryBytes).add(more),
            )
            .col_expr(Column::HistoryCountTimeUs, Expr::value(self.now_us()))
            .filter(Column::Id.eq(&before.id))
            .filter(is_as_before)
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        Ok(())
    }
}

impl Store {
    /// What the executions of a project weigh that were made after the position, the oldest first, at most `max`; and where it
    /// goes on.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn weigh_some(
        &self,
        project: &str,
        after: Option<&Position>,
        max: u64,
    ) -> Result<(i64, Option<Position>), Error> {
        use entity::execution::{Column, Entity};
        let later = after.map(|(time_us, id)| {
            let same_time = Condition::all()
                .add(Column::CreateTimeUs.eq(*time_us))
                .add(Column::Id.gt(id.as_str()));
            Condition::any()
                .add(Column::CreateTimeUs.gt(*time_us))
                .add(same_time)
        });
        let rows: Vec<(i64, String)> = Entity::find()
            .select_only()
            .column(Column::CreateTimeUs)
            .column(Column::Id)
            .filter(Column::Project.eq(project))
            .filter(Condition::all().add_option(later))
            .order_by_asc(Column::CreateTimeUs)
            .order_by_asc(Column::Id)
            .limit(max)
            .into_tuple()
            .all(&self.db)
            .await
            .map_err(|e| internal(&e))?;
        let last = rows.last().cloned();
        let ids: Vec<String> = rows.into_iter().map(|(_, id)| id).collect();
        let weights = weigh(&self.db, project, &ids).await?;
        Ok((weights.into_values().sum(), last))
    }
}
