//! The steps that wait for what comes from outside.

use signalbox_model::{
    ids::SignalName,
    limits,
    suggestion::suggestion,
    violation::Collector,
    workflow::{ApprovalStep, ApprovalTimeout, SignalTimeout, SignalWait},
};

use super::{duration, texts::template};
use crate::v1;

pub(super) fn signal_wait(
    path: &str,
    wait: &v1::SignalWait,
    problems: &mut Collector,
) -> Option<SignalWait> {
    let v1::SignalWait {
        name,
        timeout,
        on_timeout,
    } = wait;
    let choices = [
        ("fail", SignalTimeout::Fail),
        ("continue", SignalTimeout::Continue),
    ];
    let on_timeout = choice(&format!("{path}.onTimeout"), on_timeout, choices, problems);
    let timeout = duration(
        &format!("{path}.timeout"),
        timeout.as_ref(),
        limits::SIGNAL_TIMEOUT_MAX,
        problems,
    );
    let field = format!("{path}.name");
    if name.is_empty() {
        problems.add(field, "is missing");
        return None;
    }
    let name = template(&field, name, problems)?;
    if let Some(literal) = name.as_literal() {
        problems.check(field, literal.parse::<SignalName>())?;
    }
    Some(SignalWait {
        name,
        timeout,
        on_timeout,
    })
}

pub(super) fn approval_step(
    path: &str,
    step: &v1::ApprovalStep,
    problems: &mut Collector,
) -> Option<ApprovalStep> {
    let v1::ApprovalStep {
        message,
        approvers,
        timeout,
        on_timeout,
        rejected_is_output,
    } = step;
    let choices = [
        ("fail", ApprovalTimeout::Fail),
        ("approve", ApprovalTimeout::Approve),
        ("reject", ApprovalTimeout::Reject),
    ];
    let on_timeout = choice(&format!("{path}.onTimeout"), on_timeout, choices, problems);
    let timeout = duration(
        &format!("{path}.timeout"),
        timeout.as_ref(),
        limits::SIGNAL_TIMEOUT_MAX,
        problems,
    );
    approvers_are_bounded(&format!("{path}.approvers"), approvers, problems);
    let field = format!("{path}.message");
    if message.is_empty() {
        problems.add(field, "is missing");
        return None;
    }
    Some(ApprovalStep {
        message: template(&field, message, problems)?,
        approvers: approvers.clone(),
        timeout,
        on_timeout,
        rejected_is_output: *rejected_is_output,
    })
}

fn approvers_are_bounded(path: &str, approvers: &[String], problems: &mut Collector) {
    if approvers.len() > limits::APPROVERS_MAX {
        let text = format!("at most {} are allowed", limits::APPROVERS_MAX);
        problems.add(path, text);
    }
    for (index, approver) in approvers.iter().enumerate() {
        let chars = approver.chars().count();
        if chars == 0 || chars > limits::APPROVER_MAX_CHARS {
            let text = format!(
                "has {chars} characters; expected 1 to {}",
                limits::APPROVER_MAX_CHARS
            );
            problems.add(format!("{path}[{index}]"), text);
        }
    }
}

/// The choice that `text` names; the first when it names none.
fn choice<T: Copy, const N: usize>(
    field: &str,
    text: &str,
    choices: [(&str, T); N],
    problems: &mut Collector,
) -> T {
    let found = choices
        .iter()
        .find(|(name, _)| *name == text || text.is_empty());
    if let Some((_, choice)) = found {
        return *choice;
    }
    let names = choices.map(|(name, _)| name);
    let hint = suggestion(text, names);
    let text = format!("{text:?} is none of {}{hint}", names.join(", "));
    problems.add(field, text);
    choices[0].1
}
