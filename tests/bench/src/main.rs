//! The bench: the real Signalbox binaries beside bare servers, on one machine, in one run.
//!
//! ```sh
//! cargo run --release -p signalbox-bench -- --quick
//! ```
#![allow(clippy::print_stdout, clippy::print_stderr)] // It is what it is for.
#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss
)] // Figures for people.

mod bare;
mod compare;
mod corpus;
mod end_to_end;
mod history;
mod ingest;
mod load;
mod machine;
mod memory;
mod nodes;
mod origin;
mod output;
mod peers;
mod plot;
mod process_stats;
mod request;
mod results;
mod scale;
mod subject;
mod waiting;

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use signalbox_tests::{planes::install_crypto, process::root};

/// The bare servers get the best allocator there is: what is compared with them has to be good.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measures Signalbox beside bare servers, and beside what people use today.
#[derive(Debug, Parser)]
#[command(name = "signalbox-bench", args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    task: Option<Task>,
    #[command(flatten)]
    ingest: ingest::IngestArgs,
    /// Folder of corpus, data and results; on the disk that is to be measured.
    #[arg(long, global = true)]
    out: Option<PathBuf>,
    /// Document whose section is to be written anew: docs/performance.md.
    #[arg(long, global = true)]
    markdown: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum Task {
    /// Side by side: bare hyper, the same with a verification, Signalbox, Signalbox over TLS.
    Ingest(ingest::IngestArgs),
    /// Everything below and above, one after the other, each as it is by default. It takes about two hours.
    All,
    /// A million messages over 256 connections, and the node's memory.
    Memory(memory::MemoryArgs),
    /// The cost of a request with a hundred, ten thousand, a million workflows and keys.
    Scale(scale::ScaleArgs),
    /// One size of `scale`, which starts it.
    #[command(hide = true)]
    LookUp(scale::LookUpArgs),
    /// Lists and reports with a million executions there.
    History(history::HistoryArgs),
    /// A thousand nodes, a hundred thousand workflows and keys at one control plane.
    Nodes(nodes::NodesArgs),
    /// The same messages to n8n and to a FastAPI receiver; and what each knows after it was killed.
    Compare(compare::CompareArgs),
    /// Workflows of one step, from the message to SUCCEEDED in the control plane; the same of n8n.
    EndToEnd(end_to_end::EndToEndArgs),
    /// A million executions that wait at one node: its memory, and whether they go on in time.
    Waiting(waiting::WaitingArgs),
    /// A bare server; the others start it.
    #[command(hide = true)]
    Bare(bare::BareArgs),
}

#[tokio::main]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    install_crypto();
    match &cli.task {
        Some(Task::Bare(args)) => return bare::run(args).await,
        Some(Task::LookUp(args)) => return scale::look_up(args),
        _ => {}
    }
    let out = output::Out {
        dir: cli.out.unwrap_or_else(|| root().join("target/bench")),
        document: cli.markdown,
    };
    build_binaries()?;
    let tasks = match cli.task {
        Some(Task::All) => {
            let names = [
                "ingest",
                "memory",
                "scale",
                "compare",
                "end-to-end",
                "waiting",
            ];
            let parsed = names.map(|name| Cli::parse_from(["signalbox-bench", name]).task);
            parsed.into_iter().flatten().collect()
        }
        Some(task) => vec![task],
        None => vec![Task::Ingest(cli.ingest)],
    };
    for task in tasks {
        match task {
            Task::Ingest(args) => ingest::run(args, &out).await?,
            Task::Memory(args) => memory::run(args, &out).await?,
            Task::Scale(args) => scale::run(args, &out).await?,
            Task::History(args) => history::run(args, &out).await?,
            Task::Nodes(args) => nodes::run(args, &out).await?,
            Task::Compare(args) => compare::run(args, &out).await?,
            Task::EndToEnd(args) => end_to_end::run(args, &out).await?,
            Task::Waiting(args) => waiting::run(args, &out).await?,
            Task::All | Task::Bare(_) | Task::LookUp(_) => {}
        }
    }
    Ok(())
}

/// The binaries that are measured, as they are released: built on their own, since features of this crate's
/// dependencies would else be theirs too.
fn build_binaries() -> Result<()> {
    let this = std::env::current_exe()?;
    let folder = this.parent().and_then(Path::file_name);
    if folder.is_none_or(|folder| folder != "release") {
        eprintln!("no release build: this shows that it works, and its figures mean nothing");
        return Ok(());
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(root())
        .args(["build", "--release", "--locked", "--quiet", "--bins"])
        .args(["-p", "signalbox-control-plane"])
        .args(["-p", "signalbox-data-plane", "-p", "signalbox-cli"])
        .status()
        .context("cargo does not start")?;
    ensure!(status.success(), "the binaries could not be built");
    Ok(())
}
