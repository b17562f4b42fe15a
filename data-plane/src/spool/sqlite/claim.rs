//! Who goes on: claiming executions, parking them, making them due.

use std::collections::{HashMap, hash_map::Entry};

use bytes::Bytes;
use jiff::Timestamp;
use rusqlite::params;
use signalbox_model::record::{Record, RecordBody};

use super::{
    batch::{Batch, Sql},
    read::{decode, journal_of},
    schema::{CLAIMED, PARKED, SUMMONED_US},
    signals::told_of,
    turns::{ByWorkflow, Wants, share_out},
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

/// Parked executions that are due, at which one claim looks: that it never holds up a commit for long.
const LOOK_MAX: usize = 1000;

/// An execution that was claimed, as the file has it: who asked for it decodes it, not the one writer.
pub(in crate::spool) struct Taken {
    record: Vec<u8>,
    definition: Bytes,
    journal: Vec<Vec<u8>>,
    journal_until: u64,
    interruptions: u32,
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
            interruptions: self.interruptions,
        })
    }
}

/// The definitions of those that are claimed, by digest. Many share one.
type Definitions = HashMap<Vec<u8>, Bytes>;

impl Batch<'_> {
    /// Of each workflow as many as of the others, as far as it wants and may: those first that are due, since they have begun.
    pub(super) fn claim(&mut self, max: usize, admission: &dyn Admission) -> Sql<Vec<Taken>> {
        let summoned = self.summoned(max, admission)?;
        let max = max - summoned.len();
        let (due, is_all) = self.due(max, admission)?;
        let mut wanting = self.turns.with_due(due);
        for (workflow, wants) in &mut wanting {
            let left = self.effects.summoned.get(workflow).copied();
            wants.new = wants.new.saturating_sub(left.unwrap_or(0));
        }
        let is_contended = wanting.len() > 1 || !is_all;
        let rooms: Vec<usize> = wanting.iter().map(|(of, _)| admission.room(of)).collect();
        let wants = wanting.iter().zip(&rooms).map(|((workflow, wants), room)| {
            let places = admission.places(workflow);
            wants.count().min(*room).min(places)
        });
        let shares = share_out(max, &wants.collect::<Vec<_>>());
        let mut found = Vec::new();
        for number in summoned {
            found.push(self.numbered(number)?);
        }
        let mut held_back = 0;
        for (((workflow, wants), room), share) in wanting.into_iter().zip(rooms).zip(shares) {
            let Wants { mut due, new } = wants;
            let left = due.split_off(share.min(due.len()));
            let begun = share - due.len();
            if room == share {
                held_back += new.saturating_sub(begun as u64) + left.len() as u64;
            }
            // They keep nobody who is due after them from being looked at.
            if room == share || is_contended {
                self.hold(&workflow, &left)?;
            }
            self.effects.resumed += due.len() as u64;
            self.effects.due_changed |= !due.is_empty();
            self.effects.claimed += begun as u64;
            for number in due {
                found.push(self.numbered(number)?);
            }
            if begun > 0 {
                found.extend(self.oldest(&workflow, begun)?);
            }
            if share > 0 {
                self.effects.turns_of.push((workflow, begun as u64));
            }
        }
        self.effects.held_back = Some(held_back);
        let mut definitions = Definitions::new();
        found
            .into_iter()
            .map(|found| self.begin(found, &mut definitions))
            .collect()
    }

    /// Parked executions that are due, the longest first, by workflow; and whether they are all. As many as there is room for are
    /// enough, but now and then it is looked behind those of one workflow, how many they may be, for others'.
    fn due(&mut self, max: usize, admission: &dyn Admission) -> Sql<(ByWorkflow, bool)> {
        let looks_far = self.turns.looks_far(self.now);
        if looks_far {
            self.effects.looked_far = Some(self.now);
        }
        let enough = if looks_far { LOOK_MAX } else { max };
        let mut due = ByWorkflow::new();
        let mut rooms: HashMap<String, usize> = HashMap::new();
        let mut with_room = 0;
        let mut statement = self.transaction.prepare_cached(
            "SELECT e.number, e.workflow FROM executions e WHERE e.state = 2 AND e.due_us <= ?1 AND e.due_us > ?2
             AND EXISTS (SELECT 1 FROM definitions d WHERE d.digest = e.definition) ORDER BY e.due_us",
        )?;
        let mut rows = statement.query(params![self.now.as_microsecond(), SUMMONED_US])?;
        for _ in 0..LOOK_MAX {
            let Some(row) = rows.next()? else {
                return Ok((due, true));
            };
            let workflow: String = row.get(1)?;
            let room = rooms
                .entry(workflow)
                .or_insert_with_key(|workflow| admission.room(workflow));
            if *room > 0 {
                *room -= 1;
                with_room += 1;
            }
            due.entry(row.get(1)?).or_default().push(row.get(0)?);
            if with_room >= enough {
                break;
            }
        }
        Ok((due, false))
    }

    /// Leaves those that are due to the turns of their workflow, where each is not looked at again and again.
    fn hold(&mut self, workflow: &str, numbers: &[i64]) -> Sql<()> {
        for number in numbers {
            self.transaction
                .prepare_cached("UPDATE executions SET state = 0, due_us = NULL WHERE number = ?1")?
                .execute(params![number])?;
        }
        let count = numbers.len() as u64;
        if count > 0 {
            *self.effects.new_of.entry(workflow.to_owned()).or_default() += count;
            self.effects.held += count;
            self.effects.due_changed = true;
        }
        Ok(())
    }

    fn numbered(&self, number: i64) -> Sql<Found> {
        let mut statement = self.transaction.prepare_cached(
            "SELECT e.number, e.name, l.body, e.definition FROM executions e JOIN log l ON l.seq = e.number
             WHERE e.number = ?1",
        )?;
        statement.query_row(params![number], read)
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
            interruptions: self.interruptions(number)?,
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
        self.went_on(number)
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
