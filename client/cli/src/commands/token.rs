//! `signalbox token`.

use std::{path::Path, time::Duration};

use prost_types::Timestamp;
use signalbox_control_plane::auth::{ALL_PROJECTS, Claims, TokenKey};
use signalbox_proto::{convert::time as wire, v1};

use super::{call, once, pages, read_text};
use crate::{
    CliError, Output,
    args::{Global, ProjectArg, TokenCommand},
    output::time,
};

pub(crate) async fn run(
    global: &Global,
    command: TokenCommand,
    output: &Output,
) -> Result<(), CliError> {
    match command {
        TokenCommand::Create {
            signing_key,
            role,
            subject,
            ttl,
        } => {
            let place = match &global.project {
                ProjectArg::All => ALL_PROJECTS.to_owned(),
                ProjectArg::One(project) => format!("projects/{project}"),
            };
            let key = TokenKey::read(&signing_key)?;
            let token = key.mint(&Claims::new(&subject, &place, role, ttl))?;
            // The token alone, so that it can be put into a variable or a file.
            output.raw(&format!("{token}\n"))
        }
        TokenCommand::Revoke {
            id,
            file,
            expires,
            reason,
        } => {
            let (token_id, expire_time) = match (id, file) {
                (Some(id), _) => (id, expires.map(wire::to_wire)),
                (None, Some(file)) => said(&file)?,
                (None, None) => return Err(CliError::Usage("which token?".to_owned())),
            };
            let client = global.client()?;
            let request = v1::RevokeTokenRequest {
                token_id,
                expire_time,
                reason,
            };
            let revoked = call!(client, tokens.revoke_token(request));
            output.message(&revoked, |token| format!("revoked {}", token.token_id))
        }
        TokenCommand::ListRevoked => {
            let client = global.client()?;
            let request = || v1::ListRevokedTokensRequest::default();
            let all = pages!(
                client,
                usize::MAX,
                tokens.list_revoked_tokens(request()).revoked_tokens
            );
            output.list(
                &all,
                ["TOKEN", "REVOKED", "BY", "EXPIRES", "REASON"],
                |token| {
                    [
                        token.token_id.clone(),
                        time(token.revoke_time.as_ref()),
                        token.revoked_by.clone(),
                        time(token.expire_time.as_ref()),
                        token.reason.clone(),
                    ]
                },
            )
        }
        TokenCommand::RotateKey { overlap, now } => {
            let client = global.client()?;
            let overlap = if now { Duration::ZERO } else { overlap };
            let request = v1::RotateSigningKeyRequest {
                overlap: Some(wire::duration_to_wire(overlap)),
            };
            let key = once!(client, tokens.rotate_signing_key(request));
            output.message(&key, |key| format!("tokens are signed by {}", key.key_id))
        }
        TokenCommand::ListKeys => {
            let client = global.client()?;
            let request = v1::ListSigningKeysRequest {};
            let keys = call!(client, tokens.list_signing_keys(request)).signing_keys;
            output.list(&keys, ["KEY", "CREATED", "RETIRED"], |key| {
                [
                    key.key_id.clone(),
                    time(key.create_time.as_ref()),
                    time(key.retire_time.as_ref()),
                ]
            })
        }
    }
}

/// Id and end of the token in a file. Whether it is good is not for us to say.
fn said(file: &Path) -> Result<(String, Option<Timestamp>), CliError> {
    let token = read_text(file)?;
    let Some((id, ends)) = signalbox_control_plane::auth::id_and_end(token.trim()) else {
        return Err(CliError::Data {
            what: file.display().to_string(),
            problems: vec!["holds no token with an id".to_owned()],
        });
    };
    Ok((id, ends.map(wire::to_wire)))
}
