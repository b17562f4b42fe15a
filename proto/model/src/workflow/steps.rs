//! What the kinds of steps hold: one file each.

mod approval;
mod aws;
mod condition;
mod email;
mod fail;
mod for_each;
mod http;
mod parallel;
mod run_workflow;
mod script;
mod slack;
mod succeed;
mod transform;
mod wait;

pub use approval::{ApprovalStep, ApprovalTimeout};
pub use aws::{AwsAssumeRole, AwsCallForm, AwsCredentialTemplates, AwsRest, AwsRestBody, AwsStep};
pub use condition::{ConditionRule, ConditionStep};
pub use email::{EmailStep, SmtpLogin, SmtpServer, SmtpTls, SmtpTlsError};
pub use fail::FailStep;
pub use for_each::ForEachStep;
pub use http::{HttpAuth, HttpBody, HttpMethod, HttpStep};
pub use parallel::{ParallelBranch, ParallelStep};
pub use run_workflow::RunWorkflowStep;
pub use script::ScriptStep;
pub use slack::{SlackStep, SlackTarget};
pub use succeed::SucceedStep;
pub use transform::{JsonPathTransform, TransformStep};
pub use wait::{SignalTimeout, SignalWait, WaitStep};

/// `parts`, each at `path`.
fn at<T>(path: &str, parts: impl IntoIterator<Item = T>) -> Vec<(String, T)> {
    parts
        .into_iter()
        .map(|part| (path.to_owned(), part))
        .collect()
}
