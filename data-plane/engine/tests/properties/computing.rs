//! Steps that run programs, and how these end.

use std::sync::{Arc, LazyLock};

use serde_json::{Value, json};
use signalbox_engine::{AttemptFailure, Effect, HttpResponse, Outcome, ScriptEnd};
use signalbox_model::{
    execution::Failure,
    expression::JsonTemplate,
    limits,
    script::ScriptModule,
    workflow::{RetryPolicy, ScriptStep},
};

use super::workflows::Outcomes;

static MODULE: LazyLock<Arc<ScriptModule>> = LazyLock::new(|| {
    let text = r#"(module (memory (export "memory") 1) (func (export "_start")))"#;
    Arc::new(ScriptModule::from_text(text).unwrap())
});

pub(crate) fn script(input: JsonTemplate) -> ScriptStep {
    ScriptStep {
        module: MODULE.clone(),
        input,
        fuel: 1000,
        memory_max_bytes: limits::SCRIPT_PAGE_BYTES,
    }
}

/// How an attempt ends.
pub(crate) fn outcome(outcomes: &Outcomes, effect: &Effect) -> Outcome {
    let run = effect.step.to_string();
    match end_of(outcomes, &run, effect.attempt) {
        End::Late => Outcome::Failed(AttemptFailure::retriable("TIMEOUT", "slow")),
        End::Result(result) => end(Ok(result)),
        End::Broken(code) => end(Err(Failure::new(code, "broken"))),
    }
}

fn end(result: Result<Value, Failure>) -> Outcome {
    Outcome::Script(ScriptEnd {
        result,
        log: "said".to_owned(),
        fuel_used: 7,
    })
}

enum End {
    Result(Value),
    /// And would be again.
    Broken(&'static str),
    Late,
}

fn end_of(outcomes: &Outcomes, run: &str, number: u32) -> End {
    match outcomes.of(run, number) {
        Outcome::Http(HttpResponse { status: 200, .. }) => End::Result(json!({ "of": run })),
        Outcome::Http(HttpResponse { status: 404, .. }) => End::Broken("SCRIPT_EXITED"),
        Outcome::Http(_) => End::Broken("SCRIPT_TRAPPED"),
        _ => End::Late,
    }
}

/// What the interpreter says of a run: its output, or the code of its failure.
pub(crate) fn interpret(
    outcomes: &Outcomes,
    retry: &RetryPolicy,
    run: &str,
) -> Result<Value, &'static str> {
    for number in 1..=retry.max_attempts {
        match end_of(outcomes, run, number) {
            End::Late => {}
            End::Broken(code) => return Err(code),
            End::Result(result) => {
                return Ok(json!({"result": result, "log": "said", "fuelUsed": 7}));
            }
        }
    }
    Err("TIMEOUT")
}
