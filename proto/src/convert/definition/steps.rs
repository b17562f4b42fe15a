//! The steps.

use std::time::Duration;

use signalbox_model::{
    expression::{Expression, Wanted},
    ids::StepId,
    limits,
    violation::Collector,
    workflow::{
        Action, ConditionRule, ConditionStep, FailStep, ForEachStep, OnError, ParallelBranch,
        ParallelStep, RetryOn, RetryPolicy, Step, SucceedStep, WaitStep,
    },
};

use super::{
    aws::aws_step,
    duration,
    email::email_step,
    http::http_step,
    listen::{approval_step, signal_wait},
    run_workflow::run_workflow_step,
    script::script_step,
    slack::slack_step,
    texts::{expression, json_template, template},
    transform::transform_step,
};
use crate::v1;

pub(super) fn steps_of(
    path: &str,
    steps: &[v1::Step],
    depth: usize,
    problems: &mut Collector,
) -> Vec<Step> {
    if depth > limits::STEP_DEPTH_MAX {
        problems.add(
            path,
            format!("nested deeper than {} levels", limits::STEP_DEPTH_MAX),
        );
        return Vec::new();
    }
    steps
        .iter()
        .enumerate()
        .map(|(index, step)| step_of(&format!("{path}[{index}]"), step, depth, problems))
        .collect()
}

/// Stands for a step's part that was wrong, so that the others keep their places and are checked too. What holds it is
/// never used: its problem has been noted. It ends nothing, and reads nothing.
fn placeholder() -> Action {
    Action::Wait(WaitStep::Duration(Duration::from_secs(1)))
}

/// Stands for a condition that was wrong: it may hold or not.
fn undecided() -> Option<Expression> {
    Expression::parse_condition("event.json == null").ok()
}

fn step_of(path: &str, step: &v1::Step, depth: usize, problems: &mut Collector) -> Step {
    let v1::Step {
        id,
        r#if,
        timeout,
        retry,
        on_error,
        total_timeout,
        action,
    } = step;
    let begun = problems.begin_step();
    let id = if id.is_empty() {
        problems.add(format!("{path}.id"), "is missing");
        None
    } else {
        problems.check(format!("{path}.id"), id.parse())
    };
    let condition = if r#if.is_empty() {
        None
    } else {
        let field = format!("{path}.if");
        expression(&field, r#if, Wanted::Boolean, problems).or_else(undecided)
    };
    use v1::step::Action::RunWorkflow;
    without_attempts(path, step, problems);
    of_condition(path, step, problems);
    if let (Some(RunWorkflow(_)), Some(_)) = (action, timeout) {
        let text = "is for steps whose attempts are of this node: the child's own timeout, and totalTimeout, bound it";
        problems.add(format!("{path}.timeout"), text);
    }
    let timeout = duration(
        &format!("{path}.timeout"),
        timeout.as_ref(),
        limits::STEP_TIMEOUT_MAX,
        problems,
    );
    let total_timeout = duration(
        &format!("{path}.totalTimeout"),
        total_timeout.as_ref(),
        limits::WORKFLOW_TIMEOUT_MAX,
        problems,
    );
    let on_error = on_error_of(path, on_error.as_ref(), depth, problems);
    let retry = retry_of(&format!("{path}.retry"), retry.as_ref(), problems);
    let action = action_of(path, action.as_ref(), depth, problems);
    problems.end_step(path, begun, action.is_some());
    Step {
        id: id.unwrap_or_else(|| StepId::placeholder(path)),
        condition,
        timeout: timeout.unwrap_or(limits::STEP_TIMEOUT_DEFAULT),
        total_timeout,
        retry,
        on_error,
        action: action.unwrap_or_else(placeholder),
    }
}

/// What only steps with attempts may say. Of some kinds it was taken once, and did nothing.
fn without_attempts(path: &str, step: &v1::Step, problems: &mut Collector) {
    use v1::step::Action::{
        Approval, Aws, Condition, Email, Fail, ForEach, Http, Parallel, RunWorkflow, Script, Slack,
        Succeed, Transform, Wait,
    };
    let was_taken = match step.action {
        Some(Wait(_) | Approval(_) | Parallel(_) | ForEach(_)) => false,
        Some(Condition(_) | Transform(_) | Succeed(_) | Fail(_)) => true,
        Some(Http(_) | Aws(_) | Email(_) | Slack(_) | Script(_) | RunWorkflow(_)) | None => return,
    };
    let bounds = if was_taken {
        ""
    } else {
        "; totalTimeout bounds it"
    };
    for (name, is_set, instead) in [
        ("timeout", step.timeout.is_some(), bounds),
        ("retry", step.retry.is_some(), ""),
    ] {
        let field = format!("{path}.{name}");
        let text = format!("is for steps that have attempts, which this one has not{instead}");
        match (is_set, was_taken) {
            (false, _) => {}
            (true, false) => problems.add(field, text),
            (true, true) => problems.add_if_written(field, text),
        }
    }
}

/// What a condition must not say, for the steps that it chooses run after it, in the list that it stands in.
fn of_condition(path: &str, step: &v1::Step, problems: &mut Collector) {
    let Some(v1::step::Action::Condition(_)) = step.action else {
        return;
    };
    const INSTEAD: &str = "the steps that a condition chooses are not part of it: say it of these, or of a parallel with one branch, \
                           in which the condition stands";
    if step.total_timeout.is_some() {
        problems.add_if_written(
            format!("{path}.totalTimeout"),
            format!("would bound nothing; {INSTEAD}"),
        );
    }
    let handles = |on_error: &v1::OnError| on_error.r#continue || !on_error.steps.is_empty();
    if step.on_error.as_ref().is_some_and(handles) {
        problems.add_if_written(
            format!("{path}.onError"),
            format!("would not handle their failures; {INSTEAD}"),
        );
    }
}

fn on_error_of(
    path: &str,
    on_error: Option<&v1::OnError>,
    depth: usize,
    problems: &mut Collector,
) -> OnError {
    let Some(v1::OnError { r#continue, steps }) = on_error else {
        return OnError::Fail;
    };
    let path = format!("{path}.onError");
    if *r#continue && !steps.is_empty() {
        problems.add(
            &path,
            "holds both continue and steps; the step after it follows in either case: leave out continue",
        );
    }
    if !steps.is_empty() {
        OnError::Steps(steps_of(
            &format!("{path}.steps"),
            steps,
            depth + 1,
            problems,
        ))
    } else if *r#continue {
        OnError::Continue
    } else {
        OnError::Fail
    }
}

fn action_of(
    path: &str,
    action: Option<&v1::step::Action>,
    depth: usize,
    problems: &mut Collector,
) -> Option<Action> {
    use v1::step::Action as Wire;
    let Some(action) = action else {
        problems.add(
            path,
            "says not what to do: expected one of http, transform, condition, parallel, forEach, wait, approval, succeed, fail, aws, email, slack, runWorkflow, script",
        );
        return None;
    };
    Some(match action {
        Wire::Http(step) => Action::Http(Box::new(http_step(
            &format!("{path}.http"),
            step,
            problems,
        )?)),
        Wire::Transform(step) => Action::Transform(transform_step(
            &format!("{path}.transform"),
            step,
            problems,
        )?),
        Wire::Condition(step) => Action::Condition(condition_step(
            &format!("{path}.condition"),
            step,
            depth,
            problems,
        )),
        Wire::Parallel(step) => Action::Parallel(parallel_step(
            &format!("{path}.parallel"),
            step,
            depth,
            problems,
        )),
        Wire::ForEach(step) => Action::ForEach(for_each_step(
            &format!("{path}.forEach"),
            step,
            depth,
            problems,
        )?),
        Wire::Wait(step) => Action::Wait(wait_step(&format!("{path}.wait"), step, problems)?),
        Wire::Approval(step) => {
            Action::Approval(approval_step(&format!("{path}.approval"), step, problems)?)
        }
        Wire::Succeed(v1::SucceedStep { output }) => {
            let output = match output {
                None => None,
                Some(output) => Some(json_template(
                    &format!("{path}.succeed.output"),
                    output,
                    problems,
                )?),
            };
            Action::Succeed(SucceedStep { output })
        }
        Wire::Fail(step) => Action::Fail(fail_step(&format!("{path}.fail"), step, problems)?),
        Wire::Aws(step) => Action::Aws(Box::new(aws_step(&format!("{path}.aws"), step, problems)?)),
        Wire::Email(step) => Action::Email(Box::new(email_step(
            &format!("{path}.email"),
            step,
            problems,
        )?)),
        Wire::RunWorkflow(step) => Action::RunWorkflow(Box::new(run_workflow_step(
            &format!("{path}.runWorkflow"),
            step,
            problems,
        )?)),
        Wire::Slack(step) => Action::Slack(Box::new(slack_step(
            &format!("{path}.slack"),
            step,
            problems,
        )?)),
        Wire::Script(step) => Action::Script(Box::new(script_step(
            &format!("{path}.script"),
            step,
            problems,
        )?)),
    })
}

fn condition_step(
    path: &str,
    step: &v1::ConditionStep,
    depth: usize,
    problems: &mut Collector,
) -> ConditionStep {
    let v1::ConditionStep { rules, otherwise } = step;
    let rules = rules
        .iter()
        .enumerate()
        .filter_map(|(index, v1::ConditionRule { r#if, steps })| {
            let path = format!("{path}.rules[{index}]");
            let field = format!("{path}.if");
            let condition = expression(&field, r#if, Wanted::Boolean, problems).or_else(undecided);
            let steps = steps_of(&format!("{path}.steps"), steps, depth + 1, problems);
            Some(ConditionRule {
                condition: condition?,
                steps,
            })
        })
        .collect();
    ConditionStep {
        rules,
        otherwise: steps_of(&format!("{path}.otherwise"), otherwise, depth + 1, problems),
    }
}

fn parallel_step(
    path: &str,
    step: &v1::ParallelStep,
    depth: usize,
    problems: &mut Collector,
) -> ParallelStep {
    let v1::ParallelStep {
        branches,
        fail_fast,
    } = step;
    let branches = branches
        .iter()
        .enumerate()
        .map(|(index, v1::ParallelBranch { name, steps })| {
            let path = format!("{path}.branches[{index}]");
            let field = format!("{path}.name");
            let name = if name.is_empty() {
                problems.add(&field, "is missing");
                None
            } else {
                problems.check(&field, name.parse())
            };
            ParallelBranch {
                name: name.unwrap_or_else(|| StepId::placeholder(&path)),
                steps: steps_of(&format!("{path}.steps"), steps, depth + 1, problems),
            }
        })
        .collect();
    ParallelStep {
        branches,
        fail_fast: fail_fast.unwrap_or(true),
    }
}

fn for_each_step(
    path: &str,
    step: &v1::ForEachStep,
    depth: usize,
    problems: &mut Collector,
) -> Option<ForEachStep> {
    let v1::ForEachStep {
        items,
        concurrency,
        fail_fast,
        steps,
    } = step;
    let concurrency = match u32::try_from(*concurrency) {
        Ok(0) => limits::FOR_EACH_CONCURRENCY_DEFAULT,
        Ok(n) if n as usize <= limits::CONCURRENT_STEPS_MAX => n,
        _ => {
            problems.add(
                format!("{path}.concurrency"),
                format!(
                    "is {concurrency}; expected 1 to {}",
                    limits::CONCURRENT_STEPS_MAX
                ),
            );
            1
        }
    };
    // A wrong one leaves the steps to be checked.
    let items = expression(&format!("{path}.items"), items, Wanted::List, problems)
        .or_else(|| Expression::parse("[]").ok());
    let steps = steps_of(&format!("{path}.steps"), steps, depth + 1, problems);
    Some(ForEachStep {
        items: items?,
        concurrency,
        fail_fast: fail_fast.unwrap_or(true),
        steps,
    })
}

fn wait_step(path: &str, step: &v1::WaitStep, problems: &mut Collector) -> Option<WaitStep> {
    let v1::WaitStep { time } = step;
    match time {
        None => {
            problems.add(
                path,
                "waits for nothing: expected duration, until or signal",
            );
            None
        }
        Some(v1::wait_step::Time::Duration(wait)) => duration(
            &format!("{path}.duration"),
            Some(wait),
            limits::WORKFLOW_TIMEOUT_MAX,
            problems,
        )
        .map(WaitStep::Duration),
        Some(v1::wait_step::Time::Until(text)) => {
            let field = format!("{path}.until");
            let template = template(&field, text, problems)?;
            // What is no template is known already.
            if template.references().is_empty()
                && !text.contains("${{")
                && let Err(error) = text.parse::<jiff::Timestamp>()
            {
                problems.add(
                    field,
                    format!("{text:?} is no time such as 2026-11-24T10:00:00Z (RFC 3339): {error}"),
                );
                return None;
            }
            Some(WaitStep::Until(template))
        }
        Some(v1::wait_step::Time::Signal(signal)) => {
            signal_wait(&format!("{path}.signal"), signal, problems).map(WaitStep::Signal)
        }
    }
}

fn fail_step(path: &str, step: &v1::FailStep, problems: &mut Collector) -> Option<FailStep> {
    let v1::FailStep { code, message } = step;
    let code = if code.is_empty() { "FAILED" } else { code };
    let mut bytes = code.bytes();
    let valid = code.len() <= 64
        && bytes.next().is_some_and(|b| b.is_ascii_uppercase())
        && bytes.all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_');
    if !valid {
        problems.add(
            format!("{path}.code"),
            format!("{code:?} does not match [A-Z][A-Z0-9_]{{0,63}}"),
        );
    }
    if message.is_empty() {
        problems.add(format!("{path}.message"), "is missing");
        return None;
    }
    let message = template(&format!("{path}.message"), message, problems)?;
    Some(FailStep {
        code: code.to_owned(),
        message,
    })
}

fn retry_of(path: &str, retry: Option<&v1::RetryPolicy>, problems: &mut Collector) -> RetryPolicy {
    let Some(retry) = retry else {
        return RetryPolicy::default();
    };
    let v1::RetryPolicy {
        max_attempts,
        initial_backoff,
        max_backoff,
        multiplier,
        retry_on,
    } = retry;
    let default = RetryPolicy::WRITTEN_DEFAULT;
    let max_attempts = match u32::try_from(*max_attempts) {
        Ok(0) => default.max_attempts,
        Ok(n) if n <= limits::ATTEMPTS_MAX => n,
        _ => {
            problems.add(
                format!("{path}.maxAttempts"),
                format!("is {max_attempts}; expected 1 to {}", limits::ATTEMPTS_MAX),
            );
            1
        }
    };
    let multiplier = if *multiplier == 0.0 {
        default.multiplier
    } else if (1.0..=10.0).contains(multiplier) {
        *multiplier
    } else {
        problems.add(
            format!("{path}.multiplier"),
            format!("is {multiplier}; expected 1 to 10"),
        );
        default.multiplier
    };
    let mut pause = |name: &str, value: Option<&prost_types::Duration>, default| {
        duration(
            &format!("{path}.{name}"),
            value,
            limits::BACKOFF_MAX,
            problems,
        )
        .unwrap_or(default)
    };
    RetryPolicy {
        max_attempts,
        initial_backoff: pause(
            "initialBackoff",
            initial_backoff.as_ref(),
            default.initial_backoff,
        ),
        max_backoff: pause("maxBackoff", max_backoff.as_ref(), default.max_backoff),
        multiplier,
        retry_on: retry_on_of(&format!("{path}.retryOn"), retry_on, problems),
    }
}

fn retry_on_of(path: &str, texts: &[String], problems: &mut Collector) -> Vec<RetryOn> {
    if texts.len() > limits::RETRY_ON_MAX {
        problems.add(
            path,
            format!("at most {} are allowed", limits::RETRY_ON_MAX),
        );
        return Vec::new();
    }
    let texts = texts.iter().enumerate();
    texts
        .filter_map(|(index, text)| problems.check(format!("{path}[{index}]"), text.parse()))
        .collect()
}
