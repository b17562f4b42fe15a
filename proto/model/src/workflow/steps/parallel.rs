//! `parallel`: runs lists of steps side by side.

use crate::{ids::StepId, workflow::Step};

/// Runs its branches side by side.
#[derive(Clone, Debug)]
pub struct ParallelStep {
    /// In the order in which they begin.
    pub branches: Vec<ParallelBranch>,
    /// Whether the first branch that fails stops the others.
    pub fail_fast: bool,
}

/// One branch.
#[derive(Clone, Debug)]
pub struct ParallelBranch {
    /// Names its output; of the form of a step's id.
    pub name: StepId,
    /// Run in order.
    pub steps: Vec<Step>,
}
