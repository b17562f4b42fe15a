//! More than the node can take, for minutes: what is refused and why, how long the admitted wait, what it costs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde::Serialize;
use signalbox_cli::simulator::Post;
use tokio::{sync::mpsc, task::JoinSet};

use super::{Noted, Refusals, Sent, Settled, World, senders};

/// Size of a message's text in bytes.
const MESSAGE_BYTES: usize = 700;
/// Requests of the overload under way at once; beyond, the sender is behind and says so.
const UNDER_WAY_MAX: usize = 2048;
/// Messages signed ahead.
const SIGNED_MAX: usize = 8192;

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How long the overload lasts.
    pub overload: Duration,
    /// How long the sustainable rate is measured.
    pub measure: Duration,
    /// Messages a second instead of twice the sustainable rate.
    pub rate: Option<f64>,
    /// More arguments of the data plane.
    pub data_plane: Vec<String>,
}

/// One minute of it.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Minute {
    /// Sent.
    pub offered: u64,
    /// Acknowledged.
    pub acknowledged: u64,
    /// Refused by reason.
    pub refused: Refusals,
    /// Of the acknowledged: the median answer in milliseconds.
    pub p50_ms: f64,
    /// Of the acknowledged: 99 of 100 were answered within so many milliseconds.
    pub p99_ms: f64,
    /// Memory of the node at the minute's end, in MiB.
    pub rss_mib: u64,
    /// Its folder, in MiB.
    pub spool_mib: u64,
    /// Executions that had not ended.
    pub backlog: u64,
}

/// What it has shown.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Messages a second that were acknowledged, executed and reported, measured before.
    pub sustainable_per_s: f64,
    /// Messages a second that were to be sent.
    pub rate_per_s: f64,
    /// Minute by minute.
    pub minutes: Vec<Minute>,
    /// What became of the messages.
    pub settled: Settled,
}

#[derive(Default)]
struct Now {
    minute: Minute,
    answers_us: Vec<u64>,
    sent: Sent,
}

/// Measures, overloads, waits for the drain.
pub async fn run(plan: &Plan) -> Report {
    let mut world = World::start(plan.data_plane.clone(), |_| {}).await;
    let began = Instant::now();
    let load = world.send(32, 0, MESSAGE_BYTES);
    tokio::time::sleep(plan.measure).await;
    let measured = load.finish().await;
    world.settle(&measured, 0, true).await;
    #[expect(clippy::cast_precision_loss, reason = "a count of messages")]
    let sustainable = measured.acknowledged.len() as f64 / began.elapsed().as_secs_f64();
    let rate = plan.rate.unwrap_or(2.0 * sustainable);
    eprintln!(
        "sustainable: {sustainable:.0}/s; overload: {rate:.0}/s for {:?}",
        plan.overload
    );

    let now: Noted<Now> = Noted::default();
    now.lock().unwrap().sent = measured;
    let stop = Arc::new(AtomicBool::new(false));
    let signed = sign(&world, stop.clone());
    let sending = tokio::spawn(offer(
        Offer {
            sns: world.sns(),
            endpoint: world.topic_endpoint(),
            now: now.clone(),
        },
        signed,
        rate,
        plan.overload,
    ));
    let mut minutes = Vec::new();
    let (start, mut since) = (Instant::now(), Instant::now());
    while !sending.is_finished() {
        tokio::time::sleep(Duration::from_millis(250)).await;
        if since.elapsed() >= Duration::from_secs(60) || sending.is_finished() {
            let minute = end_minute(&mut world, &now).await;
            eprintln!("{:>4} s  {minute:?}", start.elapsed().as_secs());
            minutes.push(minute);
            since = Instant::now();
        }
    }
    sending.await.unwrap();
    stop.store(true, Ordering::Relaxed);
    let sent = now.lock().unwrap().sent.clone();
    Report {
        sustainable_per_s: sustainable,
        rate_per_s: rate,
        minutes,
        settled: world.settle(&sent, 0, true).await,
    }
}

/// Signs messages ahead, on a thread of its own for each core but one.
fn sign(world: &World, stop: Arc<AtomicBool>) -> mpsc::Receiver<Post> {
    let (sender, signed) = mpsc::channel(SIGNED_MAX);
    let signers = std::thread::available_parallelism()
        .map_or(1, |cores| cores.get() - 1)
        .max(1);
    let number = Arc::new(AtomicU64::new(0));
    for _ in 0..signers {
        let (sender, stop, number) = (sender.clone(), stop.clone(), number.clone());
        let make = world.poster(MESSAGE_BYTES);
        std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let id = format!("o-{}", number.fetch_add(1, Ordering::Relaxed));
                if sender.blocking_send(make(&id)).is_err() {
                    return;
                }
            }
        });
    }
    signed
}

struct Offer {
    sns: Arc<signalbox_cli::simulator::SimulatedSns>,
    endpoint: String,
    now: Noted<Now>,
}

/// Sends at a rate, whatever becomes of it: a refused message is not sent again here, as it would not be for minutes.
async fn offer(offer: Offer, mut signed: mpsc::Receiver<Post>, rate: f64, duration: Duration) {
    let offer = Arc::new(offer);
    let mut under_way = JoinSet::new();
    let start = Instant::now();
    let mut sent = 0_u32;
    while start.elapsed() < duration {
        let due = Duration::from_secs_f64(f64::from(sent) / rate);
        if let Some(early) = due.checked_sub(start.elapsed()) {
            tokio::time::sleep(early).await;
        }
        while under_way.len() >= UNDER_WAY_MAX || under_way.try_join_next().is_some() {
            if under_way.len() >= UNDER_WAY_MAX {
                under_way.join_next().await;
            }
        }
        let Some(post) = signed.recv().await else {
            break;
        };
        sent += 1;
        under_way.spawn(offer.clone().one(post));
    }
    while under_way.join_next().await.is_some() {}
}

impl Offer {
    async fn one(self: Arc<Self>, post: Post) {
        {
            let mut now = self.now.lock().unwrap();
            now.minute.offered += 1;
            now.sent.begun.insert(post.message_id.clone());
        }
        let began = Instant::now();
        let delivered = self.sns.attempt(&self.endpoint, &post).await;
        let took_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let mut now = self.now.lock().unwrap();
        if delivered.is_success() {
            now.minute.acknowledged += 1;
            now.answers_us.push(took_us);
            now.sent.acknowledged.insert(post.message_id);
        } else {
            assert!(
                delivered.is_retried(),
                "a good message is given up: {delivered:?}"
            );
            let reason = senders::reason(&delivered);
            *now.minute.refused.entry(reason.clone()).or_default() += 1;
            *now.sent.refused.entry(reason).or_default() += 1;
        }
    }
}

async fn end_minute(world: &mut World, now: &Noted<Now>) -> Minute {
    let (mut minute, mut answers_us) = {
        let mut now = now.lock().unwrap();
        (
            std::mem::take(&mut now.minute),
            std::mem::take(&mut now.answers_us),
        )
    };
    answers_us.sort_unstable();
    minute.p50_ms = quantile_ms(&answers_us, 50);
    minute.p99_ms = quantile_ms(&answers_us, 99);
    minute.rss_mib = rss_kib(world.planes.data.process().id()) / 1024;
    minute.spool_mib = folder_bytes(&world.planes.data.data_dir) / (1024 * 1024);
    minute.backlog = world.backlog().await.unfinished;
    minute
}

fn quantile_ms(sorted_us: &[u64], percent: usize) -> f64 {
    let at = (sorted_us.len() * percent / 100).min(sorted_us.len().saturating_sub(1));
    #[expect(clippy::cast_precision_loss, reason = "a duration in µs")]
    let ms = sorted_us.get(at).copied().unwrap_or(0) as f64 / 1000.0;
    ms
}

/// Resident memory of a process.
fn rss_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kib.unwrap_or(0)
}

fn folder_bytes(dir: &std::path::Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return 0;
    };
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => folder_bytes(&entry.path()),
        Ok(metadata) => metadata.len(),
        // It may have gone while we looked.
        Err(_) => 0,
    };
    entries.flatten().map(size).sum()
}
