//! `signalbox-data-plane`: one node.

use std::{process::ExitCode, time::Duration};

use clap::Parser as _;
use signalbox_data_plane::{
    node,
    options::{Command, Options},
    retirement::{Left, NotRetired, Retirement},
    spool_command,
};
use signalbox_runtime::{
    exit::{Code, fail},
    metrics,
    shutdown::{DrainOutcome, Shutdown},
    telemetry, tls,
};
use tokio::signal::unix::{Signal, SignalKind, signal};

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
    // Before there is a node: it would end the process.
    let asked = match signal(SignalKind::user_defined1()) {
        Ok(asked) => asked,
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
    let retirement = running.retirement.clone();
    if options.retire {
        retirement.begin();
    }
    shutdown.spawn(begin_when_asked(
        asked,
        retirement.clone(),
        shutdown.clone(),
    ));
    tokio::select! {
        () = shutdown.stopping() => {}
        () = retirement.over(Duration::from_secs(options.retire_timeout_s)) => shutdown.stop(),
    }
    let outcome = shutdown
        .drain(Duration::from_secs(options.drain_timeout_s))
        .await;
    let left = match retirement.has_begun() {
        true => retirement.left().await,
        false => Ok(Left::default()),
    };
    drop((running, retirement));
    if let DrainOutcome::Forced { remaining } = outcome {
        tracing::warn!(remaining, "the drain was cut off; the next start goes on");
    }
    match left {
        Ok(left) if left.is_empty() => ExitCode::SUCCESS,
        Ok(left) => fail(Code::Failure, &NotRetired(left)),
        Err(error) => fail(Code::Software, &error),
    }
}

/// SIGUSR1 is for good.
async fn begin_when_asked(mut asked: Signal, retirement: Retirement, shutdown: Shutdown) {
    tokio::select! {
        () = shutdown.stopping() => {}
        Some(()) = asked.recv() => retirement.begin(),
    }
}
