//! One seed, from its beginning to its end.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use signalbox_engine::idempotency_key;
use tokio::{task::JoinSet, time::Instant};

use super::{
    chance::Chance,
    control_plane::{ControlPlane, Told},
    faults,
    network::{Link, Network},
    node::Node,
    sns::{ATTEMPTS_MAX, CUT_OFF, Letter, MESSAGES, POST, pause},
    trace::Trace,
};
use crate::spool::Spool as _;

/// After the last fault, everything is in order again within this (simulated) time. The longest chain: a stream that is
/// found dead after 15 s, 30 s of pause, 10 s for a next one that fails, 30 s of pause, and Amazon SNS's 20 s between.
const CONVERGED_WITHIN: Duration = Duration::from_secs(180);

/// All that one seed moves.
pub(super) struct Stage {
    pub(super) chance: Chance,
    pub(super) trace: Arc<Trace>,
    pub(super) network: Arc<Network>,
    pub(super) node: Node,
    pub(super) control_plane: tokio::sync::Mutex<ControlPlane>,
    acknowledged: Mutex<BTreeSet<String>>,
    sent: Mutex<BTreeSet<String>>,
}

/// What one seed came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) violations: Vec<String>,
    pub(super) events: u64,
    pub(super) digest: String,
}

/// Runs a seed to its end.
pub(super) fn run(seed: u64, shown: bool) -> Outcome {
    // Made before, so that no seed waits for it.
    let _ = &*POST;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let stage = Arc::new(Stage::new(seed, shown));
        let within = tokio::time::timeout(Duration::from_secs(24 * 3600), play(&stage));
        if within.await.is_err() {
            stage.trace.broken("it does not end".to_owned());
        }
        let (events, digest) = stage.trace.digest();
        Outcome {
            violations: stage.trace.violations(),
            events,
            digest,
        }
    })
}

impl Stage {
    fn new(seed: u64, shown: bool) -> Self {
        let chance = Chance::new(seed);
        let trace = Arc::new(Trace::new(shown));
        let network = Arc::new(Network::new(chance.clone()));
        Self {
            node: Node::new(network.clone(), chance.clone(), trace.clone()),
            control_plane: tokio::sync::Mutex::new(ControlPlane::new(
                network.clone(),
                chance.clone(),
                trace.clone(),
            )),
            network,
            chance,
            trace,
            acknowledged: Mutex::default(),
            sent: Mutex::default(),
        }
    }
}

async fn play(stage: &Arc<Stage>) {
    stage.control_plane.lock().await.start();
    stage.node.start();
    let active = stage.chance.ms(5_000..40_000);
    let mut senders = JoinSet::new();
    let first = stage.chance.of(0..MESSAGES as u64);
    for n in 0..stage.chance.of(3..14) {
        let at = usize::try_from(first + n).unwrap_or(0) % MESSAGES;
        let after = stage.chance.of(0..active.as_millis() as u64);
        senders.spawn(subscription(
            stage.clone(),
            &POST.good[at],
            Duration::from_millis(after),
        ));
    }
    for _ in 0..stage.chance.of(0..4) {
        let forged = &POST.forged[usize::try_from(stage.chance.of(0..7)).unwrap_or(0)];
        let after = stage.chance.ms(0..20_000);
        senders.spawn(forger(stage.clone(), forged, after));
    }
    let supervisor = tokio::spawn(faults::supervise(stage.clone()));
    faults::strike(stage, active).await;
    faults::heal(stage).await;
    stage.trace.note(format_args!("all faults are over"));
    let healed = Instant::now();
    while !is_settled(stage, senders.is_empty()).await {
        if healed.elapsed() > CONVERGED_WITHIN {
            let left = senders.len();
            stage.trace.broken(format!(
                "{CONVERGED_WITHIN:?} after the last fault all is not well: {left} senders left, {}",
                describe(stage).await
            ));
            break;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        while let Some(ended) = senders.try_join_next() {
            if let Err(error) = ended {
                stage.trace.broken(format!("a sender: {error}"));
            }
        }
    }
    supervisor.abort();
    judge(stage).await;
}

/// Whether everything that was accepted has become an execution at the control plane, and the node owes nothing.
async fn is_settled(stage: &Stage, sent: bool) -> bool {
    let Some(running) = stage.node.running() else {
        return false;
    };
    let stats = running.spool.stats();
    let head = *running.spool.head().borrow();
    let cursor = cursor(stage).await;
    sent && stats.unfinished_executions == 0 && stats.unreported_records == 0 && head == cursor
}

async fn cursor(stage: &Stage) -> u64 {
    let control_plane = stage.control_plane.lock().await;
    let book = control_plane.book.lock();
    book.unwrap_or_else(PoisonError::into_inner).cursor()
}

async fn describe(stage: &Stage) -> String {
    let cursor = cursor(stage).await;
    match stage.node.running() {
        None => "the node is down".to_owned(),
        Some(running) => format!(
            "{:?}, {} in the log, head {}, cursor {cursor}, failure {:?}",
            running.spool.stats(),
            running.spool.pending(),
            *running.spool.head().borrow(),
            running.spool.failure()
        ),
    }
}

/// Amazon SNS and one message: copies of it may come at once and later.
async fn subscription(stage: Arc<Stage>, letter: &'static Letter, after: Duration) {
    tokio::time::sleep(after).await;
    stage.sent.lock().unwrap().insert(letter.id.clone());
    let copies = JoinSet::from_iter((0..stage.chance.of(0..3)).map(|_| {
        let stage = stage.clone();
        let late = if stage.chance.flip(0.5) {
            stage.chance.ms(0..40)
        } else {
            stage.chance.ms(500..60_000)
        };
        async move {
            tokio::time::sleep(late).await;
            deliver(&stage, letter).await;
        }
    }));
    deliver(&stage, letter).await;
    copies.join_all().await;
}

/// Delivers by the default policy: until it is acknowledged, refused for good, or given up.
async fn deliver(stage: &Stage, letter: &'static Letter) {
    for attempt in 1..=ATTEMPTS_MAX {
        if attempt > 1 {
            tokio::time::sleep(pause(attempt - 1)).await;
        }
        match attempt_once(stage, letter).await {
            Some(status @ 200..=299) => {
                stage
                    .trace
                    .note(format_args!("{} acknowledged: {status}", letter.id));
                let mut acknowledged = stage.acknowledged.lock().unwrap();
                acknowledged.insert(letter.execution.to_string());
                return;
            }
            Some(status) if status < 500 => {
                let id = &letter.id;
                return stage
                    .trace
                    .broken(format!("{id} is good and was refused for good: {status}"));
            }
            Some(status) => stage
                .trace
                .note(format_args!("{} attempt {attempt}: {status}", letter.id)),
            None => stage
                .trace
                .note(format_args!("{} attempt {attempt}: no answer", letter.id)),
        }
    }
}

/// One attempt: the status, if one came within Amazon SNS's patience.
async fn attempt_once(stage: &Stage, letter: &'static Letter) -> Option<u16> {
    let sent = async {
        if !stage.network.carry(Link::Webhooks).await {
            return std::future::pending().await;
        }
        let status = stage.node.post(letter).await;
        match status {
            // Refused or reset: known at once.
            None => None,
            Some(_) if !stage.network.carry(Link::Webhooks).await => std::future::pending().await,
            status => status,
        }
    };
    tokio::time::timeout(CUT_OFF, sent).await.ok().flatten()
}

/// Someone who is not Amazon SNS, or not of the right account, or without the key.
async fn forger(stage: Arc<Stage>, letter: &'static Letter, after: Duration) {
    tokio::time::sleep(after).await;
    for _ in 0..3 {
        let status = attempt_once(&stage, letter).await;
        stage
            .trace
            .note(format_args!("{} was answered {status:?}", letter.id));
        if status.is_some_and(|status| status < 300) {
            let id = &letter.id;
            stage
                .trace
                .broken(format!("{id} is forged and was accepted"));
        }
        tokio::time::sleep(stage.chance.ms(0..3_000)).await;
    }
}

/// What must hold in the end, whatever happened.
async fn judge(stage: &Stage) {
    let control_plane = stage.control_plane.lock().await;
    let book = control_plane.book.lock().unwrap();
    let trace = &stage.trace;
    let once = Told {
        accepted: 1,
        started: 1,
        finished: 1,
    };
    for name in stage.acknowledged.lock().unwrap().iter() {
        let told = book.executions.get(name);
        if told != Some(&once) {
            trace.broken(format!("{name} was acknowledged, and became {told:?}"));
        }
    }
    let sent = stage.sent.lock().unwrap();
    let step = "call".parse().unwrap();
    let mut keys = BTreeSet::new();
    for letter in POST.good.iter().filter(|letter| sent.contains(&letter.id)) {
        let told = book.executions.get(&letter.execution.to_string());
        if told.is_some_and(|told| *told != once) {
            trace.broken(format!("{} became {told:?}", letter.id));
        }
        if told.is_some() {
            keys.insert(idempotency_key(&letter.execution, &step));
        }
    }
    if book.executions.len() != keys.len() {
        trace.broken("something was executed that was never sent".to_owned());
    }
    let world = stage.node.world.lock().unwrap();
    for ((key, attempt), count) in &world.first_attempts {
        if *count != 1 || !keys.contains(key) {
            trace.broken(format!("attempt {attempt} of {key} was made {count} times"));
        }
    }
    trace.note(format_args!(
        "{} sent, {} acknowledged, {} executed, {} records",
        sent.len(),
        stage.acknowledged.lock().unwrap().len(),
        book.executions.len(),
        book.cursor()
    ));
}
