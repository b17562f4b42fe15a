//! Executions that steps of others start (`runWorkflow`).

use serde::{Deserialize, Serialize};

use crate::{
    execution::{ExecutionState, Failure, JsonText},
    ids::{ExecutionName, StepInstance},
};

/// The attempt that started an execution.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    /// Its execution.
    pub execution: ExecutionName,
    /// The run of its step.
    pub step: StepInstance,
    /// Its number, from 1.
    pub attempt: u32,
    /// Whether the step waits for the end of the execution.
    pub waits: bool,
    /// How many executions stand above the one that was started, from 1.
    pub depth: u32,
}

/// How an execution ended that an attempt of another's step started and waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildEnd {
    /// The run of the step.
    pub step: StepInstance,
    /// Number of the attempt.
    pub number: u32,
    /// The execution that ended.
    pub child: ExecutionName,
    /// A terminal state.
    pub state: ExecutionState,
    /// Its output.
    pub output: Option<JsonText>,
    /// Why it failed.
    pub error: Option<Failure>,
}
