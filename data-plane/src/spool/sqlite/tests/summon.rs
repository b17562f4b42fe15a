//! Executions that are to be ended, wherever they are.

use super::*;

/// No room for any; these are to be ended.
struct ToEnd(&'static [&'static str]);

impl Admission for ToEnd {
    fn room(&self, _workflow: &str) -> usize {
        0
    }

    fn is_to_end(&self, execution: &str) -> bool {
        self.0
            .iter()
            .any(|id| execution.ends_with(&format!("/{id}")))
    }
}

async fn claim(spool: &SqliteSpool, admission: impl Admission + 'static) -> Vec<String> {
    let claimed = spool.claim_admitted(10, Arc::new(admission)).await.unwrap();
    let id = |claimed: &Claimed| claimed.accepted.execution.execution.to_string();
    claimed.iter().map(id).collect()
}

#[tokio::test]
async fn what_is_to_be_ended_waits_for_no_turn_and_needs_no_room() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path());
    let name = |id: &str| accept(id, 1).accepted.execution;
    let summon = async |id: &str| spool.summon(&name(id)).await.unwrap();
    for id in ["a", "b", "c", "d"] {
        spool.accept(accept(id, 1)).await.unwrap();
    }
    assert_eq!(claim(&spool, Only("w", 1)).await, ["a"]);
    spool
        .park(name("a"), Timestamp::MAX, u64::MAX)
        .await
        .unwrap();
    assert_eq!(spool.stats().parked_executions, 1);

    // One that waits for its turn, and one that waits for a time.
    assert_eq!(summon("c").await, Summoned::Here);
    assert_eq!(summon("a").await, Summoned::Here);
    assert_eq!(spool.stats().parked_executions, 2);
    let mut claimed = claim(&spool, ToEnd(&["a", "c"])).await;
    claimed.sort();
    assert_eq!(claimed, ["a", "c"]);
    assert_eq!((spool.stats().parked_executions, spool.unclaimed()), (0, 0));
    // Whoever has one is told otherwise.
    assert_eq!(summon("c").await, Summoned::Here);
    assert_eq!(claim(&spool, ToEnd(&["a", "c"])).await, [""; 0]);

    // Nobody wants it any more: it has its turn as before.
    assert_eq!(summon("b").await, Summoned::Here);
    assert_eq!(claim(&spool, ToEnd(&[])).await, [""; 0]);
    assert_eq!(spool.stats().parked_executions, 0);
    assert_eq!(claim(&spool, Only("w", 2)).await, ["b", "d"]);

    // Known until its end is reported.
    spool
        .journal(name("c"), vec![finished("c")], true)
        .await
        .unwrap();
    assert_eq!(summon("c").await, Summoned::Ended);
    let head = *spool.head().borrow();
    spool.trim(head - 1).await.unwrap();
    assert_eq!(summon("c").await, Summoned::Ended);
    spool.trim(head).await.unwrap();
    assert_eq!(summon("c").await, Summoned::Unknown);
    assert_eq!(summon("never").await, Summoned::Unknown);
    assert_eq!(spool.stats().unfinished_executions, 3);
}

#[tokio::test]
async fn in_one_commit_with_claims_nobody_loses_a_turn() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path());
    for n in 0..40 {
        spool.accept(accept(&format!("e{n}"), 1)).await.unwrap();
    }
    // Together: some come into one batch of the writer, in this order.
    let summoned = (0..20).map(|n| {
        let name = accept(&format!("e{n}"), 1).accepted.execution;
        let spool = &spool;
        async move { spool.summon(&name).await.map(drop) }
    });
    let summoned = futures::future::try_join_all(summoned);
    let claims = async {
        let claimed = spool.claim_admitted(30, Arc::new(Only("w", 30))).await;
        claimed.map(|claimed| claimed.len())
    };
    let more = async { spool.accept(accept("late", 1)).await.map(drop) };
    let (_, mut claimed, ()) = futures::try_join!(summoned, claims, more).unwrap();
    loop {
        let more = spool.claim(10).await.unwrap().len();
        claimed += more;
        if more == 0 {
            break;
        }
    }
    assert_eq!(claimed, 41);
    assert_eq!((spool.unclaimed(), spool.stats().parked_executions), (0, 0));
}
