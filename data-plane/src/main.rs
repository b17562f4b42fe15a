//! `signalbox-data-plane`: one node.

use std::{process::ExitCode, time::Duration};

use clap::Parser as _;
use signalbox_data_plane::{
    node,
    options::{Command, Options},
    spool_command,
};
use signalbox_runtime::{
    exit::{Code, fail},
    metrics,
    shutdown::{DrainOutcome, Shutdown},
    telemetry, tls,
};

/// A request costs some dozen allocations, made by one thread and freed by another: where the system's allocator is slow.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    if let Some(Command::Spool(command)) = &options.command {
        return spool_command::run(&options.data_dir, command);
    }
    let telemetry = match telemetry::init("signalbox-data-plane", &options.telemetry) {
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
    let config = match options.node_config() {
        Ok(config) => config,
        Err(error) => return fail(Code::Config, &error),
    };
    tls::heed_hangups(config.tls.is_some(), &shutdown);
    let running = match node::start(config, &shutdown).await {
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
        tracing::warn!(remaining, "the drain was cut off; the next start goes on");
    }
    ExitCode::SUCCESS
}
