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
    /// Notes what is reported, and drops what nobody needs any more: what belongs to no execution at once, the rest when its
    /// execution has ended and the last record of that is reported. Costs what is dropped, not what stays.
    pub(super) fn trim(&mut self, sequence: u64) -> Sql<()> {
        let reported = to_sql(sequence);
        // Up to what was reported before, nothing of that is left.
        self.transaction
            .prepare_cached(
                "DELETE FROM log WHERE kind = 2 AND seq <= ?1
                 AND seq > (SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'reported')",
            )?
            .execute(params![reported])?;
        for of_ended in [
            "DELETE FROM log WHERE kind = 0 AND execution IN
             (SELECT number FROM executions WHERE state = 3 AND last_seq <= ?1)",
            "DELETE FROM log WHERE seq IN (SELECT number FROM executions WHERE state = 3 AND last_seq <= ?1)",
            "INSERT INTO forgettable SELECT deduplicate_until_us, name FROM executions
             WHERE state = 3 AND last_seq <= ?1",
            "DELETE FROM executions WHERE state = 3 AND last_seq <= ?1",
        ] {
            let mut statement = self.transaction.prepare_cached(of_ended)?;
            statement.execute(params![reported])?;
        }
        self.transaction
            .prepare_cached("UPDATE meta SET value = ?1 WHERE key = 'reported'")?
            .execute(params![sequence.to_string()])?;
        self.effects.reported = Some(sequence);
        Ok(())
    }

    /// Drops at most `max` deduplication entries whose time is over; says how many.
    pub(super) fn purge(&mut self, max: usize) -> Sql<usize> {
        let now = self.now;
        let purged = self.over(now, max)?;
        for (until_us, name) in &purged {
            self.transaction
                .prepare_cached("DELETE FROM names WHERE name = ?1")?
                .execute(params![name])?;
            self.transaction
                .prepare_cached(
                    "DELETE FROM forgettable WHERE deduplicate_until_us = ?1 AND name = ?2",
                )?
                .execute(params![until_us, name])?;
        }
        let purged = purged.len();
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

    /// The first that can be forgotten, and when they could be.
    fn over(&self, now: Timestamp, max: usize) -> Sql<Vec<(i64, String)>> {
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        let mut statement = self.transaction.prepare_cached(
            "SELECT deduplicate_until_us, name FROM forgettable
             WHERE deduplicate_until_us < ?1 ORDER BY deduplicate_until_us LIMIT ?2",
        )?;
        let rows = statement.query_map(params![now.as_microsecond(), max], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
        rows.collect()
    }
}
