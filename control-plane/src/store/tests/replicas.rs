//! Several replicas at one PostgreSQL.

use std::time::{Duration, Instant};

use signalbox_model::execution::JsonText;

use super::*;
use crate::{
    app::{KeyChange, Refusal, Telling},
    store::{Errands, Heard},
};

/// How long what must come may take, on whatever machine.
const PATIENCE: Duration = Duration::from_secs(20);

async fn new_key(app: &App, id: &str) -> i64 {
    let id = id.parse().unwrap();
    let (row, _) = app
        .create_key(&actor(), &project(), &id, NewKey::default(), "")
        .await
        .unwrap();
    row.revision
}

/// A replica that follows the others.
async fn replica(postgres: &Postgres) -> (App, tokio::task::JoinHandle<()>) {
    let store = Store::open_url(&postgres.url()).await.unwrap();
    let follower = store.clone();
    let task = tokio::spawn(async move { follower.follow().await });
    (app(store), task)
}

async fn knows(app: &App, revision: i64) {
    let mut known = app.store().revision();
    let waited = tokio::time::timeout(PATIENCE, known.wait_for(|known| *known >= revision)).await;
    assert!(waited.is_ok_and(|found| found.is_ok()), "never told");
}

/// Until a channel says more than `before`.
async fn moves<T: PartialOrd>(mut channel: tokio::sync::watch::Receiver<T>, before: T, what: &str) {
    let waited = tokio::time::timeout(PATIENCE, channel.wait_for(|it| *it > before)).await;
    // What it gives holds the channel: it must not outlive this.
    assert!(waited.is_ok(), "nobody told of {what}");
}

/// The processes of PostgreSQL that listen, but for this statement's own.
const LISTENERS: &str = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'LISTEN%' \
                         AND pid <> pg_backend_pid()";

async fn listeners(postgres: &Postgres, count: usize) {
    let start = Instant::now();
    loop {
        let found = postgres.sql(LISTENERS);
        if found.lines().count() == count {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{found}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_start_at_once_migrate_once() {
    let postgres = Postgres::start();
    let url = postgres.url();
    let open = || Store::open_url(&url);
    let (a, b, c) = tokio::join!(open(), open(), open());
    let incarnations: BTreeSet<String> = [a, b, c]
        .into_iter()
        .map(|store| store.unwrap().incarnation().to_owned())
        .collect();
    assert_eq!(incarnations.len(), 1);
    let applied = postgres.sql("SELECT count(*), count(DISTINCT version) FROM seaql_migrations");
    let all = <signalbox_migrations::Migrator as sea_orm_migration::MigratorTrait>::migrations();
    assert_eq!(applied, format!("{0}|{0}", all.len()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_at_one_is_told_to_the_others_and_a_cut_connection_misses_nothing() {
    let postgres = Postgres::start();
    let (one, _) = replica(&postgres).await;
    let (other, following) = replica(&postgres).await;
    listeners(&postgres, 2).await;
    let mut took = Vec::new();
    for n in 0..50 {
        let revision = new_key(&one, &format!("k{n}")).await;
        let start = Instant::now();
        knows(&other, revision).await;
        took.push(start.elapsed());
    }
    took.sort();
    eprintln!(
        "told after the commit: p50 {:?}, p98 {:?}",
        took[25], took[49]
    );
    // A look finds it only once a second: so many that were quicker were told.
    assert!(took[40] < Duration::from_millis(500), "{took:?}");

    // What nodes are to be told is no counter.
    let errands = other.store().errands();
    let before = *errands.borrow();
    let wname: WorkflowName = "projects/default/workflows/w".parse().unwrap();
    let manual = spec("manual: {}", "'1'");
    one.create_workflow(&actor(), &project(), &wname.workflow, manual, true, "")
        .await
        .unwrap();
    one.run_workflow(&actor(), &wname, run("{}", ""), decode)
        .await
        .unwrap();
    moves(errands, before, "the command").await;
    let history = *one.store().history().borrow();
    moves(other.store().history(), history - 1, "the history").await;

    // The listeners' connections are cut while there are writes.
    for n in 0..10 {
        let errands = other.store().errands();
        let before = *errands.borrow();
        let cut = format!("SELECT count(pg_terminate_backend(pid)) FROM ({LISTENERS}) AS l");
        assert_ne!(postgres.sql(&cut), "0");
        let revision = new_key(&one, &format!("cut{n}")).await;
        knows(&other, revision).await;
        listeners(&postgres, 2).await;
        // Who listens anew does not know what was said, so nodes' errands are looked at.
        moves(errands, before, "errands").await;
    }

    // Without anybody who follows, nothing is known until it is looked at.
    following.abort();
    let _ = following.await;
    let revision = new_key(&one, "late").await;
    other.store().refresh().await.unwrap();
    assert_eq!(*other.store().revision().borrow(), revision);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_away_is_said_to_be_and_is_followed_again() {
    let postgres = Postgres::start();
    let (one, _) = replica(&postgres).await;
    let (other, _) = replica(&postgres).await;
    listeners(&postgres, 2).await;
    let mut trouble = other.store().trouble();
    assert_eq!(*trouble.borrow(), None);
    postgres.stop("fast");
    let away = trouble.wait_for(|it| *it == Some(Trouble::Unreachable));
    assert!(tokio::time::timeout(PATIENCE * 2, away).await.is_ok());
    let refused = one
        .create_key(
            &actor(),
            &project(),
            &"k".parse().unwrap(),
            NewKey::default(),
            "",
        )
        .await;
    assert!(
        matches!(refused, Err(Error::Unavailable { .. })),
        "{refused:?}"
    );
    postgres.start_again();
    let back = trouble.wait_for(Option::is_none);
    assert!(tokio::time::timeout(PATIENCE * 2, back).await.is_ok());
    let revision = new_key(&one, "k").await;
    knows(&other, revision).await;

    // Another state of the database in its place is none to go on with.
    let _ = postgres.sql("UPDATE counters SET label = 'another' WHERE name = 'revision'; SELECT 1");
    let replaced = trouble.wait_for(|it| *it == Some(Trouble::Replaced));
    assert!(tokio::time::timeout(PATIENCE, replaced).await.is_ok());
    assert!(other.store().refresh().await.is_err());
    // Who knows it writes nothing more, whatever it is; who does not know it yet, no configuration.
    let audits = postgres.sql("SELECT count(*) FROM audit_entries");
    let beat = other.nodes_heard(&[]).await;
    assert!(is_replaced(&beat), "{beat:?}");
    let store = Store::open_url(&postgres.url()).await.unwrap();
    let _ = postgres.sql("UPDATE counters SET label = 'third' WHERE name = 'revision'; SELECT 1");
    for app in [other, app(store)] {
        let id = "refused".parse().unwrap();
        let created = app
            .create_key(&actor(), &project(), &id, NewKey::default(), "")
            .await;
        assert!(is_replaced(&created), "{created:?}");
    }
    assert_eq!(postgres.sql("SELECT count(*) FROM audit_entries"), audits);
}

fn is_replaced<T>(result: &Result<T, Error>) -> bool {
    let reason = "DATABASE_REPLACED";
    matches!(result, Err(Error::OutOfService { reason: found, .. }) if *found == reason)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_streams_of_one_node_make_each_record_durable_once() {
    let postgres = Postgres::start();
    let (one, _) = replica(&postgres).await;
    let (other, _) = replica(&postgres).await;
    let shape = async |id: &str| {
        let name = format!("projects/default/executions/{id}");
        let detail = one.execution(&name.parse().unwrap()).await.unwrap();
        assert_eq!(detail.execution.state, "SUCCEEDED");
        let of_step = |(step, attempts): &(rows::StepRun, Vec<rows::Attempt>)| {
            let ended = attempts
                .iter()
                .filter(|attempt| attempt.end_time_us.is_some());
            (
                step.step.clone(),
                step.state.clone(),
                attempts.len(),
                ended.count(),
            )
        };
        detail.steps.iter().map(of_step).collect::<Vec<_>>()
    };
    let mut sequence = 0;
    let mut alone = Vec::new();
    for body in whole_execution("alone") {
        sequence += 1;
        alone.push(record(sequence, body));
    }
    one.apply_records(&node("n1"), "i", &alone, sequence, decode_any)
        .await
        .unwrap();
    let expected = shape("alone").await;
    for round in 0..20 {
        let first = sequence;
        let mut batch = Vec::new();
        for body in whole_execution(&format!("x{round}")) {
            sequence += 1;
            batch.push(record(sequence, body));
        }
        // The old stream has a part of what the new one brings, and is not done with it.
        let part = &batch[..batch.len() / 2];
        let middle = part.last().map_or(first, |record| record.sequence);
        let node = node("n1");
        let (old, new) = tokio::join!(
            one.apply_records(&node, "i", part, middle, decode_any),
            other.apply_records(&node, "i", &batch, sequence, decode_any)
        );
        let (old, new) = (old.unwrap(), new.unwrap());
        assert!(old == middle || old == sequence, "{old}");
        assert_eq!(new, sequence);
        assert_eq!(one.report_cursor(&node, "i").await.unwrap(), sequence);
        assert_eq!(shape(&format!("x{round}")).await, expected);
    }
    // One and the same certificate is reported by nodes that meet it at once.
    let certificate = |sequence| {
        let body = RecordBody::Certificate(Certificate {
            sha256: "new".into(),
            pem: "PEM".into(),
        });
        [record(sequence, body)]
    };
    let (records, others) = (certificate(1), certificate(1));
    let (n2, n3) = (node("n2"), node("n3"));
    let (a, b) = tokio::join!(
        one.apply_records(&n2, "i", &records, 1, decode_any),
        other.apply_records(&n3, "i", &others, 1, decode_any)
    );
    assert_eq!((a.unwrap(), b.unwrap()), (1, 1));
}

#[tokio::test]
async fn only_the_newest_stream_of_a_node_hands_out_and_says_that_it_has_gone() {
    each_database(async |store| {
        let app = app(store);
        let wname: WorkflowName = "projects/default/workflows/w".parse().unwrap();
        let manual = spec("manual: {}", "'1'");
        app.create_workflow(&actor(), &project(), &wname.workflow, manual, true, "")
            .await
            .unwrap();
        let n1 = node("n1");
        app.node_connected(&n1, Arrival::by("old", 1))
            .await
            .unwrap();
        assert!(app.hand_out(&n1, "old", true).await.unwrap().is_some());
        app.node_connected(&n1, Arrival::by("new", 1))
            .await
            .unwrap();
        app.run_workflow(&actor(), &wname, run("{}", ""), decode)
            .await
            .unwrap();
        assert!(app.hand_out(&n1, "old", false).await.unwrap().is_none());
        let heard = |stream: &str, applied| Heard {
            node: node("n1"),
            stream: stream.to_owned(),
            applied,
        };
        let gone = |stream: &str| [(node("n1"), stream.to_owned())];
        let old = app.nodes_heard(&[heard("old", Some(3))]).await.unwrap();
        assert_eq!(old, ["old"]);
        assert_eq!(app.node(&n1).await.unwrap().applied_revision, 1);
        app.nodes_disconnected(&gone("old")).await.unwrap();
        assert!(app.node(&n1).await.unwrap().connected);
        let handed = app.hand_out(&n1, "new", false).await.unwrap().unwrap();
        assert_eq!(handed.len(), 1);
        app.node_applied(&n1, 5, vec![refusal()]).await.unwrap();
        let none: [&str; 0] = [];
        let heard_by_new = app.nodes_heard(&[heard("new", None)]).await.unwrap();
        assert_eq!(heard_by_new, none);
        let row = app.node(&n1).await.unwrap();
        assert_eq!(row.applied_revision, 5);
        assert!(row.refusals_json.contains("too new"), "it is refused still");
        let heard_by_new = app.nodes_heard(&[heard("new", Some(6))]).await.unwrap();
        assert_eq!(heard_by_new, none);
        let row = app.node(&n1).await.unwrap();
        assert_eq!(
            (row.applied_revision, row.refusals_json.as_str()),
            (6, "[]")
        );
        // What the report stream and the sync stream note of a node does not meet.
        app.node_applied(&n1, 7, Vec::new()).await.unwrap();
        app.apply_records(&n1, "i", &[], 9, decode_any)
            .await
            .unwrap();
        let row = app.node(&n1).await.unwrap();
        assert_eq!((row.applied_revision, row.reported_sequence), (7, 9));
        assert!(row.connected);
        app.nodes_disconnected(&gone("new")).await.unwrap();
        assert!(!app.node(&n1).await.unwrap().connected);
    })
    .await;
}

fn refusal() -> Refusal {
    Refusal {
        resource: "projects/default/workflows/w".to_owned(),
        revision: 5,
        reason: "too new".to_owned(),
    }
}

#[tokio::test]
async fn a_thousand_nodes_are_noted_together() {
    each_database(async |store| {
        let app = app(store);
        let id = |n: usize| node(&format!("n{n}"));
        for n in 0..1_000 {
            let stream = format!("s{n}");
            app.node_connected(&id(n), Arrival::by(&stream, 1))
                .await
                .unwrap();
        }
        let heard: Vec<_> = (0..1_000)
            .map(|n| Heard {
                node: id(n),
                stream: match n % 10 {
                    0 => "another".to_owned(),
                    _ => format!("s{n}"),
                },
                applied: Some(2 + i64::try_from(n % 3).unwrap()),
            })
            .collect();
        assert_eq!(app.nodes_heard(&heard).await.unwrap().len(), 100);
        for n in [0, 1, 2, 3, 501, 999] {
            let applied = app.node(&id(n)).await.unwrap().applied_revision;
            let expected = match n % 10 {
                0 => 1,
                _ => 2 + i64::try_from(n % 3).unwrap(),
            };
            assert_eq!(applied, expected, "{n}");
        }
    })
    .await;
}

#[tokio::test]
async fn one_look_says_whom_there_is_something_to_tell() {
    each_database(async |store| {
        let app = app(store.clone());
        assert_eq!(store.open_errands().await.unwrap(), Errands::default());
        let wname: WorkflowName = "projects/default/workflows/w".parse().unwrap();
        let manual = spec("manual: {}", "'1'");
        app.create_workflow(&actor(), &project(), &wname.workflow, manual, true, "")
            .await
            .unwrap();
        app.run_workflow(&actor(), &wname, run("{}", ""), decode)
            .await
            .unwrap();
        assert!(store.open_errands().await.unwrap().has_free_commands);
        assert_eq!(app.commands_for(&node("n1"), false).await.unwrap().len(), 1);
        assert_eq!(store.open_errands().await.unwrap(), Errands::default());

        for (id, at) in [("e1", "n1"), ("e2", "n2"), ("e3", "n3")] {
            app.apply_records(&node(at), "i", &[record(1, accepted(id))], 1, decode_any)
                .await
                .unwrap();
            let name = format!("projects/default/executions/{id}").parse().unwrap();
            match id {
                "e3" => {}
                "e1" => drop(
                    app.cancel_execution(&actor(), &name, Cancel::Ask)
                        .await
                        .unwrap(),
                ),
                _ => {
                    let go = Telling::Named {
                        name: "go".parse().unwrap(),
                        payload: JsonText::try_from("1".to_owned()).unwrap(),
                    };
                    app.signal_execution(&actor(), &name, go, "", None)
                        .await
                        .unwrap();
                }
            }
        }
        let errands = store.open_errands().await.unwrap();
        assert!(!errands.has_free_commands);
        assert_eq!(errands.nodes.into_iter().collect::<Vec<_>>(), ["n1", "n2"]);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_at_two_replicas_at_once_are_one_after_the_other() {
    let postgres = Postgres::start();
    let (one, _) = replica(&postgres).await;
    let (other, _) = replica(&postgres).await;
    let revision = new_key(&one, "k").await;
    let name: ApiKeyName = "projects/default/apiKeys/k".parse().unwrap();
    let mut tag = etag(revision);
    for n in 0..20 {
        let change = |display: String| KeyChange {
            display_name: Some(display),
            ..KeyChange::default()
        };
        let who = actor();
        let (a, b) = tokio::join!(
            one.update_key(&who, &name, change(format!("a{n}")), &tag),
            other.update_key(&who, &name, change(format!("b{n}")), &tag)
        );
        let (won, lost) = match (a, b) {
            (Ok(won), Err(lost)) | (Err(lost), Ok(won)) => (won, lost),
            both => panic!("{both:?}"),
        };
        assert!(matches!(lost, Error::Stale { .. }), "{lost:?}");
        tag = etag(won.revision);
        assert_eq!(one.key(&name).await.unwrap().row, won);
    }
    // A request that is repeated while the first is under way makes nothing new.
    let wname: WorkflowName = "projects/default/workflows/w".parse().unwrap();
    let manual = spec("manual: {}", "'1'");
    one.create_workflow(&actor(), &project(), &wname.workflow, manual, true, "")
        .await
        .unwrap();
    for n in 0..20 {
        let request_id = uuid::Uuid::new_v4().to_string();
        let who = actor();
        let (a, b) = tokio::join!(
            one.run_workflow(&who, &wname, run("{}", &request_id), decode),
            other.run_workflow(&who, &wname, run("{}", &request_id), decode)
        );
        assert_eq!(a.unwrap().id, b.unwrap().id, "round {n}");
        let id = format!("r{n}").parse().unwrap();
        let project = project();
        let (a, b) = tokio::join!(
            one.create_key(&who, &project, &id, NewKey::default(), &request_id),
            other.create_key(&who, &project, &id, NewKey::default(), &request_id)
        );
        let ((_, a), (_, b)) = (a.unwrap(), b.unwrap());
        assert_eq!(a.expose(), b.expose(), "round {n}");
    }
    // Commands are each given to one of the nodes that ask at once.
    let (n1, n2) = (node("n1"), node("n2"));
    one.node_connected(&n1, Arrival::by("s1", 1)).await.unwrap();
    other
        .node_connected(&n2, Arrival::by("s2", 1))
        .await
        .unwrap();
    let mut handed = Vec::new();
    while handed.len() < 20 {
        let (a, b) = tokio::join!(
            one.hand_out(&n1, "s1", false),
            other.hand_out(&n2, "s2", false)
        );
        let commands = a.unwrap().into_iter().chain(b.unwrap()).flatten();
        handed.extend(commands.map(|command| command.id));
    }
    assert_eq!(handed.iter().collect::<BTreeSet<_>>().len(), 20);
    assert_eq!(handed.len(), 20);
}
