//! `signalbox keys`.

use std::time::Duration;

use prost_types::FieldMask;
use signalbox_proto::{
    convert::time::{duration_to_wire, to_wire},
    v1,
};

use super::{call, once, pages};
use crate::{
    CliError, Output,
    args::{Global, KeysCommand},
    output::{short, table, time, value},
};

const COLLECTION: &str = "apiKeys";

fn row(key: &v1::ApiKey) -> [String; 9] {
    [
        short(&key.name),
        value(key.state().as_str_name(), "API_KEY_STATE_"),
        format!("{}…", key.prefix),
        key.display_name.clone(),
        time(key.create_time.as_ref()),
        time(key.expire_time.as_ref()),
        key.rate_limit.as_ref().map(rate).unwrap_or_default(),
        scope(key),
        last_use(key),
    ]
}

const HEADER: [&str; 9] = [
    "KEY",
    "STATE",
    "PREFIX",
    "DISPLAY NAME",
    "CREATED",
    "EXPIRES",
    "RATE LIMIT",
    "SCOPE",
    "LAST USED",
];

fn last_use(key: &v1::ApiKey) -> String {
    match &key.last_used_time {
        Some(at) => format!("{} from {}", time(Some(at)), key.last_used_address),
        None => String::new(),
    }
}

/// What it counts for, and from where; empty: everything.
fn scope(key: &v1::ApiKey) -> String {
    let workflows: Vec<_> = key.workflows.iter().map(|name| short(name)).collect();
    let parts = [workflows.join(", "), key.source_networks.join(", ")];
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("; ")
}

fn rate(limit: &v1::RateLimit) -> String {
    format!("{}/s, burst {}", limit.events_per_second, limit.burst)
}

fn rotated_text(rotated: &v1::RotateApiKeyResponse) -> String {
    let key = rotated.api_key.as_ref();
    let name = key.map(|key| key.name.clone()).unwrap_or_default();
    let before = match key.and_then(|key| key.previous_expire_time.as_ref()) {
        Some(until) => format!("works until {}", time(Some(until))),
        None => "does not work any more".to_owned(),
    };
    format!(
        "rotated {name}\n\n{}\n\nKeep it: it is what the sender presents. The value before {before}.",
        rotated.value
    )
}

/// Without a burst, the control plane makes it as many as a second's.
fn limit(rate_limit: Option<i32>, burst: Option<i32>) -> Option<v1::RateLimit> {
    Some(v1::RateLimit {
        events_per_second: rate_limit?,
        burst: burst.unwrap_or(0),
    })
}

pub(crate) async fn run(
    global: &Global,
    command: KeysCommand,
    output: &Output,
) -> Result<(), CliError> {
    let client = global.client()?;
    let parent = global.parent()?;
    let shown = |key: &v1::ApiKey| table(HEADER, [row(key)]);
    match command {
        KeysCommand::Create {
            id,
            display_name,
            expires,
            rate_limit,
            burst,
            workflows,
            source_networks,
        } => {
            let request = v1::CreateApiKeyRequest {
                parent: parent.clone(),
                api_key_id: id,
                api_key: Some(v1::ApiKey {
                    display_name,
                    expire_time: expires.map(to_wire),
                    rate_limit: limit(rate_limit, burst),
                    workflows,
                    source_networks,
                    ..Default::default()
                }),
                request_id: uuid::Uuid::new_v4().to_string(),
            };
            let created = call!(client, keys.create_api_key(request));
            output.message(&created, |created| {
                let name = created
                    .api_key
                    .as_ref()
                    .map(|key| key.name.clone())
                    .unwrap_or_default();
                format!(
                    "created {name}\n\n{}\n\nKeep it: it is what the sender presents.",
                    created.value
                )
            })
        }
        KeysCommand::Update {
            id,
            display_name,
            rate_limit,
            burst,
            no_rate_limit,
            workflows,
            any_workflow,
            source_networks,
            any_source,
        } => {
            let mut paths = Vec::with_capacity(4);
            if display_name.is_some() {
                paths.push("display_name".to_owned());
            }
            if rate_limit.is_some() || no_rate_limit {
                paths.push("rate_limit".to_owned());
            }
            if any_workflow || !workflows.is_empty() {
                paths.push("workflows".to_owned());
            }
            if any_source || !source_networks.is_empty() {
                paths.push("source_networks".to_owned());
            }
            let request = v1::UpdateApiKeyRequest {
                api_key: Some(v1::ApiKey {
                    name: global.name(COLLECTION, &id)?,
                    display_name: display_name.unwrap_or_default(),
                    rate_limit: limit(rate_limit, burst),
                    workflows,
                    source_networks,
                    ..Default::default()
                }),
                update_mask: Some(FieldMask { paths }),
            };
            let key = call!(client, keys.update_api_key(request));
            output.message(&key, shown)
        }
        KeysCommand::List { show_deleted } => {
            let request = || v1::ListApiKeysRequest {
                parent: parent.clone(),
                show_deleted,
                ..Default::default()
            };
            let keys = pages!(client, usize::MAX, keys.list_api_keys(request()).api_keys);
            output.list(&keys, HEADER, row)
        }
        KeysCommand::Get { id } => {
            let name = global.name(COLLECTION, &id)?;
            let key = call!(client, keys.get_api_key(v1::GetApiKeyRequest { name }));
            output.message(&key, shown)
        }
        KeysCommand::Reveal { id } => {
            let name = global.name(COLLECTION, &id)?;
            let revealed = call!(
                client,
                keys.reveal_api_key(v1::RevealApiKeyRequest { name })
            );
            output.message(&revealed, |revealed| revealed.value.clone())
        }
        KeysCommand::Rotate { id, overlap, now } => {
            let overlap = if now { Duration::ZERO } else { overlap };
            let request = v1::RotateApiKeyRequest {
                name: global.name(COLLECTION, &id)?,
                overlap: Some(duration_to_wire(overlap)),
                etag: String::new(),
                request_id: uuid::Uuid::new_v4().to_string(),
            };
            let rotated = call!(client, keys.rotate_api_key(request));
            output.message(&rotated, rotated_text)
        }
        KeysCommand::Revoke { id } => {
            let request = v1::RevokeApiKeyRequest {
                name: global.name(COLLECTION, &id)?,
                etag: String::new(),
            };
            let key = call!(client, keys.revoke_api_key(request));
            output.message(&key, |key| format!("revoked {}", key.name))
        }
        KeysCommand::Delete { id, purge } => {
            let name = global.name(COLLECTION, &id)?;
            let request = v1::DeleteApiKeyRequest {
                name: name.clone(),
                etag: String::new(),
                purge,
            };
            once!(client, keys.delete_api_key(request));
            let done = if purge { "purged" } else { "deleted" };
            output.line(&format!("{done} {name}"))
        }
        KeysCommand::Undelete { id } => {
            let request = v1::UndeleteApiKeyRequest {
                name: global.name(COLLECTION, &id)?,
                etag: String::new(),
            };
            let key = once!(client, keys.undelete_api_key(request));
            output.message(&key, |key| format!("undeleted {}", key.name))
        }
    }
}
