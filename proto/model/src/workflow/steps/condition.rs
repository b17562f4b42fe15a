//! `condition`: chooses between lists of steps.

use crate::{
    expression::Expression,
    workflow::{Step, steps::at},
};

/// Runs the steps of the first rule whose condition holds.
#[derive(Clone, Debug)]
pub struct ConditionStep {
    /// Tried in order.
    pub rules: Vec<ConditionRule>,
    /// Run when no rule holds.
    pub otherwise: Vec<Step>,
}

/// One branch.
#[derive(Clone, Debug)]
pub struct ConditionRule {
    /// Must give a boolean.
    pub condition: Expression,
    /// Run when it holds.
    pub steps: Vec<Step>,
}

impl ConditionStep {
    /// The steps of branch `index`: a rule's, or those of `otherwise` for [`None`].
    #[must_use]
    pub fn branch(&self, index: Option<usize>) -> &[Step] {
        match index {
            Some(index) => self.rules.get(index).map_or(&[], |rule| &rule.steps),
            None => &self.otherwise,
        }
    }

    /// Of the rules only; nested steps are asked themselves.
    pub(crate) fn expressions(&self) -> Vec<(String, &Expression)> {
        self.rules
            .iter()
            .enumerate()
            .flat_map(|(index, rule)| {
                at(&format!("condition.rules[{index}].if"), [&rule.condition])
            })
            .collect()
    }
}
