//! Workflows take turns: one with many executions waiting, each slow and one at a time, does not hold up another.

use std::time::{Duration, Instant};

use signalbox_proto::v1::ExecutionState;
use signalbox_tests::{
    planes::{Options, Planes},
    target::Target,
    wait,
};

/// More than the node takes from its log to have enough to do.
const FLOOD: usize = 1500;

async fn post(url: &str, count: usize) {
    let client = reqwest::Client::new();
    for number in 0..count {
        let request = client.post(url).header("content-type", "application/json");
        let answer = request.body(format!("{{\"n\":{number}}}")).send().await;
        assert_eq!(answer.unwrap().status(), 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_for_one_workflow_does_not_hold_up_another() {
    let target = Target::start(|_, _| 200).await;
    let (planes, api) = Planes::start(Options::default()).await;
    let key = api.create_key("sender").await;
    let limited = "trigger: {webhook: {apiKeys: [sender]}}\nconcurrency: {maxExecutions: 1}\n\
                   steps: [{id: slow, wait: {duration: 0.5s}}]";
    api.create_workflow("flood", limited).await;
    let quick = format!(
        "trigger: {{webhook: {{apiKeys: [sender]}}}}\nsteps: [{{id: call, http: {{url: \"http://{}/\"}}}}]",
        target.addr
    );
    api.create_workflow("quick", &quick).await;
    api.synced(Duration::from_secs(30)).await;

    post(&planes.endpoint("flood", "webhook", &key), FLOOD).await;
    let began = Instant::now();
    post(&planes.endpoint("quick", "webhook", &key), 1).await;
    wait::until("the other workflow", Duration::from_secs(30), || async {
        match target.calls().len() {
            0 => Err("it was not called".to_owned()),
            _ => Ok(()),
        }
    })
    .await;
    // The flood alone takes half a second for each.
    assert!(began.elapsed() < Duration::from_secs(30));
    wait::until("states to be reported", Duration::from_secs(30), || async {
        let filter = "workflow == \"projects/default/workflows/flood\"";
        let all = api
            .all_executions(filter)
            .await
            .map_err(|s| s.to_string())?;
        let in_state = |state| all.iter().filter(|of| of.state() == state).count();
        let under_way = in_state(ExecutionState::Running) + in_state(ExecutionState::Waiting);
        let queued = in_state(ExecutionState::Queued);
        match all.len() == FLOOD && under_way <= 1 && queued > FLOOD / 2 {
            true => Ok(()),
            false => Err(format!(
                "{} known, {under_way} under way, {queued} queued",
                all.len()
            )),
        }
    })
    .await;
}
