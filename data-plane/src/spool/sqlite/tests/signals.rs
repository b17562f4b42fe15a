//! What executions are told.

use signalbox_model::{
    execution::JsonText,
    signal::{Signal, SignalKind},
};

use super::{super::Told, *};

fn name(id: &str) -> ExecutionName {
    format!("projects/default/executions/{id}").parse().unwrap()
}

fn signal(id: &str) -> Signal {
    Signal {
        id: id.parse().unwrap(),
        kind: SignalKind::Named {
            name: "go".parse().unwrap(),
            payload: JsonText::from_value(&"x".into()),
        },
        by: "ann".to_owned(),
        at: Timestamp::UNIX_EPOCH,
    }
}

async fn tell(spool: &SqliteSpool, execution: &str, id: &str) -> Told {
    let told = spool.tell(name(execution), signal(id), Timestamp::now(), None);
    told.await.unwrap()
}

fn id_of(record: &Record) -> Option<String> {
    match &record.body {
        RecordBody::Execution {
            fact: Fact::SignalReceived(signal),
            ..
        } => Some(signal.id.to_string()),
        _ => None,
    }
}

#[tokio::test]
async fn a_signal_is_journalled_once_whoever_has_the_execution() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path());
    spool.accept(accept("a", 1)).await.unwrap();
    assert_eq!(tell(&spool, "a", "s1").await, Told::Unclaimed);
    assert_eq!(tell(&spool, "none", "s1").await, Told::Gone);
    let claimed = spool.claim(10).await.unwrap();
    let journal: Vec<_> = claimed[0].journal.iter().filter_map(id_of).collect();
    assert_eq!(journal, ["s1"], "whoever claims it later is told");
    spool
        .journal(name("a"), vec![fact("a", Fact::Started)], false)
        .await
        .unwrap();
    for _ in 0..2 {
        assert_eq!(tell(&spool, "a", "s2").await, Told::Claimed);
        assert_eq!(tell(&spool, "a", "s1").await, Told::Claimed);
    }
    let all = spool.told(name("a"), 0).await.unwrap();
    let ids: Vec<_> = all.iter().filter_map(|told| id_of(&told.record)).collect();
    assert_eq!(ids, ["s1", "s2"]);
    let later = spool.told(name("a"), all[0].sequence).await.unwrap();
    assert_eq!(later, all[1..]);
    // A crash keeps them in their places.
    drop(spool);
    let spool = open(dir.path());
    let claimed = spool.claim(10).await.unwrap();
    let told = claimed[0].journal.iter().map(id_of);
    let expected = [Some("s1"), None, Some("s2")].map(|id| id.map(str::to_owned));
    assert_eq!(told.collect::<Vec<_>>(), expected);
    // What has ended is told nothing, and forgotten when that is reported.
    spool
        .journal(name("a"), vec![finished("a")], true)
        .await
        .unwrap();
    assert_eq!(tell(&spool, "a", "s3").await, Told::Gone);
    let head = *spool.head().borrow();
    let unreported = spool.unreported(0, 100, usize::MAX >> 1).await.unwrap();
    let reported: Vec<_> = unreported
        .iter()
        .filter_map(|told| id_of(&told.record))
        .collect();
    assert_eq!(reported, ["s1", "s2"]);
    spool.trim(head).await.unwrap();
    assert_eq!(spool.told(name("a"), 0).await.unwrap(), []);
}

#[tokio::test]
async fn who_was_told_something_unheard_is_parked_until_now_only() {
    let dir = tempfile::tempdir().unwrap();
    let spool = open(dir.path());
    spool.accept(accept("a", 1)).await.unwrap();
    tell(&spool, "a", "s1").await;
    let journal_until = spool.claim(10).await.unwrap()[0].journal_until;
    let park = |heard_until| spool.park(name("a"), Timestamp::MAX, heard_until);
    park(journal_until).await.unwrap();
    assert!(spool.claim(10).await.unwrap().is_empty());
    // Told while it was parked, and again after it was claimed for that.
    assert_eq!(tell(&spool, "a", "s2").await, Told::Unclaimed);
    let journal_until = spool.claim(10).await.unwrap()[0].journal_until;
    assert_eq!(tell(&spool, "a", "s3").await, Told::Claimed);
    park(journal_until).await.unwrap();
    // A crash then leaves nobody who would wake it.
    drop(spool);
    let spool = open(dir.path());
    let claimed = spool.claim(10).await.unwrap();
    assert_eq!(claimed[0].journal.iter().filter_map(id_of).count(), 3);
}
