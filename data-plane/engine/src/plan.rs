//! A workflow as the machine walks it: one flat list of steps, each knowing what follows it.

use std::time::Duration;

use serde_json::Value;
use signalbox_model::{
    ids::StepId,
    workflow::{Step, Workflow},
};

/// Place of a step in its plan.
pub(crate) type At = usize;

/// A workflow, ready to run. Made once for a version and shared by its executions.
#[derive(Debug)]
pub struct Plan {
    nodes: Vec<Node>,
    first: Option<At>,
    vars: Value,
    timeout: Duration,
}

/// A step and what follows it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) step: Step,
    /// Whether it stands in the workflow's own list, so that its output can be the execution's.
    pub(crate) is_top_level: bool,
    /// What runs after it: its neighbour, or what follows the condition around it.
    next: Option<At>,
    /// What runs first in each of its branches: for an empty one, what follows.
    branches: Vec<Option<At>>,
}

impl Plan {
    /// The plan of `workflow`.
    #[must_use]
    pub fn new(workflow: &Workflow) -> Self {
        let mut nodes = Vec::new();
        let first = place(workflow.steps(), None, true, &mut nodes);
        Self {
            nodes,
            first,
            vars: workflow.vars().clone().into_iter().collect(),
            timeout: workflow.timeout(),
        }
    }

    pub(crate) fn first(&self) -> Option<At> {
        self.first
    }

    pub(crate) fn vars(&self) -> &Value {
        &self.vars
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The node at `at`. Places come from this plan only, so there is one.
    pub(crate) fn node(&self, at: At) -> &Node {
        &self.nodes[at]
    }

    /// The place of the step called `id`.
    pub(crate) fn find(&self, id: &StepId) -> Option<At> {
        self.nodes.iter().position(|node| node.step.id == *id)
    }
}

impl Node {
    /// What runs after it: for [`None`], its neighbour; else the first step of that branch, where -1 and whatever there
    /// is not stand for the last branch (a condition's `otherwise`).
    pub(crate) fn after(&self, branch: Option<i64>) -> Option<At> {
        let Some(index) = branch else {
            return self.next;
        };
        usize::try_from(index)
            .ok()
            .and_then(|index| self.branches.get(index))
            .or(self.branches.last())
            .copied()
            .unwrap_or(self.next)
    }
}

/// Places `steps`, the last first, so that each knows what follows it; gives the first one's place.
fn place(
    steps: &[Step],
    after: Option<At>,
    is_top_level: bool,
    nodes: &mut Vec<Node>,
) -> Option<At> {
    let mut next = after;
    for step in steps.iter().rev() {
        let branches = step
            .action
            .branches()
            .map(|branch| place(branch, next, false, nodes))
            .collect();
        nodes.push(Node {
            step: step.clone(),
            is_top_level,
            next,
            branches,
        });
        next = Some(nodes.len() - 1);
    }
    next
}
