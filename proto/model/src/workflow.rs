//! Workflow definitions. A [`Workflow`] that exists is valid.

use std::{collections::BTreeMap, num::NonZeroU32, time::Duration};

use serde_json::Value;

use crate::{
    ids::{ApiKeyName, SecretId, StepId, WorkflowId},
    limits,
    rate_limit::RateLimit,
    violation::{Collector, Violations},
};

mod calls;
mod check;
mod inputs;
mod retry;
mod status;
mod step;
mod steps;
mod trigger;

pub use inputs::{Input, InputKind, Inputs};
pub use retry::{RetryOn, RetryOnError, RetryPolicy};
pub use status::{StatusRange, StatusRangeError, SuccessStatus};
pub use step::{Action, OnError, Step};
pub use steps::{
    ApprovalStep, ApprovalTimeout, AwsAssumeRole, AwsCallForm, AwsCredentialTemplates, AwsRest,
    AwsRestBody, AwsStep, ConditionRule, ConditionStep, EmailStep, FailStep, ForEachStep, HttpAuth,
    HttpBody, HttpMethod, HttpStep, JsonPathTransform, ParallelBranch, ParallelStep,
    RunWorkflowStep, ScriptStep, SignalTimeout, SignalWait, SlackStep, SlackTarget, SmtpLogin,
    SmtpServer, SmtpTls, SmtpTlsError, SucceedStep, TransformStep, WaitStep,
};
pub use trigger::{
    AmazonSnsTrigger, ScheduleTrigger, TopicArn, TopicArnError, Trigger, WebhookTrigger,
};

/// What must be known of a definition before one of its executions runs: what starts it, and how often. Valid by itself;
/// of the steps it says nothing.
#[derive(Clone, Debug)]
pub struct Front {
    /// What starts it.
    pub trigger: Trigger,
    /// What its manual trigger takes; none are declared by other triggers.
    pub inputs: Inputs,
    /// How many requests its webhook takes.
    pub rate_limit: Option<RateLimit>,
    /// How many of its executions run at once at a node.
    pub executions_max: Option<NonZeroU32>,
}

impl Front {
    /// This, when it is one that a workflow may have.
    ///
    /// # Errors
    /// What is wrong with its trigger.
    pub fn checked(self) -> Result<Self, Violations> {
        let mut problems = Collector::default();
        check::trigger(&self.trigger, &mut problems);
        problems.finish(Some(self))
    }
}

impl From<Trigger> for Front {
    /// One without inputs or limits.
    fn from(trigger: Trigger) -> Self {
        Self {
            trigger,
            inputs: Inputs::default(),
            rate_limit: None,
            executions_max: None,
        }
    }
}

/// A valid definition: one trigger and a graph of steps.
#[derive(Clone, Debug)]
pub struct Workflow {
    front: Front,
    vars: BTreeMap<String, Value>,
    steps: Vec<Step>,
    timeout: Duration,
    finally: Option<Finally>,
    names: Names,
}

/// What a definition names of its project, each with the path of where it does, such as `steps[2].http.url`; as often as it
/// does. Whether it exists is not known here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// The keys of its trigger.
    pub keys: Vec<(String, ApiKeyName)>,
    /// The secrets that its steps read.
    pub secrets: Vec<(String, SecretId)>,
    /// The workflows that its steps run.
    pub calls: Vec<(String, WorkflowId)>,
}

/// What runs when the steps have ended, however they did.
#[derive(Clone, Debug)]
pub struct Finally {
    /// In order.
    pub steps: Vec<Step>,
    /// How long they may take together.
    pub timeout: Duration,
}

/// The parts of a definition as far as they could be read.
#[derive(Clone, Debug)]
pub struct Parts {
    /// What starts it, and how often; [`None`] where that is wrong.
    pub front: Option<Front>,
    /// Its constants.
    pub vars: BTreeMap<String, Value>,
    /// Its steps; something ends nothing and reads nothing in the place of those that are wrong.
    pub steps: Vec<Step>,
    /// How long an execution may take.
    pub timeout: Option<Duration>,
    /// What runs when its steps have ended.
    pub finally: Option<Finally>,
}

/// What became of a definition.
#[derive(Clone, Debug)]
pub struct Reading {
    /// What it names, as far as it could be read.
    pub names: Names,
    /// The definition, or all that is wrong with it.
    pub workflow: Result<Workflow, Violations>,
}

impl Parts {
    /// The one door: checks everything that no part can check alone. `problems` holds those of the parts.
    #[must_use]
    pub fn check(self, mut problems: Collector) -> Reading {
        let Self {
            front,
            vars,
            steps,
            timeout,
            finally,
        } = self;
        let has_front = front.is_some();
        let timeout = timeout.unwrap_or_else(|| match problems.has_lost_steps() {
            // They may have been such as wait.
            true => limits::WAITING_WORKFLOW_TIMEOUT_DEFAULT,
            false => default_timeout(&steps),
        });
        let mut workflow = Workflow {
            front: front.unwrap_or_else(|| Trigger::Manual.into()),
            vars,
            timeout,
            steps,
            finally,
            names: Names::default(),
        };
        let names = check::workflow(&workflow, &mut problems);
        workflow.names = names.clone();
        Reading {
            names,
            workflow: problems.finish(has_front.then_some(workflow)),
        }
    }
}

impl Workflow {
    /// A definition by the rules for one that is stored.
    ///
    /// # Errors
    /// All problems: repeated ids, references to steps that do not exist or do not come earlier, steps after an end,
    /// limits of [`crate::limits`].
    pub fn new(
        front: impl Into<Front>,
        vars: BTreeMap<String, Value>,
        steps: Vec<Step>,
        timeout: Option<Duration>,
        finally: Option<Finally>,
    ) -> Result<Self, Violations> {
        let parts = Parts {
            front: Some(front.into()),
            vars,
            steps,
            timeout,
            finally,
        };
        parts.check(Collector::default()).workflow
    }

    /// What starts it, and how often.
    #[must_use]
    pub fn front(&self) -> &Front {
        &self.front
    }

    /// What starts it.
    #[must_use]
    pub fn trigger(&self) -> &Trigger {
        &self.front.trigger
    }

    /// What its manual trigger takes; none are declared by other triggers.
    #[must_use]
    pub fn inputs(&self) -> &Inputs {
        &self.front.inputs
    }

    /// Its constants.
    #[must_use]
    pub fn vars(&self) -> &BTreeMap<String, Value> {
        &self.vars
    }

    /// Its top-level steps, in order.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// How long an execution may take.
    #[must_use]
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// What runs when its steps have ended.
    #[must_use]
    pub fn finally(&self) -> Option<&Finally> {
        self.finally.as_ref()
    }

    /// What it names of its project.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.names
    }

    /// The step called `id`, at any depth.
    #[must_use]
    pub fn step(&self, id: &StepId) -> Option<&Step> {
        fn find<'a>(steps: &'a [Step], id: &StepId) -> Option<&'a Step> {
            steps.iter().find_map(|step| {
                if step.id == *id {
                    return Some(step);
                }
                step.lists().find_map(|list| find(list, id))
            })
        }
        let finally = self.finally.iter().map(|finally| &finally.steps[..]);
        std::iter::once(&self.steps[..])
            .chain(finally)
            .find_map(|list| find(list, id))
    }
}

/// How long an execution of `steps` may take unless its workflow says so: what waits for people or other systems waits for
/// as long as it may.
fn default_timeout(steps: &[Step]) -> Duration {
    fn listens(step: &Step) -> bool {
        matches!(
            step.action,
            Action::Approval(_) | Action::Wait(WaitStep::Signal(_))
        ) || step.lists().flatten().any(listens)
    }
    if steps.iter().any(listens) {
        limits::WAITING_WORKFLOW_TIMEOUT_DEFAULT
    } else {
        limits::WORKFLOW_TIMEOUT_DEFAULT
    }
}

#[cfg(test)]
mod tests;
