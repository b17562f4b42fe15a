use serde_json::Value;
use signalbox_model::{execution::Failure, expression::Scope, workflow::SucceedStep};

use super::{Plan, StepKind, expression_failure};

impl StepKind for SucceedStep {
    fn plan(&self, scope: &Scope) -> Result<Plan, Failure> {
        let output = match &self.output {
            Some(template) => template.render(scope).map_err(expression_failure)?,
            None => Value::Null,
        };
        Ok(Plan::End {
            input: Value::Null,
            result: Ok(output),
        })
    }
}
