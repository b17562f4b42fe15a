//! Reading a segment from its start, and telling what a crash leaves behind from damage.

use std::io;

use crate::{
    error::Damage,
    format::{
        ALIGNMENT, RECORD_HEADER_BYTES, RecordHeader, RecordKind, SEGMENT_HEADER_BYTES,
        SEQUENCE_MAX, SegmentHeader, decode_record_header,
    },
    storage::SegmentFile,
};

/// Bytes read at a time: enough for a scan, and little to read again for a reader at the log's end.
const WINDOW_BYTES: usize = 128 * 1024;

/// A piece of a file in memory.
#[derive(Default)]
pub(crate) struct Window {
    bytes: Vec<u8>,
    start: u64,
}

impl Window {
    /// The bytes from `offset` on: `length` of them, or fewer where the file ends.
    pub(crate) fn get(
        &mut self,
        file: &dyn SegmentFile,
        offset: u64,
        length: usize,
    ) -> io::Result<&[u8]> {
        let held = self.start..self.start + self.bytes.len() as u64;
        if !(held.contains(&offset) && offset + length as u64 <= held.end) {
            let wanted = length.max(WINDOW_BYTES);
            self.bytes.resize(wanted, 0);
            let read = file.read_at(&mut self.bytes, offset)?;
            self.bytes.truncate(read);
            self.start = offset;
        }
        let from = usize::try_from(offset - self.start).unwrap_or(usize::MAX);
        let to = from.saturating_add(length).min(self.bytes.len());
        Ok(self.bytes.get(from..to).unwrap_or_default())
    }

    /// Forgets what it holds: the file may have changed.
    pub(crate) fn forget(&mut self) {
        self.bytes.clear();
    }
}

/// A whole record at `offset`, of any sequence.
pub(crate) fn record_at(
    file: &dyn SegmentFile,
    window: &mut Window,
    segment: &SegmentHeader,
    offset: u64,
) -> io::Result<Option<RecordHeader>> {
    let salt = segment.salt();
    let bytes = window.get(file, offset, RECORD_HEADER_BYTES)?;
    let Some(header) = decode_record_header(bytes, salt) else {
        return Ok(None);
    };
    if header.group > header.sequence
        || header.sequence >= SEQUENCE_MAX
        || offset + header.span() > segment.size
    {
        return Ok(None);
    }
    let whole = RECORD_HEADER_BYTES + header.length as usize;
    let payload = window
        .get(file, offset, whole)?
        .get(RECORD_HEADER_BYTES..)
        .unwrap_or_default();
    // A gap goes forward: one that does not would give records a second time.
    let next = sequence_after(&header, payload);
    let whole = header.payload_is_whole(salt, payload)
        && (header.sequence + 1..=SEQUENCE_MAX).contains(&next);
    Ok(whole.then_some(header))
}

/// The sequence after a record: the next number, but for a gap, which says it.
pub(crate) fn sequence_after(header: &RecordHeader, payload: &[u8]) -> u64 {
    let said = payload
        .get(..8)
        .and_then(|bytes| bytes.try_into().ok())
        .map(u64::from_le_bytes);
    match (header.kind, said) {
        (RecordKind::Gap, Some(next)) => next,
        _ => header.sequence + 1,
    }
}

/// What a segment holds.
#[derive(Clone, Debug)]
pub(crate) struct Scan {
    /// Records.
    pub(crate) records: u64,
    /// Where the next record goes.
    pub(crate) end: u64,
    /// Its sequence.
    pub(crate) next_sequence: u64,
    /// Kind of the last record.
    pub(crate) last: Option<RecordKind>,
    /// Where the last commit group begins.
    pub(crate) last_group_at: u64,
    /// Gaps that an earlier repair has left.
    pub(crate) gaps: Vec<(u64, u64)>,
    /// Durable records that are not whole.
    pub(crate) damage: Option<Damage>,
}

/// Reads every record of a segment.
pub(crate) fn scan(file: &dyn SegmentFile, segment: &SegmentHeader) -> io::Result<Scan> {
    let mut window = Window::default();
    let mut found = Scan {
        records: 0,
        end: SEGMENT_HEADER_BYTES,
        next_sequence: segment.first_sequence,
        last: None,
        last_group_at: SEGMENT_HEADER_BYTES,
        gaps: Vec::new(),
        damage: None,
    };
    let mut group = None;
    while let Some(header) = record_at(file, &mut window, segment, found.end)? {
        if header.sequence != found.next_sequence {
            break;
        }
        if group != Some(header.group) {
            group = Some(header.group);
            found.last_group_at = found.end;
        }
        let payload = window.get(file, found.end, RECORD_HEADER_BYTES + 8)?;
        let payload = payload.get(RECORD_HEADER_BYTES..).unwrap_or_default();
        let payload = &payload[..payload.len().min(header.length as usize)];
        found.next_sequence = sequence_after(&header, payload);
        if header.kind == RecordKind::Gap {
            found.gaps.push((header.sequence, found.next_sequence));
        }
        found.records += 1;
        found.end += header.span();
        found.last = Some(header.kind);
        if header.kind == RecordKind::Seal {
            return Ok(found);
        }
    }
    found.damage = damage_after(file, &mut window, segment, found.end, found.next_sequence)?;
    Ok(found)
}

/// Whether what stands at `offset`, where `expected` should, was durable once. A group is written only when all before it is
/// durable, and says where it begins: a whole record of a group that begins beyond `expected` proves that `expected` was
/// durable. Whole records of a group that begins no later prove nothing: a crash tears a group anywhere.
pub(crate) fn damage_after(
    file: &dyn SegmentFile,
    window: &mut Window,
    segment: &SegmentHeader,
    offset: u64,
    expected: u64,
) -> io::Result<Option<Damage>> {
    let mut first_whole = None;
    let mut at = offset;
    while at + RECORD_HEADER_BYTES as u64 <= segment.size {
        let candidate = window.get(file, at, RECORD_HEADER_BYTES)?;
        let empty = candidate.len() < RECORD_HEADER_BYTES || candidate[..8] == [0; 8];
        let header = if empty && candidate.iter().all(|byte| *byte == 0) {
            None
        } else {
            record_at(file, window, segment, at)?
        };
        let Some(header) = header.filter(|header| header.sequence >= expected) else {
            at += ALIGNMENT;
            continue;
        };
        let (until, next_whole) = *first_whole.get_or_insert((at, header.sequence));
        if header.group > expected {
            return Ok(Some(Damage {
                segment: segment.number,
                offset,
                until,
                first_lost: expected,
                next_whole,
            }));
        }
        at += header.span();
    }
    Ok(None)
}
