//! Long runs against the real planes; `tests/endurance` builds what it needs and starts it.
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used)]

use std::{path::PathBuf, time::Duration};

use clap::{Parser, Subcommand};
use serde::Serialize;
use signalbox_tests::endurance::{descriptors, full, in_flight, kills, overload, replicas};

/// Plays Amazon SNS against both planes, with real signatures, for as long as is asked; at the end holds them to their word:
/// what was acknowledged was executed, each message once, and nothing else. Prints what it saw, and fails when it is not so.
#[derive(Debug, Parser)]
#[command(name = "tests/endurance")]
struct Options {
    #[command(subcommand)]
    run: Run,
    /// Also write what was seen to this file, as JSON.
    #[arg(long, global = true)]
    json: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Run {
    /// SIGKILL the data plane at random points under load.
    Kills {
        /// How often.
        #[arg(long, default_value_t = 200)]
        kills: usize,
    },
    /// SIGKILL the data plane while many executions of ten steps are under way.
    InFlight {
        /// How many at least.
        #[arg(long, default_value_t = 1000)]
        executions: usize,
        /// How often.
        #[arg(long, default_value_t = 100)]
        kills: usize,
    },
    /// Fill the disk under load, and later make room (as root: an ext4 of 288 MiB in a file).
    FullDisk {
        /// How long it stays full, in seconds.
        #[arg(long, default_value_t = 20)]
        full_s: u64,
    },
    /// Let the data plane run out of file descriptors (`ulimit -n 64`) under load.
    Descriptors {
        /// How long there are none, in seconds.
        #[arg(long, default_value_t = 20)]
        exhausted_s: u64,
    },
    /// Send more than the node can take.
    Overload {
        /// How long, in minutes.
        #[arg(long, default_value_t = 10.0)]
        minutes: f64,
        /// How long the sustainable rate is measured before, in seconds.
        #[arg(long, default_value_t = 20)]
        measure_s: u64,
        /// Messages a second; otherwise twice the sustainable rate (acknowledged, executed and reported).
        #[arg(long)]
        rate: Option<f64>,
        /// One more argument of the data plane, such as --node=--spool-max-bytes=1073741824.
        #[arg(long = "node")]
        node: Vec<String>,
    },
    /// Kill replicas of the control plane, crash and restart their PostgreSQL, and cut connections, while changes and reports flow.
    Replicas {
        /// How many changes at least.
        #[arg(long, default_value_t = 5_000)]
        changes: usize,
        /// How many messages, each an execution that is reported, at least.
        #[arg(long, default_value_t = 50_000)]
        reports: usize,
    },
}

#[tokio::main]
async fn main() {
    let options = Options::parse();
    let report = match options.run {
        Run::Kills { kills } => shown(&kills::run(kills, true).await),
        Run::InFlight { executions, kills } => {
            shown(&in_flight::run(executions, kills, true).await)
        }
        Run::FullDisk { full_s } => shown(&full::run(Duration::from_secs(full_s), true).await),
        Run::Descriptors { exhausted_s } => {
            shown(&descriptors::run(Duration::from_secs(exhausted_s), true).await)
        }
        Run::Overload {
            minutes,
            measure_s,
            rate,
            node,
        } => {
            let plan = overload::Plan {
                overload: Duration::from_secs_f64(60.0 * minutes),
                measure: Duration::from_secs(measure_s),
                rate,
                data_plane: node,
            };
            let report = overload::run(&plan).await;
            minutes_table(&report.minutes);
            shown(&report)
        }
        Run::Replicas { changes, reports } => {
            let plan = replicas::Plan { changes, reports };
            shown(&replicas::run(plan, true).await)
        }
    };
    if let Some(path) = options.json {
        std::fs::write(&path, serde_json::to_string_pretty(&report).unwrap()).unwrap();
    }
}

/// Prints a report's figures, one a line, but for tables.
fn shown(report: &impl Serialize) -> serde_json::Value {
    let value = serde_json::to_value(report).unwrap();
    show("", &value);
    value
}

fn show(prefix: &str, value: &serde_json::Value) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, field) in fields {
                show(&format!("{prefix}{name}."), field);
            }
        }
        serde_json::Value::Array(_) => {}
        value => println!("{:<40} {value}", prefix.trim_end_matches('.')),
    }
}

fn minutes_table(minutes: &[overload::Minute]) {
    println!(
        "{:>6} {:>9} {:>9} {:>9} {:>9} {:>9} {:>8} {:>9} {:>9}  refused by reason",
        "minute",
        "offered",
        "acked",
        "refused",
        "p50 ms",
        "p99 ms",
        "RSS MiB",
        "spool MiB",
        "backlog"
    );
    for (at, minute) in minutes.iter().enumerate() {
        println!(
            "{:>6} {:>9} {:>9} {:>9} {:>9.1} {:>9.1} {:>8} {:>9} {:>9}  {:?}",
            at + 1,
            minute.offered,
            minute.acknowledged,
            minute.refused.values().sum::<u64>(),
            minute.p50_ms,
            minute.p99_ms,
            minute.rss_mib,
            minute.spool_mib,
            minute.backlog,
            minute.refused
        );
    }
}
