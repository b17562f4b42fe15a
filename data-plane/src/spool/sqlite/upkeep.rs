//! What goes from the file once it is no longer needed.

use std::time::Duration;

use jiff::Timestamp;
use rusqlite::params;

use super::{
    batch::{Batch, Sql},
    read::to_sql,
};

/// A handshake is remembered while a copy of its message may come: twice the 48 h that its token lives.
const HANDSHAKE_REMEMBERED: Duration = Duration::from_secs(96 * 3600);

impl Batch<'_> {
    /// Notes what is reported, and drops what nobody needs any more: all but facts at once, the facts of an execution
    /// when it has ended and its last one is reported. Costs what is dropped, not what stays.
    pub(super) fn trim(&mut self, sequence: u64) -> Sql<()> {
        let reported = to_sql(sequence);
        // Up to what was reported before, nothing but facts is left.
        self.transaction
            .prepare_cached(
                "DELETE FROM log WHERE kind <> 0 AND seq <= ?1
                 AND seq > (SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'reported')",
            )?
            .execute(params![reported])?;
        self.transaction
            .prepare_cached(
                "DELETE FROM log WHERE kind = 0 AND execution IN
                 (SELECT name FROM executions WHERE ended = 1 AND record IS NOT NULL AND last_seq <= ?1)",
            )?
            .execute(params![reported])?;
        self.transaction
            .prepare_cached(
                "UPDATE executions SET record = NULL WHERE ended = 1 AND record IS NOT NULL AND last_seq <= ?1",
            )?
            .execute(params![reported])?;
        self.transaction
            .prepare_cached("UPDATE meta SET value = ?1 WHERE key = 'reported'")?
            .execute(params![sequence.to_string()])?;
        self.effects.reported = Some(sequence);
        Ok(())
    }

    /// Drops at most `max` deduplication entries whose time is over; says how many.
    pub(super) fn purge(&mut self, max: usize) -> Sql<usize> {
        let now = self.now;
        let purged = self
            .transaction
            .prepare_cached(
                "DELETE FROM executions WHERE name IN (SELECT name FROM executions
                 WHERE ended = 1 AND record IS NULL AND deduplicate_until_us < ?1 LIMIT ?2)",
            )?
            .execute(params![
                now.as_microsecond(),
                i64::try_from(max).unwrap_or(i64::MAX)
            ])?;
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
