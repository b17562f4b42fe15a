//! Who goes on: claiming executions, parking them, making them due.

use std::collections::{HashMap, hash_map::Entry};

use bytes::Bytes;
use jiff::Timestamp;
use rusqlite::params;
use signalbox_model::record::{Record, RecordBody};

use super::{
    batch::{Batch, Sql},
    read::{decode, journal_of},
    schema::{CLAIMED, PARKED},
    signals::told_of,
    turns::share_out,
};
use crate::spool::{Admission, Claimed, SpoolError};

/// A row that is claimed.
struct Found {
    number: i64,
    name: String,
    /// What made it, encoded.
    record: Vec<u8>,
    /// Its digest.
    definition: Vec<u8>,
}

/// Parked executions that are due.
#[derive(Default)]
struct Due {
    /// Those whose workflows have room.
    found: Vec<Found>,
    /// Numbers and workflows of those without.
    held: Vec<(i64, String)>,
}

/// Executions that are due and have no room, which one claim looks at: that it never holds up a commit for long.
const HELD_MAX: usize = 1000;

/// An execution that was claimed, as the file has it: who asked for it decodes it, not the one writer.
pub(in crate::spool) struct Taken {
    record: Vec<u8>,
    definition: Bytes,
    journal: Vec<Vec<u8>>,
    journal_until: u64,
}

impl Taken {
    pub(super) fn decode(self) -> Result<Claimed, SpoolError> {
        let record = |encoded: &Vec<u8>| -> Result<Record, SpoolError> {
            decode(encoded).map_err(|error| SpoolError::Failed(error.to_string()))
        };
        let Record {
            traceparent, body, ..
        } = record(&self.record)?;
        let RecordBody::Accepted(accepted) = body else {
            return Err(SpoolError::Failed(
                "an execution was made by no event".to_owned(),
            ));
        };
        Ok(Claimed {
            accepted: *accepted,
            definition: self.definition,
            traceparent,
            journal: self.journal.iter().map(record).collect::<Result<_, _>>()?,
            journal_until: self.journal_until,
        })
    }
}

/// The definitions of those that are claimed, by digest. Many share one.
type Definitions = HashMap<Vec<u8>, Bytes>;

impl Batch<'_> {
    /// Those that are due first: they have begun.
    pub(super) fn claim(&mut self, max: usize, admission: &dyn Admission) -> Sql<Vec<Taken>> {
        let mut taken = HashMap::new();
        let Due { mut found, held } = self.due(max, admission, &mut taken)?;
        let resumed = found.len();
        let held_back = self.hold(held)?;
        found.extend(self.in_turns(max - resumed, admission, &taken, held_back)?);
        self.effects.resumed += resumed as u64;
        self.effects.due_changed |= resumed > 0;
        self.effects.claimed += (found.len() - resumed) as u64;
        let mut definitions = Definitions::new();
        found
            .into_iter()
            .map(|found| self.begin(found, &mut definitions))
            .collect()
    }

    /// Parked executions that are due, the longest first; notes in `taken` how many of which workflow.
    fn due(
        &self,
        max: usize,
        admission: &dyn Admission,
        taken: &mut HashMap<String, usize>,
    ) -> Sql<Due> {
        let mut due = Due::default();
        let mut statement = self.transaction.prepare_cached(
            "SELECT e.number, e.name, l.body, e.definition, e.workflow
             FROM executions e JOIN log l ON l.seq = e.number
             WHERE e.state = 2 AND e.due_us <= ?1
             AND EXISTS (SELECT 1 FROM definitions d WHERE d.digest = e.definition) ORDER BY e.due_us",
        )?;
        let mut rows = statement.query(params![self.now.as_microsecond()])?;
        while due.found.len() < max
            && due.held.len() < HELD_MAX
            && let Some(row) = rows.next()?
        {
            let taken = taken.entry(row.get(4)?).or_default();
            if admission.room(row.get_ref(4)?.as_str()?) > *taken {
                *taken += 1;
                due.found.push(read(row)?);
            } else {
                due.held.push((row.get(0)?, row.get(4)?));
            }
        }
        Ok(due)
    }

    /// Leaves those that are due and have no room to the turns of their workflows, where each is not looked at again and again.
    /// Gives how many.
    fn hold(&mut self, held: Vec<(i64, String)>) -> Sql<u64> {
        let count = held.len() as u64;
        for (number, workflow) in held {
            self.transaction
                .prepare_cached("UPDATE executions SET state = 0, due_us = NULL WHERE number = ?1")?
                .execute(params![number])?;
            *self.effects.new_of.entry(workflow).or_default() += 1;
        }
        self.effects.held += count;
        self.effects.due_changed |= count > 0;
        Ok(count)
    }

    /// Executions that nobody has: of each workflow as many, its oldest first. `held_back` are new among them, without room.
    fn in_turns(
        &mut self,
        max: usize,
        admission: &dyn Admission,
        taken: &HashMap<String, usize>,
        mut held_back: u64,
    ) -> Sql<Vec<Found>> {
        let room = |workflow: &str| {
            let taken = taken.get(workflow).copied().unwrap_or(0);
            admission.room(workflow).saturating_sub(taken)
        };
        let turns = self.turns;
        let waiting: Vec<(&str, u64)> = turns.order().collect();
        let rooms: Vec<usize> = waiting.iter().map(|(workflow, _)| room(workflow)).collect();
        let wants: Vec<usize> = waiting
            .iter()
            .zip(&rooms)
            .map(|((_, waiting), room)| usize::try_from(*waiting).unwrap_or(usize::MAX).min(*room))
            .collect();
        let mut found = Vec::new();
        for (((workflow, waiting), room), share) in
            waiting.iter().zip(rooms).zip(share_out(max, &wants))
        {
            if room == share {
                held_back += waiting.saturating_sub(share as u64);
            }
            if share > 0 {
                found.extend(self.oldest(workflow, share)?);
                let turn = ((*workflow).to_owned(), share as u64);
                self.effects.turns_of.push(turn);
            }
        }
        self.effects.held_back = Some(held_back);
        Ok(found)
    }

    fn oldest(&self, workflow: &str, max: usize) -> Sql<Vec<Found>> {
        let mut statement = self.transaction.prepare_cached(
            "SELECT e.number, e.name, l.body, e.definition FROM executions e JOIN log l ON l.seq = e.number
             WHERE e.state = 0 AND e.workflow = ?1
             AND EXISTS (SELECT 1 FROM definitions d WHERE d.digest = e.definition)
             ORDER BY e.number LIMIT ?2",
        )?;
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        let rows = statement.query_map(params![workflow, max], read)?;
        rows.collect()
    }

    fn begin(&mut self, found: Found, definitions: &mut Definitions) -> Sql<Taken> {
        let Found {
            number,
            name,
            record,
            definition,
        } = found;
        self.transaction
            .prepare_cached("UPDATE executions SET state = 1, due_us = NULL WHERE number = ?1")?
            .execute(params![number])?;
        self.effects.numbers.push((name, number));
        let (journal, journal_until) = journal_of(self.transaction, number)?;
        Ok(Taken {
            record,
            definition: self.definition_of(definition, definitions)?,
            journal,
            journal_until,
        })
    }

    fn definition_of(&self, digest: Vec<u8>, known: &mut Definitions) -> Sql<Bytes> {
        match known.entry(digest) {
            Entry::Occupied(known) => Ok(known.get().clone()),
            Entry::Vacant(new) => {
                let source: Vec<u8> = self
                    .transaction
                    .prepare_cached("SELECT source FROM definitions WHERE digest = ?1")?
                    .query_row(params![new.key()], |row| row.get(0))?;
                Ok(new.insert(source.into()).clone())
            }
        }
    }

    /// What was told by somebody who found it claimed is not left unheard, wherever the process ends.
    pub(super) fn park(&mut self, execution: &str, due: Timestamp, heard_until: u64) -> Sql<()> {
        let Some(number) = self.number_of(execution)? else {
            return Ok(());
        };
        let is_told = !told_of(self.transaction, number, heard_until)?.is_empty();
        let due = if is_told { self.now } else { due };
        let changed = self
            .transaction
            .prepare_cached(
                "UPDATE executions SET state = 2, due_us = ?2 WHERE number = ?1 AND state = ?3",
            )?
            .execute(params![number, due.as_microsecond(), CLAIMED])?;
        self.effects.parked += changed as u64;
        self.effects.due_changed |= changed > 0;
        self.effects.released.push(execution.to_owned());
        Ok(())
    }

    /// Makes one due that is parked.
    pub(super) fn wake(&mut self, execution: &str) -> Sql<()> {
        match self.open_of(execution)? {
            Some((number, PARKED)) => self.wake_number(number),
            _ => Ok(()),
        }
    }

    pub(super) fn wake_number(&mut self, number: i64) -> Sql<()> {
        let changed = self
            .transaction
            .prepare_cached("UPDATE executions SET due_us = ?2 WHERE number = ?1 AND state = 2")?
            .execute(params![number, self.now.as_microsecond()])?;
        self.effects.due_changed |= changed > 0;
        Ok(())
    }
}

fn read(row: &rusqlite::Row<'_>) -> Sql<Found> {
    Ok(Found {
        number: row.get(0)?,
        name: row.get(1)?,
        record: row.get(2)?,
        definition: row.get(3)?,
    })
}
