//! One node of the graph.

use std::time::Duration;

use super::{
    ApprovalStep, AwsStep, ConditionStep, EmailStep, FailStep, ForEachStep, HttpStep, ParallelStep,
    RetryPolicy, RunWorkflowStep, ScriptStep, SlackStep, SucceedStep, TransformStep, WaitStep,
};
use crate::{
    expression::{Expression, Reference},
    ids::StepId,
};

/// One node of the graph.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its id, unique in the workflow.
    pub id: StepId,
    /// It is skipped when this is false.
    pub condition: Option<Expression>,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// How long all of it may take: attempts and pauses, or what stands in it.
    pub total_timeout: Option<Duration>,
    /// What happens after a retriable failure.
    pub retry: RetryPolicy,
    /// What follows when it failed for good.
    pub on_error: OnError,
    /// What it does.
    pub action: Action,
}

/// What follows a step that failed for good.
#[derive(Clone, Debug, Default)]
pub enum OnError {
    /// What it stands in fails: the branch, the iteration or the execution.
    #[default]
    Fail,
    /// The step after it.
    Continue,
    /// These steps, then the one after it.
    Steps(Vec<Step>),
}

impl Step {
    /// The lists of steps inside it, its handler's too.
    pub fn lists(&self) -> impl Iterator<Item = &[Step]> {
        self.action.branches().chain(self.handler())
    }

    /// The steps that run when it failed.
    #[must_use]
    pub fn handler(&self) -> Option<&[Step]> {
        match &self.on_error {
            OnError::Steps(steps) => Some(steps),
            OnError::Fail | OnError::Continue => None,
        }
    }
}

/// What a step does.
#[derive(Clone, Debug)]
pub enum Action {
    /// Sends an HTTP request.
    Http(Box<HttpStep>),
    /// Computes a value.
    Transform(TransformStep),
    /// Chooses between lists of steps.
    Condition(ConditionStep),
    /// Runs lists of steps side by side.
    Parallel(ParallelStep),
    /// Runs a list of steps for each item.
    ForEach(ForEachStep),
    /// Waits for a time or a signal.
    Wait(WaitStep),
    /// Posts a message to Slack.
    Slack(Box<SlackStep>),
    /// Waits until someone approves or rejects.
    Approval(ApprovalStep),
    /// Ends what it stands in, as succeeded.
    Succeed(SucceedStep),
    /// Ends what it stands in, as failed.
    Fail(FailStep),
    /// Calls AWS.
    Aws(Box<AwsStep>),
    /// Sends a message by SMTP.
    Email(Box<EmailStep>),
    /// Runs a WebAssembly program.
    Script(Box<ScriptStep>),
    /// Runs another workflow.
    RunWorkflow(Box<RunWorkflowStep>),
}

impl Action {
    /// The kind, as definitions name it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::Transform(_) => "transform",
            Self::Condition(_) => "condition",
            Self::Parallel(_) => "parallel",
            Self::ForEach(_) => "forEach",
            Self::Wait(_) => "wait",
            Self::Slack(_) => "slack",
            Self::Approval(_) => "approval",
            Self::Succeed(_) => "succeed",
            Self::Fail(_) => "fail",
            Self::Aws(_) => "aws",
            Self::Email(_) => "email",
            Self::Script(_) => "script",
            Self::RunWorkflow(_) => "runWorkflow",
        }
    }

    /// The lists of steps inside it.
    pub fn branches(&self) -> impl Iterator<Item = &[Step]> {
        let lists: Vec<&[Step]> = match self {
            Self::Condition(condition) => {
                let rules = condition.rules.iter().map(|rule| rule.steps.as_slice());
                rules.chain([condition.otherwise.as_slice()]).collect()
            }
            Self::Parallel(parallel) => {
                let branches = parallel.branches.iter();
                branches.map(|branch| branch.steps.as_slice()).collect()
            }
            Self::ForEach(each) => vec![each.steps.as_slice()],
            Self::Http(_)
            | Self::Transform(_)
            | Self::Wait(_)
            | Self::Slack(_)
            | Self::Approval(_)
            | Self::Succeed(_)
            | Self::Fail(_)
            | Self::Aws(_)
            | Self::Email(_)
            | Self::Script(_)
            | Self::RunWorkflow(_) => Vec::new(),
        };
        lists.into_iter()
    }

    /// Whether it has attempts, whose effects are outside of the machine, and so may read secrets: what it reads is recorded
    /// without them, and nothing else depends on them.
    #[must_use]
    pub fn reads_secrets(&self) -> bool {
        matches!(
            self,
            Self::Http(_) | Self::Slack(_) | Self::Aws(_) | Self::Email(_) | Self::Script(_)
        )
    }

    /// Whether no step after it in its list can run.
    #[must_use]
    pub fn ends_execution(&self) -> bool {
        matches!(self, Self::Succeed(_) | Self::Fail(_))
    }

    /// What its expressions and templates read, with the path of each within the step.
    #[must_use]
    pub fn references(&self) -> Vec<(String, Reference)> {
        let expressions = self.expressions().into_iter();
        let references = expressions.flat_map(|(path, expression)| {
            let references = expression.references();
            references.map(move |reference| (path.clone(), reference))
        });
        references.collect()
    }

    /// Its expressions, those of templates too, with the path of each within the step.
    #[must_use]
    pub fn expressions(&self) -> Vec<(String, &Expression)> {
        match self {
            Self::Http(step) => step.expressions(),
            Self::Transform(step) => step.expressions(),
            Self::Condition(step) => step.expressions(),
            Self::Parallel(_) => Vec::new(),
            Self::ForEach(step) => step.expressions(),
            Self::Wait(step) => step.expressions(),
            Self::Slack(step) => step.expressions(),
            Self::Approval(step) => step.expressions(),
            Self::Succeed(step) => step.expressions(),
            Self::Fail(step) => step.expressions(),
            Self::Aws(step) => step.expressions(),
            Self::Email(step) => step.expressions(),
            Self::Script(step) => step.expressions(),
            Self::RunWorkflow(step) => step.expressions(),
        }
    }
}
