//! `runWorkflow`: runs another workflow.

use crate::{
    expression::{JsonTemplate, Reference},
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
    pub(crate) fn references(&self) -> Vec<(String, Reference)> {
        let input = self.input.iter();
        input
            .flat_map(|input| input.references_at("runWorkflow.input"))
            .collect()
    }
}
