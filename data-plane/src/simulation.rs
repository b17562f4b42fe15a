//! Deterministic simulation of ingest, spool, executions and report: one seed decides everything that happens, and every
//! seed must keep the promises (`docs/decisions/0010-simulation.md`).
//!
//! A failing seed prints the command that replays it, with its trace.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod chance;
mod control_plane;
mod faults;
mod network;
mod node;
mod run;
mod sns;
mod trace;

use run::{Outcome, run};

/// Seeds of one test; there are eight, so that a runner can use its processors.
const SEEDS: u64 = 256;

fn replay_command(seed: u64) -> String {
    format!(
        "SIGNALBOX_SEED={seed} cargo test -p signalbox-data-plane --lib simulation::replay -- --nocapture"
    )
}

fn check(seed: u64, outcome: &Outcome) {
    assert!(
        outcome.violations.is_empty(),
        "seed {seed}: {:#?}\nreplay it by: {}",
        outcome.violations,
        replay_command(seed)
    );
}

fn slice(number: u64) {
    for seed in number * SEEDS..(number + 1) * SEEDS {
        check(seed, &run(seed, false));
    }
}

macro_rules! slices {
    ($($name:ident: $number:literal),+ $(,)?) => {$(
        #[test]
        fn $name() {
            slice($number);
        }
    )+};
}

slices! {
    seeds_0: 0, seeds_1: 1, seeds_2: 2, seeds_3: 3, seeds_4: 4, seeds_5: 5, seeds_6: 6, seeds_7: 7,
}

#[test]
fn a_seed_determines_everything() {
    for seed in 0..40 {
        let (first, second) = (run(seed, false), run(seed, false));
        assert!(first.events > 10, "seed {seed}: {first:?}");
        assert_eq!(first, second, "seed {seed}");
    }
}

/// One seed with its trace, and the logs of Signalbox in it. Without `SIGNALBOX_SEED`, a short look at seed 0.
#[test]
fn replay() {
    let asked = std::env::var("SIGNALBOX_SEED").ok();
    let seed = asked.as_deref().map_or(0, |seed| seed.parse().unwrap());
    let logs = tracing_subscriber::fmt()
        .with_env_filter("signalbox=debug")
        .without_time()
        .with_ansi(false)
        .with_test_writer()
        .finish();
    let outcome = tracing::subscriber::with_default(logs, || run(seed, asked.is_some()));
    check(seed, &outcome);
}
