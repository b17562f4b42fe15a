//! `signalbox secrets`.

use signalbox_proto::v1;

use super::{once, pages, read_bytes};
use crate::{
    CliError, Output,
    args::{Global, SecretsCommand},
    output::{short, time},
};

pub(crate) async fn run(
    global: &Global,
    command: SecretsCommand,
    output: &Output,
) -> Result<(), CliError> {
    let client = global.client()?;
    let parent = global.parent()?;
    match command {
        SecretsCommand::Create { id, file } => {
            let request = v1::CreateSecretRequest {
                parent: parent.clone(),
                secret_id: id,
                secret: Some(v1::Secret {
                    value: read_bytes(&file)?.into(),
                    ..Default::default()
                }),
            };
            let secret = once!(client, secrets.create_secret(request));
            output.message(&secret, |secret| format!("created {}", secret.name))
        }
        SecretsCommand::List => {
            let request = || v1::ListSecretsRequest {
                parent: parent.clone(),
                ..Default::default()
            };
            let secrets = pages!(client, usize::MAX, secrets.list_secrets(request()).secrets);
            output.list(&secrets, ["SECRET", "CREATED", "UPDATED"], |secret| {
                [
                    short(&secret.name),
                    time(secret.create_time.as_ref()),
                    time(secret.update_time.as_ref()),
                ]
            })
        }
        SecretsCommand::Update { id, file } => {
            let request = v1::UpdateSecretRequest {
                secret: Some(v1::Secret {
                    name: global.name("secrets", &id)?,
                    value: read_bytes(&file)?.into(),
                    ..Default::default()
                }),
            };
            let secret = once!(client, secrets.update_secret(request));
            output.message(&secret, |secret| format!("updated {}", secret.name))
        }
        SecretsCommand::Delete { id } => {
            let name = global.name("secrets", &id)?;
            let request = v1::DeleteSecretRequest {
                name: name.clone(),
                etag: String::new(),
            };
            once!(client, secrets.delete_secret(request));
            output.line(&format!("deleted {name}"))
        }
    }
}
