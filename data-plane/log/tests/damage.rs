//! What is not as it was left: each case has its own answer, and nothing durable is passed over in silence.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;

use signalbox_log::{
    CommitError, FileStorage, Log, LogConfig, LogId, OpenError, Opened, ReadError, RecordKind,
    Storage, inspect, repair,
    simulator::{Faults, SimulatedDisk},
};

const SEGMENT_BYTES: u64 = 16 * 1024;
const CONFIG: LogConfig = LogConfig {
    segment_bytes: SEGMENT_BYTES,
};

fn open(disk: &SimulatedDisk, known: Option<(LogId, u64)>) -> Result<Opened, OpenError> {
    Log::open(Arc::new(disk.clone()), &CONFIG, known)
}

fn name(number: u64) -> String {
    format!("{number:016x}.segment")
}

/// A log with `groups` groups of one record of 1,000 bytes each: fifteen fill a segment.
fn filled(disk: &SimulatedDisk, groups: u64) -> LogId {
    let mut opened = open(disk, None).unwrap();
    for group in 0..groups {
        opened
            .writer
            .push(1, &[&[u8::try_from(1 + group % 250).unwrap(); 1000]])
            .unwrap();
        opened.writer.commit().unwrap();
    }
    opened.log.id()
}

/// Sequences of the data that a reader gives, and the gaps.
fn read_all(opened: &mut Opened) -> (Vec<u64>, Vec<(u64, u64)>) {
    let (mut data, mut gaps) = (Vec::new(), Vec::new());
    while let Some(record) = opened.reader.read().unwrap() {
        match record.kind {
            RecordKind::Data(_) => data.push(record.sequence),
            RecordKind::Gap => gaps.push((record.sequence, record.next_sequence)),
            RecordKind::Seal | RecordKind::Mark => {}
        }
    }
    (data, gaps)
}

fn problem(disk: &SimulatedDisk, known: Option<(LogId, u64)>) -> OpenError {
    open(disk, known).err().expect("it must not open")
}

#[test]
fn a_torn_tail_is_no_damage() {
    let disk = SimulatedDisk::new(1);
    let id = filled(&disk, 5);
    let mut opened = open(&disk, Some((id, 0))).unwrap();
    opened.writer.push(1, &[&[9; 6000]]).unwrap();
    disk.set_faults(Faults {
        fail_sync_after: Some(0),
        ..Faults::default()
    });
    assert!(matches!(
        opened.writer.commit(),
        Err(CommitError::Failed(_))
    ));
    // The header's sector is there, some of the rest is not.
    disk.set_faults(Faults::default());
    disk.corrupt(&name(1), 4096 + 5 * 1032 + 2000, 512).unwrap();
    let mut opened = open(&disk, Some((id, 0))).unwrap();
    assert!(opened.torn);
    assert_eq!(read_all(&mut opened).0, [1, 2, 3, 4, 5]);
    opened.writer.push(1, &[b"goes on"]).unwrap();
    assert_eq!(opened.writer.commit().unwrap(), 6..7);
}

#[test]
fn a_failed_sync_is_final() {
    let disk = SimulatedDisk::new(1);
    let id = filled(&disk, 3);
    let mut opened = open(&disk, Some((id, 0))).unwrap();
    disk.set_faults(Faults {
        fail_sync_after: Some(0),
        ..Faults::default()
    });
    opened.writer.push(1, &[b"x"]).unwrap();
    assert!(matches!(
        opened.writer.commit(),
        Err(CommitError::Failed(_))
    ));
    disk.set_faults(Faults::default());
    opened.writer.push(1, &[b"x"]).unwrap();
    assert!(matches!(
        opened.writer.commit(),
        Err(CommitError::Failed(_))
    ));
    assert_eq!(opened.log.end(), 4);
}

#[test]
fn a_full_disk_refuses_groups_and_goes_on_when_there_is_room() {
    let disk = SimulatedDisk::new(1);
    let mut opened = open(&disk, None).unwrap();
    disk.set_faults(Faults {
        capacity_bytes: Some(2 * SEGMENT_BYTES),
        ..Faults::default()
    });
    let mut committed = 0;
    loop {
        opened.writer.push(1, &[&[1; 1000]]).unwrap();
        match opened.writer.commit() {
            Ok(_) => committed += 1,
            Err(CommitError::NoSpace) => break,
            Err(error) => panic!("{error}"),
        }
    }
    // Two segments, less their headers.
    assert_eq!(committed, 22);
    let (data, _) = read_all(&mut opened);
    assert_eq!(data.len(), 22);
    opened.log.retire(*data.last().unwrap()).unwrap();
    opened.writer.push(1, &[&[1; 1000]]).unwrap();
    opened.writer.commit().unwrap();
    let id = opened.log.id();
    drop(opened);
    let mut opened = open(&disk, Some((id, *data.last().unwrap()))).unwrap();
    assert_eq!(read_all(&mut opened).0.len(), 1);
}

#[test]
fn a_damaged_record_in_the_middle_is_refused_then_set_aside() {
    let disk = SimulatedDisk::new(1);
    let id = filled(&disk, 8);
    // The payload of the third record.
    disk.corrupt(&name(1), 4096 + 2 * 1032 + 500, 4).unwrap();
    let OpenError::Damaged(damage) = problem(&disk, Some((id, 0))) else {
        panic!("another problem");
    };
    assert_eq!((damage.first_lost, damage.next_whole), (3, 4));
    let repaired = repair(&disk, SEGMENT_BYTES, Some((id, 0))).unwrap();
    assert_eq!(repaired.lost, [(3, 4)]);
    assert_eq!(repaired.kept, ["damaged-0000000000000001-6160"]);
    let mut opened = open(&disk, Some((id, 0))).unwrap();
    let (data, gaps) = read_all(&mut opened);
    assert_eq!(data, [1, 2, 4, 5, 6, 7, 8]);
    assert_eq!(gaps, [(3, 4)]);
    assert_eq!(inspect(&disk).unwrap()[0].gaps, [(3, 4)]);
}

#[test]
fn a_damaged_record_header_is_refused_then_set_aside() {
    let disk = SimulatedDisk::new(1);
    let id = filled(&disk, 8);
    disk.corrupt(&name(1), 4096 + 2 * 1032, 2 * 1032 + 8)
        .unwrap();
    assert!(matches!(
        problem(&disk, Some((id, 0))),
        OpenError::Damaged(_)
    ));
    assert_eq!(
        repair(&disk, SEGMENT_BYTES, Some((id, 0))).unwrap().lost,
        [(3, 6)]
    );
    let mut opened = open(&disk, Some((id, 0))).unwrap();
    assert_eq!(read_all(&mut opened).0, [1, 2, 6, 7, 8]);
}

#[test]
fn damage_found_while_reading_stops_the_reader() {
    let disk = SimulatedDisk::new(1);
    let id = filled(&disk, 8);
    let mut opened = open(&disk, Some((id, 0))).unwrap();
    disk.corrupt(&name(1), 4096 + 500, 4).unwrap();
    let read = opened.reader.read();
    assert!(
        matches!(read, Err(ReadError::Damaged { sequence: 1, .. })),
        "{read:?}"
    );
}

#[test]
fn after_a_clean_end_the_last_record_is_known_to_have_been_whole() {
    let disk = SimulatedDisk::new(1);
    let id = filled(&disk, 4);
    open(&disk, Some((id, 0))).unwrap().writer.mark().unwrap();
    disk.corrupt(&name(1), 4096 + 3 * 1032 + 500, 4).unwrap();
    assert!(matches!(
        problem(&disk, Some((id, 0))),
        OpenError::Damaged(_)
    ));
}

#[test]
fn a_segment_deleted_by_hand_is_missed() {
    // First, middle, last of three, and all.
    for gone in [vec![1], vec![2], vec![3], vec![1, 2, 3]] {
        let disk = SimulatedDisk::new(1);
        let id = filled(&disk, 30);
        assert_eq!(inspect(&disk).unwrap().len(), 3);
        for number in &gone {
            disk.remove(&name(*number)).unwrap();
        }
        match (problem(&disk, Some((id, 0))), gone.len()) {
            (OpenError::Missing { missing, .. }, 1) => assert_eq!(missing, gone[0]),
            (OpenError::Empty { expected }, 3) => assert_eq!(expected, id),
            (other, _) => panic!("{gone:?}: {other}"),
        }
        let repaired = repair(&disk, SEGMENT_BYTES, Some((id, 0))).unwrap();
        assert_eq!(repaired.lost.len(), 1, "{gone:?}");
        let mut opened =
            open(&disk, Some((id, 0))).unwrap_or_else(|error| panic!("{gone:?}: {error}"));
        let (data, gaps) = read_all(&mut opened);
        assert_eq!(
            data.len(),
            30 - gone
                .iter()
                .map(|n| if *n == 3 { 8 } else { 11 })
                .sum::<usize>()
        );
        // Of what is gone at the end, nobody knows how much it was: one at least.
        assert_eq!(gaps, repaired.lost, "{gone:?}");
        opened.writer.push(1, &[b"goes on"]).unwrap();
        opened.writer.commit().unwrap();
    }
}

#[test]
fn a_log_shorter_than_its_owner_remembers_is_refused() {
    let disk = SimulatedDisk::new(1);
    let id = filled(&disk, 4);
    let problem = problem(&disk, Some((id, 9)));
    assert!(
        matches!(problem, OpenError::Short { end: 5, seen: 9 }),
        "{problem}"
    );
    repair(&disk, SEGMENT_BYTES, Some((id, 9))).unwrap();
    let mut opened = open(&disk, Some((id, 9))).unwrap();
    assert_eq!(read_all(&mut opened).0, [0; 0]);
    opened.writer.push(1, &[b"goes on"]).unwrap();
    assert_eq!(opened.writer.commit().unwrap(), 10..11);
}

/// A segment that was made, and nothing more: what a crash within a roll leaves. `first` is its first sequence.
fn begun_segment(disk: &SimulatedDisk, id: LogId, number: u64, first: u64) {
    let mut header = Vec::from(*b"SBXLOG\r\n");
    header.extend(1_u32.to_le_bytes());
    header.extend(id.0);
    header.extend(number.to_le_bytes());
    header.extend(SEGMENT_BYTES.to_le_bytes());
    header.extend(first.to_le_bytes());
    header.extend([0; 4]);
    header.extend(crc32fast::hash(&header).to_le_bytes());
    let file = disk.create(&name(number), SEGMENT_BYTES).unwrap();
    file.write_at(&header, 0).unwrap();
    file.sync().unwrap();
}

#[test]
fn a_short_log_whose_roll_was_broken_off_is_repaired() {
    let disk = SimulatedDisk::new(1);
    let id = filled(&disk, 4);
    begun_segment(&disk, id, 2, 6);
    assert_eq!(
        read_all(&mut open(&disk, Some((id, 0))).unwrap()).0,
        [1, 2, 3, 4]
    );
    let disk = SimulatedDisk::new(1);
    let id = filled(&disk, 4);
    begun_segment(&disk, id, 2, 6);
    assert!(matches!(
        problem(&disk, Some((id, 9))),
        OpenError::Short { end: 6, seen: 9 }
    ));
    let repaired = repair(&disk, SEGMENT_BYTES, Some((id, 9))).unwrap();
    assert_eq!(repaired.lost, [(6, 10)]);
    let mut opened = open(&disk, Some((id, 9))).unwrap();
    opened.writer.push(1, &[b"goes on"]).unwrap();
    assert_eq!(opened.writer.commit().unwrap(), 10..11);
}

#[test]
fn only_the_last_segment_may_follow_one_without_a_seal() {
    let disk = SimulatedDisk::new(1);
    let id = filled(&disk, 4);
    begun_segment(&disk, id, 2, 6);
    begun_segment(&disk, id, 3, 7);
    assert!(matches!(
        problem(&disk, Some((id, 0))),
        OpenError::Damaged(_)
    ));
    repair(&disk, SEGMENT_BYTES, Some((id, 0))).unwrap();
    let mut opened = open(&disk, Some((id, 0))).unwrap();
    assert_eq!(read_all(&mut opened).0, [1, 2, 3, 4]);
    opened.writer.push(1, &[b"goes on"]).unwrap();
    assert_eq!(opened.writer.commit().unwrap(), 7..8);
}

#[test]
fn another_log_is_not_taken_for_ours() {
    let disk = SimulatedDisk::new(1);
    filled(&disk, 4);
    let other = LogId([7; 16]);
    assert!(matches!(
        problem(&disk, Some((other, 0))),
        OpenError::OtherLog { .. }
    ));
    let repaired = repair(&disk, SEGMENT_BYTES, Some((other, 0)));
    assert!(
        matches!(repaired, Err(OpenError::OtherLog { .. })),
        "{repaired:?}"
    );
}

#[test]
fn a_damaged_header_is_refused_then_mended_from_what_is_there() {
    let disk = SimulatedDisk::new(1);
    let id = filled(&disk, 30);
    disk.corrupt(&name(2), 44, 4).unwrap();
    assert!(matches!(
        problem(&disk, Some((id, 0))),
        OpenError::Header { .. }
    ));
    let repaired = repair(&disk, SEGMENT_BYTES, Some((id, 0))).unwrap();
    assert!(repaired.lost.is_empty());
    let mut opened = open(&disk, Some((id, 0))).unwrap();
    assert_eq!(read_all(&mut opened).0.len(), 30);
}

#[test]
fn a_later_format_is_named() {
    let disk = SimulatedDisk::new(1);
    filled(&disk, 1);
    let file = disk.open(&name(1)).unwrap();
    let mut header = [0; 60];
    file.read_at(&mut header, 0).unwrap();
    header[8] = 2;
    let crc = crc32fast::hash(&header[..56]);
    header[56..60].copy_from_slice(&crc.to_le_bytes());
    file.write_at(&header, 0).unwrap();
    assert!(matches!(
        problem(&disk, None),
        OpenError::NewerFormat { found: 2 }
    ));
}

#[test]
fn a_record_larger_than_a_segment_is_refused_alone() {
    let disk = SimulatedDisk::new(1);
    let mut opened = open(&disk, None).unwrap();
    opened.writer.push(1, &[b"before"]).unwrap();
    let large = vec![0; 20_000];
    assert!(matches!(
        opened.writer.push(1, &[&large]),
        Err(CommitError::TooLarge { .. })
    ));
    assert_eq!(opened.writer.commit().unwrap(), 1..2);
}

#[test]
fn segments_are_used_again_on_the_real_disk() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("log");
    let storage = || Arc::new(FileStorage::open(&folder).unwrap());
    let mut opened = Log::open(storage(), &CONFIG, None).unwrap();
    let mut seen = 0;
    for round in 0..200_u32 {
        opened
            .writer
            .push(3, &[&round.to_le_bytes(), &[5; 900]])
            .unwrap();
        opened.writer.commit().unwrap();
        let record = loop {
            let record = opened.reader.read().unwrap().unwrap();
            if record.kind == RecordKind::Data(3) {
                break record;
            }
        };
        assert_eq!(record.payload[..4], round.to_le_bytes());
        seen = record.sequence;
        opened.log.retire(seen).unwrap();
        opened.log.prepare().unwrap();
    }
    assert!(
        opened.log.disk_bytes() <= 4 * SEGMENT_BYTES,
        "{}",
        opened.log.disk_bytes()
    );
    let id = opened.log.id();
    drop(opened);
    let mut opened = Log::open(storage(), &CONFIG, Some((id, seen))).unwrap();
    assert!(opened.reader.read().unwrap().is_none());
    assert_eq!(opened.log.end(), seen + 1);
}

/// Sequences that are whole after a repair, and those that it gave up: in order, and between them all but seals.
fn mended(disk: &SimulatedDisk, id: LogId) -> (Vec<u64>, Vec<(u64, u64)>) {
    let repaired = repair(disk, SEGMENT_BYTES, Some((id, 0))).unwrap();
    let mut opened = open(disk, Some((id, 0))).unwrap();
    let (data, gaps) = read_all(&mut opened);
    assert_eq!(gaps, repaired.lost);
    opened.writer.push(1, &[b"goes on"]).unwrap();
    opened.writer.commit().unwrap();
    (data, gaps)
}

#[test]
fn a_segment_that_was_cut_is_brought_back_to_its_size_wherever_the_cut_is() {
    // Eleven records to a segment; the third has eight.
    let sizes = [
        (0, 0),
        (59, 0),
        (60, 0),
        (4096, 0),
        (4128, 0),
        (4096 + 3 * 1032 + 500, 3),
        (4096 + 3 * 1032, 3),
        (15_448, 11),
        (SEGMENT_BYTES - 900, 11),
    ];
    for number in 1..=3 {
        for (size, whole) in sizes {
            let disk = SimulatedDisk::new(1);
            let id = filled(&disk, 30);
            let before = read_all(&mut open(&disk, Some((id, 0))).unwrap()).0;
            disk.truncate(&name(number), size).unwrap();
            assert!(matches!(
                problem(&disk, Some((id, 0))),
                OpenError::Header { .. }
            ));
            let found = disk.open(&name(number)).unwrap();
            let at = format!("segment {number} cut at {size}");
            let (data, gaps) = mended(&disk, id);
            let held = if number == 3 { 8 } else { 11 };
            let expected = before.len() - (held - whole.min(held));
            assert_eq!(data.len(), expected, "{at}");
            assert!(data.iter().all(|sequence| before.contains(sequence)));
            for lost in before.iter().filter(|sequence| !data.contains(sequence)) {
                // Of what is gone at the end, nobody knows how much it was: one at least.
                let given_up = |(from, to): &(u64, u64)| from <= lost && (lost < to || number == 3);
                assert!(gaps.iter().any(given_up), "{at}: {lost} of {gaps:?}");
            }
            let is_lost = number == 3 || whole < held;
            assert_eq!(gaps.len(), usize::from(is_lost), "{at}: {gaps:?}");
            let kept = disk.open(&format!("damaged-{number:016x}-file")).unwrap();
            assert_eq!(kept.size().unwrap(), found.size().unwrap(), "{at}");
        }
    }
}

#[test]
fn an_only_segment_that_was_cut_and_an_empty_file_after_it_are_no_dead_end() {
    for size in [0, 60, 4096, 4096 + 1032] {
        let disk = SimulatedDisk::new(1);
        let id = filled(&disk, 5);
        disk.truncate(&name(1), size).unwrap();
        disk.create(&name(2), 0).unwrap();
        let (data, gaps) = mended(&disk, id);
        let whole = u64::from(size > 5000);
        assert_eq!(data, (1..=whole).collect::<Vec<_>>());
        assert_eq!(gaps, [(whole + 1, whole + 2)]);
    }
}

#[test]
fn a_file_in_which_nothing_can_be_read_is_set_aside_and_missed() {
    for number in 1..=3 {
        let disk = SimulatedDisk::new(1);
        let id = filled(&disk, 30);
        let bytes = usize::try_from(SEGMENT_BYTES).unwrap();
        disk.corrupt(&name(number), 0, bytes).unwrap();
        let (data, gaps) = mended(&disk, id);
        assert_eq!(data.len(), if number == 3 { 22 } else { 19 });
        assert_eq!(gaps.len(), 1);
    }
}

#[test]
fn a_header_and_the_first_records_that_rotted_cost_those_records() {
    let disk = SimulatedDisk::new(1);
    let id = filled(&disk, 30);
    disk.corrupt(&name(2), 0, 4096 + 2 * 1032).unwrap();
    let (data, gaps) = mended(&disk, id);
    // The twelfth is the first segment's seal.
    assert_eq!(gaps, [(13, 15)]);
    assert_eq!(data.len(), 28);
}

#[test]
fn several_that_are_gone_are_bridged_also_after_one_that_was_cut() {
    for cut in [false, true] {
        let disk = SimulatedDisk::new(1);
        let id = filled(&disk, 50);
        disk.remove(&name(2)).unwrap();
        disk.remove(&name(3)).unwrap();
        if cut {
            disk.truncate(&name(1), 4096 + 2 * 1032).unwrap();
        }
        let (data, gaps) = mended(&disk, id);
        assert_eq!(data.len(), 28 - if cut { 9 } else { 0 });
        assert_eq!(gaps.len(), 1);
    }
}

#[test]
fn a_repair_that_a_crash_broke_off_is_gone_on_with() {
    let disk = SimulatedDisk::new(1);
    let id = filled(&disk, 30);
    let before = read_all(&mut open(&disk, Some((id, 0))).unwrap()).0;
    // Made, and not in its place yet.
    disk.rename(&name(2), "mending-0000000000000002").unwrap();
    // Begun, beside one that is whole.
    disk.create("mending-0000000000000001", 100).unwrap();
    let (data, gaps) = mended(&disk, id);
    assert_eq!((data, gaps), (before, Vec::new()));
    let names = disk.list().unwrap();
    assert!(!names.iter().any(|name| name.starts_with("mending-")));
}

#[test]
fn segments_that_were_swapped_are_left_for_someone_to_put_back() {
    let disk = SimulatedDisk::new(1);
    let id = filled(&disk, 30);
    disk.rename(&name(1), "elsewhere").unwrap();
    disk.rename(&name(2), &name(1)).unwrap();
    disk.rename("elsewhere", &name(2)).unwrap();
    let repaired = repair(&disk, SEGMENT_BYTES, Some((id, 0)));
    assert!(
        matches!(repaired, Err(OpenError::Header { .. })),
        "{repaired:?}"
    );
}
