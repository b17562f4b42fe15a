//! The one writer: stages records, commits them as a group.

use std::{io, ops::Range};

use crate::{
    error::CommitError,
    format::{RECORD_HEADER_BYTES, RecordKind, SEGMENT_HEADER_BYTES, encode_record, span},
    log::{Log, Segment, WriterAt},
};

/// Capacity that the staging buffer keeps between groups.
const STAGING_KEPT_BYTES: usize = 4 * 1024 * 1024;

/// Stages records and commits them. There is one for each log.
pub struct Writer {
    log: Log,
    segment: Segment,
    salt: u32,
    /// Where the staged group goes.
    end: u64,
    /// Sequence of the first staged record.
    group: u64,
    next_sequence: u64,
    staged: Vec<u8>,
    failed: Option<String>,
}

impl Writer {
    pub(crate) fn new(log: Log, at: WriterAt) -> Self {
        Self {
            salt: at.segment.header.salt(),
            segment: at.segment,
            end: at.end,
            group: at.next_sequence,
            next_sequence: at.next_sequence,
            staged: Vec::new(),
            failed: None,
            log,
        }
    }

    /// Goes on after a stop or a crash.
    pub(crate) fn resume(log: Log, at: WriterAt) -> io::Result<Self> {
        if let Some((segment, end)) = &at.seals {
            let sequence = at.segment.header.first_sequence - 1;
            let mut bytes = Vec::new();
            let salt = segment.header.salt();
            encode_record(&mut bytes, salt, sequence, sequence, RecordKind::Seal, &[]);
            segment.file.write_at(&bytes, *end)?;
            segment.file.sync()?;
        }
        // Read from the page cache it may look durable and not be so: after a failed sync, the kernel forgets that a page
        // was dirty (https://wiki.postgresql.org/wiki/Fsync_Errors).
        let length = usize::try_from(at.end - at.rewrite_from).unwrap_or(usize::MAX);
        let mut group = vec![0; length];
        if at.segment.file.read_at(&mut group, at.rewrite_from)? != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        at.segment.file.write_at(&group, at.rewrite_from)?;
        at.segment.file.sync()?;
        log.publish(at.next_sequence, at.end);
        Ok(Self::new(log, at))
    }

    /// Bytes staged.
    #[must_use]
    pub fn staged_bytes(&self) -> usize {
        self.staged.len()
    }

    /// Whether the group, with a payload of `more_bytes` besides, goes into a new segment.
    #[must_use]
    pub fn begins_segment(&self, more_bytes: usize) -> bool {
        let needed = self.staged.len() as u64 + span(more_bytes) + span(0);
        self.end + needed > self.segment.header.size
    }

    /// Bytes that one group may hold.
    #[must_use]
    pub fn group_max_bytes(&self) -> usize {
        let room = self.log.segment_bytes() - SEGMENT_HEADER_BYTES - span(0);
        usize::try_from(room).unwrap_or(usize::MAX)
    }

    /// Stages a record whose payload is what `parts` hold, one after the other. `tag` is below 240. Its sequence is known
    /// when the group is committed.
    ///
    /// # Errors
    /// [`CommitError::TooLarge`] when the group with it would not fit into a segment; what was staged before stays.
    pub fn push(&mut self, tag: u8, parts: &[&[u8]]) -> Result<(), CommitError> {
        let length: usize = parts.iter().map(|part| part.len()).sum();
        let bytes = usize::try_from(span(length)).unwrap_or(usize::MAX);
        if length > u32::MAX as usize
            || self.staged.len().saturating_add(bytes) > self.group_max_bytes()
        {
            return Err(CommitError::TooLarge { bytes });
        }
        let tag = tag.min(RecordKind::RESERVED - 1);
        self.stage(RecordKind::Data(tag), parts);
        Ok(())
    }

    fn stage(&mut self, kind: RecordKind, parts: &[&[u8]]) {
        let (staged, sequence) = (&mut self.staged, self.next_sequence);
        encode_record(staged, self.salt, sequence, self.group, kind, parts);
        self.next_sequence += 1;
    }

    /// Makes the staged records durable; gives their sequences, in the order of staging.
    ///
    /// # Errors
    /// [`CommitError`]; the group is dropped, its sequences are free again.
    pub fn commit(&mut self) -> Result<Range<u64>, CommitError> {
        if let Some(failure) = self.failed.clone() {
            self.drop_group();
            return Err(CommitError::Failed(failure));
        }
        if self.staged.is_empty() {
            return Ok(self.group..self.group);
        }
        let committed = self.write_group();
        if committed.is_err() {
            self.drop_group();
        }
        if self.staged.capacity() > STAGING_KEPT_BYTES {
            self.staged = Vec::new();
        }
        committed
    }

    /// Commits a mark after what was committed before: proof that it is whole. For a clean end, and when no records come.
    ///
    /// # Errors
    /// As [`Writer::commit`].
    pub fn mark(&mut self) -> Result<Range<u64>, CommitError> {
        self.stage(RecordKind::Mark, &[]);
        self.commit()
    }

    fn drop_group(&mut self) {
        self.staged.clear();
        self.next_sequence = self.group;
    }

    fn write_group(&mut self) -> Result<Range<u64>, CommitError> {
        let needed = self.staged.len() as u64 + span(0);
        if self.end + needed > self.segment.header.size {
            self.roll()?;
        }
        self.put()
    }

    /// Writes what is staged, and syncs.
    fn put(&mut self) -> Result<Range<u64>, CommitError> {
        let file = &self.segment.file;
        if let Err(error) = file.write_at(&self.staged, self.end) {
            return Err(self.on_error(&error));
        }
        if let Err(error) = self.segment.file.sync() {
            // Fatal whatever it was, a full disk too.
            return Err(self.fail(&error));
        }
        self.end += self.staged.len() as u64;
        self.staged.clear();
        let put = self.group..self.next_sequence;
        self.group = self.next_sequence;
        self.log.publish(self.next_sequence, self.end);
        Ok(put)
    }

    /// Goes on in a new segment. First that is made, durably, then this one is sealed: a seal says that a next one exists.
    fn roll(&mut self) -> Result<(), CommitError> {
        let group = std::mem::take(&mut self.staged);
        let next_number = self.segment.header.number + 1;
        let next = match self.log.add_segment(next_number, self.group + 1) {
            Ok(next) => next,
            Err(error) => return Err(self.on_error(&error)),
        };
        self.next_sequence = self.group;
        self.stage(RecordKind::Seal, &[]);
        if let Err(error) = self.put() {
            // The next segment exists, the seal may or may not: only opening the log anew tells.
            return Err(match error {
                CommitError::NoSpace => self.fail(&io::ErrorKind::StorageFull.into()),
                other => other,
            });
        }
        self.segment = next;
        self.salt = self.segment.header.salt();
        self.end = SEGMENT_HEADER_BYTES;
        self.restage(&group);
        Ok(())
    }

    /// Stages records again that were staged for the segment before: their sequences have moved, and the salt.
    fn restage(&mut self, group: &[u8]) {
        self.staged.reserve(group.len());
        let mut at = 0;
        while let Some(header) = group.get(at..at + RECORD_HEADER_BYTES) {
            let length = header
                .first_chunk::<4>()
                .map_or(0, |bytes| u32::from_le_bytes(*bytes)) as usize;
            let from = at + RECORD_HEADER_BYTES;
            let payload = group.get(from..from + length).unwrap_or_default();
            let kind = match header[24] {
                tag if tag < RecordKind::RESERVED => RecordKind::Data(tag),
                _ => RecordKind::Mark,
            };
            self.stage(kind, &[payload]);
            at += usize::try_from(span(length)).unwrap_or(usize::MAX);
        }
    }

    fn on_error(&mut self, error: &io::Error) -> CommitError {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => CommitError::NoSpace,
            _ => self.fail(error),
        }
    }

    fn fail(&mut self, error: &io::Error) -> CommitError {
        let failure = error.to_string();
        self.failed = Some(failure.clone());
        CommitError::Failed(failure)
    }
}
