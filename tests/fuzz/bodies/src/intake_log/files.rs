//! Segment files as a script says, and what stands in them, by the format's specification alone.

use bytes::Bytes;
use signalbox_log::{
    FORMAT_VERSION, RECORD_HEADER_BYTES, RecordKind, SEGMENT_HEADER_BYTES, Storage,
    simulator::SimulatedDisk,
};

use super::{ID, SEGMENT_BYTES};

const HEADER: usize = RECORD_HEADER_BYTES;
const FIRST: usize = 4096;

/// One segment while it is written.
struct Segment {
    number: u64,
    first_sequence: u64,
    bytes: Vec<u8>,
}

impl Segment {
    fn new(number: u64, first_sequence: u64) -> Self {
        Self {
            number,
            first_sequence,
            bytes: vec![0; FIRST],
        }
    }

    fn salt(&self) -> u32 {
        salt(self.number)
    }

    fn put(&mut self, disk: &SimulatedDisk) {
        let mut header = Vec::from(*b"SBXLOG\r\n");
        header.extend(FORMAT_VERSION.to_le_bytes());
        header.extend(ID.0);
        header.extend(self.number.to_le_bytes());
        header.extend(SEGMENT_BYTES.to_le_bytes());
        header.extend(self.first_sequence.to_le_bytes());
        header.extend([0; 4]);
        header.extend(crc32fast::hash(&header).to_le_bytes());
        self.bytes[..header.len()].copy_from_slice(&header);
        self.bytes
            .resize(usize::try_from(SEGMENT_BYTES).unwrap(), 0);
        let name = format!("{:016x}.segment", self.number);
        if let Ok(file) = disk.create(&name, SEGMENT_BYTES) {
            file.write_at(&self.bytes, 0).unwrap();
            file.sync().unwrap();
        }
    }
}

fn salt(number: u64) -> u32 {
    crc32fast::hash(&[&ID.0[..], &number.to_le_bytes()].concat())
}

fn checksum(salt: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(salt);
    hasher.update(bytes);
    hasher.finalize()
}

/// Numbers at the edges of their types, and small ones.
fn number(byte: u8) -> u64 {
    match byte {
        0xff => u64::MAX,
        0xfe => u64::MAX - 1,
        0xfd => i64::MAX.unsigned_abs(),
        0xfc => u64::from(u32::MAX),
        small => u64::from(small),
    }
}

/// Writes what `script` says, in steps of two bytes: a verb and its argument. Returns the last sequence that the log's owner
/// claims to have taken from it, if it claims to know the log.
///
/// Verbs, by the high half of the first byte: 0–3 the next record of a sound log; 4 the next one, and a new group; 5 cut
/// the last record short; 6 a new segment, its predecessor sealed; 7 one that is not sealed; 8 the next record with a
/// number of its own; 9 the next one with a group of its own; 10 the segment's number, 11 its first sequence; 12 zeros; 13
/// a gap; 14 flip a bit of what was written; 15 the owner has seen so much.
pub(super) fn write(disk: &SimulatedDisk, script: &[u8]) -> Option<u64> {
    let mut segment = Segment::new(1, 1);
    let (mut next, mut group, mut seen) = (1_u64, 1_u64, None);
    for step in script.chunks_exact(2).take(64) {
        let (verb, low, argument) = (step[0] >> 4, step[0] & 15, step[1]);
        match verb {
            0..=4 => {
                if verb == 4 {
                    group = next;
                }
                let payload = vec![low; usize::from(argument) * usize::from(1 + verb % 4)];
                record(&mut segment, next, group, low, &payload);
                next = next.wrapping_add(1);
            }
            5 => {
                let cut = segment.bytes.len().saturating_sub(usize::from(argument));
                segment.bytes.truncate(cut.max(FIRST));
            }
            6 | 7 => {
                if verb == 6 {
                    record(&mut segment, next, next, 0xf0, &[]);
                }
                segment.put(disk);
                next = next.wrapping_add(1);
                group = next;
                let skipped = u64::from(low.saturating_sub(12));
                segment = Segment::new(segment.number.wrapping_add(1 + skipped), next);
            }
            8 => {
                next = number(argument);
                record(&mut segment, next, group.min(next), low, b"own number");
                next = next.wrapping_add(1);
            }
            9 => {
                group = number(argument);
                record(&mut segment, next, group, low, b"own group");
                next = next.wrapping_add(1);
            }
            10 => segment.number = number(argument),
            11 => {
                segment.first_sequence = number(argument);
                next = segment.first_sequence;
                group = next;
            }
            12 => {
                let length = segment.bytes.len() + usize::from(argument);
                segment.bytes.resize(length.next_multiple_of(8), 0);
            }
            13 => {
                let until = next.wrapping_add(u64::from(low)).to_le_bytes();
                let payload = if argument == 0 {
                    &until[..usize::from(low % 8)]
                } else {
                    &until
                };
                record(&mut segment, next, next, 0xf2, payload);
                next = next.wrapping_add(u64::from(low));
            }
            14 => {
                let back = 1 + usize::from(argument);
                let at = segment
                    .bytes
                    .len()
                    .checked_sub(back)
                    .filter(|at| *at >= FIRST);
                if let Some(at) = at {
                    segment.bytes[at] ^= 1 << (low % 8);
                }
            }
            _ => seen = Some(number(argument).min(i64::MAX.unsigned_abs())),
        }
    }
    segment.put(disk);
    seen
}

/// Appends a record with checksums that are right, if there is room.
fn record(segment: &mut Segment, sequence: u64, group: u64, kind: u8, payload: &[u8]) {
    let at = segment.bytes.len().next_multiple_of(8);
    let whole = (HEADER + payload.len()).next_multiple_of(8);
    if at + whole > usize::try_from(SEGMENT_BYTES).unwrap() {
        return;
    }
    segment.bytes.resize(at, 0);
    let salt = segment.salt();
    let mut header = Vec::with_capacity(HEADER);
    header.extend(u32::try_from(payload.len()).unwrap().to_le_bytes());
    header.extend(checksum(salt, payload).to_le_bytes());
    header.extend(sequence.to_le_bytes());
    header.extend(group.to_le_bytes());
    header.extend([kind, 0, 0, 0]);
    header.extend(checksum(salt, &header).to_le_bytes());
    segment.bytes.extend(header);
    segment.bytes.extend(payload);
    segment.bytes.resize(at + whole, 0);
}

/// Files by name.
pub(super) fn contents(disk: &SimulatedDisk) -> Vec<(String, Vec<u8>)> {
    let names = disk.list().unwrap();
    let read = |name: String| {
        let file = disk.open(&name).unwrap();
        let mut bytes = vec![0; usize::try_from(file.size().unwrap()).unwrap()];
        file.read_at(&mut bytes, 0).unwrap();
        (name, bytes)
    };
    names.into_iter().map(read).collect()
}

/// Every record with right checksums, wherever it stands.
pub(super) fn records(disk: &SimulatedDisk) -> Vec<(u64, RecordKind, Bytes)> {
    let mut found = Vec::new();
    for (name, bytes) in contents(disk) {
        let Some(digits) = name.strip_suffix(".segment") else {
            continue;
        };
        let salt = salt(u64::from_str_radix(digits, 16).unwrap());
        for at in (usize::try_from(SEGMENT_HEADER_BYTES).unwrap()..bytes.len()).step_by(8) {
            found.extend(record_at(&bytes[at..], salt));
        }
    }
    found
}

fn record_at(bytes: &[u8], salt: u32) -> Option<(u64, RecordKind, Bytes)> {
    let header = bytes.get(..HEADER)?;
    let u32_at = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap());
    if checksum(salt, &header[..28]) != u32_at(28) {
        return None;
    }
    let payload = bytes.get(HEADER..HEADER + usize::try_from(u32_at(0)).ok()?)?;
    if checksum(salt, payload) != u32_at(4) {
        return None;
    }
    let kind = match header[24] {
        0xf0 => RecordKind::Seal,
        0xf1 => RecordKind::Mark,
        0xf2 => RecordKind::Gap,
        tag if tag < 0xf0 => RecordKind::Data(tag),
        _ => return None,
    };
    let sequence = u64::from_le_bytes(header[8..16].try_into().unwrap());
    Some((sequence, kind, Bytes::copy_from_slice(payload)))
}
