//! What is wrong is said in one clear line, with a non-zero exit.

use std::{net::TcpListener, process::Command, time::Duration};

use signalbox_proto::v1::ListApiKeysRequest;
use signalbox_tests::{
    api::Api,
    planes::{Options, Planes},
    process::{binary, free_port},
};
use tonic::Code;

/// Runs a binary that must fail by itself; gives its exit code and error output.
fn fails(command: &mut Command) -> (i32, String) {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let code = output.status.code().expect("an exit code, no signal");
    assert_ne!(code, 0, "{text}");
    (code, text)
}

fn one_error_line(text: &str) -> &str {
    let lines: Vec<_> = text
        .lines()
        .filter(|line| line.to_lowercase().contains("error"))
        .collect();
    assert_eq!(lines.len(), 1, "one line that says what is wrong: {text}");
    assert!(!text.contains("panicked"), "{text}");
    lines[0]
}

fn control_plane(dir: &std::path::Path, port: u16) -> Command {
    let mut command = Command::new(binary("signalbox-control-plane"));
    command
        .arg("--listen")
        .arg(format!("127.0.0.1:{port}"))
        .args(["--admin-listen", "127.0.0.1:0", "--data-dir"])
        .arg(dir);
    command
}

fn data_plane(dir: &std::path::Path, port: u16) -> Command {
    let mut command = Command::new(binary("signalbox-data-plane"));
    command
        .arg("--listen")
        .arg(format!("127.0.0.1:{port}"))
        .args(["--admin-listen", "127.0.0.1:0", "--control-plane"])
        .args(["http://127.0.0.1:1", "--token", "x.y.z", "--data-dir"])
        .arg(dir);
    command
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let dir = tempfile::tempdir().unwrap();
    for mut command in [
        control_plane(&dir.path().join("cp"), port),
        data_plane(&dir.path().join("dp"), port),
    ] {
        let (_, text) = fails(&mut command);
        let line = one_error_line(&text);
        assert!(line.contains(&format!("127.0.0.1:{port}")), "{line}");
        assert!(line.contains("in use"), "{line}");
    }
}

#[test]
fn a_data_folder_that_is_none_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    for mut command in [
        control_plane(&file, free_port()),
        control_plane(&file.join("below"), free_port()),
        data_plane(&file, free_port()),
    ] {
        let (_, text) = fails(&mut command);
        assert!(one_error_line(&text).contains("file"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_of_another_process_is_refused() {
    let mut planes = Planes::new(Options::default());
    planes.control.start().await;
    let (_, text) = fails(&mut control_plane(&planes.control.data_dir, free_port()));
    assert!(one_error_line(&text).contains("in use"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_a_newer_schema_is_refused() {
    let mut planes = Planes::new(Options {
        // What is made newer is the file.
        sqlite: true,
        ..Options::default()
    });
    planes.control.start().await;
    planes.control.terminate(Duration::from_secs(20));
    let database = std::fs::read_dir(&planes.control.data_dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|e| e == "sqlite" || e == "db"))
        .expect("the database");
    let status = Command::new("python3")
        .arg("-c")
        .arg(
            "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); \
             c.execute(\"insert into seaql_migrations values ('m29991231_000999_from_the_future', 0)\"); \
             c.execute(\"update counters set value = 999 where name = 'schema-compatibility'\"); c.commit()",
        )
        .arg(&database)
        .status()
        .unwrap();
    assert!(status.success());
    planes.control.kill();
    let (_, text) = fails(&mut control_plane(&planes.control.data_dir, free_port()));
    assert!(one_error_line(&text).contains("newer"), "{text}");
}

#[test]
fn wrong_flags_are_usage_errors() {
    let dir = tempfile::tempdir().unwrap();
    let (code, text) = fails(control_plane(dir.path(), 0).arg("--no-such-flag"));
    assert!(matches!(code, 2 | 64), "{code}");
    assert!(text.contains("--no-such-flag"), "{text}");
    let (_, text) = fails(data_plane(dir.path(), 0).args(["--sns-trusted-origin", "ftp://x"]));
    assert!(text.contains("ftp://x"), "{text}");
    let (code, text) = fails(data_plane(dir.path(), 0).args(["--spool-max-bytes", "134217727"]));
    assert_eq!(code, 2, "{text}");
    let line = one_error_line(&text);
    assert!(line.contains("--spool-max-bytes"), "{line}");
    assert!(line.contains("at least 134217728 (128 MiB"), "{line}");
}

#[test]
fn a_malformed_workflow_file_names_path_and_expectation() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("wrong.yaml");
    let wrong = r#"
name: wrong
spec:
  trigger:
    webhook:
      apiKeys: [caller]
  steps:
    - id: a
      transform:
        expression: evnt.message
    - id: b
      http:
        url: ftp://example.com/
        method: FETCH
    - id: a
      fail:
        message: twice
"#;
    std::fs::write(&file, wrong).unwrap();
    let (code, text) = fails(
        Command::new(binary("signalbox"))
            .args(["workflows", "validate", "-f"])
            .arg(&file),
    );
    assert_eq!(code, 65, "{text}");
    for expected in [
        "steps[0].transform.expression",
        "expected event, steps, vars, secrets, approvals or execution",
        "steps[1].http.url",
        "steps[1].http.method",
        "expected one of GET, HEAD, POST, PUT, PATCH, DELETE",
        "steps[2].id",
    ] {
        assert!(text.contains(expected), "{expected:?} in {text}");
    }

    std::fs::write(&file, wrong.replace("expression:", "expresion:")).unwrap();
    let (code, text) = fails(
        Command::new(binary("signalbox"))
            .args(["workflows", "validate", "-f"])
            .arg(&file),
    );
    assert_eq!(code, 65);
    assert!(text.contains("expresion"), "{text}");
    assert!(text.contains("expression"), "what was expected: {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_or_expired_token_is_told_why() {
    let mut planes = Planes::new(Options::default());
    planes.control.start().await;
    let list = |token: String| {
        let api = Api::new(&planes.control.endpoint, &token);
        async move {
            let request = ListApiKeysRequest {
                parent: "projects/default".into(),
                ..Default::default()
            };
            api.keys().list_api_keys(request).await.map(|_| ())
        }
    };
    list(planes.control.token("viewer")).await.unwrap();

    let status = list("no.token.atall".into()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(!status.message().is_empty());

    let good = planes.control.token("viewer");
    let (rest, signature) = good.rsplit_once('.').unwrap();
    let other = if signature.starts_with('A') { 'B' } else { 'A' };
    let forged = format!("{other}{}", &signature[1..]);
    let status = list(format!("{rest}.{forged}")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert!(
        status.message().contains("signature"),
        "{}",
        status.message()
    );

    let mut stranger = Planes::new(Options::default());
    stranger.control.start().await;
    let status = list(stranger.control.token("admin")).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);

    let status = {
        let api = planes.api("viewer");
        let request = signalbox_proto::v1::CreateApiKeyRequest {
            parent: "projects/default".into(),
            api_key_id: "x".into(),
            ..Default::default()
        };
        api.keys().create_api_key(request).await.unwrap_err()
    };
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("editor"), "{}", status.message());
}
