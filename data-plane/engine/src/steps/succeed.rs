//! `succeed`: ends what it stands in, as succeeded.

use jiff::Timestamp;
use serde_json::{Value, json};
use signalbox_model::{
    execution::Failure,
    expression::{JsonTemplate, Scope},
    workflow::SucceedStep,
};

use super::{Begin, Behaviour, expression_failure};

impl Behaviour for SucceedStep {
    fn begin(&self, scope: &Scope, _now: Timestamp) -> Result<Begin, Failure> {
        let output = match &self.output {
            Some(template) => template.render(scope),
            None => Ok(Value::Null),
        };
        let written = self.output.as_ref().map(JsonTemplate::shown);
        Ok(Begin::Finished {
            input: json!({ "output": written }),
            result: output.map_err(|error| expression_failure(&error)),
        })
    }

    fn ends_list(&self) -> bool {
        true
    }
}
