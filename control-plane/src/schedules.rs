//! Sees to it that schedules tick: every replica looks, and each tick is made once (`docs/decisions/0016-schedules.md`).

use std::time::Duration;

use jiff::Timestamp;
use signalbox_proto::convert::definition;
use signalbox_runtime::shutdown::Shutdown;

use crate::app::{App, Looks};

/// How often schedules are looked at although none is known to tick: one may have been published.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Shortest pause between two looks.
const PAUSE_MIN: Duration = Duration::from_millis(20);

/// Until the shutdown.
pub async fn run(app: App, shutdown: Shutdown) {
    let mut was_told = false;
    let mut looks = Looks::default();
    loop {
        let ticked = app.tick(Timestamp::now(), &mut looks, definition::decode);
        let pause = match ticked.await {
            Ok(next) => {
                was_told = false;
                next.map_or(LOOK_INTERVAL, until)
            }
            Err(error) => {
                if !was_told {
                    tracing::warn!(%error, "schedules cannot be seen to; ticks wait");
                    was_told = true;
                }
                LOOK_INTERVAL
            }
        };
        tokio::select! {
            () = shutdown.stopping() => return,
            () = tokio::time::sleep(pause) => {}
        }
    }
}

fn until(time: Timestamp) -> Duration {
    let left = Duration::try_from(time.duration_since(Timestamp::now())).unwrap_or_default();
    left.clamp(PAUSE_MIN, LOOK_INTERVAL)
}
