//! The bytes of a segment. Everything is little-endian; `docs/intake-log.md` is the specification.

use std::fmt;

/// Version of the format below.
pub const FORMAT_VERSION: u32 = 1;
/// Where a segment's records begin: one page, so that the header is torn from nothing else.
pub const SEGMENT_HEADER_BYTES: u64 = 4096;
/// Size of a record's header.
pub const RECORD_HEADER_BYTES: usize = 32;
/// Records begin at multiples of this.
pub(crate) const ALIGNMENT: u64 = 8;

/// Sequences and numbers of segments stay below: beyond what anyone counts to, and what a store's signed integers hold.
pub(crate) const SEQUENCE_MAX: u64 = i64::MAX as u64;

const MAGIC: &[u8; 8] = b"SBXLOG\r\n";
const SEGMENT_HEADER_USED: usize = 60;

/// Names a log for its lifetime.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogId(pub [u8; 16]);

impl LogId {
    /// Reads what `Display` wrote.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(Self(*uuid::Uuid::try_parse(text).ok()?.as_bytes()))
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_bytes(self.0).simple().fmt(f)
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a record is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// The owner's: bytes and a tag of its choice.
    Data(u8),
    /// The segment ends here, and a next one exists.
    Seal,
    /// Nothing: written at a clean end and when the log falls idle, so that what stands before it is known to be whole.
    Mark,
    /// Stands where records were damaged and set aside by [`crate::repair`]; its payload's length covers them.
    Gap,
}

impl RecordKind {
    const SEAL: u8 = 0xf0;
    const MARK: u8 = 0xf1;
    const GAP: u8 = 0xf2;
    /// Tags of data stay below.
    pub(crate) const RESERVED: u8 = 0xf0;

    fn to_byte(self) -> u8 {
        match self {
            Self::Data(tag) => tag,
            Self::Seal => Self::SEAL,
            Self::Mark => Self::MARK,
            Self::Gap => Self::GAP,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            Self::SEAL => Some(Self::Seal),
            Self::MARK => Some(Self::Mark),
            Self::GAP => Some(Self::Gap),
            tag if tag < Self::RESERVED => Some(Self::Data(tag)),
            _ => None,
        }
    }
}

/// The header of a segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The log it belongs to.
    pub log: LogId,
    /// Its number, from 1, never used twice.
    pub number: u64,
    /// Its size in bytes, this header included.
    pub size: u64,
    /// Sequence of its first record.
    pub first_sequence: u64,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(usize::try_from(SEGMENT_HEADER_BYTES).unwrap_or(4096));
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.log.0);
        bytes.extend_from_slice(&self.number.to_le_bytes());
        bytes.extend_from_slice(&self.size.to_le_bytes());
        bytes.extend_from_slice(&self.first_sequence.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        bytes.resize(usize::try_from(SEGMENT_HEADER_BYTES).unwrap_or(4096), 0);
        bytes
    }

    /// The header in the first bytes of a file.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let (Some(used), Some(crc)) = (
            bytes.get(..SEGMENT_HEADER_USED - 4),
            u32_at(bytes, SEGMENT_HEADER_USED - 4),
        ) else {
            return Err(HeaderError::Damaged);
        };
        if !used.starts_with(MAGIC) || crc32fast::hash(used) != crc {
            return Err(HeaderError::Damaged);
        }
        let version = u32_at(bytes, 8).unwrap_or(0);
        if version != FORMAT_VERSION {
            return Err(HeaderError::Version(version));
        }
        let mut log = [0; 16];
        log.copy_from_slice(&bytes[12..28]);
        let field = |at| u64_at(bytes, at).unwrap_or(0);
        let header = Self {
            log: LogId(log),
            number: field(28),
            size: field(36),
            first_sequence: field(44),
        };
        let counted = 1..SEQUENCE_MAX;
        if !counted.contains(&header.number) || !counted.contains(&header.first_sequence) {
            return Err(HeaderError::Damaged);
        }
        Ok(header)
    }

    /// What every checksum in the segment begins with: bytes that an earlier use of the file left never check out.
    pub(crate) fn salt(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.log.0);
        hasher.update(&self.number.to_le_bytes());
        hasher.finalize()
    }
}

/// Why a file's first bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderError {
    Damaged,
    Version(u32),
}

/// The header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// Bytes of its payload.
    pub length: u32,
    /// Its number in the log.
    pub sequence: u64,
    /// Sequence of the first record of its commit group: all before that were durable when it was written.
    pub group: u64,
    /// What it is for.
    pub kind: RecordKind,
    payload_crc: u32,
}

impl RecordHeader {
    /// Bytes from its start to the next record's.
    pub(crate) fn span(&self) -> u64 {
        span(self.length as usize)
    }

    pub(crate) fn payload_is_whole(&self, salt: u32, payload: &[u8]) -> bool {
        payload.len() == self.length as usize && checksum(salt, &[payload]) == self.payload_crc
    }
}

/// Bytes that a record with a payload of `length` bytes takes.
pub(crate) fn span(length: usize) -> u64 {
    (RECORD_HEADER_BYTES as u64 + length as u64).next_multiple_of(ALIGNMENT)
}

/// Appends a record to `to`. The payload is what `parts` hold, one after the other.
pub(crate) fn encode_record(
    to: &mut Vec<u8>,
    salt: u32,
    sequence: u64,
    group: u64,
    kind: RecordKind,
    parts: &[&[u8]],
) {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let start = to.len();
    let end = start + usize::try_from(span(length)).unwrap_or(usize::MAX);
    to.reserve(end - start);
    to.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
    to.extend_from_slice(&checksum(salt, parts).to_le_bytes());
    to.extend_from_slice(&sequence.to_le_bytes());
    to.extend_from_slice(&group.to_le_bytes());
    to.extend_from_slice(&[kind.to_byte(), 0, 0, 0]);
    let header_crc = checksum(salt, &[&to[start..]]);
    to.extend_from_slice(&header_crc.to_le_bytes());
    for part in parts {
        to.extend_from_slice(part);
    }
    to.resize(end, 0);
}

/// The header at the start of `bytes`, if there is a whole one of the segment with this salt.
pub fn decode_record_header(bytes: &[u8], salt: u32) -> Option<RecordHeader> {
    let header = bytes.get(..RECORD_HEADER_BYTES)?;
    if checksum(salt, &[&header[..28]]) != u32_at(header, 28)? || header[25..28] != [0; 3] {
        return None;
    }
    Some(RecordHeader {
        length: u32_at(header, 0)?,
        payload_crc: u32_at(header, 4)?,
        sequence: u64_at(header, 8)?,
        group: u64_at(header, 16)?,
        kind: RecordKind::from_byte(header[24])?,
    })
}

fn checksum(salt: u32, parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(salt);
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
