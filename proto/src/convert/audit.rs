//! Entries of the audit log.

use jiff::Timestamp;
use signalbox_model::audit::{Change, Entry, Hash};

use super::{WireError, time};
use crate::v1;

/// What entries are called below what they belong to.
const COLLECTION: &str = "auditEntries";

/// An entry for the wire.
#[must_use]
pub fn to_wire(entry: Entry, hash: &Hash) -> v1::AuditEntry {
    let Entry {
        scope,
        sequence,
        time_us,
        actor,
        action,
        resource,
        request_id,
        trace_id,
        changes,
    } = entry;
    let separator = if scope.is_empty() { "" } else { "/" };
    v1::AuditEntry {
        name: format!("{scope}{separator}{COLLECTION}/{sequence}"),
        sequence: i64::try_from(sequence).unwrap_or(i64::MAX),
        time: Timestamp::from_microsecond(time_us).ok().map(time::to_wire),
        actor,
        action,
        resource,
        request_id,
        trace_id,
        changes: changes.into_iter().map(change_to_wire).collect(),
        hash: hash.0.to_vec().into(),
    }
}

fn change_to_wire(change: Change) -> v1::AuditChange {
    let Change {
        field,
        before,
        after,
    } = change;
    v1::AuditChange {
        field,
        before_json: before,
        after_json: after,
    }
}

/// An entry of the chain of `scope` from the wire, and its hash. What its name says is nothing that its hash vouches for:
/// the chain that it was asked for in is.
///
/// # Errors
/// When it is none.
pub fn from_wire(scope: &str, entry: v1::AuditEntry) -> Result<(Entry, Hash), WireError> {
    let v1::AuditEntry {
        name: _,
        sequence,
        time,
        actor,
        action,
        resource,
        request_id,
        trace_id,
        changes,
        hash,
    } = entry;
    let hash = Hash::from_bytes(&hash).ok_or_else(|| WireError::invalid("hash", "is no hash"))?;
    let changes = changes.into_iter().map(|change| Change {
        field: change.field,
        before: change.before_json,
        after: change.after_json,
    });
    let entry = Entry {
        scope: scope.to_owned(),
        sequence: u64::try_from(sequence).map_err(|e| WireError::invalid("sequence", e))?,
        time_us: time::required("time", time)?.as_microsecond(),
        actor,
        action,
        resource,
        request_id,
        trace_id,
        changes: changes.collect(),
    };
    Ok((entry, hash))
}
