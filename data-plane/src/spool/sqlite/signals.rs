//! What executions are told: facts of their journals that others than those who claimed them write.

use rusqlite::{Connection, OptionalExtension as _, params};
use signalbox_model::{
    execution::Fact,
    ids::SignalId,
    record::{RecordBody, SequencedRecord},
};

use super::{
    batch::{Batch, Sql},
    read::{decode, from_sql, to_sql},
    schema::{CLAIMED, KIND_FACT, PARKED},
};
use crate::spool::Told;

/// Stands in every record of a signal, and in few others.
const MARK: &[u8] = b"\"signalReceived\"";

impl Batch<'_> {
    /// Journals a signal unless its execution has ended or was told it. One that is parked is due then.
    pub(super) fn tell(&mut self, execution: &str, id: &SignalId, record: &[u8]) -> Sql<Told> {
        let claimed: Option<i64> = self
            .transaction
            .prepare_cached("SELECT claimed FROM executions WHERE name = ?1 AND ended = 0")?
            .query_row(params![execution], |row| row.get(0))
            .optional()?;
        let Some(claimed) = claimed else {
            return Ok(Told::Gone);
        };
        let told = signals_of(self.transaction, execution, 0)?;
        let is_copy = told.iter().any(|record| id_of(record) == Some(id));
        if !is_copy {
            self.log(KIND_FACT, Some(execution), Some(record))?;
        }
        if claimed == PARKED {
            self.wake(execution)?;
        }
        Ok(if claimed == CLAIMED {
            Told::Claimed
        } else {
            Told::Unclaimed
        })
    }
}

/// The signals in an execution's journal after `after`, in order.
pub(super) fn signals_of(
    connection: &Connection,
    execution: &str,
    after: u64,
) -> Sql<Vec<SequencedRecord>> {
    let mut statement = connection.prepare_cached(
        "SELECT seq, body FROM log WHERE execution = ?1 AND kind = 0 AND seq > ?2 AND instr(body, ?3) > 0
         ORDER BY seq",
    )?;
    let mut rows = statement.query(params![execution, to_sql(after), MARK])?;
    let mut signals = Vec::new();
    while let Some(row) = rows.next()? {
        let record = SequencedRecord {
            sequence: from_sql(row.get(0)?),
            record: decode(row.get_ref(1)?.as_blob()?)?,
        };
        if id_of(&record).is_some() {
            signals.push(record);
        }
    }
    Ok(signals)
}

fn id_of(record: &SequencedRecord) -> Option<&SignalId> {
    match &record.record.body {
        RecordBody::Execution {
            fact: Fact::SignalReceived(signal),
            ..
        } => Some(&signal.id),
        _ => None,
    }
}
