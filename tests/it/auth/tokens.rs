//! Our own tokens: revoked, and by keys that rotate while calls go on.

use std::{
    path::PathBuf,
    process::{Command, Output},
    time::Duration,
};

use signalbox_proto::{convert::status::ApiError, v1};
use signalbox_tests::{
    api::Api,
    planes::{Options, Planes},
    process::binary,
    wait,
};
use tonic::Code;

const LIMIT: Duration = Duration::from_secs(20);

/// `signalbox token …` with an admin's token.
fn token(planes: &Planes, admin: &str, arguments: &[&str]) -> Output {
    Command::new(binary("signalbox"))
        .arg("token")
        .args(arguments)
        .env("SIGNALBOX_ENDPOINT", &planes.control.endpoint)
        .env("SIGNALBOX_TOKEN", admin)
        .output()
        .unwrap()
}

#[track_caller]
fn ok(output: Output) -> String {
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{error}");
    String::from_utf8(output.stdout).unwrap()
}

fn file(planes: &Planes, name: &str, text: &str) -> String {
    let path: PathBuf = planes.dir().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

async fn list(planes: &Planes, token: &str) -> Result<(), ApiError> {
    let request = v1::ListApiKeysRequest {
        parent: "projects/default".into(),
        ..Default::default()
    };
    let listed = Api::new(&planes.control.endpoint, token)
        .keys()
        .list_api_keys(request)
        .await;
    listed.map(|_| ()).map_err(ApiError::from)
}

#[track_caller]
fn refused(result: Result<(), ApiError>, reason: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.code, Code::Unauthenticated);
    assert_eq!(error.reason.as_deref(), Some(reason));
}

/// At the process that was asked, which knows at once. How soon the others do is for the tests of replicas to say; and each has a
/// signing key of its own here.
fn one() -> Options {
    Options {
        one_replica: true,
        ..Options::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_token_is_refused_and_its_streams_end() {
    let mut planes = Planes::new(one());
    planes.control.start().await;
    let admin = planes.control.token("admin");
    let (lost, kept) = (
        planes.control.token("viewer"),
        planes.control.token("viewer"),
    );
    let watch = async |token: &str| {
        let request = v1::WatchExecutionsRequest {
            parent: "projects/default".into(),
            ..Default::default()
        };
        let api = Api::new(&planes.control.endpoint, token);
        api.executions()
            .watch_executions(request)
            .await
            .unwrap()
            .into_inner()
    };
    let (mut ends, mut goes_on) = (watch(&lost).await, watch(&kept).await);

    let lost_file = file(&planes, "lost.token", &lost);
    let arguments = [
        "revoke",
        "--of-file",
        &lost_file,
        "--reason",
        "left in a train",
    ];
    let said = ok(token(&planes, &admin, &arguments));
    assert!(said.starts_with("revoked "), "{said}");
    refused(list(&planes, &lost).await, "TOKEN_REVOKED");
    let status = tokio::time::timeout(Duration::from_secs(2), ends.message()).await;
    let status = status.expect("the stream ends").unwrap_err();
    refused(Err(ApiError::from(status)), "TOKEN_REVOKED");
    list(&planes, &kept).await.unwrap();
    let quiet = tokio::time::timeout(Duration::from_millis(300), goes_on.message()).await;
    assert!(quiet.is_err(), "another's stream goes on: {quiet:?}");

    let listed = ok(token(&planes, &admin, &["list-revoked"]));
    assert!(
        listed.contains("left in a train") && listed.lines().count() == 2,
        "{listed}"
    );
    // Only who may do everything everywhere may do this.
    let some = Command::new(binary("signalbox"))
        .args([
            "token",
            "create",
            "--role",
            "admin",
            "--project",
            "default",
            "--signing-key",
        ])
        .arg(planes.control.data_dir.join("jwt-signing-key.pem"))
        .output()
        .unwrap();
    let some = ok(some).trim().to_owned();
    let denied = token(&planes, &some, &["revoke", "an-id"]);
    assert_eq!(denied.status.code(), Some(77));

    planes.control.kill();
    planes.control.start().await;
    refused(list(&planes, &lost).await, "TOKEN_REVOKED");
    list(&planes, &kept).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_token_is_revoked_is_let_go() {
    let (mut planes, api) = Planes::start(Options::default()).await;
    let state = async || {
        let request = v1::ListNodesRequest::default();
        let listed = api.nodes().list_nodes(request).await;
        let nodes = listed
            .map_err(|status| status.to_string())?
            .into_inner()
            .nodes;
        nodes
            .first()
            .map(v1::Node::state)
            .ok_or_else(|| "no node".to_owned())
    };
    let becomes = async |wanted: v1::NodeState| {
        wait::until("the node's state", LIMIT, || async {
            match state().await? {
                found if found == wanted => Ok(()),
                found => Err(format!("{found:?}")),
            }
        })
        .await;
    };
    becomes(v1::NodeState::Connected).await;
    let node_file = planes.dir().join("data-plane.token");
    let admin = planes.control.token("admin");
    let arguments = ["revoke", "--of-file", node_file.to_str().unwrap()];
    ok(token(&planes, &admin, &arguments));
    becomes(v1::NodeState::Disconnected).await;
    assert!(planes.data.process().is_running());
    planes.write_node_token();
    becomes(v1::NodeState::Connected).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_signing_key_rotates_while_calls_go_on() {
    let mut planes = Planes::new(one());
    planes.control.start().await;
    let before = planes.control.token("admin");
    ok(token(&planes, &before, &["rotate-key", "--overlap", "1h"]));
    let after = planes.control.token("admin");
    let key_of = |token: &str| token.split('.').next().unwrap().to_owned();
    assert_ne!(key_of(&before), key_of(&after), "signed by another key");
    list(&planes, &before).await.unwrap();
    list(&planes, &after).await.unwrap();
    let keys = ok(token(&planes, &after, &["list-keys"]));
    assert_eq!(keys.lines().count(), 3, "{keys}");

    planes.control.kill();
    planes.control.start().await;
    list(&planes, &before).await.unwrap();
    list(&planes, &after).await.unwrap();

    let request = v1::WatchExecutionsRequest {
        parent: "projects/default".into(),
        ..Default::default()
    };
    let api = Api::new(&planes.control.endpoint, &after);
    let watched = api.executions().watch_executions(request).await.unwrap();
    ok(token(&planes, &after, &["rotate-key", "--now"]));
    let ends = tokio::time::timeout(LIMIT, watched.into_inner().message()).await;
    let status = ends.expect("the stream ends").unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    refused(list(&planes, &before).await, "TOKEN_KEY_RETIRED");
    refused(list(&planes, &after).await, "TOKEN_KEY_RETIRED");
    list(&planes, &planes.control.token("viewer"))
        .await
        .unwrap();
}
