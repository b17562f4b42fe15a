//! A node of the simulation: the real ingest, spool, executions and report, on a disk and a network that can fail. It can be
//! killed between any two of its steps, and in the middle of a write.

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    ops::{ControlFlow, Range},
    path::Path,
    sync::{
        Arc, LazyLock, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use prost::Message as _;
use signalbox_client::{Client, ClientConfig};
use signalbox_engine::{Effect, HttpResponse, Outcome};
use signalbox_log::{LogConfig, simulator::SimulatedDisk};
use signalbox_model::config::{KeyConfig, KeyDigest, Revision};
use signalbox_proto::{convert, v1};
use signalbox_runtime::{ambient::Ambient as _, shutdown::Shutdown};
use signalbox_sns::TrustPolicy;
use tempfile::TempDir;
use tokio::{sync::Notify, task::JoinHandle};

use super::{
    chance::{Chance, Day},
    network::{Life, Network},
    sns::{Letter, POST, TOPIC},
    trace::Trace,
};
use crate::{
    config::{Change, ConfigStore, Upsert},
    execution::{ExecutionConfig, ExecutionRuntime, Performer},
    ingest::{self, Answer, Budget, Ingest, Turned},
    report::ReportClient,
    spool::{
        IntakeOpenError, IntakeSpoolConfig, Spool as _, SqliteSpoolConfig,
        simulated::{self, Pace, Simulated, Turn},
    },
    sync::decode_resource,
};

pub(super) const KEY: &str = "sbk_simulated";
pub(super) const WORKFLOW: &str = "projects/default/workflows/w";
const SEGMENT_BYTES: u64 = 24 * 1024;
/// Some pages of the store.
const KEPT_BYTES: u64 = 32 * 1024;
/// How long a turn of a healthy disk takes, in ms.
pub(super) const PACE_MS: Range<u64> = 0..4;
/// As the node's own (`node::REQUEST_TIMEOUT`): what the layer above ingest answers before Amazon SNS gives up.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(14);

/// The last known good configuration, which all nodes of all seeds have.
static CONFIG: LazyLock<(TempDir, Arc<ConfigStore>)> = LazyLock::new(|| {
    let dir = tempfile::tempdir().unwrap();
    let store = ConfigStore::open(dir.path(), decode_resource).unwrap();
    store.apply(configuration()).unwrap();
    (dir, Arc::new(store))
});

fn configuration() -> Change {
    let yaml = format!(
        "trigger: {{amazonSns: {{apiKeys: [k], topicArns: [\"{TOPIC}\"]}}}}\nsteps:\n  - id: call\n    retry: \
         {{maxAttempts: 3, initialBackoff: 1s}}\n    http: {{url: \"http://target.example/\"}}\n"
    );
    let spec: v1::WorkflowSpec = convert::json::from_yaml_str(&yaml).unwrap();
    let source = convert::definition::encode(&spec);
    let workflow = convert::config::workflow_to_wire(
        &WORKFLOW.parse().unwrap(),
        true,
        Some((1, &source)),
        None,
    );
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, KEY.as_bytes());
    let key = convert::config::key_to_wire(&KeyConfig {
        name: "projects/default/apiKeys/k".parse().unwrap(),
        digest: KeyDigest(digest.as_ref().try_into().unwrap()),
        revoked: false,
        expires_at: None,
        rate_limit: None,
        scope: None,
        previous: None,
    });
    let upserts = [workflow.unwrap(), key].map(|resource| {
        let encoded = Bytes::from(resource.encode_to_vec());
        Upsert {
            name: convert::config::name_of(&resource).to_owned(),
            resource: decode_resource(&encoded).unwrap(),
            encoded,
        }
    });
    Change {
        incarnation: "i".to_owned(),
        revision: Revision(1),
        replaces_all: true,
        upserts: upserts.into(),
        deletes: Vec::new(),
        keep: Vec::new(),
    }
}

/// How fast the disk is, and whether it is there at all.
pub(super) struct Disk {
    chance: Chance,
    /// How long a turn takes, in ms.
    pace_ms: Mutex<Range<u64>>,
    pub(super) log: SimulatedDisk,
    /// The store's next commit fails.
    pub(super) store_fails: AtomicBool,
    /// Bytes that the store's file may have.
    store_max: AtomicU64,
    /// The disk says that there is room for the store, whether there is or not: as one with a quota does.
    store_boasts: AtomicBool,
    /// Woken when power was lost in the middle of a write.
    pub(super) lost: Notify,
}

impl Disk {
    pub(super) fn set_pace(&self, pace_ms: Range<u64>) {
        *self.pace_ms.lock().unwrap_or_else(PoisonError::into_inner) = pace_ms;
    }

    /// From now on there is room for the store as far as `max_bytes`.
    pub(super) fn limit_store(&self, max_bytes: u64, boasts: bool) {
        self.store_max.store(max_bytes, Ordering::Relaxed);
        self.store_boasts.store(boasts, Ordering::Relaxed);
    }
}

impl Pace for Disk {
    fn wait(&self, turn: Turn) -> BoxFuture<'static, ()> {
        let pace_ms = self.pace_ms.lock().unwrap_or_else(PoisonError::into_inner);
        let mut time = self.chance.ms(pace_ms.clone());
        if turn == Turn::Filter {
            time *= 50;
        }
        tokio::time::sleep(time).boxed()
    }

    fn store_fails(&self) -> bool {
        self.store_fails.swap(false, Ordering::Relaxed)
    }

    fn store_max_bytes(&self) -> u64 {
        self.store_max.load(Ordering::Relaxed)
    }

    fn store_free(&self, file_bytes: u64) -> u64 {
        match self.store_boasts.load(Ordering::Relaxed) {
            true => u64::MAX,
            false => self.store_max_bytes().saturating_sub(file_bytes),
        }
    }

    fn after(&self, _: Turn) -> ControlFlow<()> {
        if self.log.is_lost() {
            self.lost.notify_one();
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }
}

/// What the steps have done to the world.
#[derive(Default)]
pub(super) struct World {
    /// By idempotency key: how often each attempt was made for the first time.
    pub(super) first_attempts: BTreeMap<(String, u32), u32>,
}

struct Target {
    chance: Chance,
    life: Life,
    world: Arc<Mutex<World>>,
}

impl Performer for Target {
    fn perform(&self, effect: Effect) -> BoxFuture<'static, Outcome> {
        if self.life.is_over() {
            return futures::future::pending().boxed();
        }
        if !effect.repeated {
            let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
            let key = (effect.idempotency_key, effect.attempt);
            *world.first_attempts.entry(key).or_default() += 1;
        }
        let (life, takes) = (self.life.clone(), self.chance.ms(0..300));
        let status = if self.chance.flip(0.2) { 503 } else { 200 };
        async move {
            tokio::time::sleep(takes).await;
            if life.is_over() {
                return std::future::pending().await;
            }
            Outcome::Http(HttpResponse {
                status,
                headers: Vec::new(),
                body: Bytes::new(),
            })
        }
        .boxed()
    }
}

/// One life of the node.
pub(super) struct Running {
    pub(super) life: Life,
    pub(super) spool: Arc<Simulated>,
    ingest: Arc<Ingest>,
    shutdown: Shutdown,
    tasks: Vec<JoinHandle<()>>,
}

/// What lasts from life to life, and what it stands in.
pub(super) struct Node {
    dir: TempDir,
    pub(super) disk: Arc<Disk>,
    pub(super) day: Arc<Day>,
    pub(super) world: Arc<Mutex<World>>,
    network: Arc<Network>,
    chance: Chance,
    trace: Arc<Trace>,
    running: Mutex<Option<Arc<Running>>>,
}

/// A folder whose files need no disk: what SQLite syncs is not what is tried here.
fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    }
}

impl Node {
    pub(super) fn new(network: Arc<Network>, chance: Chance, trace: Arc<Trace>) -> Self {
        Self {
            dir: folder(),
            disk: Arc::new(Disk {
                chance: chance.clone(),
                pace_ms: Mutex::new(PACE_MS),
                log: SimulatedDisk::new(chance.bits()),
                store_fails: AtomicBool::new(false),
                store_max: AtomicU64::new(u64::MAX),
                store_boasts: AtomicBool::new(false),
                lost: Notify::new(),
            }),
            day: Arc::new(Day::new(chance.clone())),
            world: Arc::default(),
            network,
            chance,
            trace,
            running: Mutex::default(),
        }
    }

    pub(super) fn running(&self) -> Option<Arc<Running>> {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.clone()
    }

    fn set_running(&self, running: Option<Running>) -> Option<Arc<Running>> {
        let mut slot = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut slot, running.map(Arc::new))
    }

    /// Starts a life, unless the disk fails: then the next try may go better. Any other reason is a broken promise.
    pub(super) fn start(&self) {
        let life = Life::default();
        let config = IntakeSpoolConfig {
            store: SqliteSpoolConfig {
                read_scope: ingest::read_scope,
                ambient: self.day.clone(),
                ..SqliteSpoolConfig::default()
            },
            log: LogConfig {
                segment_bytes: SEGMENT_BYTES,
            },
            // So low that they are reached.
            unclaimed_max: 8,
            skim_max: 1,
            queue_max: 16,
            pending_max: 5,
            kept_bytes: KEPT_BYTES,
            ..IntakeSpoolConfig::default()
        };
        let pace: Arc<dyn Pace> = self.disk.clone();
        let log = Arc::new(self.disk.log.clone());
        let (spool, mut tasks) = match simulated::open(self.dir.path(), log, &config, &pace) {
            Ok(opened) => opened,
            Err(IntakeOpenError::Log {
                source: signalbox_log::OpenError::Io { what, source },
                ..
            }) => {
                self.trace.note(format_args!(
                    "the node does not start: it cannot {what}: {source}"
                ));
                if self.disk.log.is_lost() {
                    self.disk.log.crash();
                }
                return;
            }
            Err(error) => {
                let why = signalbox_runtime::exit::chain(&error);
                // Its name is drawn elsewhere.
                let why = why.replace(&self.dir.path().display().to_string(), "its folder");
                return self.trace.broken(format!("the node does not start: {why}"));
            }
        };
        let spool = Arc::new(spool);
        let shutdown = Shutdown::new();
        let ingest = Ingest {
            config: CONFIG.1.clone(),
            spool: spool.clone(),
            certificates: POST.certificates.clone(),
            trust: TrustPolicy::default(),
            deduplication_window: Duration::from_secs(7 * 24 * 3600),
            budget: Budget::default(),
        };
        let target = Target {
            chance: self.chance.clone(),
            life: life.clone(),
            world: self.world.clone(),
        };
        let config = ExecutionConfig {
            concurrency_max: NonZeroUsize::new(4).unwrap(),
            ambient: self.day.clone(),
            cancels: Arc::default(),
            // Chance strikes the same one as often as it likes.
            interruptions_max: u32::MAX,
            ..ExecutionConfig::default()
        };
        let executions = ExecutionRuntime::new(spool.clone(), Arc::new(target), &config);
        tasks.push(tokio::spawn(Arc::new(executions).run(shutdown.clone())));
        let report = ReportClient {
            node: "n1".parse().unwrap(),
            client: self.client(&life),
            spool: spool.clone(),
            // The configuration is that of all simulations.
            keys: None,
            ambient: self.day.clone(),
        };
        tasks.push(tokio::spawn(report.run(Shutdown::new(), shutdown.clone())));
        self.trace.note(format_args!(
            "the node starts, with {} in the log and {} unreported",
            spool.pending(),
            spool.stats().unreported_records
        ));
        self.set_running(Some(Running {
            life,
            spool,
            ingest: Arc::new(ingest),
            shutdown,
            tasks,
        }));
    }

    fn client(&self, life: &Life) -> Client {
        let (network, life) = (self.network.clone(), life.clone());
        let config = ClientConfig::new("http://control-plane");
        Client::with_connector(config, move |_| network.clone().connect(life.clone())).unwrap()
    }

    /// Ends the life where it stands. With its power, the machine loses what it has not synced.
    pub(super) async fn kill(&self, power: bool) {
        let Some(running) = self.set_running(None) else {
            return;
        };
        self.trace.note(format_args!(
            "the node {}",
            if power { "loses power" } else { "is killed" }
        ));
        self.network
            .end(&running.life, !power && self.chance.flip(0.5));
        for task in &running.tasks {
            task.abort();
        }
        while running.tasks.iter().any(|task| !task.is_finished()) {
            tokio::task::yield_now().await;
        }
        if power {
            self.disk.log.crash();
        }
        // Executions are tasks of the shutdown, and harmless: their spool answers no more, and their target neither.
        let shutdown = running.shutdown.clone();
        tokio::spawn(async move { shutdown.drain(Duration::ZERO).await });
    }

    /// A request that has arrived: its status, unless the node ends first.
    pub(super) async fn post(&self, letter: &'static Letter) -> Option<u16> {
        let running = self.running()?;
        let life = running.life.clone();
        let handled = tokio::spawn({
            let day = self.day.clone();
            async move {
                tokio::select! {
                    biased;
                    () = running.life.over() => None,
                    status = handle(&running.ingest, letter, &day) => Some(status),
                }
            }
        });
        let status = handled.await.ok().flatten();
        status.filter(|_| !life.is_over())
    }
}

async fn handle(ingest: &Ingest, letter: &Letter, day: &Day) -> u16 {
    let authorized = match ingest.authorize(letter.head(day.now())) {
        Ok(authorized) => authorized,
        Err(refusal) => {
            let Turned {
                head,
                problem,
                standing,
            } = *refusal;
            ingest.refuse(&head, &problem, None, standing);
            return problem.status.as_u16();
        }
    };
    let prepared = ingest.prepare(authorized, letter.body());
    match tokio::time::timeout(REQUEST_TIMEOUT, ingest.handle(prepared, None)).await {
        Ok(Answer::Accepted { .. } | Answer::Filtered) => 200,
        Ok(Answer::Problem(problem)) => problem.status.as_u16(),
        Err(_) => 503,
    }
}
