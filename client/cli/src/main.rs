//! `signalbox`.

use std::process::ExitCode;

use clap::Parser as _;
use signalbox_cli::{Output, args::Cli};

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let output = Output::new(cli.global.output);
    match signalbox_cli::run(cli, &output).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => error.report(),
    }
}
