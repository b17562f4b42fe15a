//! The data plane is killed (SIGKILL) again and again while many executions of many steps are under way. Each ends as one of its
//! kind did that nobody disturbed.

use std::{
    collections::{HashMap, HashSet},
    time::{Duration, Instant},
};

use futures::{StreamExt as _, stream};
use rand::RngExt as _;
use serde::Serialize;
use signalbox_proto::v1::{Execution, ExecutionError, ExecutionState, StepState};

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
/// Kinds of executions, by the number of their message: what runs, what fails, what goes on after a failure, and what waits in
/// vain for a signal.
const KINDS: usize = 4;
/// The kind that calls this step besides.
const HANDLED: (&str, usize) = ("handled", 2);
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
/// runs finally. Of some kinds one step more, which fails or waits in vain.
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
  - id: kind
    condition:
      rules:
        - {{if: event.json.kind == 1, steps: [{{id: breaks, fail: {{code: BROKEN, message: as it is to}}}}]}}
        - if: event.json.kind == 2
          steps:
            - id: refused
              onError: {{steps: [{handled}]}}
              retry: {{maxAttempts: 2, initialBackoff: 0.1s}}
              http: {{url: "http://127.0.0.1:1/"}}
        - if: event.json.kind == 3
          steps: [{{id: unheard, wait: {{signal: {{name: go, timeout: 0.3s, onTimeout: continue}}}}}}]
  - {{id: done, succeed: {{output: "${{{{ size(steps.loop.output) }}}}"}}}}
finally:
  steps: [{last}]
"#,
        first = call("first", "0"),
        each = call("each", "${{ index }}"),
        left = call("left", "0"),
        right = call("right", "0"),
        last = call("last", "0"),
        handled = call("handled", "0"),
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
                let body = format!("{{\"kind\": {}}}", number % KINDS);
                let request = client.post(url).header("idempotency-key", &id).body(body);
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
    send(&url, 0, KINDS).await;
    let undisturbed = outcomes(&world, &ended(&world, KINDS).await).await;
    assert_eq!(undisturbed.len(), KINDS);
    let (mut sent, mut fewest, mut longest_start_s) = (KINDS, usize::MAX, 0_f64);
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
    for (message_id, outcome) in outcomes(&world, &executions).await {
        let expected = &undisturbed[&format!("m{}", number_of(&message_id) % KINDS)];
        assert_eq!(&outcome, expected, "{message_id}");
    }
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

/// How an execution ended: what does not depend on when its steps ran.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    state: ExecutionState,
    output: String,
    error: Option<String>,
    /// Id, indexes, state, and code of the error.
    steps: Vec<(String, Vec<i32>, StepState, Option<String>)>,
}

impl Outcome {
    fn of(execution: &Execution) -> Self {
        let code = |error: &Option<ExecutionError>| error.as_ref().map(|error| error.code.clone());
        let steps = execution.steps.iter().map(|run| {
            let id = run.step_id.clone();
            (id, run.indexes.clone(), run.state(), code(&run.error))
        });
        let mut steps: Vec<_> = steps.collect();
        // Those side by side start in any order.
        steps.sort();
        Self {
            state: execution.state(),
            output: execution.output_json.clone(),
            error: code(&execution.error),
            steps,
        }
    }
}

fn number_of(message_id: &str) -> usize {
    message_id.trim_start_matches('m').parse().unwrap()
}

/// How each ended, by its message.
async fn outcomes(world: &World, executions: &[Execution]) -> HashMap<String, Outcome> {
    let read = executions.iter().map(async |execution| {
        let whole = world.api.execution(&execution.name).await.unwrap();
        (whole.message_id.clone(), Outcome::of(&whole))
    });
    stream::iter(read).buffer_unordered(SENDERS).collect().await
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
    let mut expected = 0;
    for number in 0..executions {
        let (handled, kind) = HANDLED;
        let handled = (handled, usize::from(number % KINDS == kind));
        for (step, times) in CALLS.into_iter().chain([handled]) {
            for of in 0..times {
                let what = format!("m{number} {step} {of}");
                let used = keys.get(&what).map(HashSet::len);
                assert_eq!(used, Some(1), "{what}: one Idempotency-Key");
                expected += 1;
            }
        }
    }
    assert_eq!(keys.len(), expected, "a call of no step");
    let different: HashSet<&String> = keys.values().flatten().collect();
    assert_eq!(different.len(), expected, "two calls with one key");
    expected
}
