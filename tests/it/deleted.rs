//! What is deleted is gone for senders, comes back as it was, and is purged in the end.

use std::time::Duration;

use serde_json::Value;
use signalbox_tests::{
    cli::Cli,
    planes::{Options, Planes},
    wait,
};

const HOOK: &str = "
trigger: {webhook: {apiKeys: [pager]}}
steps: [{id: only, transform: {expression: event.message}}]
";
const INNER: &str = "
trigger: {manual: {}}
steps: [{id: only, transform: {expression: event.message}}]
";
const OUTER: &str = "
trigger: {manual: {}}
steps: [{id: only, runWorkflow: {workflow: inner}}]
";

async fn post(url: &str) -> u16 {
    let client = reqwest::Client::new();
    let body = serde_json::json!({"a": 1});
    let answer = client.post(url).json(&body).send().await;
    answer.unwrap().status().as_u16()
}

/// How soon is tried with revocation (I8).
async fn becomes(url: &str, status: u16) {
    wait::until("the node's answer", Duration::from_secs(20), || async {
        match post(url).await {
            found if found == status => Ok(()),
            found => Err(format!("still {found}, expected {status}")),
        }
    })
    .await;
}

async fn states(cli: &Cli, arguments: &[&str]) -> Vec<String> {
    let text = cli.ok(&[arguments, &["-o", "json"]].concat()).await;
    let listed: Vec<Value> = serde_json::from_str(&text).unwrap();
    let states = listed.iter().map(|it| {
        let name = it["name"].as_str().unwrap().rsplit('/').next().unwrap();
        format!("{name} {}", it["state"].as_str().unwrap())
    });
    states.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deleted_is_gone_at_once_and_comes_back() {
    let (planes, api) = Planes::start(Options::default()).await;
    let cli = Cli::new(&planes.control, "editor");
    let key = api.create_key("pager").await;
    let made = api.create_workflow("hook", HOOK).await;
    let url = planes.endpoint("hook", "webhook", &key);
    api.synced(Duration::from_secs(20)).await;
    assert_eq!(post(&url).await, 200);

    let done = cli.ok(&["workflows", "delete", "hook"]).await;
    assert_eq!(done, "deleted projects/default/workflows/hook\n");
    becomes(&url, 404).await;
    cli.ok(&["keys", "delete", "pager"]).await;
    becomes(&url, 401).await;
    for collection in ["keys", "workflows"] {
        assert_eq!(states(&cli, &[collection, "list"]).await, [""; 0]);
    }
    assert_eq!(
        states(&cli, &["keys", "list", "--show-deleted"]).await,
        ["pager API_KEY_STATE_DELETED"]
    );
    assert_eq!(
        states(&cli, &["workflows", "list", "--show-deleted"]).await,
        ["hook WORKFLOW_STATE_DELETED"]
    );
    let shown = cli.ok(&["workflows", "get", "hook"]).await;
    assert!(shown.contains("DELETED"), "{shown}");
    let refused = cli.run(&["keys", "create", "pager"]).await;
    assert_ne!(refused.code, Some(0));
    assert!(refused.stderr.contains("undelete it"), "{refused:?}");
    let refused = cli.run(&["workflows", "publish", "hook"]).await;
    assert!(
        refused.stderr.contains("is deleted: undelete it first"),
        "{refused:?}"
    );
    let refused = cli.run(&["workflows", "undelete", "hook"]).await;
    assert!(
        refused
            .stderr
            .contains("projects/default/apiKeys/pager does not exist"),
        "{refused:?}"
    );

    cli.ok(&["keys", "undelete", "pager"]).await;
    becomes(&url, 404).await;
    let done = cli.ok(&["workflows", "undelete", "hook"]).await;
    assert_eq!(done, "undeleted projects/default/workflows/hook\n");
    becomes(&url, 200).await;
    let back = cli.ok(&["workflows", "get", "hook", "-o", "json"]).await;
    let back: Value = serde_json::from_str(&back).unwrap();
    assert_eq!(back["publishedVersion"], "1", "{back}");
    assert_ne!(back["etag"], Value::from(made.etag));

    // A workflow that another runs stays.
    api.create_workflow("inner", INNER).await;
    api.create_workflow("outer", OUTER).await;
    let refused = cli.run(&["workflows", "delete", "inner"]).await;
    let text = "is run by the published version of projects/default/workflows/outer";
    assert!(refused.stderr.contains(text), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_no_longer_is_purged_and_its_id_is_free() {
    let mut planes = Planes::new(Options::default());
    planes.control.add_args(["--deleted-retention", "1s"]);
    planes.control.start().await;
    let cli = Cli::new(&planes.control, "editor");
    cli.ok(&["keys", "create", "pager"]).await;
    cli.ok(&["keys", "delete", "pager"]).await;
    wait::until("the purge", Duration::from_secs(20), || async {
        match cli.run(&["keys", "get", "pager"]).await {
            gone if gone.stderr.contains("does not exist") => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    cli.ok(&["keys", "create", "pager"]).await;
    // Or at once.
    let done = cli.ok(&["keys", "delete", "pager", "--purge"]).await;
    assert_eq!(done, "purged projects/default/apiKeys/pager\n");
    let refused = cli.run(&["keys", "undelete", "pager"]).await;
    assert!(refused.stderr.contains("does not exist"), "{refused:?}");
}
