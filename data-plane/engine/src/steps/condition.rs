//! `condition`: chooses between lists of steps.

use jiff::Timestamp;
use serde_json::{Value, json};
use signalbox_model::{
    execution::Failure,
    expression::{Scope, shown},
    workflow::ConditionStep,
};

use super::{Begin, Behaviour, expression_failure};

impl Behaviour for ConditionStep {
    fn begin(&self, scope: &Scope, _now: Timestamp) -> Result<Begin, Failure> {
        let rules = self.rules.iter().map(|rule| rule.condition.source());
        Ok(Begin::Finished {
            input: json!({ "rules": shown(rules.collect()) }),
            result: choose(self, scope).map(|branch| json!({ "branch": branch })),
        })
    }

    fn branch(&self, output: &Value) -> Option<i64> {
        Some(output["branch"].as_i64().unwrap_or(-1))
    }
}

/// The first rule that holds, or -1.
fn choose(step: &ConditionStep, scope: &Scope) -> Result<i64, Failure> {
    for (index, rule) in (0..).zip(&step.rules) {
        let holds = rule.condition.evaluate_bool(scope);
        if holds.map_err(|error| expression_failure(&error))? {
            return Ok(index);
        }
    }
    Ok(-1)
}
