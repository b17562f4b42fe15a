//! More connections than are good for a node.

use std::{net::SocketAddr, time::Duration};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signalbox_tests::{planes::Options, wait};
use tokio::net::TcpStream;

use super::support::{Stage, Wire, connect_from};

/// What the node takes at once unless told otherwise (`--connections-max`).
const CONNECTIONS_MAX: usize = 10_000;
/// Descriptors that a process needs beside those connections.
const OWN_FILES: u64 = 500;

/// Lets this process, and the planes that it starts, have as many descriptors as it may. Gives how many connections they
/// can hold: where the machine's hard limit is low, fewer than are asked for.
fn room_for(connections: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Nofile, raised).unwrap();
    let most = limit.maximum.unwrap_or(u64::MAX).saturating_sub(OWN_FILES);
    let room = connections.min(usize::try_from(most).unwrap());
    if room < connections {
        eprintln!("the hard limit on files allows {room} connections instead of {connections}");
    }
    room
}

/// Connections that say nothing, as many of `count` as are taken.
async fn open(addr: SocketAddr, count: usize) -> Vec<TcpStream> {
    let mut streams = Vec::with_capacity(count);
    while streams.len() < count {
        let limit = Duration::from_secs(5);
        match tokio::time::timeout(limit, connect_from(streams.len(), addr)).await {
            Ok(Ok(stream)) => streams.push(stream),
            _ => break,
        }
    }
    streams
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_idle_connections_cost_the_others_nothing() {
    // As many as there may be, but for a few.
    let room = room_for(CONNECTIONS_MAX) - 100;
    let stage = Stage::start().await;
    let flow = stage.flow().await;
    let idle = open(stage.addr(), room).await;
    assert_eq!(idle.len(), room);
    for _ in 0..3 {
        flow.goes_on().await;
    }
    drop(idle);
    flow.goes_on().await;
    stage.only_ran(flow, std::iter::empty()).await;
    stage.kept_secret(&[]).await;
}

/// However many connections are open: those that are idle for longest make room.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_node_makes_room_for_good_senders() {
    const MAX: usize = 2000;
    room_for(2 * MAX);
    let stage = Stage::with(Options {
        data_plane: vec!["--connections-max".into(), MAX.to_string()],
        ..Options::default()
    })
    .await;
    let flow = stage.flow().await;
    let idle = open(stage.addr(), MAX + 500).await;
    assert!(idle.len() > MAX, "{}", idle.len());
    for _ in 0..3 {
        flow.goes_on().await;
    }
    drop(idle);
    flow.goes_on().await;
    stage.only_ran(flow, std::iter::empty()).await;
    stage.kept_secret(&[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_descriptors_the_node_stays_up_and_comes_back() {
    let mut stage = Stage::with(Options {
        data_plane_files_max: Some(64),
        ..Options::default()
    })
    .await;
    let addr = stage.addr();
    let send = async |wire: &mut Wire, id: &str| {
        wire.send(stage.post(&stage.signing.notification(id)).bytes())
            .await;
        wire.answer().await
    };
    // One that got in before.
    let mut early = Wire::open(addr).await;
    let answer = send(&mut early, "early").await.unwrap();
    assert_eq!(answer.status, 200);
    stage.know(&answer);

    // More than there are descriptors, and few enough to fit into the kernel's queue besides.
    let idle = open(addr, 150).await;
    assert_eq!(idle.len(), 150);
    wait::until("accept to fail", Duration::from_secs(10), || async {
        match stage.planes.data.log().contains("cannot be accepted") {
            true => Ok(()),
            false => Err("it does not".to_owned()),
        }
    })
    .await;
    for round in 0..20 {
        // Its connection may have had to give way to others; then it comes again, as Amazon SNS does.
        let id = format!("while-{round}");
        let answer = match send(&mut early, &id).await {
            Some(answer) => answer,
            None => {
                early = Wire::open(addr).await;
                send(&mut early, &id).await.expect("an answer")
            }
        };
        assert_eq!(answer.status, 200, "{answer:?}");
        stage.know(&answer);
    }
    drop(idle);
    drop(early);
    let flow = stage.flow().await;
    wait::until(
        "the connections to be let go",
        Duration::from_secs(20),
        || async {
            let open = stage.metric("signalbox_ingest_connections", &[]).await;
            if open < 10.0 {
                Ok(())
            } else {
                Err(open.to_string())
            }
        },
    )
    .await;
    flow.goes_on().await;
    stage.only_ran(flow, std::iter::empty()).await;
    stage.kept_secret(&[]).await;
    assert!(stage.planes.data.process().is_running());
}
