//! The intake log's segments, whatever stands in them: with whole checksums, too, as no accident would have it.

mod files;

use std::sync::Arc;

use bytes::Bytes;
use signalbox_log::{
    Log, LogConfig, LogId, OpenError, Opened, ReadError, Reader, Record, RecordKind, Storage,
    inspect, repair, simulator::SimulatedDisk,
};

use crate::Target;

/// The target.
pub const TARGET: Target = Target {
    name: "intake_log",
    body,
    mutations: 4_000,
    tokens: &[
        "\0\0", "\x01\0", "\x02\0", "\x05\0", "\0\x10", "\0\x40", "\0\x60", "\0\x70", "\x03\x10",
        "\x0f\x05",
    ],
};

const SEGMENT_BYTES: u64 = 8 * 1024;
const CONFIG: LogConfig = LogConfig {
    segment_bytes: SEGMENT_BYTES,
};
const ID: LogId = LogId(*b"a log for a test");

/// The bytes as a script of what the folder holds: see [`files::write`].
pub fn body(bytes: &[u8]) {
    let disk = SimulatedDisk::new(0);
    let seen = files::write(&disk, bytes);
    let before = files::contents(&disk);
    if let Ok(reports) = inspect(&disk) {
        assert!(
            reports
                .iter()
                .all(|report| report.used_bytes <= report.header.size)
        );
    }
    assert_eq!(files::contents(&disk), before, "looking changes nothing");

    let known = seen.map(|seen| (ID, seen));
    match open(&disk, known) {
        Ok(opened) => check(&disk, opened, known),
        Err(error) => {
            assert_eq!(
                files::contents(&disk),
                before,
                "{error}, and something was changed"
            );
            check_repair(&disk, known, &error);
        }
    }
}

fn open(disk: &SimulatedDisk, known: Option<(LogId, u64)>) -> Result<Opened, OpenError> {
    Log::open(Arc::new(disk.clone()), &CONFIG, known)
}

/// Every record, up to what cannot be read any more.
fn read_all(reader: &mut Reader) -> Result<Vec<Record>, ReadError> {
    let mut records = Vec::new();
    while let Some(record) = reader.read()? {
        records.push(record);
    }
    Ok(records)
}

/// A log that opened: what it gives stands in its files, each once and in order, and stays so when it goes on.
fn check(disk: &SimulatedDisk, mut opened: Opened, known: Option<(LogId, u64)>) {
    let seen = known.map_or(0, |(_, seen)| seen);
    let written = files::records(disk);
    let records = read_all(&mut opened.reader).expect("what was scanned is read");
    let mut next = seen + 1;
    for record in &records {
        assert!(record.next_sequence > record.sequence, "{record:?}");
        assert!(
            record.sequence == next || (record.sequence < next && record.kind == RecordKind::Gap),
            "{record:?} instead of {next}"
        );
        next = record.next_sequence;
        assert!(
            written.contains(&(record.sequence, record.kind, record.payload.clone())),
            "{record:?} is not in the files"
        );
    }
    assert_eq!(
        next.max(seen + 1),
        opened.log.end(),
        "nothing is passed over"
    );

    let staged = opened.writer.push(7, &[b"goes on"]);
    if staged.is_ok() && opened.writer.commit().is_ok() {
        let more = read_all(&mut opened.reader).unwrap();
        let last = more.last().expect("what was committed is read");
        assert_eq!(last.payload, Bytes::from_static(b"goes on"));
        let id = opened.log.id();
        drop(opened);
        let mut again = open(disk, Some((id, seen))).expect("it was whole");
        let all = read_all(&mut again.reader).unwrap();
        let (same, remnants) = all.split_at((records.len() + more.len()).min(all.len()));
        assert_eq!(same, [records, more].concat());
        // Of a torn group that was never acknowledged, a part may come to stand right after what was written in its place.
        for record in remnants {
            let record = (record.sequence, record.kind, record.payload.clone());
            assert!(written.contains(&record), "{record:?} is not in the files");
        }
    }
}

/// A repair that says it went well leaves a log that opens, and has kept what it overwrote.
fn check_repair(disk: &SimulatedDisk, known: Option<(LogId, u64)>, refused: &OpenError) {
    let before = files::records(disk);
    let Ok(repaired) = repair(disk, SEGMENT_BYTES, known) else {
        return;
    };
    let mut opened = match open(disk, known) {
        Ok(opened) => opened,
        // Written by a newer version, or somebody else's: not what a repair is for.
        Err(OpenError::OtherLog { .. }) => return,
        Err(error) => panic!("refused: {refused}; repaired: {repaired:?}; and yet: {error}"),
    };
    for record in read_all(&mut opened.reader).expect("it was repaired") {
        if let RecordKind::Data(_) = record.kind {
            let record = (record.sequence, record.kind, record.payload);
            assert!(before.contains(&record), "{record:?} was never written");
        }
    }
    let names = disk.list().unwrap();
    assert!(repaired.kept.iter().all(|name| names.contains(name)));
}
