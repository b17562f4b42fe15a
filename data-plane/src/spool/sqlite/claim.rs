//! Who goes on: claiming executions, parking them, making them due.

use std::collections::HashMap;

use jiff::Timestamp;
use rusqlite::params;
use signalbox_model::record::{Record, RecordBody};

use super::{
    batch::{Batch, Sql},
    read::{decode, journal_of},
    schema::{CLAIMED, PARKED, UNCLAIMED},
    signals::told_of,
    turns::share_out,
};
use crate::spool::{Admission, Claimed};

/// A row that is claimed.
struct Found {
    name: String,
    record: Record,
    definition: Vec<u8>,
}

impl Batch<'_> {
    /// Those that are due first: they have begun.
    pub(super) fn claim(&mut self, max: usize, admission: &dyn Admission) -> Sql<Vec<Claimed>> {
        let mut taken = HashMap::new();
        let mut found = self.due(max, admission, &mut taken)?;
        let resumed = found.len();
        found.extend(self.in_turns(max - resumed, admission, &taken)?);
        self.effects.resumed += resumed as u64;
        self.effects.due_changed |= resumed > 0;
        self.effects.claimed += (found.len() - resumed) as u64;
        let mut claimed = Vec::with_capacity(found.len());
        for of in found {
            claimed.extend(self.begin(of)?);
        }
        Ok(claimed)
    }

    /// Parked executions that are due, the longest first; notes in `taken` how many of which workflow.
    fn due(
        &self,
        max: usize,
        admission: &dyn Admission,
        taken: &mut HashMap<String, usize>,
    ) -> Sql<Vec<Found>> {
        let mut found = Vec::new();
        let mut statement = self.transaction.prepare_cached(
            "SELECT e.name, e.record, d.source, e.workflow FROM executions e
             JOIN definitions d ON d.digest = e.definition
             WHERE e.ended = 0 AND e.claimed = 2 AND e.due_us <= ?1 ORDER BY e.due_us",
        )?;
        let mut rows = statement.query(params![self.now.as_microsecond()])?;
        while found.len() < max
            && let Some(row) = rows.next()?
        {
            let taken = taken.entry(row.get(3)?).or_default();
            if admission.room(row.get_ref(3)?.as_str()?) > *taken {
                *taken += 1;
                found.push(read(row)?);
            }
        }
        Ok(found)
    }

    /// Executions that have not begun: of each workflow as many, its oldest first.
    fn in_turns(
        &mut self,
        max: usize,
        admission: &dyn Admission,
        taken: &HashMap<String, usize>,
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
        let mut held_back = 0;
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
            "SELECT e.name, e.record, d.source FROM executions e
             JOIN definitions d ON d.digest = e.definition
             WHERE e.ended = 0 AND e.claimed = ?1 AND e.workflow = ?2
             ORDER BY e.accepted_seq LIMIT ?3",
        )?;
        let max = i64::try_from(max).unwrap_or(i64::MAX);
        let rows = statement.query_map(params![UNCLAIMED, workflow, max], read)?;
        rows.collect()
    }

    fn begin(&self, found: Found) -> Sql<Option<Claimed>> {
        let Found {
            name,
            record,
            definition,
        } = found;
        self.transaction
            .prepare_cached("UPDATE executions SET claimed = ?2 WHERE name = ?1")?
            .execute(params![name, CLAIMED])?;
        let RecordBody::Accepted(accepted) = record.body else {
            return Ok(None);
        };
        let (journal, journal_until) = journal_of(self.transaction, &name)?;
        Ok(Some(Claimed {
            accepted: *accepted,
            definition: definition.into(),
            traceparent: record.traceparent,
            journal,
            journal_until,
        }))
    }

    /// What was told by somebody who found it claimed is not left unheard, wherever the process ends.
    pub(super) fn park(&mut self, execution: &str, due: Timestamp, heard_until: u64) -> Sql<()> {
        let is_told = !told_of(self.transaction, execution, heard_until)?.is_empty();
        let due = if is_told { self.now } else { due };
        let changed = self
            .transaction
            .prepare_cached(
                "UPDATE executions SET claimed = ?3, due_us = ?2
                 WHERE name = ?1 AND ended = 0 AND claimed = ?4",
            )?
            .execute(params![execution, due.as_microsecond(), PARKED, CLAIMED])?;
        self.effects.parked += changed as u64;
        self.effects.due_changed |= changed > 0;
        Ok(())
    }

    pub(super) fn wake(&mut self, execution: &str) -> Sql<()> {
        let changed = self
            .transaction
            .prepare_cached(
                "UPDATE executions SET due_us = ?2 WHERE name = ?1 AND ended = 0 AND claimed = ?3",
            )?
            .execute(params![execution, self.now.as_microsecond(), PARKED])?;
        self.effects.due_changed |= changed > 0;
        Ok(())
    }
}

fn read(row: &rusqlite::Row<'_>) -> Sql<Found> {
    Ok(Found {
        name: row.get(0)?,
        record: decode(row.get_ref(1)?.as_blob()?)?,
        definition: row.get(2)?,
    })
}
