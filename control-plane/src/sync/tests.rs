#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{collections::BTreeSet, path::Path, time::Duration};

use prost::Message as _;
use signalbox_model::{ids::NodeId, record::SequencedRecord};
use signalbox_proto::{convert, dataplane::v1 as wire};
use signalbox_runtime::shutdown::Shutdown;

use super::{delta::Deltas, snapshot::Snapshots, streams::Streams};
use crate::{
    app::{App, Limits, NewKey, Settings},
    crypto::MasterKey,
    store::{Actor, Arrival, Cancel, Heard, Store},
};

const PATIENCE: Duration = Duration::from_secs(30);
/// Long enough to see that nothing comes, short enough to wait for.
const QUIET: Duration = Duration::from_millis(300);

async fn app(dir: &Path) -> App {
    let store = Store::open_at(dir, None).await.unwrap();
    let settings = Settings {
        public_webhook_url: String::new(),
        reveal_enabled: false,
        deliveries_kept_max: 1,
        history_value_max_bytes: 1024,
        history_retention: Duration::MAX,
        deleted_retention: Duration::MAX,
        quotas: Limits::USUAL,
    };
    App::new(store, MasterKey::new(&[7; 32]).unwrap(), settings)
}

fn actor() -> Actor {
    Actor {
        subject: "tester".to_owned(),
        request_id: None,
        trace_id: None,
    }
}

async fn create_key(app: &App, id: &str) {
    let (project, id) = ("default".parse().unwrap(), id.parse().unwrap());
    app.create_key(&actor(), &project, &id, NewKey::default(), "")
        .await
        .unwrap();
}

fn names(update: &[u8]) -> BTreeSet<String> {
    let update = wire::ConfigUpdate::decode(update).unwrap();
    let names = update.upserts.iter().map(convert::config::name_of);
    names.map(str::to_owned).collect()
}

#[tokio::test]
async fn a_snapshot_is_read_once_and_what_is_deleted_meanwhile_is_deleted_behind_it() {
    let dir = tempfile::tempdir().unwrap();
    let app = app(dir.path()).await;
    // More than are read at once, and than go into one part.
    let id = |n: usize| format!("k{n:050}");
    for n in 0..700 {
        create_key(&app, &id(n)).await;
    }
    let snapshots = Snapshots::new(app.clone());
    let mut one = snapshots.newest();
    // Nothing of it is read yet: this task has not waited for anything.
    let name = |n: usize| format!("projects/default/apiKeys/{}", id(n));
    app.delete_key(&actor(), &name(650).parse().unwrap(), "")
        .await
        .unwrap();
    let mut other = snapshots.newest();
    let (mut parts, mut all) = (0, BTreeSet::new());
    while let Some(part) = one.part(parts).await.unwrap() {
        let same = other.part(parts).await.unwrap().unwrap();
        assert_eq!(
            part.shared.as_ptr(),
            same.shared.as_ptr(),
            "encoded once for both"
        );
        all.extend(names(&part.shared));
        parts += 1;
    }
    assert!(parts > 1, "{parts}");
    assert!(other.part(parts).await.unwrap().is_none());
    all.insert(name(650));
    assert_eq!(all, (0..700).map(name).collect());
    let behind = Deltas::new(app.clone()).after(one.revision).await.unwrap();
    let behind = wire::ConfigUpdate::decode(&behind.shared[..]).unwrap();
    assert_eq!(behind.deletes, [name(650)]);
    assert_eq!(behind.revision, *app.store().revision().borrow());
}

#[tokio::test]
async fn nodes_at_one_revision_go_on_to_the_same_one() {
    let dir = tempfile::tempdir().unwrap();
    let app = app(dir.path()).await;
    let before = *app.store().revision().borrow();
    let deltas = Deltas::new(app.clone());
    create_key(&app, "a").await;
    let first = deltas.after(before).await.unwrap();
    create_key(&app, "b").await;
    let late = deltas.after(before).await.unwrap();
    assert_eq!(late.shared.as_ptr(), first.shared.as_ptr());
    assert_eq!(first.to, before + 1);
    let rest = deltas.after(first.to).await.unwrap();
    assert_eq!(rest.to, before + 2);
    assert_eq!(
        names(&rest.shared).into_iter().collect::<Vec<_>>(),
        ["projects/default/apiKeys/b"]
    );
}

fn node(id: &str) -> NodeId {
    id.parse().unwrap()
}

/// An execution that is under way at a node.
async fn begin(app: &App, execution: &str, at: &NodeId) {
    let name = format!("projects/default/executions/{execution}");
    let record = wire::Record {
        sequence: 1,
        time: Some(convert::time::to_wire(jiff::Timestamp::now())),
        body: Some(wire::record::Body::Accepted(wire::Accepted {
            execution: name,
            workflow: "projects/default/workflows/w".to_owned(),
            workflow_version: 1,
            trigger: signalbox_proto::v1::TriggerKind::Webhook.into(),
            message_id: execution.to_owned(),
            scope_json: r#"{"message":"m","messageId":"m","timestamp":"2026-11-26T12:00:00Z","attributes":{}}"#.to_owned(),
            receive_time: Some(convert::time::to_wire(jiff::Timestamp::now())),
            ..Default::default()
        })),
        ..Default::default()
    };
    let record: SequencedRecord = convert::record::from_wire(record).unwrap();
    app.apply_records(at, "i", &[record], 1, |name, source| {
        convert::definition::decode(source, &name.project)
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn only_the_node_that_an_errand_is_for_is_woken() {
    let dir = tempfile::tempdir().unwrap();
    let app = app(dir.path()).await;
    let (n1, n2) = (node("n1"), node("n2"));
    for (node, stream) in [(&n1, "s1"), (&n2, "s2")] {
        app.node_connected(node, Arrival::by(stream, 0))
            .await
            .unwrap();
    }
    let shutdown = Shutdown::new();
    let streams = Streams::new(app.clone());
    let (one, other) = (streams.enter(&n1, "s1"), streams.enter(&n2, "s2"));
    let task = tokio::spawn(streams.clone().wake(shutdown.clone()));
    for (execution, at) in [("e1", &n1), ("e2", &n2)] {
        begin(&app, execution, at).await;
    }
    let name = "projects/default/executions/e2".parse().unwrap();
    app.cancel_execution(&actor(), &name, Cancel::Ask)
        .await
        .unwrap();
    tokio::time::timeout(PATIENCE, other.called())
        .await
        .expect("nobody called");
    let called = tokio::time::timeout(QUIET, one.called()).await;
    assert!(called.is_err(), "it is another's errand");
    shutdown.stop();
    task.await.unwrap();
}

#[tokio::test]
async fn what_was_heard_is_written_down_and_an_older_stream_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let app = app(dir.path()).await;
    let (n1, n2) = (node("n1"), node("n2"));
    for (node, stream) in [(&n1, "old"), (&n2, "s2")] {
        app.node_connected(node, Arrival::by(stream, 0))
            .await
            .unwrap();
    }
    let shutdown = Shutdown::new();
    let streams = Streams::new(app.clone());
    let task = tokio::spawn(streams.clone().note(shutdown.clone()));
    let (old, other) = (streams.enter(&n1, "old"), streams.enter(&n2, "s2"));
    // The node has come to another replica.
    app.node_connected(&n1, Arrival::by("new", 0))
        .await
        .unwrap();
    old.heard(Some(3));
    other.heard(Some(4));
    other.heard(None);
    tokio::time::timeout(PATIENCE, old.superseded())
        .await
        .expect("nobody told it");
    // To the same replica: it is told at once.
    let here = streams.enter(&n2, "s3");
    tokio::time::timeout(PATIENCE, other.superseded())
        .await
        .expect("nobody told it");
    // The older one goes, and the newer one stays.
    drop(other);
    here.heard(None);
    streams.gone(&n2, "s3", &shutdown).await;
    shutdown.stop();
    task.await.unwrap();
    let applied = app.node(&n2).await.unwrap().applied_revision;
    assert_eq!(
        (applied, app.node(&n1).await.unwrap().applied_revision),
        (4, 0)
    );
    let heard = Heard {
        node: n1,
        stream: "new".to_owned(),
        applied: None,
    };
    let superseded = app.nodes_heard(&[heard]).await.unwrap();
    assert!(superseded.is_empty(), "{superseded:?}");
}
