//! Secrets of steps, from a node's configuration to what is sent, and to nothing else.

use bytes::Bytes;
use signalbox_model::{
    config::{Resource, Revision, SecretConfig},
    secret::Secret,
};

use super::*;
use crate::config::{Change, ConfigStore, Upsert};

/// A node's configuration that holds secrets only.
pub(super) struct Config {
    pub(super) store: Arc<ConfigStore>,
    dir: tempfile::TempDir,
}

/// Secrets are kept as they are here: how they are sealed, `sync` shows.
fn decode(encoded: &[u8]) -> Result<Resource, String> {
    let text = String::from_utf8(encoded.to_vec()).unwrap();
    let (name, value) = text.split_once(' ').unwrap();
    Ok(resource(name, value))
}

fn resource(name: &str, value: &str) -> Resource {
    Resource::Secret(SecretConfig {
        name: name.parse().unwrap(),
        value: Secret::new(value.as_bytes().to_vec()),
    })
}

impl Config {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = ConfigStore::open(dir.path(), decode);
        Self {
            store: Arc::new(store.unwrap()),
            dir,
        }
    }

    /// As another process has it.
    fn reopen(&mut self) {
        self.store = Arc::new(ConfigStore::open(self.dir.path(), decode).unwrap());
    }

    pub(super) fn set(&self, project: &str, id: &str, value: &str) {
        let name = format!("projects/{project}/secrets/{id}");
        let change = Change {
            incarnation: "i".to_owned(),
            revision: Revision(self.store.current().revision.0 + 1),
            replaces_all: false,
            upserts: vec![Upsert {
                resource: resource(&name, value),
                encoded: Bytes::from(format!("{name} {value}")),
                name,
            }],
            deletes: Vec::new(),
            keep: Vec::new(),
        };
        self.store.apply(change).unwrap();
    }
}

fn definition(target: &Target, more: &str) -> String {
    format!(
        r#"
trigger: {{manual: {{}}}}
steps:
{more}
  - id: call
    http:
      url: http://{}/hooks/${{{{ secrets["path-part"] }}}}
      headers: {{X-Token: "${{{{ secrets.token }}}}"}}
"#,
        target.addr
    )
}

async fn echo() -> Target {
    Target::start(|call| {
        let said = format!("{} {}", call.path, call.header("x-token"));
        Reply::json(200, &json!({ "said": said }))
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_reaches_the_server_and_no_record() {
    let target = echo().await;
    let config = Config::new();
    config.set("default", "token", "s3cret-token");
    config.set("default", "path-part", "s3cret-path");
    let mut world = World::start().await;
    world.secrets = config.store.clone();
    let execution = world.accept(&definition(&target, ""), "one", "{}").await;
    world.run();
    let facts = world.finished(&execution).await;
    let call = &target.calls()[0];
    assert_eq!(call.path, "/hooks/s3cret-path");
    assert_eq!(call.header("x-token"), "s3cret-token");
    assert_eq!(output_of(&facts)["json"]["said"], "/hooks/*** ***");
    let records = format!("{:?}", world.records(&execution).await);
    assert!(records.contains("/hooks/***"), "{records}");
    world.stop().await;
    assert!(world.some_file_holds("/hooks/***"));
    for value in ["s3cret-token", "s3cret-path"] {
        assert!(!records.contains(value), "{records}");
        assert!(!world.some_file_holds(value), "{value}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_of_another_project_is_none() {
    let target = echo().await;
    let config = Config::new();
    config.set("default", "token", "s3cret-token");
    config.set("other", "path-part", "s3cret-path");
    let mut world = World::start().await;
    world.secrets = config.store.clone();
    let execution = world.accept(&definition(&target, ""), "one", "{}").await;
    world.run();
    let facts = world.finished(&execution).await;
    assert_eq!(code_of(&facts), "SECRET_MISSING");
    assert_eq!(attempts(&facts), []);
    assert!(target.calls().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_a_crash_broke_off_is_sent_again_with_the_secret_as_it_is_then() {
    let target = Target::start(|call| match call.header("x-token") {
        "first-token-value" => Reply::Never,
        token => Reply::json(200, &json!({ "said": token })),
    })
    .await;
    let config = Config::new();
    config.set("default", "token", "first-token-value");
    config.set("default", "path-part", "s3cret-path");
    let mut world = World::start().await;
    world.secrets = config.store.clone();
    let wait = "  - {id: pause, wait: {duration: 0.2s}}";
    let execution = world.accept(&definition(&target, wait), "one", "{}").await;
    world.run();
    target.called(1).await;
    world.crash().await;
    config.set("default", "token", "second-token-value");
    world.run();
    let facts = world.finished(&execution).await;
    assert_eq!(output_of(&facts)["json"]["said"], "***");
    assert_eq!(attempts(&facts), [(1, false), (1, true)]);
    let calls = target.calls();
    assert_eq!(calls[1].header("x-token"), "second-token-value");
    let key = |n: usize| calls[n].header("idempotency-key");
    assert_eq!(key(0), key(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_reads_the_secrets_as_they_are_when_it_begins() {
    let target = echo().await;
    let config = Config::new();
    config.set("default", "path-part", "s3cret-path");
    let mut world = World::start().await;
    world.secrets = config.store.clone();
    let wait = "  - {id: pause, wait: {duration: 0.5s}}";
    let execution = world.accept(&definition(&target, wait), "one", "{}").await;
    world.run();
    // It came after the execution had begun.
    config.set("default", "token", "s3cret-token");
    let facts = world.finished(&execution).await;
    assert_eq!(output_of(&facts)["json"]["said"], "/hooks/*** ***");
    assert_eq!(target.calls()[0].header("x-token"), "s3cret-token");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_was_replaced_is_not_recorded_after_a_crash_and_never_sent() {
    let target = Target::start(|call| match call.path.as_str() {
        "/first" => Reply::json(200, &json!({})),
        _ => Reply::json(
            200,
            &json!({ "said": format!("first-token-value {}", call.header("x-token")) }),
        ),
    })
    .await;
    let mut config = Config::new();
    config.set("default", "token", "first-token-value");
    let mut world = World::start().await;
    world.secrets = config.store.clone();
    let definition = format!(
        r#"
trigger: {{manual: {{}}}}
steps:
  - {{id: first, http: {{url: "http://{0}/first", headers: {{X-Token: "${{{{ secrets.token }}}}"}}}}}}
  - {{id: pause, wait: {{duration: 1s}}}}
  - {{id: second, http: {{url: "http://{0}/second", headers: {{X-Token: "${{{{ secrets.token }}}}"}}}}}}
"#,
        target.addr
    );
    let execution = world.accept(&definition, "one", "{}").await;
    world.run();
    target.called(1).await;
    world.crash().await;
    config.set("default", "token", "second-token-value");
    // Neither in memory: the node starts anew.
    config.reopen();
    world.secrets = config.store.clone();
    world.run();
    let facts = world.finished(&execution).await;
    assert_eq!(output_of(&facts)["json"]["said"], "*** ***");
    assert_eq!(
        target.calls().last().unwrap().header("x-token"),
        "second-token-value"
    );
    world.stop().await;
    assert!(!world.some_file_holds("first-token-value"));
}
