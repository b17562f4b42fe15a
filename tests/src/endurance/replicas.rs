//! Three control planes at one PostgreSQL, and three nodes, while replicas are killed, the database is crashed and restarted, and
//! connections are cut. Changes and reports go on all the time; at the end each change was made once, each message is one
//! execution, and all nodes have the same configuration.

mod changes;
mod chaos;
mod messages;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde::Serialize;
use signalbox_proto::v1::{ListNodesRequest, NodeState};
use signalbox_test_postgres::Postgres;

use self::{changes::Writers, chaos::Chaos, messages::Senders};
use super::Noted;
use crate::{
    api::Api,
    cli::Cli,
    planes::{ControlPlane, DataPlane, Options, Planes},
    proxy::Proxy,
    wait,
};

const REPLICAS: usize = 3;
/// What must come may take so long.
const LIMIT: Duration = Duration::from_secs(120);
const TELL_EVERY: Duration = Duration::from_secs(10);

/// What is to flow, at least.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Changes of the configuration.
    pub changes: usize,
    /// Messages, each of which is an execution that is reported.
    pub reports: usize,
}

/// What was done, and seen.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Replicas killed by SIGKILL, and started again.
    pub replicas_killed: usize,
    /// The database stopped as by a crash.
    pub database_crashed: usize,
    /// The database shut down and started again.
    pub database_restarted: usize,
    /// Connections that the database was made to end.
    pub connections_ended: usize,
    /// A replica cut off from the database.
    pub cut_from_database: usize,
    /// A replica cut off from the nodes.
    pub cut_from_nodes: usize,
    /// Changes that were acknowledged; each was made once.
    pub changes: usize,
    /// Calls that failed and were made again, by code.
    pub calls_failed: BTreeMap<String, u64>,
    /// Keys, the same at each replica and each node.
    pub keys: usize,
    /// Messages that were acknowledged; each is one execution, that succeeded.
    pub executions: usize,
    /// Messages that were refused, or not answered, and sent again.
    pub messages_refused: u64,
    /// The whole of it, in seconds.
    pub flow_s: f64,
    /// From the end of it until all nodes had everything, and everything was reported.
    pub settled_s: f64,
}

/// Replicas, nodes, and what stands between them.
struct Installation {
    // Before the database: they end first.
    nodes: Vec<DataPlane>,
    controls: Vec<ControlPlane>,
    apis: Vec<Api>,
    /// Between each replica and the database.
    to_database: Vec<Proxy>,
    /// Between the nodes and each replica.
    to_replicas: Vec<Proxy>,
    planes: Planes,
    postgres: Postgres,
}

impl Installation {
    async fn start() -> Self {
        let postgres = Postgres::start();
        let socket: PathBuf = postgres.socket();
        let mut to_database = Vec::new();
        for _ in 0..REPLICAS {
            to_database.push(Proxy::start_before_socket(socket.clone()).await);
        }
        let url = |proxy: &Proxy| format!("postgres://signalbox@{}/postgres", proxy.addr);
        let mut planes = Planes::new(Options {
            control_plane: vec!["--database-url".into(), url(&to_database[0])],
            ..Options::default()
        });
        planes.control.start().await;
        planes.write_node_token();
        let mut controls = Vec::new();
        for proxy in &to_database[1..] {
            let mut replica = planes.replica();
            replica.set_arg("--database-url", &url(proxy));
            replica.start().await;
            controls.push(replica);
        }
        let token = planes.control.token("admin");
        let endpoints = std::iter::once(&planes.control)
            .chain(&controls)
            .map(|it| it.endpoint.clone());
        let endpoints: Vec<_> = endpoints.collect();
        let mut to_replicas = Vec::new();
        for endpoint in &endpoints {
            let addr = endpoint.trim_start_matches("http://").parse().unwrap();
            to_replicas.push(Proxy::start(addr).await);
        }
        let seen: Vec<_> = to_replicas
            .iter()
            .map(|proxy| format!("http://{}", proxy.addr))
            .collect();
        let mut nodes = Vec::new();
        for _ in 0..REPLICAS {
            let mut node = planes.node_at(&seen.join(","));
            node.start().await;
            nodes.push(node);
        }
        let apis = endpoints.iter().map(|it| Api::new(it, &token)).collect();
        Self {
            nodes,
            controls,
            apis,
            to_database,
            to_replicas,
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

    /// Until every node uses the newest configuration, and has nothing left to report.
    async fn settled(&self) {
        wait::until("the nodes to have everything", LIMIT, || async {
            let mut service = self.apis[0].nodes();
            let listed = service.list_nodes(ListNodesRequest::default());
            let nodes = listed.await.map_err(|s| s.to_string())?.into_inner().nodes;
            let is_done = |node: &signalbox_proto::v1::Node| {
                node.state() == NodeState::Connected && node.applied_revision == node.head_revision
            };
            match nodes.iter().filter(|node| is_done(node)).count() {
                REPLICAS => Ok(()),
                _ => Err(format!("{nodes:?}")),
            }
        })
        .await;
        let (mut least, mut since) = (u64::MAX, Instant::now());
        loop {
            let mut left = 0;
            for node in &self.nodes {
                left += unreported(&node.metrics().await);
            }
            if left == 0 {
                return;
            }
            if left < least {
                (least, since) = (left, Instant::now());
            }
            assert!(since.elapsed() < LIMIT, "{left} are not reported");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

/// Executions and records that a node still has to bring to their ends.
fn unreported(metrics: &str) -> u64 {
    let value = |name: &str| {
        let mut lines = metrics.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        value.parse::<u64>().ok()
    };
    ["unfinished_executions", "unreported_records"]
        .iter()
        .map(|name| value(&format!("signalbox_spool_{name}")).unwrap_or(u64::MAX / 8))
        .sum()
}

/// When writers and senders are to end, and how far they are.
#[derive(Clone, Debug, Default)]
struct Flow {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
}

impl Flow {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn add_one(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    fn done(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }
}

/// Does it; at least until all that is planned has flowed, and each kind of trouble was made. Tells what it does when it `tells`.
pub async fn run(plan: Plan, tells: bool) -> Report {
    let mut installation = Installation::start().await;
    let sender = installation.apis[0].create_key("sender").await;
    messages::create_workflow(&installation.apis[0]).await;
    for node in &installation.nodes {
        messages::is_known(node, &sender).await;
    }
    let began = Instant::now();
    let (changing, sending) = (Flow::default(), Flow::default());
    let writers = Writers::start(&installation.apis, &changing);
    let senders = Senders::start(&installation.nodes, &sender, &sending);
    let mut report = Report::default();
    let mut chaos = Chaos::new(tells);
    let mut told = Instant::now();
    while changing.done() < plan.changes || sending.done() < plan.reports || !chaos.has_played() {
        // When one of both has flowed, the other has the machine for itself.
        if changing.done() >= plan.changes && chaos.has_played() {
            changing.stop.store(true, Ordering::Relaxed);
        }
        if sending.done() >= plan.reports && chaos.has_played() {
            sending.stop.store(true, Ordering::Relaxed);
        }
        chaos.next(&mut installation, &mut report).await;
        if tells && told.elapsed() > TELL_EVERY {
            let (changes, messages) = (changing.done(), sending.done());
            eprintln!("{changes} changes, {messages} messages");
            told = Instant::now();
        }
    }
    changing.stop.store(true, Ordering::Relaxed);
    sending.stop.store(true, Ordering::Relaxed);
    let made = writers.finish(&mut report).await;
    let accepted = senders.finish(&mut report).await;
    report.flow_s = began.elapsed().as_secs_f64();
    let ended = Instant::now();
    installation.settled().await;
    report.settled_s = ended.elapsed().as_secs_f64();
    made.check(&installation).await;
    report.keys = made.keys();
    report.executions = messages::check(&installation.apis, &accepted).await;
    let cli = Cli::new(&installation.planes.control, "admin");
    let verified = cli.ok(&["audit", "verify"]).await;
    if tells {
        eprintln!("{verified}");
    }
    report
}
