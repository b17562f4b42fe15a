//! Links of approvals that steps send, across a crash.

use signalbox_runtime::data_dir::DataDir;

use super::*;
use crate::{
    config::ConfigStore,
    execution::{LinkKey, NodeLinks},
};

const DEFINITION: &str = r#"
trigger: {manual: {}}
steps:
  - id: tell
    http:
      url: http://TARGET/
      headers: {X-Links: "${{ approvals.ask.approveUrl }} ${{ approvals.ask.rejectUrl }}"}
  - id: ask
    approval: {message: sure?, timeout: 1s, onTimeout: approve}
  - {id: said, transform: {expression: steps.tell.output.json.said}}
"#;

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_a_crash_broke_off_sends_the_same_links_again_and_no_file_holds_them() {
    let calls = AtomicUsize::new(0);
    let target = Target::start(move |call| match calls.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::Never,
        _ => Reply::json(200, &json!({ "said": call.header("x-links") })),
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let folder = DataDir::open(dir.path().join("d")).unwrap();
    let mut world = World::start().await;
    // Each process has the folder's key, and what is in it of where links lead.
    let links = || {
        let key = LinkKey::load_or_create(&folder).unwrap();
        let config = ConfigStore::open(folder.path(), |_| Err(String::new())).unwrap();
        config.set_public_url("https://box.test").unwrap();
        NodeLinks::new("n1".parse().unwrap(), key, Arc::new(config))
    };
    world.links = Some(Arc::new(links()));
    let definition = DEFINITION.replace("TARGET", &target.addr.to_string());
    let execution = world.accept(&definition, "one", "{}").await;
    world.run();
    target.called(1).await;
    world.crash().await;
    world.links = Some(Arc::new(links()));
    world.run();
    let facts = world.finished(&execution).await;
    assert_eq!(attempts(&facts), [(1, false), (1, true)]);
    let sent = target.calls();
    let sent: Vec<_> = sent.iter().map(|call| call.header("x-links")).collect();
    assert_eq!(sent[0], sent[1]);
    let masked = "https://box.test/approvals/*** https://box.test/approvals/***";
    assert_eq!(output_of(&facts), json!(masked));
    world.stop().await;
    for url in sent[0].split(' ') {
        let token = url.strip_prefix("https://box.test/approvals/").unwrap();
        assert!(!world.some_file_holds(token), "{token}");
    }
    assert!(world.some_file_holds("https://box.test/approvals/***"));
}
