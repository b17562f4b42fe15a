//! `migrate`, `backup`, `restore` and `move`: while a node goes on accepting, nothing that was reported is lost, and nothing is
//! done twice.

use std::{collections::BTreeSet, process::Output, time::Duration};

use signalbox_proto::v1::{ExecutionState, RevokeApiKeyRequest};
use signalbox_test_postgres::Postgres;
use signalbox_tests::{
    api::Api,
    planes::{Options, Planes},
    wait,
};

const LIMIT: Duration = Duration::from_secs(60);
const SPEC: &str = "
trigger:
  webhook:
    apiKeys: [sender]
steps:
  - id: only
    transform:
      expression: event.json.n
";

/// SQLite, whatever the others run on.
fn options() -> Options {
    Options {
        control_plane: Vec::new(),
        sqlite: true,
        ..Options::default()
    }
}

async fn post(url: &str, id: &str) -> u16 {
    let request = reqwest::Client::new()
        .post(url)
        .header("idempotency-key", id)
        .json(&serde_json::json!({"n": id}));
    request
        .send()
        .await
        .map_or(0, |answer| answer.status().as_u16())
}

async fn send(url: &str, ids: std::ops::Range<usize>) -> BTreeSet<String> {
    let mut sent = BTreeSet::new();
    for id in ids {
        let id = format!("m{id}");
        let answered = wait::until("the message to be taken", LIMIT, || async {
            match post(url, &id).await {
                200 => Ok(()),
                other => Err(other.to_string()),
            }
        });
        answered.await;
        sent.insert(id);
    }
    sent
}

async fn are_there(api: &Api, expected: &BTreeSet<String>) {
    wait::until("all executions", LIMIT, || async {
        let all = api.all_executions("").await.map_err(|s| s.to_string())?;
        let done = all
            .iter()
            .filter(|it| it.state() == ExecutionState::Succeeded);
        let done: BTreeSet<String> = done.map(|it| it.message_id.clone()).collect();
        if &done == expected && all.len() == expected.len() {
            Ok(())
        } else {
            Err(format!(
                "{} of {}, expected {}",
                done.len(),
                all.len(),
                expected.len()
            ))
        }
    })
    .await;
}

fn said(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}

#[track_caller]
fn done(output: &Output) -> String {
    assert!(output.status.success(), "{}", said(output));
    said(output)
}

#[track_caller]
fn refused(output: &Output, expected: &str) {
    assert_eq!(output.status.code(), Some(64), "{}", said(output));
    assert!(said(output).contains(expected), "{}", said(output));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_put_back_and_the_nodes_go_on_from_it() {
    let (mut planes, api) = Planes::start(options()).await;
    let key = api.create_key("sender").await;
    let lost = api.create_key("lost").await;
    api.create_workflow("hook", &SPEC.replace("sender", "sender, lost"))
        .await;
    let url = planes.endpoint("hook", "webhook", &key);
    let before = send(&url, 0..20).await;
    are_there(&api, &before).await;

    // While both planes run, and messages come.
    let file = planes.dir().join("backup.sqlite");
    let path = file.to_str().unwrap();
    let (sent, backup) = tokio::join!(send(&url, 20..40), async {
        tokio::task::block_in_place(|| planes.control.maintain(&["backup", path]))
    });
    assert!(done(&backup).contains("revision"));
    refused(
        &planes.control.maintain(&["backup", path]),
        "exists: nothing is overwritten",
    );
    refused(
        &planes.control.maintain(&["restore", path]),
        "is in use by process",
    );
    are_there(&api, &before.union(&sent).cloned().collect()).await;
    // After it: a key is revoked, which the back-up does not know.
    let request = RevokeApiKeyRequest {
        name: "projects/default/apiKeys/lost".into(),
        ..Default::default()
    };
    api.keys().revoke_api_key(request).await.unwrap();
    let url_of_lost = planes.endpoint("hook", "webhook", &lost);
    wait::until("the key to be refused", LIMIT, || async {
        match post(&url_of_lost, "x").await {
            401 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;

    planes.control.terminate(Duration::from_secs(20));
    planes.control.kill();
    refused(
        &planes.control.maintain(&["restore", path]),
        "exists: nothing is overwritten",
    );
    for suffix in ["", "-wal", "-shm"] {
        let name = format!("control-plane.sqlite{suffix}");
        let _ = std::fs::remove_file(planes.control.data_dir.join(name));
    }
    refused(
        &planes.control.maintain(&["restore", "/nowhere"]),
        "/nowhere cannot be read",
    );
    let damaged = planes.dir().join("damaged.sqlite");
    std::fs::write(&damaged, vec![7; 8192]).unwrap();
    let damaged = damaged.to_str().unwrap();
    refused(
        &planes.control.maintain(&["restore", damaged]),
        "is no database",
    );
    // The node goes on meanwhile.
    let meanwhile = send(&url, 40..50).await;
    done(&planes.control.maintain(&["restore", path]));
    planes.control.start().await;

    // The node takes what the back-up says: the key works again. What was reported since is not there; all else is, once.
    wait::until("the key to work again", LIMIT, || async {
        match post(&url_of_lost, "y").await {
            200 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
    let after = send(&url, 50..60).await;
    let api = planes.api("admin");
    api.synced(LIMIT).await;
    wait::until("what must be there", LIMIT, || async {
        let all = api.all_executions("").await.map_err(|s| s.to_string())?;
        let found: BTreeSet<String> = all.iter().map(|it| it.message_id.clone()).collect();
        let missing = |of: &BTreeSet<String>| of.difference(&found).cloned().collect::<Vec<_>>();
        let missing = [&before, &meanwhile, &after].map(missing).concat();
        if !missing.is_empty() {
            return Err(format!("missing: {missing:?}"));
        }
        assert_eq!(found.len(), all.len(), "none twice");
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_it_moves_to_postgresql_once_and_goes_on_there() {
    let (mut planes, api) = Planes::start(options()).await;
    let key = api.create_key("sender").await;
    api.create_workflow("hook", SPEC).await;
    let url = planes.endpoint("hook", "webhook", &key);
    let mut sent = send(&url, 0..100).await;
    are_there(&api, &sent).await;
    let postgres = Postgres::start();
    let to = postgres.url();
    refused(
        &planes.control.maintain(&["move", "--to", &to]),
        "is in use by process",
    );
    planes.control.terminate(Duration::from_secs(20));
    planes.control.kill();
    assert!(done(&planes.control.maintain(&["migrate", "--check"])).contains("up to date"));
    sent.extend(send(&url, 100..120).await);

    // What is not as it must be moves nothing.
    refused(
        &planes.control.maintain(&["move", "--to", "sqlite:///x"]),
        "must be a URL",
    );
    let check = ["migrate", "--check", "--database-url", &to];
    let pending = planes.control.maintain(&check);
    assert_eq!(pending.status.code(), Some(1), "{}", said(&pending));
    assert!(done(&planes.control.maintain(&check[..1])).contains("up to date"));
    done(&planes.control.maintain(&["migrate", "--database-url", &to]));
    done(&planes.control.maintain(&check));
    let _ = postgres.sql("INSERT INTO certificates VALUES ('s', 'p'); SELECT 1");
    refused(
        &planes.control.maintain(&["move", "--to", &to]),
        "its table certificates has rows",
    );
    let _ = postgres.sql("DELETE FROM certificates; SELECT 1");

    let moved = done(&planes.control.maintain(&["move", "--to", &to]));
    assert!(moved.contains("moved, and verified"), "{moved}");
    assert!(moved.contains("executions: 100 rows"), "{moved}");
    assert_eq!(postgres.sql("SELECT count(*) FROM executions"), "100");
    refused(
        &planes.control.maintain(&["move", "--to", &to]),
        "was moved to",
    );
    refused(&planes.control.maintain(&["migrate"]), "was moved to");
    refused(
        &planes
            .control
            .maintain(&["backup", "x", "--database-url", &to]),
        "pg_dump",
    );

    planes.control.add_args(["--database-url", &to]);
    planes.control.start().await;
    let api = planes.api("admin");
    are_there(&api, &sent).await;
    sent.extend(send(&url, 120..140).await);
    are_there(&api, &sent).await;
    // What was acknowledged before the move is not reported again; ids go on.
    assert_eq!(
        api.keys()
            .reveal_api_key(signalbox_proto::v1::RevealApiKeyRequest {
                name: "projects/default/apiKeys/sender".into(),
            })
            .await
            .unwrap()
            .into_inner()
            .value,
        key
    );
    let audited = postgres.sql(
        "SELECT count(*) > 1 AND max(sequence) = count(*) FROM audit_entries WHERE scope = 'projects/default'",
    );
    assert_eq!(audited, "t");
    let cli = signalbox_tests::cli::Cli::new(&planes.control, "admin");
    let verified = cli.ok(&["audit", "verify"]).await;
    assert!(verified.contains("is whole"));

    // A database that PostgreSQL's own tools put back is another for the nodes.
    planes.control.terminate(Duration::from_secs(20));
    planes.control.kill();
    let incarnation = "SELECT label FROM counters WHERE name = 'revision'";
    let before = postgres.sql(incarnation);
    done(&planes.control.maintain(&["restore", "--database-url", &to]));
    assert_ne!(postgres.sql(incarnation), before);
    planes.control.start().await;
    sent.extend(send(&url, 140..150).await);
    are_there(&api, &sent).await;
}
