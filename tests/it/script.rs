//! Scripts from outside: refused when they are written, and run by a node.

use std::time::Duration;

use serde_json::{Value, json};
use signalbox_proto::{
    convert::{definition, json as format},
    v1::{
        CreateSecretRequest, CreateWorkflowRequest, Execution, ExecutionError, ExecutionState,
        RunWorkflowRequest, Secret, Workflow, WorkflowSpec,
    },
};
use signalbox_tests::{
    api::Api,
    planes::{Options, Planes},
    wait,
};
use tonic::Code;

/// What it reads, it writes; then `more`.
fn wat(more: &str) -> String {
    format!(
        r#"(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
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

fn spec(wat: &str, fields: &str, more: &str) -> String {
    let wat = Value::from(wat);
    format!(
        "trigger: {{manual: {{}}}}\nsteps:\n  - id: run\n    script: {{wat: {wat}, {fields}}}\n{more}"
    )
}

async fn run(api: &Api, workflow: &str, input: &Value) -> String {
    let request = RunWorkflowRequest {
        name: format!("projects/default/workflows/{workflow}"),
        input: Some(definition::from_json(input)),
        ..RunWorkflowRequest::default()
    };
    let run = api.workflows().run_workflow(request).await;
    run.unwrap().into_inner().name
}

async fn failed(api: &Api, name: &str) -> ExecutionError {
    let execution: Execution = api.execution_in(name, ExecutionState::Failed).await;
    assert_eq!(execution.steps[0].attempts.len(), 1);
    execution.error.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_runs_at_the_node_and_shows_no_secret() {
    let (_planes, api) = Planes::start(Options::default()).await;
    let request = CreateSecretRequest {
        parent: "projects/default".into(),
        secret_id: "token".into(),
        secret: Some(Secret {
            value: b"s3cret-of-the-script".to_vec().into(),
            ..Secret::default()
        }),
    };
    api.secrets().create_secret(request).await.unwrap();
    let input = r#"input: {n: "${{ event.json.n }}", token: "${{ secrets.token }}"}"#;
    let done = "  - {id: done, succeed: {output: '${{ steps.run.output.result }}'}}";
    api.create_workflow("echo", &spec(&wat(""), input, done))
        .await;
    let name = run(&api, "echo", &json!({"n": 7})).await;
    let execution = api.execution_in(&name, ExecutionState::Succeeded).await;
    let output: Value = serde_json::from_str(&execution.output_json).unwrap();
    assert_eq!(output, json!({"n": 7, "token": "***"}));
    let shown = format!("{execution:?}");
    assert!(!shown.contains("s3cret"), "{shown}");
    let step = &execution.steps[0];
    assert_eq!(step.kind, "script");
    let recorded: Value = serde_json::from_str(&step.input_json).unwrap();
    assert_eq!(recorded["input"], output);

    let trap = spec(&wat("unreachable"), "", "");
    api.create_workflow("trap", &trap).await;
    let name = run(&api, "trap", &json!({"n": 1})).await;
    let error = failed(&api, &name).await;
    assert_eq!(error.code, "SCRIPT_TRAPPED");
    assert!(
        error.message.ends_with(r#"; it said: {"n":1}"#),
        "{error:?}"
    );

    let endless = spec(&wat("(loop $l (br $l))"), "fuel: 1000000", "");
    api.create_workflow("endless", &endless).await;
    let name = run(&api, "endless", &json!({})).await;
    assert_eq!(failed(&api, &name).await.code, "SCRIPT_FUEL_EXHAUSTED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_could_do_more_is_refused_when_it_is_written() {
    let (_planes, api) = Planes::start(Options::default()).await;
    let import = r#"(module (import "env" "system" (func (param i32) (result i32))))"#;
    for (wat, told) in [
        (
            import,
            "imports env.system; there are only the functions of wasi_snapshot_preview1",
        ),
        ("(module", "is no WebAssembly text: "),
        (
            "(module)",
            "exports no function _start without parameters and results",
        ),
    ] {
        let spec: WorkflowSpec = format::from_yaml_str(&spec(wat, "", "")).unwrap();
        let request = CreateWorkflowRequest {
            parent: "projects/default".into(),
            workflow_id: "refused".into(),
            workflow: Some(Workflow {
                spec: Some(spec),
                ..Workflow::default()
            }),
            publish: true,
            ..CreateWorkflowRequest::default()
        };
        let status = api.workflows().create_workflow(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        let message = status.message();
        assert!(
            message.contains(&format!("steps[0].script.wat: {told}")),
            "{message}"
        );
    }
}

/// Computes for a second or so, and writes what its clock says, in nanoseconds.
const SLOW_CLOCK: &str = r#"(module
  (import "wasi_snapshot_preview1" "clock_time_get" (func $clock (param i32 i64 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start") (local $left i32) (local $at i32) (local $number i64)
    (local.set $left (i32.const 100000000))
    (loop $burn
      (local.set $left (i32.sub (local.get $left) (i32.const 1)))
      (br_if $burn (local.get $left)))
    (drop (call $clock (i32.const 0) (i64.const 1) (i32.const 16)))
    (local.set $number (i64.load (i32.const 16)))
    (local.set $at (i32.const 128))
    (loop $digit
      (local.set $at (i32.sub (local.get $at) (i32.const 1)))
      (i32.store8 (local.get $at)
        (i32.add (i32.const 48) (i32.wrap_i64 (i64.rem_u (local.get $number) (i64.const 10)))))
      (local.set $number (i64.div_u (local.get $number) (i64.const 10)))
      (br_if $digit (i64.ne (local.get $number) (i64.const 0))))
    (i32.store (i32.const 0) (local.get $at))
    (i32.store (i32.const 4) (i32.sub (i32.const 128) (local.get $at)))
    (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_a_kill_interrupted_runs_again_and_gives_what_it_would_have() {
    // Each takes a second, and at most four run at once: when all are under way, some are.
    const EXECUTIONS: usize = 10;
    let (mut planes, api) = Planes::start(Options::default()).await;
    let done = "  - {id: done, succeed: {output: '${{ steps.run.output.result }}'}}";
    api.create_workflow("slow", &spec(SLOW_CLOCK, "fuel: 2000000000", done))
        .await;
    let mut names = Vec::new();
    for _ in 0..EXECUTIONS {
        names.push(run(&api, "slow", &json!({})).await);
    }
    wait::until("all to be under way", Duration::from_secs(30), || async {
        let mut begun = 0;
        for name in &names {
            let execution = api.execution(name).await.map_err(|s| s.to_string())?;
            let attempts = execution
                .steps
                .first()
                .map_or(0, |step| step.attempts.len());
            begun += attempts.min(1);
        }
        (begun == EXECUTIONS)
            .then_some(())
            .ok_or_else(|| format!("{begun} are"))
    })
    .await;
    planes.data.kill();
    planes.data.start().await;
    let mut repeated = 0;
    for name in &names {
        let execution = api.execution_in(name, ExecutionState::Succeeded).await;
        // The control plane keeps microseconds.
        let began = execution.start_time.unwrap();
        let began_us = began.seconds * 1_000_000 + i64::from(began.nanos) / 1000;
        let clock_ns: i64 = execution.output_json.parse().unwrap();
        assert_eq!(clock_ns / 1000, began_us);
        let marks: Vec<bool> = execution.steps[0]
            .attempts
            .iter()
            .map(|attempt| attempt.repeated)
            .collect();
        assert!([&[false][..], &[true]].contains(&&marks[..]), "{marks:?}");
        repeated += usize::from(marks[0]);
    }
    assert!(repeated > 0, "the kill came too late");
}
