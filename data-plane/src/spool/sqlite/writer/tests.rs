#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{collections::BTreeMap, path::Path};

use bytes::Bytes;
use signalbox_model::{
    event::{Event, EventScope, TriggerKind},
    execution::{ExecutionState, Fact},
    ids::ExecutionName,
    record::{Accepted, Record, RecordBody},
};

use super::*;
use crate::spool::{Accept, Acceptance, ScopeSource, Spool, SqliteSpool};
use signalbox_log::LogId;

const PATIENCE: Duration = Duration::from_secs(30);

fn name(id: &str) -> ExecutionName {
    format!("projects/default/executions/{id}").parse().unwrap()
}

/// An event of version 1 of workflow `w` that runs `definition`.
fn accept(id: &str, definition: &'static str, deduplicate_until: Timestamp) -> Accept {
    Accept {
        accepted: Accepted {
            execution: name(id),
            workflow: "projects/default/workflows/w".parse().unwrap(),
            version: 1,
            event: Event {
                trigger: TriggerKind::Manual,
                api_key: None,
                scope: EventScope {
                    message: id.to_owned(),
                    subject: None,
                    attributes: BTreeMap::new(),
                    topic_arn: None,
                    message_id: id.to_owned(),
                    timestamp: "2026-11-24T00:00:00Z".to_owned(),
                },
                body: Bytes::new(),
                content_type: None,
                source_address: None,
                signature: None,
                received_at: Timestamp::now(),
            },
            parent: None,
        },
        scope: ScopeSource::Event,
        content_digest: [0; 32],
        certificate: None,
        definition: Bytes::from_static(definition.as_bytes()).into(),
        message_type: None,
        traceparent: None,
        deduplicate_until,
    }
}

fn fact(id: &str, fact: Fact) -> Record {
    Record {
        time: Timestamp::now(),
        traceparent: None,
        body: RecordBody::Execution {
            execution: name(id),
            fact,
        },
    }
}

fn finished(id: &str) -> Record {
    let fact_of = Fact::Finished {
        state: ExecutionState::Succeeded,
        output: None,
        error: None,
    };
    fact(id, fact_of)
}

fn open(dir: &Path, config: SqliteSpoolConfig) -> SqliteSpool {
    SqliteSpool::open(dir, config).unwrap()
}

fn count(dir: &Path, rows: &str) -> i64 {
    let connection = Connection::open(dir.join("spool.sqlite")).unwrap();
    connection.busy_timeout(PATIENCE).unwrap();
    connection
        .query_row(&format!("SELECT count(*) FROM {rows}"), [], |row| {
            row.get(0)
        })
        .unwrap()
}

async fn head(spool: &SqliteSpool) -> u64 {
    *spool.head().borrow()
}

#[tokio::test]
async fn a_workflow_that_is_made_again_runs_its_new_version_1() {
    let dir = tempfile::tempdir().unwrap();
    for (id, definition) in [("a", "the old one"), ("b", "the new one")] {
        let spool = open(dir.path(), SqliteSpoolConfig::default());
        let accept = accept(id, definition, Timestamp::MAX);
        assert_eq!(spool.accept(accept).await, Ok(Acceptance::New));
    }
    let spool = open(dir.path(), SqliteSpoolConfig::default());
    let claimed = spool.claim(10).await.unwrap();
    let definitions: Vec<_> = claimed
        .iter()
        .map(|claimed| claimed.definition.as_ref())
        .collect();
    assert_eq!(definitions, [&b"the old one"[..], b"the new one"]);
}

#[tokio::test]
async fn definitions_go_when_nothing_unfinished_runs_them() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path(), SqliteSpoolConfig::default());
    for (id, definition) in [("a", "ends"), ("b", "goes on")] {
        let accept = accept(id, definition, Timestamp::MAX);
        spool.accept(accept).await.unwrap();
    }
    spool.claim(2).await.unwrap();
    spool
        .journal(name("a"), vec![finished("a")], true)
        .await
        .unwrap();
    drop(spool);
    let spool = open(dir.path(), SqliteSpoolConfig::default());
    // What the intake log still holds may need any of them.
    spool.begin_intake(LogId([1; 16]), false).unwrap();
    assert_eq!(count(dir.path(), "definitions"), 2);
    spool.begin_intake(LogId([1; 16]), true).unwrap();
    assert_eq!(count(dir.path(), "definitions"), 1);
    assert_eq!(
        spool.claim(2).await.unwrap()[0].definition.as_ref(),
        b"goes on"
    );
    // One that went is taken up again with its next event.
    spool
        .accept(accept("c", "ends", Timestamp::MAX))
        .await
        .unwrap();
    assert_eq!(
        spool.claim(2).await.unwrap()[0].definition.as_ref(),
        b"ends"
    );
}

#[tokio::test]
async fn old_entries_go_although_nothing_comes() {
    // More than one purge drops.
    const ENTRIES: usize = PURGE_MAX + 500;
    let dir = tempfile::tempdir().unwrap();
    let config = SqliteSpoolConfig {
        purge_interval: Duration::from_millis(100),
        ..SqliteSpoolConfig::default()
    };
    let spool = open(dir.path(), config);
    let over = Timestamp::now() - Duration::from_secs(1);
    let accepts = (0..ENTRIES).map(|n| spool.accept(accept(&format!("x{n}"), "d", over)));
    futures::future::try_join_all(accepts).await.unwrap();
    spool.claim(ENTRIES).await.unwrap();
    let ends = (0..ENTRIES).map(|n| {
        let id = format!("x{n}");
        spool.journal(name(&id), vec![finished(&id)], true)
    });
    futures::future::try_join_all(ends).await.unwrap();
    let live = accept("live", "d", Timestamp::MAX);
    spool.accept(live.clone()).await.unwrap();
    spool.claim(1).await.unwrap();
    let end = spool.journal(name("live"), vec![finished("live")], true);
    end.await.unwrap();
    let all = i64::try_from(ENTRIES + 1).unwrap();
    assert_eq!(
        count(dir.path(), "entries"),
        all,
        "nothing goes before it is reported"
    );
    spool.trim(head(&spool).await).await.unwrap();

    let started = Instant::now();
    while count(dir.path(), "entries") > 1 {
        assert!(started.elapsed() < PATIENCE, "the old entries stay");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(spool.accept(live).await, Ok(Acceptance::Duplicate));
}

#[tokio::test]
async fn trimming_drops_what_is_reported_and_keeps_what_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path(), SqliteSpoolConfig::default());
    for id in ["a", "b"] {
        spool.accept(accept(id, "d", Timestamp::MAX)).await.unwrap();
    }
    spool.claim(2).await.unwrap();
    let started = |id: &str| spool.journal(name(id), vec![fact(id, Fact::Started)], false);
    started("a").await.unwrap();
    started("b").await.unwrap();
    let middle = head(&spool).await;
    let end = spool.journal(name("a"), vec![finished("a")], true);
    end.await.unwrap();

    spool.trim(middle).await.unwrap();
    assert_eq!(count(dir.path(), "log WHERE kind = 2"), 0);
    let left = spool.unreported(middle, 100, usize::MAX).await.unwrap();
    assert_eq!(left.len(), 1, "the end of a is not reported yet");

    spool.trim(head(&spool).await).await.unwrap();
    assert_eq!(
        count(dir.path(), "log"),
        2,
        "b has not ended and needs its event and its fact"
    );
    let end = spool.journal(name("b"), vec![finished("b")], true);
    end.await.unwrap();
    spool.trim(head(&spool).await).await.unwrap();
    assert_eq!(count(dir.path(), "log"), 0);
    assert_eq!(count(dir.path(), "executions"), 0);
    assert_eq!(count(dir.path(), "entries"), 2);
}

#[tokio::test]
async fn an_execution_that_ends_without_a_word_leaves_its_event_to_be_reported() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path(), SqliteSpoolConfig::default());
    spool
        .accept(accept("a", "d", Timestamp::MAX))
        .await
        .unwrap();
    spool.claim(1).await.unwrap();
    spool.journal(name("a"), Vec::new(), true).await.unwrap();
    spool.trim(0).await.unwrap();
    let records = spool.unreported(0, 10, usize::MAX).await.unwrap();
    assert!(matches!(records[0].record.body, RecordBody::Accepted(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_fails_refuses_all_that_waits_and_all_that_comes() {
    const ACCEPTS: usize = 200;
    let dir = tempfile::tempdir().unwrap();
    let spool = Arc::new(open(dir.path(), SqliteSpoolConfig::default()));
    let first = accept("first", "d", Timestamp::MAX);
    spool.accept(first).await.unwrap();
    let before = head(&spool).await;
    assert_eq!(spool.failure(), None);
    // The store is broken under the writer: the next write to it fails.
    let connection = Connection::open(dir.path().join("spool.sqlite")).unwrap();
    connection.busy_timeout(PATIENCE).unwrap();
    connection
        .execute_batch("ALTER TABLE log RENAME TO gone")
        .unwrap();

    let tasks: Vec<_> = (0..ACCEPTS)
        .map(|n| {
            let spool = spool.clone();
            let accept = accept(&format!("x{n}"), "d", Timestamp::MAX);
            tokio::spawn(async move { spool.accept(accept).await })
        })
        .collect();
    for task in tasks {
        let answer = task.await.unwrap();
        assert!(matches!(answer, Err(SpoolError::Failed(_))), "{answer:?}");
    }
    assert!(spool.failure().is_some());
    let late = spool.claim(1).await;
    assert!(matches!(late, Err(SpoolError::Failed(_))), "{late:?}");
    assert_eq!(
        head(&spool).await,
        before,
        "nothing is told that is not there"
    );
    drop(spool);

    // What failed left nothing behind, and a restart on a mended store goes on.
    connection
        .execute_batch("ALTER TABLE gone RENAME TO log")
        .unwrap();
    let spool = open(dir.path(), SqliteSpoolConfig::default());
    let claimed = spool.claim(ACCEPTS).await.unwrap();
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].accepted.execution, name("first"));
}

#[tokio::test]
async fn a_queue_that_is_full_refuses_and_loses_nothing_that_it_took() {
    let dir = tempfile::tempdir().unwrap();
    let config = SqliteSpoolConfig {
        queue_max: 4,
        batch_max: 1,
        ..SqliteSpoolConfig::default()
    };
    let spool = open(dir.path(), config);
    // The writer waits for this lock, and the queue fills.
    let other = Connection::open(dir.path().join("spool.sqlite")).unwrap();
    other.busy_timeout(PATIENCE).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let accepts = (0..100).map(|n| spool.accept(accept(&format!("x{n}"), "d", Timestamp::MAX)));
    let waiting = futures::future::join_all(accepts);
    // The accepts were queued, or refused, as they were made.
    other.execute_batch("ROLLBACK").unwrap();
    let answers = waiting.await;
    let new = answers
        .iter()
        .filter(|answer| **answer == Ok(Acceptance::New))
        .count();
    let refused = answers
        .iter()
        .filter(|answer| **answer == Err(SpoolError::Overloaded))
        .count();
    assert_eq!(new + refused, 100);
    assert!(new >= 4, "{new}");
    assert!(refused > 0);
    assert_eq!(spool.claim(1000).await.unwrap().len(), new);
}

#[tokio::test]
async fn a_lock_held_by_another_is_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path(), SqliteSpoolConfig::default());
    let other = Connection::open(dir.path().join("spool.sqlite")).unwrap();
    other.busy_timeout(PATIENCE).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mut accepted = spool.accept(accept("a", "d", Timestamp::MAX));
    let early = tokio::time::timeout(Duration::from_millis(300), &mut accepted).await;
    assert!(early.is_err(), "answered under the lock: {early:?}");
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(accepted.await, Ok(Acceptance::New));
    assert_eq!(spool.failure(), None);
}
