//! The thread that takes records from the log into the store.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender},
    },
    time::Duration,
};

use jiff::Timestamp;
use signalbox_log::{Log, Reader, RecordKind};

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
    /// Last sequence that the store has.
    pub(super) taken: u64,
    /// It was said that there is no spare.
    pub(super) told: bool,
}

impl Drain {
    /// Until the spool is dropped, or log or store fail.
    pub(super) fn run(mut self) {
        while !self.shared.is_stopping() {
            self.mind_spares();
            let waiting = self.log.end() > self.reader.next_sequence();
            let room = self.store.unclaimed() < self.unclaimed_max;
            if !(waiting && room) {
                let pause = if waiting { FULL_PAUSE } else { IDLE };
                let _ = self.woken.recv_timeout(pause);
                continue;
            }
            match self.batch() {
                Ok(()) => {}
                // The store has no room: what it did not take is read again.
                Err(SpoolError::Full) => {
                    self.reader = self.log.reader(self.taken + 1);
                    let _ = self.woken.recv_timeout(DISK_PAUSE);
                }
                // Shutting down, or failed: the store has said so itself.
                Err(SpoolError::Closed) => return,
                Err(error) => return self.shared.fail(error.to_string()),
            }
        }
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
        if taken.position == 0 {
            return Ok(());
        }
        let position = taken.position;
        self.store.drain(taken)?;
        self.taken = position;
        if let Err(error) = self.log.retire(position) {
            tracing::warn!(%error, "a segment of the intake log cannot be freed");
        }
        // It fails only when the committer has ended.
        let _ = self.drained.send(Job::Drained(keys));
        Ok(())
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
                taken.certificates.push((certificate, Timestamp::now()));
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
