//! `signalbox-data-plane spool`: what an operator asks of a node's spool while the node is stopped.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Subcommand};
use serde::Serialize;
use signalbox_runtime::{
    data_dir::{DataDir, DataDirError},
    exit::{Code, fail},
};

use crate::spool::operator::{self, Entry, OperatorError, Outcome, StoreState, Survey};

/// `spool …`.
#[derive(Debug, Args)]
pub struct SpoolCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Show what the spool holds. Reads only; exits 0 whatever it finds.
    Inspect {
        /// List the log's records instead, without what they carry.
        #[arg(long)]
        records: bool,
        /// As JSON: one document, or one line for each record.
        #[arg(long)]
        json: bool,
    },
    /// Read everything and check it. Reads only; exits 0 when it is whole, 1 when it is not.
    Verify {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Go on without what is lost: damaged bytes are set aside, a gap stands in for lost records, and the next start logs
    /// and counts them. Exits 1, and changes nothing, unless the loss is accepted.
    Repair {
        /// Accept the loss that `repair` without it names.
        #[arg(long)]
        accept_loss: bool,
    },
}

/// Why a command did nothing.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error("{} does not exist", .0.display())]
    NoFolder(PathBuf),
    #[error(transparent)]
    Operator(#[from] OperatorError),
    #[error("the output cannot be written")]
    Output(#[from] io::Error),
}

/// Runs a command on the spool in `data_dir`, and says how the process is to end.
pub fn run(data_dir: &Path, command: &SpoolCommand) -> ExitCode {
    match perform(data_dir, &command.action) {
        Ok(code) => code,
        // Whoever reads has had enough.
        Err(CommandError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => fail(Code::Config, &error),
    }
}

fn perform(data_dir: &Path, action: &Action) -> Result<ExitCode, CommandError> {
    // Never made here: a mistyped path would be reported whole.
    if !data_dir.exists() {
        return Err(CommandError::NoFolder(data_dir.to_owned()));
    }
    // A running node writes log and store, and uses segment files again: whatever is read beside it is of no one moment.
    let locked = DataDir::open(data_dir)?;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let code = match action {
        Action::Inspect { records, json } => {
            inspect(locked.path(), *records, *json, &mut out)?;
            ExitCode::SUCCESS
        }
        Action::Verify { json } => verify(locked.path(), *json, &mut out)?,
        Action::Repair { accept_loss } => repair(locked.path(), *accept_loss, &mut out)?,
    };
    out.flush()?;
    Ok(code)
}

fn inspect(
    dir: &Path,
    records: bool,
    json: bool,
    out: &mut impl Write,
) -> Result<(), CommandError> {
    let mut written = Ok(());
    let survey = operator::survey(dir, &mut |entry| {
        if records && written.is_ok() {
            written = match json {
                true => line(entry, out),
                false => show_entry(entry, out),
            };
        }
    })?;
    written?;
    match (records, json) {
        (true, _) => {}
        (false, true) => line(&survey, out)?,
        (false, false) => show_survey(&survey, out)?,
    }
    Ok(())
}

fn line(value: &impl Serialize, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    writeln!(out)
}

fn show_entry(entry: &Entry, out: &mut impl Write) -> io::Result<()> {
    write!(
        out,
        "{:016x} {:>9} {:>10} {:<11} {:>8}",
        entry.segment, entry.offset, entry.sequence, entry.kind, entry.bytes
    )?;
    let told = [&entry.execution, &entry.workflow, &entry.unreadable];
    for told in told.into_iter().flatten() {
        write!(out, " {told}")?;
    }
    if let Some(at) = entry.received_at {
        write!(out, " {at:.3}")?;
    }
    if let Some(lost) = entry.lost {
        write!(out, " {lost} records are given up")?;
    }
    writeln!(out)
}

fn show_survey(survey: &Survey, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "log {}", survey.log.as_deref().unwrap_or("-"))?;
    for segment in &survey.segments {
        let end = match (segment.sealed, segment.marked) {
            (true, _) => "sealed",
            (_, true) => "open, marked",
            _ => "open",
        };
        let kinds: Vec<_> = segment.records.iter().collect();
        let kinds: Vec<_> = kinds
            .iter()
            .map(|(kind, n)| format!("{n} {kind}"))
            .collect();
        writeln!(
            out,
            "segment {:016x}  sequences {} to {}  {} of {} bytes  {end}  {}",
            segment.number,
            segment.first_sequence,
            segment.next_sequence.saturating_sub(1),
            segment.used_bytes,
            segment.bytes,
            kinds.join(", ")
        )?;
    }
    for spare in &survey.spares {
        writeln!(out, "{}  {} bytes", spare.file, spare.bytes)?;
    }
    for file in &survey.set_aside {
        let by = match file.starts_with("unusable-") {
            true => "a record that could not be used",
            false => "set aside by a repair",
        };
        writeln!(out, "{file}  {by}")?;
    }
    let store = &survey.store;
    match store.state {
        StoreState::Missing => writeln!(out, "store missing")?,
        StoreState::Unreadable => writeln!(out, "store damaged")?,
        StoreState::Readable => writeln!(
            out,
            "store {}  has taken the log up to {}  {} unfinished executions  {} unreported records",
            store.incarnation.as_deref().unwrap_or("-"),
            store.position.unwrap_or(0),
            store.unfinished_executions,
            store.unreported_records
        )?,
    }
    if let (Some(count), Some(bytes)) = (store.remembered_executions, store.remembered_bytes) {
        writeln!(
            out,
            "deduplication {count} executions remembered in {bytes} bytes"
        )?;
    }
    let pending = &survey.pending;
    writeln!(
        out,
        "pending {} messages in sequences {} to {}",
        pending.messages,
        pending.from,
        pending.to.saturating_sub(1)
    )?;
    show_problems(survey, out)
}

fn show_problems(survey: &Survey, out: &mut impl Write) -> io::Result<()> {
    for problem in &survey.problems {
        writeln!(out, "problem: {}", problem.text)?;
    }
    Ok(())
}

fn verify(dir: &Path, json: bool, out: &mut impl Write) -> Result<ExitCode, CommandError> {
    let survey = operator::survey(dir, &mut |_| {})?;
    let whole = survey.problems.is_empty();
    if json {
        line(&survey, out)?;
    } else {
        show_problems(&survey, out)?;
        if whole {
            let records: u64 = survey
                .segments
                .iter()
                .flat_map(|s| s.records.values())
                .sum();
            writeln!(out, "whole: {records} records, and the store")?;
        } else {
            match operator::repair(dir, &survey, false) {
                Ok(loss) => show_loss(&loss, "`spool repair --accept-loss` gives up", out)?,
                Err(error) => writeln!(out, "{}", signalbox_runtime::exit::chain(&error))?,
            }
        }
    }
    Ok(match whole {
        true => ExitCode::SUCCESS,
        false => Code::Failure.into(),
    })
}

fn show_loss(loss: &Outcome, verb: &str, out: &mut impl Write) -> io::Result<()> {
    for (from, to) in &loss.mended {
        let to = to.saturating_sub(1);
        writeln!(
            out,
            "the store has records {from} to {to} already: nothing is lost with them"
        )?;
    }
    for (from, to) in &loss.lost {
        let to = to.saturating_sub(1);
        writeln!(out, "{verb} records {from} to {to} of the intake log")?;
    }
    if loss.store {
        writeln!(
            out,
            "{verb} the store: journals of unfinished executions, what was not reported, the memory of what was accepted; \
             every message in the log is executed again, by its old id and with its old Idempotency-Keys"
        )?;
    }
    Ok(())
}

fn repair(dir: &Path, accept_loss: bool, out: &mut impl Write) -> Result<ExitCode, CommandError> {
    let survey = operator::survey(dir, &mut |_| {})?;
    if survey.problems.is_empty() {
        writeln!(out, "whole: nothing to repair")?;
        return Ok(ExitCode::SUCCESS);
    }
    show_problems(&survey, out)?;
    // Named before anything is changed, whether it is accepted or not.
    let loss = operator::repair(dir, &survey, false)?;
    show_loss(&loss, "to be given up:", out)?;
    if !accept_loss {
        writeln!(
            out,
            "nothing was changed; `--accept-loss` goes on without it"
        )?;
        return Ok(Code::Failure.into());
    }
    out.flush()?;
    let done = operator::repair(dir, &survey, true)?;
    show_loss(&done, "given up:", out)?;
    for file in &done.kept {
        writeln!(out, "set aside: {file}")?;
    }
    let left = operator::survey(dir, &mut |_| {})?;
    show_problems(&left, out)?;
    Ok(match left.problems.is_empty() {
        true => ExitCode::SUCCESS,
        false => Code::Failure.into(),
    })
}
