//! A long history, written into the tables in bulk while nobody else has the database.
//!
//! Rows go in in the order of their primary keys, and the other indices are made anew afterwards: each is sorted once. What the
//! rows say is in no order of their ids, as it is where ids are digests.

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use sea_orm::{
    ConnectOptions, ConnectionTrait as _, Database, DatabaseBackend, DatabaseConnection, Statement,
};

use super::SPREAD;
use crate::corpus::TOPIC;

/// Executions of one statement.
const FILL_MAX: u64 = 500_000;
/// Of so many executions one has failed.
const FAILED_OF: u64 = 50;
/// Ids are spread over so many numbers.
pub(super) const IDS: u64 = 10_000_000_000;
/// A prime: whole numbers times it, modulo fewer, come in no order, and each once.
pub(super) const STRIDE: u64 = 2_654_435_761;
/// The history goes back so far: not as far as to be deleted.
const BACK_US: i64 = 25 * 24 * 3_600 * 1_000_000;
const TABLES: &str = "'executions', 'events', 'step_runs'";

/// How the id of a number begins: as long as a digest's, in the order of the numbers.
pub(super) fn id_prefix(number: u64) -> String {
    format!("h{}", IDS + number)
}

/// Writes so many executions of one step, with their events and steps, into the database at `url`; gives the bytes that it has
/// grown by.
pub(super) async fn fill(url: &str, count: u64) -> Result<u64> {
    let mut connect = ConnectOptions::new(url);
    connect.max_connections(1).sqlx_logging(false);
    let db = Database::connect(connect).await?;
    let is_sqlite = db.get_database_backend() == DatabaseBackend::Sqlite;
    let before = size(&db).await?;
    // Should the machine fail meanwhile, this begins again.
    let (begin, end): (&[&str], &[&str]) = match is_sqlite {
        true => (
            &[
                "PRAGMA journal_mode = OFF",
                "PRAGMA synchronous = OFF",
                "PRAGMA cache_size = -500000",
            ],
            &["PRAGMA journal_mode = WAL", "ANALYZE"],
        ),
        false => (
            &[
                "SET synchronous_commit = off",
                "SET maintenance_work_mem = '500MB'",
            ],
            &["VACUUM ANALYZE"],
        ),
    };
    run(&db, begin).await?;
    let indices = indices(&db).await?;
    for (name, _) in &indices {
        run(&db, &[&format!("DROP INDEX {name}")]).await?;
    }
    let first_us = Timestamp::now().as_microsecond() - BACK_US;
    for from in (0..count).step_by(usize::try_from(FILL_MAX)?) {
        let until = (from + FILL_MAX).min(count);
        for insert in inserts(count, first_us) {
            let numbers = format!(
                "WITH RECURSIVE n(i) AS (SELECT CAST({from} AS BIGINT) UNION ALL SELECT i + 1 FROM n \
                 WHERE i + 1 < {until}), r AS (SELECT i, (i * {STRIDE}) % {count} AS j FROM n) "
            );
            // Where the rows come from stands after what they go into, in both databases.
            let sql = insert.replacen("SELECT", &format!("{numbers}SELECT"), 1);
            run(&db, &[&sql]).await?;
        }
        println!("{until:>9} executions written");
    }
    for (name, sql) in &indices {
        run(&db, &[sql]).await?;
        println!("{name} made anew");
    }
    run(&db, end).await?;
    let after = size(&db).await?;
    db.close().await?;
    Ok(after.saturating_sub(before))
}

async fn run(db: &DatabaseConnection, statements: &[&str]) -> Result<()> {
    for sql in statements {
        let done = db.execute_unprepared(sql).await;
        done.with_context(|| (*sql).to_owned())?;
    }
    Ok(())
}

/// Bytes of the database.
async fn size(db: &DatabaseConnection) -> Result<u64> {
    let backend = db.get_database_backend();
    let sql = match backend {
        DatabaseBackend::Sqlite => {
            "SELECT page_count * page_size AS bytes FROM pragma_page_count, pragma_page_size"
        }
        _ => "SELECT pg_database_size(current_database()) AS bytes",
    };
    let row = db
        .query_one_raw(Statement::from_string(backend, sql))
        .await?;
    let bytes: i64 = row.context("no size")?.try_get("", "bytes")?;
    Ok(u64::try_from(bytes)?)
}

/// Names of the indices beside primary keys, and what makes them.
async fn indices(db: &DatabaseConnection) -> Result<Vec<(String, String)>> {
    let backend = db.get_database_backend();
    let sql = match backend {
        DatabaseBackend::Sqlite => format!(
            "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name IN ({TABLES})"
        ),
        _ => format!(
            "SELECT indexname AS name, indexdef AS sql FROM pg_indexes WHERE schemaname = current_schema() \
             AND tablename IN ({TABLES}) AND indexname NOT LIKE '%pkey'"
        ),
    };
    let rows = db
        .query_all_raw(Statement::from_string(backend, sql))
        .await?;
    let of = |row: &sea_orm::QueryResult| -> Result<(String, String)> {
        Ok((row.try_get("", "name")?, row.try_get("", "sql")?))
    };
    rows.iter().map(of).collect()
}

fn inserts(count: u64, first_us: i64) -> [String; 3] {
    let apart = IDS / count;
    let id = format!("'h' || CAST({IDS} + i * {apart} AS TEXT) || '-filled'");
    let time = format!("{first_us} + j * {}", BACK_US as u64 / count);
    let failed = format!("j % {FAILED_OF} = 0");
    [
        format!(
            "INSERT INTO executions (project, id, workflow, version, state, trigger_kind, message_id, topic_arn, \
             is_unsigned, api_key, node, create_time_us, start_time_us, end_time_us, output_json, trace_id, history) \
             SELECT 'default', {id}, 'w' || CAST(j % {SPREAD} AS TEXT), 1, \
             CASE WHEN {failed} THEN 'FAILED' ELSE 'SUCCEEDED' END, 'AMAZON_SNS', 'm' || CAST(j AS TEXT), \
             '{TOPIC}' || CAST(j % {SPREAD} AS TEXT), FALSE, 'k' || CAST(j % {SPREAD} AS TEXT), 'filled', {time}, \
             {time} + 1000, {time} + 2000, '{{\"ok\":true}}', '0af7651916cd43dd8448eb211c80319c', 0 FROM r"
        ),
        format!(
            "INSERT INTO events (project, execution, body, receive_time_us, scope_json) \
             SELECT 'default', {id}, CAST('{{\"Message\":\"it is what it is\"}}' AS {BLOB}), {time}, \
             '{{\"message\":\"it is what it is\"}}' FROM r"
        ),
        format!(
            "INSERT INTO step_runs (project, execution, step, position, kind, state, input_json, output_json, \
             start_time_us, end_time_us) SELECT 'default', {id}, 'done', 0, 'succeed', \
             CASE WHEN {failed} THEN 'FAILED' ELSE 'SUCCEEDED' END, '{{}}', '{{\"ok\":true}}', {time} + 1000, \
             {time} + 2000 FROM r"
        ),
    ]
}

/// What a blob is made of by a cast: SQLite takes any name that is not one of a number, PostgreSQL only its own.
const BLOB: &str = "BYTEA";
