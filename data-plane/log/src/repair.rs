//! Looking at a log, and going on after damage: what is lost is set aside and told, never passed over.

use std::io;

use crate::{
    check::{check, scan_all, segments},
    error::{Damage, OpenError},
    format::{
        LogId, RECORD_HEADER_BYTES, RecordKind, SEGMENT_HEADER_BYTES, SegmentHeader, encode_record,
        span,
    },
    log::{Segment, file_name},
    mend::{Mended, Repaired, keep, mend_files},
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

/// Makes a damaged log one that opens. Each hole is filled with a gap record, which the reader gives to its owner; damaged
/// bytes are first copied to a file of their own. A file that was cut is brought back to its size; one in which nothing can be
/// read is set aside and taken for missing. `known` as in [`crate::Log::open`].
///
/// # Errors
/// [`OpenError`] when the disk fails, a header is damaged and nothing tells which log it is of, a segment has the header of
/// another number or is another log's, or the log still does not open.
pub fn repair(
    storage: &dyn Storage,
    segment_bytes: u64,
    known: Option<(LogId, u64)>,
) -> Result<Repaired, OpenError> {
    let mut repaired = Repaired::default();
    let id = known.map(|(id, _)| id);
    let mended = mend_files(storage, segment_bytes, id, &mut repaired)?;
    let names = storage.list().map_err(OpenError::io("list the folder"))?;
    let all = segments(storage, &names)?;
    let id = id.or_else(|| all.first().map(|segment| segment.header.log));
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
    if let Some(id) = id {
        let bridge = Bridge {
            storage,
            segment_bytes,
            id,
            seen,
            mended: &mended,
        };
        bridge
            .build(&all, &mut scans, &mut repaired)
            .map_err(fills)?;
    }
    // Nothing is said to be repaired that does not open.
    let names = storage.list().map_err(OpenError::io("list the folder"))?;
    let all = segments(storage, &names)?;
    check(&all, &scan_all(&all)?, seen)?;
    Ok(repaired)
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
struct Bridge<'a> {
    storage: &'a dyn Storage,
    segment_bytes: u64,
    id: LogId,
    seen: u64,
    mended: &'a Mended,
}

/// What is not there between two segments.
struct Hole {
    /// First sequence of it.
    from: u64,
    /// Sequence after it.
    to: u64,
    /// Number of the first segment that is missing.
    number: u64,
    /// How many are.
    segments: u64,
}

impl Bridge<'_> {
    fn build(
        &self,
        all: &[Segment],
        scans: &mut [Scan],
        repaired: &mut Repaired,
    ) -> io::Result<()> {
        let mut expected = self.seen + 1;
        let mut number = all
            .first()
            .map(|first| first.header.number.saturating_sub(1))
            .or(self.mended.set_aside)
            .unwrap_or(1)
            .max(1);
        for at in 0..all.len() {
            let first = all[at].header.first_sequence;
            let is_open = at > 0 && scans[at - 1].last != Some(RecordKind::Seal);
            let unfinished_roll = is_open
                && first == expected + 1
                && scans[at].records == 0
                && at + 1 == all.len()
                && all[at].header.number == number;
            if first > expected && !unfinished_roll {
                let hole = Hole {
                    from: expected,
                    to: first,
                    number,
                    segments: all[at].header.number.saturating_sub(number),
                };
                let before = match is_open {
                    true => Some((&all[at - 1], &mut scans[at - 1])),
                    false => None,
                };
                self.cross(&hole, before, repaired)?;
            }
            expected = scans[at].next_sequence;
            number = all[at].header.number + 1;
        }
        self.end(all, scans, (number, expected), repaired)
    }

    /// A cut before a segment, within the one before it or between the two. Each segment that is missing had a seal at least, and so
    /// had the one before where that is `before`. What else was there becomes one gap.
    fn cross(
        &self,
        hole: &Hole,
        before: Option<(&Segment, &mut Scan)>,
        repaired: &mut Repaired,
    ) -> io::Result<()> {
        let seals = hole.segments + u64::from(before.is_some());
        let Some(lost) = (hole.to - hole.from)
            .checked_sub(seals)
            .filter(|_| seals > 0)
        else {
            return Err(io::Error::other(
                "there is no room for the ends of the segments that are missing",
            ));
        };
        let (mut from, upto) = (hole.from, hole.from + lost);
        if let Some((segment, scan)) = before {
            let end = scan.end;
            // One that was cut is kept, whole, as it was.
            if !self.mended.cut.contains(&segment.header.number) {
                keep(self.storage, segment, end, segment.header.size, repaired)?;
            }
            // Nothing but the seal may be missing.
            let to = match lost {
                0 => end,
                _ => fill_after(segment, end, (from, upto))?,
            };
            seal(segment, to, upto)?;
            scan.last = Some(RecordKind::Seal);
            from = upto + 1;
        }
        for number in hole.number..hole.number + hole.segments {
            let to = from.max(upto);
            stand_in(
                self.storage,
                self.segment_bytes,
                self.id,
                number,
                (from, to),
            )?;
            from = to + 1;
        }
        if lost > 0 {
            repaired.lost.push((hole.from, upto));
        }
        Ok(())
    }

    /// What is gone at the end: how many records stood there, nothing tells. One at least.
    fn end(
        &self,
        all: &[Segment],
        scans: &[Scan],
        (number, expected): (u64, u64),
        repaired: &mut Repaired,
    ) -> io::Result<()> {
        let is_sealed = |scan: &Scan| scan.last == Some(RecordKind::Seal);
        let lacks_next = scans.last().is_some_and(is_sealed);
        let was_cut = |last: &Segment| self.mended.cut.contains(&last.header.number);
        let is_cut = all.last().is_some_and(was_cut);
        if !(lacks_next || all.is_empty() || expected <= self.seen || is_cut) {
            return Ok(());
        }
        let upto = expected.max(self.seen + 1);
        let upto = upto + u64::from(upto == expected);
        if let (Some(last), Some(scan), false) = (all.last(), scans.last(), lacks_next) {
            // What comes to stand in the last segment says that the one before it is sealed.
            if let Some(at) = all.len().checked_sub(2)
                && !is_sealed(&scans[at])
            {
                seal(&all[at], scans[at].end, last.header.first_sequence - 1)?;
            }
            fill_after(last, scan.end, (expected, upto))?;
        } else {
            let lost = (expected, upto);
            stand_in_open(self.storage, self.segment_bytes, self.id, number, lost)?;
        }
        repaired.lost.push((expected, upto));
        Ok(())
    }
}

fn seal(segment: &Segment, at: u64, sequence: u64) -> io::Result<()> {
    has_room(segment, at + span(0))?;
    let mut bytes = Vec::new();
    let salt = segment.header.salt();
    encode_record(&mut bytes, salt, sequence, sequence, RecordKind::Seal, &[]);
    segment.file.write_at(&bytes, at)?;
    segment.file.sync()
}

/// A segment with a gap, where something is lost, and a seal.
fn stand_in(
    storage: &dyn Storage,
    segment_bytes: u64,
    id: LogId,
    number: u64,
    lost: (u64, u64),
) -> io::Result<()> {
    let segment = stand_in_open(storage, segment_bytes, id, number, lost)?;
    let gap = if lost.1 > lost.0 { GAP_BYTES } else { 0 };
    seal(&segment, SEGMENT_HEADER_BYTES + gap, lost.1)
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
