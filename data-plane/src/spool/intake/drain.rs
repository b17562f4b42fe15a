//! The thread that takes records from the log into the store.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender},
    },
    time::Duration,
};

use signalbox_log::{Log, Reader, RecordKind};
use signalbox_runtime::ambient::Ambient;

use super::{
    Shared,
    committer::Job,
    filter::Key,
    record::{self, Content},
};
use crate::spool::{
    ReadScope, SpoolError, SqliteSpool,
    sqlite::{Drained, NewExecution},
};

/// Records that one commit of the store takes.
const BATCH_MAX: usize = 256;
/// Bytes of bodies beyond which it takes no more.
const BATCH_MAX_BYTES: usize = 4 * 1024 * 1024;
/// Pause while the store holds enough to claim.
const FULL_PAUSE: Duration = Duration::from_millis(10);
/// Pause while the disk has no room.
const DISK_PAUSE: Duration = Duration::from_millis(200);
/// How long it sleeps when nothing comes.
const IDLE: Duration = Duration::from_secs(1);

pub(super) struct Drain {
    pub(super) log: Log,
    pub(super) reader: Reader,
    pub(super) store: Arc<SqliteSpool>,
    pub(super) shared: Arc<Shared>,
    pub(super) woken: Receiver<()>,
    pub(super) drained: SyncSender<Job>,
    pub(super) unclaimed_max: u64,
    pub(super) read_scope: ReadScope,
    pub(super) ambient: Arc<dyn Ambient>,
    /// Last sequence that the store has.
    pub(super) stored: u64,
    /// It was said that there is no spare.
    pub(super) told: bool,
}

/// Records of the log, on their way into the store.
pub(super) struct Batch {
    pub(super) taken: Drained,
    pub(super) keys: Vec<Key>,
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
        let waiting = self.log.end() > self.reader.next_sequence();
        let room = self.store.unclaimed() < self.unclaimed_max;
        match (waiting, room) {
            (true, true) => Ok(()),
            (true, false) => Err(FULL_PAUSE),
            (false, _) => Err(IDLE),
        }
    }

    /// The store had no room for a batch: what it did not take is read again, after a pause.
    pub(super) fn again(&mut self) -> Duration {
        self.reader = self.log.reader(self.stored + 1);
        DISK_PAUSE
    }

    /// A spare for the writer to go on with; none while the store is short of room: what it has to journal and to forget
    /// goes before what may come in.
    fn mind_spares(&mut self) {
        let minded = match self.store.disk_full() {
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
        let Some(Batch { taken, keys }) = self.read()? else {
            return Ok(());
        };
        let position = taken.position;
        self.store.drain(taken)?;
        let job = self.taken(position, keys);
        // It fails only when the committer has ended.
        let _ = self.drained.send(job);
        Ok(())
    }

    /// What one commit of the store takes, if there is anything.
    pub(super) fn read(&mut self) -> Result<Option<Batch>, SpoolError> {
        let mut taken = Drained {
            certificates: Vec::new(),
            definitions: Vec::new(),
            executions: Vec::new(),
            position: 0,
        };
        let (mut keys, mut bytes) = (Vec::new(), 0);
        let failed = |error: &dyn std::fmt::Display| SpoolError::Failed(error.to_string());
        while taken.executions.len() < BATCH_MAX && bytes < BATCH_MAX_BYTES {
            let Some(record) = self.reader.read().map_err(|error| failed(&error))? else {
                break;
            };
            taken.position = record.next_sequence - 1;
            bytes += record.payload.len();
            match record.kind {
                RecordKind::Data(tag) => {
                    let content = record::decode(tag, &record.payload)
                        .map_err(|why| failed(&format!("record {}: {why}", record.sequence)))?;
                    self.sort(content, &mut taken, &mut keys)?;
                }
                RecordKind::Gap => lost(record.sequence, record.next_sequence),
                RecordKind::Seal | RecordKind::Mark => {}
            }
        }
        Ok((taken.position > 0).then_some(Batch { taken, keys }))
    }

    /// The store has everything up to `position`: frees it in the log, and gives what the committer must know.
    pub(super) fn taken(&mut self, position: u64, keys: Vec<Key>) -> Job {
        self.stored = position;
        if let Err(error) = self.log.retire(position) {
            tracing::warn!(%error, "a segment of the intake log cannot be freed");
        }
        Job::Drained(keys)
    }

    fn sort(
        &self,
        content: Content,
        taken: &mut Drained,
        keys: &mut Vec<Key>,
    ) -> Result<(), SpoolError> {
        match content {
            Content::Accepted(accept) => {
                keys.push(Key::of(&accept.accepted.execution));
                let new = NewExecution::encode(*accept, self.read_scope)?;
                taken.executions.push(new);
            }
            Content::Definition(definition) => taken.definitions.push(definition),
            Content::Certificate(certificate) => {
                taken.certificates.push((certificate, self.ambient.now()));
            }
        }
        Ok(())
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
