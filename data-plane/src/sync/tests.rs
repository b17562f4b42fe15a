#![allow(clippy::unwrap_used, clippy::expect_used)]

mod cancel;
mod hub;
mod retiring;
mod secrets;
mod signals;

use std::path::Path;

use signalbox_model::{
    config::Revision,
    event::{Event, EventScope, SignatureProof, TriggerKind},
    execution::{Fact, JsonText, StepState},
    ids::WorkflowName,
    record::{Accepted, RecordBody},
};
use signalbox_proto::v1;
use tempfile::TempDir;
use wire::{sync_request::Message as FromNode, sync_response::Message as ToNode};

use self::hub::{Connection, Hub, PATIENCE, key, snapshot, workflow};
use super::*;
use crate::spool::{SqliteSpool, SqliteSpoolConfig};

const LINK_PUBLIC_KEY: &[u8] = &[9; 32];

/// A node without anything but its end of the stream.
struct Node {
    dir: TempDir,
    config: Arc<ConfigStore>,
    spool: Arc<SqliteSpool>,
    taking: Shutdown,
    shutdown: Shutdown,
}

fn store(dir: &Path) -> Arc<ConfigStore> {
    Arc::new(ConfigStore::open(dir, decode_resource).unwrap())
}

impl Node {
    fn start(endpoint: &str) -> Self {
        Self::start_with(endpoint, Timing::default(), tempfile::tempdir().unwrap())
    }

    fn start_with(endpoint: &str, timing: Timing, dir: TempDir) -> Self {
        let config = store(dir.path());
        let key = Arc::new(KeyPair::generate().unwrap());
        Self::start_on(endpoint, timing, dir, config, key)
    }

    fn start_on(
        endpoint: &str,
        timing: Timing,
        dir: TempDir,
        config: Arc<ConfigStore>,
        key: Arc<KeyPair>,
    ) -> Self {
        let spool = SqliteSpool::open(dir.path(), SqliteSpoolConfig::default());
        let spool = Arc::new(spool.unwrap());
        let (taking, shutdown) = (Shutdown::new(), Shutdown::new());
        let client = SyncClient {
            node: "n1".parse().unwrap(),
            client: Client::new(signalbox_client::ClientConfig::new(endpoint)).unwrap(),
            config: config.clone(),
            spool: spool.clone(),
            deduplication_window: Duration::from_secs(3600),
            cancels: Arc::default(),
            wakes: Arc::default(),
            key,
            taking: taking.clone(),
            link_public_key: Bytes::from_static(LINK_PUBLIC_KEY),
        };
        tokio::spawn(client.run_with(timing, shutdown.clone()));
        Self {
            dir,
            config,
            spool,
            taking,
            shutdown,
        }
    }

    fn revision(&self) -> Revision {
        self.config.current().revision
    }

    fn has(&self, id: &str) -> Option<u64> {
        let name: WorkflowName = format!("projects/default/workflows/{id}").parse().unwrap();
        let current = self.config.current();
        current
            .workflow(&name)
            .map(|workflow| workflow.published.as_ref().unwrap().number)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.shutdown.stop();
    }
}

/// A manual run of `w`, version 3, as the execution `e1`.
fn manual_run() -> wire::Command {
    wire::Command {
        command_id: "run-1".into(),
        lease: None,
        kind: Some(wire::command::Kind::Run(wire::RunCommand {
            execution: "projects/default/executions/e1".into(),
            workflow: "projects/default/workflows/w".into(),
            workflow_version: 3,
            input_json: "{}".into(),
            request_time: Some(convert::time::to_wire(jiff::Timestamp::now())),
            ..wire::RunCommand::default()
        })),
    }
}

#[tokio::test]
async fn a_snapshot_then_changes_each_acknowledged_when_it_is_on_disk() {
    let mut hub = Hub::start().await;
    let node = Node::start(&hub.endpoint);
    let (mut hello, mut connection) = hub.hello().await;
    assert_eq!(hello.node_id, "n1");
    assert_eq!((hello.incarnation.as_str(), hello.revision), ("", 0));
    assert!(!hello.version.is_empty());
    assert_eq!(hello.link_public_key, LINK_PUBLIC_KEY);

    let mut part = snapshot("1", 3, vec![key("a", 1)]);
    part.last = false;
    connection.send(ToNode::Config(part)).await;
    let rest = snapshot("1", 3, vec![workflow("w", 1)]);
    connection.send(ToNode::Config(rest)).await;
    let ack = connection.answer().await;
    let expected = wire::Ack {
        nonce: "1".into(),
        revision: 3,
    };
    assert_eq!(ack, FromNode::Ack(expected));
    // Durable before it is acknowledged.
    assert_eq!(store(node.dir.path()).current().revision, Revision(3));

    let mut change = snapshot("2", 4, vec![workflow("w", 2)]);
    change.snapshot = false;
    change.deletes = vec!["projects/default/apiKeys/a".into()];
    connection.send(ToNode::Config(change)).await;
    let ack = connection.answer().await;
    assert!(matches!(ack, FromNode::Ack(wire::Ack { revision: 4, .. })));
    assert_eq!(node.has("w"), Some(2));
    assert_eq!(node.config.current().len(), 1, "the key is gone");

    // Whatever becomes of the connection, the next begins where this one ended.
    drop(connection);
    (hello, connection) = hub.hello().await;
    assert_eq!((hello.incarnation.as_str(), hello.revision), ("i", 4));
    drop(connection);
}

#[tokio::test]
async fn what_a_node_refuses_it_names_and_keeps_as_it_was() {
    let mut hub = Hub::start().await;
    let node = Node::start(&hub.endpoint);
    let (_, mut connection) = hub.hello().await;
    let first = snapshot("1", 1, vec![workflow("w", 1), workflow("x", 1)]);
    connection.send(ToNode::Config(first)).await;
    connection.answer().await;

    let bad = hub::bad_workflow("w", 2);
    let next = snapshot("2", 2, vec![bad.clone(), workflow("x", 2)]);
    connection.send(ToNode::Config(next)).await;
    let FromNode::Nack(nack) = connection.answer().await else {
        panic!("acknowledged");
    };
    assert_eq!((nack.nonce.as_str(), nack.revision), ("2", 2));
    assert_eq!(nack.refused.len(), 1);
    assert_eq!(nack.refused[0].resource, "projects/default/workflows/w");
    assert!(nack.refused[0].reason.contains("steps"), "{nack:?}");
    assert_eq!((node.has("w"), node.has("x")), (Some(1), Some(2)));
    let on_disk = store(node.dir.path()).current();
    assert_eq!(on_disk.len(), 2, "also after a restart");

    // One that it never had is known to be there, and not taken for unknown.
    let mut other = snapshot("3", 3, vec![hub::bad_workflow("new", 1)]);
    other.snapshot = false;
    connection.send(ToNode::Config(other)).await;
    connection.answer().await;
    let name = "projects/default/workflows/new".parse().unwrap();
    assert!(node.config.current().is_refused(&name));
}

#[tokio::test]
async fn a_new_node_takes_a_snapshot_at_once_and_names_later_what_it_cannot_run() {
    let mut hub = Hub::start().await;
    let node = Node::start(&hub.endpoint);
    let (_, mut connection) = hub.hello().await;
    let resources = vec![workflow("w", 1), hub::bad_workflow("x", 1)];
    connection
        .send(ToNode::Config(snapshot("1", 4, resources)))
        .await;
    let first = connection.answer().await;
    assert!(matches!(
        first,
        FromNode::Ack(wire::Ack { revision: 4, .. })
    ));
    let refused = async |connection: &mut Connection| {
        let FromNode::Nack(nack) = connection.answer().await else {
            panic!("acknowledged");
        };
        assert_eq!((nack.nonce.as_str(), nack.revision), ("", 4));
        assert_eq!(nack.refused.len(), 1);
        assert_eq!(nack.refused[0].resource, "projects/default/workflows/x");
        assert!(nack.refused[0].reason.contains("steps"), "{nack:?}");
    };
    refused(&mut connection).await;
    assert_eq!((node.has("w"), node.has("x")), (Some(1), Some(1)));

    // It says so on every stream: another control plane has not heard it.
    drop(connection);
    let (hello, mut connection) = hub.hello().await;
    assert_eq!(hello.revision, 4);
    refused(&mut connection).await;

    // What was read is not read again, and the last good state of what cannot be run stays.
    let resources = vec![workflow("w", 1), hub::bad_workflow("x", 1)];
    let known = node.config.current();
    connection
        .send(ToNode::Config(snapshot("2", 4, resources)))
        .await;
    let again = connection.answer().await;
    assert!(matches!(
        again,
        FromNode::Ack(wire::Ack { revision: 4, .. })
    ));
    refused(&mut connection).await;
    let name: WorkflowName = "projects/default/workflows/w".parse().unwrap();
    let front = |config: &crate::config::Snapshot| {
        let workflow = config.workflow(&name).unwrap();
        workflow.published.as_ref().unwrap().front.clone()
    };
    let now = node.config.current();
    assert!(!Arc::ptr_eq(&known, &now));
    assert!(Arc::ptr_eq(&front(&known), &front(&now)));
    let worse = snapshot("3", 5, vec![hub::bad_workflow("w", 2)]);
    connection.send(ToNode::Config(worse)).await;
    assert!(matches!(connection.answer().await, FromNode::Nack(_)));
    assert_eq!(node.has("w"), Some(1));
}

/// What the control plane ends streams with whose tokens have.
fn expired() -> Status {
    convert::status::to_status(signalbox_model::error::Error::Unauthenticated {
        reason: "TOKEN_EXPIRED",
        message: "the token has expired".to_owned(),
    })
}

#[tokio::test]
async fn a_stream_that_ends_with_its_token_is_opened_anew_where_it_was() {
    let (mut one, mut other) = (Hub::start().await, Hub::start().await);
    let _node = Node::start(&format!("{},{}", one.endpoint, other.endpoint));
    // Chance says which is the first; whoever fails is left.
    let (at, away) = tokio::select! {
        (_, connection) = one.hello() => (connection, false),
        (_, connection) = other.hello() => (connection, true),
    };
    if away {
        std::mem::swap(&mut one, &mut other);
    }
    tokio::time::sleep(LASTED).await;
    at.end(expired()).await;
    let (_, at) = one.hello().await;
    // One that ends at once is a failure like others: it is not opened again and again.
    at.end(expired()).await;
    other.hello().await;
}

#[tokio::test]
async fn where_links_lead_is_kept_as_it_was_said_last() {
    let mut hub = Hub::start().await;
    let node = Node::start(&hub.endpoint);
    let (_, mut connection) = hub.hello().await;
    let mut said = async |nonce: &str, url: Option<&str>| {
        let update = wire::ConfigUpdate {
            public_url: url.map(str::to_owned),
            ..snapshot(nonce, 1, vec![workflow("w", 1)])
        };
        connection.send(ToNode::Config(update)).await;
        let answer = connection.answer().await;
        assert!(matches!(answer, FromNode::Ack(_)), "{answer:?}");
        // What it says is on the disk before it is acknowledged.
        let urls = [&node.config, &store(node.dir.path())].map(|store| store.public_url());
        assert_eq!(urls[0], urls[1]);
        urls[0].as_deref().map(str::to_owned)
    };
    assert_eq!(said("1", None).await, None);
    let url = "https://box.example.com";
    assert_eq!(said("2", Some(url)).await.as_deref(), Some(url));
    // A control plane of an earlier version says nothing of it.
    assert_eq!(said("3", None).await.as_deref(), Some(url));
    let other = "https://other.example.com";
    assert_eq!(said("4", Some(other)).await.as_deref(), Some(other));
    assert_eq!(said("5", Some("")).await, None);
}

#[tokio::test]
async fn half_a_snapshot_changes_nothing() {
    let mut hub = Hub::start().await;
    let node = Node::start(&hub.endpoint);
    let (_, mut connection) = hub.hello().await;
    let whole = snapshot("1", 1, vec![workflow("w", 1)]);
    connection.send(ToNode::Config(whole)).await;
    connection.answer().await;
    let mut half = snapshot("2", 9, vec![workflow("x", 1)]);
    half.last = false;
    connection.send(ToNode::Config(half)).await;
    drop(connection);

    let (hello, mut connection) = hub.hello().await;
    assert_eq!(hello.revision, 1);
    assert_eq!((node.has("w"), node.has("x")), (Some(1), None));
    // Nothing of the half is left to be taken for a part of what follows.
    let whole = snapshot("2", 2, vec![workflow("y", 1)]);
    connection.send(ToNode::Config(whole)).await;
    connection.answer().await;
    assert_eq!((node.has("x"), node.has("y")), (None, Some(1)));
}

#[tokio::test]
async fn a_change_of_another_database_is_not_put_on_top() {
    let mut hub = Hub::start().await;
    let node = Node::start(&hub.endpoint);
    let (_, mut connection) = hub.hello().await;
    let first = snapshot("1", 5, vec![workflow("w", 1)]);
    connection.send(ToNode::Config(first)).await;
    connection.answer().await;
    for (incarnation, revision) in [("another", 6), ("i", 4)] {
        let mut change = snapshot("2", revision, vec![workflow("w", 2)]);
        change.snapshot = false;
        change.incarnation = incarnation.into();
        connection.send(ToNode::Config(change)).await;
        let hello;
        (hello, connection) = hub.hello().await;
        assert_eq!((hello.incarnation.as_str(), hello.revision), ("i", 5));
        assert_eq!(node.has("w"), Some(1));
    }
    // A snapshot of another database, also of a lower revision, is a new beginning.
    let mut other = snapshot("3", 2, vec![workflow("z", 1)]);
    other.incarnation = "another".into();
    connection.send(ToNode::Config(other)).await;
    connection.answer().await;
    assert_eq!((node.has("w"), node.has("z")), (None, Some(1)));
    assert_eq!(node.revision(), Revision(2));
}

#[tokio::test]
async fn a_silent_hub_is_left_and_a_node_says_that_it_is_alive() {
    let mut hub = Hub::start().await;
    let timing = Timing {
        heartbeat_interval: Duration::from_millis(20),
        silence_max: Duration::from_millis(300),
        ..Timing::default()
    };
    let node = Node::start_with(&hub.endpoint, timing, tempfile::tempdir().unwrap());
    let (_, mut connection) = hub.hello().await;
    // Heartbeats of the hub, and nothing else, keep the stream for longer than the silence it bears.
    let until = tokio::time::Instant::now() + 3 * timing.silence_max;
    while tokio::time::Instant::now() < until {
        assert!(matches!(connection.next().await, FromNode::Heartbeat(_)));
        let heartbeat = wire::Heartbeat::default();
        connection.send(ToNode::Heartbeat(heartbeat)).await;
    }
    assert!(hub.connections.try_recv().is_err(), "still the same stream");
    // Held open without a word: it is left for another.
    let (_, _other) = hub.hello().await;
    drop(connection);
    drop(node);
}

#[tokio::test]
async fn a_node_says_that_it_may_not_know_all_until_it_was_told_the_rest() {
    async fn until(what: &str, is: impl Fn() -> bool) {
        let reached = async {
            while !is() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, reached).await;
        waited.unwrap_or_else(|_| panic!("{what}"));
    }
    let mut hub = Hub::start().await;
    let timing = Timing {
        heartbeat_interval: Duration::from_secs(1),
        grace: Duration::from_millis(10),
        ..Timing::default()
    };
    let node = Node::start_with(&hub.endpoint, timing, tempfile::tempdir().unwrap());
    let is_lost = || node.config.contact().is_lost();
    let heartbeat = || ToNode::Heartbeat(wire::Heartbeat::default());
    let (_, mut connection) = hub.hello().await;
    // It waits for its turn, and is kept alive the while.
    connection.send(heartbeat()).await;
    connection.next().await;
    assert!(is_lost());
    let whole = snapshot("1", 1, vec![workflow("w", 1)]);
    connection.send(ToNode::Config(whole)).await;
    until("a snapshot is all there is", || !is_lost()).await;
    // The stream stands, and nobody speaks; then somebody does.
    until("a silent hub is missed", is_lost).await;
    connection.send(heartbeat()).await;
    until("a hub that speaks again is heard", || !is_lost()).await;
    drop(connection);
    until("a stream that ended is missed", is_lost).await;

    // Of changes, there may be more.
    let (hello, mut connection) = hub.hello().await;
    assert_eq!(hello.revision, 1);
    for revision in [2, 3] {
        let mut change = snapshot("2", revision, vec![workflow("w", revision)]);
        change.snapshot = false;
        connection.send(ToNode::Config(change)).await;
        connection.answer().await;
        assert!(is_lost());
    }
    connection.send(heartbeat()).await;
    until("the heartbeat behind them says that there are none", || {
        !is_lost()
    })
    .await;
    drop(connection);
    until("a stream that ended is missed", is_lost).await;

    let (_, connection) = hub.hello().await;
    let mut nothing = snapshot("1", 3, Vec::new());
    nothing.snapshot = false;
    connection.send(ToNode::Config(nothing)).await;
    until("nothing new is all there is", || !is_lost()).await;
}

#[tokio::test]
async fn a_run_is_answered_when_it_is_durable_and_happens_once() {
    let mut hub = Hub::start().await;
    let node = Node::start(&hub.endpoint);
    let (_, mut connection) = hub.hello().await;
    let first = snapshot("1", 1, vec![workflow("w", 3)]);
    connection.send(ToNode::Config(first)).await;
    connection.answer().await;

    let command = |id: &str, workflow: &str, version, input: &str| wire::Command {
        command_id: id.into(),
        lease: None,
        kind: Some(wire::command::Kind::Run(wire::RunCommand {
            execution: "projects/default/executions/e1".into(),
            workflow: format!("projects/default/workflows/{workflow}"),
            workflow_version: version,
            input_json: input.into(),
            request_time: Some(convert::time::to_wire(jiff::Timestamp::now())),
            ..Default::default()
        })),
    };
    let refusal = async |connection: &mut Connection, command: wire::Command| {
        let id = command.command_id.clone();
        connection.send(ToNode::Command(command)).await;
        let FromNode::CommandResult(result) = connection.answer().await else {
            panic!("no result");
        };
        assert_eq!(result.command_id, id);
        result.refusal
    };
    let input = r#"{"n":12345678901234567890}"#;
    for (id, workflow, version, input, why) in [
        ("1", "w", 2, input, "version 2"),
        ("2", "unknown", 3, input, "unknown"),
        ("3", "w", 3, "no json", "expected"),
    ] {
        let found = refusal(&mut connection, command(id, workflow, version, input)).await;
        assert!(found.contains(why), "{found}");
    }
    assert_eq!(node.spool.stats().unfinished_executions, 0);

    // The answer to the first may be lost: the hub then sends it again.
    for id in ["4", "4", "5"] {
        let found = refusal(&mut connection, command(id, "w", 3, input)).await;
        assert_eq!(found, "");
        assert_eq!(node.spool.stats().unfinished_executions, 1);
    }
    let other = refusal(&mut connection, command("6", "w", 3, "{}")).await;
    assert!(other.contains("another input"), "{other}");
    let claimed = node.spool.claim(10).await.unwrap();
    assert_eq!(claimed.len(), 1);
    let accepted = &claimed[0].accepted;
    assert_eq!(
        accepted.execution.to_string(),
        "projects/default/executions/e1"
    );
    assert_eq!(accepted.version, 3);
    assert_eq!(accepted.event.scope.message, input);
    assert_eq!(accepted.event.scope.message_id, "e1");
}

#[tokio::test]
async fn ticks_and_retries_bring_what_they_need() {
    let mut hub = Hub::start().await;
    let node = Node::start(&hub.endpoint);
    let (_, mut connection) = hub.hello().await;
    let mut refusal = async |kind: wire::command::Kind| {
        let command = wire::Command {
            command_id: "c".into(),
            lease: None,
            kind: Some(kind),
        };
        connection.send(ToNode::Command(command)).await;
        let FromNode::CommandResult(result) = connection.answer().await else {
            panic!("no result");
        };
        result.refusal
    };
    let spec = |yaml: &str| convert::json::from_yaml_str::<v1::WorkflowSpec>(yaml).unwrap();
    let good = spec("trigger: {manual: {}}\nsteps: [{id: a, transform: {expression: '1'}}]\n");
    let scheduled: jiff::Timestamp = "2026-11-24T10:00:00Z".parse().unwrap();
    let tick = wire::RunCommand {
        execution: "projects/default/executions/tick".into(),
        workflow: "projects/default/workflows/w".into(),
        workflow_version: 1,
        input_json: "null".into(),
        request_time: Some(convert::time::to_wire(jiff::Timestamp::now())),
        schedule_time: Some(convert::time::to_wire(scheduled)),
        spec: Some(good.clone()),
        ..Default::default()
    };
    // Nothing of it was published here.
    assert_eq!(refusal(wire::command::Kind::Run(tick)).await, "");

    let event = Event {
        trigger: TriggerKind::AmazonSns,
        api_key: None,
        scope: EventScope {
            message: "hi".into(),
            topic_arn: Some("arn:t".into()),
            message_id: "m".into(),
            ..EventScope::unread()
        },
        body: Bytes::from_static(b"{}"),
        content_type: None,
        source_address: Some("192.0.2.1".into()),
        signature: Some(SignatureProof {
            version: 2,
            signing_cert_url: "https://x".into(),
            certificate_sha256: "ab".into(),
        }),
        received_at: "2026-11-01T10:00:00Z".parse().unwrap(),
    };
    let accepted = Accepted {
        execution: "projects/default/executions/again".parse().unwrap(),
        workflow: "projects/default/workflows/w".parse().unwrap(),
        version: 4,
        event: event.clone(),
        parent: None,
    };
    let kept = Fact::StepKept {
        step: "a".parse().unwrap(),
        kind: "transform".into(),
        input: JsonText::from_value(&serde_json::Value::Null),
        state: StepState::Succeeded,
        output: Some(JsonText::from_value(&1.into())),
        error: None,
    };
    let facts = [Fact::Started, kept];
    let retry = wire::RetryCommand {
        accepted: Some(convert::record::accepted_to_wire(accepted)),
        spec: Some(good),
        facts: facts
            .iter()
            .map(|fact| wire::ExecutionFact {
                execution: String::new(),
                fact: Some(convert::record::fact_to_wire(fact.clone())),
            })
            .collect(),
        traceparent: String::new(),
    };
    let broken = wire::RetryCommand {
        spec: Some(spec("trigger: {manual: {}}\n")),
        ..retry.clone()
    };
    let why = refusal(wire::command::Kind::Retry(broken)).await;
    assert!(why.contains("cannot run the definition"), "{why}");
    for _ in 0..2 {
        let done = refusal(wire::command::Kind::Retry(retry.clone())).await;
        assert_eq!(done, "");
    }

    let claimed = node.spool.claim(10).await.unwrap();
    let [tick, again] = &claimed[..] else {
        panic!("{claimed:?}");
    };
    assert_eq!(tick.accepted.event.trigger, TriggerKind::Schedule);
    let scope = &tick.accepted.event.scope;
    assert_eq!(scope.timestamp, "2026-11-24T10:00:00Z");
    assert_eq!(scope.message_id, scope.timestamp);
    assert_eq!(again.accepted.event, event);
    let journal = again.journal.iter().map(|record| match &record.body {
        RecordBody::Execution { fact, .. } => fact.clone(),
        other => panic!("{other:?}"),
    });
    assert_eq!(journal.collect::<Vec<_>>(), facts);
}

#[tokio::test]
async fn a_hub_that_comes_later_is_found() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let node = Node::start(&format!("http://{address}"));
    assert!(!node.config.current().is_synced());
    let mut hub = Hub::start_at(address).await;
    let (_, mut connection) = hub.hello().await;
    let first = snapshot("1", 1, vec![workflow("w", 1)]);
    connection.send(ToNode::Config(first)).await;
    let answered = tokio::time::timeout(PATIENCE, connection.answer()).await;
    assert!(matches!(answered, Ok(FromNode::Ack(_))));
    assert!(node.config.current().is_synced());
}

#[tokio::test]
async fn a_hub_that_breaks_every_stream_is_not_called_in_a_tight_loop() {
    let mut hub = Hub::start().await;
    let node = Node::start(&hub.endpoint);
    let began = tokio::time::Instant::now();
    for _ in 0..4 {
        let (_, connection) = hub.hello().await;
        // Accepting a stream, even saying something in it, is no proof that it works.
        connection
            .send(ToNode::Heartbeat(wire::Heartbeat::default()))
            .await;
        connection.fail().await;
    }
    // 200 ms, 400 ms, 800 ms, before jitter.
    assert!(
        began.elapsed() >= Duration::from_millis(1400),
        "{:?}",
        began.elapsed()
    );
    drop(node);
}
