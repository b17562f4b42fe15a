//! The `runWorkflow` step: what it writes, and what its problems read like.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use signalbox_model::{
    ids::ProjectId,
    workflow::{Action, RunWorkflowStep, Workflow},
};
use signalbox_proto::{
    convert::{definition, json},
    v1,
};

fn read(step: &str) -> Result<Workflow, Vec<String>> {
    let text = format!(
        "trigger: {{manual: {{}}}}\nvars: {{v: 1}}\nsteps:\n  - {{id: a, transform: {{expression: '1'}}}}\n  - {step}"
    );
    let spec: v1::WorkflowSpec = json::from_yaml_str(&text).map_err(|e| vec![e.to_string()])?;
    definition::workflow(&spec, &ProjectId::default_project())
        .map_err(|problems| problems.0.iter().map(ToString::to_string).collect())
}

fn run_workflow(fields: &str) -> RunWorkflowStep {
    let workflow = read(&format!("{{id: b, runWorkflow: {{{fields}}}}}")).unwrap();
    match &workflow.steps()[1].action {
        Action::RunWorkflow(step) => step.as_ref().clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn it_waits_unless_it_says_otherwise() {
    let plain = run_workflow("workflow: other");
    assert_eq!((plain.workflow.as_str(), plain.waits), ("other", true));
    assert!(plain.input.is_none());
    let with = run_workflow("workflow: other, wait: false, input: {a: ['${{ vars.v }}', 2]}");
    assert!(with.input.is_some() && !with.waits);
}

#[test]
fn its_problems_say_where_they_are() {
    for (step, expected) in [
        (
            "{id: b, runWorkflow: {}}",
            &["steps[1].runWorkflow.workflow: is missing"][..],
        ),
        (
            "{id: b, runWorkflow: {workflow: projects/p/workflows/w}}",
            &["steps[1].runWorkflow.workflow: \"projects/p/workflows/w\" is not an id"],
        ),
        (
            "{id: b, runWorkflow: {workflow: '${{ vars.v }}'}}",
            &["steps[1].runWorkflow.workflow: \"${{ vars.v }}\" is not an id"],
        ),
        (
            "{id: b, timeout: 5s, runWorkflow: {workflow: w}}",
            &["steps[1].timeout: is for steps whose attempts are of this node"],
        ),
        (
            "{id: b, runWorkflow: {workflow: w, input: {a: '${{ steps.c.output }}', b: '${{ vars.w }}'}}}",
            &[
                "steps[1].runWorkflow.input.a: steps.c: there is no step \"c\"",
                "steps[1].runWorkflow.input.b: vars.w: there is no such constant",
            ],
        ),
        (
            "{id: b, runWorkflow: {workflow: w, input: '${{ secrets.token }}'}}",
            &["steps[1].runWorkflow.input: secrets.token: secrets are for what is sent"],
        ),
        (
            "{id: b, retry: {retryOn: [CHILD_GONE]}, runWorkflow: {workflow: w}}",
            &["steps[1].retry.retryOn[0]: \"CHILD_GONE\" is no error to retry on"],
        ),
    ] {
        let problems = read(step).unwrap_err();
        assert_eq!(problems.len(), expected.len(), "{step}: {problems:?}");
        for (problem, expected) in problems.iter().zip(expected) {
            assert!(problem.starts_with(expected), "{step}: {problem}");
        }
    }
    let retried = "{id: b, totalTimeout: 60s, retry: {retryOn: [CHILD_FAILED, CHILD_TIMED_OUT, CHILD_CANCELLED, CHILD_UNAVAILABLE]}, runWorkflow: {workflow: w}}";
    assert_eq!(read(retried).unwrap().steps()[1].retry.retry_on.len(), 4);
}
