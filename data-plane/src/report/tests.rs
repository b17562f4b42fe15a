#![allow(clippy::unwrap_used, clippy::expect_used)]

mod taker;

use std::path::Path;

use bytes::Bytes;
use jiff::Timestamp;
use signalbox_model::{
    config::{KeyConfig, KeyDigest, Resource, Revision},
    record::{Certificate, Record, RecordBody},
};
use signalbox_runtime::ambient::System;
use tempfile::TempDir;

use self::taker::{Connection, PATIENCE, Taker};
use super::*;
use crate::{
    config::{Change, Upsert},
    spool::{SqliteSpool, SqliteSpoolConfig},
};

/// A node without anything but its spool and its end of the stream.
struct Node {
    dir: TempDir,
    spool: Arc<SqliteSpool>,
    work: Shutdown,
    shutdown: Shutdown,
    task: tokio::task::JoinHandle<()>,
}

/// As of a node, but for an end that waits for nobody.
fn timing() -> Timing {
    Timing {
        last_answer: Duration::from_millis(100),
        last_try: Duration::from_millis(100),
        ..Timing::default()
    }
}

fn open(dir: &Path) -> Arc<SqliteSpool> {
    Arc::new(SqliteSpool::open(dir, SqliteSpoolConfig::default()).unwrap())
}

impl Node {
    fn start(endpoint: &str) -> Self {
        Self::start_in(endpoint, timing(), tempfile::tempdir().unwrap())
    }

    /// One that tells of these keys.
    fn start_with(endpoint: &str, keys: &Arc<ConfigStore>) -> Self {
        let timing = Timing {
            uses_interval: Duration::from_millis(20),
            ..timing()
        };
        Self::start_of(
            endpoint,
            timing,
            tempfile::tempdir().unwrap(),
            Some(Arc::clone(keys)),
        )
    }

    fn start_in(endpoint: &str, timing: Timing, dir: TempDir) -> Self {
        Self::start_of(endpoint, timing, dir, None)
    }

    fn start_of(
        endpoint: &str,
        timing: Timing,
        dir: TempDir,
        keys: Option<Arc<ConfigStore>>,
    ) -> Self {
        let spool = open(dir.path());
        let (work, shutdown) = (Shutdown::new(), Shutdown::new());
        let client = ReportClient {
            node: "n1".parse().unwrap(),
            client: Client::new(signalbox_client::ClientConfig::new(endpoint)).unwrap(),
            spool: spool.clone(),
            keys,
            ambient: System::shared(),
        };
        let task = tokio::spawn(client.run_with(timing, work.clone(), shutdown.clone()));
        Self {
            dir,
            spool,
            work,
            shutdown,
            task,
        }
    }

    async fn append(&self, names: std::ops::Range<usize>) {
        self.append_sized(names, 10).await;
    }

    async fn append_sized(&self, names: std::ops::Range<usize>, bytes: usize) {
        let record = |name: usize| Record {
            time: Timestamp::now(),
            traceparent: None,
            body: RecordBody::Certificate(Certificate {
                sha256: name.to_string(),
                pem: "x".repeat(bytes),
            }),
        };
        self.spool
            .append(names.map(record).collect())
            .await
            .unwrap();
    }

    /// Waits until the spool knows how much is not reported.
    async fn unreported(&self, records: u64) {
        let wait = async {
            while self.spool.stats().unreported_records != records {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        assert!(waited.is_ok(), "{:?}", self.spool.stats());
    }

    async fn stop(self) -> TempDir {
        self.shutdown.stop();
        self.task.await.unwrap();
        self.dir
    }
}

/// Takes batches until it has `names`, acknowledging each: each once, in order.
async fn take_all(connection: &mut Connection, names: std::ops::Range<usize>) {
    let mut next = names.start;
    while next < names.end {
        let (last, batch) = connection.batch().await;
        for name in batch {
            assert_eq!(name, next, "each once, in order");
            next += 1;
        }
        connection.acknowledge(last).await;
    }
    assert_eq!(next, names.end);
}

#[tokio::test]
async fn everything_is_reported_once_and_trimmed() {
    let mut taker = Taker::start().await;
    let node = Node::start(&taker.endpoint);
    node.append(0..1234).await;
    let (hello, mut connection) = taker.hello(0).await;
    assert_eq!(hello.node_id, "n1");
    assert_eq!(hello.incarnation, node.spool.incarnation());
    take_all(&mut connection, 0..1234).await;
    node.unreported(0).await;
    let left = node.spool.unreported(0, 10, usize::MAX).await.unwrap();
    assert!(left.is_empty());
    // What comes later wakes it.
    node.append(1234..1237).await;
    take_all(&mut connection, 1234..1237).await;
    node.unreported(0).await;
}

#[tokio::test]
async fn a_stream_that_ends_with_its_token_is_opened_anew_where_it_was() {
    let (mut one, mut other) = (Taker::start().await, Taker::start().await);
    let node = Node::start(&format!("{},{}", one.endpoint, other.endpoint));
    // Chance says which is the first; whoever fails is left.
    let (at, away) = tokio::select! {
        (_, connection) = one.hello(0) => (connection, false),
        (_, connection) = other.hello(0) => (connection, true),
    };
    if away {
        std::mem::swap(&mut one, &mut other);
    }
    tokio::time::sleep(LASTED).await;
    let expired = signalbox_model::error::Error::Unauthenticated {
        reason: "TOKEN_EXPIRED",
        message: "the token has expired".to_owned(),
    };
    at.end(convert::status::to_status(expired)).await;
    let (_, mut at) = one.hello(0).await;
    node.append(0..3).await;
    take_all(&mut at, 0..3).await;
}

#[tokio::test]
async fn batches_are_bounded_by_count_and_by_bytes() {
    let mut taker = Taker::start().await;
    let node = Node::start(&taker.endpoint);
    let (_, mut connection) = taker.hello(0).await;
    node.append(0..BATCH_RECORDS_MAX + 1).await;
    let mut sizes = Vec::new();
    while sizes.iter().sum::<usize>() < BATCH_RECORDS_MAX + 1 {
        let (last, batch) = connection.batch().await;
        sizes.push(batch.len());
        connection.acknowledge(last).await;
    }
    assert!(
        sizes.iter().all(|size| *size <= BATCH_RECORDS_MAX),
        "{sizes:?}"
    );
    // Two fit, three do not; and one that does not fit comes alone.
    let from = BATCH_RECORDS_MAX + 1;
    node.append_sized(from..from + 5, BATCH_BYTES_MAX * 2 / 5)
        .await;
    node.append_sized(from + 5..from + 6, BATCH_BYTES_MAX * 2)
        .await;
    let mut sizes = Vec::new();
    while sizes.iter().sum::<usize>() < 6 {
        let (last, batch) = connection.batch().await;
        sizes.push(batch.len());
        connection.acknowledge(last).await;
    }
    assert_eq!(sizes, [2, 2, 1, 1]);
}

#[tokio::test]
async fn no_more_is_under_way_than_the_window_holds() {
    let mut taker = Taker::start().await;
    let node = Node::start(&taker.endpoint);
    let all = BATCH_RECORDS_MAX * (UNACKNOWLEDGED_MAX + 2);
    node.append(0..all).await;
    let (_, mut connection) = taker.hello(0).await;
    let mut batches = Vec::new();
    for _ in 0..UNACKNOWLEDGED_MAX {
        batches.push(connection.batch().await);
    }
    assert!(connection.is_quiet().await, "the window is full");
    connection.acknowledge(batches[0].0).await;
    batches.push(connection.batch().await);
    assert!(connection.is_quiet().await, "and full again");
    connection.acknowledge(batches[4].0).await;
    batches.push(connection.batch().await);
    let names: Vec<usize> = batches.into_iter().flat_map(|(_, names)| names).collect();
    assert_eq!(names, (0..all).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_was_not_acknowledged_comes_again_and_what_was_does_not() {
    let mut taker = Taker::start().await;
    let node = Node::start(&taker.endpoint);
    node.append(0..BATCH_RECORDS_MAX * 2).await;
    let (_, mut connection) = taker.hello(0).await;
    let (first, _) = connection.batch().await;
    let (second, again) = connection.batch().await;
    // The first became durable; the stream ends before the answer to the second.
    connection.acknowledge(first).await;
    node.unreported(second - first).await;
    drop(connection);
    let (_, mut connection) = taker.hello(first).await;
    assert_eq!(connection.batch().await, (second, again));
    drop(connection);
    // Both became durable, and the answer was lost: only the control plane knows.
    let (_, mut connection) = taker.hello(second).await;
    node.unreported(0).await;
    assert!(connection.is_quiet().await);
    node.append(9999..10_000).await;
    assert_eq!(connection.batch().await.1, [9999]);
}

#[tokio::test]
async fn a_restart_goes_on_where_the_control_plane_stands() {
    let mut taker = Taker::start().await;
    let node = Node::start(&taker.endpoint);
    node.append(0..10).await;
    let (hello, mut connection) = taker.hello(0).await;
    let (tenth, _) = connection.batch().await;
    let incarnation = hello.incarnation;
    let dir = node.stop().await;
    drop(connection);

    let node = Node::start_in(&taker.endpoint, timing(), dir);
    node.append(10..12).await;
    let (hello, mut connection) = taker.hello(tenth).await;
    assert_eq!(hello.incarnation, incarnation, "sequences go on");
    take_all(&mut connection, 10..12).await;
}

#[tokio::test]
async fn an_acknowledgement_of_more_than_was_sent_drops_nothing() {
    let mut taker = Taker::start().await;
    let node = Node::start(&taker.endpoint);
    let all = BATCH_RECORDS_MAX * (UNACKNOWLEDGED_MAX + 2);
    node.append(0..all).await;
    let (_, mut connection) = taker.hello(0).await;
    let mut names = Vec::new();
    for _ in 0..UNACKNOWLEDGED_MAX {
        names.extend(connection.batch().await.1);
    }
    connection.acknowledge(u64::MAX >> 1).await;
    while names.len() < all {
        let (last, batch) = connection.batch().await;
        names.extend(batch);
        connection.acknowledge(last).await;
    }
    assert_eq!(names, (0..all).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_control_plane_that_lost_everything_gets_what_there_is_and_does_not_keep_the_node_busy() {
    let mut taker = Taker::start().await;
    let node = Node::start(&taker.endpoint);
    node.append(0..10).await;
    let (_, mut connection) = taker.hello(0).await;
    take_all(&mut connection, 0..10).await;
    node.unreported(0).await;
    drop(connection);
    // A new database: it has nothing, and the node has nothing left of the first ten.
    let (_, mut connection) = taker.hello(0).await;
    assert!(connection.is_quiet().await);
    node.append(10..11).await;
    assert_eq!(connection.batch().await.1, [10]);
}

#[tokio::test]
async fn a_control_plane_that_does_not_acknowledge_is_left_and_asked_again() {
    let mut taker = Taker::start().await;
    let timing = Timing {
        acknowledge_timeout: Duration::from_millis(200),
        ..timing()
    };
    let node = Node::start_in(&taker.endpoint, timing, tempfile::tempdir().unwrap());
    node.append(0..3).await;
    let (_, mut held) = taker.hello(0).await;
    held.batch().await;
    let (_, mut connection) = taker.hello(0).await;
    take_all(&mut connection, 0..3).await;
    node.unreported(0).await;
    // An idle stream is not a silent one.
    tokio::time::timeout(3 * timing.acknowledge_timeout, taker.hello(0))
        .await
        .err()
        .expect("the stream stays while nothing is owed");
    drop(held);
}

const KEY_DIGEST: KeyDigest = KeyDigest([7; 32]);

fn with_a_key(dir: &Path) -> Arc<ConfigStore> {
    let key = KeyConfig {
        name: "projects/default/apiKeys/k".parse().unwrap(),
        digest: KEY_DIGEST,
        revoked: false,
        expires_at: None,
        rate_limit: None,
        scope: None,
        previous: None,
    };
    let store = ConfigStore::open(dir, |_| Err("none".to_owned())).unwrap();
    let change = Change {
        incarnation: "i".to_owned(),
        revision: Revision(1),
        replaces_all: true,
        upserts: vec![Upsert {
            name: key.name.to_string(),
            resource: Resource::Key(key),
            encoded: Bytes::new(),
        }],
        deletes: Vec::new(),
        keep: Vec::new(),
    };
    store.apply(change).unwrap();
    Arc::new(store)
}

#[tokio::test]
async fn the_last_use_of_a_key_is_told_until_the_control_plane_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let keys = with_a_key(dir.path());
    let mut taker = Taker::start().await;
    let node = Node::start_with(&taker.endpoint, &keys);
    let (_, mut connection) = taker.hello(0).await;
    assert!(connection.is_quiet().await, "nothing was used");
    let time = Timestamp::now();
    let key = keys.current();
    key.key(&KEY_DIGEST)
        .unwrap()
        .note_use(time, "192.0.2.1".parse().unwrap());
    let told = connection.uses().await;
    assert_eq!(told.number, 1);
    let use_of_key = convert::key_use::from_wire(told.uses[0].clone()).unwrap();
    assert_eq!(use_of_key.key.to_string(), "projects/default/apiKeys/k");
    assert_eq!(use_of_key.source.to_string(), "192.0.2.1");
    assert_eq!(
        use_of_key.time.as_microsecond(),
        time.as_microsecond(),
        "as it was noted"
    );
    assert!(connection.is_quiet().await, "once on a stream");

    // Records go on meanwhile; an answer that was lost is asked for again.
    node.append(0..3).await;
    take_all(&mut connection, 0..3).await;
    drop(connection);
    let (_, mut connection) = taker.hello(3).await;
    assert_eq!(connection.uses().await, told);
    connection.acknowledge_uses(told.number).await;
    assert!(connection.is_quiet().await, "it has it");
    drop(connection);
    let (_, mut connection) = taker.hello(3).await;
    assert!(connection.is_quiet().await, "and on the next stream");
    node.unreported(0).await;
}

#[tokio::test]
async fn what_is_left_when_the_work_has_ended_is_reported_before_the_end() {
    let mut taker = Taker::start().await;
    let timing = Timing {
        last_answer: PATIENCE,
        ..timing()
    };
    let node = Node::start_in(&taker.endpoint, timing, tempfile::tempdir().unwrap());
    let (finish, finished) = tokio::sync::oneshot::channel::<()>();
    node.work.spawn(finished);
    let (_, mut connection) = taker.hello(0).await;
    node.append(0..10).await;
    let (last, _) = connection.batch().await;
    node.shutdown.stop();
    // What was under way may finish, and is work, too.
    node.append(10..15).await;
    connection.acknowledge(last).await;
    take_all(&mut connection, 10..15).await;
    assert!(!node.task.is_finished());
    node.append(15..20).await;
    finish.send(()).unwrap();
    take_all(&mut connection, 15..20).await;
    node.unreported(0).await;
    tokio::time::timeout(PATIENCE, node.task)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn who_takes_nothing_holds_the_end_up_for_a_moment() {
    let began = tokio::time::Instant::now();
    // Nobody listens.
    let node = Node::start("http://127.0.0.1:1");
    node.append(0..3).await;
    let dir = node.stop().await;
    // Somebody does, and says no more.
    let mut taker = Taker::start().await;
    let node = Node::start_in(&taker.endpoint, timing(), dir);
    let (_, mut connection) = taker.hello(0).await;
    connection.batch().await;
    let dir = node.stop().await;
    assert!(began.elapsed() < PATIENCE, "{:?}", began.elapsed());
    let left = open(dir.path()).stats().unreported_records;
    assert_eq!(left, 3, "nothing is forgotten");
}
