//! Scripts, from the definition to the record.

use signalbox_engine::Outcome;
use signalbox_proto::{convert::yaml, v1};

use super::{secrets::Config, *};
use crate::execution::ScriptPerformer;

/// What it reads, it writes, to its log too; then `more`.
fn echo(more: &str) -> String {
    format!(
        r#"(module
        (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
        (memory (export "memory") 1)
        (func (export "_start")
          (i32.store (i32.const 0) (i32.const 1024))
          (i32.store (i32.const 4) (i32.const 32768))
          (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 4)))
          (drop (call $write (i32.const 2) (i32.const 0) (i32.const 1) (i32.const 8)))
          (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))
          {more}))"#
    )
}

/// A workflow of one script, with more of the step and of its fields.
fn workflow(wat: &str, step: &str, fields: &str) -> String {
    let wat = serde_json::Value::from(wat);
    format!(
        "trigger: {{manual: {{}}}}\nsteps:\n  - id: run\n    {step}\n    script: {{wat: {wat}, {fields}}}"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_reads_the_event_and_its_output_is_read() {
    let mut world = World::start().await;
    let mut definition = workflow(&echo(""), "timeout: 30s", "");
    definition
        .push_str("\n  - {id: twice, transform: {expression: 'steps.run.output.result.n * 2'}}");
    definition.push_str("\n  - {id: done, succeed: {output: {n: '${{ steps.twice.output }}', run: '${{ steps.run.output }}'}}}");
    let execution = world.accept(&definition, "one", r#"{"n": 21}"#).await;
    world.run();
    let facts = world.finished(&execution).await;
    let output = output_of(&facts);
    assert_eq!(output["n"], 42);
    assert_eq!(output["run"]["log"], r#"{"n":21}"#);
    assert!(
        output["run"]["fuelUsed"]
            .as_u64()
            .is_some_and(|fuel| fuel > 10),
        "{output}"
    );
    let input = facts.iter().find_map(|fact| match fact {
        Fact::StepStarted { step, kind, input } if step.step.as_str() == "run" => {
            assert_eq!(kind, "script");
            Some(input.to_value())
        }
        _ => None,
    });
    let input = input.unwrap();
    assert_eq!(input["input"], json!({"n": 21}));
    assert_eq!(input["fuel"], 500_000_000);
    let module = input["module"].as_str().unwrap();
    assert!(module.starts_with("sha256:"), "{module}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_to_fail_has_its_code_and_one_attempt() {
    let mut world = World::start().await;
    world.run();
    let retry = "retry: {maxAttempts: 3, initialBackoff: 0.01s}";
    for (wat, fields, expected) in [
        (
            echo("unreachable"),
            "",
            "SCRIPT_TRAPPED: step \"run\": the script trapped: wasm trap: wasm `unreachable` instruction executed; it said: {\"n\":1}",
        ),
        (
            echo("(call $exit (i32.const 7))"),
            "",
            "SCRIPT_EXITED: step \"run\": the script exited with the code 7; it said: {\"n\":1}",
        ),
        (
            echo("(loop $l (br $l))"),
            "fuel: 100000",
            "SCRIPT_FUEL_EXHAUSTED: step \"run\": the script used up its fuel of 100000; ",
        ),
        (
            echo(
                "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable",
            ),
            "memoryMaxBytes: 1048576",
            "SCRIPT_MEMORY: step \"run\": the script wanted more than 1048576 bytes of memory; ",
        ),
        (
            echo("(drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))"),
            "",
            "SCRIPT_OUTPUT_INVALID: step \"run\": the script's standard output is no JSON: trailing characters",
        ),
        (
            echo(
                "(loop $l (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8))) (br $l))",
            ),
            "",
            "OUTPUT_TOO_LARGE: step \"run\": the script wrote more than 262144 bytes",
        ),
        (
            echo(""),
            "input: '${{ event.json.no.such }}'",
            "EXPRESSION: ",
        ),
    ] {
        let definition = workflow(&wat, retry, fields);
        let execution = world.accept(&definition, "one", r#"{"n":1}"#).await;
        let facts = world.finished(&execution).await;
        let error = finished(&facts).1.unwrap().to_string();
        assert!(error.starts_with(expected), "{error}");
        assert!(attempts(&facts).len() <= 1, "{facts:?}");
    }
}

/// With the most fuel that there is, seconds on any machine.
const SLOW: &str = "(loop $l (br $l))";

#[tokio::test(flavor = "multi_thread")]
async fn a_script_ends_at_its_timeout_and_makes_room() {
    let mut world = World::start().await;
    world.run();
    let step = "timeout: 0.3s\n    retry: {maxAttempts: 2, initialBackoff: 0.01s}";
    let slow = workflow(&echo(SLOW), step, "fuel: 10000000000");
    // More than run at once.
    let mut executions = Vec::new();
    for n in 0..6 {
        executions.push(world.accept(&slow, &n.to_string(), "{}").await);
    }
    for execution in &executions {
        let facts = world.finished(execution).await;
        let error = finished(&facts).1.unwrap().to_string();
        assert_eq!(
            error,
            "TIMEOUT: step \"run\": the script did not end within 300ms"
        );
        assert_eq!(attempts(&facts), [(1, false), (2, false)]);
    }
    let quick = workflow(&echo(""), "timeout: 30s", "");
    let execution = world.accept(&quick, "quick", "[]").await;
    assert_eq!(
        output_of(&world.finished(&execution).await)["result"],
        json!([])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_hold_up_nothing_else() {
    let mut world = World::start().await;
    world.concurrency_max = 64;
    world.run();
    let slow = workflow(&echo(SLOW), "timeout: 3600s", "fuel: 10000000000");
    for n in 0..16 {
        world.accept(&slow, &n.to_string(), "{}").await;
    }
    let quick = "trigger: {manual: {}}\nsteps: [{id: quick, transform: {expression: '1'}}]";
    let execution = world.accept(quick, "quick", "{}").await;
    assert_eq!(output_of(&world.finished(&execution).await), json!(1));
    // Nor the end of the process: this would hang if they did not stop with their attempts.
    world.crash().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_a_crash_broke_off_gives_what_it_would_have_given() {
    // Its chance is its output; the first time, it does not come to its end.
    let random = r#"(module
        (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
        (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
        (memory (export "memory") 1)
        (func (export "_start") (local $at i32)
          (drop (call $random (i32.const 512) (i32.const 9)))
          (loop $digit
            (i32.store8 offset=512 (local.get $at)
              (i32.add (i32.const 49) (i32.rem_u (i32.load8_u offset=512 (local.get $at)) (i32.const 9))))
            (local.set $at (i32.add (local.get $at) (i32.const 1)))
            (br_if $digit (i32.lt_u (local.get $at) (i32.const 9))))
          (i32.store (i32.const 0) (i32.const 512))
          (i32.store (i32.const 4) (i32.const 9))
          (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;
    struct First(ScriptPerformer, Arc<AtomicUsize>);
    impl Performer for First {
        fn perform(&self, effect: Effect) -> BoxFuture<'static, Outcome> {
            let run = self.0.perform(effect);
            if self.1.fetch_add(1, Ordering::SeqCst) > 0 {
                return run;
            }
            // It ran, and nobody was told.
            async move {
                run.await;
                std::future::pending().await
            }
            .boxed()
        }
    }
    let mut world = World::start().await;
    let begun = Arc::new(AtomicUsize::new(0));
    world.performer = Some(Arc::new(First(ScriptPerformer::default(), begun.clone())));
    let definition = workflow(random, "timeout: 30s", "");
    let execution = world.accept(&definition, "one", "{}").await;
    let other = world.accept(&definition, "two", "{}").await;
    world.run();
    let started = async {
        while begun.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, started).await.unwrap();
    world.crash().await;
    world.run();
    let mut results = Vec::new();
    for execution in [&execution, &other] {
        let facts = world.finished(execution).await;
        results.push(output_of(&facts)["result"].as_u64().unwrap());
        let again = world.facts(execution).await;
        assert!(attempts(&again).len() <= 2);
    }
    assert_ne!(results[0], results[1]);
    // The key of a run is that of its execution, so the same run gives the same in any world.
    let mut again = World::start().await;
    again.performer = Some(Arc::new(ScriptPerformer::default()));
    let same = again.accept(&definition, "one", "{}").await;
    assert_eq!(same, execution);
    again.run();
    let facts = again.finished(&same).await;
    assert_eq!(output_of(&facts)["result"].as_u64().unwrap(), results[0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_a_script_echoes_is_in_no_record() {
    let config = Config::new();
    config.set("default", "token", "s3cret-token");
    let mut world = World::start().await;
    world.secrets = config.store.clone();
    world.run();
    let input = r#"input: {token: "${{ secrets.token }}", said: ["<${{ secrets.token }}>"]}"#;
    for end in ["", "unreachable"] {
        let definition = workflow(&echo(end), "timeout: 30s", input);
        let execution = world.accept(&definition, "one", "{}").await;
        let facts = world.finished(&execution).await;
        let records = format!("{:?}", world.records(&execution).await);
        assert!(!records.contains("s3cret-token"), "{records}");
        if end.is_empty() {
            let output = output_of(&facts);
            assert_eq!(output["result"], json!({"token": "***", "said": ["<***>"]}));
            assert_eq!(output["log"], r#"{"said":["<***>"],"token":"***"}"#);
        } else {
            let told = finished(&facts).1.unwrap().message;
            assert!(
                told.ends_with(r#"it said: {"said":["<***>"],"token":"***"}"#),
                "{told}"
            );
        }
    }
    world.stop().await;
    assert!(!world.some_file_holds("s3cret-token"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_example_gives_the_checksum_that_it_says() {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples/shard.yaml");
    let text = std::fs::read_to_string(example).unwrap();
    let example = yaml::read::<v1::Workflow>(&text)
        .unwrap()
        .message
        .spec
        .unwrap();
    let spec = v1::WorkflowSpec {
        steps: example.steps[..2].to_vec(),
        ..example
    };
    let mut world = World::start().await;
    let definition = signalbox_proto::convert::definition::encode(&spec);
    // The check value of CRC-32/ISO-HDLC is of 123456789, which is JSON, too.
    let execution = world
        .accept_definition(definition, "one", r#"{"order": 123456789}"#)
        .await;
    world.run();
    let facts = world.finished(&execution).await;
    let result = facts.iter().find_map(|fact| match fact {
        Fact::StepFinished {
            step,
            output: Some(output),
            ..
        } if step.step.as_str() == "checksum" => Some(output.to_value()["result"].clone()),
        _ => None,
    });
    assert_eq!(result, Some(json!(0xcbf4_3926_u32)));
    assert_eq!(output_of(&facts), json!(0xcbf4_3926_u32 % 4));
}
