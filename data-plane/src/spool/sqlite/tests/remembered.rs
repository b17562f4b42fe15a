//! What is remembered of what was done: it takes little, and nobody's place.

use futures::future::join_all;

use super::*;

/// Rounds of as many executions each.
const ROUNDS: usize = 40;
const ROUND: usize = 200;
/// Much less than what all of them are remembered by; more than one round takes until it is reported.
const MAX_BYTES: u64 = 600 * 1024;
/// What one is remembered by, at most: two rows of pages that are partly filled (90 bytes), and its part of the pages that the last
/// round may not have given back yet (35).
const EACH_MAX: u64 = 160;

fn small(dir: &Path) -> SqliteSpool {
    let config = SqliteSpoolConfig {
        max_bytes: MAX_BYTES,
        ..SqliteSpoolConfig::default()
    };
    SqliteSpool::open(dir, config).unwrap()
}

/// Accepts, claims, ends and reports a round, and looks how much work it was meanwhile.
async fn round(spool: &SqliteSpool, number: usize) -> u64 {
    let ids: Vec<_> = (0..ROUND).map(|n| format!("x{number}-{n}")).collect();
    let accepted = join_all(ids.iter().map(|id| spool.accept(accept(id, 1)))).await;
    for acceptance in accepted {
        assert_eq!(acceptance, Ok(Acceptance::New), "round {number}");
    }
    assert_eq!(spool.claim(ROUND).await.unwrap().len(), ROUND);
    let ends = ids.iter().map(|id| {
        let name = format!("projects/default/executions/{id}");
        let records = vec![fact(id, Fact::Started), finished(id)];
        spool.journal(name.parse().unwrap(), records, true)
    });
    for ended in join_all(ends).await {
        ended.unwrap();
    }
    let work = spool.stats().used_bytes;
    let head = *spool.head().borrow();
    spool.trim(head).await.unwrap();
    work
}

#[tokio::test]
async fn what_is_remembered_fills_no_spool() {
    let dir = tempfile::tempdir().unwrap();
    let spool = small(dir.path());
    for number in 0..ROUNDS {
        let work = round(&spool, number).await;
        assert!(work > ROUND as u64 * 500, "{work}");
    }
    let stats = spool.stats();
    assert_eq!(stats.used_bytes, 0, "all is done: {stats:?}");
    let each = stats.remembered_bytes / (ROUNDS * ROUND) as u64;
    assert!((60..EACH_MAX).contains(&each), "{each} bytes each");
    assert!(stats.remembered_bytes > MAX_BYTES);
    drop(spool);

    // As a later start and an operator see it.
    let Ok(Found::Store(look)) = look(dir.path()) else {
        panic!("no store");
    };
    let (count, bytes) = look.remembered.unwrap();
    assert_eq!(count, (ROUNDS * ROUND) as u64);
    assert!((60..=each).contains(&(bytes / count)), "{bytes}");
    let spool = small(dir.path());
    assert_eq!(spool.stats().used_bytes, 0);
    for number in [0, ROUNDS / 2, ROUNDS - 1] {
        let id = format!("x{number}-7");
        let copy = spool.accept(accept(&id, 1)).await;
        assert_eq!(copy, Ok(Acceptance::Duplicate));
        let other = spool.accept(accept(&id, 2)).await;
        assert_eq!(other, Ok(Acceptance::Conflict));
    }
    println!("{each} bytes for each execution that is remembered");
}

#[tokio::test]
async fn work_fills_a_spool_until_it_is_done_and_a_restart_knows_how_much_there_is() {
    let dir = tempfile::tempdir().unwrap();
    let spool = small(dir.path());
    let mut count = 0;
    let refused = loop {
        match spool.accept(accept(&format!("y{count}"), 1)).await {
            Ok(_) => count += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused, SpoolError::Full);
    let work = spool.stats().used_bytes;
    assert!((MAX_BYTES..MAX_BYTES + 8 * 1024).contains(&work), "{work}");
    drop(spool);
    let spool = small(dir.path());
    assert_eq!(spool.stats().used_bytes, work);
    assert_eq!(spool.accept(accept("z", 1)).await, Err(SpoolError::Full));
    let mut ended = 0;
    while ended < count {
        for claimed in spool.claim(100).await.unwrap() {
            let name = claimed.accepted.execution;
            let id = name.execution.to_string();
            spool
                .journal(name, vec![finished(&id)], true)
                .await
                .unwrap();
            ended += 1;
        }
    }
    assert_eq!(spool.accept(accept("z", 1)).await, Err(SpoolError::Full));
    let head = *spool.head().borrow();
    spool.trim(head).await.unwrap();
    assert_eq!(spool.stats().used_bytes, 0);
    assert_eq!(spool.accept(accept("z", 1)).await, Ok(Acceptance::New));
}
