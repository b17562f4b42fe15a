//! What programs give, and each way to fail.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use serde_json::{Value, json};
use signalbox_model::limits;
use signalbox_script::{Ended, LOG_MAX_BYTES, ScriptError, Scripts};

use support::{ECHO, job, program, run};

#[track_caller]
fn error(text: &str) -> ScriptError {
    run(&job(text)).result.unwrap_err()
}

#[test]
fn a_program_reads_json_and_writes_json() {
    let mut job = job(ECHO);
    for input in [
        json!(null),
        json!({"a": [1, 2.5, "ä\u{0}"], "b": {}}),
        // More than one read.
        json!("x".repeat(200_000)),
    ] {
        job.input = input.to_string().into();
        let ended = run(&job);
        assert_eq!(ended.result, Ok(input));
        assert_eq!(ended.log, "");
        assert!(ended.fuel_used > 10, "{}", ended.fuel_used);
    }
}

#[test]
fn the_same_job_ends_the_same() {
    // Writes what chance and the clock give, in base 16, as a text.
    let text = program(
        "",
        r#"
        (call $random (i32.const 512) (i32.const 16)) drop
        (call $clock (i32.const 0) (i64.const 1) (i32.const 528)) drop
        (call $clock (i32.const 1) (i64.const 1) (i32.const 536)) drop
        (call $hex (i32.const 512) (i32.const 32))
        "#,
    );
    let job = job(&text);
    let first = run(&job);
    let written = first.result.clone().unwrap();
    let written = written.as_str().unwrap();
    assert_eq!(written.len(), 64);
    assert_eq!(run(&job), first);
    // 2026-11-26T10:00:00.5Z, and one second, little end first.
    let time_ns: u64 = 1_795_687_200_500_000_000;
    let hex = |number: u64| {
        let bytes = number.to_le_bytes().map(|byte| format!("{byte:02x}"));
        bytes.concat()
    };
    assert_eq!(&written[32..48], hex(time_ns));
    assert_eq!(&written[48..], hex(1_000_000_000));
    let mut other = job.clone();
    other.seed = "another".to_owned();
    let other = run(&other).result.unwrap();
    let other = other.as_str().unwrap();
    assert_ne!(other[..32], written[..32]);
    assert_eq!(other[32..], written[32..]);
}

#[test]
fn nothing_else_is_there() {
    // Everything that would reach out says no, and writes nothing.
    let text = program(
        r#"
        (import "wasi_snapshot_preview1" "path_open" (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_prestat_get" (func $prestat (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "sock_accept" (func $accept (param i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "poll_oneoff" (func $poll (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "environ_sizes_get" (func $environ (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "args_sizes_get" (func $args (param i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_seek" (func $seek (param i32 i64 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "sched_yield" (func $yield (result i32)))
        "#,
        r#"
        (i64.store (i32.const 600) (i64.const -1))
        (i32.store8 (i32.const 512) (call $open (i32.const 3) (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 0) (i64.const -1) (i64.const -1) (i32.const 0) (i32.const 608)))
        (i32.store8 (i32.const 513) (call $prestat (i32.const 3) (i32.const 608)))
        (i32.store8 (i32.const 514) (call $accept (i32.const 3) (i32.const 0) (i32.const 608)))
        (i32.store8 (i32.const 515) (call $poll (i32.const 608) (i32.const 608) (i32.const 1) (i32.const 608)))
        (i32.store8 (i32.const 516) (call $environ (i32.const 600) (i32.const 604)))
        (i32.store8 (i32.const 517) (call $args (i32.const 604) (i32.const 604)))
        (i32.store8 (i32.const 518) (call $seek (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 608)))
        (i32.store8 (i32.const 519) (call $yield))
        (i64.store (i32.const 520) (i64.load (i32.const 600)))
        (i64.store (i32.const 528) (i64.load (i32.const 608)))
        (call $hex (i32.const 512) (i32.const 24))
        "#,
    );
    let written = run(&job(&text)).result.unwrap();
    assert_eq!(
        written,
        json!(format!("{}{}", "0808083a00004600", "0".repeat(32)))
    );
}

#[test]
fn each_way_to_fail_is_told() {
    let loops = program("", "(loop $l (br $l))");
    let mut endless = job(&loops);
    endless.fuel = 100_000;
    let ended = run(&endless);
    assert_eq!(ended.result, Err(ScriptError::FuelExhausted(100_000)));
    assert_eq!(ended.fuel_used, 100_000);

    let unreachable = error(&program("", "unreachable"));
    assert!(
        matches!(&unreachable, ScriptError::Trapped(text) if text.contains("unreachable")),
        "{unreachable}"
    );
    let zero = error(&program(
        "",
        "(drop (i32.div_u (i32.const 1) (i32.const 0)))",
    ));
    assert!(
        matches!(&zero, ScriptError::Trapped(text) if text.contains("divide by zero")),
        "{zero}"
    );
    let outside = error(&program("", "(drop (i32.load (i32.const -4)))"));
    assert!(
        matches!(&outside, ScriptError::Trapped(text) if text.contains("out of bounds")),
        "{outside}"
    );
    let deep = error(&program(
        "(func $deep (call $deep) (call $deep))",
        "(call $deep)",
    ));
    assert!(
        matches!(&deep, ScriptError::Trapped(text) if text.contains("stack")),
        "{deep}"
    );

    assert_eq!(
        error(&program("", "(call $exit (i32.const 3))")),
        ScriptError::Exited(3)
    );
    assert_eq!(
        error(&program("", "(call $exit (i32.const -1))")),
        ScriptError::Exited(-1)
    );
    let empty = ScriptError::OutputInvalid("it is empty".to_owned());
    assert_eq!(error(&program("", "(call $exit (i32.const 0))")), empty);
    assert_eq!(error(&program("", "")), empty);
    let wrong = error(&program(
        "",
        "(call $say (i32.const 1) (i32.const 256) (i32.const 5))",
    ));
    assert_eq!(
        wrong,
        ScriptError::OutputInvalid("expected value at line 1 column 1".to_owned())
    );
}

#[test]
fn nothing_is_kept_that_nests_too_deep_or_is_too_large() {
    let mut job = job(ECHO);
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    job.input = nested(limits::JSON_DEPTH_MAX - 1).into();
    run(&job).result.unwrap();
    job.input = nested(limits::JSON_DEPTH_MAX + 1).into();
    let told = run(&job).result.unwrap_err().to_string();
    assert!(told.contains("nested deeper than 64 levels"), "{told}");
    job.input = nested(100_000).into();
    let told = run(&job).result.unwrap_err().to_string();
    assert!(told.contains("recursion limit"), "{told}");

    let text = |len: usize| json!("x".repeat(len)).to_string();
    job.input = text(limits::SCRIPT_OUTPUT_MAX_BYTES - 2).into();
    run(&job).result.unwrap();
    job.input = text(limits::SCRIPT_OUTPUT_MAX_BYTES - 1).into();
    assert_eq!(run(&job).result, Err(ScriptError::OutputTooLarge));
    // All that there is, again and again.
    let flood = program(
        "",
        "(loop $l (call $say (i32.const 1) (i32.const 0) (i32.const 65536)) (br $l))",
    );
    assert_eq!(error(&flood), ScriptError::OutputTooLarge);
}

#[test]
fn memory_is_bounded() {
    // Grows until it gets no more, then gives up as programs do.
    let bomb = |end: &str| {
        program(
            "",
            &format!(
                "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) {end}"
            ),
        )
    };
    for end in ["unreachable", "(call $exit (i32.const 1))"] {
        let mut job = job(&bomb(end));
        job.memory_max_bytes = 1024 * 1024;
        assert_eq!(run(&job).result, Err(ScriptError::Memory(1024 * 1024)));
    }
    // One that does without it has ended well.
    let mut job = job(&bomb(
        "(call $say (i32.const 1) (i32.const 261) (i32.const 2))",
    ));
    job.memory_max_bytes = limits::SCRIPT_MEMORY_MAX_BYTES;
    assert_eq!(run(&job).result, Ok(json!([])));
    // What it begins with counts.
    let large = program("", "").replace("\"memory\") 1", "\"memory\") 3");
    let mut job = support::job(&large);
    job.memory_max_bytes = 2 * limits::SCRIPT_PAGE_BYTES;
    assert_eq!(run(&job).result, Err(ScriptError::Memory(131_072)));
    // Tables too: growing gives -1, not elements.
    let table = program(
        "(table $t 1 funcref)",
        "(if (i32.eq (table.grow $t (ref.null func) (i32.const 65536)) (i32.const -1)) (then (call $say (i32.const 1) (i32.const 261) (i32.const 2))))",
    );
    assert_eq!(run(&support::job(&table)).result, Ok(json!([])));
}

#[test]
fn the_log_is_bounded_and_its_end_is_kept() {
    let text = program(
        "",
        r#"
        (local $n i32)
        (loop $l
          (call $say (i32.const 2) (i32.const 1024) (i32.const 60000))
          (local.set $n (i32.add (local.get $n) (i32.const 1)))
          (br_if $l (i32.lt_u (local.get $n) (i32.const 40))))
        (call $say (i32.const 2) (i32.const 256) (i32.const 5))
        unreachable
        "#,
    );
    let Ended { result, log, .. } = run(&job(&text));
    assert!(matches!(result, Err(ScriptError::Trapped(_))));
    assert_eq!(log.len(), LOG_MAX_BYTES);
    assert!(log.ends_with("\u{0}hello"), "{}", &log[log.len() - 9..]);
    // No text is no failure.
    let text = program(
        "",
        "(i32.store8 (i32.const 512) (i32.const 255)) (call $say (i32.const 2) (i32.const 512) (i32.const 1)) unreachable",
    );
    assert_eq!(run(&job(&text)).log, "\u{fffd}");
}

#[test]
fn addresses_outside_of_the_memory_are_errors_of_the_program() {
    // An answer to a part beyond the end, to a list of parts beyond the end, to too many parts, to too much chance.
    let text = program(
        "",
        r#"
        (i32.store (i32.const 600) (i32.const 65530))
        (i32.store (i32.const 604) (i32.const 100))
        (i32.store8 (i32.const 512) (call $write (i32.const 1) (i32.const 600) (i32.const 1) (i32.const 608)))
        (i32.store8 (i32.const 513) (call $read (i32.const 0) (i32.const 600) (i32.const 1) (i32.const 608)))
        (i32.store8 (i32.const 514) (call $write (i32.const 2) (i32.const -8) (i32.const 1) (i32.const 608)))
        (i32.store8 (i32.const 515) (call $write (i32.const 2) (i32.const 0) (i32.const 1025) (i32.const 608)))
        (i32.store8 (i32.const 516) (call $random (i32.const 0) (i32.const 65537)))
        (i32.store8 (i32.const 517) (call $random (i32.const 65535) (i32.const 2)))
        (i32.store8 (i32.const 518) (call $write (i32.const 3) (i32.const 600) (i32.const 1) (i32.const 608)))
        (i32.store8 (i32.const 519) (call $clock (i32.const 7) (i64.const 0) (i32.const 0)))
        (call $hex (i32.const 512) (i32.const 8))
        "#,
    );
    assert_eq!(run(&job(&text)).result, Ok(json!("1515151c1c15081c")));
}

/// Runs `text` until it was asked a few times whether it is stopped.
fn stopped(text: &str) -> Ended {
    let mut endless = job(text);
    endless.fuel = limits::SCRIPT_FUEL_MAX;
    let asked = AtomicUsize::new(0);
    support::scripts().run(&endless, move || asked.fetch_add(1, Ordering::SeqCst) > 3)
}

#[test]
fn a_run_is_stopped_from_outside_wherever_it_is() {
    for body in [
        "(loop $l (br $l))",
        "(loop $l (memory.fill (i32.const 0) (i32.const 0) (i32.const 65536)) (br $l))",
        // Little fuel for much work.
        "(loop $l (drop (call $random (i32.const 0) (i32.const 65536))) (br $l))",
    ] {
        let ended = stopped(&program("", body));
        assert_eq!(ended.result, Err(ScriptError::Stopped), "{body}");
    }
    // So is one that does not come to its beginning.
    let start = program("(func $start (loop $l (br $l))) (start $start)", "");
    assert_eq!(stopped(&start).result, Err(ScriptError::Stopped));
    // One that is stopped before it begins computes nothing.
    let ended = support::scripts().run(&job(ECHO), || true);
    assert_eq!(ended.result, Err(ScriptError::Stopped));
    assert_eq!(ended.fuel_used, 0);
}

#[test]
fn runs_do_not_know_each_other() {
    // Counts in its memory and in a global.
    let text = program(
        "(global $n (mut i32) (i32.const 0))",
        r#"
        (global.set $n (i32.add (global.get $n) (i32.const 1)))
        (i32.store (i32.const 512) (i32.add (i32.load (i32.const 512)) (global.get $n)))
        (call $hex (i32.const 512) (i32.const 4))
        "#,
    );
    let (scripts, job) = (Arc::new(Scripts::new().unwrap()), job(&text));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (scripts, job) = (scripts.clone(), job.clone());
            std::thread::spawn(move || {
                let results = (0..25).map(|_| scripts.run(&job, || false).result);
                results.collect::<Vec<_>>()
            })
        })
        .collect();
    for thread in threads {
        for result in thread.join().unwrap() {
            assert_eq!(result, Ok(Value::from("01000000")));
        }
    }
}
