//! The thread that takes records from the log into the store.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender},
    },
    time::Duration,
};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use signalbox_log::{Log, Reader, Record, RecordKind};
use signalbox_model::record::Certificate;
use signalbox_runtime::ambient::Ambient;

use super::{
    Shared,
    appetite::{Appetite, Standing},
    committer::Job,
    record::{self, Content},
};
use crate::spool::{
    Definition, ReadScope, Spool as _, SpoolError, SqliteSpool,
    key::Key,
    sqlite::{Drained, NewExecution},
};

/// Records that one commit of the store takes.
const BATCH_MAX: usize = 256;
/// Bytes of bodies beyond which it takes no more.
const BATCH_MAX_BYTES: usize = 4 * 1024 * 1024;
/// What a record takes in the store beside its content, in bytes: its rows, their indexes, pages that are partly filled.
const MARGIN_BYTES: u64 = 4096;
/// Pause while the store holds enough to claim.
const FULL_PAUSE: Duration = Duration::from_millis(10);
/// Pause between two batches that it takes although the store holds enough.
const SKIM_PAUSE: SignedDuration = SignedDuration::from_millis(50);
/// Pause while there is no room in the store.
const ROOM_PAUSE: Duration = Duration::from_millis(200);
/// How long it sleeps when nothing comes.
const IDLE: Duration = Duration::from_secs(1);

/// Says how much is free on the store's disk, in bytes.
pub(super) type Free = Box<dyn Fn() -> u64 + Send>;

pub(super) struct Drain {
    pub(super) log: Log,
    pub(super) reader: Reader,
    /// What was read and is not in the store yet.
    pub(super) ahead: VecDeque<Ahead>,
    pub(super) appetite: Appetite,
    pub(super) free: Free,
    pub(super) store: Arc<SqliteSpool>,
    pub(super) shared: Arc<Shared>,
    pub(super) woken: Receiver<()>,
    pub(super) drained: SyncSender<Job>,
    pub(super) unclaimed_max: u64,
    pub(super) skim_max: usize,
    /// When it last took something although the store held enough.
    pub(super) skimmed: Timestamp,
    pub(super) read_scope: ReadScope,
    pub(super) ambient: Arc<dyn Ambient>,
    /// Last sequence that the store has.
    pub(super) stored: u64,
    /// It was said that there is no spare.
    pub(super) told: bool,
    /// It waits for room in the store, and has said so.
    pub(super) waits: bool,
    /// Sequence of the last record that it has told of as unusable: one that is read again is not told of again.
    pub(super) told_unusable: u64,
}

/// A record of the log, made ready for the store.
pub(super) struct Ahead {
    /// Last sequence that it stands for.
    position: u64,
    /// What the store needs for it.
    bytes: u64,
    part: Part,
}

enum Part {
    Execution(Key, Box<NewExecution>),
    Definition(Definition),
    Certificate(Certificate),
    /// Given up by a repair: from this sequence on.
    Lost(u64),
    /// Nothing can be made of it: it is set aside. Its key, where that can be read.
    Unusable(Option<Key>),
    Nothing,
}

/// Why nothing can be made of a record.
struct Unusable {
    /// Of the execution that it should make, where that can be read.
    key: Option<Key>,
    why: String,
}

/// Records of the log, on their way into the store.
pub(super) struct Batch {
    pub(super) taken: Drained,
    pub(super) keys: Vec<Key>,
    /// What of it was lost: the first sequence, and the one after.
    pub(super) lost: Vec<(u64, u64)>,
}

impl Drain {
    /// Until the spool is dropped, or log or store fail.
    pub(super) fn run(mut self) {
        while !self.shared.is_stopping() {
            if let Err(pause) = self.ready() {
                let _ = self.woken.recv_timeout(pause);
                continue;
            }
            match self.batch() {
                Ok(()) => {}
                // The store has no room: what it did not take is read again.
                Err(SpoolError::Full) => {
                    let pause = self.again();
                    let _ = self.woken.recv_timeout(pause);
                }
                // Shutting down, or failed: the store has said so itself.
                Err(SpoolError::Closed) => return,
                Err(error) => return self.shared.fail(error.to_string()),
            }
        }
    }

    /// Prepares the log to grow, and says whether there is something to take: if not, how long to wait for a wake.
    pub(super) fn ready(&mut self) -> Result<(), Duration> {
        self.mind_spares();
        let next = self.reader.next_sequence();
        if self.ahead.is_empty() && self.log.end() <= next {
            return Err(IDLE);
        }
        if self.has_enough() && !self.skims() {
            return Err(FULL_PAUSE);
        }
        // What is not read yet will tell how large it is.
        let waits = !self.ahead.is_empty() && self.portion() == 0;
        if waits && !self.waits {
            tracing::warn!(
                "there is little room on the disk: the intake log waits until executions have ended and are reported"
            );
        }
        self.waits = waits;
        match waits {
            true => Err(ROOM_PAUSE),
            false => Ok(()),
        }
    }

    fn has_enough(&self) -> bool {
        self.store.unclaimed() >= self.unclaimed_max
    }

    /// Whether it is time to take a little although the store holds enough: what it holds may all be of one workflow, and
    /// others wait behind it in the log.
    fn skims(&mut self) -> bool {
        let now = self.ambient.now();
        let since = now.duration_since(self.skimmed);
        // A clock that was set back is no reason to wait.
        let is_time = self.skim_max > 0 && (since >= SKIM_PAUSE || since.is_negative());
        if is_time {
            self.skimmed = now;
        }
        is_time
    }

    /// How many of the records that were read may go now.
    fn portion(&self) -> usize {
        let stats = self.store.stats();
        let standing = Standing {
            room: self.store.room((self.free)()),
            unfinished: stats.unfinished_executions,
            parked: stats.parked_executions,
            used_bytes: stats.used_bytes,
            unreported: stats.unreported_records,
        };
        let sizes = self.ahead.iter().map(|record| record.bytes);
        self.appetite.portion(sizes, &standing)
    }

    /// The store had no room for a batch: what it did not take is read again, after a pause.
    pub(super) fn again(&mut self) -> Duration {
        self.ahead.clear();
        self.reader = self.log.reader(self.stored + 1);
        self.appetite.refused();
        ROOM_PAUSE
    }

    /// A spare for the writer to go on with; none while the store finds no room: what it has to journal and to forget goes
    /// before what may come in.
    fn mind_spares(&mut self) {
        let minded = match self.store.disk_full() || self.appetite.is_refused() {
            true => self.log.release_spares(),
            false => self.log.prepare(),
        };
        match minded {
            Ok(()) => {
                self.told = false;
                if !self.store.disk_full() {
                    self.shared.set_no_room(false);
                }
            }
            Err(_) if self.told => {}
            Err(error) => {
                tracing::warn!(%error, "no spare segment can be made for the intake log");
                self.told = true;
            }
        }
    }

    fn batch(&mut self) -> Result<(), SpoolError> {
        let Some(Batch { taken, keys, lost }) = self.read()? else {
            return Ok(());
        };
        let position = taken.position;
        self.store.drain(taken)?;
        let job = self.taken(position, keys, &lost);
        // It fails only when the committer has ended.
        let _ = self.drained.send(job);
        Ok(())
    }

    /// What one commit of the store takes now, if there is anything.
    pub(super) fn read(&mut self) -> Result<Option<Batch>, SpoolError> {
        if self.ahead.is_empty() {
            self.read_ahead()?;
        }
        let mut portion = self.portion();
        if self.has_enough() {
            portion = portion.min(self.skim_max);
        }
        Ok((portion > 0).then(|| self.take(portion)))
    }

    fn read_ahead(&mut self) -> Result<(), SpoolError> {
        let mut bytes = 0;
        let failed = |error: &dyn std::fmt::Display| SpoolError::Failed(error.to_string());
        while self.ahead.len() < BATCH_MAX && bytes < BATCH_MAX_BYTES {
            let Some(record) = self.reader.read().map_err(|error| failed(&error))? else {
                break;
            };
            bytes += record.payload.len();
            let part = match record.kind {
                RecordKind::Data(tag) => match self.part(tag, &record.payload) {
                    Ok(part) => part,
                    Err(why) => self.set_aside(&record, tag, &why)?,
                },
                RecordKind::Gap => Part::Lost(record.sequence),
                RecordKind::Seal | RecordKind::Mark => Part::Nothing,
            };
            self.ahead.push_back(Ahead {
                position: record.next_sequence - 1,
                bytes: part.bytes(),
                part,
            });
        }
        Ok(())
    }

    fn part(&self, tag: u8, payload: &Bytes) -> Result<Part, Unusable> {
        let content = record::decode(tag, payload).map_err(|why| Unusable { key: None, why })?;
        Ok(match content {
            Content::Accepted(accept) => {
                let key = Key::of(&accept.accepted.execution);
                let new = NewExecution::encode(*accept, self.read_scope);
                let new = new.map_err(|error| Unusable {
                    key: Some(key),
                    why: error.to_string(),
                })?;
                Part::Execution(key, Box::new(new))
            }
            Content::Definition(definition) => Part::Definition(definition),
            Content::Certificate(certificate) => Part::Certificate(certificate),
        })
    }

    /// Keeps a record of which nothing can be made, and tells of it as loudly as can be: it was acknowledged. All others go on.
    fn set_aside(
        &mut self,
        record: &Record,
        tag: u8,
        Unusable { key, why }: &Unusable,
    ) -> Result<Part, SpoolError> {
        let file = self.log.set_aside(record.sequence, tag, &record.payload);
        let file = file.map_err(|error| match error.kind() {
            std::io::ErrorKind::StorageFull => SpoolError::Full,
            _ => SpoolError::Failed(format!("a record cannot be set aside: {error}")),
        })?;
        if record.sequence <= self.told_unusable {
            return Ok(Part::Unusable(*key));
        }
        self.told_unusable = record.sequence;
        tracing::error!(
            sequence = record.sequence,
            kind = record::name(tag),
            file,
            why,
            "a record of the intake log cannot be used, and is set aside: what was accepted with it is not executed"
        );
        metrics::counter!("signalbox_intake_unusable_records_total").increment(1);
        Ok(Part::Unusable(*key))
    }

    /// The first of what was read, as one batch.
    fn take(&mut self, portion: usize) -> Batch {
        let mut batch = Batch {
            taken: Drained::default(),
            keys: Vec::new(),
            lost: Vec::new(),
        };
        let taken = &mut batch.taken;
        for record in self.ahead.drain(..portion) {
            taken.position = record.position;
            match record.part {
                Part::Execution(key, new) => {
                    batch.keys.push(key);
                    taken.executions.push(*new);
                }
                Part::Definition(definition) => taken.definitions.push(definition),
                Part::Certificate(certificate) => {
                    taken.certificates.push((certificate, self.ambient.now()));
                }
                Part::Lost(from) => batch.lost.push((from, record.position + 1)),
                Part::Unusable(key) => batch.keys.extend(key),
                Part::Nothing => {}
            }
        }
        batch
    }

    /// The store has everything up to `position`: frees it in the log, and gives what the committer must know.
    pub(super) fn taken(&mut self, position: u64, keys: Vec<Key>, gone: &[(u64, u64)]) -> Job {
        self.stored = position;
        self.appetite.taken();
        for (from, to) in gone {
            lost(*from, *to);
        }
        if let Err(error) = self.log.retire(position) {
            tracing::warn!(%error, "a segment of the intake log cannot be freed");
        }
        Job::Drained(keys)
    }
}

impl Part {
    /// What the store needs for it, in bytes.
    fn bytes(&self) -> u64 {
        let own = match self {
            Self::Execution(_, new) => new.bytes(),
            Self::Definition(definition) => definition.source.len(),
            Self::Certificate(certificate) => certificate.pem.len(),
            Self::Lost(_) | Self::Unusable(_) | Self::Nothing => return 0,
        };
        own as u64 + MARGIN_BYTES
    }
}

/// What a repair has given up: told as loudly as can be, since it was acknowledged.
fn lost(from: u64, to: u64) {
    tracing::error!(
        from,
        to = to - 1,
        "records of the intake log were lost to damage"
    );
    metrics::counter!("signalbox_intake_lost_records_total").increment(to - from);
}
