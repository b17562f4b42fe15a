#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod interrupted;
mod remembered;
mod signals;
mod summon;
mod upgrade;

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use bytes::Bytes;
use signalbox_model::{
    event::{Event, EventScope, TriggerKind},
    execution::{ExecutionState, Fact},
    record::{Accepted, RecordBody, Verdict},
};
use tokio::runtime::Runtime;

use super::*;
use crate::spool::{ScopeSource, delivery_of};

const DAY: std::time::Duration = std::time::Duration::from_secs(24 * 3600);

fn accept(id: &str, content: u8) -> Accept {
    let execution = format!("projects/default/executions/{id}").parse().unwrap();
    let workflow: signalbox_model::ids::WorkflowName =
        "projects/default/workflows/w".parse().unwrap();
    Accept {
        accepted: Accepted {
            execution,
            workflow: workflow.clone(),
            version: 1,
            event: Event {
                trigger: TriggerKind::Webhook,
                api_key: None,
                scope: EventScope {
                    message: format!("message {id}"),
                    subject: None,
                    attributes: BTreeMap::new(),
                    topic_arn: None,
                    message_id: id.to_owned(),
                    timestamp: "2026-11-24T00:00:00Z".to_owned(),
                },
                body: Bytes::from_static(b"{}"),
                content_type: None,
                source_address: None,
                signature: None,
                received_at: Timestamp::now(),
            },
            parent: None,
        },
        scope: ScopeSource::Event,
        content_digest: [content; 32],
        certificate: None,
        definition: Bytes::from_static(b"definition").into(),
        message_type: Some("webhook".to_owned()),
        traceparent: None,
        deduplicate_until: Timestamp::now() + DAY,
    }
}

fn fact(id: &str, fact: Fact) -> Record {
    Record {
        time: Timestamp::now(),
        traceparent: None,
        body: RecordBody::Execution {
            execution: format!("projects/default/executions/{id}").parse().unwrap(),
            fact,
        },
    }
}

fn finished(id: &str) -> Record {
    fact(
        id,
        Fact::Finished {
            state: ExecutionState::Succeeded,
            output: None,
            error: None,
        },
    )
}

fn open(dir: &Path) -> SqliteSpool {
    SqliteSpool::open(dir, SqliteSpoolConfig::default()).unwrap()
}

#[tokio::test]
async fn a_copy_is_known_and_other_content_is_a_conflict_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path());
    assert_eq!(spool.accept(accept("a", 1)).await, Ok(Acceptance::New));
    for spool in [spool, open(dir.path())] {
        assert_eq!(
            spool.accept(accept("a", 1)).await,
            Ok(Acceptance::Duplicate)
        );
        assert_eq!(spool.accept(accept("a", 2)).await, Ok(Acceptance::Conflict));
        drop(spool);
    }
}

#[tokio::test]
async fn an_interrupted_execution_comes_back_with_its_journal() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path());
    spool.accept(accept("a", 1)).await.unwrap();
    spool.accept(accept("b", 1)).await.unwrap();
    let claimed = spool.claim(10).await.unwrap();
    assert_eq!(claimed.len(), 2);
    assert!(claimed.iter().all(|claimed| claimed.journal.is_empty()));
    assert!(
        spool.claim(10).await.unwrap().is_empty(),
        "each is claimed once"
    );
    let name = |id: &str| format!("projects/default/executions/{id}").parse().unwrap();
    spool
        .journal(name("a"), vec![fact("a", Fact::Started)], false)
        .await
        .unwrap();
    spool
        .journal(
            name("b"),
            vec![fact("b", Fact::Started), finished("b")],
            true,
        )
        .await
        .unwrap();
    drop(spool);

    let spool = open(dir.path());
    let claimed = spool.claim(10).await.unwrap();
    assert_eq!(claimed.len(), 1);
    assert_eq!(claimed[0].accepted.execution, name("a"));
    assert_eq!(claimed[0].definition.as_ref(), b"definition");
    assert_eq!(claimed[0].journal.len(), 1);
    assert_eq!(spool.stats().unfinished_executions, 1);
}

#[tokio::test]
async fn trimming_keeps_what_an_unfinished_execution_needs() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path());
    spool.accept(accept("a", 1)).await.unwrap();
    let name = || "projects/default/executions/a".parse().unwrap();
    spool.claim(1).await.unwrap();
    spool
        .journal(name(), vec![fact("a", Fact::Started)], false)
        .await
        .unwrap();
    let all = spool.unreported(0, 100, usize::MAX).await.unwrap();
    let kinds: Vec<_> = all
        .iter()
        .map(|sequenced| match &sequenced.record.body {
            RecordBody::Accepted(_) => "accepted",
            RecordBody::Delivery(_) => "delivery",
            RecordBody::Execution { .. } => "fact",
            _ => "other",
        })
        .collect();
    assert_eq!(kinds, ["accepted", "delivery", "fact"]);
    let last = all.last().unwrap().sequence;
    assert_eq!(*spool.head().borrow(), last);
    spool.trim(last).await.unwrap();
    assert!(
        spool
            .unreported(last, 100, usize::MAX)
            .await
            .unwrap()
            .is_empty()
    );
    drop(spool);

    let spool = open(dir.path());
    let claimed = spool.claim(1).await.unwrap();
    assert_eq!(claimed[0].journal.len(), 1, "reported, and still needed");
    spool
        .journal(name(), vec![finished("a")], true)
        .await
        .unwrap();
    let head = *spool.head().borrow();
    spool.trim(head).await.unwrap();
    assert_eq!(
        spool.accept(accept("a", 1)).await,
        Ok(Acceptance::Duplicate),
        "and still known"
    );
    drop(spool);
    let connection = Connection::open(dir.path().join("spool.sqlite")).unwrap();
    let kept: i64 = connection
        .query_row(
            "SELECT (SELECT count(*) FROM executions) + (SELECT count(*) FROM log WHERE kind <> 2)",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(kept, 0, "what is reported and has ended takes no room");
}

#[tokio::test]
async fn batches_of_reports_are_bounded_but_never_empty() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path());
    for id in ["a", "b", "c"] {
        spool.accept(accept(id, 1)).await.unwrap();
    }
    assert_eq!(spool.unreported(0, 2, usize::MAX).await.unwrap().len(), 2);
    assert_eq!(spool.unreported(0, 100, 1).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_full_spool_refuses_events_and_lets_executions_end() {
    let dir = tempfile::tempdir().unwrap();
    let config = SqliteSpoolConfig {
        max_bytes: 1,
        ..SqliteSpoolConfig::default()
    };
    let spool = open(dir.path());
    spool.accept(accept("a", 1)).await.unwrap();
    drop(spool);
    let spool = SqliteSpool::open(dir.path(), config).unwrap();
    assert_eq!(spool.accept(accept("b", 1)).await, Err(SpoolError::Full));
    spool.claim(1).await.unwrap();
    let name = "projects/default/executions/a".parse().unwrap();
    spool
        .journal(name, vec![finished("a")], true)
        .await
        .unwrap();
}

#[tokio::test]
async fn handshakes_are_kept_until_they_are_over() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path());
    let delivery = delivery_of(
        &accept("a", 1).accepted,
        "webhook".to_owned(),
        Verdict::Accepted,
    );
    let handshake = Handshake {
        workflow: "projects/default/workflows/w".parse().unwrap(),
        topic_arn: "arn:aws:sns:us-east-1:123456789012:t".into(),
        token: "secret-token".into(),
        certificate_origin: "aws".into(),
        // Kept to the microsecond.
        received_at: Timestamp::from_microsecond(Timestamp::now().as_microsecond()).unwrap(),
        attempts: 0,
    };
    assert!(!format!("{handshake:?}").contains("secret-token"));
    for _ in 0..2 {
        spool
            .accept_handshake(handshake.clone(), delivery.clone(), None)
            .await
            .unwrap();
    }
    drop(spool);
    let spool = open(dir.path());
    let later = Timestamp::now() + DAY;
    let due = spool.due_handshakes(later, 10).await.unwrap();
    assert_eq!(due, std::slice::from_ref(&handshake));
    let change = |state| SubscriptionChange {
        workflow: handshake.workflow.clone(),
        topic_arn: handshake.topic_arn.clone(),
        subscription_arn: None,
        state,
        confirm_attempts: 1,
        last_error: None,
    };
    use signalbox_model::record::SubscriptionState;
    let again_at = later + DAY;
    let pending = change(SubscriptionState::Pending);
    spool
        .update_handshake(handshake.clone(), Some(again_at), pending)
        .await
        .unwrap();
    assert!(spool.due_handshakes(later, 10).await.unwrap().is_empty());
    assert_eq!(
        spool.due_handshakes(again_at, 10).await.unwrap()[0].attempts,
        1
    );
    let confirmed = change(SubscriptionState::Confirmed);
    spool
        .update_handshake(handshake, None, confirmed)
        .await
        .unwrap();
    assert!(spool.due_handshakes(again_at, 10).await.unwrap().is_empty());
    let records = spool.unreported(0, 100, usize::MAX).await.unwrap();
    let text = format!("{records:?}");
    assert!(
        !text.contains("secret-token"),
        "a token is reported to nobody"
    );
}

/// Room for so many of one workflow, and for all of the others.
struct Only(&'static str, usize);

impl Admission for Only {
    fn room(&self, workflow: &str) -> usize {
        match workflow.ends_with(self.0) {
            true => self.1,
            false => usize::MAX,
        }
    }
}

#[tokio::test]
async fn workflows_take_turns_and_none_more_than_it_has_room_for() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path());
    let of = |workflow: &str, n: usize| {
        let mut of = accept(&format!("{workflow}{n}"), 1);
        of.accepted.workflow = format!("projects/default/workflows/{workflow}")
            .parse()
            .unwrap();
        of
    };
    for (workflow, count) in [("a", 100), ("b", 3), ("c", 1)] {
        for n in 0..count {
            spool.accept(of(workflow, n)).await.unwrap();
        }
    }
    let claim = async |max, only| {
        let claimed = spool.claim_admitted(max, Arc::new(only)).await.unwrap();
        let ids = claimed
            .iter()
            .map(|of| of.accepted.execution.execution.as_str().to_owned());
        ids.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(claim(6, Only("none", 0)).await, "a0 a1 a2 b0 b1 c0");
    // What has no room waits, and does not count as what could be claimed.
    assert_eq!(claim(6, Only("a", 1)).await, "a3 b2");
    assert_eq!(spool.unclaimed(), 0);
    assert_eq!(claim(6, Only("a", 0)).await, "");
    spool.accept(of("d", 0)).await.unwrap();
    assert_eq!(claim(2, Only("none", 0)).await, "d0 a4");
    assert_eq!(spool.unclaimed(), 95);

    // One that is due needs room too.
    let name = of("a", 3).accepted.execution;
    spool
        .park(name.clone(), Timestamp::MAX, u64::MAX)
        .await
        .unwrap();
    spool.wake(&name).await.unwrap();
    assert_eq!(claim(2, Only("a", 0)).await, "");
    // It takes its turn now, as the oldest, and is not looked at each time.
    assert_eq!((spool.unclaimed(), spool.stats().parked_executions), (0, 0));
    assert_eq!(claim(2, Only("a", 2)).await, "a3 a5");
}

/// What a claim of so many gives, by workflow.
async fn claimed(spool: &SqliteSpool, max: usize, only: Only) -> BTreeMap<String, usize> {
    let claimed = spool.claim_admitted(max, Arc::new(only)).await.unwrap();
    let mut by_workflow = BTreeMap::new();
    for of in claimed {
        let workflow = of.accepted.workflow.workflow.to_string();
        *by_workflow.entry(workflow).or_default() += 1;
    }
    by_workflow
}

#[tokio::test]
async fn those_that_are_due_take_turns_too_however_many_another_workflow_has() {
    const MANY: usize = 1_200;
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path());
    let of = |workflow: &str, n: usize| {
        let mut of = accept(&format!("{workflow}{n}"), 1);
        of.accepted.workflow = format!("projects/default/workflows/{workflow}")
            .parse()
            .unwrap();
        of
    };
    // More than one looks at, all due before the other's.
    for (workflow, count) in [("a", MANY), ("b", 2)] {
        let accepted = (0..count).map(|n| spool.accept(of(workflow, n)));
        futures::future::try_join_all(accepted).await.unwrap();
        let begun = claimed(&spool, count, Only("none", 0)).await;
        assert_eq!(begun, BTreeMap::from([(workflow.to_owned(), count)]));
    }
    for (workflow, count) in [("a", MANY), ("b", 2)] {
        let due = Timestamp::now();
        let parked = (0..count).map(|n| {
            let name = of(workflow, n).accepted.execution;
            spool.park(name, due, u64::MAX)
        });
        futures::future::try_join_all(parked).await.unwrap();
    }
    for n in 0..3 {
        spool.accept(of("c", n)).await.unwrap();
    }
    let each = |all: &[(&str, usize)]| -> BTreeMap<String, usize> {
        all.iter().map(|(of, n)| ((*of).to_owned(), *n)).collect()
    };
    // What waits to begin has its share of what is free at once.
    assert_eq!(
        claimed(&spool, 4, Only("none", 0)).await,
        each(&[("a", 2), ("c", 2)])
    );
    // Of the other's that is due it is heard when it is looked far again.
    let mut others = 1;
    tokio::time::timeout(std::time::Duration::from_secs(10), async {
        while others > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            let claimed = claimed(&spool, 3, Only("none", 0)).await;
            assert!(claimed.contains_key("a"));
            others -= claimed.get("b").map_or(0, |_| 1);
        }
    })
    .await
    .expect("b has its turn long before all of a have theirs");
    assert!(spool.unclaimed() + spool.stats().parked_executions > 1_000);
}

#[test]
fn a_newer_schema_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    let connection = Connection::open(dir.path().join("spool.sqlite")).unwrap();
    connection.pragma_update(None, "user_version", 99).unwrap();
    drop(connection);
    let error = SqliteSpool::open(dir.path(), SqliteSpoolConfig::default())
        .err()
        .unwrap();
    assert!(
        matches!(error, OpenError::NewerSchema { found: 99 }),
        "{error:?}"
    );
}

const CHILD: &str = "SIGNALBOX_TEST_SPOOL_CHILD";

/// The child of the kill test: accepts and journals under load, and says what was acknowledged.
#[test]
fn child_of_the_kill_test() {
    let Some(dir) = std::env::var_os(CHILD) else {
        return;
    };
    let start = std::env::var("SIGNALBOX_TEST_SPOOL_START").unwrap();
    let runtime = Runtime::new().unwrap();
    let spool = Arc::new(open(Path::new(&dir)));
    runtime.block_on(async {
        let mut tasks = Vec::new();
        for task in 0..8 {
            let (spool, start) = (spool.clone(), start.clone());
            tasks.push(tokio::spawn(async move {
                for number in 0.. {
                    let id = format!("k{start}-{task}-{number}");
                    spool.accept(accept(&id, 1)).await.unwrap();
                    println!("accepted {id}");
                    let name = format!("projects/default/executions/{id}").parse().unwrap();
                    spool
                        .journal(name, vec![fact(&id, Fact::Started)], false)
                        .await
                        .unwrap();
                    println!("journalled {id}");
                }
            }));
        }
        futures::future::join_all(tasks).await;
    });
}

#[test]
fn what_was_acknowledged_survives_sigkill() {
    const KILLS: u32 = 12;
    let dir = tempfile::tempdir().unwrap();
    let mut accepted = BTreeSet::new();
    let mut journalled = BTreeSet::new();
    for kill in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "spool::sqlite::tests::child_of_the_kill_test",
                "--nocapture",
            ])
            .env(CHILD, dir.path())
            .env("SIGNALBOX_TEST_SPOOL_START", kill.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Some way in, at a point that differs each time.
        let patience = 50 + (kill * 137) % 400;
        let mut seen = 0;
        let mut take = |line: String| match line.split_once(' ') {
            Some(("accepted", id)) => {
                accepted.insert(id.to_owned());
                true
            }
            Some(("journalled", id)) => {
                journalled.insert(id.to_owned());
                true
            }
            _ => false,
        };
        for line in lines.by_ref() {
            if take(line.unwrap()) {
                seen += 1;
            }
            if seen >= patience {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        for line in lines {
            let line = line.unwrap();
            // The last line may be cut.
            if line.split('-').count() == 3 {
                take(line);
            }
        }
    }
    assert!(accepted.len() > 100, "{}", accepted.len());
    let runtime = Runtime::new().unwrap();
    let spool = open(dir.path());
    let claimed = runtime.block_on(spool.claim(usize::MAX)).unwrap();
    let there: BTreeMap<String, usize> = claimed
        .iter()
        .map(|claimed| {
            (
                claimed.accepted.execution.execution.to_string(),
                claimed.journal.len(),
            )
        })
        .collect();
    assert_eq!(there.len(), claimed.len(), "each once");
    // A line that the kill cut short names no real id; whole ids are all there.
    let lost: Vec<_> = accepted
        .iter()
        .filter(|id| !there.contains_key(*id))
        .collect();
    assert!(
        lost.iter()
            .all(|id| there.keys().any(|known| known.starts_with(id.as_str()))),
        "lost: {lost:?}"
    );
    let lost: Vec<_> = journalled
        .iter()
        .filter(|id| there.get(*id) != Some(&1))
        .filter(|id| {
            !there
                .keys()
                .any(|known| known.starts_with(id.as_str()) && known != *id)
        })
        .collect();
    assert!(lost.is_empty(), "facts lost: {lost:?}");
}
