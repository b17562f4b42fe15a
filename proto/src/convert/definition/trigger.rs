//! What starts a workflow.

use std::time::Duration;

use signalbox_model::{
    filter_policy::{FilterPolicy, FilterPolicyScope},
    ids::{ApiKeyName, ProjectId},
    limits,
    violation::Collector,
    workflow::{AmazonSnsTrigger, TopicArn, Trigger, WebhookTrigger},
};

use super::{duration, schedule::schedule_of, struct_to_json};
use crate::v1;

pub(super) fn trigger_of(
    trigger: Option<&v1::Trigger>,
    project: &ProjectId,
    problems: &mut Collector,
) -> Option<Trigger> {
    const EXPECTED: &str = "is missing: expected one of amazonSns, webhook, manual, schedule";
    let Some(v1::Trigger { kind: Some(kind) }) = trigger else {
        problems.add("trigger", EXPECTED);
        return None;
    };
    match kind {
        v1::trigger::Kind::AmazonSns(sns) => {
            sns_trigger(sns, project, problems).map(Trigger::AmazonSns)
        }
        v1::trigger::Kind::Webhook(v1::WebhookTrigger { api_keys }) => {
            let api_keys = keys("trigger.webhook.apiKeys", api_keys, project, problems)?;
            Some(Trigger::Webhook(WebhookTrigger { api_keys }))
        }
        // Its inputs are the workflow's.
        v1::trigger::Kind::Manual(_) => Some(Trigger::Manual),
        v1::trigger::Kind::Schedule(schedule) => {
            schedule_of(schedule, problems).map(Trigger::Schedule)
        }
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
        filter_policy,
        filter_policy_scope,
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
        0 | 1 => Some(1),
        2 => Some(2),
        other => {
            problems.add(
                "trigger.amazonSns.minimumSignatureVersion",
                format!("is {other}; expected 1 or 2"),
            );
            None
        }
    };
    let api_keys = keys("trigger.amazonSns.apiKeys", api_keys, project, problems);
    let max_message_age = duration(
        "trigger.amazonSns.maxMessageAge",
        max_message_age.as_ref(),
        Duration::MAX,
        problems,
    );
    let scope = scope_of(*filter_policy_scope, filter_policy.is_some(), problems);
    let filter_policy = filter_policy
        .as_ref()
        .and_then(|policy| policy_of(policy, scope?, problems));
    Some(AmazonSnsTrigger {
        api_keys: api_keys?,
        topic_arns,
        allow_raw_delivery: *allow_raw_delivery,
        minimum_signature_version: minimum_signature_version?,
        max_message_age,
        filter_policy,
    })
}

fn scope_of(scope: i32, has_policy: bool, problems: &mut Collector) -> Option<FilterPolicyScope> {
    const FIELD: &str = "trigger.amazonSns.filterPolicyScope";
    let scope = match v1::FilterPolicyScope::try_from(scope) {
        Ok(v1::FilterPolicyScope::Unspecified) => return Some(FilterPolicyScope::default()),
        Ok(v1::FilterPolicyScope::MessageAttributes) => FilterPolicyScope::MessageAttributes,
        Ok(v1::FilterPolicyScope::MessageBody) => FilterPolicyScope::MessageBody,
        Err(_) => {
            problems.add(FIELD, format!("{scope} is no such scope"));
            return None;
        }
    };
    if !has_policy {
        problems.add(FIELD, "is set, and there is no filterPolicy");
    }
    Some(scope)
}

fn policy_of(
    policy: &prost_types::Struct,
    scope: FilterPolicyScope,
    problems: &mut Collector,
) -> Option<FilterPolicy> {
    const FIELD: &str = "trigger.amazonSns.filterPolicy";
    let policy = problems.check(FIELD, struct_to_json(policy, limits::JSON_DEPTH_MAX))?;
    match FilterPolicy::parse(FIELD, &policy, scope) {
        Ok(policy) => policy,
        Err(violations) => {
            problems.extend(violations);
            None
        }
    }
}

/// The keys that a trigger names, as far as they are names, with their fields.
pub(super) fn named_keys(
    trigger: Option<&v1::Trigger>,
    project: &ProjectId,
) -> Vec<(String, ApiKeyName)> {
    use v1::trigger::Kind;
    let (field, keys) = match trigger.and_then(|trigger| trigger.kind.as_ref()) {
        Some(Kind::AmazonSns(sns)) => ("trigger.amazonSns.apiKeys", &sns.api_keys),
        Some(Kind::Webhook(webhook)) => ("trigger.webhook.apiKeys", &webhook.api_keys),
        Some(Kind::Manual(_) | Kind::Schedule(_)) | None => return Vec::new(),
    };
    let names = keys.iter().enumerate().filter_map(|(index, key)| {
        let name = ApiKeyName::from_reference(key, project).ok()?;
        Some((format!("{field}[{index}]"), name))
    });
    names.take(limits::TRIGGER_NAMES_MAX).collect()
}

/// The keys; [`None`] when one of them is wrong, so that "must name at least one" is not said beside that.
fn keys(
    field: &str,
    keys: &[String],
    project: &ProjectId,
    problems: &mut Collector,
) -> Option<Vec<ApiKeyName>> {
    let mut names = Some(Vec::with_capacity(keys.len()));
    for (index, key) in keys.iter().enumerate() {
        let field = format!("{field}[{index}]");
        let name = problems.check(field.clone(), ApiKeyName::from_reference(key, project));
        match (name, &mut names) {
            (None, _) => names = None,
            (Some(name), Some(names)) if names.contains(&name) => {
                problems.add(field, format!("{key:?} is named already"));
            }
            (Some(name), Some(names)) => names.push(name),
            (Some(_), None) => {}
        }
    }
    names
}
