//! What expressions read.

use std::{collections::HashMap, fmt};

use cel::{
    common::{
        types::{
            CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt,
        },
        value::{CowVal, Val},
    },
    context::VariableResolver,
};
use serde_json::Value;

use crate::{execution::StepState, ids::StepId};

type Fields = HashMap<CelMapKey<'static>, Box<dyn Val>>;

/// The variables of expressions: `event`, `vars`, `execution` and `steps`. Built once for an execution; cheap to grow,
/// and an evaluation copies nothing of it that the expression does not ask for.
#[derive(Clone)]
pub struct Scope {
    event: Box<dyn Val>,
    vars: Box<dyn Val>,
    execution: Box<dyn Val>,
    steps: CelMap<'static>,
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
            steps: CelMap::default(),
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
        let fields = Fields::from([
            (CelMapKey::from("state"), text(state)),
            (CelMapKey::from("output"), to_cel(&result.output)),
        ]);
        let mut steps = std::mem::take(&mut self.steps).into_inner();
        let id = CelMapKey::from(id.as_str().to_owned());
        steps.insert(id, Box::new(CelMap::from(fields)));
        self.steps = CelMap::from(steps);
    }
}

impl VariableResolver for Scope {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        let value: &'b dyn Val = match variable {
            "event" => self.event.as_ref(),
            "vars" => self.vars.as_ref(),
            "execution" => self.execution.as_ref(),
            "steps" => &self.steps,
            _ => return None,
        };
        Some(CowVal::Borrowed(value))
    }
}

impl fmt::Debug for Scope {
    /// Without what it holds: messages and answers are not for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scope").finish_non_exhaustive()
    }
}

fn text(value: &str) -> Box<dyn Val> {
    Box::new(CelString::from(value.to_owned()))
}

/// Integers of JSON are CEL ints, so that `event.json.count > 3` and indices work as written.
fn to_cel(value: &Value) -> Box<dyn Val> {
    match value {
        Value::Null => Box::new(CelNull),
        Value::Bool(value) => Box::new(CelBool::from(*value)),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => Box::new(CelInt::from(int)),
            (None, Some(uint)) => Box::new(CelUInt::from(uint)),
            (None, None) => Box::new(CelDouble::from(number.as_f64().unwrap_or(f64::NAN))),
        },
        Value::String(value) => text(value),
        Value::Array(values) => {
            let values: Vec<Box<dyn Val>> = values.iter().map(to_cel).collect();
            Box::new(CelList::from(values))
        }
        Value::Object(fields) => {
            let fields: Fields = fields
                .iter()
                .map(|(name, value)| (CelMapKey::from(name.clone()), to_cel(value)))
                .collect();
            Box::new(CelMap::from(fields))
        }
    }
}
