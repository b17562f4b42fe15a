//! The audit log: reading it, and what it says of a change.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use signalbox_model::{
    audit::{Change, Head},
    error::Error,
    ids::ProjectId,
};
use signalbox_proto::convert::definition;

use super::App;
use crate::store::{
    AuditFilter, Audited, Contents, Page, PageOf,
    rows::{ApiKey, Project, Workflow},
};

/// Changes of one entry; a definition that is written anew may have more.
const CHANGES_MAX: usize = 200;
/// Characters of a text that are kept: what a version was is in the version.
const TEXT_MAX_CHARS: usize = 500;
/// What is written in the place of what nobody is to read.
const HIDDEN: &str = "***";
/// Parts of names of fields that hold credentials, in lower case. A definition should name secrets, but may hold literals.
const CREDENTIALS: [&str; 11] = [
    "authorization",
    "cookie",
    "credential",
    "passphrase",
    "password",
    "privatekey",
    "secret",
    "token",
    "webhookurl",
    "x-api-key",
    "x_api_key",
];
/// What the value of an API key begins with.
const KEY_PREFIX: &str = "sbk_";

impl App {
    /// The entries of a project, or those that belong to none, newest first; before them the newest there was.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn audits(
        &self,
        project: Option<&ProjectId>,
        filter: &AuditFilter,
        page: &Page,
    ) -> Result<(Head, PageOf<Audited>), Error> {
        let head = self.store.audit_head(project).await?;
        Ok((head, self.store.audits(project, filter, page).await?))
    }
}

/// A text, if there is one.
fn text(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// Labels, if there are some.
fn present(labels: BTreeMap<String, String>) -> Option<BTreeMap<String, String>> {
    Some(labels).filter(|labels| !labels.is_empty())
}

fn time(us: i64) -> Value {
    Timestamp::from_microsecond(us).map_or(Value::Null, |at| at.to_string().into())
}

/// What people read of a key.
pub(super) fn key(row: &ApiKey) -> Value {
    let mut fields =
        json!({"displayName": text(&row.display_name), "labels": present(row.labels())});
    if let Some(limit) = row.rate_limit() {
        fields["rateLimit"] = json!({
            "eventsPerSecond": limit.events_per_second(),
            "burst": limit.burst(),
        });
    }
    if let Ok(scope) = row.scope() {
        let (workflows, source_networks) = scope.to_texts();
        for (name, list) in [
            ("workflows", workflows),
            ("sourceNetworks", source_networks),
        ] {
            if !list.is_empty() {
                fields[name] = list.into();
            }
        }
    }
    let times = [
        ("expireTime", row.expire_time_us),
        ("revokeTime", row.revoke_time_us),
        ("rotateTime", row.rotate_time_us),
        ("previousExpireTime", row.previous_expire_time_us),
    ];
    for (name, us) in times {
        if let Some(us) = us {
            fields[name] = time(us);
        }
    }
    fields
}

/// What people read of a workflow.
pub(super) fn workflow(row: &Workflow) -> Value {
    json!({
        "displayName": text(&row.display_name),
        "description": text(&row.description),
        "labels": present(row.labels()),
        "enabled": row.enabled,
        "latestVersion": row.latest_version,
        "publishedVersion": row.published_version,
        "boundTopicArn": row.bound_topic,
    })
}

/// What people read of a project.
pub(super) fn project(row: &Project) -> Value {
    let quotas = row.quotas();
    let retention = row.history_retention_us.map(|us| {
        let span = Duration::from_micros(u64::try_from(us).unwrap_or_default());
        format!("{}s", span.as_secs_f64())
    });
    json!({
        "displayName": text(&row.display_name),
        "labels": present(row.labels()),
        "historyRetention": retention,
        "quotas": {
            "workflows": quotas.workflows,
            "apiKeys": quotas.api_keys,
            "eventsPerSecond": quotas.events_per_second,
            "historyBytes": quotas.history_bytes,
        },
    })
}

/// How much goes with a project.
pub(super) fn contents(contents: &Contents) -> Value {
    let some = |count| Some(count).filter(|count| *count > 0_u64);
    json!({
        "workflows": some(contents.workflows),
        "apiKeys": some(contents.api_keys),
        "secrets": some(contents.secrets),
    })
}

/// A workflow with its definition.
pub(super) fn workflow_with_spec(row: &Workflow, source: &[u8]) -> Value {
    let mut fields = workflow(row);
    fields["spec"] = definition::source_to_json(source);
    fields
}

/// A value that was written, and is not told.
pub(super) fn hidden_value(existed: bool) -> Vec<Change> {
    let hidden = || Some(Value::from(HIDDEN).to_string());
    vec![Change {
        field: "value".to_owned(),
        before: existed.then(hidden).flatten(),
        after: hidden(),
    }]
}

/// What differs, field by field.
pub(super) fn diff(before: Option<&Value>, after: Option<&Value>) -> Vec<Change> {
    let (before, after) = (leaves(before), leaves(after));
    let mut changes: Vec<_> = before
        .keys()
        .chain(after.keys().filter(|path| !before.contains_key(*path)))
        .filter(|path| before.get(*path) != after.get(*path))
        .map(|path| Change {
            field: path.clone(),
            before: before.get(path).map(|value| told(path, value)),
            after: after.get(path).map(|value| told(path, value)),
        })
        .collect();
    changes.sort_by(|a, b| a.field.cmp(&b.field));
    if changes.len() > CHANGES_MAX {
        let more = changes.len() - CHANGES_MAX;
        changes.truncate(CHANGES_MAX);
        let text = format!("and {more} more fields");
        changes.push(Change::new_field("…", text));
    }
    changes
}

/// Every value that holds no others, by its path.
fn leaves(value: Option<&Value>) -> BTreeMap<String, &Value> {
    let mut found = BTreeMap::new();
    if let Some(value) = value {
        gather(String::new(), value, &mut found);
    }
    found
}

fn gather<'v>(path: String, value: &'v Value, found: &mut BTreeMap<String, &'v Value>) {
    match value {
        Value::Null => {}
        Value::Array(values) if !values.is_empty() => {
            for (index, value) in values.iter().enumerate() {
                gather(format!("{path}[{index}]"), value, found);
            }
        }
        Value::Object(fields) if !fields.is_empty() => gather_fields(&path, fields, found),
        _ => {
            found.insert(path, value);
        }
    }
}

fn gather_fields<'v>(
    path: &str,
    fields: &'v Map<String, Value>,
    found: &mut BTreeMap<String, &'v Value>,
) {
    let separator = if path.is_empty() { "" } else { "." };
    for (name, value) in fields {
        gather(format!("{path}{separator}{name}"), value, found);
    }
}

/// A value as the log has it: without what looks like a credential, and not too long.
fn told(path: &str, value: &Value) -> String {
    let Value::String(text) = value else {
        return value.to_string();
    };
    if is_credential(path, text) {
        return Value::from(HIDDEN).to_string();
    }
    if text.chars().count() > TEXT_MAX_CHARS {
        let mut cut: String = text.chars().take(TEXT_MAX_CHARS).collect();
        cut.push('…');
        return Value::from(cut).to_string();
    }
    value.to_string()
}

fn is_credential(path: &str, text: &str) -> bool {
    // An expression says where a value comes from, not what it is.
    let trimmed = text.trim();
    let is_expression = trimmed.starts_with("${{")
        && trimmed.ends_with("}}")
        && trimmed.matches("${{").count() == 1;
    let path = path.to_ascii_lowercase();
    let is_named = CREDENTIALS.iter().any(|part| path.contains(part));
    text.contains(KEY_PREFIX) || (is_named && !is_expression)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    fn shown(changes: &[Change]) -> Vec<(&str, Option<&str>, Option<&str>)> {
        changes
            .iter()
            .map(|it| (it.field.as_str(), it.before.as_deref(), it.after.as_deref()))
            .collect()
    }

    #[test]
    fn only_what_differs_is_told_and_by_its_path() {
        let before = json!({"a": 1, "b": {"c": [1, {"d": "x"}]}, "gone": true, "same": []});
        let after = json!({"a": 1, "b": {"c": [1, {"d": "y"}, 3]}, "new": null, "same": []});
        assert_eq!(
            shown(&diff(Some(&before), Some(&after))),
            [
                ("b.c[1].d", Some("\"x\""), Some("\"y\"")),
                ("b.c[2]", None, Some("3")),
                ("gone", Some("true"), None),
            ]
        );
        assert_eq!(diff(Some(&before), Some(&before)), []);
        assert_eq!(
            shown(&diff(None, Some(&json!({"n": 1})))),
            [("n", None, Some("1"))]
        );
    }

    #[test]
    fn what_looks_like_a_credential_is_not_told() {
        let value = json!({
            "spec": {"steps": [{"http": {
                "headers": {"Authorization": "Bearer abc", "Accept": "*/*", "X-Api-Key": "k"},
                "auth": {"basic": {"password": "${{ secrets.db }}"}},
                "body": "sbk_0123456789",
            }}]},
            "vars": {"apiToken": "t", "both": "x", "sessionToken": "${{ a }}x${{ b }}"},
        });
        let changes = diff(None, Some(&value));
        let after = |field: &str| {
            let change = changes.iter().find(|change| change.field == field).unwrap();
            change.after.clone().unwrap()
        };
        let http = "spec.steps[0].http";
        for field in [
            &format!("{http}.headers.Authorization"),
            &format!("{http}.headers.X-Api-Key"),
            &format!("{http}.body"),
            "vars.apiToken",
            "vars.sessionToken",
        ] {
            assert_eq!(after(field), "\"***\"", "{field}");
        }
        assert_eq!(after(&format!("{http}.headers.Accept")), "\"*/*\"");
        let password = after(&format!("{http}.auth.basic.password"));
        assert_eq!(password, "\"${{ secrets.db }}\"");
    }

    #[test]
    fn an_entry_has_a_bound() {
        let long = "ä".repeat(TEXT_MAX_CHARS + 1);
        let many: Vec<_> = (0..1000).map(|_| long.clone()).collect();
        let changes = diff(None, Some(&json!({ "many": many })));
        assert_eq!(changes.len(), CHANGES_MAX + 1);
        let first = changes[0].after.as_ref().unwrap();
        assert_eq!(first.chars().count(), TEXT_MAX_CHARS + 3);
        assert_eq!(
            changes[CHANGES_MAX].after.as_deref(),
            Some("\"and 800 more fields\"")
        );
    }
}
