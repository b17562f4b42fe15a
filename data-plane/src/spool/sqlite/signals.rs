//! What executions are told: facts of their journals that others than those who claimed them write.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _, params};
use signalbox_model::{
    execution::Fact,
    ids::SignalId,
    record::{RecordBody, SequencedRecord},
};

use super::{
    batch::{Batch, Sql},
    entries,
    read::{decode, from_sql, to_sql},
    schema::{CLAIMED, KIND_FACT, PARKED},
};
use crate::spool::Told;

/// One of these stands in every record of what is told, and in few others.
const MARKS: [&[u8]; 3] = [b"\"signalReceived\"", b"\"childEnded\"", b"\"abandoned\""];

impl Batch<'_> {
    /// Journals a signal unless its execution has ended or was told it. One that is parked is due then.
    pub(super) fn tell(&mut self, execution: &str, id: &SignalId, record: &[u8]) -> Sql<Told> {
        let Some((number, state)) = self.open_of(execution)? else {
            return Ok(Told::Gone);
        };
        let told = told_of(self.transaction, number, 0)?;
        let is_copy = told.iter().any(|record| id_of(record) == Some(id));
        if !is_copy {
            self.log(KIND_FACT, Some(number), record)?;
        }
        self.told(number, state)
    }

    /// Journals what an execution is told, unless it has ended. One that is parked is due then.
    pub(super) fn tell_fact(&mut self, execution: &str, record: &[u8]) -> Sql<Told> {
        let Some((number, state)) = self.open_of(execution)? else {
            return Ok(Told::Gone);
        };
        self.log(KIND_FACT, Some(number), record)?;
        self.told(number, state)
    }

    /// Number and state of an execution; none when it has ended, or there is none.
    pub(super) fn open_of(&self, execution: &str) -> Sql<Option<(i64, i64)>> {
        let Some(number) = self.number_of(execution)? else {
            return Ok(None);
        };
        self.transaction
            .prepare_cached(
                "SELECT number, state FROM executions WHERE number = ?1 AND state <> 3",
            )?
            .query_row(params![number], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()
    }

    fn told(&mut self, number: i64, state: i64) -> Sql<Told> {
        if state == PARKED {
            self.wake_number(number)?;
        }
        Ok(if state == CLAIMED {
            Told::Claimed
        } else {
            Told::Unclaimed
        })
    }
}

/// What the execution of this name was told.
pub(super) fn told_by_name(
    connection: &Connection,
    execution: &str,
    after: u64,
) -> Sql<Vec<SequencedRecord>> {
    let number = entries::number_of(connection, execution)?;
    number.map_or(Ok(Vec::new()), |number| told_of(connection, number, after))
}

/// The definition that the unfinished execution of this name runs.
pub(super) fn definition(connection: &Connection, execution: &str) -> Sql<Option<Bytes>> {
    let Some(number) = entries::number_of(connection, execution)? else {
        return Ok(None);
    };
    connection
        .prepare_cached(
            "SELECT d.source FROM executions e JOIN definitions d ON d.digest = e.definition
             WHERE e.number = ?1 AND e.state <> 3",
        )?
        .query_row(params![number], |row| row.get::<_, Vec<u8>>(0))
        .optional()
        .map(|source| source.map(Bytes::from))
}

/// What an execution was told, of its journal after `after`, in order.
pub(super) fn told_of(
    connection: &Connection,
    number: i64,
    after: u64,
) -> Sql<Vec<SequencedRecord>> {
    let mut statement = connection.prepare_cached(
        "SELECT seq, body FROM log WHERE execution = ?1 AND kind = 0 AND seq > ?2
         AND (instr(body, ?3) > 0 OR instr(body, ?4) > 0 OR instr(body, ?5) > 0) ORDER BY seq",
    )?;
    let [signal, child, abandoned] = MARKS;
    let mut rows = statement.query(params![number, to_sql(after), signal, child, abandoned])?;
    let mut told = Vec::new();
    while let Some(row) = rows.next()? {
        let record = SequencedRecord {
            sequence: from_sql(row.get(0)?),
            record: decode(row.get_ref(1)?.as_blob()?)?,
        };
        if fact_of(&record).is_some_and(Fact::is_told) {
            told.push(record);
        }
    }
    Ok(told)
}

fn fact_of(record: &SequencedRecord) -> Option<&Fact> {
    match &record.record.body {
        RecordBody::Execution { fact, .. } => Some(fact),
        _ => None,
    }
}

fn id_of(record: &SequencedRecord) -> Option<&SignalId> {
    match fact_of(record)? {
        Fact::SignalReceived(signal) => Some(&signal.id),
        _ => None,
    }
}
