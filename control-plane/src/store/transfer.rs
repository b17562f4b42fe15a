//! Taking a SQLite database's content to PostgreSQL: every table, in one transaction, verified by counts and checksums of what was
//! written against what was read.

use aws_lc_rs::digest::{SHA256, digest};
use sea_orm::{
    ConnectionTrait, DatabaseBackend, DatabaseConnection, DatabaseTransaction, DbErr, EntityTrait,
    IntoActiveModel, Iterable as _, ModelTrait as _, PrimaryKeyToColumn as _, QueryFilter as _,
    QueryOrder as _, QuerySelect as _, Statement, TransactionTrait as _, Value,
    sea_query::{Expr, ExprTrait as _},
};

use super::{OpenError, Store, entity, schema};

/// Rows that are in memory at once: an event has up to 2 MiB.
const ROWS_MAX: u64 = 64;

/// What a table holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Its rows.
    pub rows: u64,
    /// Of all their values: the sum of the rows' digests, whatever their order (the databases sort text otherwise).
    pub checksum: u128,
}

/// What was taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transferred {
    /// Each table and what it holds, on both sides.
    pub tables: Vec<(&'static str, Sum)>,
    /// Whether all was there already: an earlier attempt broke off at its very end.
    pub was_there: bool,
}

/// Why nothing was taken over. Each is one line for an operator.
#[derive(Debug, thiserror::Error)]
pub enum TransferError {
    /// A database.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The target is none.
    #[error("the target must be a URL of the form postgres://user:password@host/name")]
    Target,
    /// It has something.
    #[error("the target database is not empty: its table {table} has rows")]
    NotEmpty {
        /// Where.
        table: &'static str,
    },
    /// The source has more than is known here.
    #[error("the table {table} is not known to this version: nothing was moved")]
    Unknown {
        /// Which.
        table: String,
    },
    /// A table.
    #[error("the table {table} cannot be moved; the target is as it was")]
    Table {
        /// Which.
        table: &'static str,
        /// Why.
        source: DbErr,
    },
    /// What was written is not what was read.
    #[error(
        "the table {table} differs: {} rows, checksum {:032x}, became {} rows, checksum {:032x}; the target is as it was",
        from.rows, from.checksum, to.rows, to.checksum
    )]
    Differs {
        /// Which.
        table: &'static str,
        /// Of the source.
        from: Sum,
        /// Of the target.
        to: Sum,
    },
    /// A database, beside the tables.
    #[error("the databases cannot be worked with")]
    Database(#[source] DbErr),
}

/// Does something for every table, those first that others name.
macro_rules! each_table {
    ($table:ident => $do:expr) => {
        each_table!(@ $table => $do;
            project counter api_key key_use workflow workflow_version workflow_key secret workflow_secret workflow_call deleted_resource
            schedule change request audit audit_entry label node report_cursor certificate execution event step_run whole_value attempt signal retry command
            delivery subscription token_key revoked_token enrollment_token node_identity)
    };
    (@ $table:ident => $do:expr; $($name:ident)+) => {
        $({
            type $table = entity::$name::Entity;
            $do
        })+
    };
}

/// Tables that a new database has rows in.
const FILLED_AT_FIRST: [&str; 2] = ["projects", "counters"];

fn table_of<E: EntityTrait>() -> &'static str {
    E::default().table_name()
}

/// Takes all that `from`, a SQLite database that nobody else uses, holds to the PostgreSQL database at `url`, and notes in `from`
/// where it is now. `progress` is told of each batch: the table, and its rows so far.
///
/// # Errors
/// [`TransferError`]; the target has nothing of it then.
pub async fn transfer(
    from: &Store,
    url: &str,
    mut progress: impl FnMut(&'static str, u64),
) -> Result<Transferred, TransferError> {
    if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
        return Err(TransferError::Target);
    }
    all_are_known(&from.db).await?;
    let target = Store::open_url(url).await?;
    let is_the_same = target.incarnation() == from.incarnation();
    let tx = target.db.begin().await.map_err(TransferError::Database)?;
    let mut tables = Vec::new();
    if !is_the_same {
        is_empty(&tx).await?;
        clear(&tx).await.map_err(TransferError::Database)?;
        each_table!(E => {
            copy::<E>(&from.db, &tx, &mut progress).await?;
        });
        go_on_numbering(&tx)
            .await
            .map_err(TransferError::Database)?;
    }
    each_table!(E => {
        let table = table_of::<E>();
        let (read, written) = (sum::<E>(&from.db).await?, sum::<E>(&tx).await?);
        if read != written {
            return Err(match is_the_same {
                true => TransferError::NotEmpty { table },
                false => TransferError::Differs { table, from: read, to: written },
            });
        }
        tables.push((table, written));
    });
    tx.commit().await.map_err(TransferError::Database)?;
    schema::note_moved(&from.db, &super::open::shown(url))
        .await
        .map_err(TransferError::Database)?;
    Ok(Transferred {
        tables,
        was_there: is_the_same,
    })
}

/// Nothing must be left behind.
async fn all_are_known(db: &DatabaseConnection) -> Result<(), TransferError> {
    let statement = Statement::from_string(
        DatabaseBackend::Sqlite,
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
         AND name <> 'seaql_migrations'",
    );
    let mut known = Vec::new();
    each_table!(E => known.push(table_of::<E>()));
    let rows = db.query_all_raw(statement).await;
    for row in rows.map_err(TransferError::Database)? {
        let table: String = row.try_get("", "name").map_err(TransferError::Database)?;
        if !known.contains(&table.as_str()) {
            return Err(TransferError::Unknown { table });
        }
    }
    Ok(())
}

async fn is_empty(to: &DatabaseTransaction) -> Result<(), TransferError> {
    each_table!(E => {
        let table = table_of::<E>();
        let row = E::find().one(to).await;
        let row = row.map_err(|source| TransferError::Table { table, source })?;
        if row.is_some() && !FILLED_AT_FIRST.contains(&table) {
            return Err(TransferError::NotEmpty { table });
        }
    });
    Ok(())
}

/// Of what a new database has.
async fn clear(to: &DatabaseTransaction) -> Result<(), DbErr> {
    entity::project::Entity::delete_many().exec(to).await?;
    entity::counter::Entity::delete_many().exec(to).await?;
    Ok(())
}

/// Ids that the database gives go on after those that were brought.
async fn go_on_numbering(to: &DatabaseTransaction) -> Result<(), DbErr> {
    to.execute_unprepared(
        "SELECT setval(pg_get_serial_sequence('audit', 'id'), COALESCE(max(id), 1), count(*) > 0) FROM audit",
    )
    .await?;
    Ok(())
}

async fn copy<E>(
    from: &DatabaseConnection,
    to: &DatabaseTransaction,
    progress: &mut impl FnMut(&'static str, u64),
) -> Result<(), TransferError>
where
    E: EntityTrait,
    E::Model: IntoActiveModel<E::ActiveModel>,
{
    use sea_orm::ActiveModelTrait as _;
    let table = table_of::<E>();
    let failed = |source| TransferError::Table { table, source };
    let mut count = 0;
    let mut after = None;
    loop {
        let rows = page::<E>(from, after).await.map_err(failed)?;
        let Some(last) = rows.last() else {
            return Ok(());
        };
        after = Some(key::<E>(last));
        count += rows.len() as u64;
        let rows = rows
            .into_iter()
            .map(|row| row.into_active_model().reset_all());
        E::insert_many(rows)
            .exec_without_returning(to)
            .await
            .map_err(failed)?;
        progress(table, count);
    }
}

async fn sum<E: EntityTrait>(of: &impl ConnectionTrait) -> Result<Sum, TransferError> {
    let table = table_of::<E>();
    let mut sum = Sum::default();
    let mut after = None;
    loop {
        let rows = page::<E>(of, after).await;
        let rows = rows.map_err(|source| TransferError::Table { table, source })?;
        let Some(last) = rows.last() else {
            return Ok(sum);
        };
        after = Some(key::<E>(last));
        for row in &rows {
            sum.rows += 1;
            sum.checksum = sum.checksum.wrapping_add(digest_of::<E>(row));
        }
    }
}

/// The rows behind those up to `after`, by their primary keys.
async fn page<E: EntityTrait>(
    of: &impl ConnectionTrait,
    after: Option<Vec<Value>>,
) -> Result<Vec<E::Model>, DbErr> {
    let mut select = E::find();
    if let Some(after) = after {
        let columns = keys::<E>().map(Expr::col);
        let later = Expr::tuple(columns).gt(Expr::tuple(after.into_iter().map(Expr::val)));
        select = select.filter(later);
    }
    for column in keys::<E>() {
        select = select.order_by_asc(column);
    }
    select.limit(ROWS_MAX).all(of).await
}

fn keys<E: EntityTrait>() -> impl Iterator<Item = E::Column> {
    E::PrimaryKey::iter().map(|key| key.into_column())
}

fn key<E: EntityTrait>(row: &E::Model) -> Vec<Value> {
    keys::<E>().map(|column| row.get(column)).collect()
}

/// Of all values of a row.
fn digest_of<E: EntityTrait>(row: &E::Model) -> u128 {
    let mut bytes = Vec::new();
    for column in E::Column::iter() {
        write(&mut bytes, &row.get(column));
    }
    let digest = digest(&SHA256, &bytes);
    digest
        .as_ref()
        .iter()
        .take(16)
        .fold(0, |all, byte| (all << 8) | u128::from(*byte))
}

/// So that no two rows are written alike: a kind and a length, then the value.
fn write(bytes: &mut Vec<u8>, value: &Value) {
    let (kind, value): (u8, Vec<u8>) = match value {
        Value::Bool(Some(value)) => (1, vec![u8::from(*value)]),
        Value::BigInt(Some(value)) => (2, value.to_be_bytes().to_vec()),
        Value::String(Some(value)) => (3, value.clone().into_bytes()),
        Value::Bytes(Some(value)) => (4, value.clone()),
        Value::Bool(None) | Value::BigInt(None) | Value::String(None) | Value::Bytes(None) => {
            (0, Vec::new())
        }
        other => (5, format!("{other:?}").into_bytes()),
    };
    bytes.push(kind);
    bytes.extend((value.len() as u64).to_be_bytes());
    bytes.extend(value);
}
