//! Going on without what is lost.

use std::path::Path;

use jiff::Timestamp;
use serde::Serialize;
use signalbox_log::{FileStorage, LogId, Overlay, Storage, repair as repair_log};

use super::{OperatorError, overlay, sqlite, survey::Survey};
use crate::spool::intake::INTAKE_DIR;

/// What a repair gives up, or has given up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// Sequences of the log that are given up: from, and up to but not including. Some may never have been written.
    pub lost: Vec<(u64, u64)>,
    /// Sequences of the log that are damaged, and that the store has already: nothing is lost with them.
    pub mended: Vec<(u64, u64)>,
    /// The store is given up: with the journals of unfinished executions, what was not reported, and the memory of what was
    /// accepted. What the log holds is executed again.
    pub store: bool,
    /// Files of the data folder that hold, or will hold, what is damaged as it was found.
    pub kept: Vec<String>,
}

impl Outcome {
    /// Whether there is nothing to mend.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Goes on without what is lost in the spool of `dir`, as `survey` found it. Unless `for_good`, only tells what that would
/// be, and changes nothing.
///
/// # Errors
/// [`OperatorError`] when the disk fails, or what is wrong is nothing that a repair mends: a log of another store, a header
/// that nothing else tells, a record or a store of a newer version.
pub fn repair(dir: &Path, survey: &Survey, for_good: bool) -> Result<Outcome, OperatorError> {
    let folder = dir.join(INTAKE_DIR);
    let known = survey.known();
    let mut outcome = Outcome::default();
    let storage: Box<dyn Storage> = if for_good {
        let opened = FileStorage::open(&folder);
        Box::new(opened.map_err(|error| failed(&folder, error))?)
    } else {
        Box::new(overlay(dir)?.unwrap_or_else(Overlay::default))
    };
    if !survey.problems.is_empty() {
        let repaired = repair_log(storage.as_ref(), survey.segment_bytes(), known);
        let repaired = repaired.map_err(|source| OperatorError::Log { folder, source })?;
        let position = known.map_or(0, |(_, position)| position);
        (outcome.mended, outcome.lost) = repaired
            .lost
            .into_iter()
            .partition(|(_, to)| *to <= position + 1);
        let kept = repaired.kept.into_iter();
        outcome.kept = kept.map(|file| format!("{INTAKE_DIR}/{file}")).collect();
    }
    if survey.lost_store() {
        outcome.store = true;
        give_up_store(dir, known, for_good, &mut outcome)?;
    }
    Ok(outcome)
}

fn give_up_store(
    dir: &Path,
    known: Option<(LogId, u64)>,
    for_good: bool,
    outcome: &mut Outcome,
) -> Result<(), OperatorError> {
    if !for_good {
        return Ok(());
    }
    let mark = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let moved = sqlite::set_aside(dir, &mark).map_err(|error| failed(dir, error))?;
    let names = moved.iter().filter_map(|path| path.file_name());
    outcome
        .kept
        .extend(names.map(|name| name.to_string_lossy().into_owned()));
    if let Some((log, position)) = known {
        sqlite::begin_anew(dir, log, position)?;
    }
    Ok(())
}

fn failed(path: &Path, source: std::io::Error) -> OperatorError {
    OperatorError::Io {
        path: path.to_owned(),
        source,
    }
}
