//! What goes from the file once it is no longer needed.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::params;

use super::{
    batch::{Batch, Sql},
    entries,
    read::to_sql,
    work::EXECUTION_BYTES,
};

/// A handshake is remembered while a copy of its message may come: twice the 48 h that its token lives.
const HANDSHAKE_REMEMBERED: Duration = Duration::from_secs(96 * 3600);

impl Batch<'_> {
    /// Notes what is reported, and drops what nobody needs any more: what belongs to no execution at once, the rest when its
    /// execution has ended and the last record of that is reported. Costs what is dropped, not what stays.
    pub(super) fn trim(&mut self, sequence: u64) -> Sql<()> {
        let reported = to_sql(sequence);
        // Up to what was reported before, nothing of that is left.
        for records in [
            "DELETE FROM log WHERE kind = 2 AND seq <= ?1
             AND seq > (SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'reported') RETURNING length(body)",
            "DELETE FROM log WHERE kind = 0 AND execution IN
             (SELECT number FROM executions WHERE state = 3 AND last_seq <= ?1) RETURNING length(body)",
            "DELETE FROM log WHERE seq IN (SELECT number FROM executions WHERE state = 3 AND last_seq <= ?1)
             RETURNING length(body)",
        ] {
            self.delete_records(records, reported)?;
        }
        entries::let_go(self.transaction, reported)?;
        let ended = self
            .transaction
            .prepare_cached("DELETE FROM executions WHERE state = 3 AND last_seq <= ?1")?
            .execute(params![reported])?;
        self.effects.work -= EXECUTION_BYTES * i64::try_from(ended).unwrap_or(0);
        self.transaction
            .prepare_cached("UPDATE meta SET value = ?1 WHERE key = 'reported'")?
            .execute(params![sequence.to_string()])?;
        self.effects.reported = Some(sequence);
        Ok(())
    }

    /// Drops at most `max` deduplication entries whose time is over; says how many.
    pub(super) fn purge(&mut self, max: usize) -> Sql<usize> {
        let now = self.now;
        let purged = entries::forget(self.transaction, now.as_microsecond(), max)?;
        let forgotten = now
            .saturating_sub(HANDSHAKE_REMEMBERED)
            .unwrap_or(Timestamp::MIN);
        self.transaction
            .prepare_cached(
                "DELETE FROM handshakes WHERE next_attempt_at_us IS NULL AND received_at_us < ?1",
            )?
            .execute(params![forgotten.as_microsecond()])?;
        if purged > 0 {
            metrics::counter!("signalbox_spool_purged_total").increment(purged as u64);
        }
        Ok(purged)
    }
}
