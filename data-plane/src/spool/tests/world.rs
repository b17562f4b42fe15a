//! A spool on a disk that fails when it should, and its model beside it.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use jiff::Timestamp;
use rusqlite::Connection;
use signalbox_log::{
    LogConfig,
    simulator::{Faults, SimulatedDisk},
};
use signalbox_model::{
    event::{Event, EventScope, TriggerKind},
    execution::{ExecutionState, Fact},
    record::{
        Accepted, Certificate, Delivery, Record, RecordBody, SubscriptionChange, SubscriptionState,
        Verdict,
    },
};
use tempfile::TempDir;

use super::{Step, model::Model};
use crate::spool::{
    Accept, Acceptance, Handshake, IntakeSpool, IntakeSpoolConfig, ScopeSource, Spool, SpoolError,
    SqliteSpool, SqliteSpoolConfig, delivery_of,
};

const PATIENCE: Duration = Duration::from_secs(30);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Which spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Store,
    Intake,
}

pub(super) struct World {
    kind: Kind,
    unclaimed_max: u64,
    dir: TempDir,
    disk: SimulatedDisk,
    /// None while it is down.
    spool: Option<Box<dyn Spool>>,
    model: Model,
}

impl World {
    pub(super) fn new(kind: Kind, unclaimed_max: u64) -> Self {
        let mut world = Self {
            kind,
            unclaimed_max,
            dir: tempfile::tempdir().unwrap(),
            disk: SimulatedDisk::new(1),
            spool: None,
            model: Model {
                tells_copies: kind == Kind::Store,
                ..Model::default()
            },
        };
        world.open();
        world
    }

    fn open(&mut self) {
        let store = SqliteSpoolConfig {
            purge_interval: Duration::from_millis(1),
            ..SqliteSpoolConfig::default()
        };
        let dir = self.dir.path();
        self.spool = Some(match self.kind {
            Kind::Store => Box::new(SqliteSpool::open(dir, store).unwrap()),
            Kind::Intake => {
                let config = IntakeSpoolConfig {
                    store,
                    // Small, so that segments are filled, sealed and freed.
                    log: LogConfig {
                        segment_bytes: 16 * 1024,
                    },
                    unclaimed_max: self.unclaimed_max,
                    ..IntakeSpoolConfig::default()
                };
                let disk = Arc::new(self.disk.clone());
                Box::new(IntakeSpool::open_on(dir, disk, &config).unwrap())
            }
        });
        self.model.restarted();
    }

    fn spool(&self) -> &dyn Spool {
        self.spool.as_deref().unwrap()
    }

    pub(super) async fn play(&mut self, step: &Step) {
        match *step {
            Step::Accept { id, content, brief } => {
                let expected = self.model.acceptance(id, content);
                let answer = self.spool().accept(accept(id, content, brief)).await;
                assert_eq!(answer, Ok(expected));
                self.model.accepted(id, content, brief, &answer.unwrap());
            }
            Step::Burst { id, copies } => self.burst(id, copies).await,
            Step::Handshake(token) => self.handshake(token).await,
            Step::Confirm(token) => self.confirm(token).await,
            Step::Append => {
                self.spool().append(vec![append()]).await.unwrap();
                self.model.expected.deliveries += 1;
            }
            Step::Claim => self.claim().await,
            Step::Journal(id) if self.model.running(id).is_some() => self.journal(id, false).await,
            Step::Finish(id) if self.model.running(id).is_some() => self.journal(id, true).await,
            Step::Journal(_) | Step::Finish(_) => {}
            Step::Park(id) => {
                let execution = accept(id, 0, false).accepted.execution;
                let far = Timestamp::now() + DAY;
                self.spool().park(execution, far, u64::MAX).await.unwrap();
                self.model.park(id);
            }
            Step::Wake(id) => {
                let execution = accept(id, 0, false).accepted.execution;
                self.spool().wake(&execution).await.unwrap();
                self.model.wake(id);
            }
            Step::Trim => self.trim().await,
            Step::Restart => {
                self.spool = None;
                self.open();
            }
            Step::Crash { id, machine } => self.crash(id, machine).await,
        }
        let unfinished = self.model.unfinished();
        // What moves from the log to the store is counted twice for a moment.
        until("the unfinished executions", || {
            self.spool().stats().unfinished_executions == unfinished
        })
        .await;
        let parked = self.model.parked();
        assert_eq!(self.spool().stats().parked_executions, parked as u64);
        let next_due = *self.spool().next_due().borrow();
        assert_eq!(next_due.is_some(), parked > 0, "{next_due:?}");
        let due = self.spool().due_handshakes(Timestamp::now() + DAY, 100);
        let due = due.await.unwrap().into_iter();
        let due = due.map(|handshake| handshake.token.parse().unwrap());
        assert_eq!(
            due.collect::<std::collections::BTreeSet<u8>>(),
            self.model.unfinished_handshakes()
        );
    }

    /// Of copies that come at once, one is new at most.
    async fn burst(&mut self, id: u8, copies: usize) {
        let first = self.model.acceptance(id, 0);
        let spool = self.spool();
        let answers = (0..copies).map(|_| spool.accept(accept(id, 0, false)));
        let answers = futures::future::try_join_all(answers).await.unwrap();
        let mut expected = vec![Acceptance::Duplicate; copies];
        match first {
            Acceptance::New => expected[0] = Acceptance::New,
            Acceptance::Duplicate => {}
            Acceptance::Conflict => expected.fill(Acceptance::Conflict),
        }
        assert_eq!(answers, expected);
        for answer in answers {
            self.model.accepted(id, 0, false, &answer);
        }
    }

    async fn handshake(&mut self, token: u8) {
        let spool = self.spool();
        let copy = spool.accept_handshake(handshake(token), delivery(), None);
        copy.await.unwrap();
        let known = self.model.handshakes.contains_key(&token);
        self.model.handshakes.entry(token).or_insert(false);
        self.model.expected.subscriptions += usize::from(!known);
        self.model.expected.deliveries += 1;
    }

    async fn confirm(&mut self, token: u8) {
        if !self.model.unfinished_handshakes().contains(&token) {
            return;
        }
        let of = handshake(token);
        let change = SubscriptionChange {
            workflow: of.workflow.clone(),
            topic_arn: of.topic_arn.clone(),
            subscription_arn: None,
            state: SubscriptionState::Confirmed,
            confirm_attempts: 1,
            last_error: None,
        };
        let noted = self.spool().update_handshake(of, None, change);
        noted.await.unwrap();
        self.model.handshakes.insert(token, true);
        self.model.expected.subscriptions += 1;
    }

    /// Everything that can be claimed, with its journal, once and in order.
    async fn claim(&mut self) {
        let expected = self.model.claim();
        let mut found = Vec::new();
        let started = std::time::Instant::now();
        while found.len() < expected.len() {
            assert!(started.elapsed() < PATIENCE, "{found:?} of {expected:?}");
            for claimed in self.spool().claim(3).await.unwrap() {
                let id = claimed.accepted.execution.execution.as_str()[1..]
                    .parse()
                    .unwrap();
                assert_eq!(
                    claimed.accepted,
                    accept(id, claimed.accepted.event.body[0], false).accepted
                );
                assert_eq!(claimed.definition, b"definition"[..]);
                found.push((id, claimed.journal.len()));
            }
            tokio::task::yield_now().await;
        }
        assert_eq!(found, expected);
        assert!(self.spool().claim(1).await.unwrap().is_empty());
    }

    async fn journal(&mut self, id: u8, ends: bool) {
        let fact = if ends {
            Fact::Finished {
                state: ExecutionState::Succeeded,
                output: None,
                error: None,
            }
        } else {
            Fact::Started
        };
        let execution = accept(id, 0, false).accepted.execution;
        let record = Record {
            time: at(),
            traceparent: None,
            body: RecordBody::Execution {
                execution: execution.clone(),
                fact,
            },
        };
        let journalled = self.spool().journal(execution, vec![record], ends);
        journalled.await.unwrap();
        self.model.journalled(id, ends);
    }

    async fn report(&mut self) {
        let after = self.model.last_reported;
        let records = self.spool().unreported(after, 10_000, usize::MAX);
        let records = records.await.unwrap();
        self.model.take(&records);
    }

    async fn trim(&mut self) {
        self.report().await;
        let last = self.model.last_reported;
        self.spool().trim(last).await.unwrap();
        for id in self.model.forget() {
            let name = accept(id, 0, false).accepted.execution.to_string();
            let path = self.dir.path().join("spool.sqlite");
            until("a brief entry is purged", || !is_known(&path, &name)).await;
        }
    }

    /// The sender is told to try again, and does so.
    async fn crash(&mut self, id: u8, machine: bool) {
        let is_new = self.model.acceptance(id, 0) == Acceptance::New;
        if self.kind == Kind::Intake && is_new {
            // A segment that is made meanwhile would meet the fault in the accept's place.
            self.disk.set_faults(Faults {
                fail_sync_after: Some(0),
                ..Faults::default()
            });
            let failed = self.spool().accept(accept(id, 0, false)).await;
            assert!(matches!(failed, Err(SpoolError::Failed(_))), "{failed:?}");
        }
        self.spool = None;
        if machine {
            self.disk.crash();
        }
        self.disk.set_faults(Faults::default());
        self.open();
        let again = self.spool().accept(accept(id, 0, false)).await.unwrap();
        if is_new && again == Acceptance::Duplicate {
            // It was written after all; nobody had been told.
            self.model.accepted(id, 0, false, &Acceptance::New);
        }
        self.model.accepted(id, 0, false, &again);
    }

    /// Whatever is left is claimed and reported: everything exactly once.
    pub(super) async fn end(mut self) {
        self.play(&Step::Restart).await;
        self.claim().await;
        let started = std::time::Instant::now();
        loop {
            self.report().await;
            if self.model.reported == self.model.expected {
                return;
            }
            let (found, expected) = (&self.model.reported, &self.model.expected);
            assert!(started.elapsed() < PATIENCE, "{found:?}, not {expected:?}");
            tokio::task::yield_now().await;
        }
    }
}

/// Waits for a condition.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    let started = std::time::Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "not so: {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

fn is_known(path: &Path, name: &str) -> bool {
    let connection = Connection::open(path).unwrap();
    connection.busy_timeout(PATIENCE).unwrap();
    let mut found = connection
        .prepare("SELECT 1 FROM names WHERE name = ?1")
        .unwrap();
    found.exists([name]).unwrap()
}

fn at() -> Timestamp {
    "2026-11-24T10:00:00Z".parse().unwrap()
}

fn accept(id: u8, content: u8, brief: bool) -> Accept {
    Accept {
        accepted: Accepted {
            execution: format!("projects/default/executions/x{id}")
                .parse()
                .unwrap(),
            workflow: "projects/default/workflows/w".parse().unwrap(),
            version: 1,
            event: Event {
                trigger: TriggerKind::AmazonSns,
                api_key: None,
                scope: EventScope {
                    message: format!("message {id}"),
                    subject: None,
                    attributes: BTreeMap::new(),
                    topic_arn: Some("arn:aws:sns:eu-central-1:123456789012:t".to_owned()),
                    message_id: format!("x{id}"),
                    timestamp: "2026-11-24T00:00:00Z".to_owned(),
                },
                body: Bytes::from(vec![content; 700]),
                content_type: None,
                source_address: None,
                signature: None,
                received_at: at(),
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
        traceparent: None,
        deduplicate_until: if brief { at() } else { Timestamp::MAX },
    }
}

fn delivery() -> Delivery {
    let of = accept(0, 0, false).accepted;
    delivery_of(
        &of,
        "SubscriptionConfirmation".to_owned(),
        Verdict::Accepted,
    )
}

fn append() -> Record {
    Record {
        time: at(),
        traceparent: None,
        body: RecordBody::Delivery(Box::new(delivery())),
    }
}

fn handshake(token: u8) -> Handshake {
    Handshake {
        workflow: "projects/default/workflows/w".parse().unwrap(),
        topic_arn: "arn:aws:sns:eu-central-1:123456789012:t".to_owned(),
        token: token.to_string(),
        certificate_origin: "aws".to_owned(),
        // Remembered for days once it is over.
        received_at: Timestamp::now(),
        attempts: 0,
    }
}
