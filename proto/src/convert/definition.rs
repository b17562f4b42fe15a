//! `WorkflowSpec` → [`Workflow`]: every problem at once, each at its path as YAML writes it.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use prost::Message as _;
use serde_json::Value;
use signalbox_model::{
    expression::{Expression, JsonTemplate, Template},
    ids::{ApiKeyName, ProjectId, StepId},
    limits,
    violation::{Collector, Violations},
    workflow::{
        Action, AmazonSnsTrigger, ConditionRule, ConditionStep, FailStep, HttpBody, HttpStep,
        RetryPolicy, Step, SucceedStep, TopicArn, TransformStep, Trigger, WebhookTrigger, Workflow,
    },
};

use super::time;
use crate::v1;

/// The encoded form, for those who must keep a definition.
#[must_use]
pub fn encode(spec: &v1::WorkflowSpec) -> Bytes {
    spec.encode_to_vec().into()
}

/// The definition of an encoded spec.
///
/// # Errors
/// As [`workflow`], or that it does not decode.
pub fn decode(source: &[u8], project: &ProjectId) -> Result<Workflow, Violations> {
    let spec = v1::WorkflowSpec::decode(source)
        .map_err(|error| Violations::one("", format!("is no WorkflowSpec: {error}")))?;
    workflow(&spec, project)
}

/// The definition that `spec` writes, of a workflow in `project`.
///
/// # Errors
/// All problems.
pub fn workflow(spec: &v1::WorkflowSpec, project: &ProjectId) -> Result<Workflow, Violations> {
    let v1::WorkflowSpec {
        trigger,
        vars,
        steps,
        timeout,
    } = spec;
    let mut problems = Collector::default();
    if spec.encoded_len() > limits::DEFINITION_MAX_BYTES {
        problems.add(
            "",
            format!(
                "the definition has {} bytes; at most {} are allowed",
                spec.encoded_len(),
                limits::DEFINITION_MAX_BYTES
            ),
        );
        return problems.finish(None);
    }
    let trigger = trigger_of(trigger.as_ref(), project, &mut problems);
    let vars = vars
        .iter()
        .filter_map(|(name, value)| {
            let value = json(&format!("vars.{name}"), value, &mut problems)?;
            Some((name.clone(), value))
        })
        .collect::<BTreeMap<_, _>>();
    let steps = steps_of("steps", steps, 1, &mut problems);
    let timeout = timeout
        .and_then(|timeout| problems.check("timeout", time::duration(timeout)))
        .map(Some)
        .unwrap_or_default();
    // What the parts alone can say is said; the whole is checked even so, that all problems come at once.
    match trigger {
        Some(trigger) => match Workflow::new(trigger, vars, steps, timeout) {
            Ok(workflow) => problems.finish(Some(workflow)),
            Err(violations) => {
                problems.extend(violations);
                problems.finish(None)
            }
        },
        None => {
            if let Err(violations) = Workflow::new(Trigger::Manual, vars, steps, timeout) {
                problems.extend(violations);
            }
            problems.finish(None)
        }
    }
}

fn trigger_of(
    trigger: Option<&v1::Trigger>,
    project: &ProjectId,
    problems: &mut Collector,
) -> Option<Trigger> {
    const EXPECTED: &str = "is missing: expected one of amazonSns, webhook, manual";
    let Some(v1::Trigger { kind: Some(kind) }) = trigger else {
        problems.add("trigger", EXPECTED);
        return None;
    };
    match kind {
        v1::trigger::Kind::AmazonSns(sns) => {
            sns_trigger(sns, project, problems).map(Trigger::AmazonSns)
        }
        v1::trigger::Kind::Webhook(v1::WebhookTrigger { api_keys }) => {
            Some(Trigger::Webhook(WebhookTrigger {
                api_keys: keys("trigger.webhook.apiKeys", api_keys, project, problems),
            }))
        }
        v1::trigger::Kind::Manual(v1::ManualTrigger {}) => Some(Trigger::Manual),
    }
}

fn sns_trigger(
    sns: &v1::AmazonSnsTrigger,
    project: &ProjectId,
    problems: &mut Collector,
) -> Option<AmazonSnsTrigger> {
    let v1::AmazonSnsTrigger {
        api_keys,
        topic_arns,
        allow_raw_delivery,
        minimum_signature_version,
        max_message_age,
    } = sns;
    let topic_arns = topic_arns
        .iter()
        .enumerate()
        .filter_map(|(index, arn)| {
            let field = format!("trigger.amazonSns.topicArns[{index}]");
            problems.check(field, arn.parse::<TopicArn>())
        })
        .collect();
    let minimum_signature_version = match minimum_signature_version {
        0 | 1 => 1,
        2 => 2,
        other => {
            problems.add(
                "trigger.amazonSns.minimumSignatureVersion",
                format!("is {other}; expected 1 or 2"),
            );
            return None;
        }
    };
    Some(AmazonSnsTrigger {
        api_keys: keys("trigger.amazonSns.apiKeys", api_keys, project, problems),
        topic_arns,
        allow_raw_delivery: *allow_raw_delivery,
        minimum_signature_version,
        max_message_age: duration(
            "trigger.amazonSns.maxMessageAge",
            max_message_age.as_ref(),
            Duration::MAX,
            problems,
        ),
    })
}

fn keys(
    field: &str,
    keys: &[String],
    project: &ProjectId,
    problems: &mut Collector,
) -> Vec<ApiKeyName> {
    let mut names = Vec::with_capacity(keys.len());
    for (index, key) in keys.iter().enumerate() {
        let field = format!("{field}[{index}]");
        let Some(name) = problems.check(field.clone(), ApiKeyName::from_reference(key, project))
        else {
            // Keeps "must name at least one" from being said beside what is wrong with the one named.
            continue;
        };
        if names.contains(&name) {
            problems.add(field, format!("{key:?} is named already"));
        } else {
            names.push(name);
        }
    }
    names
}

fn steps_of(path: &str, steps: &[v1::Step], depth: usize, problems: &mut Collector) -> Vec<Step> {
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

fn http_step(path: &str, step: &v1::HttpStep, problems: &mut Collector) -> Option<HttpStep> {
    let v1::HttpStep {
        method,
        url,
        query,
        headers,
        body,
    } = step;
    let method = if method.is_empty() {
        Some(None)
    } else {
        problems
            .check(format!("{path}.method"), method.parse())
            .map(Some)
    };
    let url = url_template(&format!("{path}.url"), url, problems);
    let query = templates(&format!("{path}.query"), query, problems);
    for (name, value) in headers {
        header(&format!("{path}.headers.{name}"), name, value, problems);
    }
    let headers = templates(&format!("{path}.headers"), headers, problems);
    let body = match body {
        None => Some(None),
        Some(v1::http_step::Body::Json(value)) => {
            json_template(&format!("{path}.json"), value, problems)
                .map(|template| Some(HttpBody::Json(template)))
        }
        Some(v1::http_step::Body::Text(text)) => problems
            .check(format!("{path}.text"), Template::parse(text))
            .map(|template| Some(HttpBody::Text(template))),
    };
    Some(HttpStep {
        method: method?,
        url: url?,
        query: query?,
        headers: headers?,
        body: body?,
    })
}

fn url_template(field: &str, url: &str, problems: &mut Collector) -> Option<Template> {
    if url.is_empty() {
        problems.add(field, "is missing");
        return None;
    }
    let template = problems.check(field, Template::parse(url))?;
    // Only what stands before the first expression is known now; the rest is checked when the step runs.
    let known = url.split("${{").next().unwrap_or_default();
    let schemes = ["http://", "https://"];
    let fits = match template.as_literal() {
        Some(literal) => schemes.iter().any(|scheme| literal.starts_with(scheme)),
        None => schemes
            .iter()
            .any(|scheme| known.starts_with(scheme) || scheme.starts_with(known)),
    };
    if !fits {
        problems.add(
            field,
            format!("{url:?} is no URL of an HTTP service: expected http://… or https://…"),
        );
        return None;
    }
    let authority = known.split("//").nth(1).unwrap_or_default();
    if authority
        .split('/')
        .next()
        .is_some_and(|host| host.contains('@'))
    {
        problems.add(field, "must not hold user information (user:password@)");
        return None;
    }
    Some(template)
}

fn header(field: &str, name: &str, value: &str, problems: &mut Collector) {
    /// Set by Signalbox or by the connection.
    const RESERVED: [&str; 6] = [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "idempotency-key",
        "traceparent",
    ];
    if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
        problems.add(
            field,
            format!("{name:?} is not a header name (RFC 9110 §5.1)"),
        );
    } else if RESERVED.contains(&name.to_ascii_lowercase().as_str()) {
        problems.add(field, format!("{name:?} is set by Signalbox itself"));
    }
    if value.chars().any(|c| c.is_control() && c != '\t') {
        problems.add(field, "must not hold control characters");
    }
}

fn templates<'a>(
    path: &str,
    texts: impl IntoIterator<Item = (&'a String, &'a String)>,
    problems: &mut Collector,
) -> Option<BTreeMap<String, Template>> {
    let mut whole = Some(BTreeMap::new());
    for (name, text) in texts {
        match (
            problems.check(format!("{path}.{name}"), Template::parse(text)),
            &mut whole,
        ) {
            (Some(template), Some(all)) => {
                all.insert(name.clone(), template);
            }
            _ => whole = None,
        }
    }
    whole
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

/// A duration of more than nothing and at most `max`; [`None`] when it is not set or wrong.
fn duration(
    field: &str,
    value: Option<&prost_types::Duration>,
    max: Duration,
    problems: &mut Collector,
) -> Option<Duration> {
    let duration = problems.check(field, time::duration(*value?))?;
    if duration.is_zero() || duration > max {
        problems.add(
            field,
            format!("must be more than 0 and at most {} seconds", max.as_secs()),
        );
        return None;
    }
    Some(duration)
}

fn json_template(
    field: &str,
    value: &prost_types::Value,
    problems: &mut Collector,
) -> Option<JsonTemplate> {
    let value = json(field, value, problems)?;
    JsonTemplate::parse(&value)
        .map_err(|(path, error)| problems.add(format!("{field}{path}"), error.to_string()))
        .ok()
}

fn json(field: &str, value: &prost_types::Value, problems: &mut Collector) -> Option<Value> {
    to_json(value, limits::JSON_DEPTH_MAX)
        .map_err(|problem| problems.add(field, problem))
        .ok()
}

/// The JSON of a `google.protobuf.Value`. Whole numbers become integers, which is what was written.
///
/// # Errors
/// When it is nested deeper than `depth_left`, or holds a number that JSON has not.
pub fn to_json(value: &prost_types::Value, depth_left: usize) -> Result<Value, &'static str> {
    use prost_types::value::Kind;
    let depth_left = depth_left.checked_sub(1).ok_or("is nested too deep")?;
    Ok(match &value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(value)) => Value::Bool(*value),
        Some(Kind::NumberValue(number)) => number_to_json(*number)?,
        Some(Kind::StringValue(text)) => Value::String(text.clone()),
        Some(Kind::ListValue(list)) => Value::Array(
            list.values
                .iter()
                .map(|value| to_json(value, depth_left))
                .collect::<Result<_, _>>()?,
        ),
        Some(Kind::StructValue(fields)) => Value::Object(
            fields
                .fields
                .iter()
                .map(|(name, value)| Ok((name.clone(), to_json(value, depth_left)?)))
                .collect::<Result<_, &'static str>>()?,
        ),
    })
}

/// The `google.protobuf.Value` of JSON. Numbers become doubles, as that message has no others.
#[must_use]
pub fn from_json(value: &Value) -> prost_types::Value {
    use prost_types::value::Kind;
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(*value),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or(f64::NAN)),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(values) => Kind::ListValue(prost_types::ListValue {
            values: values.iter().map(from_json).collect(),
        }),
        Value::Object(fields) => Kind::StructValue(prost_types::Struct {
            fields: fields
                .iter()
                .map(|(name, value)| (name.clone(), from_json(value)))
                .collect(),
        }),
    };
    prost_types::Value { kind: Some(kind) }
}

fn number_to_json(number: f64) -> Result<Value, &'static str> {
    /// Up to here every integer is a double.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    if number.fract() == 0.0 && number.abs() <= EXACT_MAX {
        #[expect(clippy::cast_possible_truncation, reason = "whole and within ±2^53")]
        return Ok(Value::from(number as i64));
    }
    serde_json::Number::from_f64(number)
        .map(Value::Number)
        .ok_or("holds a number that JSON has not")
}
