//! Whatever a valid module does, its run ends, and ends the same again.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::sync::Arc;

use proptest::prelude::*;
use signalbox_model::script::ScriptModule;

use support::{ECHO, job, program, run};

/// Instructions that need no operand beside those that are there, and leave the stack as it was.
const PIECES: [&str; 14] = [
    "(drop (memory.grow (i32.const 3)))",
    "(call $say (i32.const 1) (i32.const 261) (i32.const 2))",
    "(call $say (i32.const 2) (i32.const 0) (i32.const 400))",
    "(drop (call $read (i32.const 0) (i32.const 900) (i32.const 2) (i32.const 904)))",
    "(drop (call $write (i32.const 1) (i32.load (i32.const 900)) (i32.load (i32.const 904)) (i32.const 0)))",
    "(drop (call $random (i32.load (i32.const 512)) (i32.load8_u (i32.const 516))))",
    "(drop (call $clock (i32.const 0) (i64.const 0) (i32.const 512)))",
    "(i32.store (i32.load (i32.const 512)) (i32.load (i32.const 908)))",
    "(memory.copy (i32.load16_u (i32.const 512)) (i32.const 256) (i32.const 40))",
    "(if (i32.load8_u (i32.const 513)) (then (call $exit (i32.load8_u (i32.const 514)))))",
    "(f64.store (i32.const 520) (f64.div (f64.load (i32.const 512)) (f64.load (i32.const 528))))",
    "(i32.store (i32.const 532) (i32.div_s (i32.load (i32.const 512)) (i32.load (i32.const 600))))",
    "(call $hex (i32.const 512) (i32.const 32))",
    "(loop $l (br_if $l (i32.load8_u (i32.const 515))))",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn programs_made_of_anything_end_the_same_again(
        pieces in prop::collection::vec(0..PIECES.len(), 0..12),
        input in ".{0,40}",
        seed: String,
    ) {
        let body: String = pieces.iter().map(|piece| PIECES[*piece]).collect();
        let mut job = job(&program("", &body));
        job.input = input.into();
        job.seed = seed;
        job.fuel = 50_000;
        job.memory_max_bytes = 512 * 1024;
        let ended = run(&job);
        prop_assert!(ended.fuel_used <= job.fuel);
        prop_assert_eq!(run(&job), ended);
    }

    #[test]
    fn damaged_modules_that_are_valid_end(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut job = job(ECHO);
        let mut bytes = job.module.bytes().to_vec();
        for (at, byte) in damage {
            *at.get_mut(&mut bytes) = byte;
        }
        if let Ok(module) = ScriptModule::from_binary(bytes.into()) {
            job.module = Arc::new(module);
            job.input = "[1, 2, 3]".into();
            job.fuel = 50_000;
            let ended = run(&job);
            prop_assert_eq!(run(&job), ended);
        }
    }
}
