//! The audit log from outside: who did what, in which trace; `signalbox audit verify` over a database that was tampered with.

use std::process::Command;

use serde_json::Value;
use signalbox_proto::v1::{
    CreateApiKeyRequest, CreateApprovalLinksRequest, ExecutionState, RevealApiKeyRequest,
    RunWorkflowRequest,
};
use signalbox_tests::{
    cli::Cli,
    planes::{Options, Planes},
    process::{binary, free_port},
};
use tonic::Request;

const TRACE_ID: &str = "0af7651916cd43dd8448eb211c80319c";
const ASK: &str = r#"
trigger: {manual: {}}
steps: [{id: ask, approval: {message: "Ship?"}}]
"#;

fn traced<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    let parent = format!("00-{TRACE_ID}-b7ad6b7169203331-01");
    request
        .metadata_mut()
        .insert("traceparent", parent.parse().unwrap());
    request
}

/// What the log says, newest first.
async fn entries(cli: &Cli, more: &[&str]) -> Vec<Value> {
    let listed = cli
        .ok(&[&["audit", "list", "-o", "json"], more].concat())
        .await;
    serde_json::from_str(&listed).unwrap()
}

/// Whoever has the database may do to it what they like.
fn tamper(planes: &Planes, statements: &str) {
    let database = planes.control.data_dir.join("control-plane.sqlite");
    let script = "import sqlite3, sys\nwith sqlite3.connect(sys.argv[1]) as db: db.executescript(sys.argv[2])";
    let done = Command::new("python3")
        .args(["-c", script])
        .arg(database)
        .arg(statements)
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_says_who_did_what_and_in_which_trace() {
    let port = free_port();
    let (mut planes, api) = Planes::start(Options {
        control_plane: vec![
            "--public-url".to_owned(),
            format!("http://127.0.0.1:{port}"),
        ],
        control_plane_port: Some(port),
        ..Options::default()
    })
    .await;
    let cli = Cli::new(&planes.control, "admin");
    let request_id = uuid::Uuid::new_v4().to_string();
    let create = CreateApiKeyRequest {
        parent: "projects/default".into(),
        api_key_id: "pager".into(),
        request_id: request_id.clone(),
        ..Default::default()
    };
    let made = api
        .keys()
        .create_api_key(create)
        .await
        .unwrap()
        .into_inner();
    let reveal = RevealApiKeyRequest {
        name: "projects/default/apiKeys/pager".into(),
    };
    api.keys().reveal_api_key(traced(reveal)).await.unwrap();

    // Who decides by a link has no token: the link says whom it was made for.
    api.create_workflow("ask", ASK).await;
    let run = RunWorkflowRequest {
        name: "projects/default/workflows/ask".into(),
        ..Default::default()
    };
    let run = api
        .workflows()
        .run_workflow(run)
        .await
        .unwrap()
        .into_inner();
    api.execution_in(&run.name, ExecutionState::Waiting).await;
    let links = CreateApprovalLinksRequest {
        name: run.name.clone(),
        step: String::new(),
        label: "ann".into(),
    };
    let links = api.executions().create_approval_links(links).await;
    let links = links.unwrap().into_inner();
    let pressed = reqwest::Client::new().post(&links.approve_url).send().await;
    assert!(pressed.unwrap().status().is_success());

    let all = entries(&cli, &[]).await;
    let said: Vec<_> = all
        .iter()
        .rev()
        .map(|entry| {
            (
                entry["actor"].as_str().unwrap(),
                entry["action"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        said,
        [
            ("operator", "CreateApiKey"),
            ("operator", "RevealApiKey"),
            ("operator", "CreateWorkflow"),
            ("operator", "RunWorkflow"),
            ("operator", "CreateApprovalLinks"),
            ("link:ann", "SignalExecution"),
        ]
    );
    let created = all.last().unwrap();
    assert_eq!(created["requestId"], request_id);
    let revealed = entries(&cli, &["--filter", &format!("trace_id == \"{TRACE_ID}\"")]).await;
    assert_eq!(revealed.len(), 1, "{revealed:?}");
    assert_eq!(revealed[0]["resource"], "projects/default/apiKeys/pager");
    let text = format!("{all:?}");
    assert!(
        !text.contains(&made.value) && !text.contains("eyJ"),
        "{text}"
    );
    let table = cli.ok(&["audit", "list", "--limit", "1"]).await;
    assert!(
        table.contains("link:ann") && table.contains("decision: \"APPROVED\""),
        "{table}"
    );
    let wrong = cli
        .run(&["audit", "list", "--filter", "who == \"ann\""])
        .await;
    assert_eq!(wrong.code, Some(65), "{wrong:?}");
    let editor = Cli::new(&planes.control, "editor")
        .run(&["audit", "verify"])
        .await;
    assert_eq!(editor.code, Some(77), "{editor:?}");

    // The rotation of the master key belongs to no project.
    planes.control.kill();
    let mut rotate = Command::new(binary("signalbox-control-plane"));
    rotate
        .arg("rotate-master-key")
        .arg("--data-dir")
        .arg(&planes.control.data_dir);
    if let Some(postgres) = planes.postgres() {
        rotate.args(["--database-url", &postgres.url()]);
    }
    let rotated = rotate.output().unwrap();
    assert!(rotated.status.success(), "{rotated:?}");
    planes.control.start().await;
    let installation = entries(&cli, &["--installation"]).await;
    assert_eq!(installation[0]["action"], "RotateMasterKey");
    let verified = cli.ok(&["audit", "verify", "--installation"]).await;
    assert!(
        verified.contains("the installation is whole: 1 entries"),
        "{verified}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn verify_finds_what_was_done_to_the_database() {
    let mut planes = Planes::new(Options {
        // What is tampered with is the file.
        sqlite: true,
        ..Options::default()
    });
    planes.control.start().await;
    let cli = Cli::new(&planes.control, "admin");
    let empty = cli.ok(&["audit", "verify"]).await;
    assert!(empty.ends_with("0 entries\nhead none\n"), "{empty}");
    for id in ["k1", "k2", "k3", "k4", "k5"] {
        cli.ok(&["keys", "create", id]).await;
    }
    let whole = cli.ok(&["audit", "verify"]).await;
    assert!(
        whole.starts_with("the audit log of projects/default is whole: 5 entries\n"),
        "{whole}"
    );
    let head = whole
        .lines()
        .last()
        .unwrap()
        .strip_prefix("head ")
        .unwrap()
        .to_owned();
    assert!(head.starts_with("5:"), "{head}");
    // Later entries come after a head that was noted.
    cli.ok(&["keys", "reveal", "k1"]).await;
    cli.ok(&["audit", "verify", "--head", &head]).await;

    planes.control.kill();
    tamper(
        &planes,
        "DROP TRIGGER audit_entries_no_update; DROP TRIGGER audit_entries_no_delete; \
         UPDATE audit_entries SET resource = 'projects/default/apiKeys/k9' WHERE sequence = 3;",
    );
    planes.control.start().await;
    let broken = cli.run(&["audit", "verify"]).await;
    assert_eq!(broken.code, Some(1), "{broken:?}");
    assert!(
        broken.stderr.contains("entry 3 is not as it was written"),
        "{broken:?}"
    );
    assert_eq!(broken.stdout, "");

    // Cut off so that what is left is a chain, and the counter with it: only a head that was noted tells.
    planes.control.kill();
    tamper(
        &planes,
        "UPDATE audit_entries SET resource = 'projects/default/apiKeys/k3' WHERE sequence = 3; \
         DELETE FROM audit_entries WHERE sequence > 4;",
    );
    planes.control.start().await;
    let broken = cli.run(&["audit", "verify"]).await;
    assert_eq!(broken.code, Some(1), "{broken:?}");
    assert!(
        broken.stderr.contains("the entries end before entry 5"),
        "{broken:?}"
    );
    planes.control.kill();
    tamper(
        &planes,
        "UPDATE counters SET value = 4, label = (SELECT lower(hex(hash)) FROM audit_entries WHERE sequence = 4) \
         WHERE name = 'audit:projects/default';",
    );
    planes.control.start().await;
    cli.ok(&["audit", "verify"]).await;
    let broken = cli.run(&["audit", "verify", "--head", &head]).await;
    assert_eq!(broken.code, Some(1), "{broken:?}");
    assert!(
        broken.stderr.contains("the entries end before entry 5"),
        "{broken:?}"
    );
}
