use serde_json::json;
use signalbox_model::{execution::Failure, expression::Scope, workflow::FailStep};

use super::{Plan, StepKind, expression_failure};

impl StepKind for FailStep {
    fn plan(&self, scope: &Scope) -> Result<Plan, Failure> {
        let message = self
            .message
            .render_text(scope)
            .map_err(expression_failure)?;
        Ok(Plan::End {
            input: json!({"code": self.code, "message": message}),
            result: Err(Failure::new(self.code.clone(), message)),
        })
    }
}
