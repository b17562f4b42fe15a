//! `signalbox apply` and `export`, as a pipeline runs them.

use std::path::{Path, PathBuf};

use serde_json::Value;
use signalbox_tests::{
    cli::{Cli, Ended},
    planes::{Options, Planes},
    wait,
};

const KEYS: &str = "\
kind: ApiKey
name: pager
displayName: The pager
labels: {team: desk}
---
kind: ApiKey
name: other
labels: {team: desk, example.com/tier: '2'}
spec:
  expireTime: 2999-01-01T00:00:00Z
  rateLimit: {eventsPerSecond: 5}
";
const HELLO: &str = "\
kind: Workflow
name: hello
displayName: Says hello
labels: {team: desk}
spec:
  trigger: {webhook: {apiKeys: [pager]}}
  steps:
    - id: say
      transform:
        expression: \"'Hello, ' + event.json.name\"
    - id: done
      succeed: {output: \"${{ steps.say.output }}\"}
";
const NIGHTLY: &str = "\
kind: Workflow
name: nightly
labels: {team: desk}
spec:
  trigger: {manual: {}}
  steps: [{id: done, succeed: {}}]
";

/// A folder of files.
struct Files(PathBuf);

impl Files {
    fn new(dir: &Path) -> Self {
        let files = Self(dir.join("files"));
        files.write("keys.yaml", KEYS);
        files.write("workflows/hello.yml", HELLO);
        files.write("workflows/nightly.yaml", NIGHTLY);
        files.write("workflows/.hidden.yaml", "nothing: [");
        files.write("README.md", "no: [yaml");
        files
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.0.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn remove(&self, name: &str) {
        std::fs::remove_file(self.0.join(name)).unwrap();
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

async fn apply(cli: &Cli, files: &Files, more: &[&str]) -> Ended {
    let arguments = [&["apply", "-f", files.path()], more].concat();
    cli.run(&arguments).await
}

#[track_caller]
fn ends(ended: Ended, code: i32, last: &str) -> String {
    assert_eq!(ended.code, Some(code), "{ended:?}");
    assert_eq!(ended.stdout.lines().last(), Some(last), "{ended:?}");
    assert_eq!(ended.stderr, "");
    ended.stdout
}

async fn control_plane() -> (Planes, Cli) {
    let mut planes = Planes::new(Options::default());
    planes.control.start().await;
    let cli = Cli::new(&planes.control, "admin");
    (planes, cli)
}

async fn json(cli: &Cli, arguments: &[&str]) -> Value {
    let text = cli.ok(&[arguments, &["-o", "json"]].concat()).await;
    serde_json::from_str(&text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_becomes_what_runs_and_stays_it() {
    let (planes, api) = Planes::start(Options::default()).await;
    let cli = Cli::new(&planes.control, "admin");
    let files = Files::new(planes.dir());

    // Shown, and not done.
    let shown = apply(&cli, &files, &["--dry-run"]).await;
    let shown = ends(
        shown,
        2,
        "4 to create, 0 to update, 0 to delete, 0 unchanged",
    );
    assert!(
        shown.contains("create projects/default/workflows/hello\n--- /dev/null\n"),
        "{shown}"
    );
    assert!(shown.contains("\n+displayName: Says hello\n"), "{shown}");
    assert!(!shown.contains('\x1b'), "{shown}");
    assert_eq!(json(&cli, &["keys", "list"]).await, serde_json::json!([]));

    // Done: keys first, for workflows name them.
    let done = apply(&cli, &files, &[]).await;
    let done = ends(done, 0, "created projects/default/workflows/nightly");
    let made: Vec<_> = done
        .lines()
        .filter(|line| line.starts_with("created "))
        .collect();
    let expected = [
        "apiKeys/other",
        "apiKeys/pager",
        "workflows/hello",
        "workflows/nightly",
    ];
    assert_eq!(
        made,
        expected.map(|name| format!("created projects/default/{name}"))
    );
    assert!(!done.contains("sbk_"), "{done}");

    // It runs.
    let key = cli.ok(&["keys", "reveal", "pager"]).await;
    api.synced(std::time::Duration::from_secs(20)).await;
    let posted = reqwest::Client::new()
        .post(planes.endpoint("hello", "webhook", key.trim()))
        .json(&serde_json::json!({"name": "world"}))
        .send()
        .await
        .unwrap();
    assert_eq!(posted.status(), 200);
    wait::until(
        "the execution",
        std::time::Duration::from_secs(20),
        || async {
            let all = api
                .all_executions("")
                .await
                .map_err(|status| status.to_string())?;
            match &all[..] {
                [one] if one.output_json == "\"Hello, world\"" => Ok(()),
                other => Err(format!("{other:?}")),
            }
        },
    )
    .await;

    // Again, there is nothing to do.
    let nothing = "0 to create, 0 to update, 0 to delete, 4 unchanged";
    ends(apply(&cli, &files, &["--dry-run"]).await, 0, nothing);
    ends(apply(&cli, &files, &[]).await, 0, nothing);
    assert_eq!(
        json(&cli, &["workflows", "get", "hello"]).await["latestVersion"],
        "1"
    );

    // A draft is not what runs.
    let draft = planes.dir().join("draft.yaml");
    let text = HELLO
        .replace("kind: Workflow\n", "")
        .replace("Hello, ", "Draft, ");
    std::fs::write(&draft, text).unwrap();
    let draft = draft.to_str().unwrap();
    cli.ok(&["workflows", "apply", "--no-publish", "-f", draft])
        .await;
    ends(apply(&cli, &files, &["--dry-run"]).await, 0, nothing);

    // What is changed in a file is a diff, and then a version.
    files.write(
        "workflows/hello.yml",
        &HELLO.replace("Hello, ", "Good day, "),
    );
    files.write(
        "keys.yaml",
        &KEYS.replace("eventsPerSecond: 5", "eventsPerSecond: 7"),
    );
    let shown = apply(&cli, &files, &["--dry-run"]).await;
    let shown = ends(
        shown,
        2,
        "0 to create, 2 to update, 0 to delete, 2 unchanged",
    );
    for line in [
        "update projects/default/workflows/hello",
        "--- projects/default/workflows/hello (control plane)",
        "-      expression: \"'Hello, ' + event.json.name\"",
        "+      expression: \"'Good day, ' + event.json.name\"",
        "-    eventsPerSecond: 5",
        "+    eventsPerSecond: 7",
    ] {
        assert!(shown.lines().any(|it| it == line), "{line:?} in {shown}");
    }
    let plan = apply(&cli, &files, &["--dry-run", "-o", "json"]).await;
    let plan: Value = serde_json::from_str(&plan.stdout).unwrap();
    assert_eq!(plan["changes"][0]["action"], "update");
    assert_eq!(plan["changes"][0]["name"], "projects/default/apiKeys/other");
    ends(
        apply(&cli, &files, &[]).await,
        0,
        "updated projects/default/workflows/hello",
    );
    let hello = json(&cli, &["workflows", "get", "hello"]).await;
    assert_eq!(
        (&hello["latestVersion"], &hello["publishedVersion"]),
        (&"3".into(), &"3".into())
    );
    ends(apply(&cli, &files, &["--dry-run"]).await, 0, nothing);

    // What somebody changed by hand is drift.
    cli.ok(&["keys", "update", "pager", "--display-name", "Mine"])
        .await;
    let drift = apply(&cli, &files, &["--dry-run"]).await;
    assert_eq!(drift.code, Some(2));
    assert!(
        drift
            .stdout
            .contains("-displayName: Mine\n+displayName: The pager\n"),
        "{drift:?}"
    );
    ends(
        apply(&cli, &files, &[]).await,
        0,
        "updated projects/default/apiKeys/pager",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_in_no_file_is_deleted_by_its_labels_only() {
    let (planes, cli) = control_plane().await;
    let files = Files::new(planes.dir());
    ends(
        apply(&cli, &files, &[]).await,
        0,
        "created projects/default/workflows/nightly",
    );
    cli.ok(&["keys", "create", "by-hand"]).await;
    files.remove("workflows/hello.yml");
    files.write(
        "keys.yaml",
        "kind: ApiKey\nname: other\nlabels: {team: desk}\n",
    );

    // Not asked for: they stay.
    let kept = apply(&cli, &files, &["--dry-run"]).await;
    ends(
        kept,
        2,
        "0 to create, 1 to update, 0 to delete, 1 unchanged",
    );
    let prune = ["--prune", "-l", "team=desk"];
    let shown = apply(&cli, &files, &[&prune[..], &["--dry-run"]].concat()).await;
    let shown = ends(
        shown,
        2,
        "0 to create, 1 to update, 2 to delete, 1 unchanged",
    );
    assert!(shown.contains("\n-displayName: Says hello\n"), "{shown}");
    // The workflow names the key: it goes first.
    let done = apply(&cli, &files, &prune).await;
    let done = ends(done, 0, "deleted projects/default/apiKeys/pager");
    assert!(
        done.contains("deleted projects/default/workflows/hello\n"),
        "{done}"
    );
    let done = apply(&cli, &files, &[&prune[..], &["--dry-run"]].concat()).await;
    ends(
        done,
        0,
        "0 to create, 0 to update, 0 to delete, 2 unchanged",
    );
    let left = json(&cli, &["keys", "list"]).await;
    let left: Vec<_> = left
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["name"].clone())
        .collect();
    assert_eq!(
        left,
        [
            "projects/default/apiKeys/by-hand",
            "projects/default/apiKeys/other"
        ]
    );

    // Each document must be known by the labels the next time.
    files.write("more.json", r#"{"kind": "ApiKey", "name": "more"}"#);
    let refused = apply(&cli, &files, &prune).await;
    assert_eq!(refused.code, Some(65), "{refused:?}");
    assert!(
        refused
            .stderr
            .contains("more.json: line 1, column 1: labels: lacks"),
        "{refused:?}"
    );
    for wrong in [
        &["--prune"][..],
        &["-l", "team=desk"],
        &["--prune", "-l", "team"],
    ] {
        assert_eq!(apply(&cli, &files, wrong).await.code, Some(2));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_problem_is_told_at_its_line_and_nothing_is_done() {
    let (planes, cli) = control_plane().await;
    let files = Files::new(planes.dir());
    files.write(
        "workflows/hello.yml",
        &HELLO.replace("transform:", "transfrm:"),
    );
    files.write("more.yaml", "kind: ApiKey\nname: pager\n---\nkind: Sheep\n---\nkind: ApiKey\nname: Upper\nlabels: {A: b}\n");
    let refused = apply(&cli, &files, &[]).await;
    assert_eq!(
        (refused.code, refused.stdout.as_str()),
        (Some(65), ""),
        "{refused:?}"
    );
    for expected in [
        "hello.yml: line 9, column 7: spec.steps[0].transfrm: there is no such field; did you mean \"transform\"?",
        "more.yaml: line 4, column 1: kind: is \"Sheep\"; expected Workflow or ApiKey",
    ] {
        assert!(
            refused.stderr.contains(expected),
            "{expected:?} in {refused:?}"
        );
    }
    // What is well formed is checked further.
    files.write("workflows/hello.yml", HELLO);
    files.write(
        "more.yaml",
        "kind: ApiKey\nname: pager\n---\nkind: ApiKey\nname: Upper\nlabels: {A: b}\n",
    );
    let refused = apply(&cli, &files, &[]).await;
    assert_eq!(
        (refused.code, refused.stdout.as_str()),
        (Some(65), ""),
        "{refused:?}"
    );
    for expected in [
        "more.yaml: line 2, column 1: name: projects/default/apiKeys/pager is wanted twice; first in ",
        "more.yaml: line 5, column 1: name: ",
        "more.yaml: line 6, column 10: labels.A: is no name of a label",
    ] {
        assert!(
            refused.stderr.contains(expected),
            "{expected:?} in {refused:?}"
        );
    }

    // What only the control plane knows is told before anything is done, too.
    files.write(
        "more.yaml",
        NIGHTLY
            .replace("nightly", "more")
            .replace("manual: {}", "webhook: {apiKeys: [nobody]}")
            .as_str(),
    );
    files.write(
        "workflows/hello.yml",
        &HELLO.replace("    - id: done", "    - id: call\n      http: {url: \"https://x.test/${{ secrets.path }}\"}\n    - id: done"),
    );
    cli.ok(&["keys", "create", "other"]).await;
    cli.ok(&["keys", "revoke", "other"]).await;
    let refused = apply(&cli, &files, &["--dry-run"]).await;
    assert_eq!(
        (refused.code, refused.stdout.as_str()),
        (Some(65), ""),
        "{refused:?}"
    );
    for expected in [
        "keys.yaml: line 7, column 1: name: is revoked for good",
        "hello.yml: line 12, column 14: spec.steps[1].http.url: projects/default/secrets/path does not exist",
        "more.yaml: line 5, column 33: spec.trigger.webhook.apiKeys[0]: projects/default/apiKeys/nobody neither exists",
    ] {
        assert!(
            refused.stderr.contains(expected),
            "{expected:?} in {refused:?}"
        );
    }
    assert_eq!(
        json(&cli, &["workflows", "list"]).await,
        serde_json::json!([])
    );

    // What only the write itself finds stops there, and says where it stands.
    let expired = "kind: ApiKey\nname: late\nspec:\n  expireTime: 2001-01-01T00:00:00Z\n";
    let only = Files(planes.dir().join("only"));
    only.write("late.yaml", expired);
    let refused = apply(&cli, &only, &[]).await;
    assert_eq!(refused.code, Some(65), "{refused:?}");
    let expected = "late.yaml: line 4, column 3: spec.expireTime: is in the past";
    assert!(refused.stderr.contains(expected), "{refused:?}");
    let viewer = apply(&Cli::new(&planes.control, "viewer"), &only, &[]).await;
    assert_eq!(viewer.code, Some(77), "{viewer:?}");
    let empty = Files(planes.dir().join("empty"));
    empty.write("README.md", "");
    assert_eq!(apply(&cli, &empty, &[]).await.code, Some(65));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_exported_is_applied_without_a_change_here_and_elsewhere() {
    let (planes, cli) = control_plane().await;
    let files = Files::new(planes.dir());
    ends(
        apply(&cli, &files, &[]).await,
        0,
        "created projects/default/workflows/nightly",
    );
    // Made by hand, with what YAML finds hard.
    let words = planes.dir().join("words.yaml");
    let hard = r#"{"name": "words", "description": "a: b # c\n\n  - d\n", "spec": {"trigger": {"manual": {}},
        "vars": {"no": "yes", "n": "0123", "deep": {"list": [1, 2.5, null, true, "null", ""]}},
        "steps": [{"id": "a", "transform": {"expression": "vars.n +\n'x'"}}]}}"#;
    std::fs::write(&words, hard).unwrap();
    cli.ok(&["workflows", "apply", "-f", words.to_str().unwrap()])
        .await;
    cli.ok(&["keys", "create", "revoked"]).await;
    cli.ok(&["keys", "revoke", "revoked"]).await;

    let exported = Files(planes.dir().join("exported"));
    let said = cli.ok(&["export", "--dir", exported.path()]).await;
    assert_eq!(said.lines().count(), 5, "{said}");
    assert!(exported.0.join("workflows/hello.yaml").exists(), "{said}");
    let nothing = "0 to create, 0 to update, 0 to delete, 5 unchanged";
    ends(apply(&cli, &exported, &["--dry-run"]).await, 0, nothing);
    let text = cli.ok(&["export"]).await;
    assert!(
        !text.contains("sbk_") && !text.contains("revoked"),
        "{text}"
    );

    // Another installation becomes the same.
    let (_others, other) = control_plane().await;
    let all = Files(planes.dir().join("all"));
    all.write("all.yaml", &text);
    ends(
        apply(&other, &all, &[]).await,
        0,
        "created projects/default/workflows/words",
    );
    assert_eq!(other.ok(&["export"]).await, text);

    // One by its name; some by their labels.
    let one = cli.ok(&["export", "workflows/nightly"]).await;
    assert!(one.starts_with("kind: Workflow\nname: nightly\n"), "{one}");
    let labelled = json(&cli, &["export", "-l", "team=desk,example.com/tier=2"]).await;
    assert_eq!(labelled.as_array().unwrap().len(), 1);
    assert_eq!(labelled[0]["name"], "projects/default/apiKeys/other");
    assert_eq!(cli.run(&["export", "workflows/nobody"]).await.code, Some(1));
    assert_eq!(cli.run(&["export", "sheep/dolly"]).await.code, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_is_undeleted_and_who_is_run_comes_first() {
    let (planes, cli) = control_plane().await;
    let files = Files::new(planes.dir());
    let outer = NIGHTLY
        .replace("name: nightly", "name: a-first")
        .replace("succeed: {}", "runWorkflow: {workflow: nightly}");
    files.write("workflows/a-first.yaml", &outer);
    let last = "created projects/default/workflows/a-first";
    ends(apply(&cli, &files, &[]).await, 0, last);

    for arguments in [
        ["workflows", "delete", "a-first"],
        ["workflows", "delete", "hello"],
        ["keys", "delete", "pager"],
    ] {
        cli.ok(&arguments).await;
    }
    let hello = HELLO.replace("Hello, ", "Good day, ");
    files.write("workflows/hello.yml", &hello);
    let shown = apply(&cli, &files, &["--dry-run"]).await;
    let summary = "0 to create, 0 to update, 3 to undelete, 0 to delete, 2 unchanged";
    let shown = ends(shown, 2, summary);
    for line in [
        "undelete projects/default/apiKeys/pager as it was",
        "undelete projects/default/workflows/hello",
        "--- projects/default/workflows/hello (control plane, deleted)",
        "+      expression: \"'Good day, ' + event.json.name\"",
    ] {
        assert!(shown.lines().any(|it| it == line), "{line:?} in {shown}");
    }
    let last = "undeleted projects/default/workflows/hello";
    ends(apply(&cli, &files, &[]).await, 0, last);
    let nothing = "0 to create, 0 to update, 0 to delete, 5 unchanged";
    ends(apply(&cli, &files, &["--dry-run"]).await, 0, nothing);
    let hello = json(&cli, &["workflows", "get", "hello"]).await;
    let versions = (&hello["latestVersion"], &hello["publishedVersion"]);
    assert_eq!(versions, (&"2".into(), &"2".into()));

    // What is pruned can be undeleted; who runs another goes before it.
    files.remove("workflows/a-first.yaml");
    files.remove("workflows/nightly.yaml");
    let done = apply(&cli, &files, &["--prune", "-l", "team=desk"]).await;
    let done = ends(done, 0, "deleted projects/default/workflows/nightly");
    assert!(
        done.contains("deleted projects/default/workflows/a-first\n"),
        "{done}"
    );
    let file = planes.dir().join("nightly.yaml");
    std::fs::write(&file, NIGHTLY.replace("kind: Workflow\n", "")).unwrap();
    let file = file.to_str().unwrap();
    let said = cli.ok(&["workflows", "apply", "-f", file]).await;
    assert!(
        said.starts_with("undeleted projects/default/workflows/nightly "),
        "{said}"
    );
}
