use serde_json::json;
use signalbox_model::{execution::Failure, expression::Scope, workflow::ConditionStep};

use super::{Plan, StepKind, expression_failure};

impl StepKind for ConditionStep {
    /// Output: `{"branch": index of the rule, or -1}`; the machine then goes on inside that branch.
    fn plan(&self, scope: &Scope) -> Result<Plan, Failure> {
        let mut branch = None;
        for (index, rule) in self.rules.iter().enumerate() {
            if rule
                .condition
                .evaluate_bool(scope)
                .map_err(expression_failure)?
            {
                branch = Some(index);
                break;
            }
        }
        let input = match branch {
            Some(index) => json!({"if": self.rules[index].condition.source()}),
            None => json!({"otherwise": true}),
        };
        let index = branch.and_then(|index| i64::try_from(index).ok());
        Ok(Plan::Output {
            input,
            output: json!({"branch": index.unwrap_or(-1)}),
        })
    }
}
