//! Segment files that cannot be read as they are: a header is written anew from what else tells, a file that was cut is brought
//! back to its size, one with nothing in it that can be read is set aside, and is missing then.

use std::io;

use crate::{
    check::segments,
    error::OpenError,
    format::{
        ALIGNMENT, LogId, RECORD_HEADER_BYTES, RecordKind, SEGMENT_HEADER_BYTES, SegmentHeader,
        decode_record_header,
    },
    log::{Segment, file_name, number_of},
    scan::{Window, record_at, scan},
    storage::{SegmentFile, Storage},
};

/// What a file is made under that takes the place of one that was cut.
const MENDING: &str = "mending-";
/// Bytes copied at a time.
const COPY_BYTES: usize = 1024 * 1024;

/// What [`crate::repair`] has done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repaired {
    /// Sequences given up: from, and up to but not including.
    pub lost: Vec<(u64, u64)>,
    /// Files that hold the damaged bytes as they were found.
    pub kept: Vec<String>,
}

/// What was done to the files.
#[derive(Debug, Default)]
pub(crate) struct Mended {
    /// Numbers of segments that were cut: what stood at their ends is gone.
    pub(crate) cut: Vec<u64>,
    /// The highest number of those that were set aside.
    pub(crate) set_aside: Option<u64>,
}

/// Mends what is not as a segment file must be. `id` is the log's, where its owner knows that.
///
/// # Errors
/// [`OpenError::Io`]; [`OpenError::Header`] of a file that has the header of another number, or where nothing tells which log
/// it is of.
pub(crate) fn mend_files(
    storage: &dyn Storage,
    segment_bytes: u64,
    id: Option<LogId>,
    repaired: &mut Repaired,
) -> Result<Mended, OpenError> {
    finish(storage).map_err(OpenError::io("finish a repair that was broken off"))?;
    let mut names = storage.list().map_err(OpenError::io("list the folder"))?;
    names.sort_unstable();
    let one = |name: &String| segments(storage, std::slice::from_ref(name));
    let whole: Vec<Segment> = names
        .iter()
        .filter_map(|name| one(name).ok())
        .flatten()
        .collect();
    let mut known = Known {
        id: id.or_else(|| whole.first().map(|segment| segment.header.log)),
        segment_bytes,
        whole,
    };
    let mut mended = Mended::default();
    for name in &names {
        let (Some(number), Err(OpenError::Header { file })) = (number_of(name), one(name)) else {
            continue;
        };
        let damaged = || OpenError::Header { file };
        let opened = storage
            .open(name)
            .map_err(OpenError::io("open a segment"))?;
        let size = opened.size().map_err(OpenError::io("measure a segment"))?;
        let found = match written(opened.as_ref()).map_err(OpenError::io("read a segment"))? {
            Some(header) if header.number == number => Some(header),
            // Of another one: it was renamed, and is whole where it was.
            Some(_) => return Err(damaged()),
            None => {
                let id = known.id.ok_or_else(damaged)?;
                let told = known.header(id, opened.as_ref(), number, size);
                told.map_err(OpenError::io("read a segment"))?
            }
        };
        let done = match found {
            None => {
                mended.set_aside = mended.set_aside.max(Some(number));
                set_aside(storage, number, repaired)
            }
            Some(header) => {
                known.id = known.id.or(Some(header.log));
                if size < header.size {
                    mended.cut.push(number);
                }
                let segment = Segment {
                    header,
                    file: opened,
                };
                match size == header.size {
                    true => rewrite_header(storage, &segment, repaired),
                    false => restore(storage, &segment, size, repaired),
                }
            }
        };
        done.map_err(OpenError::io("mend a segment"))?;
    }
    Ok(mended)
}

/// The header that stands in a file, if it checks out.
fn written(file: &dyn SegmentFile) -> io::Result<Option<SegmentHeader>> {
    let mut bytes = [0; 64];
    let read = file.read_at(&mut bytes, 0)?;
    Ok(SegmentHeader::decode(&bytes[..read]).ok())
}

/// What tells of a segment whose header does not.
struct Known {
    id: Option<LogId>,
    segment_bytes: u64,
    /// Segments that can be read.
    whole: Vec<Segment>,
}

impl Known {
    /// The header of a file, from its name, its first record and the segment before; none when no record can be read.
    fn header(
        &self,
        log: LogId,
        file: &dyn SegmentFile,
        number: u64,
        size: u64,
    ) -> io::Result<Option<SegmentHeader>> {
        let header = SegmentHeader {
            log,
            number,
            size: size.max(self.segment_bytes),
            first_sequence: 1,
        };
        let beginning_with = |first_sequence| SegmentHeader {
            first_sequence,
            ..header
        };
        let mut first = [0; RECORD_HEADER_BYTES];
        let read = file.read_at(&mut first, SEGMENT_HEADER_BYTES)?;
        if let Some(record) = decode_record_header(&first[..read], header.salt()) {
            return Ok(Some(beginning_with(record.sequence)));
        }
        let (mut window, mut at) = (Window::default(), SEGMENT_HEADER_BYTES);
        while at + RECORD_HEADER_BYTES as u64 <= size {
            if let Some(record) = record_at(file, &mut window, &header, at)? {
                // What stood before it is lost: one record at least.
                let before = self.end_of(number.saturating_sub(1))?;
                let before = before.filter(|before| *before < record.sequence);
                let first = before.unwrap_or(record.sequence.saturating_sub(1));
                return Ok((first > 0).then(|| beginning_with(first)));
            }
            at += ALIGNMENT;
        }
        Ok(None)
    }

    /// One past the last sequence of a segment, if it can be read and is sealed.
    fn end_of(&self, number: u64) -> io::Result<Option<u64>> {
        let mut whole = self.whole.iter();
        let Some(segment) = whole.find(|segment| segment.header.number == number) else {
            return Ok(None);
        };
        let scan = scan(segment.file.as_ref(), &segment.header)?;
        Ok((scan.last == Some(RecordKind::Seal)).then_some(scan.next_sequence))
    }
}

fn rewrite_header(
    storage: &dyn Storage,
    segment: &Segment,
    repaired: &mut Repaired,
) -> io::Result<()> {
    keep(storage, segment, 0, SEGMENT_HEADER_BYTES, repaired)?;
    segment.file.write_at(&segment.header.encode(), 0)?;
    segment.file.sync()
}

/// Makes a file of the size that the header says, with what there is of it and zeros, in the place of one that has `size`
/// bytes. A crash leaves either as it is, or both, and the next repair goes on.
fn restore(
    storage: &dyn Storage,
    segment: &Segment,
    size: u64,
    repaired: &mut Repaired,
) -> io::Result<()> {
    let header = &segment.header;
    let temporary = format!("{MENDING}{:016x}", header.number);
    let made = storage.create(&temporary, header.size)?;
    let mut piece = vec![0; COPY_BYTES];
    let (mut at, end) = (SEGMENT_HEADER_BYTES, size.min(header.size));
    while at < end {
        let length = usize::try_from(end - at).map_or(COPY_BYTES, |left| left.min(COPY_BYTES));
        let read = segment.file.read_at(&mut piece[..length], at)?;
        if read == 0 {
            break;
        }
        made.write_at(&piece[..read], at)?;
        at += read as u64;
    }
    made.write_at(&header.encode(), 0)?;
    made.sync()?;
    set_aside(storage, header.number, repaired)?;
    storage.rename(&temporary, &file_name(header.number))
}

/// Renames a segment's file, as it is.
fn set_aside(storage: &dyn Storage, number: u64, repaired: &mut Repaired) -> io::Result<()> {
    let names = storage.list()?;
    let mut name = format!("damaged-{number:016x}-file");
    let mut again = 1;
    while names.contains(&name) {
        again += 1;
        name = format!("damaged-{number:016x}-file-{again}");
    }
    storage.rename(&file_name(number), &name)?;
    repaired.kept.push(name);
    Ok(())
}

/// Ends what a crash has broken off: a file that was made whole takes its place when that is free, and is made again otherwise.
fn finish(storage: &dyn Storage) -> io::Result<()> {
    let names = storage.list()?;
    for name in &names {
        let number = name.strip_prefix(MENDING);
        let Some(number) = number.and_then(|digits| u64::from_str_radix(digits, 16).ok()) else {
            continue;
        };
        let place = file_name(number);
        match names.contains(&place) {
            true => storage.remove(name)?,
            false => storage.rename(name, &place)?,
        }
    }
    Ok(())
}

/// Copies bytes to a file of their own before they are overwritten.
pub(crate) fn keep(
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
