//! The disk fills up under load, and later has room again.

use std::{
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use serde::Serialize;

use super::{Load, Refusals, Settled, World};
use crate::{disk::SmallDisk, wait};

const MIB: u64 = 1024 * 1024;
/// Two segments of the log (64 MiB each), and a store that grows.
const DISK_BYTES: u64 = 288 * MIB;
/// Free beside what the node has taken when it starts.
const LEFT_BYTES: u64 = 24 * MIB;

/// Where there is no disk to fill: what the spool may take, the least that a node can be given.
const SPOOL_MAX_BYTES: u64 = 128 * MIB;

/// What it has shown.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// `disk`, or `limit` where none could be mounted: the spool's own limit then.
    pub by: &'static str,
    /// Acknowledged before the first refusal for want of room.
    pub before_full: usize,
    /// How long it was full, in seconds.
    pub full_s: f64,
    /// Acknowledged when there was room again, and after.
    pub after: usize,
    /// Refusals by reason.
    pub refused: Refusals,
    /// What became of the messages.
    pub settled: Settled,
}

/// Fills the disk, keeps it full for `full`, makes room.
pub async fn run(full: Duration, tells: bool) -> Report {
    let mut disk = Err(String::new());
    // Without a disk of one's own: the node is started anew with the ordinary limit later.
    let limited = vec!["--spool-max-bytes".to_owned(), SPOOL_MAX_BYTES.to_string()];
    let probe = tempfile::tempdir().unwrap();
    let mountable = SmallDisk::mount(&probe.path().join("probe"), 16 * MIB).map(drop);
    let arguments = mountable.as_ref().map_or(limited, |()| Vec::new());
    let mut world = World::start(arguments, |planes| {
        if mountable.is_ok() {
            disk = SmallDisk::mount(&planes.data.data_dir, DISK_BYTES);
        }
    })
    .await;
    let disk = match (mountable, disk) {
        (Ok(()), disk) => Some(disk.unwrap()),
        (Err(why), _) => {
            eprintln!("no disk to fill ({why}): --spool-max-bytes instead");
            None
        }
    };
    // Executions wait for their service, so that what comes in stays.
    world.open.store(false, Ordering::Relaxed);
    let ballast = disk.as_ref().map(|disk| disk.fill_but(LEFT_BYTES));
    let load = world.send(6, 3, 150_000);
    is_full(&load, disk.is_some(), &world).await;
    let (began, before_full) = (Instant::now(), load.acknowledged());
    if tells {
        eprintln!("full after {before_full} messages");
    }
    tokio::time::sleep(full).await;
    assert!(world.planes.data.process().is_running());
    drop(ballast);
    world.open.store(true, Ordering::Relaxed);
    if disk.is_none() {
        world.planes.data.raise_spool_max();
        world.planes.data.kill();
        world.planes.data.start().await;
    }
    let full_s = began.elapsed().as_secs_f64();
    let at_end = load.acknowledged();
    goes_on(&load, at_end, &world).await;
    let sent = load.finish().await;
    let settled = world.settle(&sent, 0, tells).await;
    assert_eq!(settled.unanswered, 0, "refused, and executed all the same");
    Report {
        by: if disk.is_some() { "disk" } else { "limit" },
        before_full,
        full_s,
        after: settled.acknowledged - before_full,
        refused: sent.refused,
        settled,
    }
}

/// Every sender is told so, and so is whoever asks whether the node is ready.
async fn is_full(load: &Load, disk: bool, world: &World) {
    wait::until("the disk to be full", Duration::from_secs(240), || async {
        let (status, checks) = world.readyz().await;
        let refused = load.refused();
        let said = if disk { "the disk is full" } else { "full" };
        match refused.contains_key("503 spool-full") && status == 503 && checks.contains(said) {
            true => Ok(()),
            false => Err(format!(
                "{refused:?}, {} acknowledged, {checks}",
                load.acknowledged()
            )),
        }
    })
    .await;
}

async fn goes_on(load: &Load, from: usize, world: &World) {
    wait::until(
        "messages to be taken again",
        Duration::from_secs(60),
        || async {
            let (status, checks) = world.readyz().await;
            let now = load.acknowledged();
            match now > from + 20 && status == 200 {
                true => Ok(()),
                false => Err(format!("{now} of {from} before; {status} {checks}")),
            }
        },
    )
    .await;
}
