#![allow(clippy::unwrap_used, clippy::expect_used)]

mod room;
mod unusable;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use signalbox_log::simulator::{Faults, SimulatedDisk};
use signalbox_model::{
    event::{Event, EventScope, TriggerKind},
    record::{Accepted, Certificate, RecordBody},
};
use tempfile::TempDir;

use super::*;
use crate::spool::ScopeSource;

const SEGMENT_BYTES: u64 = 64 * 1024;

struct Place {
    dir: TempDir,
    disk: SimulatedDisk,
}

impl Place {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            disk: SimulatedDisk::new(1),
        }
    }

    fn config() -> IntakeSpoolConfig {
        IntakeSpoolConfig {
            log: LogConfig {
                segment_bytes: SEGMENT_BYTES,
            },
            mark_after: Duration::from_secs(3600),
            ..IntakeSpoolConfig::default()
        }
    }

    fn open(&self) -> IntakeSpool {
        self.open_with(&Self::config())
    }

    fn open_with(&self, config: &IntakeSpoolConfig) -> IntakeSpool {
        IntakeSpool::open_on(self.dir.path(), Arc::new(self.disk.clone()), config).unwrap()
    }
}

fn accept(id: &str, content: u8) -> Accept {
    Accept {
        accepted: Accepted {
            execution: format!("projects/default/executions/{id}").parse().unwrap(),
            workflow: "projects/default/workflows/w".parse().unwrap(),
            version: 3,
            event: Event {
                trigger: TriggerKind::AmazonSns,
                api_key: Some("projects/default/apiKeys/k".parse().unwrap()),
                scope: EventScope {
                    message: format!("message {id}"),
                    subject: Some("s".to_owned()),
                    attributes: BTreeMap::from([("n".to_owned(), 1.into())]),
                    topic_arn: Some("arn:aws:sns:eu-central-1:123456789012:t".to_owned()),
                    message_id: id.to_owned(),
                    timestamp: "2026-11-24T00:00:00Z".to_owned(),
                },
                body: Bytes::from(vec![content; 700]),
                content_type: Some("text/plain".to_owned()),
                source_address: Some("192.0.2.1".to_owned()),
                signature: None,
                received_at: Timestamp::now(),
            },
            parent: None,
        },
        scope: ScopeSource::Event,
        content_digest: [content; 32],
        certificate: Some(Arc::new(Certificate {
            sha256: "c".repeat(64),
            pem: "pem".to_owned(),
        })),
        definition: Bytes::from_static(b"definition").into(),
        message_type: Some("Notification".to_owned()),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
        deduplicate_until: Timestamp::MAX,
    }
}

async fn claim(spool: &IntakeSpool, count: usize) -> Vec<Claimed> {
    let mut claimed = Vec::new();
    for _ in 0..1000 {
        claimed.extend(spool.claim(count).await.unwrap());
        if claimed.len() >= count {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    claimed
}

fn ids(claimed: &[Claimed]) -> BTreeSet<String> {
    let id = |claimed: &Claimed| claimed.accepted.execution.execution.to_string();
    claimed.iter().map(id).collect()
}

#[tokio::test]
async fn an_event_is_claimed_and_reported_as_it_was_accepted() {
    let place = Place::new();
    let spool = place.open();
    let first = accept("a", 1);
    assert_eq!(spool.accept(first.clone()).await, Ok(Acceptance::New));
    let claimed = claim(&spool, 1).await;
    assert_eq!(claimed[0].accepted, first.accepted);
    assert_eq!(claimed[0].definition, first.definition.source);
    assert_eq!(claimed[0].traceparent, first.traceparent);
    let records = spool.unreported(0, 10, usize::MAX).await.unwrap();
    let kinds: Vec<_> = records
        .iter()
        .map(|record| match &record.record.body {
            RecordBody::Certificate(certificate) => certificate.pem.clone(),
            RecordBody::Accepted(accepted) => accepted.event.scope.message.clone(),
            RecordBody::Delivery(delivery) => {
                format!("{} {}", delivery.message_type, delivery.message_id)
            }
            other => format!("{other:?}"),
        })
        .collect();
    assert_eq!(kinds, ["pem", "message a", "Notification a"]);
}

#[tokio::test]
async fn copies_are_told_wherever_the_first_is() {
    let place = Place::new();
    let spool = place.open_with(&IntakeSpoolConfig {
        unclaimed_max: 0,
        skim_max: 0,
        ..Place::config()
    });
    // In the log.
    assert_eq!(spool.accept(accept("a", 1)).await, Ok(Acceptance::New));
    assert_eq!(
        spool.accept(accept("a", 1)).await,
        Ok(Acceptance::Duplicate)
    );
    assert_eq!(spool.accept(accept("a", 2)).await, Ok(Acceptance::Conflict));
    assert_eq!(spool.stats().unfinished_executions, 1);
    drop(spool);
    // In the log of before.
    let spool = place.open_with(&IntakeSpoolConfig {
        unclaimed_max: 0,
        skim_max: 0,
        ..Place::config()
    });
    assert_eq!(
        spool.accept(accept("a", 1)).await,
        Ok(Acceptance::Duplicate)
    );
    assert_eq!(spool.accept(accept("b", 1)).await, Ok(Acceptance::New));
    drop(spool);
    // In the store.
    let spool = place.open();
    assert_eq!(claim(&spool, 2).await.len(), 2);
    for _ in 0..2 {
        assert_eq!(
            spool.accept(accept("a", 1)).await,
            Ok(Acceptance::Duplicate)
        );
        assert_eq!(spool.accept(accept("a", 2)).await, Ok(Acceptance::Conflict));
        assert_eq!(
            spool.accept(accept("b", 1)).await,
            Ok(Acceptance::Duplicate)
        );
        // By now the filter is surely built.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(spool.claim(10).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_is_to_be_ended_is_known_in_the_log_and_in_the_store() {
    let place = Place::new();
    let name = |id: &str| accept(id, 1).accepted.execution;
    let config = IntakeSpoolConfig {
        unclaimed_max: 0,
        skim_max: 0,
        ..Place::config()
    };
    let spool = place.open_with(&config);
    spool.accept(accept("a", 1)).await.unwrap();
    assert_eq!(spool.pending(), 1);
    assert_eq!(spool.summon(&name("a")).await, Ok(Summoned::Here));
    assert_eq!(spool.summon(&name("b")).await, Ok(Summoned::Unknown));
    drop(spool);
    // Also after a restart, and on its way into the store.
    let spool = place.open();
    while spool.pending() > 0 {
        assert_eq!(spool.summon(&name("a")).await, Ok(Summoned::Here));
    }
    assert_eq!(spool.summon(&name("a")).await, Ok(Summoned::Here));
    assert_eq!(
        ids(&claim(&spool, 1).await),
        BTreeSet::from(["a".to_owned()])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_copies_at_once_make_one_execution() {
    let place = Place::new();
    let spool = Arc::new(place.open());
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        let spool = spool.clone();
        tasks.spawn(async move { spool.accept(accept("a", 1)).await.unwrap() });
    }
    let answers = tasks.join_all().await;
    let new = answers.iter().filter(|answer| **answer == Acceptance::New);
    assert_eq!(new.count(), 1);
    assert_eq!(claim(&spool, 1).await.len(), 1);
    assert!(spool.claim(10).await.unwrap().is_empty());
}

#[tokio::test]
async fn what_nobody_claims_stays_in_the_log_and_is_taken_later() {
    let place = Place::new();
    let config = IntakeSpoolConfig {
        unclaimed_max: 5,
        skim_max: 0,
        ..Place::config()
    };
    let spool = place.open_with(&config);
    let mut expected = BTreeSet::new();
    for n in 0..400 {
        expected.insert(format!("x{n}"));
        spool.accept(accept(&format!("x{n}"), 1)).await.unwrap();
    }
    assert!(spool.shared.pending.load(Ordering::Relaxed) > 100);
    drop(spool);
    let spool = place.open_with(&config);
    let claimed = claim(&spool, 400).await;
    assert_eq!(ids(&claimed), expected);
    assert!(
        claimed
            .iter()
            .all(|claimed| claimed.definition == b"definition"[..])
    );
}

#[tokio::test]
async fn a_full_disk_is_answered_full_until_there_is_room() {
    let place = Place::new();
    let spool = place.open_with(&IntakeSpoolConfig {
        unclaimed_max: 0,
        skim_max: 0,
        ..Place::config()
    });
    // As many segments as there are, the spare that is being made among them.
    tokio::time::sleep(Duration::from_millis(100)).await;
    place.disk.set_faults(Faults {
        capacity_bytes: Some(3 * SEGMENT_BYTES),
        ..Faults::default()
    });
    let mut accepted = 0;
    let refused = loop {
        match spool.accept(accept(&format!("x{accepted}"), 1)).await {
            Ok(_) => accepted += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused, SpoolError::Full);
    assert!(accepted > 50, "{accepted}");
    assert_eq!(spool.failure(), None);
    place.disk.set_faults(Faults::default());
    let again = accept(&format!("x{accepted}"), 1);
    assert_eq!(spool.accept(again).await, Ok(Acceptance::New));
    drop(spool);
    let spool = place.open();
    assert_eq!(claim(&spool, accepted + 1).await.len(), accepted + 1);
}

#[tokio::test]
async fn a_failed_sync_ends_acceptance_and_loses_nothing_that_was_acknowledged() {
    let place = Place::new();
    let spool = place.open();
    assert_eq!(spool.accept(accept("a", 1)).await, Ok(Acceptance::New));
    place.disk.set_faults(Faults {
        fail_sync_after: Some(0),
        ..Faults::default()
    });
    let failed = spool.accept(accept("b", 1)).await;
    assert!(matches!(failed, Err(SpoolError::Failed(_))), "{failed:?}");
    place.disk.set_faults(Faults::default());
    let failed = spool.accept(accept("c", 1)).await;
    assert!(matches!(failed, Err(SpoolError::Failed(_))), "{failed:?}");
    assert!(spool.failure().is_some());
    drop(spool);
    place.disk.crash();
    let spool = place.open();
    assert!(ids(&claim(&spool, 1).await).contains("a"));
    assert!(!ids(&claim(&spool, 1).await).contains("c"));
}

#[tokio::test]
async fn a_store_that_was_lost_is_noticed() {
    let place = Place::new();
    let spool = place.open();
    for n in 0..200 {
        spool.accept(accept(&format!("x{n}"), 1)).await.unwrap();
    }
    claim(&spool, 200).await;
    drop(spool);
    for file in std::fs::read_dir(place.dir.path()).unwrap() {
        std::fs::remove_file(file.unwrap().path()).unwrap();
    }
    let opened = IntakeSpool::open_on(
        place.dir.path(),
        Arc::new(place.disk.clone()),
        &Place::config(),
    );
    let Err(OpenError::Log { source, .. }) = opened else {
        panic!("it opened");
    };
    assert!(
        matches!(source, signalbox_log::OpenError::Missing { .. }),
        "{source}"
    );
}

/// The segment that the page shows, byte for byte.
fn documented_segment() -> Vec<u8> {
    let page = include_str!("../../../../docs/intake-log.md");
    let (_, dump) = page.split_once("```hexdump\n").unwrap();
    let (dump, _) = dump.split_once("```").unwrap();
    let mut bytes = vec![0; 8192];
    for line in dump.lines().filter(|line| !line.is_empty()) {
        let (at, values) = line.split_once("  ").unwrap();
        let at = usize::from_str_radix(at, 16).unwrap();
        for (n, value) in values.split(' ').enumerate() {
            bytes[at + n] = u8::from_str_radix(value, 16).unwrap();
        }
    }
    bytes
}

#[test]
fn reads_the_documented_example() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("0000000000000001.segment");
    std::fs::write(file, documented_segment()).unwrap();
    let storage = Arc::new(FileStorage::open(dir.path()).unwrap());
    let config = LogConfig {
        segment_bytes: 8192,
    };
    let mut opened = Log::open(storage, &config, None).unwrap();
    assert_eq!(
        opened.log.id().to_string(),
        "101112131415161718191a1b1c1d1e1f"
    );
    let mut contents = Vec::new();
    while let Some(record) = opened.reader.read().unwrap() {
        if let signalbox_log::RecordKind::Data(tag) = record.kind {
            contents.push(record::decode(tag, &record.payload).unwrap());
        }
    }
    assert_eq!(opened.log.end(), 4);
    let [
        record::Content::Definition(definition),
        record::Content::Accepted(accept),
    ] = &contents[..]
    else {
        panic!("other records");
    };
    assert_eq!(definition.source, "spec");
    assert_eq!(definition.digest, accept.definition.digest);
    let Accepted {
        execution,
        workflow,
        version,
        event,
        parent,
    } = &accept.accepted;
    assert_eq!(*parent, None);
    assert_eq!(execution.to_string(), "projects/p/executions/e1");
    assert_eq!(workflow.to_string(), "projects/p/workflows/w");
    assert_eq!((*version, event.trigger), (3, TriggerKind::Webhook));
    let key = event.api_key.as_ref().map(ToString::to_string);
    assert_eq!(key.as_deref(), Some("projects/p/apiKeys/k"));
    assert_eq!(event.source_address.as_deref(), Some("192.0.2.1"));
    assert_eq!(event.received_at.to_string(), "2026-01-02T03:04:05Z");
    assert_eq!(event.scope.message_id, "m1");
    assert_eq!(
        (&event.body[..], accept.content_digest),
        (&b"hi"[..], [0xcc; 32])
    );
    assert_eq!(accept.deduplicate_until.to_string(), "2026-01-09T03:04:05Z");
}
