//! A node that goes for good, and one that is told to end: what they have done is reported, and what they leave behind is named.

use std::time::Duration;

use signalbox_proto::v1::{
    ExecutionState, NamedSignal, SignalExecutionRequest, signal_execution_request::Kind,
};
use signalbox_tests::{
    api::Api,
    planes::{Options, Planes},
    wait,
};

const LIMIT: Duration = Duration::from_secs(60);
/// Waits until it is told to go on.
const GATE: &str = "[{id: gate, wait: {signal: {name: go}}}]";

async fn hook(api: &Api, id: &str, steps: &str) -> String {
    let key = api.create_key("sender").await;
    let spec = format!("trigger: {{webhook: {{apiKeys: [sender]}}}}\nsteps: {steps}");
    api.create_workflow(id, &spec).await;
    api.synced(LIMIT).await;
    key
}

/// Status, and the reason that a refusal gives.
async fn post(url: &str, n: usize) -> (u16, String) {
    let answer = reqwest::Client::new()
        .post(url)
        .header("idempotency-key", format!("n{n}"))
        .json(&serde_json::json!({"n": n}))
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

async fn post_all(url: &str, count: usize) {
    let mut posts = tokio::task::JoinSet::new();
    for n in 0..count {
        let url = url.to_owned();
        posts.spawn(async move { post(&url, n).await });
        if posts.len() >= 32 {
            let (status, text) = posts.join_next().await.unwrap().unwrap();
            assert_eq!(status, 200, "{text}");
        }
    }
    for (status, text) in posts.join_all().await {
        assert_eq!(status, 200, "{text}");
    }
}

/// Names of all that wait, once there are so many.
async fn waiting(api: &Api, count: usize) -> Vec<String> {
    wait::until("executions to wait", LIMIT, || async {
        let all = api.all_executions("state == \"WAITING\"").await.unwrap();
        match all.len() == count {
            true => Ok(all.into_iter().map(|of| of.name).collect()),
            false => Err(format!("{} wait", all.len())),
        }
    })
    .await
}

async fn go(api: &Api, name: &str) {
    let go = SignalExecutionRequest {
        name: name.to_owned(),
        request_id: uuid::Uuid::new_v4().to_string(),
        kind: Some(Kind::Signal(NamedSignal {
            name: "go".to_owned(),
            payload_json: "1".to_owned(),
        })),
    };
    api.executions().signal_execution(go).await.unwrap();
}

/// How many of all have ended well.
async fn succeeded(api: &Api) -> usize {
    let all = api.all_executions("").await.unwrap();
    let ended = |of: &&signalbox_proto::v1::Execution| of.state() == ExecutionState::Succeeded;
    all.iter().filter(ended).count()
}

/// Executions, and records that are not reported.
fn left(planes: &Planes) -> (u64, u64) {
    let survey = planes.data.inspect();
    let store = &survey["store"];
    let pending = survey["pending"]["messages"].as_u64().unwrap();
    (
        store["unfinishedExecutions"].as_u64().unwrap() + pending,
        store["unreportedRecords"].as_u64().unwrap() + pending,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_retires_takes_no_more_ends_what_it_has_and_reports_it() {
    const MESSAGES: usize = 5;
    let (mut planes, api) = Planes::start(Options::default()).await;
    let key = hook(&api, "gate", GATE).await;
    let url = planes.endpoint("gate", "webhook", &key);
    post_all(&url, MESSAGES).await;
    waiting(&api, MESSAGES).await;
    planes.data.process().signal_retire();
    let refused = wait::until("the node to take no more", LIMIT, || async {
        match post(&url, MESSAGES).await {
            (503, text) => Ok(text),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    assert!(refused.contains("draining"), "{refused}");
    let (is_ok, detail) = planes.data.check("retiring").await.unwrap();
    assert!(!is_ok, "{detail}");
    assert!(
        detail.contains("executions that have not ended"),
        "{detail}"
    );

    // What it has goes on, and hears what it waits for.
    assert!(planes.data.process().is_running());
    let all = api.all_executions("").await.unwrap();
    for execution in waiting(&api, all.len()).await {
        go(&api, &execution).await;
    }
    let status = tokio::task::block_in_place(|| planes.data.process().ends(LIMIT));
    assert_eq!(status.code(), Some(0), "{}", planes.data.log());
    assert!(
        planes
            .data
            .log()
            .contains("nothing is left: the node can go")
    );
    assert_eq!(left(&planes), (0, 0));
    let all = api.all_executions("").await.unwrap().len();
    // One may have come between the signal and the first refusal.
    assert!((MESSAGES..=MESSAGES + 1).contains(&all), "{all}");
    assert_eq!(succeeded(&api).await, all);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retirement_that_comes_to_its_limit_names_what_is_left_and_goes_on_at_the_next_start() {
    let options = Options {
        data_plane_env: vec![("SIGNALBOX_DP_RETIRE_TIMEOUT_S".to_owned(), "2".to_owned())],
        ..Options::default()
    };
    let (mut planes, api) = Planes::start(options).await;
    let key = hook(&api, "gate", GATE).await;
    let url = planes.endpoint("gate", "webhook", &key);
    post_all(&url, 1).await;
    let name = waiting(&api, 1).await.remove(0);
    planes.data.process().signal_retire();
    let status = tokio::task::block_in_place(|| planes.data.process().ends(LIMIT));
    assert_eq!(status.code(), Some(1), "{}", planes.data.log());
    let log = planes.data.log();
    let line = "error: the node is not retired, its data folder is still needed: 1 executions";
    assert!(log.contains(line), "{log}");
    assert_eq!(left(&planes), (1, 0));

    planes.data.kill();
    planes.data.set_env([]);
    planes.data.add_args(["--retire"]);
    planes.data.spawn();
    go(&api, &name).await;
    let status = tokio::task::block_in_place(|| planes.data.process().ends(LIMIT));
    assert_eq!(status.code(), Some(0), "{}", planes.data.log());
    assert_eq!(left(&planes), (0, 0));
    assert_eq!(succeeded(&api).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_told_to_end_reports_what_it_has_done() {
    const MESSAGES: usize = 600;
    let (mut planes, api) = Planes::start(Options::default()).await;
    // All end at about the same time, and with many records.
    let steps = "[{id: wait, wait: {duration: 3s}}, {id: each, forEach: {items: lists.range(8), \
                 steps: [{id: one, transform: {expression: item}}]}}]";
    let key = hook(&api, "burst", steps).await;
    let url = planes.endpoint("burst", "webhook", &key);
    post_all(&url, MESSAGES).await;
    wait::until("the first to end", LIMIT, || async {
        match succeeded(&api).await {
            0 => Err("none has".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
    let status = tokio::task::block_in_place(|| planes.data.process().terminate(LIMIT));
    assert_eq!(status.code(), Some(0), "{}", planes.data.log());
    let (unfinished, unreported) = left(&planes);
    assert_eq!(unreported, 0, "{}", planes.data.log());
    // Every end is known.
    assert_eq!(succeeded(&api).await as u64, MESSAGES as u64 - unfinished);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_control_plane_that_is_away_does_not_hold_the_end_up() {
    let (mut planes, api) = Planes::start(Options::default()).await;
    let key = hook(&api, "quick", "[{id: one, transform: {expression: '1'}}]").await;
    planes.control.kill();
    post_all(&planes.endpoint("quick", "webhook", &key), 10).await;
    let limit = Duration::from_secs(10);
    let status = tokio::task::block_in_place(|| planes.data.process().terminate(limit));
    assert_eq!(status.code(), Some(0), "{}", planes.data.log());
    assert!(left(&planes).1 > 0);
}
