//! What the descriptors cannot say of workflow files: what must be there, and the limits. These are the model's, which
//! checks them; a test holds both against the same documents.

use prost_reflect::{FieldDescriptor, OneofDescriptor};
use serde_json::{Value, json};
use signalbox_model::{
    ids::{RESOURCE_ID_PATTERN, STEP_ID_PATTERN},
    limits,
    workflow::HttpMethod,
};

/// Fields that must be there.
const REQUIRED: [&str; 21] = [
    "AmazonSnsTrigger.api_keys",
    "Concurrency.max_executions",
    "ConditionRule.if",
    "ConditionStep.rules",
    "FailStep.message",
    "Finally.steps",
    "ForEachStep.items",
    "ForEachStep.steps",
    "HttpStep.url",
    "JsonPathTransform.path",
    "ParallelBranch.name",
    "ParallelBranch.steps",
    "ParallelStep.branches",
    "RateLimit.events_per_second",
    "RunWorkflowStep.workflow",
    "Step.id",
    "WebhookTrigger.api_keys",
    "Workflow.name",
    "Workflow.spec",
    "WorkflowSpec.steps",
    "WorkflowSpec.trigger",
];

/// Choices of which one must be made.
const CHOICES_REQUIRED: [&str; 4] = [
    "Step.action",
    "TransformStep.value",
    "Trigger.kind",
    "WaitStep.time",
];

pub(super) fn is_required(field: &FieldDescriptor) -> bool {
    REQUIRED.contains(&name(field).as_str())
}

pub(super) fn is_choice_required(choice: &OneofDescriptor) -> bool {
    let name = format!("{}.{}", choice.parent_message().name(), choice.name());
    CHOICES_REQUIRED.contains(&name.as_str())
}

fn name(field: &FieldDescriptor) -> String {
    format!("{}.{}", field.parent_message().name(), field.name())
}

/// What else a field must be.
pub(super) fn of(field: &FieldDescriptor) -> Value {
    let name = name(field);
    let rule = RULES.iter().find(|(of, _)| *of == name);
    rule.map_or(Value::Null, |(_, rule)| rule())
}

type Rule = (&'static str, fn() -> Value);

const RULES: [Rule; 24] = [
    ("AmazonSnsTrigger.api_keys", api_keys),
    (
        "AmazonSnsTrigger.minimum_signature_version",
        || json!({"minimum": 0, "maximum": 2}),
    ),
    (
        "AmazonSnsTrigger.topic_arns",
        || json!({"maxItems": limits::TRIGGER_NAMES_MAX}),
    ),
    (
        "Concurrency.max_executions",
        || json!({"minimum": 1, "maximum": limits::WORKFLOW_EXECUTIONS_MAX}),
    ),
    ("ConditionStep.rules", || items(limits::CONDITION_RULES_MAX)),
    (
        "FailStep.code",
        || json!({"pattern": "^([A-Z][A-Z0-9_]{0,63})?$"}),
    ),
    ("Finally.steps", || items(limits::STEPS_MAX)),
    (
        "ForEachStep.concurrency",
        || json!({"minimum": 0, "maximum": limits::CONCURRENT_STEPS_MAX}),
    ),
    ("ForEachStep.steps", || items(limits::STEPS_MAX)),
    ("HttpStep.method", methods),
    (
        "JsonPathTransform.path",
        || json!({"maxLength": limits::JSON_PATH_MAX_BYTES}),
    ),
    ("ParallelBranch.name", step_id),
    ("ParallelBranch.steps", || items(limits::STEPS_MAX)),
    ("ParallelStep.branches", || {
        items(limits::PARALLEL_BRANCHES_MAX)
    }),
    (
        "RateLimit.burst",
        || json!({"minimum": 0, "maximum": limits::RATE_MAX}),
    ),
    (
        "RateLimit.events_per_second",
        || json!({"minimum": 1, "maximum": limits::RATE_MAX}),
    ),
    (
        "RetryPolicy.max_attempts",
        || json!({"minimum": 0, "maximum": limits::ATTEMPTS_MAX}),
    ),
    (
        "RetryPolicy.retry_on",
        || json!({"maxItems": limits::RETRY_ON_MAX}),
    ),
    (
        "RunWorkflowStep.workflow",
        || json!({"pattern": format!("^{RESOURCE_ID_PATTERN}$")}),
    ),
    ("Step.id", step_id),
    ("WebhookTrigger.api_keys", api_keys),
    ("Workflow.name", || {
        let id = RESOURCE_ID_PATTERN;
        json!({"pattern": format!("^(projects/{id}/workflows/)?{id}$")})
    }),
    ("WorkflowSpec.steps", || items(limits::STEPS_MAX)),
    ("WorkflowSpec.vars", || {
        json!({
            "maxProperties": limits::VARS_MAX,
            "propertyNames": {"pattern": "^[a-zA-Z_][a-zA-Z0-9_]*$"},
        })
    }),
];

/// A list that must not be empty.
fn items(max: usize) -> Value {
    json!({"minItems": 1, "maxItems": max})
}

fn api_keys() -> Value {
    items(limits::TRIGGER_NAMES_MAX)
}

fn step_id() -> Value {
    json!({"pattern": format!("^{STEP_ID_PATTERN}$")})
}

fn methods() -> Value {
    let names = HttpMethod::ALL.map(HttpMethod::as_str);
    json!({"anyOf": [{"enum": names}, {"enum": ["", null]}]})
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::collections::BTreeSet;

    use super::*;
    use crate::{convert::json::descriptor, v1};

    /// A rule of a field that there is not would say nothing.
    #[test]
    fn rules_are_of_fields_that_there_are() {
        let package = descriptor::<v1::Workflow>()
            .parent_file()
            .package_name()
            .to_owned();
        let pool = descriptor::<v1::Workflow>().parent_pool().clone();
        let messages = pool.all_messages().filter(|m| m.package_name() == package);
        let (mut fields, mut choices) = (BTreeSet::new(), BTreeSet::new());
        for message in messages {
            fields.extend(message.fields().map(|field| name(&field)));
            let own = message.oneofs();
            choices.extend(own.map(|choice| format!("{}.{}", message.name(), choice.name())));
        }
        let ruled = RULES.iter().map(|(of, _)| *of).chain(REQUIRED);
        for name in ruled {
            assert!(fields.contains(name), "{name}");
        }
        for name in CHOICES_REQUIRED {
            assert!(choices.contains(name), "{name}");
        }
    }
}
