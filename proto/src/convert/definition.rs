//! `WorkflowSpec` → [`Workflow`]: every problem at once, each at its path as YAML writes it.

use std::{collections::BTreeMap, num::NonZeroU32, time::Duration};

use bytes::Bytes;
use prost::Message as _;
use serde_json::Value;
use signalbox_model::{
    ids::ProjectId,
    limits,
    rate_limit::{RateLimit, RateLimitError},
    violation::{Collector, Violations},
    workflow::{Finally, Front, Names, Parts, Reading, Workflow},
};

use super::{rate_limit, time};
use crate::v1;

mod aws;
mod email;
mod http;
mod inputs;
mod listen;
mod run_workflow;
mod schedule;
mod script;
mod slack;
mod steps;
mod texts;
mod transform;
mod trigger;
mod unchanged;
mod value;

pub use self::unchanged::changed_steps;
pub(crate) use self::value::inexact_integer;
pub use self::value::{from_json, inexact_number, to_json};
use self::{
    inputs::inputs_of,
    steps::steps_of,
    texts::json,
    trigger::{named_keys, trigger_of},
    value::struct_to_json,
};

/// The encoded form, for those who must keep a definition.
#[must_use]
pub fn encode(spec: &v1::WorkflowSpec) -> Bytes {
    spec.encode_to_vec().into()
}

/// The JSON of an encoded spec, as files have it; null for what is none.
#[must_use]
pub fn source_to_json(source: &[u8]) -> Value {
    v1::WorkflowSpec::decode(source).map_or(Value::Null, |spec| super::json::to_value(&spec))
}

/// The definition of an encoded spec that is stored.
///
/// # Errors
/// As [`stored`], or that it does not decode.
pub fn decode(source: &[u8], project: &ProjectId) -> Result<Workflow, Violations> {
    let spec = v1::WorkflowSpec::decode(source)
        .map_err(|error| Violations::one("", format!("is no WorkflowSpec: {error}")))?;
    stored(&spec, project)
}

/// What starts the workflow that `spec` writes, in `project`, and how often. The steps are not read: expressions take most of
/// the time that reading a definition takes.
///
/// # Errors
/// All problems of what is read.
pub fn front(spec: &v1::WorkflowSpec, project: &ProjectId) -> Result<Front, Violations> {
    let mut problems = Collector::default();
    let front = match front_of(spec, project, &mut problems).map(Front::checked) {
        Some(Ok(front)) => Some(front),
        Some(Err(violations)) => {
            problems.extend(violations);
            None
        }
        None => None,
    };
    problems.finish(front)
}

/// The definition that `spec` writes, of a workflow in `project`.
///
/// # Errors
/// All problems.
pub fn workflow(spec: &v1::WorkflowSpec, project: &ProjectId) -> Result<Workflow, Violations> {
    read(spec, project).workflow
}

/// The same, with what it names, also where it is wrong.
#[must_use]
pub fn read(spec: &v1::WorkflowSpec, project: &ProjectId) -> Reading {
    reading(spec, project, Collector::of_written())
}

/// The definition of a spec that was written before, maybe by an earlier version, which refused less: what could run then can
/// run now.
///
/// # Errors
/// All that keeps it from running.
pub fn stored(spec: &v1::WorkflowSpec, project: &ProjectId) -> Result<Workflow, Violations> {
    reading(spec, project, Collector::default()).workflow
}

fn reading(spec: &v1::WorkflowSpec, project: &ProjectId, mut problems: Collector) -> Reading {
    let v1::WorkflowSpec {
        trigger,
        vars,
        steps,
        timeout,
        rate_limit: _,
        finally,
        concurrency: _,
    } = spec;
    if spec.encoded_len() > limits::DEFINITION_MAX_BYTES {
        let text = format!(
            "the definition has {} bytes; at most {} are allowed",
            spec.encoded_len(),
            limits::DEFINITION_MAX_BYTES
        );
        return Reading {
            names: Names::default(),
            workflow: Err(Violations::one("", text)),
        };
    }
    let front = front_of(spec, project, &mut problems);
    let vars = vars
        .iter()
        .filter_map(|(name, value)| {
            let value = json(&format!("vars.{name}"), value, &mut problems)?;
            Some((name.clone(), value))
        })
        .collect::<BTreeMap<_, _>>();
    let steps = steps_of("steps", steps, 1, &mut problems);
    let timeout = timeout.map(|timeout| {
        let read = problems.check("timeout", time::duration(timeout));
        // Of a wrong one nothing is too long.
        read.unwrap_or(limits::WORKFLOW_TIMEOUT_MAX)
    });
    let finally = finally
        .as_ref()
        .map(|finally| finally_of(finally, &mut problems));
    // What the parts alone can say is said; the whole is checked even so, that all problems come at once.
    let lost_keys = match front {
        Some(_) => Vec::new(),
        None => named_keys(trigger.as_ref(), project),
    };
    let parts = Parts {
        front,
        vars,
        steps,
        timeout,
        finally,
    };
    let mut reading = parts.check(problems);
    reading.names.keys.extend(lost_keys);
    reading
}

/// None when there is a problem with the trigger.
fn front_of(
    spec: &v1::WorkflowSpec,
    project: &ProjectId,
    problems: &mut Collector,
) -> Option<Front> {
    let inputs = inputs_of(spec.trigger.as_ref(), problems);
    let trigger = trigger_of(spec.trigger.as_ref(), project, problems);
    let rate_limit = spec.rate_limit.as_ref();
    let rate_limit = rate_limit.and_then(|limit| rate_limit_of("rateLimit", limit, problems));
    let concurrency = spec.concurrency.as_ref();
    let executions_max =
        concurrency.and_then(|concurrency| executions_max_of(concurrency, problems));
    Some(Front {
        trigger: trigger?,
        inputs,
        rate_limit,
        executions_max,
    })
}

fn finally_of(finally: &v1::Finally, problems: &mut Collector) -> Finally {
    let v1::Finally { steps, timeout } = finally;
    let timeout = duration(
        "finally.timeout",
        timeout.as_ref(),
        limits::FINALLY_TIMEOUT_MAX,
        problems,
    );
    Finally {
        steps: steps_of("finally.steps", steps, 1, problems),
        timeout: timeout.unwrap_or(limits::FINALLY_TIMEOUT_DEFAULT),
    }
}

fn executions_max_of(
    concurrency: &v1::Concurrency,
    problems: &mut Collector,
) -> Option<NonZeroU32> {
    let v1::Concurrency { max_executions } = concurrency;
    let max = u32::try_from(*max_executions)
        .ok()
        .and_then(NonZeroU32::new);
    let max = max.filter(|max| max.get() <= limits::WORKFLOW_EXECUTIONS_MAX);
    if max.is_none() {
        problems.add(
            "concurrency.maxExecutions",
            format!(
                "must be from 1 to {}, not {max_executions}",
                limits::WORKFLOW_EXECUTIONS_MAX
            ),
        );
    }
    max
}

fn rate_limit_of(
    field: &str,
    limit: &v1::RateLimit,
    problems: &mut Collector,
) -> Option<RateLimit> {
    let wrong = match rate_limit::from_wire(limit) {
        Ok(limit) => return Some(limit),
        Err(wrong) => wrong,
    };
    for problem in wrong {
        let part = match problem {
            RateLimitError::EventsPerSecond(_) => "eventsPerSecond",
            RateLimitError::Burst(_) => "burst",
        };
        problems.add(format!("{field}.{part}"), problem.to_string());
    }
    None
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
