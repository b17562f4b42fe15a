//! `signalbox-data-plane spool …`, as a process, on spools that are whole and on such that are not.

use std::{
    collections::{BTreeMap, BTreeSet},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use signalbox_data_plane::spool::{IntakeSpool, IntakeSpoolConfig, Spool as _};
use signalbox_log::LogConfig;
use tempfile::TempDir;

use crate::events::{self, finished, name, started};

const SEGMENT_BYTES: u64 = 64 * 1024;
/// Enough for several segments.
const MESSAGES: usize = 400;

/// A spool whose every message is in the log and not in the store.
struct Place {
    dir: TempDir,
}

fn config(unclaimed_max: u64) -> IntakeSpoolConfig {
    IntakeSpoolConfig {
        log: LogConfig {
            segment_bytes: SEGMENT_BYTES,
        },
        unclaimed_max,
        skim_max: 0,
        ..IntakeSpoolConfig::default()
    }
}

fn id(number: usize) -> String {
    format!("m-{number}")
}

impl Place {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let spool = IntakeSpool::open(dir.path(), &config(0)).unwrap();
        let accepts = (0..MESSAGES).map(|number| {
            let mut accept = events::accept(&id(number));
            accept.accepted.event.body = "a body that nobody may list".into();
            accept
        });
        let accepts: Vec<_> = accepts.collect();
        // Twenty at a time make a group.
        for group in accepts.chunks(20) {
            let all = group.iter().map(|accept| spool.accept(accept.clone()));
            for accepted in futures::future::join_all(all).await {
                accepted.unwrap();
            }
        }
        Self { dir }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Runs `spool` with these arguments.
    fn spool(&self, arguments: &[&str]) -> Output {
        spool(self.path(), arguments)
    }

    fn survey(&self) -> serde_json::Value {
        let output = self.spool(&["inspect", "--json"]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn segments(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.path().join("intake")).unwrap();
        let paths = files.map(|file| file.unwrap().path());
        let mut segments: Vec<_> = paths
            .filter(|path| path.extension().is_some_and(|kind| kind == "segment"))
            .collect();
        segments.sort();
        segments
    }

    /// Content of every file, but for the lock, which names who had it last, and SQLite's index of its log, which is a cache.
    fn content(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut content = BTreeMap::new();
        for folder in [self.path().to_owned(), self.path().join("intake")] {
            for file in std::fs::read_dir(folder).unwrap() {
                let path = file.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                if path.is_file() && name != "lock" && !name.ends_with("-shm") {
                    let bytes = std::fs::read(&path).unwrap();
                    // Made empty by whoever reads.
                    if !bytes.is_empty() {
                        content.insert(path, bytes);
                    }
                }
            }
        }
        content
    }

    /// Ids of what is executed by the next start.
    async fn executed(&self) -> BTreeSet<String> {
        let spool = IntakeSpool::open(self.path(), &config(u64::MAX)).unwrap();
        let mut ids = BTreeSet::new();
        let deadline = Instant::now() + Duration::from_secs(60);
        while (ids.len() as u64) < spool.stats().unfinished_executions {
            assert!(Instant::now() < deadline, "{} run, not all", ids.len());
            for claimed in spool.claim(1000).await.unwrap() {
                ids.insert(claimed.accepted.execution.execution.to_string());
            }
        }
        ids
    }

    /// It does not start; gives the line that says so.
    fn refuses_to_start(&self) -> String {
        let output = node(self.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(64), "{output:?}");
        let error = String::from_utf8(output.stderr).unwrap();
        let lines: Vec<_> = error.lines().filter(|l| l.starts_with("error: ")).collect();
        assert_eq!(lines.len(), 1, "{error}");
        lines[0].to_owned()
    }

    /// Damage of any kind: shown, refused, named, changed by nothing but a repair that accepts it.
    fn mend(&self, shows: &str, gives_up: &str) {
        let line = self.refuses_to_start();
        assert!(line.contains("spool verify"), "{line}");
        assert!(line.contains("spool repair"), "{line}");
        let before = self.content();
        let verified = self.spool(&["verify"]);
        assert_eq!(verified.status.code(), Some(1), "{verified:?}");
        assert!(text(&verified).contains(shows), "{}", text(&verified));
        assert!(text(&verified).contains(gives_up), "{}", text(&verified));
        self.survey();
        let named = self.spool(&["repair"]);
        assert_eq!(named.status.code(), Some(1), "{named:?}");
        assert!(text(&named).contains(gives_up), "{}", text(&named));
        assert!(self.content() == before, "something was changed");
        let repaired = self.spool(&["repair", "--accept-loss"]);
        assert_eq!(repaired.status.code(), Some(0), "{repaired:?}");
        assert!(text(&repaired).contains(gives_up), "{}", text(&repaired));
        self.is_whole();
    }

    fn is_whole(&self) {
        let verified = self.spool(&["verify"]);
        assert_eq!(verified.status.code(), Some(0), "{verified:?}");
        assert!(text(&verified).starts_with("whole: "), "{verified:?}");
        let repaired = self.spool(&["repair"]);
        assert_eq!(repaired.status.code(), Some(0), "{repaired:?}");
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn binary() -> Command {
    Command::new(env!("CARGO_BIN_EXE_signalbox-data-plane"))
}

fn spool(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = binary();
    command.arg("spool").args(arguments).arg("--data-dir");
    command.arg(dir).output().unwrap()
}

/// A node that listens somewhere and has no control plane.
fn node(dir: &Path) -> Command {
    let mut command = binary();
    command.args(["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]);
    command.args(["--control-plane", "http://127.0.0.1:1", "--data-dir"]);
    command.arg(dir);
    command
}

fn all_but(lost: impl Fn(usize) -> bool) -> BTreeSet<String> {
    (0..MESSAGES).filter(|n| !lost(*n)).map(id).collect()
}

#[tokio::test]
async fn a_whole_spool_is_shown_and_left_as_it_is() {
    let place = Place::new().await;
    let before = place.content();
    let survey = place.survey();
    let segments = survey["segments"].as_array().unwrap();
    assert!(segments.len() >= 3, "{survey}");
    let count = |kind: &str| -> u64 {
        let counts = segments
            .iter()
            .filter_map(|of| of["records"][kind].as_u64());
        counts.sum()
    };
    assert_eq!(count("accepted"), MESSAGES as u64);
    let defined = |of: &serde_json::Value| of["records"]["definition"].as_u64() >= Some(1);
    assert!(
        segments.iter().all(defined),
        "each can be read alone: {survey}"
    );
    assert_eq!(count("seal"), segments.len() as u64 - 1);
    assert_eq!(survey["pending"]["messages"], MESSAGES);
    assert_eq!(survey["store"]["state"], "readable");
    assert_eq!(survey["store"]["position"], 0);
    assert_eq!(survey["problems"], serde_json::json!([]));
    let sealed: Vec<_> = segments
        .iter()
        .map(|of| of["sealed"].as_bool().unwrap())
        .collect();
    assert!(sealed.iter().rev().skip(1).all(|sealed| *sealed));

    let listed = place.spool(&["inspect", "--records", "--json"]);
    let lines: Vec<serde_json::Value> = text(&listed)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let sequences: Vec<_> = lines
        .iter()
        .map(|line| line["sequence"].as_u64().unwrap())
        .collect();
    assert_eq!(sequences, (1..=lines.len() as u64).collect::<Vec<_>>());
    let executions: BTreeSet<_> = lines
        .iter()
        .filter_map(|line| line["execution"].as_str())
        .collect();
    assert_eq!(executions.len(), MESSAGES);
    for output in [&listed, &place.spool(&["inspect", "--records"])] {
        let shown = text(output);
        assert!(shown.contains(&name(&id(7)).to_string()), "{shown}");
        assert!(!shown.contains("a body that nobody may list"));
    }
    place.is_whole();
    assert!(place.content() == before, "looking has changed something");
    assert_eq!(place.executed().await, all_but(|_| false));
}

#[tokio::test]
async fn what_is_taken_is_not_pending() {
    let dir = tempfile::tempdir().unwrap();
    let spool = IntakeSpool::open(dir.path(), &config(u64::MAX)).unwrap();
    for number in 0..10 {
        spool.accept(events::accept(&id(number))).await.unwrap();
    }
    let mut claimed = 0;
    while claimed < 10 {
        claimed += spool.claim(10).await.unwrap().len();
    }
    let ended = vec![started(&id(0)), finished(&id(0))];
    spool.journal(name(&id(0)), ended, true).await.unwrap();
    drop(spool);
    let place = Place { dir };
    let survey = place.survey();
    assert_eq!(survey["pending"]["messages"], 0, "{survey}");
    assert_eq!(survey["store"]["unfinishedExecutions"], 9, "{survey}");
    place.is_whole();
}

/// Turns the bits of a byte of each payload whose number `hit` says, in the middle of the log.
fn spoil(place: &Place, hit: &[usize]) {
    let listed = text(&place.spool(&["inspect", "--records", "--json"]));
    for line in listed.lines() {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap();
        let Some(execution) = entry["execution"].as_str() else {
            continue;
        };
        if hit.iter().any(|n| execution == name(&id(*n)).to_string()) {
            let number = entry["segment"].as_u64().unwrap();
            let file = place.path().join(format!("intake/{number:016x}.segment"));
            let file = std::fs::File::options()
                .read(true)
                .write(true)
                .open(file)
                .unwrap();
            let at = entry["offset"].as_u64().unwrap() + 100;
            let mut byte = [0];
            file.read_exact_at(&mut byte, at).unwrap();
            file.write_all_at(&[!byte[0]], at).unwrap();
        }
    }
}

#[tokio::test]
async fn records_that_rotted_are_shown_refused_and_given_up_when_told_to() {
    let place = Place::new().await;
    spoil(&place, &[50, 51, 150]);
    let output = place.spool(&["verify", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let survey: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let damaged: Vec<_> = survey["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|problem| {
            let of = &problem["damaged"];
            let number = |field: &str| of[field].as_u64().unwrap();
            assert!(number("until") > number("offset"));
            number("lastLost") - number("firstLost") + 1
        })
        .collect();
    assert_eq!(damaged, [2, 1], "{survey}");
    place.mend(
        "durable records are damaged: records",
        "records 52 to 53 of the intake log",
    );
    let survey = place.survey();
    assert_eq!(survey["setAside"].as_array().unwrap().len(), 2, "{survey}");
    assert_eq!(
        place.executed().await,
        all_but(|n| [50, 51, 150].contains(&n))
    );
}

#[tokio::test]
async fn a_segment_that_was_deleted_is_missed_whichever_it_is() {
    let all = Place::new().await.segments().len();
    for gone in [0, 1, all - 1] {
        let place = Place::new().await;
        let file = place.segments().swap_remove(gone);
        std::fs::remove_file(&file).unwrap();
        place.mend("is missing", "records");
        let executed = place.executed().await;
        let lost = MESSAGES - executed.len();
        assert!(lost > 0 && lost < MESSAGES, "{gone}: {lost}");
        let one_run: Vec<_> = (0..MESSAGES)
            .filter(|n| !executed.contains(&id(*n)))
            .collect();
        assert_eq!(
            one_run.last().unwrap() - one_run[0] + 1,
            lost,
            "{gone}: one after the other"
        );
    }
}

#[tokio::test]
async fn a_segment_that_was_cut_is_mended_wherever_the_cut_is() {
    let all = Place::new().await.segments().len();
    // Within the header, after it, within the first records, within later ones.
    for (which, size) in [
        (0, 0),
        (1, 60),
        (all - 1, 4096),
        (0, 4128),
        (all - 1, 30_000),
        (1, 50_000),
    ] {
        let place = Place::new().await;
        let file = place.segments().swap_remove(which);
        let found = std::fs::read(&file).unwrap();
        let cut = std::fs::File::options().write(true).open(&file).unwrap();
        cut.set_len(size).unwrap();
        place.mend("the header of segment file", "of the intake log");
        let executed = place.executed().await;
        let is_whole = executed.len() == MESSAGES;
        assert!(executed.is_subset(&all_but(|_| false)));
        assert!(!is_whole || which == all - 1, "{which} at {size}");
        assert!(executed.len() >= MESSAGES / 4, "{}", executed.len());
        let number = file.file_stem().unwrap().to_string_lossy();
        let kept = place.path().join(format!("intake/damaged-{number}-file"));
        let size = usize::try_from(size).unwrap();
        assert!(std::fs::read(kept).unwrap() == found[..size]);
    }
}

#[tokio::test]
async fn an_empty_file_beside_the_segments_is_no_dead_end() {
    let place = Place::new().await;
    let next = place.segments().len() + 1;
    std::fs::write(
        place.path().join(format!("intake/{next:016x}.segment")),
        b"",
    )
    .unwrap();
    let line = place.refuses_to_start();
    assert!(line.contains("the header of segment file"), "{line}");
    let repaired = place.spool(&["repair", "--accept-loss"]);
    assert_eq!(repaired.status.code(), Some(0), "{repaired:?}");
    place.is_whole();
    assert_eq!(place.executed().await, all_but(|_| false));
}

#[tokio::test]
async fn a_log_that_was_deleted_is_missed() {
    let place = Place::new().await;
    std::fs::remove_dir_all(place.path().join("intake")).unwrap();
    place.mend("the folder holds no segment", "of the intake log");
    assert!(place.executed().await.is_empty());
}

#[tokio::test]
async fn a_store_that_was_deleted_is_missed_and_what_the_log_holds_runs() {
    let place = Place::new().await;
    for suffix in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(place.path().join(format!("spool.sqlite{suffix}")));
    }
    place.mend("the store is gone", "the store:");
    assert_eq!(place.executed().await, all_but(|_| false));
}

#[tokio::test]
async fn a_store_that_is_no_database_is_set_aside() {
    let place = Place::new().await;
    let store = place.path().join("spool.sqlite");
    let garbage = vec![0x5a; 20_000];
    std::fs::write(&store, &garbage).unwrap();
    place.mend("the store cannot be read", "the store:");
    let kept = std::fs::read_dir(place.path()).unwrap().find_map(|file| {
        let path = file.unwrap().path();
        let name = path.file_name()?.to_str()?;
        (name.starts_with("damaged-") && name.ends_with("spool.sqlite")).then(|| path.clone())
    });
    assert_eq!(std::fs::read(kept.unwrap()).unwrap(), garbage);
    assert_eq!(place.executed().await, all_but(|_| false));
}

#[tokio::test]
async fn a_page_of_the_store_that_rotted_is_found() {
    let place = Place::new().await;
    place.is_whole();
    let file = std::fs::File::options()
        .write(true)
        .open(place.path().join("spool.sqlite"));
    // A page of a table or an index, whichever: its header is nonsense then.
    file.unwrap().write_all_at(&[0xff; 64], 3 * 4096).unwrap();
    let verified = place.spool(&["verify"]);
    assert_eq!(verified.status.code(), Some(1), "{verified:?}");
    assert!(text(&verified).contains("the store"), "{verified:?}");
}

#[tokio::test]
async fn a_log_of_another_store_is_neither_taken_nor_repaired() {
    let (place, other) = (Place::new().await, Place::new().await);
    let (ours, theirs) = (place.path().join("intake"), other.path().join("intake"));
    std::fs::rename(&ours, place.path().join("elsewhere")).unwrap();
    std::fs::rename(&theirs, &ours).unwrap();
    let line = place.refuses_to_start();
    assert!(
        line.contains("but the store beside it belongs to log"),
        "{line}"
    );
    let before = place.content();
    let verified = place.spool(&["verify"]);
    assert_eq!(verified.status.code(), Some(1));
    assert!(text(&verified).contains("belongs to log"), "{verified:?}");
    let repaired = place.spool(&["repair", "--accept-loss"]);
    assert_eq!(repaired.status.code(), Some(64), "{repaired:?}");
    assert!(place.content() == before, "something was changed");
    std::fs::rename(&ours, &theirs).unwrap();
    std::fs::rename(place.path().join("elsewhere"), &ours).unwrap();
    assert_eq!(place.executed().await, all_but(|_| false));
}

#[tokio::test]
async fn a_torn_end_is_no_damage() {
    let place = Place::new().await;
    let survey = place.survey();
    let last = survey["segments"].as_array().unwrap().last().unwrap();
    let file = place
        .path()
        .join("intake")
        .join(last["file"].as_str().unwrap());
    let file = std::fs::File::options().write(true).open(file).unwrap();
    // A group that never was synced: whatever of it reached the disk.
    let end = last["usedBytes"].as_u64().unwrap().next_multiple_of(8);
    file.write_all_at(&[0xa5; 900], end).unwrap();
    place.is_whole();
    assert_eq!(place.executed().await, all_but(|_| false));
}

#[tokio::test]
async fn a_running_nodes_spool_is_left_alone() {
    let place = Place::new().await;
    let mut running = node(place.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // Looking for the lock by taking it would keep the node from it.
    let lock = place.path().join("lock");
    let owner = format!("{}\n", running.id());
    while std::fs::read_to_string(&lock).unwrap_or_default() != owner {
        assert!(running.try_wait().unwrap().is_none(), "it has ended");
        std::thread::yield_now();
    }
    let locked = place.spool(&["inspect"]);
    let error = String::from_utf8(locked.stderr).unwrap();
    let by = format!("is in use by process {}", running.id());
    assert!(error.contains(&by), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    for command in ["verify", "repair"] {
        assert_eq!(place.spool(&[command]).status.code(), Some(64));
    }
    let line = place.refuses_to_start();
    assert!(line.contains(&by), "{line}");
    running.kill().unwrap();
    running.wait().unwrap();
    place.is_whole();
}

#[test]
fn what_is_not_there_is_not_made() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    let output = spool(&missing, &["verify"]);
    assert_eq!(output.status.code(), Some(64), "{output:?}");
    assert!(!missing.exists());
    let output = spool(dir.path(), &["verify"]);
    assert_eq!(
        output.status.code(),
        Some(64),
        "an empty folder: {output:?}"
    );
}
