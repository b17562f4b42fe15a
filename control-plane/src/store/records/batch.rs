//! The rows of a batch: read before its records are folded, written after.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::{
    ActiveModelTrait, ColumnTrait as _, DatabaseTransaction, EntityTrait, IntoActiveModel,
    Iterable as _, PrimaryKeyToColumn as _, QueryFilter as _, QuerySelect as _,
    sea_query::OnConflict,
};
use signalbox_model::{
    error::Error,
    ids::{ExecutionName, NodeId},
    record::{RecordBody, SequencedRecord},
};

use crate::store::usage::Weight;

use super::{
    Tx, entity,
    fold::{History, Kept},
    internal, values,
};

/// Executions that one statement looks for.
const NAMES_MAX: usize = 200;
/// Rows that one statement writes. Few sizes: each is a statement of its own, which the connection keeps prepared. A row
/// has at most 23 columns, and SQLite takes 32,766 values.
const ROWS: [usize; 3] = [64, 8, 1];

/// The histories that a batch belongs to.
pub(super) type Histories = BTreeMap<ExecutionName, History>;

impl Tx {
    /// What the database has of the executions that `records` are of, as far as records of `node` can change it. Their rows
    /// are locked.
    pub(super) async fn histories(
        &self,
        node: &NodeId,
        records: &[&SequencedRecord],
    ) -> Result<Histories, Error> {
        let mut wanted: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for record in records {
            if let Some(name) = execution_of(&record.record.body) {
                let ids = wanted.entry(name.project.as_str()).or_default();
                ids.insert(name.execution.as_str());
            }
        }
        let mut histories = Histories::new();
        for (project, ids) in wanted {
            let ids: Vec<&str> = ids.into_iter().collect();
            for ids in ids.chunks(NAMES_MAX) {
                self.read_histories(node, project, ids, &mut histories)
                    .await?;
            }
        }
        Ok(histories)
    }

    async fn read_histories(
        &self,
        node: &NodeId,
        project: &str,
        ids: &[&str],
        histories: &mut Histories,
    ) -> Result<(), Error> {
        use entity::{attempt, execution, step_run};
        let rows = execution::Entity::find()
            .filter(execution::Column::Project.eq(project))
            .filter(execution::Column::Id.is_in(ids.iter().copied()))
            .lock_exclusive()
            .all(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        let mut open = Vec::new();
        for row in rows {
            let id = row.id.clone();
            let name = name(project, &id)?;
            let history = History::known(name.clone(), row);
            if history.goes_on_at(node) {
                open.push(id);
            }
            histories.insert(name, history);
        }
        if open.is_empty() {
            return Ok(());
        }
        let steps = step_run::Entity::find()
            .filter(step_run::Column::Project.eq(project))
            .filter(step_run::Column::Execution.is_in(open.iter().cloned()))
            .filter(step_run::Column::EndTimeUs.is_null())
            .all(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        for row in steps {
            if let Some(history) = histories.get_mut(&name(project, &row.execution)?) {
                history.steps.insert(row.step.clone(), Kept::known(row));
            }
        }
        let attempts = attempt::Entity::find()
            .filter(attempt::Column::Project.eq(project))
            .filter(attempt::Column::Execution.is_in(open))
            .filter(attempt::Column::EndTimeUs.is_null())
            .all(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        for row in attempts {
            if let Some(history) = histories.get_mut(&name(project, &row.execution)?) {
                let key = (row.step.clone(), row.number);
                history.attempts.insert(key, Kept::known(row));
            }
        }
        Ok(())
    }

    /// Writes what has changed; of a value of more than `value_max_bytes` the beginning.
    pub(super) async fn write_histories(
        &mut self,
        histories: Histories,
        value_max_bytes: usize,
    ) -> Result<(), Error> {
        let mut executions = Changed::default();
        let mut events = Vec::new();
        let mut steps = Changed::default();
        let mut attempts = Changed::default();
        let mut wholes = Vec::new();
        for (name, mut history) in histories {
            let mut growth = 0;
            if history.begins_anew {
                growth -= self.weigh_steps(&name, false).await?;
                self.delete_steps(&name).await?;
                self.delete_whole_values(&name).await?;
                self.tell_again(&name).await?;
            }
            let values::Wholes { new, are_done } = values::shorten(&mut history, value_max_bytes);
            if are_done {
                growth -= self.weigh_steps(&name, true).await?;
                self.delete_whole_values(&name).await?;
            }
            growth += new.iter().map(Weight::weight).sum::<i64>() + history.growth();
            self.grows(name.project.as_str(), growth);
            wholes.extend(new);
            for (signal, time_us) in &history.told {
                self.signal_taken(&name, signal, *time_us).await?;
            }
            if history.takes_retry {
                self.delete_retry(&name).await?;
            }
            if history.execution.is_changed {
                let mut execution = history.execution;
                execution.row.history = self.next_history().await?;
                executions.add(execution);
            }
            events.extend(history.event);
            history.steps.into_values().for_each(|step| steps.add(step));
            history
                .attempts
                .into_values()
                .for_each(|attempt| attempts.add(attempt));
        }
        executions
            .write::<entity::execution::Entity>(&self.inner)
            .await?;
        insert_all::<entity::event::Entity>(&self.inner, events).await?;
        insert_all::<entity::whole_value::Entity>(&self.inner, wholes).await?;
        steps.write::<entity::step_run::Entity>(&self.inner).await?;
        attempts.write::<entity::attempt::Entity>(&self.inner).await
    }

    async fn delete_steps(&self, name: &ExecutionName) -> Result<(), Error> {
        use entity::{attempt, step_run};
        attempt::Entity::delete_many()
            .filter(attempt::Column::Project.eq(name.project.as_str()))
            .filter(attempt::Column::Execution.eq(name.execution.as_str()))
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        step_run::Entity::delete_many()
            .filter(step_run::Column::Project.eq(name.project.as_str()))
            .filter(step_run::Column::Execution.eq(name.execution.as_str()))
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        Ok(())
    }
}

/// The execution that a record is of.
fn execution_of(body: &RecordBody) -> Option<&ExecutionName> {
    match body {
        RecordBody::Accepted(accepted) => Some(&accepted.execution),
        RecordBody::Execution { execution, .. } => Some(execution),
        RecordBody::Delivery(_) | RecordBody::Subscription(_) | RecordBody::Certificate(_) => None,
    }
}

/// The id of the project that a record is of.
pub(super) fn project_of(body: &RecordBody) -> Option<&str> {
    match body {
        RecordBody::Accepted(accepted) => Some(accepted.execution.project.as_str()),
        RecordBody::Execution { execution, .. } => Some(execution.project.as_str()),
        RecordBody::Delivery(delivery) => Some(delivery.workflow.project.as_str()),
        RecordBody::Subscription(change) => Some(change.workflow.project.as_str()),
        RecordBody::Certificate(_) => None,
    }
}

fn name(project: &str, id: &str) -> Result<ExecutionName, Error> {
    let wrong = |_| Error::Internal {
        message: format!("the execution {project}/{id} has no valid name"),
    };
    Ok(ExecutionName {
        project: project.parse().map_err(wrong)?,
        execution: id.parse().map_err(wrong)?,
    })
}

/// The rows of one table that are to be written.
struct Changed<M> {
    new: Vec<M>,
    known: Vec<M>,
}

impl<M> Default for Changed<M> {
    fn default() -> Self {
        Self {
            new: Vec::new(),
            known: Vec::new(),
        }
    }
}

impl<M> Changed<M> {
    fn add(&mut self, kept: Kept<M>) {
        if kept.is_changed && kept.is_known {
            self.known.push(kept.row);
        } else if kept.is_changed {
            self.new.push(kept.row);
        }
    }

    /// New rows are inserted: one that another transaction wrote meanwhile fails this one, and its batch is folded anew.
    async fn write<E>(self, to: &DatabaseTransaction) -> Result<(), Error>
    where
        E: EntityTrait<Model = M>,
        M: IntoActiveModel<E::ActiveModel>,
    {
        put_all::<E>(to, self.known, Some(replacing::<E>())).await?;
        put_all::<E>(to, self.new, None).await
    }
}

/// Inserts rows, some at a time.
///
/// # Errors
/// When the database fails, or has one of them.
pub(in crate::store) async fn insert_all<E: EntityTrait>(
    to: &DatabaseTransaction,
    rows: Vec<E::Model>,
) -> Result<(), Error>
where
    E::Model: IntoActiveModel<E::ActiveModel>,
{
    put_all::<E>(to, rows, None).await
}

/// Every column of a row that is there.
fn replacing<E: EntityTrait>() -> OnConflict {
    let key = <E::PrimaryKey as sea_orm::Iterable>::iter().map(|key| key.into_column());
    let rest = E::Column::iter().filter(|column| E::PrimaryKey::from_column(*column).is_none());
    OnConflict::columns(key).update_columns(rest).to_owned()
}

async fn put_all<E: EntityTrait>(
    to: &DatabaseTransaction,
    rows: Vec<E::Model>,
    conflict: Option<OnConflict>,
) -> Result<(), Error>
where
    E::Model: IntoActiveModel<E::ActiveModel>,
{
    let mut rows = rows.into_iter();
    for size in ROWS {
        while rows.len() >= size {
            let some = rows.by_ref().take(size);
            let mut insert = E::insert_many(some.map(|row| row.into_active_model().reset_all()));
            if let Some(conflict) = &conflict {
                insert = insert.on_conflict(conflict.clone());
            }
            insert
                .exec_without_returning(to)
                .await
                .map_err(|e| internal(&e))?;
        }
    }
    Ok(())
}
