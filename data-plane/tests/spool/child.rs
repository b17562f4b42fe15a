//! The process that is killed: accepts, journals, ends and trims under load, and says what it was told.

use std::{io::Write as _, path::Path, sync::Arc};

use signalbox_data_plane::spool::{Acceptance, Claimed, IntakeSpool, Spool};
use signalbox_model::record::RecordBody;

use crate::{
    DIR, REPORTED, ROUND,
    events::{accept, finished, name, started},
    open,
};

const TASKS: usize = 8;

/// One whole line in one write: a kill leaves it out or leaves it whole, up to the size that a pipe takes at once.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("@{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

#[test]
fn writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(DIR) else {
        return;
    };
    let round: usize = std::env::var(ROUND).unwrap().parse().unwrap();
    let spool = Arc::new(open(Path::new(&dir)));
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..TASKS {
            tasks.spawn(work(spool.clone(), round, task));
        }
        tasks.spawn(run(spool.clone()));
        tasks.spawn(report(spool));
        // A task that ends has failed: so does the child, and the kill finds it gone.
        tasks.join_next().await.unwrap().unwrap();
    });
}

/// Whether the execution is one of those that are brought to their end.
pub(crate) fn ends(id: &str) -> bool {
    number(id) % 3 == 2
}

fn number(id: &str) -> usize {
    id.rsplit('-').next().unwrap().parse().unwrap()
}

async fn work(spool: Arc<IntakeSpool>, round: usize, task: usize) {
    for number in 0.. {
        let id = format!("r{round}-{task}-{number}");
        assert_eq!(spool.accept(accept(&id)).await, Ok(Acceptance::New));
        say(&format!("accepted {id}"));
    }
}

/// One in three executions ends, one is started, one is left alone.
async fn run(spool: Arc<IntakeSpool>) {
    let claimable = spool.claimable();
    loop {
        let claimed = spool.claim(8).await.unwrap();
        if claimed.is_empty() {
            claimable.notified().await;
        }
        futures::future::join_all(claimed.into_iter().map(|claimed| advance(&spool, claimed)))
            .await;
    }
}

async fn advance(spool: &IntakeSpool, claimed: Claimed) {
    let id = claimed.accepted.execution.execution.to_string();
    if number(&id).is_multiple_of(3) {
        return;
    }
    if claimed.journal.is_empty() {
        let journalled = spool.journal(name(&id), vec![started(&id)], false);
        journalled.await.unwrap();
        say(&format!("journalled {id}"));
    }
    if ends(&id) {
        let ended = spool.journal(name(&id), vec![finished(&id)], true);
        ended.await.unwrap();
        say(&format!("finished {id}"));
    }
}

/// Stands for a control plane: takes a batch and acknowledges it. What it takes is said before it is trimmed, as the
/// control plane has it durable before it says so.
async fn report(spool: Arc<IntakeSpool>) {
    let mut head = spool.head();
    let mut sent: u64 = std::env::var(REPORTED).unwrap().parse().unwrap();
    loop {
        let batch = spool.unreported(sent, 50, usize::MAX).await.unwrap();
        let Some(last) = batch.last() else {
            head.changed().await.unwrap();
            continue;
        };
        sent = last.sequence;
        for record in &batch {
            if let RecordBody::Accepted(event) = &record.record.body {
                say(&format!("reported {}", event.execution.execution));
            }
        }
        say(&format!("trimming {sent}"));
        spool.trim(sent).await.unwrap();
    }
}
