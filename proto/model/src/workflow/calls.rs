//! The workflows that a definition runs.

use super::{Action, OnError, Step, Workflow};
use crate::ids::WorkflowId;

impl Workflow {
    /// Whether every execution runs the workflow `id` unless it fails before: no condition stands before that, and nothing
    /// that could end it well.
    #[must_use]
    pub fn always_calls(&self, id: &WorkflowId) -> bool {
        let finally = self.finally.iter().map(|finally| &finally.steps[..]);
        finally
            .chain([&self.steps[..]])
            .any(|list| always(list, id))
    }
}

fn always(steps: &[Step], id: &WorkflowId) -> bool {
    for step in steps {
        let calls = match &step.action {
            Action::RunWorkflow(run) => run.workflow == *id,
            Action::Parallel(parallel) => parallel
                .branches
                .iter()
                .any(|branch| always(&branch.steps, id)),
            _ => false,
        };
        if calls && step.condition.is_none() {
            return true;
        }
        if may_end(step) {
            return false;
        }
    }
    false
}

/// Whether the list that a step stands in may end with it, as succeeded.
fn may_end(step: &Step) -> bool {
    let inside = match &step.action {
        Action::Condition(_) => step.action.branches().flatten().any(may_end),
        action => action.ends_execution(),
    };
    let handler = match &step.on_error {
        OnError::Steps(steps) => steps.iter().any(may_end),
        OnError::Fail | OnError::Continue => false,
    };
    inside || handler
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::time::Duration;

    use super::*;
    use crate::{
        expression::{Expression, JsonTemplate},
        ids::StepId,
        limits,
        workflow::{
            ConditionRule, ConditionStep, Finally, ParallelBranch, ParallelStep, RetryPolicy,
            RunWorkflowStep, SucceedStep, Trigger,
        },
    };

    fn cel(text: &str) -> Expression {
        Expression::parse(text).unwrap()
    }

    fn step(id: &str, action: Action) -> Step {
        Step {
            id: id.parse().unwrap(),
            condition: None,
            timeout: limits::STEP_TIMEOUT_DEFAULT,
            total_timeout: None,
            retry: RetryPolicy::default(),
            on_error: OnError::Fail,
            action,
        }
    }

    fn run(id: &str, workflow: &str) -> Step {
        let run = RunWorkflowStep {
            workflow: workflow.parse().unwrap(),
            input: Some(
                JsonTemplate::parse(&serde_json::json!({"a": "${{ event.json }}"})).unwrap(),
            ),
            waits: true,
        };
        step(id, Action::RunWorkflow(Box::new(run)))
    }

    fn guarded(step: Step) -> Step {
        Step {
            condition: Some(cel("event.json == 1")),
            ..step
        }
    }

    fn choose(id: &str, steps: Vec<Step>) -> Step {
        let rule = ConditionRule {
            condition: cel("event.json == 1"),
            steps,
        };
        let condition = ConditionStep {
            rules: vec![rule],
            otherwise: Vec::new(),
        };
        step(id, Action::Condition(condition))
    }

    fn parallel(id: &str, steps: Vec<Step>) -> Step {
        let branch = ParallelBranch {
            name: "a".parse::<StepId>().unwrap(),
            steps,
        };
        let branches = vec![branch];
        step(
            id,
            Action::Parallel(ParallelStep {
                branches,
                fail_fast: true,
            }),
        )
    }

    fn workflow(steps: Vec<Step>, finally: Option<Vec<Step>>) -> Workflow {
        let finally = finally.map(|steps| Finally {
            steps,
            timeout: Duration::from_secs(60),
        });
        Workflow::new(Trigger::Manual, Default::default(), steps, None, finally).unwrap()
    }

    #[test]
    fn calls_are_told_with_their_places() {
        let found = workflow(
            vec![run("a", "one"), parallel("p", vec![run("b", "two")])],
            Some(vec![run("c", "one")]),
        );
        let calls: Vec<_> = found
            .names()
            .calls
            .iter()
            .map(|(path, id)| format!("{path} {id}"))
            .collect();
        assert_eq!(
            calls,
            [
                "steps[0].runWorkflow.workflow one",
                "steps[1].parallel.branches[0].steps[0].runWorkflow.workflow two",
                "finally.steps[0].runWorkflow.workflow one",
            ]
        );
    }

    #[test]
    fn what_is_not_certain_is_not_taken_for_it() {
        let me = "me".parse().unwrap();
        let succeed = || step("s", Action::Succeed(SucceedStep { output: None }));
        let certain = [
            workflow(vec![run("o", "other"), run("a", "me")], None),
            workflow(vec![parallel("p", vec![run("a", "me")])], None),
            workflow(
                vec![choose("c", vec![run("o", "other")]), run("a", "me")],
                None,
            ),
            workflow(vec![run("o", "other")], Some(vec![run("a", "me")])),
        ];
        for workflow in &certain {
            assert!(workflow.always_calls(&me), "{workflow:?}");
        }
        let other = Step {
            on_error: OnError::Steps(vec![succeed()]),
            ..run("o", "other")
        };
        let uncertain = [
            workflow(vec![run("o", "other")], None),
            workflow(vec![guarded(run("a", "me"))], None),
            workflow(vec![choose("c", vec![run("a", "me")])], None),
            workflow(vec![choose("c", vec![succeed()]), run("a", "me")], None),
            workflow(vec![guarded(succeed()), run("a", "me")], None),
            workflow(vec![guarded(parallel("p", vec![run("a", "me")]))], None),
            workflow(vec![other, run("a", "me")], None),
        ];
        for workflow in &uncertain {
            assert!(!workflow.always_calls(&me), "{workflow:?}");
        }
    }
}
