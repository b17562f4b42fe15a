//! `signalbox-control-plane`.

use std::{io::Write as _, process::ExitCode, time::Duration};

use clap::Parser as _;
use signalbox_control_plane::{
    maintenance::{self, Outcome},
    options::{Command, Options},
    server,
};
use signalbox_runtime::{
    exit::{Code, fail},
    metrics,
    shutdown::{DrainOutcome, Shutdown},
    telemetry, tls,
};

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    if let Some(command) = &options.command {
        return maintain(&options, command).await;
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
    tls::heed_hangups(options.tls_cert.is_some(), &shutdown);
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

async fn maintain(options: &Options, command: &Command) -> ExitCode {
    let said = match maintenance::run(options, command).await {
        Ok(outcome) => outcome,
        Err(error) => return fail(Code::Config, &error),
    };
    let (text, code) = match said {
        Outcome::Done(text) => (text, ExitCode::SUCCESS),
        Outcome::Pending(text) => (text, Code::Failure.into()),
    };
    let written = writeln!(std::io::stdout().lock(), "{text}");
    written.map_or_else(|error| fail(Code::Failure, &error), |()| code)
}
