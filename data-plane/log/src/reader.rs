//! Following the log.

use std::io;

use bytes::Bytes;

use crate::{
    error::ReadError,
    format::{RECORD_HEADER_BYTES, RecordHeader, RecordKind, SEGMENT_HEADER_BYTES},
    log::{Log, Segment},
    scan::{Window, record_at, sequence_after},
};

/// A record as read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number.
    pub sequence: u64,
    /// What it is for.
    pub kind: RecordKind,
    /// The owner's bytes. Of a gap: the sequence after the lost ones, in its first eight.
    pub payload: Bytes,
    /// One past it: of a gap, beyond what is lost.
    pub next_sequence: u64,
}

/// Reads durable records in order, from another thread than the writer's if need be.
pub struct Reader {
    log: Log,
    next: u64,
    at: Option<Position>,
    window: Window,
}

struct Position {
    segment: Segment,
    offset: u64,
    sequence: u64,
}

impl Reader {
    pub(crate) fn new(log: Log, next: u64) -> Self {
        Self {
            log,
            next,
            at: None,
            window: Window::default(),
        }
    }

    /// Sequence of the next record.
    #[must_use]
    pub fn next_sequence(&self) -> u64 {
        self.next
    }

    /// The next durable record; none when all are read.
    ///
    /// # Errors
    /// [`ReadError`]; the same record is tried again by the next call.
    pub fn read(&mut self) -> Result<Option<Record>, ReadError> {
        while self.next < self.log.end() {
            let at = match self.at.take() {
                Some(at) => at,
                None => self.begin()?,
            };
            let Some((record, span)) = self.record(&at)? else {
                return Err(ReadError::Damaged {
                    sequence: at.sequence,
                    segment: at.segment.header.number,
                    offset: at.offset,
                });
            };
            if record.kind != RecordKind::Seal {
                self.at = Some(Position {
                    offset: at.offset + span,
                    sequence: record.next_sequence,
                    segment: at.segment,
                });
            }
            if record.next_sequence > self.next {
                self.next = record.next_sequence;
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    fn begin(&mut self) -> Result<Position, ReadError> {
        self.window.forget();
        let segment = self
            .log
            .segment_of(self.next)
            .ok_or(ReadError::Gone(self.next))?;
        Ok(Position {
            offset: SEGMENT_HEADER_BYTES,
            sequence: segment.header.first_sequence,
            segment,
        })
    }

    /// The record at a position, and the bytes that it takes.
    fn record(&mut self, at: &Position) -> Result<Option<(Record, u64)>, ReadError> {
        let file = at.segment.file.as_ref();
        let read = |window: &mut Window| -> io::Result<Option<RecordHeader>> {
            let found = record_at(file, window, &at.segment.header, at.offset)?;
            Ok(found.filter(|header| header.sequence == at.sequence))
        };
        let mut header = read(&mut self.window)?;
        if header.is_none() {
            // What was read ahead may be older than what the writer has written since.
            self.window.forget();
            header = read(&mut self.window)?;
        }
        let Some(header) = header else {
            return Ok(None);
        };
        let whole = RECORD_HEADER_BYTES + header.length as usize;
        let payload = &self.window.get(file, at.offset, whole)?[RECORD_HEADER_BYTES..];
        let record = Record {
            sequence: header.sequence,
            kind: header.kind,
            payload: Bytes::copy_from_slice(payload),
            next_sequence: sequence_after(&header, payload),
        };
        Ok(Some((record, header.span())))
    }
}
