//! The steps.

use signalbox_model::{
    expression::{Expression, Template},
    ids::StepId,
    limits,
    violation::Collector,
    workflow::{
        Action, ConditionRule, ConditionStep, FailStep, RetryPolicy, Step, SucceedStep,
        TransformStep,
    },
};

use super::{duration, http::http_step, json_template};
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
/// never used: its problem has been noted.
fn placeholder() -> Action {
    Action::Succeed(SucceedStep { output: None })
}

fn step_of(path: &str, step: &v1::Step, depth: usize, problems: &mut Collector) -> Step {
    let v1::Step {
        id,
        r#if,
        timeout,
        retry,
        action,
    } = step;
    let id = if id.is_empty() {
        problems.add(format!("{path}.id"), "is missing");
        None
    } else {
        problems.check(format!("{path}.id"), id.parse())
    };
    let condition = if r#if.is_empty() {
        None
    } else {
        problems.check(format!("{path}.if"), Expression::parse(r#if))
    };
    let timeout = duration(
        &format!("{path}.timeout"),
        timeout.as_ref(),
        limits::STEP_TIMEOUT_MAX,
        problems,
    );
    let retry = retry_of(&format!("{path}.retry"), retry.as_ref(), problems);
    let action = action_of(path, action.as_ref(), depth, problems);
    let is_placeholder = action.is_none();
    Step {
        id: id.unwrap_or_else(|| StepId::placeholder(path)),
        // A placeholder ends nothing.
        condition: condition.or_else(|| Expression::parse("true").ok().filter(|_| is_placeholder)),
        timeout: timeout.unwrap_or(limits::STEP_TIMEOUT_DEFAULT),
        retry,
        action: action.unwrap_or_else(placeholder),
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
            "says not what to do: expected one of http, transform, condition, succeed, fail",
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
    })
}

fn transform_step(
    path: &str,
    step: &v1::TransformStep,
    problems: &mut Collector,
) -> Option<TransformStep> {
    let v1::TransformStep { value } = step;
    match value {
        None => {
            problems.add(path, "computes nothing: expected expression or template");
            None
        }
        Some(v1::transform_step::Value::Expression(source)) => problems
            .check(format!("{path}.expression"), Expression::parse(source))
            .map(TransformStep::Expression),
        Some(v1::transform_step::Value::Template(value)) => {
            json_template(&format!("{path}.template"), value, problems).map(TransformStep::Template)
        }
    }
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
            let condition = problems
                .check(format!("{path}.if"), Expression::parse(r#if))
                .or_else(|| Expression::parse("true").ok());
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
    let message = problems.check(format!("{path}.message"), Template::parse(message))?;
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
    }
}
