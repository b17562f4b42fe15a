//! `script`: runs a WebAssembly program.

use std::borrow::Cow;

use jiff::Timestamp;
use serde_json::{Value, json};
use signalbox_model::{
    execution::Failure,
    expression::{EvaluationError, Expression, Scope, sharing_one_budget},
    limits,
    workflow::ScriptStep,
};

use super::{Begin, Behaviour, expression_failure, not_of_its_kind};
use crate::{
    codes,
    decision::{AttemptFailure, EffectKind, Outcome},
    script::{ScriptCall, ScriptEnd},
};

/// What a program's clock says: the same however often the step is repeated.
const TIME: &str = "execution.startTime";
/// How much of the log an error quotes, in bytes.
const SAID_MAX_BYTES: usize = 500;

impl Behaviour for ScriptStep {
    fn begin(&self, scope: &Scope, _now: Timestamp) -> Result<Begin, Failure> {
        let (input, time) = sharing_one_budget(|| {
            let time = match Expression::parse(TIME) {
                Ok(time) => time.evaluate(scope)?,
                Err(_) => Value::Null,
            };
            Ok((self.input.render(scope)?, time))
        })
        .map_err(|error: EvaluationError| expression_failure(&error))?;
        let time = time.as_str().and_then(|time| time.parse().ok());
        let time = time
            .ok_or_else(|| Failure::new(codes::INTERNAL, format!("{TIME} is no time: {time:?}")))?;
        let call = ScriptCall {
            module: self.module.clone(),
            input: input.to_string().into(),
            fuel: self.fuel,
            memory_max_bytes: self.memory_max_bytes,
            time,
        };
        Ok(Begin::Attempt {
            input: json!({
                "module": self.module.name(),
                "input": input,
                "fuel": self.fuel,
                "memoryMaxBytes": self.memory_max_bytes,
            }),
            effect: EffectKind::Script(Box::new(call)),
        })
    }

    fn conclude(&self, outcome: Outcome) -> Result<Value, AttemptFailure> {
        match outcome {
            Outcome::Failed(failure) => Err(failure),
            Outcome::Script(end) => conclude(end),
            Outcome::Http(_) | Outcome::Email(_) | Outcome::Child(_) => Err(not_of_its_kind()),
        }
    }
}

fn conclude(end: ScriptEnd) -> Result<Value, AttemptFailure> {
    let ScriptEnd {
        result,
        log,
        fuel_used,
    } = end;
    match result {
        Ok(result) => Ok(json!({
            "result": result,
            "log": tail(&log, limits::SCRIPT_LOG_MAX_BYTES),
            "fuelUsed": fuel_used,
        })),
        Err(Failure { code, message }) => {
            // What a panic says, in one line.
            let words: Vec<&str> = log.split_whitespace().collect();
            let said = words.join(" ");
            let message = match tail(&said, SAID_MAX_BYTES) {
                said if said.is_empty() => message,
                said => format!("{message}; it said: {said}"),
            };
            // It sees nothing but its input, and would end like that again.
            Err(AttemptFailure::lasting(&code, message))
        }
    }
}

/// The last `max` bytes of `text`, or a few less, so that it is text.
fn tail(text: &str, max: usize) -> Cow<'_, str> {
    if text.len() <= max {
        return text.into();
    }
    let mut from = text.len() - max;
    while !text.is_char_boundary(from) {
        from += 1;
    }
    format!("…{}", &text[from..]).into()
}

#[cfg(test)]
mod tests;
