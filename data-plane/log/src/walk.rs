//! Every record of a segment, for whoever looks at a log that nobody has open.

use crate::{
    check::segments,
    error::{Damage, OpenError},
    format::{RECORD_HEADER_BYTES, RecordKind, SEGMENT_HEADER_BYTES, SegmentHeader},
    reader::Record,
    scan::{Window, damage_after, record_at, sequence_after},
    storage::Storage,
};

/// What stands at one place of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A whole record.
    Record {
        /// Where it begins in the file, in bytes.
        offset: u64,
        /// Sequence of the first record of its group.
        group: u64,
        /// The record.
        record: Record,
    },
    /// Durable records that are not whole.
    Damage(Damage),
}

/// Numbers of the segments that there are names of, ascending.
///
/// # Errors
/// [`OpenError::Io`].
pub fn segment_files(storage: &dyn Storage) -> Result<Vec<String>, OpenError> {
    let mut names = storage.list().map_err(OpenError::io("list the folder"))?;
    names.retain(|name| crate::log::number_of(name).is_some());
    names.sort_unstable();
    Ok(names)
}

/// Gives everything in the segment file `name` to `each`, in order, and the segment's header with it. Changes nothing.
///
/// # Errors
/// [`OpenError`] when it cannot be read or has no header.
pub fn walk(
    storage: &dyn Storage,
    name: &str,
    each: &mut dyn FnMut(Found),
) -> Result<SegmentHeader, OpenError> {
    let missing = || OpenError::Header {
        file: name.to_owned(),
    };
    let segment = segments(storage, &[name.to_owned()])?
        .pop()
        .ok_or_else(missing)?;
    let (file, header) = (segment.file.as_ref(), &segment.header);
    let reading = || OpenError::io(format!("read {name}"));
    let mut window = Window::default();
    let (mut at, mut expected) = (SEGMENT_HEADER_BYTES, header.first_sequence);
    loop {
        let found = record_at(file, &mut window, header, at).map_err(reading())?;
        let Some(found) = found.filter(|found| found.sequence == expected) else {
            let damage = damage_after(file, &mut window, header, at, expected);
            let Some(damage) = damage.map_err(reading())? else {
                return Ok(*header);
            };
            (at, expected) = (damage.until, damage.next_whole);
            each(Found::Damage(damage));
            continue;
        };
        let whole = RECORD_HEADER_BYTES + found.length as usize;
        let payload = window.get(file, at, whole).map_err(reading())?;
        let payload = payload.get(RECORD_HEADER_BYTES..).unwrap_or_default();
        expected = sequence_after(&found, payload);
        each(Found::Record {
            offset: at,
            group: found.group,
            record: Record {
                sequence: found.sequence,
                kind: found.kind,
                payload: bytes::Bytes::copy_from_slice(payload),
                next_sequence: expected,
            },
        });
        at += found.span();
        if found.kind == RecordKind::Seal {
            return Ok(*header);
        }
    }
}
