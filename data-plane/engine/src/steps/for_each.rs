//! `forEach`: runs a list of steps for each of a list of values.

use jiff::Timestamp;
use serde_json::{Value, json};
use signalbox_model::{
    execution::Failure, expression::Scope, limits::FOR_EACH_ITEMS_MAX, workflow::ForEachStep,
};

use super::{Begin, Behaviour, expression_failure};
use crate::codes;

impl Behaviour for ForEachStep {
    fn begin(&self, scope: &Scope, _now: Timestamp) -> Result<Begin, Failure> {
        let items = self.items.evaluate(scope);
        let invalid = |what: String| Failure::new(codes::INVALID_ITEMS, what);
        match items.map_err(|error| expression_failure(&error))? {
            Value::Array(items) if items.len() > FOR_EACH_ITEMS_MAX => Err(invalid(format!(
                "there are {} items; at most {FOR_EACH_ITEMS_MAX} are allowed",
                items.len()
            ))),
            Value::Array(items) => Ok(Begin::Enter {
                input: json!({ "items": items }),
            }),
            other => Err(invalid(format!(
                "the items are {}; expected a list",
                kind(&other)
            ))),
        }
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}
