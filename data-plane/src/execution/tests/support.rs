//! A spool on disk, a runtime that can be killed, and a server to call.

mod authority;
mod flaky;
mod proxy;
mod target;

use std::{num::NonZeroUsize, sync::Arc};

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::Value;
use signalbox_engine::LinkMaker;
use signalbox_model::{
    event::{Event, EventScope, TriggerKind},
    execution::{ExecutionState, Fact, Failure, JsonText},
    ids::{ExecutionId, ExecutionName, WorkflowName},
    record::{Accepted, Record, RecordBody},
};
use signalbox_proto::{
    convert::{definition, json},
    v1,
};
use signalbox_runtime::{
    ambient::{Ambient, System},
    shutdown::{DrainOutcome, Shutdown},
};
use tempfile::TempDir;

use super::super::{
    Asked, Cancels, ConcurrencyLimits, ExecutionConfig, ExecutionRuntime, NoSecrets, NoWorkflows,
    NodeIdentity, Performer, Performers, SecretSource, Wakes, WorkflowSource,
};
use super::PATIENCE;
use crate::{
    egress::{Egress, EgressPolicy},
    spool::{Accept, Acceptance, ScopeSource, Spool, SqliteSpool, SqliteSpoolConfig},
};

pub(crate) use authority::Authority;
pub(crate) use flaky::Flaky;
pub(crate) use proxy::Proxy;
pub(crate) use target::{Call, Reply, Target};

pub(crate) const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A node's spool and what runs on it.
pub(crate) struct World {
    dir: TempDir,
    spool: Option<Arc<SqliteSpool>>,
    shutdown: Shutdown,
    runtime: Option<tokio::task::JoinHandle<()>>,
    pub(crate) concurrency_max: usize,
    pub(crate) performer: Option<Arc<dyn Performer>>,
    pub(crate) ambient: Arc<dyn Ambient>,
    pub(crate) cancels: Arc<Cancels>,
    pub(crate) wakes: Arc<Wakes>,
    pub(crate) secrets: Arc<dyn SecretSource>,
    pub(crate) links: Option<Arc<dyn LinkMaker>>,
    pub(crate) limits: Arc<dyn ConcurrencyLimits>,
    pub(crate) workflows: Arc<dyn WorkflowSource>,
}

impl World {
    pub(crate) async fn start() -> Self {
        let mut world = Self {
            dir: tempfile::tempdir().unwrap(),
            spool: None,
            shutdown: Shutdown::new(),
            runtime: None,
            concurrency_max: 16,
            performer: None,
            ambient: System::shared(),
            cancels: Arc::default(),
            wakes: Arc::default(),
            secrets: Arc::new(NoSecrets),
            links: None,
            limits: ExecutionConfig::default().limits,
            workflows: Arc::new(NoWorkflows),
        };
        world.reopen().await;
        world
    }

    pub(crate) fn spool(&self) -> Arc<SqliteSpool> {
        self.spool.clone().unwrap()
    }

    /// Opens the spool, as a new process does: what it had claimed may be claimed again.
    pub(crate) async fn reopen(&mut self) {
        // A process that died holds nothing; a task of this one that has not ended yet would, and two writers on one
        // file are what the data folder's lock keeps from ever being. (A test that holds the spool itself waits in vain.)
        if let Some(spool) = self.spool.take() {
            let alone = async {
                while Arc::strong_count(&spool) > 1 {
                    tokio::task::yield_now().await;
                }
            };
            let _ = tokio::time::timeout(std::time::Duration::from_secs(3), alone).await;
        }
        let spool = SqliteSpool::open(self.dir.path(), SqliteSpoolConfig::default());
        self.spool = Some(Arc::new(spool.unwrap()));
    }

    pub(crate) fn run(&mut self) {
        self.run_on(self.spool());
    }

    pub(crate) fn run_on(&mut self, spool: Arc<dyn Spool>) {
        self.shutdown = Shutdown::new();
        let performer = self
            .performer
            .clone()
            .unwrap_or_else(|| Arc::new(everything()));
        let config = ExecutionConfig {
            concurrency_max: NonZeroUsize::new(self.concurrency_max).unwrap(),
            ambient: self.ambient.clone(),
            cancels: self.cancels.clone(),
            wakes: self.wakes.clone(),
            secrets: self.secrets.clone(),
            links: self.links.clone(),
            limits: self.limits.clone(),
            workflows: self.workflows.clone(),
            ..ExecutionConfig::default()
        };
        let runtime = Arc::new(ExecutionRuntime::new(spool, performer, &config));
        self.runtime = Some(tokio::spawn(runtime.run(self.shutdown.clone())));
    }

    /// Ends in good order. The spool stays open, but what was claimed in it can be claimed only by a next process.
    pub(crate) async fn stop(&mut self) {
        let outcome = self.shutdown.drain(PATIENCE).await;
        assert_eq!(outcome, DrainOutcome::Drained);
        self.runtime.take().unwrap().await.unwrap();
        self.reopen().await;
    }

    /// Drops everything where it stands.
    pub(crate) async fn crash(&mut self) {
        self.shutdown.stop();
        self.shutdown.drain(std::time::Duration::ZERO).await;
        self.runtime.take().unwrap().await.unwrap();
        self.reopen().await;
    }

    pub(crate) async fn accept(
        &self,
        definition: &str,
        message_id: &str,
        message: &str,
    ) -> ExecutionName {
        let spec: v1::WorkflowSpec = json::from_yaml_str(definition).unwrap();
        self.accept_definition(definition::encode(&spec), message_id, message)
            .await
    }

    pub(crate) async fn accept_definition(
        &self,
        definition: impl Into<Bytes>,
        message_id: &str,
        message: &str,
    ) -> ExecutionName {
        let accept = an_accept(definition.into(), message_id, message);
        let execution = accept.accepted.execution.clone();
        assert_eq!(self.spool().accept(accept).await.unwrap(), Acceptance::New);
        execution
    }
    /// Whether a file of the spool holds `text`.
    pub(crate) fn some_file_holds(&self, text: &str) -> bool {
        let mut files = std::fs::read_dir(self.dir.path()).unwrap();
        files.any(|file| {
            let bytes = std::fs::read(file.unwrap().path()).unwrap_or_default();
            bytes
                .windows(text.len())
                .any(|part| part == text.as_bytes())
        })
    }

    /// The workflow that [`World::accept`] takes a definition for.
    pub(crate) fn workflow(&self, definition: &str) -> WorkflowName {
        let spec: v1::WorkflowSpec = json::from_yaml_str(definition).unwrap();
        workflow_of(&definition::encode(&spec))
    }

    pub(crate) async fn cancel(&self, execution: &ExecutionName) {
        let spool = self.spool();
        assert_eq!(
            self.cancels.ask(spool.as_ref(), execution).await,
            Ok(Asked::Noted)
        );
    }

    /// The execution's durable records.
    pub(crate) async fn records(&self, of: &ExecutionName) -> Vec<Record> {
        let all = self.spool().unreported(0, 100_000, usize::MAX >> 1).await;
        let all = all.unwrap().into_iter().map(|record| record.record);
        all.filter(
            |record| matches!(&record.body, RecordBody::Execution { execution, .. } if execution == of),
        )
        .collect()
    }

    pub(crate) async fn facts(&self, of: &ExecutionName) -> Vec<Fact> {
        let records = self.records(of).await.into_iter();
        records
            .map(|record| match record.body {
                RecordBody::Execution { fact, .. } => fact,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    /// The execution's facts, once it has ended: exactly once.
    pub(crate) async fn finished(&self, of: &ExecutionName) -> Vec<Fact> {
        let wait = async {
            let mut head = self.spool().head();
            loop {
                let facts = self.facts(of).await;
                let ends = |fact: &&Fact| matches!(fact, Fact::Finished { .. });
                if facts.iter().any(|fact| ends(&fact)) {
                    assert_eq!(facts.iter().filter(ends).count(), 1, "{facts:?}");
                    return facts;
                }
                head.changed().await.unwrap();
            }
        };
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(facts) => facts,
            Err(_) => panic!("{of} did not end: {:?}", self.facts(of).await),
        }
    }
}

/// An event of the workflow that a definition is.
pub(crate) fn an_accept(definition: Bytes, message_id: &str, message: &str) -> Accept {
    let workflow = workflow_of(&definition);
    let execution = ExecutionName {
        project: workflow.project.clone(),
        execution: ExecutionId::derive(&workflow, "", message_id, None),
    };
    let now = Timestamp::now();
    Accept {
        accepted: Accepted {
            execution,
            workflow,
            version: 1,
            event: Event {
                trigger: TriggerKind::Manual,
                api_key: None,
                scope: EventScope {
                    message: message.to_owned(),
                    subject: None,
                    attributes: Default::default(),
                    topic_arn: None,
                    message_id: message_id.to_owned(),
                    timestamp: now.to_string(),
                },
                body: Bytes::copy_from_slice(message.as_bytes()),
                content_type: None,
                source_address: None,
                signature: None,
                received_at: now,
            },
            parent: None,
        },
        scope: ScopeSource::Event,
        content_digest: *blake3::hash(message.as_bytes()).as_bytes(),
        certificate: None,
        definition: definition.into(),
        message_type: None,
        traceparent: Some(TRACEPARENT.to_owned()),
        deduplicate_until: now + jiff::SignedDuration::from_hours(1),
    }
}

/// What a node performs, without credentials of its own.
pub(crate) fn everything() -> Performers {
    Performers::new(&loopback(), NodeIdentity::default(), System::shared())
}

/// Each definition is a workflow of its own: a version does not change.
fn workflow_of(definition: &[u8]) -> WorkflowName {
    let digest = blake3::hash(definition).to_hex();
    format!("projects/default/workflows/w{}", &digest[..16])
        .parse()
        .unwrap()
}

pub(crate) fn loopback() -> Egress {
    Egress::new(EgressPolicy {
        allow: vec!["127.0.0.0/8".parse().unwrap()],
        deny: Vec::new(),
    })
    .unwrap()
}

/// A workflow that calls `url`, with `more` of the step.
pub(crate) fn http_step(url: &str, more: &str) -> String {
    format!(
        "trigger: {{manual: {{}}}}\nsteps:\n  - id: call\n    http: {{url: \"{url}\"}}\n    {more}"
    )
}

pub(crate) fn finished(facts: &[Fact]) -> (ExecutionState, Option<Failure>) {
    match facts.last().unwrap() {
        Fact::Finished { state, error, .. } => (*state, error.clone()),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn code_of(facts: &[Fact]) -> String {
    finished(facts).1.unwrap().code
}

pub(crate) fn output_of(facts: &[Fact]) -> Value {
    match facts.last().unwrap() {
        Fact::Finished {
            state: ExecutionState::Succeeded,
            output,
            ..
        } => output.as_ref().map_or(Value::Null, JsonText::to_value),
        other => panic!("{other:?}"),
    }
}

/// Number and repeat mark of each attempt.
pub(crate) fn attempts(facts: &[Fact]) -> Vec<(u32, bool)> {
    facts
        .iter()
        .filter_map(|fact| match fact {
            Fact::AttemptStarted {
                number, repeated, ..
            } => Some((*number, *repeated)),
            _ => None,
        })
        .collect()
}
