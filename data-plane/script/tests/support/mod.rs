//! Programs in the text format.

use std::sync::{Arc, OnceLock};

use signalbox_model::{limits, script::ScriptModule};
use signalbox_script::{Ended, Job, Scripts};

/// What it reads, it writes.
pub(crate) const ECHO: &str = include_str!("echo.wat");

/// A program with a memory of one page, which holds `hello` at 256 and `[]` at 261. `$say` writes to a stream, `$hex` a JSON
/// text of bytes in base 16 to the output.
pub(crate) fn program(more: &str, body: &str) -> String {
    // Imports come before everything else.
    let split = more.rfind("(import").map_or(0, |at| {
        at + more[at..].find('\n').unwrap_or(more.len() - at)
    });
    let (imports, more) = more.split_at(split);
    format!(
        r#"(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  {imports}
  (memory (export "memory") 1)
  (data (i32.const 256) "hello[]")
  (data (i32.const 272) "0123456789abcdef")
  (func $say (param $fd i32) (param $at i32) (param $len i32)
    (i32.store (i32.const 288) (local.get $at))
    (i32.store (i32.const 292) (local.get $len))
    (drop (call $write (local.get $fd) (i32.const 288) (i32.const 1) (i32.const 296))))
  (func $hex (param $at i32) (param $len i32) (local $to i32)
    (local.set $to (i32.const 32769))
    (i32.store8 (i32.const 32768) (i32.const 34))
    (loop $l
      (i32.store8 (local.get $to)
        (i32.load8_u (i32.add (i32.const 272) (i32.shr_u (i32.load8_u (local.get $at)) (i32.const 4)))))
      (i32.store8 (i32.add (local.get $to) (i32.const 1))
        (i32.load8_u (i32.add (i32.const 272) (i32.and (i32.load8_u (local.get $at)) (i32.const 15)))))
      (local.set $to (i32.add (local.get $to) (i32.const 2)))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (local.set $len (i32.sub (local.get $len) (i32.const 1)))
      (br_if $l (local.get $len)))
    (i32.store8 (local.get $to) (i32.const 34))
    (call $say (i32.const 1) (i32.const 32768) (i32.sub (local.get $to) (i32.const 32767))))
  {more}
  (func (export "_start") {body}))"#
    )
}

/// A run of the program that `text` writes.
#[track_caller]
pub(crate) fn job(text: &str) -> Job {
    let module = ScriptModule::from_text(text).unwrap_or_else(|error| panic!("{error}: {text}"));
    Job {
        module: Arc::new(module),
        input: "null".into(),
        fuel: limits::SCRIPT_FUEL_DEFAULT,
        memory_max_bytes: limits::SCRIPT_MEMORY_DEFAULT_BYTES,
        time: "2026-11-26T10:00:00.5Z".parse().unwrap(),
        seed: "a seed".to_owned(),
    }
}

/// One engine for all that a test runs.
pub(crate) fn scripts() -> &'static Scripts {
    static SCRIPTS: OnceLock<Scripts> = OnceLock::new();
    SCRIPTS.get_or_init(|| Scripts::new().unwrap())
}

/// Runs it to its end.
pub(crate) fn run(job: &Job) -> Ended {
    scripts().run(job, || false)
}
