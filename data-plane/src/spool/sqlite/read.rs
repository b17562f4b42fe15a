//! Queries on the reading connection.

use jiff::Timestamp;
use rusqlite::{Connection, params};
use serde::de::DeserializeOwned;
use signalbox_model::record::SequencedRecord;

use crate::spool::Handshake;

pub(super) fn unreported(
    connection: &Connection,
    after: u64,
    max_records: usize,
    max_bytes: usize,
) -> Result<Vec<SequencedRecord>, rusqlite::Error> {
    let mut statement = connection
        .prepare_cached("SELECT seq, body FROM log WHERE seq > ?1 ORDER BY seq LIMIT ?2")?;
    let mut rows = statement.query(params![
        to_sql(after),
        i64::try_from(max_records).unwrap_or(i64::MAX)
    ])?;
    let mut records = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let body = row.get_ref(1)?.as_blob()?;
        bytes += body.len();
        if bytes > max_bytes && !records.is_empty() {
            break;
        }
        records.push(SequencedRecord {
            sequence: from_sql(row.get(0)?),
            record: decode(body)?,
        });
    }
    Ok(records)
}

pub(super) fn due_handshakes(
    connection: &Connection,
    now: Timestamp,
    max: usize,
) -> Result<Vec<Handshake>, rusqlite::Error> {
    let mut statement = connection.prepare_cached(
        "SELECT workflow, topic_arn, token, certificate_origin, received_at_us, attempts FROM handshakes
         WHERE next_attempt_at_us <= ?1 ORDER BY next_attempt_at_us LIMIT ?2",
    )?;
    let rows = statement.query_map(
        params![now.as_microsecond(), i64::try_from(max).unwrap_or(i64::MAX)],
        |row| {
            Ok(Handshake {
                workflow: row
                    .get::<_, String>(0)?
                    .parse()
                    .map_err(|error| conversion(Box::new(error)))?,
                topic_arn: row.get(1)?,
                token: row.get(2)?,
                certificate_origin: row.get(3)?,
                received_at: Timestamp::from_microsecond(row.get(4)?)
                    .map_err(|error| conversion(Box::new(error)))?,
                attempts: row.get(5)?,
            })
        },
    )?;
    rows.collect()
}

/// An execution's facts, encoded and in order, and the sequence of the last; 0 where there is none.
pub(super) fn journal_of(
    connection: &Connection,
    number: i64,
) -> Result<(Vec<Vec<u8>>, u64), rusqlite::Error> {
    let mut statement = connection.prepare_cached(
        "SELECT seq, body FROM log WHERE execution = ?1 AND kind = 0 ORDER BY seq",
    )?;
    let mut rows = statement.query(params![number])?;
    let mut records = Vec::new();
    let mut last = 0;
    while let Some(row) = rows.next()? {
        last = from_sql(row.get(0)?);
        records.push(row.get(1)?);
    }
    Ok((records, last))
}

pub(super) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, rusqlite::Error> {
    serde_json::from_slice(body).map_err(|error| conversion(Box::new(error)))
}

fn conversion(error: Box<dyn std::error::Error + Send + Sync>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Blob, error)
}

pub(super) fn to_sql(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn from_sql(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
