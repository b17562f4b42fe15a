//! `signalbox`.

use std::process::ExitCode;

use signalbox_cli::{Output, args::Cli};

#[tokio::main]
async fn main() -> ExitCode {
    let cli = match Cli::parse_from_args(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    let output = Output::new(cli.global.output);
    match signalbox_cli::run(cli, &output).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    }
}
