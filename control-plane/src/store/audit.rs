//! The audit log: chains of entries (see [`signalbox_model::audit`]), written with what they are about.
//!
//! Entries are written at the end of their transaction: then the head of a chain is locked for the shortest time, and always
//! after the other counters, so that no two writers wait for each other.

use sea_orm::{
    ActiveModelTrait as _,
    ActiveValue::Set,
    ColumnTrait as _, Condition, ConnectionTrait, EntityTrait as _, IntoActiveModel as _,
    QueryFilter as _, QueryOrder as _, QuerySelect as _,
    sea_query::{Expr, ExprTrait as _, OnConflict},
};
use signalbox_model::{
    audit::{Change, Entry, Hash, Head},
    error::Error,
    ids::ProjectId,
};

use super::{Actor, Page, PageOf, Placed, Position, Store, Times, Tx, entity, internal};

/// Rows of the log of earlier versions that are taken over in one transaction.
const ADOPTED_AT_ONCE: u64 = 500;

/// What is to be written.
#[derive(Debug)]
pub(super) struct Pending {
    time_us: i64,
    actor: Actor,
    action: String,
    resource: String,
    changes: Vec<Change>,
}

/// An entry with its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audited {
    /// It.
    pub entry: Entry,
    /// Its hash, as it is stored.
    pub hash: Hash,
}

impl Placed for Audited {
    fn position(&self) -> Position {
        place(i64::try_from(self.entry.sequence).unwrap_or(i64::MAX))
    }
}

impl Placed for entity::audit_entry::Model {
    fn position(&self) -> Position {
        place(self.sequence)
    }
}

fn place(sequence: i64) -> Position {
    (sequence, "a".to_owned())
}

/// Which entries. Every field that is set must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Who.
    pub actor: Option<String>,
    /// What was done.
    pub action: Option<String>,
    /// To what.
    pub resource: Option<String>,
    /// By which request.
    pub request_id: Option<String>,
    /// In which trace.
    pub trace_id: Option<String>,
    /// When.
    pub times: Times,
}

/// The chain that entries about `resource` are in: its project's name, or nothing.
fn scope_of(resource: &str) -> &str {
    let Some(rest) = resource.strip_prefix("projects/") else {
        return "";
    };
    let project = rest.split('/').next().unwrap_or_default();
    &resource[.."projects/".len() + project.len()]
}

/// The chain of a project, or of what belongs to none.
fn scope(project: Option<&ProjectId>) -> String {
    project.map_or_else(String::new, |project| format!("projects/{project}"))
}

fn counter(scope: &str) -> String {
    format!("audit:{scope}")
}

/// The head that a counter's row says.
fn head(row: Option<entity::counter::Model>) -> Result<Head, Error> {
    let Some(row) = row.filter(|row| row.value > 0) else {
        return Ok(Head {
            sequence: 0,
            hash: Hash::FIRST,
        });
    };
    let hash = row.label.parse().map_err(|_| damaged(&row.name))?;
    Ok(Head {
        sequence: u64::try_from(row.value).map_err(|_| damaged(&row.name))?,
        hash,
    })
}

fn damaged(what: &str) -> Error {
    tracing::error!(what, "the audit log is damaged");
    Error::Internal {
        message: format!("the audit log is damaged: {what}"),
    }
}

/// How changes are stored.
type StoredChange = (String, Option<String>, Option<String>);

fn changes_to_json(changes: &[Change]) -> String {
    let stored: Vec<_> = changes
        .iter()
        .map(|change| (&change.field, &change.before, &change.after))
        .collect();
    serde_json::to_string(&stored).unwrap_or_else(|_| "[]".to_owned())
}

fn audited(row: entity::audit_entry::Model) -> Result<Audited, Error> {
    let name = || format!("{}: entry {}", counter(&row.scope), row.sequence);
    let stored: Vec<StoredChange> =
        serde_json::from_str(&row.changes_json).map_err(|_| damaged(&name()))?;
    let changes = stored.into_iter().map(|(field, before, after)| Change {
        field,
        before,
        after,
    });
    Ok(Audited {
        hash: Hash::from_bytes(&row.hash).ok_or_else(|| damaged(&name()))?,
        entry: Entry {
            sequence: u64::try_from(row.sequence).map_err(|_| damaged(&name()))?,
            scope: row.scope,
            time_us: row.time_us,
            actor: row.actor,
            action: row.action,
            resource: row.resource,
            request_id: row.request_id.unwrap_or_default(),
            trace_id: row.trace_id.unwrap_or_default(),
            changes: changes.collect(),
        },
    })
}

fn not_empty(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

impl Tx {
    /// Notes in the audit log who did what. It is written with the rest of the transaction, at its end.
    pub fn audit(&mut self, actor: &Actor, action: &str, resource: &str, changes: Vec<Change>) {
        self.audits.push(Pending {
            time_us: self.now_us(),
            actor: actor.clone(),
            action: action.to_owned(),
            resource: resource.to_owned(),
            changes,
        });
    }

    /// Writes what was noted: nothing else comes after it in the transaction.
    pub(super) async fn write_audits(&mut self) -> Result<(), Error> {
        let mut audits = std::mem::take(&mut self.audits);
        // Chains are locked in one order.
        audits.sort_by(|a, b| scope_of(&a.resource).cmp(scope_of(&b.resource)));
        for of_scope in audits.chunk_by(|a, b| scope_of(&a.resource) == scope_of(&b.resource)) {
            let scope = of_scope
                .first()
                .map(|pending| scope_of(&pending.resource))
                .unwrap_or_default();
            let mut head = self.lock_chain(scope).await?;
            for pending in of_scope {
                head = self.write_entry(scope, &head, pending).await?;
            }
            self.set_head(scope, &head).await?;
        }
        Ok(())
    }

    /// Locks a chain until the commit; gives its head.
    async fn lock_chain(&self, scope: &str) -> Result<Head, Error> {
        use entity::counter::{ActiveModel, Column, Entity};
        let name = counter(scope);
        let lock = Entity::update_many()
            .col_expr(Column::Value, Expr::col(Column::Value).add(0_i64))
            .filter(Column::Name.eq(&name));
        let locked = lock.clone().exec(&self.inner).await;
        if locked.map_err(|e| internal(&e))?.rows_affected == 0 {
            let first = ActiveModel {
                name: Set(name.clone()),
                value: Set(0),
                label: Set(String::new()),
            };
            // Another writer may begin the chain at the same time.
            Entity::insert(first)
                .on_conflict(OnConflict::column(Column::Name).do_nothing().to_owned())
                .exec_without_returning(&self.inner)
                .await
                .map_err(|e| internal(&e))?;
            lock.exec(&self.inner).await.map_err(|e| internal(&e))?;
        }
        find_head(&self.inner, scope).await
    }

    async fn write_entry(
        &self,
        scope: &str,
        head: &Head,
        pending: &Pending,
    ) -> Result<Head, Error> {
        let Pending {
            time_us,
            actor,
            action,
            resource,
            changes,
        } = pending;
        let entry = Entry {
            scope: scope.to_owned(),
            sequence: head.sequence + 1,
            time_us: *time_us,
            actor: actor.subject.clone(),
            action: action.clone(),
            resource: resource.clone(),
            request_id: actor.request_id.clone().unwrap_or_default(),
            trace_id: actor.trace_id.clone().unwrap_or_default(),
            changes: changes.clone(),
        };
        let hash = entry.hash(&head.hash);
        let row = entity::audit_entry::Model {
            sequence: i64::try_from(entry.sequence).map_err(|_| damaged(scope))?,
            time_us: entry.time_us,
            changes_json: changes_to_json(&entry.changes),
            request_id: not_empty(&entry.request_id),
            trace_id: not_empty(&entry.trace_id),
            scope: entry.scope,
            actor: entry.actor,
            action: entry.action,
            resource: entry.resource,
            hash: hash.0.to_vec(),
        };
        let active = row.into_active_model().reset_all();
        entity::audit_entry::Entity::insert(active)
            .exec_without_returning(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        Ok(Head {
            sequence: head.sequence + 1,
            hash,
        })
    }

    async fn set_head(&self, scope: &str, head: &Head) -> Result<(), Error> {
        use entity::counter::{Column, Entity};
        let sequence = i64::try_from(head.sequence).map_err(|_| damaged(scope))?;
        Entity::update_many()
            .col_expr(Column::Value, Expr::value(sequence))
            .col_expr(Column::Label, Expr::value(head.hash.to_string()))
            .filter(Column::Name.eq(counter(scope)))
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        Ok(())
    }

    /// Takes over what an earlier version of Signalbox wrote to its log; says how much.
    async fn adopt_audits(&mut self) -> Result<usize, Error> {
        use entity::audit::{Column, Entity};
        let rows = Entity::find()
            .order_by_asc(Column::Id)
            .limit(ADOPTED_AT_ONCE)
            .all(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        let found = rows.len();
        for row in rows {
            let deleted = Entity::delete_by_id(row.id).exec(&self.inner).await;
            // Another replica that starts may have taken it.
            if deleted.map_err(|e| internal(&e))?.rows_affected == 1 {
                self.audits.push(Pending {
                    time_us: row.time_us,
                    actor: Actor {
                        subject: row.actor,
                        request_id: row.request_id,
                        trace_id: None,
                    },
                    action: row.action,
                    resource: row.resource,
                    changes: Vec::new(),
                });
            }
        }
        Ok(found)
    }
}

async fn find_head(db: &impl ConnectionTrait, scope: &str) -> Result<Head, Error> {
    let row = entity::counter::Entity::find_by_id(counter(scope))
        .one(db)
        .await
        .map_err(|e| internal(&e))?;
    head(row)
}

impl Store {
    /// Takes over what an earlier version of Signalbox wrote to its log, which had no chain.
    ///
    /// # Errors
    /// When the database fails.
    pub(super) async fn adopt_audits(&self) -> Result<(), Error> {
        while self.write(async |tx| tx.adopt_audits().await).await? > 0 {}
        Ok(())
    }

    /// The newest entry of a chain.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn audit_head(&self, project: Option<&ProjectId>) -> Result<Head, Error> {
        find_head(&self.db, &scope(project)).await
    }

    /// The entries of a chain, newest first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn audits(
        &self,
        project: Option<&ProjectId>,
        filter: &AuditFilter,
        page: &Page,
    ) -> Result<PageOf<Audited>, Error> {
        use entity::audit_entry::{Column, Entity};
        let AuditFilter {
            actor,
            action,
            resource,
            request_id,
            trace_id,
            times,
        } = filter;
        let mut condition = Condition::all()
            .add(Column::Scope.eq(scope(project)))
            .add(times.condition(Column::TimeUs));
        for (column, value) in [
            (Column::Actor, actor),
            (Column::Action, action),
            (Column::Resource, resource),
            (Column::RequestId, request_id),
            (Column::TraceId, trace_id),
        ] {
            condition = condition.add_option(value.as_ref().map(|value| column.eq(value.as_str())));
        }
        let query = |page: &Page| {
            let after = page.after.as_ref();
            let after = after.map(|(last, _)| Column::Sequence.lt(*last));
            Entity::find()
                .filter(condition.clone().add_option(after))
                .order_by_desc(Column::Sequence)
                .limit(page.size + 1)
        };
        let PageOf { rows, next } = page.read(&self.db, query).await?;
        Ok(PageOf {
            rows: rows.into_iter().map(audited).collect::<Result<_, _>>()?,
            next,
        })
    }
}
