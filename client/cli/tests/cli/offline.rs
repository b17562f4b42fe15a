//! What needs no control plane.

use std::{
    net::TcpListener,
    process::{Command, Stdio},
};

use signalbox_control_plane::auth::{Role, TokenKey};
use signalbox_runtime::data_dir::DataDir;

use crate::support::{Run, command, run};

/// An address at which nobody listens.
fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

#[test]
fn help_tells_every_command_and_exit_code() {
    let help = run(&["--help"]).ok();
    for word in [
        "demo",
        "dev",
        "token",
        "keys",
        "workflows",
        "apply",
        "export",
        "executions",
        "deliveries",
        "subscriptions",
        "nodes",
        "secrets",
        "projects",
        "audit",
        "sns",
        "completions",
    ] {
        assert!(help.contains(word), "{word}");
    }
    for line in [
        "0   done",
        "2   wrong command line",
        "65  wrong input",
        "69  the control",
        "77  no permission",
    ] {
        assert!(help.contains(line), "{line:?} in {help}");
    }
    for name in ["SIGNALBOX_ENDPOINT", "SIGNALBOX_TOKEN", "SIGNALBOX_PROJECT"] {
        assert!(help.contains(name), "{name}");
    }
    assert!(run(&["--version"]).ok().starts_with("signalbox "));
}

#[test]
fn help_does_not_show_the_token() {
    let output = command()
        .arg("--help")
        .env("SIGNALBOX_TOKEN", "ey.hidden")
        .output()
        .unwrap();
    assert!(!Run::of(output).ok().contains("ey.hidden"));
}

#[test]
fn wrong_command_lines_are_told_and_exit_2() {
    for (arguments, expected) in [
        (&["keys"] as &[&str], "Usage"),
        (&["kyes", "list"], "kyes"),
        (&["keys", "list", "--no-such-flag"], "--no-such-flag"),
        (
            &["keys", "list", "-o", "xml"],
            "possible values: table, json",
        ),
        (
            &["keys", "list", "--timeout", "soon"],
            "expected a duration",
        ),
        (&["keys", "list", "--timeout", "0s"], "more than nothing"),
        (&["keys", "list", "--project", "Upper"], "is not an id"),
        (&["keys", "list", "--project", "*"], "needs one project"),
        (
            &["keys", "list", "--token", "a", "--token-file", "b"],
            "--token-file",
        ),
        (
            &["keys", "create", "k", "--expires", "tomorrow"],
            "--expires",
        ),
        (
            &["token", "create", "--signing-key", "k", "--role", "boss"],
            "boss",
        ),
        (&["sns", "publish"], "--endpoint"),
        (
            &[
                "sns",
                "publish",
                "--endpoint",
                "http://x",
                "--topic-arn",
                "arn:x",
            ],
            "--topic-arn",
        ),
        (
            &["sns", "publish", "--endpoint", "http://x", "--count", "0"],
            "--count",
        ),
        (
            &[
                "sns",
                "publish",
                "--endpoint",
                "http://x",
                "--signature-version",
                "3",
            ],
            "--signature-version",
        ),
        (
            &[
                "sns",
                "publish",
                "--endpoint",
                "http://x",
                "--attribute",
                "novalue",
            ],
            "name=value",
        ),
        (&["dev", "--sns-trusted-origin", "ftp://x"], "ftp://x"),
        (&["dev", "--grpc-listen", "here"], "--grpc-listen"),
        (
            &["workflows", "run", "w", "--input", "1", "--input-file", "f"],
            "--input-file",
        ),
    ] {
        let error = run(arguments).fails(2);
        assert!(error.contains(expected), "{expected:?} in {error}");
    }
}

#[test]
fn who_is_not_there_is_named_and_exits_69() {
    let endpoint = format!("http://{}", nowhere());
    let error = run(&["--endpoint", &endpoint, "keys", "list"]).fails(69);
    assert_eq!(error.lines().count(), 1, "{error}");
    assert!(
        error.contains(&endpoint) && error.contains("refused"),
        "{error}"
    );
    let error = run(&["--endpoint", "nonsense", "keys", "list"]).fails(64);
    assert!(error.contains("\"nonsense\" is no endpoint"), "{error}");
    let error = run(&[
        "--endpoint",
        "https://localhost:1",
        "--ca-file",
        "/no/ca.pem",
        "nodes",
        "list",
    ])
    .fails(64);
    assert!(error.contains("/no/ca.pem"), "{error}");
}

#[test]
fn no_error_holds_a_token_or_a_key() {
    let endpoint = format!("http://{}", nowhere());
    let webhook = format!("{endpoint}/v1/projects/default/workflows/w/sns?x-api-key=sbk_hidden");
    let with_user = webhook.replace("http://", "http://user:sbk_hidden@");
    for arguments in [
        vec![
            "keys",
            "list",
            "--endpoint",
            &endpoint,
            "--token",
            "ey.hidden",
        ],
        vec![
            "keys",
            "list",
            "--endpoint",
            &endpoint,
            "--token",
            "ey.hidden\n",
        ],
        vec![
            "sns",
            "publish",
            "--serve",
            "127.0.0.1:0",
            "--endpoint",
            &webhook,
        ],
        vec![
            "sns",
            "publish",
            "--serve",
            "127.0.0.1:0",
            "--endpoint",
            &with_user,
        ],
        vec![
            "sns",
            "publish",
            "--serve",
            "127.0.0.1:0",
            "--endpoint",
            "x?x-api-key=sbk_hidden",
        ],
    ] {
        let ended = run(&arguments);
        assert_ne!(ended.code, 0);
        let all = format!("{}{}", ended.stdout, ended.stderr);
        assert!(!all.contains("hidden"), "{all}");
    }
}

#[test]
fn a_port_in_use_is_named_with_its_flag() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let data_dir = data.to_str().unwrap();
    for flag in ["--grpc-listen", "--webhook-listen"] {
        let other = if flag == "--grpc-listen" {
            "--webhook-listen"
        } else {
            "--grpc-listen"
        };
        let error = run(&[
            "dev",
            "--log",
            "off",
            "--data-dir",
            data_dir,
            flag,
            &address,
            other,
            "127.0.0.1:0",
        ])
        .fails(64);
        assert!(
            error.contains(flag) && error.contains(&address) && error.contains("in use"),
            "{error}"
        );
    }
    assert!(!data.exists(), "nothing was made");
    let error = run(&[
        "sns",
        "publish",
        "--endpoint",
        "http://127.0.0.1:1",
        "--serve",
        &address,
    ])
    .fails(64);
    assert!(error.contains("--serve"), "{error}");
}

#[test]
fn a_data_folder_that_is_none_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let file = file.to_str().unwrap();
    let listen = [
        "--grpc-listen",
        "127.0.0.1:0",
        "--webhook-listen",
        "127.0.0.1:0",
        "--log",
        "off",
    ];
    let error = run(&[&["dev", "--data-dir", file], &listen[..]].concat()).fails(64);
    assert!(error.contains(file), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}

#[test]
fn tokens_are_minted_offline() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = DataDir::open(dir.path()).unwrap();
    let key = TokenKey::load_or_create(&data_dir).unwrap();
    let file = dir.path().join("jwt-signing-key.pem");
    let file = file.to_str().unwrap();

    let base = [
        "token",
        "create",
        "--signing-key",
        file,
        "--role",
        "operator",
        "--subject",
        "ann",
    ];
    let printed = run(&[&base[..], &["--ttl", "15m"]].concat()).ok();
    let identity = key.verify(printed.trim_end()).unwrap();
    assert_eq!(printed.lines().count(), 1, "the token and nothing else");
    assert_eq!(identity.subject, "ann");
    assert_eq!(
        identity.roles.get("projects/default"),
        Some(&Role::Operator)
    );

    let printed = run(&[&base[..], &["--project", "*"]].concat()).ok();
    let identity = key.verify(printed.trim_end()).unwrap();
    assert_eq!(identity.roles.get("*"), Some(&Role::Operator));
    assert_eq!(identity.roles.len(), 1);

    let error = run(&[
        "token",
        "create",
        "--signing-key",
        "/no/key.pem",
        "--role",
        "viewer",
    ])
    .fails(64);
    assert!(error.contains("/no/key.pem"), "{error}");
    let wrong = dir.path().join("wrong.pem");
    std::fs::write(&wrong, "hidden").unwrap();
    let error = run(&[
        "token",
        "create",
        "--signing-key",
        wrong.to_str().unwrap(),
        "--role",
        "viewer",
    ])
    .fails(64);
    assert!(
        error.contains("no Ed25519 key") && !error.contains("hidden"),
        "{error}"
    );
}

#[test]
fn completions_are_there_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let text = run(&["completions", shell]).ok();
        assert!(
            text.contains("workflows") && text.contains("signalbox"),
            "{shell}"
        );
    }
    let dir = tempfile::tempdir().unwrap();
    let script = dir.path().join("signalbox.bash");
    std::fs::write(&script, run(&["completions", "bash"]).ok()).unwrap();
    let status = Command::new("bash")
        .arg("-n")
        .arg(&script)
        .status()
        .unwrap();
    assert!(status.success(), "bash reads it");
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let mut child = command()
        .args(["completions", "zsh"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Larger than a pipe holds, so that it notices.
    drop(child.stdout.take());
    let ended = Run::of(child.wait_with_output().unwrap());
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""));
}
