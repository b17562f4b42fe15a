//! The command line `signalbox`, and the parts of it that tests use: the composition of both planes in one process, and
//! the simulator that plays Amazon SNS.

pub mod args;
mod commands;
pub mod compose;
mod demo;
mod dev;
mod error;
mod output;
pub mod simulator;

pub use error::CliError;
pub use output::Output;

use args::{Cli, Command};

/// Runs a command.
///
/// # Errors
/// [`CliError`], which knows its exit code.
pub async fn run(cli: Cli, output: &Output) -> Result<(), CliError> {
    let endpoint = cli.global.endpoint.clone();
    dispatch(cli, output)
        .await
        .map_err(|error| error.at(&endpoint))
}

async fn dispatch(cli: Cli, output: &Output) -> Result<(), CliError> {
    let Cli { global, command } = cli;
    match command {
        Command::Demo(arguments) => demo::run(arguments, output).await,
        Command::Dev(arguments) => dev::run(arguments, output).await,
        Command::Token(command) => commands::token::run(&global, command, output).await,
        Command::Sns(command) => commands::sns::run(command, output).await,
        Command::Completions { shell } => output.raw(&args::completions(shell)),
        Command::Keys(command) => commands::keys::run(&global, command, output).await,
        Command::Workflows(command) => commands::workflows::run(&global, command, output).await,
        Command::Executions(command) => commands::executions::run(&global, command, output).await,
        Command::Deliveries(command) => commands::lists::deliveries(&global, command, output).await,
        Command::Subscriptions(command) => {
            commands::lists::subscriptions(&global, command, output).await
        }
        Command::Nodes(command) => commands::nodes::run(&global, command, output).await,
        Command::Apply(arguments) => commands::apply::run(&global, arguments, output).await,
        Command::Export(arguments) => commands::export::run(&global, arguments, output).await,
        Command::Audit(command) => commands::audit::run(&global, command, output).await,
        Command::Secrets(command) => commands::secrets::run(&global, command, output).await,
        Command::Projects(command) => commands::projects::run(&global, command, output).await,
    }
}
