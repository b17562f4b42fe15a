//! Looking at a log, and going on after damage: what is lost is set aside and told, never passed over.

use std::io;

use crate::{
    check::{check, scan_all, segments},
    error::{Damage, OpenError},
    format::{
        LogId, RECORD_HEADER_BYTES, RecordKind, SEGMENT_HEADER_BYTES, SegmentHeader, encode_record,
        span,
    },
    log::{Segment, file_name, number_of},
    scan::Scan,
    storage::Storage,
};

/// What a segment holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentReport {
    /// Name of its file.
    pub file: String,
    /// Its header.
    pub header: SegmentHeader,
    /// Whole records.
    pub records: u64,
    /// Bytes of them, with the segment's header.
    pub used_bytes: u64,
    /// One past its last sequence.
    pub next_sequence: u64,
    /// Whether it says that a next one exists.
    pub sealed: bool,
    /// Whether it ends with a mark: a clean end.
    pub marked: bool,
    /// What a repair has given up: from, and up to but not including.
    pub gaps: Vec<(u64, u64)>,
    /// Damage.
    pub damage: Option<Damage>,
}

/// Reads every segment; changes nothing. `check` of [`crate::Log::open`] says what a report does not: what is missing.
///
/// # Errors
/// [`OpenError`] when a file cannot be read or has no header.
pub fn inspect(storage: &dyn Storage) -> Result<Vec<SegmentReport>, OpenError> {
    let names = storage.list().map_err(OpenError::io("list the folder"))?;
    let segments = segments(storage, &names)?;
    let scans = scan_all(&segments)?;
    Ok(segments
        .iter()
        .zip(scans)
        .map(|(segment, scan)| SegmentReport {
            file: file_name(segment.header.number),
            header: segment.header,
            records: scan.records,
            used_bytes: scan.end,
            next_sequence: scan.next_sequence,
            sealed: scan.last == Some(RecordKind::Seal),
            marked: scan.last == Some(RecordKind::Mark),
            gaps: scan.gaps,
            damage: scan.damage,
        })
        .collect())
}

/// What [`repair`] has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Sequences given up: from, and up to but not including.
    pub lost: Vec<(u64, u64)>,
    /// Files that hold the damaged bytes as they were found.
    pub kept: Vec<String>,
}

/// Makes a damaged log one that opens. Each hole is filled with a gap record, which the reader gives to its owner; damaged
/// bytes are first copied to a file of their own. `known` as in [`crate::Log::open`].
///
/// # Errors
/// [`OpenError`] when the disk fails, a header is damaged that nothing else tells, a segment is another log's, or the log
/// still does not open.
pub fn repair(
    storage: &dyn Storage,
    segment_bytes: u64,
    known: Option<(LogId, u64)>,
) -> Result<Repaired, OpenError> {
    let mut repaired = Repaired::default();
    mend_headers(storage, known.map(|(id, _)| id), &mut repaired)?;
    let names = storage.list().map_err(OpenError::io("list the folder"))?;
    let mut all = segments(storage, &names)?;
    let id = known
        .map(|(id, _)| id)
        .or_else(|| all.first().map(|segment| segment.header.log));
    // What belongs to another log can stand for nothing that is missing here.
    if let Some(expected) = id
        && let Some(other) = all.iter().find(|segment| segment.header.log != expected)
    {
        return Err(OpenError::OtherLog {
            found: other.header.log,
            expected,
        });
    }
    let mut scans = scan_all(&all)?;
    let fills = |source: io::Error| OpenError::io("fill a gap")(source);
    for at in 0..all.len() {
        while let Some(damage) = scans[at].damage.take() {
            keep(
                storage,
                &all[at],
                damage.offset,
                damage.until,
                &mut repaired,
            )
            .and_then(|()| {
                let lost = (damage.first_lost, damage.next_whole);
                fill(&all[at], damage.offset, damage.until, lost)
            })
            .map_err(fills)?;
            repaired.lost.push((damage.first_lost, damage.next_whole));
            scans[at] = crate::scan::scan(all[at].file.as_ref(), &all[at].header).map_err(fills)?;
        }
    }
    let seen = known.map_or(0, |(_, seen)| seen);
    bridge(
        storage,
        segment_bytes,
        known.map(|(id, _)| id),
        seen,
        &mut all,
        &mut scans,
        &mut repaired,
    )
    .map_err(fills)?;
    // Nothing is said to be repaired that does not open.
    let names = storage.list().map_err(OpenError::io("list the folder"))?;
    let all = segments(storage, &names)?;
    check(&all, &scan_all(&all)?, seen)?;
    Ok(repaired)
}

/// Headers, from what the file's name, the other segments and the first record say.
fn mend_headers(
    storage: &dyn Storage,
    id: Option<LogId>,
    repaired: &mut Repaired,
) -> Result<(), OpenError> {
    let names = storage.list().map_err(OpenError::io("list the folder"))?;
    let one = |name: &String| segments(storage, std::slice::from_ref(name));
    let whole: Vec<Segment> = names
        .iter()
        .filter_map(|name| one(name).ok())
        .flatten()
        .collect();
    let id = id.or_else(|| whole.first().map(|segment| segment.header.log));
    for name in &names {
        let (Some(number), Err(OpenError::Header { file })) = (number_of(name), one(name)) else {
            continue;
        };
        let Some(id) = id else {
            return Err(OpenError::Header { file });
        };
        let opened = storage
            .open(name)
            .map_err(OpenError::io("open a segment"))?;
        let mut first = [0; RECORD_HEADER_BYTES];
        opened
            .read_at(&mut first, SEGMENT_HEADER_BYTES)
            .map_err(OpenError::io("read a segment"))?;
        let size = opened.size().map_err(OpenError::io("measure a segment"))?;
        let mut header = SegmentHeader {
            log: id,
            number,
            size,
            first_sequence: 0,
        };
        let Some(record) = crate::format::decode_record_header(&first, header.salt()) else {
            return Err(OpenError::Header { file });
        };
        header.first_sequence = record.sequence;
        let segment = Segment {
            header,
            file: opened,
        };
        keep(storage, &segment, 0, SEGMENT_HEADER_BYTES, repaired)
            .and_then(|()| segment.file.write_at(&header.encode(), 0))
            .and_then(|()| segment.file.sync())
            .map_err(OpenError::io("mend a header"))?;
    }
    Ok(())
}

/// Copies bytes to a file of their own before they are overwritten.
fn keep(
    storage: &dyn Storage,
    segment: &Segment,
    from: u64,
    to: u64,
    repaired: &mut Repaired,
) -> io::Result<()> {
    let name = format!("damaged-{:016x}-{from}", segment.header.number);
    let mut bytes = vec![0; usize::try_from(to - from).unwrap_or(0)];
    let read = segment.file.read_at(&mut bytes, from)?;
    let copy = storage.create(&name, read as u64)?;
    copy.write_at(&bytes[..read], 0)?;
    copy.sync()?;
    repaired.kept.push(name);
    Ok(())
}

/// A gap record over `from..to`.
fn fill(segment: &Segment, from: u64, to: u64, lost: (u64, u64)) -> io::Result<()> {
    let room = usize::try_from(to - from).unwrap_or(0);
    let mut payload = vec![0; room.saturating_sub(RECORD_HEADER_BYTES)];
    if let Some(said) = payload.first_chunk_mut::<8>() {
        *said = lost.1.to_le_bytes();
    }
    let mut bytes = Vec::with_capacity(room);
    encode_record(
        &mut bytes,
        segment.header.salt(),
        lost.0,
        lost.0,
        RecordKind::Gap,
        &[&payload],
    );
    segment.file.write_at(&bytes, from)?;
    segment.file.sync()
}

/// A gap record where nothing dictates its size.
const GAP_BYTES: u64 = RECORD_HEADER_BYTES as u64 + 8;

/// A gap record after the last one of a segment, at `from`; where it ends.
fn fill_after(segment: &Segment, from: u64, lost: (u64, u64)) -> io::Result<u64> {
    let to = from + GAP_BYTES;
    has_room(segment, to + span(0))?;
    fill(segment, from, to, lost)?;
    Ok(to)
}

/// Writing beyond its end would make the file longer than its header says.
fn has_room(segment: &Segment, to: u64) -> io::Result<()> {
    if to > segment.header.size {
        return Err(io::Error::other(
            "a segment has no room for a gap or a seal",
        ));
    }
    Ok(())
}

/// Stands segments in for those that are gone.
fn bridge(
    storage: &dyn Storage,
    segment_bytes: u64,
    id: Option<LogId>,
    seen: u64,
    all: &mut [Segment],
    scans: &mut [Scan],
    repaired: &mut Repaired,
) -> io::Result<()> {
    let Some(id) = id.or_else(|| all.first().map(|segment| segment.header.log)) else {
        return Ok(());
    };
    let mut expected = seen + 1;
    let mut number = all
        .first()
        .map_or(1, |first| first.header.number.saturating_sub(1).max(1));
    for (at, (segment, scan)) in all.iter().zip(scans.iter()).enumerate() {
        let first = segment.header.first_sequence;
        let sealed = |at: usize| scans[at].last == Some(RecordKind::Seal);
        let unfinished_roll = at > 0
            && !sealed(at - 1)
            && first == expected + 1
            && scan.records == 0
            && at + 1 == all.len();
        if first > expected && !unfinished_roll {
            // A cut before it, within a segment or between two.
            if at > 0 && !sealed(at - 1) {
                let before = &all[at - 1];
                let end = scans[at - 1].end;
                keep(storage, before, end, before.header.size, repaired)?;
                // Nothing but the seal may be missing.
                if first - 1 == expected {
                    seal(before, end, expected)?;
                    expected = scan.next_sequence;
                    number = segment.header.number + 1;
                    continue;
                }
                let to = fill_after(before, end, (expected, first - 1))?;
                seal(before, to, first - 1)?;
            } else {
                stand_in(storage, segment_bytes, id, number, (expected, first - 1))?;
            }
            // The last of them was the seal, which stands again.
            if first - 1 > expected {
                repaired.lost.push((expected, first - 1));
            }
        }
        expected = scan.next_sequence;
        number = segment.header.number + 1;
    }
    let lacks_next = scans
        .last()
        .is_some_and(|scan| scan.last == Some(RecordKind::Seal));
    if lacks_next || all.is_empty() || expected <= seen {
        // How many records stood in what is gone at the end, nothing tells: one at least.
        let upto = expected.max(seen + 1);
        let upto = upto + u64::from(upto == expected);
        if let (Some(last), false) = (all.last(), lacks_next) {
            // What comes to stand in the last segment says that the one before it is sealed.
            if let [.., (before, scan), (_, _)] =
                all.iter().zip(scans.iter()).collect::<Vec<_>>()[..]
                && scan.last != Some(RecordKind::Seal)
            {
                seal(before, scan.end, last.header.first_sequence - 1)?;
            }
            let end = scans.last().map_or(SEGMENT_HEADER_BYTES, |scan| scan.end);
            fill_after(last, end, (expected, upto))?;
        } else {
            stand_in_open(storage, segment_bytes, id, number, (expected, upto))?;
        }
        repaired.lost.push((expected, upto));
    }
    Ok(())
}

fn seal(segment: &Segment, at: u64, sequence: u64) -> io::Result<()> {
    has_room(segment, at + span(0))?;
    let mut bytes = Vec::new();
    let salt = segment.header.salt();
    encode_record(&mut bytes, salt, sequence, sequence, RecordKind::Seal, &[]);
    segment.file.write_at(&bytes, at)?;
    segment.file.sync()
}

/// A segment with a gap and a seal.
fn stand_in(
    storage: &dyn Storage,
    segment_bytes: u64,
    id: LogId,
    number: u64,
    lost: (u64, u64),
) -> io::Result<()> {
    let segment = stand_in_open(storage, segment_bytes, id, number, lost)?;
    let after = SEGMENT_HEADER_BYTES + GAP_BYTES;
    seal(&segment, after, lost.1)
}

/// A segment with a gap.
fn stand_in_open(
    storage: &dyn Storage,
    segment_bytes: u64,
    id: LogId,
    number: u64,
    lost: (u64, u64),
) -> io::Result<Segment> {
    let file = storage.create(&file_name(number), segment_bytes)?;
    let header = SegmentHeader {
        log: id,
        number,
        size: segment_bytes,
        first_sequence: lost.0,
    };
    let segment = Segment { header, file };
    if lost.1 > lost.0 {
        let from = SEGMENT_HEADER_BYTES;
        fill(&segment, from, from + GAP_BYTES, lost)?;
    }
    segment.file.write_at(&header.encode(), 0)?;
    segment.file.sync()?;
    Ok(segment)
}
