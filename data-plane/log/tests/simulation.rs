//! The log on a disk that loses power at random: thousands of seeds, each replayable by itself with
//! `SIGNALBOX_SEED=<seed> cargo test -p signalbox-log --test simulation`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

use std::sync::Arc;

use rand::{RngExt as _, SeedableRng as _, rngs::SmallRng};
use signalbox_log::{
    CommitError, Log, LogConfig, LogId, Opened, Reader, RecordKind, Writer,
    simulator::{Faults, SimulatedDisk},
};

const SEEDS: u64 = 3000;
const SEGMENT_BYTES: u64 = 16 * 1024;

struct World {
    seed: u64,
    random: SmallRng,
    disk: SimulatedDisk,
    id: Option<LogId>,
    /// Acknowledged records that the owner has not taken yet, in order.
    promised: Vec<Vec<u8>>,
    /// A group that was under way when the power went: any prefix of it may be there.
    doubtful: Vec<Vec<u8>>,
    /// Last sequence that the owner has taken durably.
    seen: u64,
    made: u32,
}

struct Running {
    log: Log,
    writer: Writer,
    reader: Reader,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            seed,
            random: SmallRng::seed_from_u64(seed),
            disk: SimulatedDisk::new(seed ^ 0x5eed),
            id: None,
            promised: Vec::new(),
            doubtful: Vec::new(),
            seen: 0,
            made: 0,
        }
    }

    fn open(&mut self) -> Running {
        let config = LogConfig {
            segment_bytes: SEGMENT_BYTES,
        };
        let known = self.id.map(|id| (id, self.seen));
        let opened = Log::open(Arc::new(self.disk.clone()), &config, known);
        let Opened {
            log,
            writer,
            reader,
            ..
        } = opened.unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
        self.id = Some(log.id());
        Running {
            log,
            writer,
            reader,
        }
    }

    fn payload(&mut self) -> Vec<u8> {
        self.made += 1;
        let length = match self.random.random_range(0..10) {
            0 => self.random.random_range(0..8_000),
            _ => self.random.random_range(0..300),
        };
        let mut payload = self.made.to_le_bytes().to_vec();
        payload.resize(4 + length, u8::try_from(self.made % 251).unwrap());
        payload
    }

    /// Commits a group; whether the process lives on.
    fn commit(&mut self, running: &mut Running) -> bool {
        let mut group = Vec::new();
        for _ in 0..self.random.random_range(1..12) {
            let payload = self.payload();
            match running.writer.push(7, &[&payload[..2], &payload[2..]]) {
                Ok(()) => group.push(payload),
                Err(CommitError::TooLarge { .. }) => break,
                Err(error) => panic!("seed {}: {error}", self.seed),
            }
        }
        let dies = self.random.random_bool(0.15);
        if dies {
            let mut faults = Faults::default();
            let after = self.random.random_range(0..3);
            if self.random.random_bool(0.5) {
                faults.fail_sync_after = Some(after);
            } else {
                faults.fail_write_after = Some(after);
            }
            self.disk.set_faults(faults);
        }
        match running.writer.commit() {
            Ok(sequences) => {
                assert_eq!(sequences.end - sequences.start, group.len() as u64);
                self.promised.append(&mut group);
                !dies
            }
            Err(CommitError::Failed(_)) if dies => {
                self.doubtful = group;
                // Poisoned for good.
                assert!(matches!(running.writer.mark(), Err(CommitError::Failed(_))));
                false
            }
            Err(error) => panic!("seed {}: {error}", self.seed),
        }
    }

    /// Takes some records, and now and then tells the log.
    fn take(&mut self, running: &mut Running, max: usize) {
        for _ in 0..max {
            let record = running
                .reader
                .read()
                .unwrap_or_else(|error| panic!("seed {}: {error}", self.seed));
            let Some(record) = record else { break };
            if let RecordKind::Data(tag) = record.kind {
                assert_eq!(tag, 7);
                let expected = if self.promised.is_empty() {
                    assert!(
                        !self.doubtful.is_empty(),
                        "seed {}: out of nowhere",
                        self.seed
                    );
                    self.doubtful.remove(0)
                } else {
                    self.promised.remove(0)
                };
                assert_eq!(record.payload, expected, "seed {}", self.seed);
            }
            self.seen = record.sequence;
        }
        if self.random.random_bool(0.3) {
            running.log.retire(self.seen).unwrap();
        }
    }

    fn run(&mut self) {
        for _ in 0..self.random.random_range(1..5) {
            let mut running = self.open();
            // What a crash left of a group nobody was told about comes before all that follows.
            if !self.doubtful.is_empty() {
                self.take(&mut running, usize::MAX);
                assert!(self.promised.is_empty(), "seed {}: lost", self.seed);
                self.doubtful.clear();
            }
            let mut lives = true;
            for _ in 0..self.random.random_range(1..60) {
                match self.random.random_range(0..10) {
                    0..6 => lives = self.commit(&mut running),
                    6..9 => {
                        let max = self.random.random_range(1..40);
                        self.take(&mut running, max);
                    }
                    _ => running.log.prepare().unwrap(),
                }
                if !lives {
                    break;
                }
            }
            if lives && self.random.random_bool(0.3) {
                running.writer.mark().unwrap();
            }
            drop(running);
            // A dead process is not a dead machine: half of the time the page cache survives it.
            if self.random.random_bool(0.5) {
                self.disk.crash();
            }
            self.disk.set_faults(Faults::default());
        }
        let mut running = self.open();
        self.take(&mut running, usize::MAX);
        assert!(
            self.promised.is_empty(),
            "seed {}: {} lost",
            self.seed,
            self.promised.len()
        );
    }
}

#[test]
fn whatever_was_committed_is_read_again_in_order() {
    let one = std::env::var("SIGNALBOX_SEED").ok();
    let seeds = match one.and_then(|seed| seed.parse::<u64>().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..SEEDS,
    };
    for seed in seeds {
        World::new(seed).run();
    }
}
