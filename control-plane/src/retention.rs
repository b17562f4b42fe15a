//! Sees to it that history is deleted when it is kept no longer, and that what was deleted is purged: every replica does, in the
//! background (`docs/decisions/0025-history.md`, `docs/decisions/0031-deleted.md`).

use std::time::{Duration, Instant};

use jiff::Timestamp;
use signalbox_model::error::Error;
use signalbox_runtime::shutdown::Shutdown;

use crate::app::{App, Expiring};

/// How often there is a look, at most and at least.
const LOOK_INTERVAL_MIN: Duration = Duration::from_secs(1);
const LOOK_INTERVAL_MAX: Duration = Duration::from_secs(10);
/// There are so many looks in the time that anything is kept.
const LOOKS: u32 = 10;
/// How often there is a look for histories that are to be counted.
const COUNT_INTERVAL: Duration = Duration::from_secs(60);
/// Least pause between two batches. It is as long as the batch took: reports have half of the database at least.
const PAUSE_MIN: Duration = Duration::from_millis(5);
/// How often work that takes longer says how far it is.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(30);

/// Until the shutdown.
pub async fn run(app: App, shutdown: Shutdown) {
    let mut was_told = false;
    let mut interval = LOOK_INTERVAL_MIN;
    loop {
        tokio::select! {
            () = shutdown.stopping() => return,
            () = tokio::time::sleep(interval) => {}
            () = app.look_wanted() => {}
        }
        let look = tokio::select! {
            () = shutdown.stopping() => return,
            look = look(&app) => look,
        };
        match look {
            Ok(next) => {
                was_told = false;
                interval = next;
            }
            Err(error) => {
                if !was_told {
                    tracing::warn!(%error, "what is kept no longer cannot be deleted; it waits");
                    was_told = true;
                }
                interval = LOOK_INTERVAL_MAX;
            }
        }
    }
}

/// Counts how large histories are of which that is not known, until the shutdown.
pub async fn count(app: App, shutdown: Shutdown) {
    loop {
        let counting = async {
            for project in app.uncounted(Timestamp::now()).await? {
                app.count_history(&project).await?;
            }
            Ok::<(), Error>(())
        };
        let counted = tokio::select! {
            () = shutdown.stopping() => return,
            counted = counting => counted,
        };
        if let Err(error) = counted {
            tracing::warn!(%error, "it cannot be counted how large a history is; it waits");
        }
        tokio::select! {
            () = shutdown.stopping() => return,
            () = tokio::time::sleep(COUNT_INTERVAL) => {}
        }
    }
}

/// Deletes all that is kept no longer; gives the time until the next look. One that is dropped half way leaves whole batches.
async fn look(app: &App) -> Result<Duration, Error> {
    // Before it is read how long each is kept: what comes after a change of that is not too old by what was before.
    let now = Timestamp::now();
    let mut interval = LOOK_INTERVAL_MAX;
    let mut deleted = 0;
    for of in app.expiring().await? {
        interval = interval.min(app.retention(&of) / LOOKS);
        if let Expiring::Deleted(project) = &of {
            app.cancel_all(project).await?;
        }
        deleted += purge(app, &of, now).await?;
    }
    interval = interval.min(app.deleted_retention() / LOOKS);
    deleted += purge_deleted(app, now).await?;
    if deleted > 0 {
        while app.store().give_back().await? {
            tokio::time::sleep(PAUSE_MIN).await;
        }
    }
    Ok(interval.max(LOOK_INTERVAL_MIN))
}

/// Keys and workflows that were deleted long enough ago.
async fn purge_deleted(app: &App, now: Timestamp) -> Result<u64, Error> {
    let purged = in_batches(
        || app.purge_deleted(now),
        |count, _| metrics::counter!("signalbox_deleted_purged_total").increment(count),
    );
    let purged = purged.await?;
    if purged > 0 {
        tracing::info!(
            purged,
            "purged deleted keys and workflows that are kept no longer"
        );
    }
    Ok(purged)
}

async fn purge(app: &App, of: &Expiring, now: Timestamp) -> Result<u64, Error> {
    let (kind, project) = (of.kind(), of.project().id.as_str());
    let began = Instant::now();
    let mut told = began;
    let note = |count, deleted| {
        metrics::counter!("signalbox_history_purged_total", "kind" => kind).increment(count);
        if told.elapsed() >= PROGRESS_INTERVAL {
            told = Instant::now();
            let elapsed_s = began.elapsed().as_secs();
            tracing::info!(
                kind,
                project,
                deleted,
                elapsed_s,
                "deleting history that is kept no longer"
            );
        }
    };
    let deleted = in_batches(|| app.purge(of, now), note).await?;
    if deleted > 0 {
        let elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(
            kind,
            project,
            deleted,
            elapsed_ms,
            "deleted history that is kept no longer"
        );
    }
    Ok(deleted)
}

/// Deletes batch after batch until there is none; `note` is told of each how many it was, and of all so far. Gives how many.
async fn in_batches<F: Future<Output = Result<u64, Error>>>(
    batch: impl Fn() -> F,
    mut note: impl FnMut(u64, u64),
) -> Result<u64, Error> {
    let mut all = 0;
    loop {
        let began = Instant::now();
        let count = batch().await?;
        if count == 0 {
            return Ok(all);
        }
        all += count;
        note(count, all);
        tokio::time::sleep(began.elapsed().max(PAUSE_MIN)).await;
    }
}
