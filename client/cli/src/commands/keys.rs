//! `signalbox keys`.

use signalbox_proto::{convert::time::to_wire, v1};

use super::{call, once, pages};
use crate::{
    CliError, Output,
    args::{Global, KeysCommand},
    output::{short, table, time, value},
};

const COLLECTION: &str = "apiKeys";

fn row(key: &v1::ApiKey) -> [String; 6] {
    [
        short(&key.name),
        value(key.state().as_str_name(), "API_KEY_STATE_"),
        format!("{}…", key.prefix),
        key.display_name.clone(),
        time(key.create_time.as_ref()),
        time(key.expire_time.as_ref()),
    ]
}

const HEADER: [&str; 6] = [
    "KEY",
    "STATE",
    "PREFIX",
    "DISPLAY NAME",
    "CREATED",
    "EXPIRES",
];

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
        } => {
            let request = v1::CreateApiKeyRequest {
                parent: parent.clone(),
                api_key_id: id,
                api_key: Some(v1::ApiKey {
                    display_name,
                    expire_time: expires.map(to_wire),
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
        KeysCommand::List => {
            let request = || v1::ListApiKeysRequest {
                parent: parent.clone(),
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
        KeysCommand::Revoke { id } => {
            let request = v1::RevokeApiKeyRequest {
                name: global.name(COLLECTION, &id)?,
                etag: String::new(),
            };
            let key = call!(client, keys.revoke_api_key(request));
            output.message(&key, |key| format!("revoked {}", key.name))
        }
        KeysCommand::Delete { id } => {
            let name = global.name(COLLECTION, &id)?;
            let request = v1::DeleteApiKeyRequest {
                name: name.clone(),
                etag: String::new(),
            };
            once!(client, keys.delete_api_key(request));
            output.line(&format!("deleted {name}"))
        }
    }
}
