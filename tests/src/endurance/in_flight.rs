//! The data plane is killed (SIGKILL) again and again while many executions of many steps are under way.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream};
use rand::RngExt as _;
use serde::Serialize;
use signalbox_proto::v1::{Execution, ExecutionState};

use super::{PATIENCE, World};
use crate::{planes::Options, wait};

const WORKFLOW: &str = "ten";
/// Its steps that call the service, and how often each does.
const CALLS: [(&str, usize); 5] = [
    ("first", 1),
    ("each", 3),
    ("left", 1),
    ("right", 1),
    ("last", 1),
];
/// Messages sent at once.
const SENDERS: usize = 16;

/// What a run has shown.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Kills.
    pub kills: usize,
    /// Executions, each of which has ended as it would have.
    pub executions: usize,
    /// The fewest that were under way at a kill.
    pub fewest_in_flight: usize,
    /// Calls of the service.
    pub calls: usize,
    /// Of them, those that a crash had repeated, each with the key of the first.
    pub repeated: usize,
    /// The longest that a start took until it was ready, in seconds.
    pub longest_start_s: f64,
    /// From the last kill until everything had ended, in seconds.
    pub drain_s: f64,
}

/// Ten steps: calls one by one, in a loop and side by side, short waits, one that is left to the spool, and a step that
/// runs finally.
fn spec(target: std::net::SocketAddr) -> String {
    let call = |id: &str, of: &str| {
        format!(
            "{{id: {id}, retry: {{maxAttempts: 20, initialBackoff: 0.1s, maxBackoff: 2s}}, \
             http: {{url: \"http://{target}/{id}\", text: \"${{{{ event.messageId }}}} {id} {of}\"}}}}"
        )
    };
    format!(
        r#"
trigger: {{webhook: {{apiKeys: [sender]}}}}
steps:
  - {first}
  - {{id: seen, transform: {{expression: steps.first.output.status}}}}
  - {{id: breath, wait: {{duration: 0.2s}}}}
  - id: loop
    forEach: {{items: lists.range(3), concurrency: 2, steps: [{each}]}}
  - id: both
    parallel:
      branches:
        - {{name: left, steps: [{left}]}}
        - {{name: right, steps: [{{id: nap, wait: {{duration: 0.1s}}}}, {right}]}}
  - {{id: sleep, wait: {{duration: 6s}}}}
  - {{id: done, succeed: {{output: "${{{{ size(steps.loop.output) }}}}"}}}}
finally:
  steps: [{last}]
"#,
        first = call("first", "0"),
        each = call("each", "${{ index }}"),
        left = call("left", "0"),
        right = call("right", "0"),
        last = call("last", "0"),
    )
}

/// Sends messages until each is acknowledged; as Amazon SNS does, again and again.
async fn send(url: &str, from: usize, count: usize) {
    let client = reqwest::Client::builder()
        .timeout(Duration::from_secs(10))
        .build()
        .unwrap();
    let post = |number: usize| {
        let (client, id) = (client.clone(), format!("m{number}"));
        async move {
            loop {
                let request = client.post(url).header("idempotency-key", &id).body("{}");
                let request = request.header("content-type", "application/json");
                match request.send().await.map(|answer| answer.status().as_u16()) {
                    Ok(200) => return,
                    Ok(status) => assert!(status >= 500, "a good message got {status}"),
                    Err(_) => {}
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    };
    let posts = stream::iter((from..from + count).map(post));
    posts.buffer_unordered(SENDERS).collect::<()>().await;
}

/// Kills the data plane `kills` times while at least `in_flight` executions are under way.
pub async fn run(in_flight: usize, kills: usize, tells: bool) -> Report {
    let mut world = World::with(Options::default(), |_| {}).await;
    world
        .api
        .create_workflow(WORKFLOW, &spec(world.target.addr))
        .await;
    world.api.synced(Duration::from_secs(30)).await;
    let url = world.planes.endpoint(WORKFLOW, "webhook", &world.key);
    let (mut sent, mut fewest, mut longest_start_s) = (0, usize::MAX, 0_f64);
    for kill in 0..kills {
        let missing = in_flight.saturating_sub(under_way(&world, sent));
        send(&url, sent, missing).await;
        sent += missing;
        let pause_ms = rand::rng().random_range(0..500);
        tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        fewest = fewest.min(under_way(&world, sent));
        world.planes.data.kill();
        let began = Instant::now();
        world.planes.data.spawn();
        world.planes.data.ready().await;
        longest_start_s = longest_start_s.max(began.elapsed().as_secs_f64());
        if tells && (kill + 1) % 10 == 0 {
            eprintln!("{} kills, {sent} executions", kill + 1);
        }
    }
    let began = Instant::now();
    let executions = ended(&world, sent).await;
    let drain_s = began.elapsed().as_secs_f64();
    let wrong: Vec<&Execution> = executions
        .iter()
        .filter(|execution| execution.state() != ExecutionState::Succeeded)
        .collect();
    assert_eq!(wrong.len(), 0, "{:?}", wrong.first());
    let calls = world.target.calls().len();
    let repeated = calls - check_calls(&world, sent);
    Report {
        kills,
        executions: sent,
        fewest_in_flight: fewest,
        calls,
        repeated,
        longest_start_s,
        drain_s,
    }
}

/// Of so many executions, those whose last call has not come.
fn under_way(world: &World, sent: usize) -> usize {
    let calls = world.target.calls();
    let last = calls.iter().filter(|call| call.target == "/last");
    let ended: HashSet<&[u8]> = last.map(|call| &call.body[..]).collect();
    sent - ended.len()
}

/// All executions, once they have ended.
async fn ended(world: &World, count: usize) -> Vec<Execution> {
    wait::until("every execution to end", 4 * PATIENCE, || async {
        let backlog = world.backlog().await;
        if backlog.unfinished + backlog.unreported > 0 {
            return Err(format!("{} have not ended", backlog.unfinished));
        }
        let all = world.api.all_executions("").await;
        let all = all.map_err(|status| status.to_string())?;
        match all.iter().all(|execution| execution.end_time.is_some()) && all.len() == count {
            true => Ok(all),
            false => Err(format!("{} of {count} are there", all.len())),
        }
    })
    .await
}

/// Each call of each execution was seen, each with one key, and no key with two calls. Gives how many there are.
fn check_calls(world: &World, executions: usize) -> usize {
    let mut keys: HashMap<String, HashSet<String>> = HashMap::new();
    for call in world.target.calls() {
        let what = String::from_utf8(call.body.to_vec()).unwrap();
        let key = call.headers["idempotency-key"].clone();
        keys.entry(what).or_default().insert(key);
    }
    for number in 0..executions {
        for (step, times) in CALLS {
            for of in 0..times {
                let what = format!("m{number} {step} {of}");
                let used = keys.get(&what).map(HashSet::len);
                assert_eq!(used, Some(1), "{what}: one Idempotency-Key");
            }
        }
    }
    let expected = executions * CALLS.iter().map(|(_, times)| times).sum::<usize>();
    assert_eq!(keys.len(), expected, "a call of no step");
    let different: HashSet<&String> = keys.values().flatten().collect();
    assert_eq!(different.len(), expected, "two calls with one key");
    expected
}
