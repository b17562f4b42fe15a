//! The disk misbehaves under a running node, or behind its back: each case has its answer (docs/operations.md, «When the disk
//! misbehaves»), and nothing that was acknowledged is dropped in silence. What `spool` says of damage is tried in
//! `data-plane/tests/spool`, disks that are full in [`crate::endurance`].

use std::{
    os::unix::fs::FileExt as _,
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::atomic::Ordering,
    time::Duration,
};

use signalbox_tests::{
    endurance::{Load, World},
    process::binary,
    wait,
};

/// Enough that some are in the log and not in the store: that holds 1,024 which nobody has claimed.
const MANY: usize = 1500;

fn spool(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary("signalbox-data-plane"));
    command.arg("spool").args(arguments).arg("--data-dir");
    command.arg(dir).output().unwrap()
}

async fn acknowledged(load: &Load, count: usize) {
    wait::until(
        "messages to be acknowledged",
        Duration::from_secs(120),
        || async {
            match load.acknowledged() {
                enough if enough >= count => Ok(()),
                few => Err(few.to_string()),
            }
        },
    )
    .await;
}

/// The node ends by itself, as one that must not start does; gives the new lines of its log.
async fn refuses_to_start(world: &mut World) -> String {
    let before = world.planes.data.log().len();
    world.planes.data.spawn();
    let process = world.planes.data.process();
    wait::until("the node to end", Duration::from_secs(30), || {
        let running = process.is_running();
        async move {
            if running {
                Err("it runs".to_owned())
            } else {
                Ok(())
            }
        }
    })
    .await;
    assert_eq!(
        world.planes.data.process().terminate(Duration::ZERO).code(),
        Some(64)
    );
    world.planes.data.kill();
    world.planes.data.log()[before..].to_owned()
}

/// A world whose executions wait, with messages in the log that the store has not taken; its node is killed.
async fn backlog() -> (World, signalbox_tests::endurance::Sent) {
    // The store takes no more than enough, however slowly messages come.
    let arguments = ["--executions-max", "1", "--intake-skim-max", "0"].map(str::to_owned);
    let mut world = World::start(arguments.into(), |_| {}).await;
    world.open.store(false, Ordering::Relaxed);
    let load = world.send(12, 4, 300);
    acknowledged(&load, MANY).await;
    let sent = load.finish().await;
    world.planes.data.kill();
    (world, sent)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_rotted_stops_the_node_until_its_loss_is_accepted() {
    let (mut world, sent) = backlog().await;
    let dir = world.planes.data.data_dir.clone();
    let survey = spool(&dir, &["inspect", "--json"]).stdout;
    let survey: serde_json::Value = serde_json::from_slice(&survey).unwrap();
    let position = survey["store"]["position"].as_u64().unwrap();
    let records = spool(&dir, &["inspect", "--records", "--json"]).stdout;
    let pending: Vec<serde_json::Value> = String::from_utf8(records)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|entry: &serde_json::Value| entry["sequence"].as_u64() > Some(position))
        .filter(|entry: &serde_json::Value| entry["kind"] == "accepted")
        .collect();
    assert!(pending.len() > 20, "{survey}");
    let hit = &pending[pending.len() / 2];
    let number = hit["segment"].as_u64().unwrap();
    let path = dir.join(format!("intake/{number:016x}.segment"));
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let (at, mut byte) = (hit["offset"].as_u64().unwrap() + 200, [0]);
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();

    let said = refuses_to_start(&mut world).await;
    assert!(said.contains("durable records are damaged"), "{said}");
    assert!(said.contains("signalbox-data-plane spool verify"), "{said}");
    let verified = spool(&dir, &["verify"]);
    assert_eq!(verified.status.code(), Some(1), "{verified:?}");
    assert_eq!(spool(&dir, &["repair"]).status.code(), Some(1));
    let said = refuses_to_start(&mut world).await;
    assert!(said.contains("durable records are damaged"), "{said}");
    let repaired = spool(&dir, &["repair", "--accept-loss"]);
    assert_eq!(repaired.status.code(), Some(0), "{repaired:?}");

    world.open.store(true, Ordering::Relaxed);
    world.planes.data.start().await;
    let settled = world.settle(&sent, 1, false).await;
    assert_eq!(settled.executions, sent.acknowledged.len() - 1);
    let metrics = world.planes.data.metrics().await;
    assert!(
        metrics.contains("signalbox_intake_lost_records_total 1\n"),
        "{metrics}"
    );
    assert!(
        world
            .planes
            .data
            .log()
            .contains("records of the intake log were lost to damage")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_store_the_node_does_not_start_and_then_runs_what_the_log_holds_once() {
    let (mut world, sent) = backlog().await;
    let dir = world.planes.data.data_dir.clone();
    for file in ["spool.sqlite", "spool.sqlite-wal", "spool.sqlite-shm"] {
        std::fs::remove_file(dir.join(file)).unwrap();
    }
    let said = refuses_to_start(&mut world).await;
    assert!(
        said.contains("the store that it belongs to is gone"),
        "{said}"
    );
    assert_eq!(
        spool(&dir, &["repair", "--accept-loss"]).status.code(),
        Some(0)
    );
    world.open.store(true, Ordering::Relaxed);
    world.planes.data.start().await;
    let settled = world.settle(&sent, 0, false).await;
    assert_eq!(settled.executions, sent.acknowledged.len());
}

/// Makes the next call of `calls` by the node's thread `name` fail as a dying disk does. Later calls would go well: whoever
/// asks again is found out.
fn fail_once(world: &mut World, name: &str, calls: &str, log: &Path) -> Child {
    let tasks = format!("/proc/{}/task", world.planes.data.process().id());
    let mut tasks = std::fs::read_dir(tasks).unwrap().map(|task| task.unwrap());
    let thread = tasks.find(|task| {
        let comm = std::fs::read_to_string(task.path().join("comm"));
        comm.is_ok_and(|comm| comm.trim() == name)
    });
    let id = thread.unwrap().file_name().into_string().unwrap();
    let mut strace = match rustix::process::geteuid().is_root() {
        true => Command::new("strace"),
        false => Command::new("sudo"),
    };
    if !rustix::process::geteuid().is_root() {
        strace.args(["-n", "strace"]);
    }
    strace
        .args(["-p", &id, "-e", &format!("trace={calls}")])
        .args(["-e", &format!("inject={calls}:error=EIO:when=1"), "-o"])
        .arg(log)
        .stderr(Stdio::null())
        .spawn()
        .expect("strace (tests/tools/setup installs it)")
}

async fn a_failed_sync_of(thread: &str, calls: &str) {
    let mut world = World::start(Vec::new(), |_| {}).await;
    let load = world.send(4, 2, 300);
    acknowledged(&load, 50).await;
    let log = world.planes.dir().join("strace");
    let mut strace = fail_once(&mut world, thread, calls, &log);
    wait::until(
        "the node to have failed",
        Duration::from_secs(60),
        || async {
            let (status, checks) = world.readyz().await;
            let refused = load.refused();
            match status == 503
                && checks.contains("Input/output error") | checks.contains("disk I/O error")
                && refused.get("503 spool-failed") > Some(&20)
            {
                true => Ok(()),
                false => Err(format!("{status} {checks} {refused:?}")),
            }
        },
    )
    .await;
    assert!(
        world.planes.data.process().is_running(),
        "it answers, and takes nothing"
    );
    let now = load.acknowledged();
    acknowledged_nothing_since(&load, now).await;
    strace.kill().unwrap();
    strace.wait().unwrap();
    let calls = std::fs::read_to_string(&log).unwrap();
    let (before, after) = calls.split_once("(INJECTED)").expect("a failed sync");
    assert!(!before.contains("= 0"), "the first that it made");
    assert!(!after.contains("sync("), "it was asked again: {after}");

    world.planes.data.kill();
    world.planes.data.start().await;
    acknowledged(&load, now + 20).await;
    let sent = load.finish().await;
    world.settle(&sent, 0, false).await;
}

/// Each sender is refused many times more, and none is told that its message is durable.
async fn acknowledged_nothing_since(load: &Load, acknowledged: usize) {
    let refusals = || load.refused().values().sum::<u64>();
    let before = refusals();
    wait::until("more refusals", Duration::from_secs(30), || async {
        match refusals() - before {
            enough if enough > 50 => Ok(()),
            few => Err(few.to_string()),
        }
    })
    .await;
    assert_eq!(load.acknowledged(), acknowledged);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_of_the_log_is_final_and_loses_nothing() {
    a_failed_sync_of("intake-commit", "fdatasync").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_of_the_store_is_final_and_loses_nothing() {
    a_failed_sync_of("spool-writer", "fsync,fdatasync").await;
}
