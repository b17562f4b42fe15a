//! The data plane is killed (SIGKILL), at any moment, again and again.

use std::time::{Duration, Instant};

use rand::RngExt as _;
use serde::Serialize;

use super::{Refusals, Settled, World};

/// What a run of kills has shown.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Kills.
    pub kills: usize,
    /// Of them, before the node was ready.
    pub while_starting: usize,
    /// The longest that a start took until it was ready, in seconds.
    pub longest_start_s: f64,
    /// Attempts that were refused, or broken off.
    pub refused: Refusals,
    /// What became of the messages.
    pub settled: Settled,
}

/// Kills the data plane `kills` times under load.
pub async fn run(kills: usize, tells: bool) -> Report {
    let mut world = World::start(Vec::new(), |_| {}).await;
    let load = world.send(6, 3, 700);
    let (mut while_starting, mut longest_start_s) = (0, 0_f64);
    for kill in 0..kills {
        // From within the start to well into the load; at least one message between two kills.
        let (early, pause_ms) = {
            let mut rng = rand::rng();
            (rng.random_bool(0.1), rng.random_range(0..400))
        };
        let pause = Duration::from_millis(pause_ms);
        if !early {
            let before = load.acknowledged();
            crate::wait::until(
                "a message to be acknowledged",
                Duration::from_secs(60),
                || {
                    let now = load.acknowledged();
                    async move {
                        match now > before {
                            true => Ok(()),
                            false => Err(format!("{now}")),
                        }
                    }
                },
            )
            .await;
        }
        tokio::time::sleep(pause).await;
        world.planes.data.kill();
        let began = Instant::now();
        world.planes.data.spawn();
        if early {
            tokio::time::sleep(pause).await;
            world.planes.data.kill();
            world.planes.data.spawn();
            while_starting += 1;
        }
        world.planes.data.ready().await;
        longest_start_s = longest_start_s.max(began.elapsed().as_secs_f64());
        if tells && (kill + 1) % 10 == 0 {
            let acknowledged = load.acknowledged();
            eprintln!("{} kills, {acknowledged} acknowledged", kill + 1);
        }
    }
    let sent = load.finish().await;
    let settled = world.settle(&sent, 0, tells).await;
    Report {
        kills: kills + while_starting,
        while_starting,
        longest_start_s,
        refused: sent.refused,
        settled,
    }
}
