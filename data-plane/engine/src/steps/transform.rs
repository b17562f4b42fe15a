use serde_json::{Value, json};
use signalbox_model::{execution::Failure, expression::Scope, workflow::TransformStep};

use super::{Plan, StepKind, expression_failure};

impl StepKind for TransformStep {
    fn plan(&self, scope: &Scope) -> Result<Plan, Failure> {
        let (input, output) = match self {
            Self::Expression(expression) => (
                json!({"expression": expression.source()}),
                expression.evaluate(scope),
            ),
            Self::Template(template) => (Value::Null, template.render(scope)),
        };
        let output = output.map_err(expression_failure)?;
        Ok(Plan::Output { input, output })
    }
}
