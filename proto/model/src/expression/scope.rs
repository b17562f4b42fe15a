//! What expressions read.

use std::{collections::HashMap, sync::Arc};

use cel::{
    Context, Value as CelValue,
    objects::{Key, Map},
};
use serde_json::Value;

use crate::{execution::StepState, ids::StepId};

/// The variables of expressions: `event`, `vars`, `execution` and `steps`. Built once for an execution; cheap to grow.
#[derive(Clone, Debug)]
pub struct Scope {
    event: CelValue,
    vars: CelValue,
    execution: CelValue,
    steps: HashMap<Key, CelValue>,
}

/// What a finished step shows to later ones.
#[derive(Clone, Debug, PartialEq)]
pub struct StepResult {
    /// `steps.<id>.state`: `SUCCEEDED`, `FAILED` or `SKIPPED`.
    pub state: StepState,
    /// `steps.<id>.output`; null when there is none.
    pub output: Value,
}

impl Scope {
    /// A scope in which no step has run.
    #[must_use]
    pub fn new(event: &Value, vars: &Value, execution: &Value) -> Self {
        Self {
            event: to_cel(event),
            vars: to_cel(vars),
            execution: to_cel(execution),
            steps: HashMap::new(),
        }
    }

    /// Shows the result of a step.
    pub fn set_step(&mut self, id: &StepId, result: &StepResult) {
        let state = match result.state {
            StepState::Running => "RUNNING",
            StepState::Waiting => "WAITING",
            StepState::Succeeded => "SUCCEEDED",
            StepState::Failed => "FAILED",
            StepState::Skipped => "SKIPPED",
        };
        let fields = HashMap::from([
            (key("state"), CelValue::from(state)),
            (key("output"), to_cel(&result.output)),
        ]);
        self.steps.insert(key(id.as_str()), map(fields));
    }

    pub(super) fn bind(&self, context: &mut Context<'_, '_>) {
        context.add_variable_from_value("event", self.event.clone());
        context.add_variable_from_value("vars", self.vars.clone());
        context.add_variable_from_value("execution", self.execution.clone());
        context.add_variable_from_value("steps", map(self.steps.clone()));
    }
}

fn key(text: &str) -> Key {
    Key::String(Arc::new(text.to_owned()))
}

fn map(fields: HashMap<Key, CelValue>) -> CelValue {
    CelValue::Map(Map {
        map: Arc::new(fields),
    })
}

/// Integers of JSON are CEL ints, so that `event.json.count > 3` and indices work as written.
fn to_cel(value: &Value) -> CelValue {
    match value {
        Value::Null => CelValue::Null,
        Value::Bool(value) => CelValue::Bool(*value),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => CelValue::Int(int),
            (None, Some(uint)) => CelValue::UInt(uint),
            (None, None) => CelValue::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => CelValue::from(text.as_str()),
        Value::Array(values) => CelValue::List(Arc::new(values.iter().map(to_cel).collect())),
        Value::Object(fields) => map(fields
            .iter()
            .map(|(name, value)| (key(name), to_cel(value)))
            .collect()),
    }
}
