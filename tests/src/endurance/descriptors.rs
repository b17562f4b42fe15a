//! The node runs out of file descriptors (`ulimit -n`) under load.

use std::time::Duration;

use serde::Serialize;
use tokio::net::TcpStream;

use super::{Refusals, Settled, World};
use crate::{planes::Options, wait};

/// Few enough to run out of: the spool's files, the runtime's and the listeners' are among them.
const FILES_MAX: u32 = 64;
/// Idle connections: more than there are descriptors, and few enough for the kernel's queue besides.
const IDLE: usize = 150;

/// What it has shown.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Descriptors that the node had.
    pub files_max: u32,
    /// Acknowledged before they ran out.
    pub before: usize,
    /// Acknowledged while there were none.
    pub without: usize,
    /// Attempts that were refused, or found no connection.
    pub refused: Refusals,
    /// What became of the messages.
    pub settled: Settled,
}

/// Holds more connections than the node has descriptors for `exhausted`, with messages all the while.
pub async fn run(exhausted: Duration, tells: bool) -> Report {
    let options = Options {
        data_plane_files_max: Some(FILES_MAX),
        ..Options::default()
    };
    let world = World::with(options, |_| {}).await;
    let load = world.send(3, 2, 700);
    let limit = Duration::from_secs(60);
    wait::until("messages to be acknowledged", limit, || async {
        match load.acknowledged() {
            enough if enough > 20 => Ok(()),
            few => Err(few.to_string()),
        }
    })
    .await;
    let mut idle = Vec::new();
    for _ in 0..IDLE {
        idle.push(TcpStream::connect(world.planes.data.addr()).await.unwrap());
    }
    wait::until("accept to fail", limit, || async {
        match world.planes.data.log().contains("cannot be accepted") {
            true => Ok(()),
            false => Err("it does not".to_owned()),
        }
    })
    .await;
    let before = load.acknowledged();
    tokio::time::sleep(exhausted).await;
    let without = load.acknowledged() - before;
    drop(idle);
    let at_end = load.acknowledged();
    wait::until("messages to be taken again", limit, || async {
        match load.acknowledged() {
            enough if enough > at_end + 20 => Ok(()),
            few => Err(few.to_string()),
        }
    })
    .await;
    let sent = load.finish().await;
    Report {
        files_max: FILES_MAX,
        before,
        without,
        refused: sent.refused.clone(),
        settled: world.settle(&sent, 0, tells).await,
    }
}
