//! The end comes while messages do: what is under way is answered, what was acknowledged runs.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use signalbox_proto::v1::ExecutionState;
use signalbox_tests::{
    planes::{Options, Planes},
    wait,
};

use super::support::{Post, Signing, Stage, Wire, exchange};

const SENDERS: usize = 8;
/// How long the node may take to end: its own `--drain-timeout-s` and a little.
const LIMIT: Duration = Duration::from_secs(25);

/// What a sender was told, by message.
#[derive(Default)]
struct Told {
    taken: BTreeSet<String>,
    later: usize,
    unanswered: usize,
}

/// Posts message after message, on connections kept or new, until nobody answers any more.
async fn send(
    n: usize,
    addr: SocketAddr,
    target: String,
    signing: Signing,
    told: Arc<Mutex<Told>>,
) {
    let mut wire = None;
    for number in 0.. {
        let id = format!("drain-{n}-{number}");
        let post = Post::of(&target, &signing.notification(&id));
        let answer = if n.is_multiple_of(2) {
            exchange(addr, post.bytes()).await
        } else {
            if wire.is_none() {
                let Ok(stream) = tokio::net::TcpStream::connect(addr).await else {
                    return;
                };
                wire = Some(Wire::over(stream));
            }
            let Some(open) = &mut wire else { return };
            open.send(post.bytes()).await;
            open.answer().await
        };
        let mut told = told.lock().unwrap();
        match answer {
            Some(answer) if answer.status == 200 => {
                told.taken.insert(id);
            }
            Some(answer) => {
                assert_eq!(answer.status, 503, "{answer:?}");
                assert_eq!(answer.reason(), "draining");
                assert!(answer.header("retry-after").is_some());
                told.later += 1;
            }
            None => {
                told.unanswered += 1;
                return;
            }
        }
    }
}

/// A request whose body is under way when the end begins.
async fn under_way(stage: &Stage, id: &str) -> (Wire, Vec<u8>) {
    let bytes = stage.post(&stage.signing.notification(id)).bytes();
    let (first, last) = bytes.split_at(bytes.len() - 10);
    let mut wire = Wire::open(stage.addr()).await;
    assert!(wire.send(first).await);
    (wire, last.to_vec())
}

/// SIGHUP ends a process by itself, at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_hangup_ends_nothing_where_there_is_nothing_to_reload() {
    let (mut planes, _) = Planes::start(Options::default()).await;
    planes.control.process().hang_up();
    planes.data.process().hang_up();
    wait::until("both to say so", LIMIT, || async {
        let logs = [planes.control.log(), planes.data.log()];
        match logs.iter().all(|log| log.contains("nothing to reload")) {
            true => Ok(()),
            false => Err(logs.concat()),
        }
    })
    .await;
    assert!(planes.control.process().is_running() && planes.data.process().is_running());
    planes.data.ready().await;
}

/// What is under way would take longer, and its sender is not heard from again: who says it twice means it.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_a_drain() {
    let mut stage = Stage::with(Options {
        data_plane: vec!["--drain-timeout-s".into(), "600".into()],
        ..Options::default()
    })
    .await;
    let flow = stage.flow().await;
    let acknowledged = flow.finish().await;
    let _held = under_way(&stage, "held").await;
    wait::until("it to be under way", LIMIT, || async {
        let under_way = stage
            .metric("signalbox_ingest_in_flight_requests", &[])
            .await;
        if under_way >= 1.0 {
            Ok(())
        } else {
            Err(String::new())
        }
    })
    .await;
    stage.planes.data.process().signal_end();
    wait::until("the end to begin", LIMIT, || async {
        match stage.planes.data.log().contains("a second signal forces") {
            true => Ok(()),
            false => Err("it has not".to_owned()),
        }
    })
    .await;
    assert!(stage.planes.data.process().is_running());
    // Shorter than what a body may take.
    let soon = Duration::from_secs(8);
    let status = tokio::task::block_in_place(|| stage.planes.data.process().terminate(soon));
    assert_eq!(status.code(), Some(0));
    assert!(stage.planes.data.log().contains("the drain was cut off"));
    stage.planes.data.kill();
    stage.planes.data.start().await;
    stage.ran.lock().unwrap().extend(acknowledged);
    stage.ran_what_it_knows().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_told_to_end_drains() {
    let mut stage = Stage::with(Options::default()).await;
    let addr = stage.addr();
    let told = Arc::new(Mutex::new(Told::default()));
    let senders: Vec<_> = (0..SENDERS)
        .map(|n| {
            let (target, signing) = (stage.target(), stage.signing.clone());
            tokio::spawn(send(n, addr, target, signing, told.clone()))
        })
        .collect();
    let mut slow = Vec::new();
    for n in 0..20 {
        slow.push(under_way(&stage, &format!("slow-{n}")).await);
    }
    wait::until("a load", Duration::from_secs(20), || async {
        let in_flight = stage
            .metric("signalbox_ingest_in_flight_requests", &[])
            .await;
        let taken = told.lock().unwrap().taken.len();
        if taken > 200 && in_flight >= 20.0 {
            Ok(())
        } else {
            Err(format!("{taken} taken, {in_flight} under way"))
        }
    })
    .await;

    let log = stage.planes.data.data_dir.with_extension("log");
    let finished = tokio::spawn(async move {
        wait::until("the end to begin", Duration::from_secs(10), || async {
            let text = std::fs::read_to_string(&log).unwrap_or_default();
            match text.contains("stopping; a second signal forces") {
                true => Ok(()),
                false => Err("it has not".to_owned()),
            }
        })
        .await;
        let mut answers = Vec::new();
        for (wire, last) in &mut slow {
            wire.send(last).await;
            answers.push(wire.answer().await.expect("what is under way is answered"));
        }
        answers
    });
    let status = tokio::task::block_in_place(|| stage.planes.data.process().terminate(LIMIT));
    assert_eq!(status.code(), Some(0), "{}", stage.planes.data.log());
    let log = stage.planes.data.log();
    assert!(!log.contains("the drain was cut off"), "{log}");
    for answer in finished.await.unwrap() {
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.header("connection"), Some("close"));
    }
    for sender in senders {
        sender.await.unwrap();
    }

    stage.planes.data.kill();
    stage.planes.data.start().await;
    let (taken, later, unanswered) = {
        let told = told.lock().unwrap();
        (told.taken.clone(), told.later, told.unanswered)
    };
    eprintln!(
        "{} taken, {later} told to come later, {unanswered} unanswered",
        taken.len()
    );
    let executions = wait::until("what was acknowledged to run", LIMIT, || async {
        let all = stage
            .api
            .all_executions("")
            .await
            .map_err(|s| s.to_string())?;
        let ended: BTreeSet<_> = all
            .iter()
            .filter(|execution| execution.state() == ExecutionState::Succeeded)
            .map(|execution| execution.message_id.clone())
            .collect();
        let missing = taken.difference(&ended).count();
        let slow = ended.iter().filter(|id| id.starts_with("slow-")).count();
        if missing == 0 && slow == 20 && ended.len() == all.len() {
            Ok(all)
        } else {
            Err(format!(
                "{missing} missing, {slow} slow, {} of {}",
                ended.len(),
                all.len()
            ))
        }
    })
    .await;
    // What was not acknowledged may have been taken all the same: its sender comes again, and is a duplicate.
    assert!(executions.len() <= taken.len() + 20 + later + unanswered);
    let ids: BTreeSet<_> = executions.iter().map(|e| &e.message_id).collect();
    assert_eq!(ids.len(), executions.len(), "one execution each");
    stage.kept_secret(&[]).await;
}
