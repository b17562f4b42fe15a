//! Three control planes at one PostgreSQL, and a node at each: what is written at one is effective at the nodes of the others,
//! whatever is cut or killed meanwhile, and nothing is lost or done twice.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use signalbox_proto::convert::status::ApiError;
use signalbox_proto::v1::{
    self, CancelExecutionRequest, ExecutionState, NamedSignal, RevokeApiKeyRequest,
    RunWorkflowRequest, SignalExecutionRequest, WatchExecutionsRequest,
    signal_execution_request::Kind,
};
use signalbox_test_postgres::Postgres;
use signalbox_tests::{
    api::Api,
    grpc,
    planes::{ControlPlane, DataPlane, Options, Planes},
    target::Target,
    wait,
};

const LIMIT: Duration = Duration::from_secs(60);
const HOOK: &str = "
trigger:
  webhook:
    apiKeys: [sender]
steps:
  - id: only
    transform:
      expression: event.json.n
";

/// Replicas, and nodes. The nodes know of all replicas, and begin where chance has it; `pinned` ones know of one.
struct Installation {
    // Before the database: they end first.
    nodes: Vec<DataPlane>,
    controls: Vec<ControlPlane>,
    apis: Vec<Api>,
    planes: Planes,
    postgres: Postgres,
}

impl Installation {
    async fn start(pinned: bool) -> Self {
        let postgres = Postgres::start();
        let mut planes = Planes::new(Options {
            control_plane: vec!["--database-url".into(), postgres.url()],
            ..Options::default()
        });
        planes.control.start().await;
        planes.write_node_token();
        let mut controls: Vec<_> = (0..2).map(|_| planes.replica()).collect();
        for control in &mut controls {
            control.start().await;
        }
        let token = planes.control.token("admin");
        let mut endpoints = vec![planes.control.endpoint.clone()];
        endpoints.extend(controls.iter().map(|control| control.endpoint.clone()));
        let all = endpoints.join(",");
        let mut nodes = Vec::new();
        for endpoint in &endpoints {
            let mut node = planes.node_at(if pinned { endpoint } else { &all });
            node.start().await;
            nodes.push(node);
        }
        let apis = endpoints.iter().map(|it| Api::new(it, &token)).collect();
        Self {
            nodes,
            controls,
            apis,
            planes,
            postgres,
        }
    }

    fn control(&mut self, number: usize) -> &mut ControlPlane {
        match number {
            0 => &mut self.planes.control,
            other => &mut self.controls[other - 1],
        }
    }

    fn hook(&self, node: usize, key: &str) -> String {
        let base = &self.nodes[node].webhook_url;
        format!("{base}/v1/projects/default/workflows/hook/webhook?x-api-key={key}")
    }
}

async fn post(client: &reqwest::Client, url: &str, id: &str) -> u16 {
    let request = client
        .post(url)
        .header("idempotency-key", id)
        .json(&serde_json::json!({"n": id}));
    request
        .send()
        .await
        .map_or(0, |answer| answer.status().as_u16())
}

/// Until a node answers so; how long it took.
async fn becomes(client: &reqwest::Client, url: &str, status: u16, limit: Duration) -> Duration {
    let start = Instant::now();
    loop {
        let found = post(client, url, &uuid::Uuid::new_v4().to_string()).await;
        if found == status {
            return start.elapsed();
        }
        assert!(start.elapsed() < limit, "still {found}, expected {status}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Until a node knows a key: a body that is no JSON starts nothing, and is looked at only then.
async fn is_known(client: &reqwest::Client, url: &str) {
    wait::until("the node to know the key", LIMIT, || async {
        let request = client
            .post(url)
            .header("content-type", "application/json")
            .body("{");
        let answer = request.send().await.map_err(|error| error.to_string())?;
        match answer.status().as_u16() {
            400 => Ok(()),
            other => Err(other.to_string()),
        }
    })
    .await;
}

async fn revoke(api: &Api, id: &str) {
    let request = RevokeApiKeyRequest {
        name: format!("projects/default/apiKeys/{id}"),
        ..Default::default()
    };
    api.keys().revoke_api_key(request).await.unwrap();
}

/// A workflow that takes each of these keys, and the keys' values.
async fn create_hook(api: &Api, keys: &[String]) -> Vec<String> {
    let mut values = Vec::new();
    for key in keys {
        values.push(api.create_key(key).await);
    }
    let hook = HOOK.replace("sender", &keys.join(", "));
    api.create_workflow("hook", &hook).await;
    values
}

async fn run(api: &Api, workflow: &str) -> String {
    let request = RunWorkflowRequest {
        name: format!("projects/default/workflows/{workflow}"),
        request_id: uuid::Uuid::new_v4().to_string(),
        ..RunWorkflowRequest::default()
    };
    let run = api.workflows().run_workflow(request).await;
    run.unwrap().into_inner().name
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_at_one_replica_is_effective_at_the_nodes_of_the_others() {
    let installation = Installation::start(true).await;
    let client = reqwest::Client::new();
    let keys: Vec<String> = (0..31).map(|n| format!("k{n}")).collect();
    let values = create_hook(&installation.apis[0], &keys).await;
    for node in 0..3 {
        let url = installation.hook(node, &values[30]);
        becomes(&client, &url, 200, LIMIT).await;
    }
    let mut took = Vec::new();
    for n in 0..30 {
        let (writer, reader) = (n % 3, (n + 1 + n / 3 % 2) % 3);
        let url = installation.hook(reader, &values[n]);
        becomes(&client, &url, 200, LIMIT).await;
        revoke(&installation.apis[writer], &keys[n]).await;
        took.push(becomes(&client, &url, 401, Duration::from_secs(1)).await);
    }
    took.sort();
    eprintln!(
        "revoked at one replica, refused at a node of another, after the answer: p50 {:?}, p90 {:?}, p99 {:?}",
        took[15], took[27], took[29]
    );

    // Whoever tells of changes is cut off, again and again; what is written meanwhile is seen all the same.
    let last = &values[30];
    let urls: Vec<String> = (0..3).map(|node| installation.hook(node, last)).collect();
    for url in &urls {
        becomes(&client, url, 200, LIMIT).await;
    }
    let cut = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' \
               AND pid <> pg_backend_pid()";
    let mut cuts = 0;
    for n in 0..10 {
        cuts += installation.postgres.sql(cut).parse::<u32>().unwrap();
        let id = format!("late{n}");
        let value = installation.apis[n % 3].create_key(&id).await;
        let hook = HOOK.replace("sender", &format!("k30, {id}"));
        update_hook(&installation.apis[(n + 1) % 3], &hook).await;
        let url = installation.hook((n + 2) % 3, &value);
        let _ = installation.postgres.sql(cut);
        becomes(&client, &url, 200, Duration::from_secs(5)).await;
    }
    assert!(cuts > 0);
    revoke(&installation.apis[0], "k30").await;
    for url in &urls {
        becomes(&client, url, 401, Duration::from_secs(5)).await;
    }
}

async fn update_hook(api: &Api, spec: &str) {
    let spec: v1::WorkflowSpec = signalbox_proto::convert::json::from_yaml_str(spec).unwrap();
    let request = v1::UpdateWorkflowRequest {
        workflow: Some(v1::Workflow {
            name: "projects/default/workflows/hook".into(),
            spec: Some(spec),
            ..Default::default()
        }),
        publish: true,
    };
    api.workflows().update_workflow(request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_signals_and_cancellations_find_the_node_that_is_at_another_replica() {
    let mut installation = Installation::start(true).await;
    // One node, at the last replica; calls go to the others.
    installation.nodes[0].kill();
    installation.nodes[1].kill();
    let [first, second, _] = &installation.apis[..] else {
        unreachable!()
    };
    let spec = "
trigger:
  manual: {}
steps:
  - {id: gate, wait: {signal: {name: go}}}
";
    first.create_workflow("gate", spec).await;
    let mut watched = second
        .executions()
        .watch_executions(WatchExecutionsRequest {
            parent: "projects/default".into(),
            ..Default::default()
        })
        .await
        .unwrap()
        .into_inner();
    let mut took = Vec::new();
    for n in 0..10 {
        let (one, other) = match n % 2 {
            0 => (first, second),
            _ => (second, first),
        };
        let start = Instant::now();
        let name = run(one, "gate").await;
        one.execution_in(&name, ExecutionState::Waiting).await;
        let waiting = start.elapsed();
        let start = Instant::now();
        let end = match n < 5 {
            true => {
                let request = SignalExecutionRequest {
                    name: name.clone(),
                    kind: Some(Kind::Signal(NamedSignal {
                        name: "go".into(),
                        payload_json: "1".into(),
                    })),
                    request_id: String::new(),
                };
                other.executions().signal_execution(request).await.unwrap();
                ExecutionState::Succeeded
            }
            false => {
                let request = CancelExecutionRequest {
                    name: name.clone(),
                    force: false,
                };
                other.executions().cancel_execution(request).await.unwrap();
                ExecutionState::Cancelled
            }
        };
        other.execution_in(&name, end).await;
        took.push(waiting.max(start.elapsed()));
        // Who watches at one replica sees what is reported to another.
        loop {
            let next = tokio::time::timeout(LIMIT, watched.message()).await;
            let execution = next.expect("nothing is watched").unwrap().unwrap();
            if execution.name == name && execution.state() == end {
                break;
            }
        }
    }
    took.sort();
    eprintln!(
        "there and back by way of other replicas: median {:?}, longest {:?}",
        took[5], took[9]
    );
    // Looking for commands without being told takes up to two seconds.
    assert!(took[5] < Duration::from_millis(1500), "{took:?}");
}

/// Sends messages to all nodes until it is stopped; gives the ids that were answered 200.
struct Load {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    tasks: Vec<tokio::task::JoinHandle<BTreeSet<String>>>,
}

impl Load {
    fn start(urls: Vec<String>, pause: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicUsize::new(0));
        let tasks = urls.into_iter().enumerate().map(|(node, url)| {
            let (stop, sent) = (stop.clone(), sent.clone());
            tokio::spawn(async move {
                let client = reqwest::Client::new();
                let mut accepted = BTreeSet::new();
                for n in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let id = format!("node{node}-{n}");
                    assert_eq!(
                        post(&client, &url, &id).await,
                        200,
                        "a node goes on by itself"
                    );
                    sent.fetch_add(1, Ordering::Relaxed);
                    accepted.insert(id);
                    tokio::time::sleep(pause).await;
                }
                accepted
            })
        });
        Self {
            tasks: tasks.collect(),
            stop,
            sent,
        }
    }

    async fn goes_on(&self, more: usize) {
        let goal = self.sent.load(Ordering::Relaxed) + more;
        wait::until("the load to go on", LIMIT, || async {
            match self.sent.load(Ordering::Relaxed) {
                sent if sent >= goal => Ok(()),
                sent => Err(format!("{sent} of {goal}")),
            }
        })
        .await;
    }

    async fn stop(self) -> BTreeSet<String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = BTreeSet::new();
        for task in self.tasks {
            all.extend(task.await.unwrap());
        }
        all
    }
}

/// Every message that was accepted is one execution that succeeded, and there is no other.
async fn each_is_there_once(api: &Api, accepted: &BTreeSet<String>) {
    let start = Instant::now();
    let all = wait::until("all executions", 2 * LIMIT, || async {
        let all = api
            .all_executions("workflow == \"hook\"")
            .await
            .map_err(|status| status.to_string())?;
        let done = all
            .iter()
            .filter(|it| it.state() == ExecutionState::Succeeded);
        match (done.count(), all.len()) {
            (done, found) if done == accepted.len() && found == done => Ok(all),
            (done, found) => Err(format!("{done} of {found}, expected {}", accepted.len())),
        }
    })
    .await;
    let found: BTreeSet<String> = all.into_iter().map(|it| it.message_id).collect();
    assert_eq!(&found, accepted);
    eprintln!(
        "{} messages, each one execution, {:?} after the last",
        found.len(),
        start.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_replicas_and_a_restarted_database_lose_nothing_and_make_nothing_twice() {
    let mut installation = Installation::start(false).await;
    let target = Target::start(|_, _| 200).await;
    let values = create_hook(&installation.apis[0], &["sender".into()]).await;
    let schedule = format!(
        r#"
trigger:
  schedule:
    rate: 1s
    misfire: MISFIRE_POLICY_RUN_ONCE
steps:
  - id: call
    http:
      url: http://{}/
      json: {{at: "${{{{ event.timestamp }}}}"}}
"#,
        target.addr
    );
    installation.apis[0]
        .create_workflow("ticks", &schedule)
        .await;
    let client = reqwest::Client::new();
    for node in 0..3 {
        is_known(&client, &installation.hook(node, &values[0])).await;
    }
    let urls = (0..3).map(|node| installation.hook(node, &values[0]));
    let load = Load::start(urls.collect(), Duration::from_millis(5));
    load.goes_on(100).await;

    // Each replica dies once, and comes back; the nodes go to the others.
    for number in 0..3 {
        installation.control(number).kill();
        eprintln!("replica {number} is killed");
        load.goes_on(100).await;
        let alive = installation.apis[(number + 1) % 3].clone();
        wait::until("the nodes to be elsewhere", LIMIT, || async {
            let listed = alive
                .nodes()
                .list_nodes(v1::ListNodesRequest::default())
                .await;
            let nodes = listed.map_err(|s| s.to_string())?.into_inner().nodes;
            let connected = nodes
                .iter()
                .filter(|it| it.state() == v1::NodeState::Connected);
            match connected.count() {
                3 => Ok(()),
                found => Err(format!("{found} of 3")),
            }
        })
        .await;
        // What is written now is taken by all of them, wherever they are.
        let id = format!("after{number}");
        let value = alive.create_key(&id).await;
        update_hook(&alive, &HOOK.replace("sender", &format!("sender, {id}"))).await;
        for node in 0..3 {
            is_known(&client, &installation.hook(node, &value)).await;
        }
        installation.control(number).start().await;
    }

    // The database crashes, and is shut down; what could not be reported waits at the nodes.
    for mode in ["immediate", "fast"] {
        installation.postgres.stop(mode);
        eprintln!("PostgreSQL is stopped: {mode}");
        load.goes_on(100).await;
        wait::until("a replica to say so", LIMIT, || async {
            match installation.planes.control.readiness().await? {
                (false, said) if said.contains("cannot be reached") => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
        installation.postgres.start_again();
        load.goes_on(100).await;
    }
    let accepted = load.stop().await;
    each_is_there_once(&installation.apis[2], &accepted).await;

    // The ticks: each once, by three replicas that all look.
    let ticks = installation.apis[1]
        .all_executions("workflow == \"ticks\"")
        .await
        .unwrap();
    let times: BTreeSet<&str> = ticks.iter().map(|tick| tick.message_id.as_str()).collect();
    assert_eq!(times.len(), ticks.len());
    assert!(ticks.len() >= 5, "{}", ticks.len());
    let mut calls: BTreeMap<String, usize> = BTreeMap::new();
    for call in target.calls() {
        let body = String::from_utf8_lossy(&call.body).into_owned();
        *calls.entry(body).or_default() += 1;
    }
    assert!(calls.values().all(|count| *count == 1), "{calls:?}");
    eprintln!("{} ticks, each once", ticks.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_with_another_master_key_does_not_start() {
    let postgres = Postgres::start();
    let mut planes = Planes::new(Options {
        control_plane: vec!["--database-url".into(), postgres.url()],
        ..Options::default()
    });
    planes.control.start().await;
    let refused = async |mut stranger: ControlPlane, expected: &str| {
        stranger.spawn();
        wait::until("the end", LIMIT, || {
            let is_running = stranger.process().is_running();
            async move {
                if is_running {
                    Err("it runs".to_owned())
                } else {
                    Ok(())
                }
            }
        })
        .await;
        let log = stranger.log();
        assert!(log.contains(expected), "{log}");
        stranger.kill();
        stranger
    };
    let stranger = refused(planes.stranger(), "no master key in").await;
    let place = |name: &str| stranger.data_dir.join(name);
    assert!(!place("master.key").exists(), "none is made");
    std::fs::write(place("master.key"), [7; 32]).unwrap();
    let mut stranger = refused(stranger, "is not the one that the database's values").await;
    let place = |name: &str| stranger.data_dir.join(name);
    std::fs::copy(
        planes.control.data_dir.join("master.key"),
        place("master.key"),
    )
    .unwrap();
    stranger.start().await;
    // Its tokens are signed by a key of its own, and good at the other, as the other's are here.
    for (at, of) in [(&stranger, &planes.control), (&planes.control, &stranger)] {
        let api = Api::new(&at.endpoint, &of.token("viewer"));
        assert_eq!(api.all_executions("").await.unwrap(), []);
    }
}

/// Creates a key; the reason when it is refused.
async fn create(api: &Api, id: &str) -> Result<(), String> {
    let request = v1::CreateApiKeyRequest {
        parent: "projects/default".into(),
        api_key_id: id.into(),
        ..Default::default()
    };
    let created = api.keys().create_api_key(request).await;
    let refused = |status| ApiError::from(status).reason.unwrap_or_default();
    created.map(drop).map_err(refused)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_whose_database_is_another_serves_no_more_and_one_that_was_away_does_again() {
    let postgres = Postgres::start();
    let mut planes = Planes::new(Options {
        control_plane: vec!["--database-url".into(), postgres.url()],
        ..Options::default()
    });
    planes.control.start().await;
    let health = async |endpoint: &str, expected: &[u8]| {
        wait::until("the health", LIMIT, || async {
            let check = "/grpc.health.v1.Health/Check";
            let answer = grpc::call(endpoint, check, None, &[]).await.message().await;
            match answer == expected {
                true => Ok(()),
                false => Err(format!("{answer:?}")),
            }
        })
        .await;
    };
    // Field 1 of its answer: SERVING, NOT_SERVING.
    let (serving, not_serving) = ([8, 1], [8, 2]);
    let endpoint = planes.control.endpoint.clone();
    let api = planes.api("admin");
    health(&endpoint, &serving).await;
    postgres.stop("fast");
    health(&endpoint, &not_serving).await;
    postgres.start_again();
    health(&endpoint, &serving).await;
    create(&api, "before").await.unwrap();

    // It was put back while this one ran on.
    let restore = ["restore", "--database-url", &postgres.url()];
    let put_back = planes.control.maintain(&restore);
    assert!(put_back.status.success(), "{put_back:?}");
    assert_eq!(
        create(&api, "refused").await,
        Err("DATABASE_REPLACED".to_owned())
    );
    health(&endpoint, &not_serving).await;
    let (is_ready, said) = planes.control.readiness().await.unwrap();
    assert!(
        !is_ready && said.contains("another than at the start"),
        "{said}"
    );
    planes.control.kill();
    planes.control.start().await;
    health(&endpoint, &serving).await;
    create(&api, "refused").await.unwrap();
}
