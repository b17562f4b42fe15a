//! The `runWorkflow` step.

use signalbox_model::{violation::Collector, workflow::RunWorkflowStep};

use super::{http::optional, json_template};
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
        problems.add(field, "is missing");
        None
    } else {
        problems.check(field, workflow.parse())
    };
    let input = optional(input.as_ref(), |input| {
        json_template(&format!("{path}.input"), input, problems)
    });
    Some(RunWorkflowStep {
        workflow: workflow?,
        input: input?,
        waits: wait.unwrap_or(true),
    })
}
