//! What a spool holds, and what is wrong with it.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use serde::Serialize;
use signalbox_log::{
    Damage, Found, Log, LogConfig, LogId, OpenError as LogError, Overlay, Record, RecordKind,
    Storage, segment_files, walk,
};
use signalbox_runtime::exit;

use super::{Entry, OperatorError, overlay, sqlite};
use crate::spool::intake::record::{self, Content};

/// What a spool holds.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Survey {
    /// The log's name.
    pub log: Option<String>,
    /// Its segments, in order.
    pub segments: Vec<SegmentSurvey>,
    /// Files that wait to become segments.
    pub spares: Vec<Spare>,
    /// Files with what earlier repairs set aside, and records that could not be used.
    pub set_aside: Vec<String>,
    /// The store behind it.
    pub store: StoreSurvey,
    /// What the store has not taken yet.
    pub pending: Pending,
    /// What is wrong. A node with any of these, but for complaints about the store and records that it sets aside, does not start.
    pub problems: Vec<Problem>,
}

/// A segment.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SegmentSurvey {
    /// Name of its file.
    pub file: String,
    /// Its number.
    pub number: u64,
    /// First sequence.
    pub first_sequence: u64,
    /// One past its last sequence.
    pub next_sequence: u64,
    /// Size of the file in bytes.
    pub bytes: u64,
    /// Of them, written.
    pub used_bytes: u64,
    /// Whether it says that a next one exists.
    pub sealed: bool,
    /// Whether it ends with a mark: what stands before is known to be whole.
    pub marked: bool,
    /// Records by kind, those of a gap as one.
    pub records: BTreeMap<&'static str, u64>,
}

/// A spare file.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Spare {
    /// Its name.
    pub file: String,
    /// Its size.
    pub bytes: u64,
}

/// State of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum StoreState {
    /// It can be read.
    Readable,
    /// There is none, or an empty one.
    #[default]
    Missing,
    /// It is no database, or a damaged one.
    Unreadable,
}

/// The store.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StoreSurvey {
    /// Its state.
    pub state: StoreState,
    /// Names it for its lifetime.
    pub incarnation: Option<String>,
    /// The log that it belongs to.
    pub log: Option<String>,
    /// Last sequence that it has taken from that.
    pub position: Option<u64>,
    /// Executions that have not ended.
    pub unfinished_executions: u64,
    /// Records that the control plane does not have.
    pub unreported_records: u64,
    /// Executions of the deduplication window that are remembered; none where an earlier version made the file.
    pub remembered_executions: Option<u64>,
    /// Bytes of that.
    pub remembered_bytes: Option<u64>,
    #[serde(skip)]
    pub(super) known: Option<(LogId, u64)>,
}

/// What is in the log and not in the store.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pending {
    /// Messages.
    pub messages: u64,
    /// First sequence after the store's position.
    pub from: u64,
    /// One past the last sequence.
    pub to: u64,
}

/// Something wrong.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Problem {
    /// One line.
    pub text: String,
    /// Where, and what is lost there, when durable records are damaged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub damaged: Option<Damaged>,
}

/// Durable records that are not whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Damaged {
    /// Number of the segment.
    pub segment: u64,
    /// Where the damage begins in its file, in bytes.
    pub offset: u64,
    /// Where the next whole record begins.
    pub until: u64,
    /// First sequence that is lost.
    pub first_lost: u64,
    /// Last sequence that is lost.
    pub last_lost: u64,
}

impl From<&Damage> for Damaged {
    fn from(damage: &Damage) -> Self {
        Self {
            segment: damage.segment,
            offset: damage.offset,
            until: damage.until,
            first_lost: damage.first_lost,
            last_lost: damage.next_whole.saturating_sub(1),
        }
    }
}

impl From<&Damage> for Problem {
    fn from(damage: &Damage) -> Self {
        Self {
            text: format!("durable records are damaged: {damage}"),
            damaged: Some(damage.into()),
        }
    }
}

impl Survey {
    fn problem(&mut self, text: impl Into<String>) {
        self.problems.push(Problem {
            text: text.into(),
            damaged: None,
        });
    }

    /// Whether the store is gone, or cannot be read, while the log says that there was one.
    pub(super) fn lost_store(&self) -> bool {
        self.store.state == StoreState::Unreadable
            || (self.store.known.is_none() && self.segments.iter().any(|of| !of.records.is_empty()))
    }

    /// What the log's owner is to have seen of it: of a store that is lost, nothing of what is there.
    pub(super) fn known(&self) -> Option<(LogId, u64)> {
        if !self.lost_store() {
            return self.store.known;
        }
        let first = self.segments.first();
        let begins_at = first.map_or(1, |segment| segment.first_sequence);
        let id = LogId::parse(self.log.as_deref()?)?;
        Some((id, begins_at.saturating_sub(1)))
    }

    /// Size of its segments.
    pub(super) fn segment_bytes(&self) -> u64 {
        let first = self.segments.iter().find(|segment| segment.bytes > 0);
        first.map_or(LogConfig::default().segment_bytes, |segment| segment.bytes)
    }
}

/// Reads all of the spool in `dir`; gives each record to `each`.
///
/// # Errors
/// [`OperatorError`] when there is none, or the disk fails. What is wrong with it is no error but a problem of the survey.
pub fn survey(dir: &Path, each: &mut dyn FnMut(&Entry)) -> Result<Survey, OperatorError> {
    let mut survey = Survey::default();
    look_at_store(dir, &mut survey)?;
    let Some(overlay) = overlay(dir)? else {
        if survey.store.state == StoreState::Missing {
            return Err(OperatorError::NoSpool(dir.to_owned()));
        }
        if survey.store.known.is_some() {
            survey
                .problem("the intake log's folder is missing; the store beside it belongs to one");
        }
        return Ok(survey);
    };
    let overlay = Arc::new(overlay);
    read_log(dir, overlay.as_ref(), &mut survey, each)?;
    try_open(overlay, &mut survey);
    Ok(survey)
}

fn look_at_store(dir: &Path, survey: &mut Survey) -> Result<(), OperatorError> {
    match sqlite::look(dir)? {
        sqlite::Found::Nothing => {}
        sqlite::Found::Damaged(why) => {
            survey.store.state = StoreState::Unreadable;
            survey.problem(format!("the store cannot be read: {}", one_line(&why)));
        }
        sqlite::Found::Store(look) => {
            survey.store = StoreSurvey {
                state: match look.complaints.is_empty() {
                    true => StoreState::Readable,
                    false => StoreState::Unreadable,
                },
                incarnation: Some(look.incarnation),
                log: look.intake.map(|(log, _)| log.to_string()),
                position: look.intake.map(|(_, position)| position),
                unfinished_executions: look.unfinished,
                unreported_records: look.unreported,
                remembered_executions: look.remembered.map(|(count, _)| count),
                remembered_bytes: look.remembered.map(|(_, bytes)| bytes),
                known: look.intake,
            };
            for complaint in look.complaints {
                survey.problem(format!("the store is damaged: {}", one_line(&complaint)));
            }
        }
    }
    Ok(())
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn read_log(
    dir: &Path,
    overlay: &Overlay,
    survey: &mut Survey,
    each: &mut dyn FnMut(&Entry),
) -> Result<(), OperatorError> {
    let failed = |source: std::io::Error| OperatorError::Io {
        path: dir.join(super::INTAKE_DIR),
        source,
    };
    for name in overlay.list().map_err(failed)? {
        if name.starts_with("damaged-") || name.starts_with("unusable-") {
            survey.set_aside.push(name);
        } else if name.starts_with("spare-") {
            let bytes = overlay.open(&name).and_then(|file| file.size());
            survey.spares.push(Spare {
                file: name,
                bytes: bytes.map_err(failed)?,
            });
        }
    }
    let names = segment_files(overlay).map_err(|error| failed(std::io::Error::other(error)))?;
    let position = survey.store.position.unwrap_or(0);
    survey.pending.from = position + 1;
    for name in names {
        let number = u64::from_str_radix(name.trim_end_matches(".segment"), 16).unwrap_or(0);
        let mut segment = SegmentSurvey {
            file: name.clone(),
            number,
            ..SegmentSurvey::default()
        };
        let mut problems = Vec::new();
        let walked = walk(overlay, &name, &mut |found| match found {
            Found::Damage(damage) => problems.push(Problem::from(&damage)),
            Found::Record {
                offset,
                group,
                record,
            } => {
                let entry = entry(number, offset, group, &record);
                segment.note(&entry, &record);
                let pending = &mut survey.pending;
                pending.to = pending.to.max(record.next_sequence);
                pending.messages +=
                    u64::from(entry.kind == "accepted" && entry.sequence > position);
                // What the store's position is past was set aside.
                if let Some(why) = &entry.unreadable
                    && entry.sequence > position
                {
                    let sequence = entry.sequence;
                    problems.push(Problem {
                        text: format!(
                            "record {sequence} is whole and cannot be read, the next start sets it aside: {why}"
                        ),
                        damaged: None,
                    });
                }
                each(&entry);
            }
        });
        survey.problems.extend(problems);
        match walked {
            Ok(header) => {
                segment.first_sequence = header.first_sequence;
                segment.next_sequence = segment.next_sequence.max(header.first_sequence);
                segment.bytes = header.size;
                survey.log.get_or_insert(header.log.to_string());
            }
            Err(LogError::Io { source, .. }) => return Err(failed(source)),
            Err(error) => survey.problem(exit::chain(&error)),
        }
        survey.segments.push(segment);
    }
    survey.pending.to = survey.pending.to.max(survey.pending.from);
    Ok(())
}

impl SegmentSurvey {
    fn note(&mut self, entry: &Entry, record: &Record) {
        *self.records.entry(entry.kind).or_default() += 1;
        self.next_sequence = record.next_sequence;
        self.used_bytes = entry.offset + signalbox_log::RECORD_HEADER_BYTES as u64 + entry.bytes;
        self.sealed = record.kind == RecordKind::Seal;
        self.marked = record.kind == RecordKind::Mark;
    }
}

fn entry(segment: u64, offset: u64, group: u64, record: &Record) -> Entry {
    let mut entry = Entry {
        segment,
        offset,
        sequence: record.sequence,
        group,
        kind: "unknown",
        bytes: record.payload.len() as u64,
        lost: None,
        execution: None,
        workflow: None,
        received_at: None,
        unreadable: None,
    };
    match record.kind {
        RecordKind::Seal => entry.kind = "seal",
        RecordKind::Mark => entry.kind = "mark",
        RecordKind::Gap => {
            entry.kind = "gap";
            entry.lost = Some(record.next_sequence.saturating_sub(record.sequence));
        }
        RecordKind::Data(tag) => {
            entry.kind = record::name(tag);
            match record::decode(tag, &record.payload) {
                Ok(Content::Accepted(accept)) => {
                    entry.execution = Some(accept.accepted.execution.to_string());
                    entry.workflow = Some(accept.accepted.workflow.to_string());
                    entry.received_at = Some(accept.accepted.event.received_at);
                }
                Ok(Content::Definition(_) | Content::Certificate(_)) => {}
                Err(why) => entry.unreadable = Some(why),
            }
        }
    }
    entry
}

/// What a start would say, beside what was found already.
fn try_open(overlay: Arc<Overlay>, survey: &mut Survey) {
    if survey.lost_store() && survey.store.state != StoreState::Unreadable {
        survey.problem(
            "the store is gone: the log holds records, and no store says how far they were taken",
        );
    }
    let config = LogConfig {
        segment_bytes: survey.segment_bytes(),
    };
    match Log::open(overlay, &config, survey.known()) {
        // Reading each segment has found it.
        Ok(_) | Err(LogError::Header { .. } | LogError::NewerFormat { .. }) => {}
        Err(LogError::Damaged(damage)) => {
            let damaged = Damaged::from(&damage);
            let same = |problem: &Problem| problem.damaged.as_ref() == Some(&damaged);
            if !survey.problems.iter().any(same) {
                survey.problems.push(Problem::from(&damage));
            }
        }
        Err(error) => survey.problem(exit::chain(&error)),
    }
}
