//! `signalbox token`.

use signalbox_control_plane::auth::{ALL_PROJECTS, Claims, TokenKey};

use crate::{
    CliError, Output,
    args::{Global, ProjectArg, TokenCommand},
};

pub(crate) fn run(global: &Global, command: TokenCommand, output: &Output) -> Result<(), CliError> {
    let TokenCommand::Create {
        signing_key,
        role,
        subject,
        ttl,
    } = command;
    let place = match &global.project {
        ProjectArg::All => ALL_PROJECTS.to_owned(),
        ProjectArg::One(project) => format!("projects/{project}"),
    };
    let key = TokenKey::read(&signing_key)?;
    let token = key.mint(&Claims::new(&subject, &place, role, ttl))?;
    // The token alone, so that it can be put into a variable or a file.
    output.raw(&format!("{token}\n"))
}
