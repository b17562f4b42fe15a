//! Each plane is killed at random, many times, under load. What was acknowledged has exactly one execution, and every
//! side effect carries one Idempotency-Key.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rand::RngExt as _;
use signalbox_proto::v1::{self, ExecutionState};
use signalbox_tests::{
    planes::{Options, Planes},
    target::Target,
    wait,
};
use tokio::net::TcpListener;

use crate::local_stack::synced;

const KILLS: usize = 20;
/// Kills while one execution is under way, after which it is not begun again.
const INTERRUPTIONS_MAX: usize = 5;
const SENDERS: usize = 4;

/// Posts distinct messages until told to stop, each until it is acknowledged; gives their ids.
async fn send(
    sender: usize,
    url: String,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Vec<String>>>,
) {
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(15))
        .build()
        .unwrap();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let id = format!("m-{sender}-{number}");
        number += 1;
        // As Amazon SNS does: again and again until a 200, or this message is given up (and may have run or not).
        while !stop.load(Ordering::Relaxed) {
            let answer = client
                .post(&url)
                .header("idempotency-key", &id)
                .json(&serde_json::json!({"id": id}))
                .send()
                .await;
            match answer {
                Ok(answer) if answer.status() == 200 => {
                    acknowledged.lock().unwrap().push(id.clone());
                    break;
                }
                Ok(answer) => {
                    let status = answer.status().as_u16();
                    assert!(
                        status >= 500 || status == 429,
                        "a good message got {status}: the sender would give it up"
                    );
                }
                Err(_) => {}
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_is_executed_exactly_once_whatever_is_killed() {
    let target = Target::start(|_, _| 200).await;
    let (mut planes, api) = Planes::start(Options::default()).await;
    let key = api.create_key("sender").await;
    let spec = format!(
        r#"
trigger:
  webhook:
    apiKeys: [sender]
steps:
  - id: before
    transform:
      expression: event.json.id
  - id: call
    retry: {{maxAttempts: 10, initialBackoff: 0.05s, maxBackoff: 0.5s}}
    http:
      url: http://{}/
      text: ${{{{ steps.before.output }}}}
  - id: after
    transform:
      expression: steps.call.output.status
"#,
        target.addr
    );
    api.create_workflow("work", &spec).await;
    synced(&api).await;

    let stop = Arc::new(AtomicBool::new(false));
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let url = planes.endpoint("work", "webhook", &key);
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            tokio::spawn(send(
                sender,
                url.clone(),
                stop.clone(),
                acknowledged.clone(),
            ))
        })
        .collect();

    for round in 0..KILLS {
        let (pause, both) = {
            let mut rng = rand::rng();
            (rng.random_range(50..700), rng.random_bool(0.2))
        };
        tokio::time::sleep(Duration::from_millis(pause)).await;
        // Starting either plane first must do.
        if round % 2 == 0 || both {
            planes.data.kill();
        }
        if round % 2 == 1 || both {
            planes.control.kill();
            planes.control.spawn();
        }
        if round % 2 == 0 || both {
            planes.data.spawn();
            planes.data.ready().await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    for sender in senders {
        sender.await.unwrap();
    }
    let acknowledged: HashSet<_> = {
        let list = acknowledged.lock().unwrap().clone();
        let set: HashSet<_> = list.iter().cloned().collect();
        assert_eq!(set.len(), list.len());
        set
    };
    assert!(
        acknowledged.len() > 100,
        "a real load: {}",
        acknowledged.len()
    );

    let executions = wait::until(
        "every execution to end and be reported",
        Duration::from_secs(120),
        || {
            let api = api.clone();
            let acknowledged = acknowledged.clone();
            async move {
                let all = api.all_executions("").await.map_err(|s| s.to_string())?;
                let ended = all
                    .iter()
                    .filter(|e| e.state() == ExecutionState::Succeeded)
                    .map(|e| e.message_id.clone())
                    .collect::<HashSet<_>>();
                let missing = acknowledged.difference(&ended).count();
                if missing == 0 && ended.len() == all.len() {
                    Ok(all)
                } else {
                    Err(format!(
                        "{missing} acknowledged are missing; {} of {} succeeded",
                        ended.len(),
                        all.len()
                    ))
                }
            }
        },
    )
    .await;

    let ids: HashSet<_> = executions.iter().map(|e| &e.message_id).collect();
    assert_eq!(ids.len(), executions.len(), "one execution each");

    let mut keys: HashMap<String, HashSet<String>> = HashMap::new();
    for call in target.calls() {
        let id = String::from_utf8(call.body.to_vec()).unwrap();
        keys.entry(id)
            .or_default()
            .insert(call.headers["idempotency-key"].clone());
    }
    for id in &acknowledged {
        assert_eq!(
            keys.get(id).map(HashSet::len),
            Some(1),
            "the service saw {id} with one Idempotency-Key"
        );
    }
    let calls = target.calls().len();
    eprintln!(
        "{KILLS} kills: {} acknowledged, {} executions, {calls} calls of the service",
        acknowledged.len(),
        executions.len(),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_execution_that_gets_nowhere_before_each_kill_fails_in_the_end() {
    // It takes calls, and answers none.
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = Target::start(|_, _| 200).await;
    let data_plane = vec![format!("--interruptions-max={INTERRUPTIONS_MAX}")];
    let (mut planes, api) = Planes::start(Options {
        data_plane,
        ..Options::default()
    })
    .await;
    let step =
        |id: &str, url: &str| format!("  - id: {id}\n    http: {{url: \"http://{url}/\"}}\n");
    let stuck = service.local_addr().unwrap().to_string();
    let stuck = format!(
        "trigger: {{manual: {{}}}}\nsteps:\n{}{}finally:\n  steps:\n{}",
        step("before", &target.addr.to_string()),
        step("stuck", &stuck),
        step("last", &target.addr.to_string()),
    );
    api.create_workflow("stuck", &stuck).await;
    synced(&api).await;
    let run = v1::RunWorkflowRequest {
        name: "projects/default/workflows/stuck".to_owned(),
        request_id: uuid::Uuid::new_v4().to_string(),
        ..Default::default()
    };
    let execution = api.workflows().run_workflow(run).await.unwrap();
    let name = execution.into_inner().name;
    for _ in 0..INTERRUPTIONS_MAX {
        let called = tokio::time::timeout(Duration::from_secs(30), service.accept()).await;
        let (_call, _) = called.expect("it is called again").unwrap();
        planes.data.kill();
        planes.data.spawn();
    }
    planes.data.ready().await;
    let failed = api.execution_in(&name, ExecutionState::Failed).await;
    let error = failed.error.unwrap();
    assert_eq!(error.code, "INTERNAL");
    assert!(error.message.contains("killed 5 times"), "{error:?}");
    // Whatever ends the process may stand in any step.
    assert_eq!(target.calls().len(), 1, "only the step before was called");
    let called = tokio::time::timeout(Duration::ZERO, service.accept()).await;
    assert!(called.is_err(), "it is not begun again");
}
