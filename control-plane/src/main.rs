//! `signalbox-control-plane`.

use std::{io::Write as _, process::ExitCode, time::Duration};

use clap::Parser as _;
use signalbox_control_plane::{
    master_key,
    options::{Command, Options, RotateArgs},
    server,
    store::Resealed,
};
use signalbox_runtime::{
    exit::{Code, fail},
    metrics,
    shutdown::{DrainOutcome, Shutdown},
    telemetry,
};

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    if let Some(Command::RotateMasterKey(arguments)) = &options.command {
        return rotate(&options, arguments).await;
    }
    let telemetry = match telemetry::init("signalbox-control-plane", &options.telemetry) {
        Ok(telemetry) => telemetry,
        Err(error) => return fail(Code::Config, &error),
    };
    let code = run(&options).await;
    telemetry.shutdown().await;
    code
}

async fn run(options: &Options) -> ExitCode {
    if let Err(error) = metrics::install() {
        return fail(Code::Software, &error);
    }
    let shutdown = match Shutdown::from_signals() {
        Ok(shutdown) => shutdown,
        Err(error) => return fail(Code::Software, &error),
    };
    let config = match options.config() {
        Ok(config) => config,
        Err(error) => return fail(Code::Config, &error),
    };
    let running = match server::start(config, &shutdown).await {
        Ok(running) => running,
        Err(error) => return fail(Code::Config, &error),
    };
    shutdown.spawn(metrics::upkeep(shutdown.clone()));
    shutdown.stopping().await;
    let outcome = shutdown
        .drain(Duration::from_secs(options.drain_timeout_s))
        .await;
    drop(running);
    if let DrainOutcome::Forced { remaining } = outcome {
        tracing::warn!(remaining, "the drain was cut off");
    }
    ExitCode::SUCCESS
}

async fn rotate(options: &Options, arguments: &RotateArgs) -> ExitCode {
    let rotation = match options.rotation(arguments) {
        Ok(rotation) => rotation,
        Err(error) => return fail(Code::Config, &error),
    };
    match master_key::rotate(&rotation).await {
        Ok(resealed) => {
            let said = match resealed {
                Some(Resealed { keys, secrets }) => format!(
                    "the values of {keys} API keys and {secrets} secrets are encrypted under the new master key"
                ),
                None => "all values were encrypted under the new master key already".to_owned(),
            };
            let done = writeln!(std::io::stdout().lock(), "{said}");
            done.map_or_else(|error| fail(Code::Failure, &error), |()| ExitCode::SUCCESS)
        }
        Err(error) => fail(Code::Config, &error),
    }
}
