//! What is kept no longer is deleted: all of it, nothing else, whatever happens meanwhile.

use std::time::Duration;

use jiff::SignedDuration;
use sea_orm::{DatabaseBackend, QueryTrait as _, Statement};

use super::{
    retries::{TWO, definition_of, name, request, retry},
    *,
};
use crate::app::{Expiring, ProjectChange, RetryMode};

/// Every table that has rows of executions.
pub(super) const OF_EXECUTIONS: [&str; 8] = [
    "executions",
    "events",
    "step_runs",
    "whole_values",
    "attempts",
    "signals",
    "retries",
    "commands",
];

pub(super) async fn count(store: &Store, table: &str, only: &str) -> i64 {
    let backend = store.db.get_database_backend();
    let sql = format!("SELECT COUNT(*) FROM {table} WHERE {only}");
    let row = store
        .db
        .query_one_raw(Statement::from_string(backend, sql))
        .await
        .unwrap();
    row.unwrap().try_get_by_index(0).unwrap()
}

/// Rows of executions whose execution there is not.
pub(super) async fn orphans(store: &Store) -> Vec<(&'static str, i64)> {
    let mut orphans = Vec::new();
    for table in OF_EXECUTIONS.into_iter().skip(1) {
        let only = format!(
            "NOT EXISTS (SELECT 1 FROM executions e WHERE e.project = {table}.project AND e.id = {table}.execution)"
        );
        orphans.push((table, count(store, table, &only).await));
    }
    orphans.retain(|(_, count)| *count > 0);
    orphans
}

/// How many rows there are beside those that the executions have that there are: [`report`] gave each of them the same. In one
/// statement, since a purge that was broken off may be committing still.
async fn halves(store: &Store) -> Vec<i64> {
    let of = |table: &str, each: u8| {
        format!("(SELECT COUNT(*) FROM {table}) - {each} * (SELECT COUNT(*) FROM executions)")
    };
    let all = [of("events", 1), of("step_runs", 2), of("attempts", 2)];
    let sql = format!("SELECT {}", all.join(", "));
    let backend = store.db.get_database_backend();
    let row = store
        .db
        .query_one_raw(Statement::from_string(backend, sql))
        .await
        .unwrap()
        .unwrap();
    let mut halves: Vec<i64> = (0..3).map(|at| row.try_get_by_index(at).unwrap()).collect();
    halves.retain(|more| *more != 0);
    halves
}

pub(super) fn records(bodies: Vec<RecordBody>, time: Timestamp) -> Vec<SequencedRecord> {
    let numbered = (1..).zip(bodies);
    numbered
        .map(|(sequence, body)| {
            let mut record = record(sequence, body);
            record.record.time = time;
            record
        })
        .collect()
}

/// Reports bodies as what one incarnation of a node's spool holds, as if it had been done at that time.
pub(super) async fn report(app: &App, incarnation: &str, bodies: Vec<RecordBody>, time: Timestamp) {
    report_late(app, incarnation, bodies, time).await;
    let in_time = "UPDATE executions SET late_report_us = NULL";
    let db = &app.store().db;
    db.execute_unprepared(in_time).await.unwrap();
}

/// The same, as it is: what is of long ago is reported late.
async fn report_late(app: &App, incarnation: &str, bodies: Vec<RecordBody>, time: Timestamp) {
    let records = records(bodies, time);
    let last = records.len() as u64;
    app.apply_records(&node("n1"), incarnation, &records, last, decode_any)
        .await
        .unwrap();
}

pub(super) fn days(days: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * days)
}

/// Deletes all that is kept no longer at `now`; gives the sizes of the batches.
pub(super) async fn purge(app: &App, now: Timestamp) -> Vec<u64> {
    let mut batches = Vec::new();
    for of in app.expiring().await.unwrap() {
        loop {
            let count = app.purge(&of, now).await.unwrap();
            if count == 0 {
                break;
            }
            batches.push(count);
        }
    }
    batches
}

fn delivery(id: &str) -> RecordBody {
    RecordBody::Delivery(Box::new(Delivery {
        id: format!("d{id}").parse().unwrap(),
        workflow: "projects/default/workflows/w".parse().unwrap(),
        verdict: Verdict::Accepted,
        reason: String::new(),
        detail: String::new(),
        http_status: 200,
        message_type: "Notification".into(),
        message_id: id.into(),
        topic_arn: "arn:t".into(),
        source_address: "192.0.2.1".into(),
        execution: None,
    }))
}

#[tokio::test]
async fn what_ended_long_ago_goes_with_all_that_is_of_it_and_nothing_else() {
    each_database(async |store| {
        let app = app(store.clone());
        let now = Timestamp::now();
        let id = "w".parse().unwrap();
        app.create_workflow(&actor(), &project(), &id, definition_of(TWO), true, "")
            .await
            .unwrap();
        let mut old = whole_execution("old");
        old.push(delivery("old"));
        report(&app, "old", old, now - days(31)).await;
        report(&app, "new", whole_execution("new"), now - days(29)).await;
        let mut unfinished = whole_execution("unfinished");
        unfinished.pop();
        report(&app, "unfinished", unfinished, now - days(500)).await;

        // One that was told something, has values that are kept whole, was started by a command and is being retried.
        let wname: WorkflowName = "projects/default/workflows/w".parse().unwrap();
        let made = app
            .run_workflow(&actor(), &wname, run("{}", ""), decode)
            .await
            .unwrap();
        let large = JsonText::from_value(&"x".repeat(2 * VALUE_MAX_BYTES).into());
        let begun = vec![
            accepted(&made.id),
            fact(&made.id, Fact::Started),
            fact(
                &made.id,
                Fact::StepStarted {
                    step: "a".parse().unwrap(),
                    kind: "http".into(),
                    input: large,
                },
            ),
        ];
        report(&app, "told", begun, now - days(40)).await;
        let target = Target::Named("go".parse().unwrap(), JsonText::from_value(&1.into()));
        let new = NewSignal {
            id: "s1".parse().unwrap(),
            target,
            traceparent: None,
        };
        store
            .write(async |tx| tx.signal(&actor(), &name(&made.id), new).await)
            .await
            .unwrap();
        let end = Fact::Finished {
            state: ExecutionState::Failed,
            output: None,
            error: Some(Failure::new("NO", "no")),
        };
        report(&app, "told2", vec![fact(&made.id, end)], now - days(31)).await;
        let again = retry(&app, &made.id, request(RetryMode::Whole, "")).await;
        let again = again.unwrap();
        for table in OF_EXECUTIONS {
            assert!(count(&store, table, "1 = 1").await > 0, "{table}");
        }

        purge(&app, now).await;
        let page = app
            .executions(&project(), &ExecutionFilter::default(), &Page::first(10))
            .await
            .unwrap();
        let mut left: Vec<_> = page.rows.into_iter().map(|row| row.id).collect();
        left.sort();
        let mut expected = vec!["new".to_owned(), "unfinished".to_owned(), again.id.clone()];
        expected.sort();
        assert_eq!(left, expected);
        assert_eq!(orphans(&store).await, []);
        for gone in ["old", &made.id] {
            let found = store.event(&name(gone)).await;
            assert!(matches!(found, Err(Error::NotFound { .. })), "{found:?}");
        }
        assert_eq!(count(&store, "deliveries", "1 = 1").await, 0);
        // What the events of others need stays, and what a retry began with.
        let (_, _, certificate) = store.event(&name("new")).await.unwrap();
        assert_eq!(certificate.as_deref(), Some("PEM"));
        assert!(store.retry(&name(&again.id)).await.unwrap().is_some());
        store.event(&name(&again.id)).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_project_says_how_long_and_takes_it_back() {
    each_database(async |store| {
        let app = app(store.clone());
        let now = Timestamp::now();
        report(&app, "x", whole_execution("x"), now - days(2)).await;
        let keep = |retention| ProjectChange {
            history_retention: Some(retention),
            ..ProjectChange::default()
        };
        let set = async |retention: Option<Duration>| {
            app.update_project(&actor(), &project(), &keep(retention), "")
                .await
        };
        for wrong in [
            Duration::ZERO,
            limits_of::RETENTION_MAX + limits_of::RETENTION_MIN,
        ] {
            let refused = set(Some(wrong)).await;
            assert!(matches!(refused, Err(Error::Invalid(_))), "{refused:?}");
        }
        let nowhere = "nowhere".parse().unwrap();
        let refused = app
            .update_project(&actor(), &nowhere, &keep(None), "")
            .await;
        assert!(
            matches!(refused, Err(Error::NotFound { .. })),
            "{refused:?}"
        );

        assert!(purge(&app, now).await.is_empty());
        let short = Duration::from_secs(86_400);
        let row = set(Some(short)).await.unwrap();
        assert_eq!(app.history_retention(&row), short);
        let row = set(None).await.unwrap();
        assert_eq!(app.history_retention(&row), limits_of::HISTORY_RETENTION);
        assert!(purge(&app, now).await.is_empty());
        set(Some(short)).await.unwrap();
        assert_eq!(purge(&app, now).await, [1]);
    })
    .await;
}

#[tokio::test]
async fn a_batch_is_bounded_by_executions_and_by_their_steps() {
    each_database(async |store| {
        let app = app(store.clone());
        let now = Timestamp::now();
        let mut bodies = Vec::new();
        for number in 0..250 {
            bodies.extend(whole_execution(&format!("x{number}")));
        }
        report(&app, "small", bodies, now - days(40)).await;
        for number in 0..3 {
            let id = format!("large{number}");
            let mut bodies = whole_execution(&id);
            let end = bodies.pop().unwrap();
            let skipped = |n| Fact::StepFinished {
                step: format!("s[{n}]").parse().unwrap(),
                state: StepState::Skipped,
                output: None,
                error: None,
            };
            bodies.extend((0..1_500).map(|n| fact(&id, skipped(n))));
            bodies.push(end);
            report(&app, &id, bodies, now - days(39)).await;
        }
        assert_eq!(purge(&app, now).await, [100, 100, 51, 1, 1]);
        for table in OF_EXECUTIONS {
            assert_eq!(count(&store, table, "1 = 1").await, 0, "{table}");
        }
    })
    .await;
}

#[tokio::test]
async fn what_a_node_says_of_a_purged_execution_makes_no_ghost_and_breaks_nothing() {
    each_database(async |store| {
        let app = app(store.clone());
        let now = Timestamp::now();
        let all = records(whole_execution("x"), now);
        let apply = async |records: &[SequencedRecord], last| {
            app.apply_records(&node("n1"), "i", records, last, decode_any)
                .await
                .unwrap()
        };
        let last = all.len() as u64;
        assert_eq!(apply(&all, last).await, last);
        purge(&app, now + days(31)).await;
        let executions = async || count(&store, "executions", "1 = 1").await;
        assert_eq!(executions().await, 0);
        // The batch again, whose answer was lost: it was taken.
        assert_eq!(apply(&all, last).await, last);
        assert_eq!(executions().await, 0);
        // A fact of it alone, as of a node whose store is older than its reports; and what comes after it counts.
        let mut more = records(vec![fact("x", Fact::Started), delivery("y")], now);
        for record in &mut more {
            record.sequence += last;
        }
        more.extend(
            records(whole_execution("z"), now)
                .into_iter()
                .map(|mut of| {
                    of.sequence += last + 2;
                    of
                }),
        );
        let reached = last + 2 + last;
        assert_eq!(apply(&more, reached).await, reached);
        assert_eq!(executions().await, 1);
        assert_eq!(orphans(&store).await, []);
        assert_eq!(count(&store, "deliveries", "1 = 1").await, 1);
    })
    .await;
}

/// A purge that is dropped wherever it is: by a crash it would be as well.
#[tokio::test]
async fn a_purge_that_breaks_off_leaves_whole_executions() {
    each_database(async |store| {
        let app = app(store.clone());
        let now = Timestamp::now();
        let mut bodies = Vec::new();
        for number in 0..600 {
            bodies.extend(whole_execution(&format!("x{number}")));
        }
        report(&app, "i", bodies, now - days(40)).await;
        let mut broke_off = 0;
        for limit_us in (0..500_000).step_by(50) {
            let of = Expiring::Executions(store.project(&project()).await.unwrap());
            let limit = Duration::from_micros(limit_us);
            let ended = tokio::time::timeout(limit, app.purge(&of, now)).await;
            assert!(halves(&store).await.is_empty());
            assert_eq!(orphans(&store).await, []);
            match ended {
                Err(_) => broke_off += 1,
                Ok(Ok(0)) => break,
                // The one that was broken off last may be ending still, which SQLite does not wait for in every case.
                Ok(_) => {}
            }
        }
        assert!(broke_off > 1, "{broke_off}");
        assert_eq!(count(&store, "executions", "1 = 1").await, 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn replicas_purge_at_once_while_nodes_report() {
    let postgres = Postgres::start();
    let first = Store::open_url(&postgres.url()).await.unwrap();
    let second = Store::open_url(&postgres.url()).await.unwrap();
    at_once([first.clone(), second]).await;
    let dir = tempfile::tempdir().unwrap();
    let only = sqlite(dir.path()).await;
    at_once([only.clone(), only]).await;
}

async fn at_once(stores: [Store; 2]) {
    const BATCHES: usize = 12;
    const EACH: usize = 40;
    // Nothing is reported late.
    let now = Timestamp::now() + days(40);
    let app = app(stores[0].clone());
    let mut bodies = Vec::new();
    for number in 0..400 {
        bodies.extend(whole_execution(&format!("old{number}")));
    }
    report_late(&app, "old", bodies, now - days(40)).await;
    let purging: Vec<_> = stores
        .iter()
        .map(|store| {
            let app = self::app(store.clone());
            tokio::spawn(async move { purge(&app, now).await.iter().sum::<u64>() })
        })
        .collect();
    // Some of what is reported meanwhile ended long ago, some has not; the rest of it comes later.
    let reporting: Vec<_> = (0..2)
        .map(|reporter| {
            let app = self::app(stores[reporter % 2].clone());
            tokio::spawn(async move {
                for batch in 0..BATCHES {
                    let incarnation = format!("r{reporter}b{batch}");
                    let (mut begun, mut rest) = (Vec::new(), Vec::new());
                    for number in 0..EACH {
                        let bodies = whole_execution(&format!("{incarnation}n{number}"));
                        let (first, later) = bodies.split_at(1 + number % 9);
                        begun.extend_from_slice(first);
                        rest.extend_from_slice(later);
                    }
                    let time = now - days(if batch % 2 == 0 { 40 } else { 1 });
                    report_late(&app, &incarnation, begun, time).await;
                    report_late(&app, &format!("{incarnation}-rest"), rest, time).await;
                }
            })
        })
        .collect();
    let mut purged = 0;
    for task in purging {
        purged += task.await.unwrap();
    }
    for task in reporting {
        task.await.unwrap();
    }
    purged += purge(&app, now).await.iter().sum::<u64>();
    let kept = (2 * BATCHES * EACH / 2) as i64;
    assert_eq!(purged, 400 + kept as u64, "each is deleted once");
    assert_eq!(count(&stores[0], "executions", "1 = 1").await, kept);
    assert_eq!(orphans(&stores[0]).await, []);
    assert!(halves(&stores[0]).await.is_empty());
}

/// How SQLite finds what a statement is about.
async fn plan(store: &Store, sql: &str) -> String {
    let explain = format!("EXPLAIN QUERY PLAN {sql}");
    let rows = store
        .db
        .query_all_raw(Statement::from_string(DatabaseBackend::Sqlite, explain))
        .await
        .unwrap();
    let lines = rows
        .iter()
        .map(|row| row.try_get::<String>("", "detail").unwrap());
    lines.collect::<Vec<_>>().join("; ")
}

#[tokio::test]
async fn nothing_is_searched_for_what_expires() {
    use crate::store::retention::{came_before, ended_before};
    let dir = tempfile::tempdir().unwrap();
    let store = sqlite(dir.path()).await;
    let sqlite = DatabaseBackend::Sqlite;
    for (sql, index) in [
        (ended_before("p", 1, 10).build(sqlite).to_string(), "executions_by_end"),
        (came_before("p", 1, 10).build(sqlite).to_string(), "deliveries_by_time"),
        (
            "DELETE FROM commands WHERE project = 'p' AND execution IN ('a', 'b')".to_owned(),
            "commands_by_execution",
        ),
        (
            "DELETE FROM deliveries WHERE (project, workflow, id) IN (SELECT project, workflow, id FROM deliveries \
             WHERE project = 'p' AND receive_time_us < 1 ORDER BY receive_time_us, id LIMIT 5)"
                .to_owned(),
            "deliveries_by_time",
        ),
    ] {
        let plan = plan(&store, &sql).await;
        assert!(plan.contains(index), "{sql}: {plan}");
        assert!(!plan.contains("SCAN") && !plan.contains("TEMP B-TREE"), "{sql}: {plan}");
    }
}

#[tokio::test]
async fn a_sqlite_database_becomes_smaller() {
    let dir = tempfile::tempdir().unwrap();
    let store = sqlite(dir.path()).await;
    let app = app(store.clone());
    let now = Timestamp::now();
    let mut bodies = Vec::new();
    for number in 0..2_000 {
        bodies.extend(whole_execution(&format!("x{number}")));
    }
    report(&app, "i", bodies, now - days(40)).await;
    let pages = async || -> i64 {
        let sql = "PRAGMA page_count";
        let statement = Statement::from_string(DatabaseBackend::Sqlite, sql);
        let row = store.db.query_one_raw(statement).await.unwrap().unwrap();
        row.try_get_by_index(0).unwrap()
    };
    assert!(!store.give_back().await.unwrap(), "nothing is free");
    let before = pages().await;
    purge(&app, now).await;
    while store.give_back().await.unwrap() {}
    let after = pages().await;
    assert!(after < before / 2, "{before} pages, then {after}");
    report(&app, "j", whole_execution("y"), now).await;
    let row = app.execution(&name("y")).await.unwrap().execution;
    assert_eq!(row.state, "SUCCEEDED");
}
