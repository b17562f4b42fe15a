//! `nodes`: one control plane with many nodes, workflows and keys.
//!
//! The control plane as released. Its nodes are the node's end of the Sync stream alone, each with a connection of its own, in
//! the bench's process; beside them one whole data plane. Keys are revoked one after the other, and it is waited until all
//! nodes have it: with few nodes and with all, with one that reads no more. Then all connections are cut at once.

mod fill;
mod light;
mod text;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use hdrhistogram::Histogram;
use jiff::Timestamp;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;
use signalbox_proto::v1::{GetNodeRequest, NodeState, RevokeApiKeyRequest};
use signalbox_tests::{
    api::Api,
    planes::{DataPlane, Options, Planes},
};
use tokio::sync::{mpsc, watch};

use self::{
    fill::{Filled, key_id},
    light::{Arrived, Fleet, Light},
};
use crate::{
    ingest::{SMALL_BYTES, corpus, ground},
    machine::Machine,
    output,
    process_stats::{Cpu, Memory},
    results::Bar,
};

/// Messages that are verified to see how fast the machine is.
const CORPUS: u64 = 2048;
/// How long a revocation may take to come to all nodes before this gives up.
const REVOKED_LIMIT: Duration = Duration::from_secs(60);
/// How long nodes may take to be connected, or to be up to date again, before this gives up.
const SETTLED_LIMIT: Duration = Duration::from_secs(900);
/// How long a node that reads no more may go on as if it were there.
const STUCK_LIMIT: Duration = Duration::from_secs(60);
/// Nodes that connect at the same time where it is not the storm that is measured.
const CONNECTING: usize = 64;
/// Keys whose revocation is looked for at the data plane.
const PROBED: u64 = 20;
/// Files that a process has open beside its connections.
const FILES: u64 = 256;
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What `nodes` takes.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct NodesArgs {
    /// Numbers of nodes, growing; the last is that of all.
    #[arg(long, value_delimiter = ',', default_values_t = [10, 100, 1000])]
    nodes: Vec<usize>,
    /// Workflows.
    #[arg(long, default_value_t = 100_000)]
    workflows: u64,
    /// Keys.
    #[arg(long, default_value_t = 100_000)]
    keys: u64,
    /// Keys that are revoked with each number of nodes.
    #[arg(long, default_value_t = 200)]
    revocations: u64,
    /// Database instead of SQLite; empty, and not used by anybody: postgres://…
    #[arg(long)]
    database_url: Option<String>,
}

/// Revocations with one number of nodes.
#[derive(Clone, Debug, Serialize)]
struct Revoked {
    nodes: usize,
    /// One of them reads no more.
    has_stuck: bool,
    revocations: u64,
    /// From the call until a node has it; of all nodes and revocations.
    p50_ms: f64,
    p99_ms: f64,
    /// The same until the last node has it.
    last_p50_ms: f64,
    last_p99_ms: f64,
    last_max_ms: f64,
    /// CPU time of the control plane for each revocation, everything else that it did meanwhile included.
    cpu_us: f64,
    /// Bytes of messages to all nodes for each revocation.
    bytes: f64,
    /// RSS of the control plane.
    control_mib: f64,
}

/// All connections cut at once, until all nodes are up to date again.
#[derive(Clone, Debug, Serialize)]
struct Storm {
    /// They had forgotten what they had.
    forgot: bool,
    nodes: usize,
    settled_s: f64,
    /// Streams that were begun for it.
    streams: u64,
    mib: f64,
    cpu_s: f64,
    /// RSS of the control plane at its peak.
    peak_mib: f64,
    /// Afterwards.
    control_mib: f64,
}

/// A whole data plane.
#[derive(Clone, Debug, Serialize)]
struct Real {
    /// From its start, with nothing, until it is ready.
    cold_s: f64,
    /// The same with what it had, without the control plane having to send it again.
    warm_s: f64,
    resident_mib: f64,
    /// From the call until a revoked key is refused, with all nodes connected.
    revoked_p50_ms: f64,
    revoked_max_ms: f64,
}

#[derive(Serialize)]
struct Found {
    machine: Machine,
    command: String,
    started_at: String,
    database: &'static str,
    workflows: u64,
    keys: u64,
    filled_s: f64,
    /// RSS of the control plane before a node had come.
    control_mib: f64,
    real: Real,
    revoked: Vec<Revoked>,
    /// Until the node that reads no more was let go; none: it was not.
    stuck_for_s: Option<f64>,
    storms: Vec<Storm>,
    bars: Vec<Bar>,
}

/// Plays it, prints it and writes it to `out`.
pub(crate) async fn run(args: NodesArgs, out: &output::Out) -> Result<()> {
    let all = args.nodes.iter().copied().max().context("no nodes")?;
    ensure!(
        args.nodes.is_sorted() && args.nodes[0] > 0,
        "--nodes must grow"
    );
    let stages = args.nodes.len() as u64 + 1;
    ensure!(
        args.keys >= stages * args.revocations && args.revocations > 0,
        "each revocation needs a key"
    );
    raise_files(all)?;
    let started_at = Timestamp::now().to_string();
    let ground = ground(&out.dir).await?;
    let corpus = corpus(&ground, SMALL_BYTES, CORPUS)?;
    let machine = Machine::measure(&ground.dir, &ground.key, &corpus)?;
    let mut options = Options {
        dir_in: Some(ground.dir.clone()),
        ..Options::default()
    };
    let no_quotas = ["--quota-workflows", "0", "--quota-api-keys", "0"];
    options.control_plane = no_quotas.map(String::from).to_vec();
    if let Some(url) = &args.database_url {
        let database = ["--database-url".into(), url.clone()];
        options.control_plane.extend(database);
    }
    let mut planes = Planes::new(options);
    let filling = Instant::now();
    let (filled, probes) = prepare(&mut planes, &args).await?;
    let filled_s = filling.elapsed().as_secs_f64();
    println!(
        "{} workflows and {} keys written in {filled_s:.0} s",
        args.workflows, args.keys
    );
    planes.write_node_token();
    let control_mib = Memory::of(planes.control.process().id())?.resident_mib;
    let (cold_s, warm_s) = starts(&mut planes).await?;

    let mut bench = Bench::new(planes, &filled);
    bench.know(&probes).await?;
    let mut revoked = Vec::new();
    for nodes in &args.nodes {
        bench.connect(*nodes).await?;
        revoked.push(bench.revoke(args.revocations, false).await?);
        println!("{}", text::line(&revoked[revoked.len() - 1]));
    }
    let (revoked_p50_ms, revoked_max_ms) = bench.revoke_at_the_data_plane(probes).await?;
    let real = Real {
        cold_s,
        warm_s,
        resident_mib: Memory::of(bench.planes.data.process().id())?.resident_mib,
        revoked_p50_ms,
        revoked_max_ms,
    };
    let (with_stuck, stuck_for_s) = bench.revoke_beside_a_stuck(args.revocations).await?;
    println!("{}", text::line(&with_stuck));
    revoked.push(with_stuck);
    let mut storms = Vec::new();
    for forgot in [false, true] {
        storms.push(bench.storm(forgot).await?);
        println!("{}", text::storm(&storms[storms.len() - 1]));
    }
    let found = Found {
        machine,
        command: output::command(),
        started_at,
        database: match args.database_url {
            Some(_) => "PostgreSQL",
            None => "SQLite",
        },
        workflows: args.workflows,
        keys: args.keys,
        filled_s,
        control_mib,
        bars: text::bars(&real, &revoked, stuck_for_s, &storms),
        real,
        revoked,
        stuck_for_s,
        storms,
    };
    let text = text::text(&found);
    println!("\n{text}");
    out.json("nodes", &found)?;
    out.markdown("nodes", &text)
}

/// Each node is a connection here, and one at the control plane, which inherits the limit.
fn raise_files(nodes: usize) -> Result<()> {
    let wanted = nodes as u64 + FILES;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return Ok(());
    }
    ensure!(
        limit.maximum.is_none_or(|maximum| maximum >= wanted),
        "{nodes} nodes need {wanted} open files, and `ulimit -Hn` allows {:?}",
        limit.maximum
    );
    let raised = Rlimit {
        current: Some(wanted),
        maximum: limit.maximum,
    };
    Ok(setrlimit(Resource::Nofile, raised)?)
}

/// A database with all that is to be there, and the control plane on top of it. What is made by the API comes first: a project
/// may have a quota.
async fn prepare(planes: &mut Planes, args: &NodesArgs) -> Result<(Filled, Vec<Probe>)> {
    planes.control.start().await;
    let probes = probes(planes).await;
    let status = planes.control.process().terminate(Duration::from_secs(30));
    ensure!(status.success(), "the control plane ended: {status}");
    planes.control.kill();
    let url = args.database_url.clone().unwrap_or_else(|| {
        let file = planes.control.data_dir.join("control-plane.sqlite");
        format!("sqlite://{}?mode=rw", file.display())
    });
    let filled = fill::fill(&url, args.workflows, args.keys).await?;
    planes.control.start().await;
    Ok((filled, probes))
}

/// Keys of a workflow of their own.
async fn probes(planes: &Planes) -> Vec<Probe> {
    let api = planes.api("admin");
    let mut probes = Vec::new();
    for number in 0..PROBED {
        let id = format!("probe-{number}");
        let value = api.create_key(&id).await;
        let url = planes.endpoint("probe", "webhook", &value);
        probes.push(Probe { id, url });
    }
    let ids: Vec<&str> = probes.iter().map(|probe| probe.id.as_str()).collect();
    let spec = format!(
        "trigger:\n  webhook:\n    apiKeys: [{}]\nsteps:\n  - id: done\n    succeed: {{}}\n",
        ids.join(", ")
    );
    api.create_workflow("probe", &spec).await;
    probes
}

/// How long a data plane takes to start with nothing, and with what it had.
async fn starts(planes: &mut Planes) -> Result<(f64, f64)> {
    let cold_s = start(&mut planes.data).await?;
    planes.data.process().terminate(Duration::from_secs(30));
    planes.data.kill();
    let warm_s = start(&mut planes.data).await?;
    println!("a data plane is ready after {cold_s:.2} s, with what it had after {warm_s:.2} s");
    Ok((cold_s, warm_s))
}

async fn start(data: &mut DataPlane) -> Result<f64> {
    let started = Instant::now();
    data.spawn();
    loop {
        let answer = reqwest::get(data.admin_url("/readyz")).await;
        if answer.is_ok_and(|answer| answer.status().is_success()) {
            return Ok(started.elapsed().as_secs_f64());
        }
        ensure!(
            started.elapsed() < SETTLED_LIMIT,
            "the data plane does not become ready"
        );
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Everything under way.
struct Bench {
    planes: Planes,
    api: Api,
    fleet: Arc<Fleet>,
    arrived: mpsc::UnboundedReceiver<Arrived>,
    nodes: Vec<Light>,
    incarnation: String,
    /// The newest revision that is known.
    head: i64,
    /// Keys revoked so far.
    revoked: u64,
}

/// A key, and the URL that takes it.
struct Probe {
    id: String,
    url: String,
}

impl Bench {
    fn new(planes: Planes, filled: &Filled) -> Self {
        let (sender, arrived) = mpsc::unbounded_channel();
        let fleet = Arc::new(Fleet {
            endpoint: planes.control.endpoint.clone(),
            token: planes.control.token("data-plane"),
            arrived: sender,
            bytes: AtomicU64::new(0),
            streams: AtomicU64::new(0),
            drops: watch::Sender::new(0),
            forget: AtomicBool::new(false),
        });
        Self {
            api: planes.api("admin"),
            planes,
            fleet,
            arrived,
            nodes: Vec::new(),
            incarnation: filled.incarnation.clone(),
            head: filled.revision,
            revoked: 0,
        }
    }

    fn control(&mut self) -> u32 {
        self.planes.control.process().id()
    }

    /// Until there are so many nodes, all up to date.
    async fn connect(&mut self, count: usize) -> Result<()> {
        while self.nodes.len() < count {
            for _ in 0..CONNECTING.min(count - self.nodes.len()) {
                let id = format!("light-{}", self.nodes.len());
                let has = (self.incarnation.as_str(), self.head);
                self.nodes.push(Light::start(&self.fleet, id, has, false));
            }
            let wanted = self.nodes.len() as u64;
            self.until("nodes to be connected", |bench| {
                bench.fleet.streams.load(Ordering::Relaxed) >= wanted
            })
            .await?;
        }
        self.until("all nodes to be up to date", Self::is_settled)
            .await
    }

    fn is_settled(&self) -> bool {
        self.nodes.iter().all(|node| node.revision() >= self.head)
    }

    async fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) -> Result<()> {
        let started = Instant::now();
        while !is_so(self) {
            ensure!(started.elapsed() < SETTLED_LIMIT, "waited for {what}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(())
    }

    /// Revokes a key; gives when that began.
    async fn revoke_one(&mut self, id: &str) -> Result<Instant> {
        let request = RevokeApiKeyRequest {
            name: format!("projects/default/apiKeys/{id}"),
            ..Default::default()
        };
        let began = Instant::now();
        self.api.keys().revoke_api_key(request).await?;
        self.head += 1;
        Ok(began)
    }

    /// Revokes keys one after the other, each when all nodes have the one before.
    async fn revoke(&mut self, revocations: u64, has_stuck: bool) -> Result<Revoked> {
        let mut of_nodes = Histogram::<u64>::new(3)?;
        let mut of_last = Histogram::<u64>::new(3)?;
        let pid = self.control();
        let cpu = Cpu::of(pid)?;
        let bytes = self.fleet.bytes.load(Ordering::Relaxed);
        for _ in 0..revocations {
            let id = key_id(self.revoked);
            self.revoked += 1;
            let name = format!("projects/default/apiKeys/{id}");
            let began = self.revoke_one(&id).await?;
            let mut last = Duration::ZERO;
            for _ in 0..self.nodes.len() {
                let arrived = loop {
                    let next = tokio::time::timeout(REVOKED_LIMIT, self.arrived.recv());
                    let next = next.await.context("a node was not told")?;
                    let next = next.context("no nodes")?;
                    if next.key == name {
                        break next.at.saturating_duration_since(began);
                    }
                };
                of_nodes.record(u64::try_from(arrived.as_micros())?)?;
                last = last.max(arrived);
            }
            of_last.record(u64::try_from(last.as_micros())?)?;
        }
        let cpu = Cpu::of(pid)?.since(&cpu);
        let bytes = self.fleet.bytes.load(Ordering::Relaxed) - bytes;
        let ms = |us: u64| us as f64 / 1e3;
        Ok(Revoked {
            nodes: self.nodes.len(),
            has_stuck,
            revocations,
            p50_ms: ms(of_nodes.value_at_quantile(0.5)),
            p99_ms: ms(of_nodes.value_at_quantile(0.99)),
            last_p50_ms: ms(of_last.value_at_quantile(0.5)),
            last_p99_ms: ms(of_last.value_at_quantile(0.99)),
            last_max_ms: ms(of_last.max()),
            cpu_us: cpu.total_us / revocations as f64,
            bytes: bytes as f64 / revocations as f64,
            control_mib: Memory::of(pid)?.resident_mib,
        })
    }

    /// The same beside a node that reads no more; and how long that one is put up with.
    async fn revoke_beside_a_stuck(&mut self, revocations: u64) -> Result<(Revoked, Option<f64>)> {
        let has = (self.incarnation.clone(), self.head);
        let stuck = Light::start(&self.fleet, "stuck".to_owned(), (&has.0, has.1), true);
        let began = Instant::now();
        while !self.is_connected("stuck").await? {
            ensure!(began.elapsed() < SETTLED_LIMIT, "the node does not come");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let began = Instant::now();
        let found = self.revoke(revocations, true).await?;
        let mut let_go = None;
        while let_go.is_none() && began.elapsed() < STUCK_LIMIT {
            if !self.is_connected("stuck").await? {
                let_go = Some(began.elapsed().as_secs_f64());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        drop(stuck);
        Ok((found, let_go))
    }

    async fn is_connected(&self, node: &str) -> Result<bool> {
        let request = GetNodeRequest {
            name: format!("nodes/{node}"),
        };
        match self.api.nodes().get_node(request).await {
            Ok(node) => Ok(node.into_inner().state() == NodeState::Connected),
            Err(status) if status.code() == tonic::Code::NotFound => Ok(false),
            Err(status) => Err(status.into()),
        }
    }

    /// Until the data plane takes the keys.
    async fn know(&self, probes: &[Probe]) -> Result<()> {
        for probe in probes {
            self.answers(&probe.url, 400).await?;
        }
        Ok(())
    }

    /// Until the data plane answers so to a body that is no JSON, which starts nothing.
    async fn answers(&self, url: &str, status: u16) -> Result<()> {
        let client = reqwest::Client::new();
        let started = Instant::now();
        loop {
            let request = client
                .post(url)
                .header("content-type", "application/json")
                .body("{");
            if request.send().await?.status().as_u16() == status {
                return Ok(());
            }
            ensure!(started.elapsed() < REVOKED_LIMIT, "never answered {status}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    async fn revoke_at_the_data_plane(&mut self, probes: Vec<Probe>) -> Result<(f64, f64)> {
        let mut took = Vec::new();
        for probe in probes {
            let began = self.revoke_one(&probe.id).await?;
            self.answers(&probe.url, 401).await?;
            took.push(began.elapsed().as_secs_f64() * 1e3);
        }
        took.sort_by(f64::total_cmp);
        Ok((took[took.len() / 2], took[took.len() - 1]))
    }

    /// Cuts all connections at once, and waits until all nodes have what was changed meanwhile.
    async fn storm(&mut self, forgot: bool) -> Result<Storm> {
        let pid = self.control();
        // Its peak is counted from now (proc(5)).
        std::fs::write(format!("/proc/{pid}/clear_refs"), "5")?;
        let cpu = Cpu::of(pid)?;
        let bytes = self.fleet.bytes.load(Ordering::Relaxed);
        let streams = self.fleet.streams.load(Ordering::Relaxed);
        self.fleet.forget.store(forgot, Ordering::Relaxed);
        let began = Instant::now();
        self.fleet.drops.send_modify(|count| *count += 1);
        let id = key_id(self.revoked);
        self.revoked += 1;
        self.revoke_one(&id).await?;
        self.until("all nodes to be up to date again", Self::is_settled)
            .await?;
        let settled_s = began.elapsed().as_secs_f64();
        let memory = Memory::of(pid)?;
        Ok(Storm {
            forgot,
            nodes: self.nodes.len(),
            settled_s,
            streams: self.fleet.streams.load(Ordering::Relaxed) - streams,
            mib: (self.fleet.bytes.load(Ordering::Relaxed) - bytes) as f64 / 1024.0 / 1024.0,
            cpu_s: Cpu::of(pid)?.since(&cpu).total_us / 1e6,
            peak_mib: memory.peak_mib,
            control_mib: memory.resident_mib,
        })
    }
}
