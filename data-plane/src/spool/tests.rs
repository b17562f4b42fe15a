//! Both spools against one model of plain collections: whatever comes in whatever order, with restarts and crashes in between,
//! each message is accepted once, each execution claimed once in a process, and each record reported exactly once.
//!
//! The sequences of steps are the same in every run; `PROPTEST_RNG_SEED=<n> PROPTEST_CASES=<n>` tries others.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod model;
mod world;

use proptest::{prelude::*, test_runner::RngSeed};

use self::world::{Kind, World};

/// What is done to a spool.
#[derive(Clone, Debug)]
enum Step {
    /// A message: its id, its content, whether copies of it are soon forgotten.
    Accept { id: u8, content: u8, brief: bool },
    /// Copies of one message at once.
    Burst { id: u8, copies: usize },
    /// A subscription's handshake, by its token.
    Handshake(u8),
    /// The handshake is over.
    Confirm(u8),
    /// A record of no execution.
    Append,
    /// Whatever can be claimed.
    Claim,
    /// A fact of a claimed execution.
    Journal(u8),
    /// Its last one.
    Finish(u8),
    /// A claimed execution waits for a time that does not come.
    Park(u8),
    /// It is due.
    Wake(u8),
    /// Everything is reported and trimmed.
    Trim,
    /// A clean end and a new start.
    Restart,
    /// The disk fails while a message is accepted; the process dies, the machine with it or not.
    Crash { id: u8, machine: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let id = 0..6_u8;
    prop_oneof![
        5 => (id.clone(), 0..2_u8, any::<bool>())
            .prop_map(|(id, content, brief)| Step::Accept { id, content, brief }),
        1 => (id.clone(), 2..12_usize).prop_map(|(id, copies)| Step::Burst { id, copies }),
        1 => (0..3_u8).prop_map(Step::Handshake),
        1 => (0..3_u8).prop_map(Step::Confirm),
        1 => Just(Step::Append),
        3 => Just(Step::Claim),
        2 => id.clone().prop_map(Step::Journal),
        3 => id.clone().prop_map(Step::Finish),
        2 => id.clone().prop_map(Step::Park),
        2 => id.clone().prop_map(Step::Wake),
        3 => Just(Step::Trim),
        1 => Just(Step::Restart),
        1 => (id, any::<bool>()).prop_map(|(id, machine)| Step::Crash { id, machine }),
    ]
}

fn config(seed: u64) -> ProptestConfig {
    let config = ProptestConfig::default();
    ProptestConfig {
        cases: match std::env::var("PROPTEST_CASES") {
            Ok(_) => config.cases,
            Err(_) => 32,
        },
        rng_seed: match config.rng_seed {
            RngSeed::Random => RngSeed::Fixed(seed),
            given => given,
        },
        // The seed is the record of a failure.
        failure_persistence: None,
        ..config
    }
}

fn play(kind: Kind, unclaimed_max: u64, steps: Vec<Step>) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut world = World::new(kind, unclaimed_max);
        for step in steps {
            world.play(&step).await;
        }
        world.end().await;
    });
}

proptest! {
    #![proptest_config(config(1))]

    #[test]
    fn the_store_is_what_its_model_says(steps in prop::collection::vec(step(), 1..40)) {
        play(Kind::Store, 0, steps);
    }
}

proptest! {
    #![proptest_config(config(2))]

    #[test]
    fn the_intake_spool_is_what_its_model_says(
        steps in prop::collection::vec(step(), 1..40), unclaimed_max in prop_oneof![1..3_u64, Just(1024)],
    ) {
        play(Kind::Intake, unclaimed_max, steps);
    }
}
