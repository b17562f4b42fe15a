//! Runs executions: claims them from the spool, drives their machines, performs what these ask of the world.
//!
//! Every fact is durable before it is acted on. A task that is dropped at any point leaves an execution that the next
//! start goes on with.

mod http;
mod span;

use std::{num::NonZeroUsize, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use jiff::Timestamp;
use moka::sync::Cache;
use serde_json::Value;
use signalbox_engine::{AttemptError, Decision, Effect, EffectKind, Machine};
use signalbox_model::{
    execution::{ExecutionState, Fact, Failure},
    record::{Record, RecordBody},
    violation::Violations,
    workflow::Workflow,
};
use signalbox_proto::convert::definition;
use signalbox_runtime::{shutdown::Shutdown, telemetry::context};
use tokio::sync::Semaphore;
use tracing::Instrument as _;

use self::span::StepSpans;
use crate::spool::{Claimed, Spool, SpoolError};

pub use self::http::HttpPerformer;

/// Executions claimed at once.
const CLAIM_MAX: usize = 64;
/// How often the spool is asked although nobody said that there is something.
const CLAIM_INTERVAL: Duration = Duration::from_secs(5);
/// Parsed definitions that are kept.
const DEFINITIONS_MAX: u64 = 1024;

/// Performs one kind of effect.
pub trait Performer: Send + Sync + 'static {
    /// Makes one attempt. Ends within the effect's timeout.
    fn perform(&self, effect: Effect) -> BoxFuture<'static, Result<Value, AttemptError>>;
}

/// Limits.
#[derive(Clone, Debug)]
pub struct ExecutionConfig {
    /// Executions under way at once.
    pub concurrency_max: NonZeroUsize,
}

/// Runs a spool's executions.
pub struct ExecutionRuntime {
    spool: Arc<dyn Spool>,
    http: Arc<dyn Performer>,
    definitions: Cache<(String, u64), Arc<Workflow>>,
    slots: Arc<Semaphore>,
}

impl ExecutionRuntime {
    /// A runtime that performs HTTP effects by `http`.
    #[must_use]
    pub fn new(spool: Arc<dyn Spool>, http: Arc<dyn Performer>, config: &ExecutionConfig) -> Self {
        Self {
            spool,
            http,
            definitions: Cache::new(DEFINITIONS_MAX),
            slots: Arc::new(Semaphore::new(config.concurrency_max.get())),
        }
    }

    /// Until the shutdown: then nothing new is claimed, attempts under way may finish until they are forced.
    pub async fn run(self: Arc<Self>, shutdown: Shutdown) {
        let claimable = self.spool.claimable();
        loop {
            let free = tokio::select! {
                () = shutdown.stopping() => return,
                free = self.slots.clone().acquire_owned() => free,
            };
            let Ok(first) = free else { return };
            let more = self.slots.available_permits().min(CLAIM_MAX - 1);
            let claimed = match self.spool.claim(more + 1).await {
                Ok(claimed) => claimed,
                Err(error) => {
                    tracing::error!(%error, "no execution can be claimed");
                    return;
                }
            };
            let mut slot = Some(first);
            let any = !claimed.is_empty();
            for claimed in claimed {
                let taken = match slot.take() {
                    Some(slot) => Ok(slot),
                    None => self.slots.clone().acquire_owned().await,
                };
                let Ok(taken) = taken else { return };
                let (runtime, ending) = (self.clone(), shutdown.clone());
                shutdown.spawn(async move {
                    runtime.execute(claimed, &ending).await;
                    drop(taken);
                });
            }
            drop(slot);
            if !any {
                tokio::select! {
                    () = shutdown.stopping() => return,
                    () = claimable.notified() => {}
                    () = tokio::time::sleep(CLAIM_INTERVAL) => {}
                }
            }
        }
    }

    async fn execute(&self, claimed: Claimed, shutdown: &Shutdown) {
        let span = span::execution(&claimed);
        let traceparent = context::traceparent(&span).or_else(|| claimed.traceparent.clone());
        metrics::gauge!("signalbox_executions_running").increment(1);
        let run = Run {
            runtime: self,
            claimed,
            traceparent,
            spans: StepSpans::new(span.clone()),
            shutdown,
        };
        match run.drive().instrument(span.clone()).await {
            Ok(Some(state)) => {
                span::ended(&span, state);
                metrics::counter!("signalbox_executions_total", "state" => span::name(state))
                    .increment(1);
            }
            Ok(None) => {}
            Err(error) => span.in_scope(|| {
                tracing::error!(%error, "the execution stops here; the next start goes on with it");
            }),
        }
        metrics::gauge!("signalbox_executions_running").decrement(1);
    }

    fn definition(&self, claimed: &Claimed) -> Result<Arc<Workflow>, Violations> {
        let accepted = &claimed.accepted;
        let key = (accepted.workflow.to_string(), accepted.version);
        if let Some(workflow) = self.definitions.get(&key) {
            return Ok(workflow);
        }
        let workflow = definition::decode(&claimed.definition, &accepted.workflow.project)?;
        let workflow = Arc::new(workflow);
        self.definitions.insert(key, workflow.clone());
        Ok(workflow)
    }

    fn performer(&self, kind: &EffectKind) -> &Arc<dyn Performer> {
        match kind {
            EffectKind::Http(_) => &self.http,
        }
    }
}

/// One execution under way.
struct Run<'a> {
    runtime: &'a ExecutionRuntime,
    claimed: Claimed,
    traceparent: Option<String>,
    spans: StepSpans,
    shutdown: &'a Shutdown,
}

impl Run<'_> {
    /// Gives the state in which it ended, or [`None`] when it was left for the next start.
    async fn drive(mut self) -> Result<Option<ExecutionState>, SpoolError> {
        let workflow = match self.runtime.definition(&self.claimed) {
            Ok(workflow) => workflow,
            Err(violations) => {
                // It was valid when it was accepted: this node runs other code now.
                let failure = Failure::new("DEFINITION", violations.to_string());
                let finished = Fact::Finished {
                    state: ExecutionState::Failed,
                    output: None,
                    error: Some(failure),
                };
                self.journal(&[finished], Timestamp::now()).await?;
                return Ok(Some(ExecutionState::Failed));
            }
        };
        let accepted = &self.claimed.accepted;
        let mut machine = Machine::new(
            workflow,
            accepted.execution.clone(),
            &accepted.workflow,
            accepted.version,
            &accepted.event,
        );
        for record in &self.claimed.journal {
            if let RecordBody::Execution { fact, .. } = &record.body {
                machine.apply(fact, record.time);
            }
        }
        machine.resume();
        loop {
            if self.shutdown.is_stopping() {
                return Ok(None);
            }
            let facts = match machine.decide(Timestamp::now()) {
                Decision::Done(state) => return Ok(Some(state)),
                Decision::Journal(facts) => facts,
                Decision::WaitUntil(time) => {
                    self.wait_until(time).await;
                    continue;
                }
                Decision::Perform(effect) => {
                    let Some(outcome) = self.perform(&effect).await else {
                        return Ok(None);
                    };
                    machine.outcome(&effect.step, effect.number, outcome, Timestamp::now())
                }
            };
            let now = Timestamp::now();
            self.journal(&facts, now).await?;
            for fact in &facts {
                self.spans.follow(fact);
                machine.apply(fact, now);
            }
        }
    }

    async fn journal(&self, facts: &[Fact], now: Timestamp) -> Result<(), SpoolError> {
        let execution = &self.claimed.accepted.execution;
        let ended = matches!(facts.last(), Some(Fact::Finished { .. }));
        let records = facts
            .iter()
            .map(|fact| Record {
                time: now,
                traceparent: self.traceparent.clone(),
                body: RecordBody::Execution {
                    execution: execution.clone(),
                    fact: fact.clone(),
                },
            })
            .collect();
        self.runtime
            .spool
            .journal(execution.clone(), records, ended)
            .await
    }

    async fn wait_until(&self, time: Timestamp) {
        let pause = Duration::try_from(time.duration_since(Timestamp::now())).unwrap_or_default();
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = self.shutdown.stopping() => {}
        }
    }

    /// Makes an attempt; [`None`] when the process is forced to end first.
    async fn perform(&self, effect: &Effect) -> Option<Result<Value, AttemptError>> {
        let span = self.spans.attempt(effect);
        let kind = match &effect.kind {
            EffectKind::Http(_) => "http",
        };
        let started = std::time::Instant::now();
        let attempt = self
            .runtime
            .performer(&effect.kind)
            .perform(effect.clone())
            .instrument(span.clone());
        let outcome = tokio::select! {
            outcome = tokio::time::timeout(effect.timeout, attempt) => outcome,
            () = self.shutdown.forced() => return None,
        };
        let outcome = outcome.unwrap_or_else(|_| {
            Err(AttemptError {
                failure: Failure::new("TIMEOUT", format!("no answer within {:?}", effect.timeout)),
                retriable: true,
            })
        });
        let result = match &outcome {
            Ok(_) => "success",
            Err(error) => {
                span::failed(&span, &error.failure);
                "failure"
            }
        };
        metrics::counter!("signalbox_step_attempts_total", "kind" => kind, "result" => result)
            .increment(1);
        metrics::histogram!("signalbox_step_attempt_seconds", "kind" => kind)
            .record(started.elapsed());
        Some(outcome)
    }
}

#[cfg(test)]
mod tests;
