//! What goes wrong, and who puts it right again.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use jiff::SignedDuration;
use signalbox_log::simulator::Faults;
use tokio::time::Instant;

use super::{network::Link, node::PACE_MS, run::Stage};
use crate::spool::Spool as _;

/// How often the supervisor looks.
const WATCH: Duration = Duration::from_millis(500);
/// Of the store's file.
const PAGE_BYTES: u64 = 4096;
/// The longest that the clock is set wrong, in seconds: well within the deduplication window.
const CLOCK_WRONG_MAX_S: u64 = 2 * 24 * 3600;

/// Does what a service manager does: starts what is down, and restarts what says that it has failed.
pub(super) async fn supervise(stage: Arc<Stage>) {
    loop {
        tokio::select! {
            biased;
            () = stage.node.disk.lost.notified() => stage.node.kill(true).await,
            () = tokio::time::sleep(WATCH) => {}
        }
        match stage.node.running() {
            None => {
                tokio::time::sleep(stage.chance.ms(0..4_000)).await;
                if stage.node.running().is_none() {
                    stage.node.start();
                }
            }
            Some(running) if running.spool.failure().is_some() => {
                stage.trace.note(format_args!("the spool has failed"));
                tokio::time::sleep(stage.chance.ms(0..6_000)).await;
                stage.node.kill(stage.chance.flip(0.3)).await;
            }
            Some(_) => {}
        }
        if !stage.control_plane.lock().await.is_running() {
            tokio::time::sleep(stage.chance.ms(0..8_000)).await;
            let mut control_plane = stage.control_plane.lock().await;
            control_plane.kill(true);
            control_plane.start();
        }
    }
}

/// Strikes until the time is over.
pub(super) async fn strike(stage: &Arc<Stage>, active: Duration) {
    let until = Instant::now() + active;
    // Some seeds are quiet, some are wild.
    let pause_max_ms = stage.chance.of(500..15_000);
    while Instant::now() < until {
        tokio::time::sleep(stage.chance.ms(0..pause_max_ms)).await;
        one(stage).await;
    }
}

async fn one(stage: &Arc<Stage>) {
    let (chance, disk) = (&stage.chance, &stage.node.disk);
    let fault = chance.of(0..14);
    let count = chance.of(0..6);
    let mut faults = Faults::default();
    let name = match fault {
        0 => {
            stage.node.kill(true).await;
            return;
        }
        1 => {
            stage.node.kill(false).await;
            return;
        }
        2 => {
            stage.control_plane.lock().await.kill(chance.flip(0.5));
            return;
        }
        3 | 4 => {
            faults.lose_power_after = Some(count);
            "power will be lost in a write"
        }
        5 => {
            faults.fail_sync_after = Some(count);
            // What comes of it shows when the power goes, too.
            if chance.flip(0.5) {
                faults.lose_power_after = Some(2 * count + chance.of(2..6));
                disk.set_pace(0..chance.of(100..1_000));
            }
            "a sync will fail"
        }
        6 => {
            faults.fail_write_after = Some(count);
            "a write will fail"
        }
        7 => {
            faults.capacity_bytes = Some(disk.log.used_bytes());
            // Slow as well, or segments would be free again before a new one is needed.
            disk.set_pace(0..chance.of(200..2_000));
            // Both are on it; that the store finds no room is told by the disk before, or not.
            if let Some(running) = stage.node.running()
                && chance.flip(0.7)
            {
                let max = running.spool.store_bytes() + PAGE_BYTES * chance.of(0..4);
                disk.limit_store(max, chance.flip(0.5));
            }
            "the disk is full"
        }
        8 => {
            let by = i64::try_from(chance.of(0..CLOCK_WRONG_MAX_S)).unwrap_or(0);
            let by = if chance.flip(0.5) { by } else { -by };
            stage.node.day.set(SignedDuration::from_secs(by));
            stage
                .trace
                .note(format_args!("the clock is set to be {by} s wrong"));
            return;
        }
        9 | 10 => {
            let link = if fault == 9 {
                Link::Webhooks
            } else {
                Link::Reports
            };
            stage.network.cut(link, true);
            stage.trace.note(format_args!("{link:?} is cut"));
            let cut = chance.ms(100..40_000);
            later(stage, cut, move |stage| stage.network.cut(link, false));
            return;
        }
        11 => {
            disk.store_fails.store(true, Ordering::Relaxed);
            stage
                .trace
                .note(format_args!("a commit of the store will fail"));
            return;
        }
        12 => {
            let link = if chance.flip(0.5) {
                Link::Webhooks
            } else {
                Link::Reports
            };
            stage.network.slow(link, true);
            stage.trace.note(format_args!("{link:?} is slow"));
            later(stage, chance.ms(1_000..30_000), move |stage| {
                stage.network.slow(link, false);
            });
            return;
        }
        _ => {
            disk.set_pace(20..chance.of(100..3_000));
            stage.trace.note(format_args!("the disk is slow"));
            later(stage, chance.ms(1_000..20_000), |stage| {
                stage.node.disk.set_pace(PACE_MS);
            });
            return;
        }
    };
    disk.log.set_faults(faults);
    stage.trace.note(format_args!("{name} ({count})"));
    if fault == 7 {
        later(stage, chance.ms(1_000..20_000), |stage| {
            stage.node.disk.log.set_faults(Faults::default());
            stage.node.disk.limit_store(u64::MAX, false);
            stage.node.disk.set_pace(PACE_MS);
        });
    }
}

fn later(stage: &Arc<Stage>, after: Duration, then: impl FnOnce(&Stage) + Send + 'static) {
    let stage = stage.clone();
    tokio::spawn(async move {
        tokio::time::sleep(after).await;
        then(&stage);
    });
}

/// Takes all faults back. What has failed by then is the supervisor's.
pub(super) async fn heal(stage: &Arc<Stage>) {
    stage.node.disk.log.set_faults(Faults::default());
    stage.node.disk.store_fails.store(false, Ordering::Relaxed);
    stage.node.disk.limit_store(u64::MAX, false);
    stage.node.disk.set_pace(PACE_MS);
    stage.node.day.set(SignedDuration::ZERO);
    for link in [Link::Webhooks, Link::Reports] {
        stage.network.cut(link, false);
        stage.network.slow(link, false);
    }
}
