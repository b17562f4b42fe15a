//! Executions that were under way when the process ended without its own doing: killed, out of memory, out of power. One that
//! ends the process would do so at each start.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::batch::{Batch, Sql};

/// Beside the tables of the file's version, which stays what it is: to an earlier program it is nothing.
const TABLE: &str = "
CREATE TABLE IF NOT EXISTS interrupted (
    -- Number of one that has not gone on since.
    execution INTEGER PRIMARY KEY,
    -- Ends of the process while it was claimed.
    times INTEGER NOT NULL
) STRICT
";
const COUNT: &str = "
INSERT INTO interrupted SELECT number, 1 FROM executions WHERE state = 1
ON CONFLICT (execution) DO UPDATE SET times = times + 1
";
const GIVE_BACK: &str = "UPDATE executions SET state = 0 WHERE state = 1";

/// Takes from the process before, which ended as it should not have, what that had claimed. Gives the numbers of all that were
/// interrupted, and have not gone on since.
pub(super) fn take_over(transaction: &Transaction<'_>) -> Sql<HashSet<i64>> {
    transaction.execute_batch(TABLE)?;
    transaction.execute(COUNT, [])?;
    transaction.execute(GIVE_BACK, [])?;
    let mut statement = transaction.prepare("SELECT execution FROM interrupted")?;
    let numbers = statement.query_map([], |row| row.get(0))?;
    numbers.collect()
}

/// Gives back what is claimed: the process ends as it should, and interrupts nobody.
pub(super) fn give_back(connection: &Connection) -> Sql<()> {
    connection.execute(GIVE_BACK, []).map(drop)
}

impl Batch<'_> {
    /// How many ends of the process in a row have interrupted an execution, and it has not gone on between them.
    pub(super) fn interruptions(&self, number: i64) -> Sql<u32> {
        if !self.interrupted.contains(&number) {
            return Ok(0);
        }
        let times = self
            .transaction
            .prepare_cached("SELECT times FROM interrupted WHERE execution = ?1")?
            .query_row(params![number], |row| row.get(0))
            .optional()?;
        Ok(times.unwrap_or(0))
    }

    /// Notes that it goes on.
    pub(super) fn went_on(&mut self, number: i64) -> Sql<()> {
        if self.interrupted.contains(&number) {
            self.transaction
                .prepare_cached("DELETE FROM interrupted WHERE execution = ?1")?
                .execute(params![number])?;
            self.effects.went_on.push(number);
        }
        Ok(())
    }
}
