//! Executions that are to be ended, wherever they wait: they are claimed before all others, and take nobody's turn.

use rusqlite::{OptionalExtension as _, params};

use super::{
    batch::{Batch, Sql},
    schema::{CLAIMED, PARKED, SUMMONED_US, WAITING},
};
use crate::spool::{Admission, Summoned};

/// Those at which one claim looks: that it never holds up a commit for long.
const LOOK_MAX: i64 = 1000;

impl Batch<'_> {
    /// Makes one due that is to be ended, whether it is parked or waits for its turn; says what is here of it.
    pub(super) fn summon(&mut self, execution: &str) -> Sql<Summoned> {
        let Some(number) = self.number_of(execution)? else {
            return Ok(Summoned::Unknown);
        };
        let found: Option<(i64, String)> = self
            .transaction
            .prepare_cached("SELECT state, workflow FROM executions WHERE number = ?1")?
            .query_row(params![number], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let Some((state, workflow)) = found else {
            return Ok(Summoned::Unknown);
        };
        match state {
            WAITING => {
                if self.set_due(number, state)? {
                    *self.effects.summoned.entry(workflow).or_default() += 1;
                }
            }
            PARKED => drop(self.set_due(number, state)?),
            CLAIMED => {}
            _ => return Ok(Summoned::Ended),
        }
        Ok(Summoned::Here)
    }

    /// Makes one due before all others; not one that could not be claimed, which would be due for ever.
    fn set_due(&mut self, number: i64, state: i64) -> Sql<bool> {
        let changed = self
            .transaction
            .prepare_cached(
                "UPDATE executions SET state = 2, due_us = ?3 WHERE number = ?1 AND state = ?2
                 AND EXISTS (SELECT 1 FROM definitions d WHERE d.digest = executions.definition)",
            )?
            .execute(params![number, state, SUMMONED_US])?;
        self.effects.due_changed |= changed > 0;
        Ok(changed > 0)
    }

    /// The numbers of those that are to be ended, at most `max`, whatever room their workflows have. One that nobody wants to end
    /// any more is due like others.
    pub(super) fn summoned(&mut self, max: usize, admission: &dyn Admission) -> Sql<Vec<i64>> {
        let mut statement = self.transaction.prepare_cached(
            "SELECT number, name FROM executions WHERE state = 2 AND due_us = ?1 LIMIT ?2",
        )?;
        let all = statement.query_map(params![SUMMONED_US, LOOK_MAX], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
        let all: Vec<(i64, String)> = all.collect::<Sql<_>>()?;
        let mut summoned = Vec::new();
        for (number, name) in all {
            if summoned.len() >= max {
                break;
            }
            if admission.is_to_end(&name) {
                summoned.push(number);
            } else {
                self.wake_number(number)?;
            }
        }
        self.effects.resumed += summoned.len() as u64;
        self.effects.due_changed |= !summoned.is_empty();
        Ok(summoned)
    }
}
