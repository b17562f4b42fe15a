//! A workflow as the machine walks it: one flat list of steps, each knowing what follows it.

use std::{
    collections::{BTreeSet, HashMap},
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use signalbox_model::{
    expression::Reference,
    ids::{SecretId, StepId, StepInstance},
    workflow::{Action, OnError, Step, Workflow},
};

/// Place of a step in its plan.
pub(crate) type At = usize;

/// A workflow, ready to run. Made once for a version and shared by its executions.
#[derive(Debug)]
pub struct Plan {
    nodes: Vec<Node>,
    by_id: HashMap<StepId, At>,
    /// What each step reads that reads some.
    secrets: HashMap<StepId, Vec<SecretId>>,
    /// The approvals of which each step reads the links that reads some.
    approvals: HashMap<StepId, Vec<Approval>>,
    first: Option<At>,
    vars: Value,
    timeout: Duration,
    finally: Option<FinallyPlan>,
    executions_max: Option<NonZeroU32>,
}

/// What follows when the steps have ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FinallyPlan {
    pub(crate) first: Option<At>,
    pub(crate) timeout: Duration,
}

/// An approval, as steps know it that stand in its frame, in one below that, or in one beside it.
#[derive(Clone, Debug)]
pub(crate) struct Approval {
    pub(crate) step: StepId,
    /// The iterations that it stands in, and those steps with it.
    depth: usize,
}

impl Approval {
    /// Its run, for the run `by` of such a step.
    pub(crate) fn run(&self, by: &StepInstance) -> StepInstance {
        StepInstance {
            step: self.step.clone(),
            indexes: by.indexes.iter().take(self.depth).copied().collect(),
        }
    }
}

/// A step and what follows it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) step: Step,
    /// Whether it stands in its frame's own list, so that its output can be the frame's.
    pub(crate) is_top_level: bool,
    /// What runs after it: its neighbour, or what follows the step around it.
    next: Option<At>,
    /// What runs when it failed, where the frame goes on then.
    recovery: Option<Recovery>,
    /// What runs first in each list inside it: for an empty one, what follows.
    branches: Vec<Option<At>>,
    /// The frames around it, from the outermost in.
    around: Arc<[Hop]>,
}

/// One step down the tree of frames.
#[derive(Clone, Debug)]
pub(crate) struct Hop {
    /// The step that opened the frame.
    pub(crate) step: StepId,
    /// Number of the branch; none for an iteration, whose number a run's name tells.
    pub(crate) branch: Option<usize>,
}

/// Where a frame goes on after a failure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recovery(pub(crate) Option<At>);

impl Plan {
    /// The plan of `workflow`.
    #[must_use]
    pub fn new(workflow: &Workflow) -> Self {
        let mut nodes = Vec::new();
        let outside: Arc<[Hop]> = Arc::new([]);
        let first = place(workflow.steps(), None, &outside, true, &mut nodes);
        let finally = workflow.finally().map(|finally| FinallyPlan {
            first: place(&finally.steps, None, &outside, true, &mut nodes),
            timeout: finally.timeout,
        });
        let by_id: HashMap<StepId, At> = (0..)
            .zip(&nodes)
            .map(|(at, node)| (node.step.id.clone(), at))
            .collect();
        Self {
            secrets: secrets(&nodes),
            approvals: approvals(&nodes, &by_id),
            by_id,
            nodes,
            first,
            vars: workflow.vars().clone().into_iter().collect(),
            timeout: workflow.timeout(),
            finally,
            executions_max: workflow.front().executions_max,
        }
    }

    /// How many executions of the workflow run at once, if it says so.
    #[must_use]
    pub fn executions_max(&self) -> Option<NonZeroU32> {
        self.executions_max
    }

    /// The secrets that its steps read, in the order of their ids.
    pub(crate) fn secrets(&self) -> BTreeSet<&SecretId> {
        self.secrets.values().flatten().collect()
    }

    /// Those that the step called `id` reads.
    pub(crate) fn secrets_of(&self, id: &StepId) -> &[SecretId] {
        self.secrets.get(id).map_or(&[], Vec::as_slice)
    }

    /// The approvals of which the step called `id` reads the links.
    pub(crate) fn approvals_of(&self, id: &StepId) -> &[Approval] {
        self.approvals.get(id).map_or(&[], Vec::as_slice)
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

    pub(crate) fn finally(&self) -> Option<FinallyPlan> {
        self.finally
    }

    /// The node at `at`. Places come from this plan only, so there is one.
    pub(crate) fn node(&self, at: At) -> &Node {
        &self.nodes[at]
    }

    /// The place of the step called `id`.
    pub(crate) fn find(&self, id: &StepId) -> Option<At> {
        self.by_id.get(id).copied()
    }
}

fn secrets(nodes: &[Node]) -> HashMap<StepId, Vec<SecretId>> {
    read(nodes, |reference| match reference {
        Reference::Secret(id) => id.parse().ok(),
        _ => None,
    })
}

fn approvals(nodes: &[Node], by_id: &HashMap<StepId, At>) -> HashMap<StepId, Vec<Approval>> {
    let approval = |step: StepId| {
        let node = nodes.get(*by_id.get(&step)?)?;
        let depth = node
            .around
            .iter()
            .filter(|hop| hop.branch.is_none())
            .count();
        Some(Approval { step, depth })
    };
    let ids: HashMap<StepId, Vec<StepId>> = read(nodes, |reference| match reference {
        Reference::Approval(id) => id.parse().ok(),
        _ => None,
    });
    ids.into_iter()
        .map(|(by, ids)| (by, ids.into_iter().filter_map(approval).collect()))
        .collect()
}

/// What each step reads, as `known` says, that reads some; in order.
fn read<T: Ord>(
    nodes: &[Node],
    known: impl Fn(&Reference) -> Option<T>,
) -> HashMap<StepId, Vec<T>> {
    let mut all = HashMap::new();
    for node in nodes {
        let references = node.step.action.references();
        let read = references
            .iter()
            .filter_map(|(_, reference)| known(reference));
        let mut read: Vec<T> = read.collect();
        read.sort_unstable();
        read.dedup();
        if !read.is_empty() {
            all.insert(node.step.id.clone(), read);
        }
    }
    all
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

    /// What runs first in each list inside it.
    pub(crate) fn branches(&self) -> &[Option<At>] {
        &self.branches
    }

    /// The frames around it, from the outermost in.
    pub(crate) fn around(&self) -> &[Hop] {
        &self.around
    }

    /// Where its frame goes on when it failed; none when the frame ends.
    pub(crate) fn recovery(&self) -> Option<Recovery> {
        self.recovery
    }
}

/// Places `steps`, the last first, so that each knows what follows it; gives the first one's place.
fn place(
    steps: &[Step],
    after: Option<At>,
    around: &Arc<[Hop]>,
    is_top_level: bool,
    nodes: &mut Vec<Node>,
) -> Option<At> {
    let mut next = after;
    for step in steps.iter().rev() {
        let branches = step
            .action
            .branches()
            .enumerate()
            .map(|(number, list)| {
                let branch = match step.action {
                    Action::Parallel(_) => Some(number),
                    Action::ForEach(_) => None,
                    _ => return place(list, next, around, false, nodes),
                };
                let hop = Hop {
                    step: step.id.clone(),
                    branch,
                };
                let inside = around.iter().cloned().chain([hop]).collect();
                place(list, None, &inside, true, nodes)
            })
            .collect();
        let recovery = match &step.on_error {
            OnError::Fail => None,
            OnError::Continue => Some(Recovery(next)),
            OnError::Steps(steps) => Some(Recovery(place(steps, next, around, false, nodes))),
        };
        nodes.push(Node {
            step: step.clone(),
            is_top_level,
            next,
            recovery,
            around: around.clone(),
            branches,
        });
        next = Some(nodes.len() - 1);
    }
    next
}
