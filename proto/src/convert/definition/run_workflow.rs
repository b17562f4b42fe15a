//! The `runWorkflow` step.

use signalbox_model::{
    ids::WorkflowId,
    violation::{Collector, Mention},
    workflow::RunWorkflowStep,
};

use super::{http::optional, texts::json_template};
use crate::v1;

pub(super) fn run_workflow_step(
    path: &str,
    step: &v1::RunWorkflowStep,
    problems: &mut Collector,
) -> Option<RunWorkflowStep> {
    let v1::RunWorkflowStep {
        workflow,
        input,
        wait,
    } = step;
    let field = format!("{path}.workflow");
    let workflow = if workflow.is_empty() {
        problems.add(&field, "is missing");
        None
    } else {
        problems.check(field.clone(), workflow.parse::<WorkflowId>())
    };
    if let Some(workflow) = &workflow {
        problems.mention(&field, Mention::Call(workflow.clone()));
    }
    let input = optional(input.as_ref(), |input| {
        json_template(&format!("{path}.input"), input, problems)
    });
    Some(RunWorkflowStep {
        workflow: workflow?,
        input: input?,
        waits: wait.unwrap_or(true),
    })
}
