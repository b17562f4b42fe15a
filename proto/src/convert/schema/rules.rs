//! What the descriptors cannot say of workflow files: what must be there, and the limits. These are the model's, which
//! checks them; a test holds both against the same documents.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor, OneofDescriptor};
use serde_json::{Value, json};
use signalbox_model::{
    ids::{RESOURCE_ID_PATTERN, STEP_ID_PATTERN},
    limits,
    workflow::HttpMethod,
};

/// Fields that must be there.
const REQUIRED: [&str; 37] = [
    "AmazonSnsTrigger.api_keys",
    "ApprovalStep.message",
    "AwsAssumeRole.role_arn",
    "AwsCredentials.access_key_id",
    "AwsCredentials.secret_access_key",
    "AwsRest.path",
    "AwsStep.service",
    "Concurrency.max_executions",
    "ConditionRule.if",
    "ConditionStep.rules",
    "EmailStep.from",
    "EmailStep.server",
    "EmailStep.subject",
    "FailStep.message",
    "Finally.steps",
    "ForEachStep.items",
    "ForEachStep.steps",
    "HttpBearerAuth.token",
    "HttpHeaderAuth.name",
    "HttpHeaderAuth.value",
    "HttpStep.url",
    "JsonPathTransform.path",
    "ManualInput.name",
    "ManualInput.type",
    "ParallelBranch.name",
    "ParallelBranch.steps",
    "ParallelStep.branches",
    "RateLimit.events_per_second",
    "RunWorkflowStep.workflow",
    "SignalWait.name",
    "SmtpServer.host",
    "Step.id",
    "WebhookTrigger.api_keys",
    "Workflow.name",
    "Workflow.spec",
    "WorkflowSpec.steps",
    "WorkflowSpec.trigger",
];

/// Choices of which one must be made.
const CHOICES_REQUIRED: [&str; 7] = [
    "HttpAuth.kind",
    "ScheduleTrigger.when",
    "ScriptStep.program",
    "Step.action",
    "TransformStep.value",
    "Trigger.kind",
    "WaitStep.time",
];

/// Messages that must say all of one of these lists of fields.
const ONE_OF: [(&str, &[&[&str]]); 6] = [
    ("AwsStep", &[&["operation"], &["rest"]]),
    ("EmailStep", &[&["to"], &["cc"], &["bcc"]]),
    ("EmailStep", &[&["text"], &["html"]]),
    ("HttpBasicAuth", &[&["username"], &["password"]]),
    ("SlackStep", &[&["webhook_url"], &["token", "channel"]]),
    ("SlackStep", &[&["text"], &["blocks"]]),
];

/// Fields that say nothing without another.
const WITH_ANOTHER: [(&str, &str, &str); 5] = [
    ("AmazonSnsTrigger", "filter_policy_scope", "filter_policy"),
    ("ScheduleTrigger", "misfire_max", "misfire"),
    ("ScheduleTrigger", "time_zone", "cron"),
    ("SmtpServer", "password", "username"),
    ("SmtpServer", "username", "password"),
];

/// What of a message must be there beside what is always.
pub(super) fn needs(message: &MessageDescriptor) -> Vec<Value> {
    let said = |name: &str| {
        let field = message.get_field_by_name(name);
        field.map_or(Value::Null, |field| said(&field))
    };
    let one_of = ONE_OF.iter().filter(|(of, _)| *of == message.name());
    let one_of = one_of.map(|(_, ways)| {
        let way = |fields: &&[&str]| {
            let fields: Vec<_> = fields.iter().map(|name| said(name)).collect();
            json!({"allOf": fields})
        };
        json!({"anyOf": ways.iter().map(way).collect::<Vec<_>>()})
    });
    let with = WITH_ANOTHER.iter().filter(|(of, ..)| *of == message.name());
    let with = with.map(|(_, field, other)| json!({"anyOf": [{"not": said(field)}, said(other)]}));
    one_of.chain(with).collect()
}

/// That a field says something, by one of its names: the reader takes what is empty for what is not there.
fn said(field: &FieldDescriptor) -> Value {
    let nothing = match field.kind() {
        _ if field.is_list() => json!([null, []]),
        Kind::Message(_) => json!([null]),
        Kind::String => json!([null, ""]),
        Kind::Enum(kind) => json!([null, 0, kind.default_value().name()]),
        _ => json!([null, 0, "0"]),
    };
    let by = |name: &str| {
        let properties = json!({name: {"not": {"enum": nothing}}});
        json!({"required": [name], "properties": properties})
    };
    if field.name() == field.json_name() {
        return by(field.name());
    }
    json!({"anyOf": [by(field.json_name()), by(field.name())]})
}

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

const RULES: [Rule; 26] = [
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
    (
        "ScriptStep.fuel",
        || json!({"minimum": 0, "maximum": limits::SCRIPT_FUEL_MAX}),
    ),
    (
        "ScriptStep.memory_max_bytes",
        || json!({"minimum": 0, "maximum": limits::SCRIPT_MEMORY_MAX_BYTES}),
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
        let one_of = ONE_OF.iter().flat_map(|(of, ways)| {
            let names = ways.iter().copied().flatten();
            names.map(move |name| format!("{of}.{name}"))
        });
        let with = WITH_ANOTHER
            .iter()
            .flat_map(|(of, field, other)| [format!("{of}.{field}"), format!("{of}.{other}")]);
        for name in one_of.chain(with) {
            assert!(fields.contains(&name), "{name}");
        }
        for name in CHOICES_REQUIRED {
            assert!(choices.contains(name), "{name}");
        }
    }
}
