//! A process that writes to a spool under load is killed with SIGKILL at random, again and again. Whatever it was told to
//! be durable is there exactly once; what is there is whole; and every record is reported exactly once, in order.

//!
//! And what an operator asks of a spool on which no node runs ([`commands`]).

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod child;
mod commands;
mod events;
mod told;

use std::{
    collections::BTreeMap,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rand::RngExt as _;
use signalbox_data_plane::spool::{Acceptance, Claimed, IntakeSpool, IntakeSpoolConfig, Spool};
use signalbox_log::LogConfig;
use signalbox_model::record::{RecordBody, SequencedRecord};

use crate::told::{Reader, Told};

const KILLS: usize = 25;
const DIR: &str = "SIGNALBOX_TEST_SPOOL_DIR";
const ROUND: &str = "SIGNALBOX_TEST_SPOOL_ROUND";
/// What the control plane, which is this process, has.
const REPORTED: &str = "SIGNALBOX_TEST_SPOOL_REPORTED";

fn open(dir: &Path) -> IntakeSpool {
    let config = IntakeSpoolConfig {
        // Small ones, so that every round goes through several.
        log: LogConfig {
            segment_bytes: 512 * 1024,
        },
        ..IntakeSpoolConfig::default()
    };
    IntakeSpool::open(dir, &config).unwrap()
}

fn spawn(dir: &Path, round: usize, reported: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child::writes_until_it_is_killed", "--nocapture"])
        .env(DIR, dir)
        .env(ROUND, round.to_string())
        .env(REPORTED, reported.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn what_was_told_to_be_durable_survives_every_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut told = Told::default();
    for round in 0..KILLS {
        let mut child = spawn(dir.path(), round, told.trimmed);
        let mut reader = Reader::new(child.stdout.take().unwrap());
        // At least one acknowledgement, in every other round some executions' ends, which come behind them; then any
        // moment: while opening costs time, between commits, within one.
        reader.until_one_more(&mut told, |told| told.accepted.len());
        for _ in 0..3 * (round % 2) {
            reader.until_one_more(&mut told, |told| told.finished.len());
        }
        let pause_us = rand::rng().random_range(0..150_000);
        let killer = std::thread::spawn(move || {
            std::thread::park_timeout(Duration::from_micros(pause_us));
            child.kill().unwrap();
            child.wait().unwrap()
        });
        reader.rest(&mut told);
        let status = killer.join().unwrap();
        assert_eq!(status.code(), None, "killed, not ended by itself");
    }
    assert!(told.accepted.len() > 10 * KILLS, "{}", told.accepted.len());
    assert!(told.finished.len() > KILLS, "{}", told.finished.len());

    whole(dir.path());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(check(dir.path(), &told));
}

fn whole(dir: &Path) {
    let connection = rusqlite::Connection::open(dir.join("spool.sqlite")).unwrap();
    let verdict: String = connection
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(verdict, "ok");
}

async fn check(dir: &Path, told: &Told) {
    let spool = open(dir);
    let mut claimed = Vec::new();
    while u64::try_from(claimed.len()).unwrap() < spool.stats().unfinished_executions {
        claimed.extend(spool.claim(1000).await.unwrap());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut facts: BTreeMap<String, usize> = BTreeMap::new();
    for Claimed {
        accepted, journal, ..
    } in &claimed
    {
        let id = accepted.execution.execution.to_string();
        assert!(
            !told.finished.contains(&id),
            "{id} has ended and is claimed"
        );
        assert!(facts.insert(id, journal.len()).is_none(), "claimed twice");
    }
    let unfinished = u64::try_from(claimed.len()).unwrap();
    assert_eq!(spool.stats().unfinished_executions, unfinished);

    for id in &told.accepted {
        let copy = spool.accept(events::accept(id)).await;
        assert_eq!(copy, Ok(Acceptance::Duplicate), "{id} is lost");
        // The others may have ended without the word having come out.
        if !child::ends(id) {
            assert!(facts.contains_key(id), "{id} would never run");
        }
    }
    for (id, count) in &facts {
        assert!(*count <= 1, "{id}: a fact twice");
        if told.journalled.contains(id) {
            assert_eq!(*count, 1, "{id}: a fact is lost");
        }
    }
    reported_once(&spool, told).await;
}

/// What the children did not trim is there; with what they trimmed, it is everything, each once.
async fn reported_once(spool: &IntakeSpool, told: &Told) {
    let mut accepted: BTreeMap<String, usize> = BTreeMap::new();
    let mut after = told.trimmed;
    loop {
        let batch = spool.unreported(after, 1000, usize::MAX).await.unwrap();
        let Some(last) = batch.last() else { break };
        assert!(
            batch
                .windows(2)
                .all(|two| two[0].sequence < two[1].sequence)
        );
        assert!(batch[0].sequence > after);
        after = last.sequence;
        for SequencedRecord { record, .. } in batch {
            if let RecordBody::Accepted(event) = record.body {
                *accepted
                    .entry(event.execution.execution.to_string())
                    .or_default() += 1;
            }
        }
    }
    assert!(accepted.values().all(|count| *count == 1));
    for id in told
        .accepted
        .iter()
        .filter(|id| !told.reported.contains(*id))
    {
        assert!(accepted.contains_key(id), "{id} would never be reported");
    }
    for id in &told.reported {
        assert!(!accepted.contains_key(id), "{id} would be reported twice");
    }
}
