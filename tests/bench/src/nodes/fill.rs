//! Many workflows and keys, written into the tables as the control plane writes them: making them by its API would take longer
//! than all that is measured. The control plane is not running meanwhile.

use anyhow::Result;
use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;
use prost::Message as _;
use sea_orm::{
    ConnectOptions, ConnectionTrait as _, Database, DatabaseConnection, Statement,
    TransactionTrait as _,
    sea_query::{Expr, Query},
};
use signalbox_proto::v1;

/// Rows of one statement.
const ROWS: u64 = 1_000;
/// Creator of the versions.
const CREATOR: &str = "bench";

/// Id of a key.
pub(super) fn key_id(number: u64) -> String {
    format!("key-{number}")
}

/// What was written.
pub(super) struct Filled {
    /// Names the database.
    pub(super) incarnation: String,
    /// Its newest revision.
    pub(super) revision: i64,
}

/// Writes so many workflows and keys into the database at `url`; each workflow names one key.
pub(super) async fn fill(url: &str, workflows: u64, keys: u64) -> Result<Filled> {
    let mut connect = ConnectOptions::new(url);
    connect.max_connections(1).sqlx_logging(false);
    let db = Database::connect(connect).await?;
    let backend = db.get_database_backend();
    let counter = "SELECT value, label FROM counters WHERE name = 'revision'";
    let row = db
        .query_one_raw(Statement::from_string(backend, counter))
        .await?;
    let row = row.ok_or_else(|| anyhow::anyhow!("the database has no revision"))?;
    let mut revision: i64 = row.try_get("", "value")?;
    let incarnation: String = row.try_get("", "label")?;
    let transaction = db.begin().await?;
    for from in (0..keys).step_by(ROWS as usize) {
        insert_keys(&transaction, from..(from + ROWS).min(keys), &mut revision).await?;
    }
    for from in (0..workflows).step_by(ROWS as usize) {
        let numbers = from..(from + ROWS).min(workflows);
        insert_workflows(&transaction, numbers, keys, &mut revision).await?;
    }
    let update = format!("UPDATE counters SET value = {revision} WHERE name = 'revision'");
    transaction.execute_unprepared(&update).await?;
    transaction.commit().await?;
    analyze(&db).await?;
    db.close().await?;
    Ok(Filled {
        incarnation,
        revision,
    })
}

async fn analyze(db: &DatabaseConnection) -> Result<()> {
    db.execute_unprepared("ANALYZE").await?;
    Ok(())
}

type Transaction = sea_orm::DatabaseTransaction;

/// Rows for `table`, each a list of values by column.
async fn insert(
    to: &Transaction,
    table: &'static str,
    columns: &[&'static str],
    rows: Vec<Vec<Expr>>,
) -> Result<()> {
    let mut insert = Query::insert();
    insert.into_table(table).columns(columns.iter().copied());
    for row in rows {
        insert.values(row)?;
    }
    to.execute(&insert).await?;
    Ok(())
}

async fn insert_keys(
    to: &Transaction,
    numbers: std::ops::Range<u64>,
    revision: &mut i64,
) -> Result<()> {
    let now_us = Timestamp::now().as_microsecond();
    let (mut keys, mut changes) = (Vec::new(), Vec::new());
    for number in numbers {
        *revision += 1;
        let id = key_id(number);
        let digest = digest(&SHA256, id.as_bytes());
        changes.push(change(*revision, "key", &format!("apiKeys/{id}"), now_us));
        keys.push(vec![
            Expr::val("default"),
            Expr::val(id),
            Expr::val(""),
            Expr::val("sbk_bench"),
            Expr::val(digest.as_ref().to_vec()),
            // Nobody asks for its value.
            Expr::val(vec![0_u8; 64]),
            Expr::val(now_us),
            Expr::val(*revision),
        ]);
    }
    let columns = [
        "project",
        "id",
        "display_name",
        "prefix",
        "digest",
        "ciphertext",
        "create_time_us",
        "revision",
    ];
    insert(to, "api_keys", &columns, keys).await?;
    insert_changes(to, changes).await
}

async fn insert_workflows(
    to: &Transaction,
    numbers: std::ops::Range<u64>,
    keys: u64,
    revision: &mut i64,
) -> Result<()> {
    let now_us = Timestamp::now().as_microsecond();
    let (mut workflows, mut versions) = (Vec::new(), Vec::new());
    let (mut named, mut changes) = (Vec::new(), Vec::new());
    for number in numbers {
        *revision += 1;
        let id = format!("orders-{number}");
        let key = key_id(number % keys);
        changes.push(change(
            *revision,
            "workflow",
            &format!("workflows/{id}"),
            now_us,
        ));
        workflows.push(vec![
            Expr::val("default"),
            Expr::val(id.clone()),
            Expr::val("Orders"),
            Expr::val(""),
            Expr::val(true),
            Expr::val(1_i64),
            Expr::val(1_i64),
            Expr::val(now_us),
            Expr::val(now_us),
            Expr::val(*revision),
            Expr::val(1_i64),
        ]);
        versions.push(vec![
            Expr::val("default"),
            Expr::val(id.clone()),
            Expr::val(1_i64),
            Expr::val(spec(&key).encode_to_vec()),
            Expr::val(now_us),
            Expr::val(CREATOR),
        ]);
        named.push(vec![Expr::val("default"), Expr::val(id), Expr::val(key)]);
    }
    let columns = [
        "project",
        "id",
        "display_name",
        "description",
        "enabled",
        "latest_version",
        "published_version",
        "create_time_us",
        "update_time_us",
        "revision",
        "calls_version",
    ];
    insert(to, "workflows", &columns, workflows).await?;
    let columns = [
        "project",
        "workflow",
        "version",
        "source",
        "create_time_us",
        "creator",
    ];
    insert(to, "workflow_versions", &columns, versions).await?;
    let columns = ["project", "workflow", "api_key"];
    insert(to, "workflow_keys", &columns, named).await?;
    insert_changes(to, changes).await
}

fn change(revision: i64, kind: &'static str, resource: &str, time_us: i64) -> Vec<Expr> {
    vec![
        Expr::val(revision),
        Expr::val(kind),
        Expr::val(format!("projects/default/{resource}")),
        Expr::val(false),
        Expr::val(time_us),
    ]
}

async fn insert_changes(to: &Transaction, changes: Vec<Vec<Expr>>) -> Result<()> {
    let columns = ["revision", "kind", "resource", "deleted", "time_us"];
    insert(to, "changes", &columns, changes).await
}

/// What the quickstart has: a webhook, a text made of the event, a call.
fn spec(key: &str) -> v1::WorkflowSpec {
    let transform = v1::Step {
        id: "text".to_owned(),
        action: Some(v1::step::Action::Transform(v1::TransformStep {
            value: Some(v1::transform_step::Value::Expression(format!(
                "'{key}: order ' + string(event.json.id) + ' of ' + event.json.customer"
            ))),
        })),
        ..Default::default()
    };
    let done = v1::Step {
        id: "done".to_owned(),
        action: Some(v1::step::Action::Succeed(v1::SucceedStep::default())),
        ..Default::default()
    };
    v1::WorkflowSpec {
        trigger: Some(v1::Trigger {
            kind: Some(v1::trigger::Kind::Webhook(v1::WebhookTrigger {
                api_keys: vec![key.to_owned()],
            })),
        }),
        steps: vec![transform, done],
        ..Default::default()
    }
}
