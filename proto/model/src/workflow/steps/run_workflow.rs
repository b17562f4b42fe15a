//! `runWorkflow`: runs another workflow.

use crate::{
    expression::{Expression, JsonTemplate},
    ids::WorkflowId,
};

/// Runs another workflow of the same project.
#[derive(Clone, Debug)]
pub struct RunWorkflowStep {
    /// Which.
    pub workflow: WorkflowId,
    /// What its steps read as `event.json`; none: null.
    pub input: Option<JsonTemplate>,
    /// Whether the step lasts until it has ended.
    pub waits: bool,
}

impl RunWorkflowStep {
    pub(crate) fn expressions(&self) -> Vec<(String, &Expression)> {
        let input = self.input.iter();
        input
            .flat_map(|input| input.expressions_at("runWorkflow.input"))
            .collect()
    }
}
