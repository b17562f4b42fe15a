#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use signalbox_model::{
    expression::JsonTemplate,
    script::ScriptModule,
    secret::{Masks, Secret},
};

use super::*;

const START: &str = "2026-11-26T10:00:00.5Z";

fn step(input: &Value) -> ScriptStep {
    let module = r#"(module (memory (export "memory") 1) (func (export "_start")))"#;
    ScriptStep {
        module: Arc::new(ScriptModule::from_text(module).unwrap()),
        input: JsonTemplate::parse(input).unwrap(),
        fuel: 1_000,
        memory_max_bytes: limits::SCRIPT_PAGE_BYTES,
    }
}

fn begin(input: &Value, execution: &Value) -> Result<(Value, ScriptCall), Failure> {
    let event = json!({"json": {"a": [1, 2.5, "x"]}});
    let scope = Scope::new(&event, &Value::Null, execution);
    match step(input).begin(&scope, Timestamp::UNIX_EPOCH)? {
        Begin::Attempt {
            input,
            effect: EffectKind::Script(call),
        } => Ok((input, *call)),
        _ => panic!("a script needs an attempt"),
    }
}

fn end(result: Result<Value, Failure>, log: &str) -> ScriptEnd {
    ScriptEnd {
        result,
        log: log.to_owned(),
        fuel_used: 7,
    }
}

#[test]
fn a_program_reads_its_input_at_the_time_of_the_execution() {
    let execution = json!({"startTime": START});
    let input = json!({"whole": "${{ event.json.a }}", "text": "${{ event.json.a[0] }}!"});
    let (recorded, call) = begin(&input, &execution).unwrap();
    let read: Value = serde_json::from_slice(&call.input).unwrap();
    assert_eq!(read, json!({"whole": [1, 2.5, "x"], "text": "1!"}));
    assert_eq!(call.time.to_string(), START);
    assert_eq!((call.fuel, call.memory_max_bytes), (1_000, 65_536));
    assert_eq!(recorded["input"], read);
    assert_eq!(recorded["module"], call.module.name());
    assert!(!format!("{call:?}").contains("whole"));
    let failure = begin(&json!("${{ event.json.b.c }}"), &execution).unwrap_err();
    assert_eq!(failure.code, codes::EXPRESSION);
}

#[test]
fn the_output_holds_what_it_wrote_and_the_end_of_its_log() {
    let outcome = Outcome::Script(end(Ok(json!({"n": 1})), "said\n"));
    let output = step(&Value::Null).conclude(outcome).unwrap();
    assert_eq!(
        output,
        json!({"result": {"n": 1}, "log": "said\n", "fuelUsed": 7})
    );
    let long = "é".repeat(limits::SCRIPT_LOG_MAX_BYTES);
    let outcome = Outcome::Script(end(Ok(Value::Null), &format!("{long}x")));
    let output = step(&Value::Null).conclude(outcome).unwrap();
    let log = output["log"].as_str().unwrap();
    assert!(log.starts_with("…é") && log.ends_with("éx"));
    assert_eq!(log.len(), "…".len() + limits::SCRIPT_LOG_MAX_BYTES - 1);
}

#[test]
fn an_error_quotes_the_end_of_the_log_and_is_not_retried() {
    let failure = Failure::new(codes::SCRIPT_TRAPPED, "it trapped");
    let outcome = Outcome::Script(end(
        Err(failure.clone()),
        "panicked at\n  main.rs:1:\n boom\n",
    ));
    let failed = step(&Value::Null).conclude(outcome).unwrap_err();
    assert!(!failed.retriable);
    assert_eq!(
        failed.failure.to_string(),
        "SCRIPT_TRAPPED: it trapped; it said: panicked at main.rs:1: boom"
    );
    let outcome = Outcome::Script(end(Err(failure), " \n"));
    let failed = step(&Value::Null).conclude(outcome).unwrap_err();
    assert_eq!(failed.failure.message, "it trapped");
}

#[test]
fn an_echoed_secret_is_masked_before_anything_is_cut() {
    let secret = "s3cret-".repeat(10);
    let mut masks = Masks::default();
    masks.add(&Secret::new(secret.clone().into_bytes()));
    let result = json!({"a": [format!("<{secret}>")], secret.clone(): 1});
    let Outcome::Script(masked) = Outcome::Script(end(Ok(result), &secret)).masked(&masks) else {
        panic!("it stays what it is")
    };
    assert_eq!(masked.result, Ok(json!({"a": ["<***>"], "***": 1})));
    assert_eq!(masked.log, "***");
    // The quoted part of the log would begin in the middle of the secret.
    let failure = Failure::new(codes::SCRIPT_EXITED, format!("code {secret}"));
    let log = format!("{secret}{}", "x".repeat(SAID_MAX_BYTES - 20));
    let outcome = Outcome::Script(end(Err(failure), &log));
    let failed = step(&Value::Null).conclude(outcome.masked(&masks));
    let told = failed.unwrap_err().failure.to_string();
    assert!(!told.contains("s3cret"), "{told}");
    assert!(told.contains("code ***; it said: ***xxx"), "{told}");
}
