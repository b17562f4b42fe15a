//! Which segments a folder holds, and whether they are what was left there.

use crate::{
    error::{Damage, OpenError},
    format::{
        HeaderError, RECORD_HEADER_BYTES, RecordKind, SegmentHeader, decode_record_header, span,
    },
    log::{Segment, file_name, number_of},
    scan::{Scan, scan},
    storage::{SegmentFile, Storage},
};

/// The segments in the order of their numbers.
pub(crate) fn segments(storage: &dyn Storage, names: &[String]) -> Result<Vec<Segment>, OpenError> {
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| number_of(name)).collect();
    numbers.sort_unstable();
    let mut segments = Vec::with_capacity(numbers.len());
    for number in numbers {
        let name = file_name(number);
        let file = storage
            .open(&name)
            .map_err(OpenError::io(format!("open {name}")))?;
        let header = read_header(file.as_ref(), &name)?;
        if header.number != number {
            return Err(OpenError::Header { file: name });
        }
        segments.push(Segment { header, file });
    }
    Ok(segments)
}

fn read_header(file: &dyn SegmentFile, name: &str) -> Result<SegmentHeader, OpenError> {
    let mut bytes = [0; 64];
    let read = file
        .read_at(&mut bytes, 0)
        .map_err(OpenError::io(format!("read {name}")))?;
    let damaged = || OpenError::Header {
        file: name.to_owned(),
    };
    let header = SegmentHeader::decode(&bytes[..read]).map_err(|error| match error {
        HeaderError::Damaged => damaged(),
        HeaderError::Version(found) => OpenError::NewerFormat { found },
    })?;
    let size = file
        .size()
        .map_err(OpenError::io(format!("measure {name}")))?;
    if size != header.size {
        return Err(damaged());
    }
    Ok(header)
}

pub(crate) fn scan_all(segments: &[Segment]) -> Result<Vec<Scan>, OpenError> {
    segments
        .iter()
        .map(|segment| {
            let name = file_name(segment.header.number);
            scan(segment.file.as_ref(), &segment.header)
                .map_err(OpenError::io(format!("read {name}")))
        })
        .collect()
}

/// Everything from `seen + 1` on must be there, whole and in order.
pub(crate) fn check(segments: &[Segment], scans: &[Scan], seen: u64) -> Result<(), OpenError> {
    if let Some(first) = segments.first()
        && first.header.first_sequence > seen + 1
    {
        return Err(OpenError::Missing {
            missing: first.header.number.saturating_sub(1),
            first_lost: seen + 1,
        });
    }
    for (at, (segment, scan)) in segments.iter().zip(scans).enumerate() {
        if segment.header.log != segments[0].header.log {
            return Err(OpenError::OtherLog {
                found: segment.header.log,
                expected: segments[0].header.log,
            });
        }
        if let Some(damage) = &scan.damage {
            return Err(OpenError::Damaged(damage.clone()));
        }
        match segments.get(at + 1) {
            Some(next) => {
                // A writer leaves room for it.
                let may_lack_seal = at + 2 == segments.len()
                    && scans[at + 1].records == 0
                    && scan.end + span(0) <= segment.header.size;
                check_next(segment, scan, next, may_lack_seal)?;
            }
            None if scan.last == Some(RecordKind::Seal) => {
                return Err(OpenError::Missing {
                    missing: segment.header.number + 1,
                    first_lost: scan.next_sequence,
                });
            }
            None if scan.next_sequence <= seen => {
                return Err(OpenError::Short {
                    end: scan.next_sequence,
                    seen,
                });
            }
            None => {}
        }
    }
    Ok(())
}

fn check_next(
    segment: &Segment,
    scan: &Scan,
    next: &Segment,
    may_lack_seal: bool,
) -> Result<(), OpenError> {
    if next.header.number != segment.header.number + 1 {
        return Err(OpenError::Missing {
            missing: segment.header.number + 1,
            first_lost: scan.next_sequence,
        });
    }
    let sealed = scan.last == Some(RecordKind::Seal);
    // The seal itself takes a sequence; it may still be missing while nothing was written after it.
    let expected = scan.next_sequence + u64::from(!sealed);
    if next.header.first_sequence == expected && (sealed || may_lack_seal) {
        return Ok(());
    }
    Err(OpenError::Damaged(Damage {
        segment: segment.header.number,
        offset: scan.end,
        until: segment.header.size,
        first_lost: scan.next_sequence,
        next_whole: next.header.first_sequence,
    }))
}

/// Whether something stands where the next record goes that is neither nothing nor a remnant of the file's earlier use.
pub(crate) fn is_torn(segment: &Segment, scan: &Scan) -> Result<bool, OpenError> {
    let mut bytes = [0; RECORD_HEADER_BYTES];
    segment
        .file
        .read_at(&mut bytes, scan.end)
        .map_err(OpenError::io("read the log's end"))?;
    Ok(decode_record_header(&bytes, segment.header.salt()).is_some())
}
