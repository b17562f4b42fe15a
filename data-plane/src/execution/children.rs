//! Executions that steps start, and the ends that are told between them and those who started them.

use std::{collections::HashMap, fmt, time::Duration};

use bytes::Bytes;
use jiff::Timestamp;
use signalbox_engine::{AttemptFailure, ChildCall, Effect, codes};
use signalbox_model::{
    child::{ChildEnd, Parent},
    config::PublishedVersion,
    event::{Event, EventScope, TriggerKind},
    execution::{Fact, JsonText, StepState},
    ids::{ExecutionId, ExecutionName, StepInstance, WorkflowName},
    limits::CHILD_DEPTH_MAX,
    record::{Accepted, Record, RecordBody},
};

use crate::{
    config::{self, ConfigStore},
    spool::{Accept, Along, Definition, ScopeSource, Spool},
};

/// Where the workflows are that steps run.
pub trait WorkflowSource: fmt::Debug + Send + Sync + 'static {
    /// What a new execution of `workflow` runs now.
    ///
    /// # Errors
    /// Why there can be none.
    fn runnable(&self, workflow: &WorkflowName) -> Result<PublishedVersion, Unavailable>;
}

/// Why a workflow cannot be run at this node now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// This node does not know it.
    #[error("does not exist, or has not reached this node")]
    Unknown,
    /// It has no version to run.
    #[error("has no published version")]
    Unpublished,
    /// It is switched off.
    #[error("is disabled")]
    Disabled,
}

impl WorkflowSource for ConfigStore {
    fn runnable(&self, workflow: &WorkflowName) -> Result<PublishedVersion, Unavailable> {
        let current = self.current();
        let config = current.workflow(workflow).ok_or(Unavailable::Unknown)?;
        match &config.published {
            _ if !config.enabled => Err(Unavailable::Disabled),
            Some(published) => Ok(published.clone()),
            None => Err(Unavailable::Unpublished),
        }
    }
}

/// No workflows at all.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoWorkflows;

impl WorkflowSource for NoWorkflows {
    fn runnable(&self, _workflow: &WorkflowName) -> Result<PublishedVersion, Unavailable> {
        Err(Unavailable::Unknown)
    }
}

/// Where executions that steps start come from and go to.
pub(super) struct Nursery<'a> {
    pub(super) workflows: &'a dyn WorkflowSource,
    pub(super) spool: &'a dyn Spool,
    pub(super) deduplication_window: Duration,
}

/// Those above and below one execution.
pub(super) struct Kin {
    execution: ExecutionName,
    parent: Option<Box<Parent>>,
    /// Those that steps wait for.
    awaited: HashMap<StepInstance, ExecutionName>,
    /// Those that are to be durable with the fact that they have started.
    ready: Vec<Accept>,
}

impl Kin {
    /// Those of the execution that `accepted` made, before its first fact.
    pub(super) fn new(accepted: &Accepted) -> Self {
        Self {
            execution: accepted.execution.clone(),
            parent: accepted.parent.clone(),
            awaited: HashMap::new(),
            ready: Vec::new(),
        }
    }

    /// Takes in a fact of its own; gives the child that no step waits for any more.
    pub(super) fn follow(&mut self, fact: &Fact) -> Option<ExecutionName> {
        match fact {
            Fact::ChildStarted {
                step, child, waits, ..
            } => {
                if *waits {
                    self.awaited.insert(step.clone(), child.clone());
                }
                None
            }
            Fact::ChildEnded(end) => {
                self.awaited.remove(&end.step);
                None
            }
            Fact::StepFinished { step, state, .. } => {
                let child = self.awaited.remove(step);
                child.filter(|_| *state != StepState::Succeeded)
            }
            _ => None,
        }
    }

    /// Makes the execution ready that an attempt is to start: it is durable with the [`Fact::ChildStarted`] that names it.
    ///
    /// # Errors
    /// Why it cannot be.
    pub(super) async fn begin(
        &mut self,
        nursery: &Nursery<'_>,
        effect: &Effect,
        call: &ChildCall,
        (now, traceparent): (Timestamp, Option<String>),
    ) -> Result<ExecutionName, AttemptFailure> {
        let depth = 1 + self.parent.as_ref().map_or(0, |parent| parent.depth);
        if depth > CHILD_DEPTH_MAX {
            let message = format!(
                "the execution would be the child of a child of a child …: at most {CHILD_DEPTH_MAX} may stand above one"
            );
            return Err(AttemptFailure::lasting(codes::CHILD_DEPTH, message));
        }
        let workflow = WorkflowName {
            project: self.execution.project.clone(),
            workflow: call.workflow.clone(),
        };
        let unavailable = |why: String| AttemptFailure::retriable(codes::CHILD_UNAVAILABLE, why);
        let published = nursery.workflows.runnable(&workflow);
        let published = published.map_err(|why| unavailable(format!("{workflow} {why}")))?;
        let read = config::read(&published, &workflow.project).await;
        read.map_err(|why| unavailable(format!("{workflow} {why}")))?;
        let stats = nursery.spool.stats();
        if stats.used_bytes >= stats.max_bytes {
            return Err(unavailable("the node's spool is full".to_owned()));
        }
        let input = input_of(&published, call).map_err(|why| {
            let message = format!("{workflow} does not take its input: {why}");
            AttemptFailure::lasting(codes::CHILD_INPUT, message)
        })?;
        let child = ExecutionName {
            project: self.execution.project.clone(),
            execution: ExecutionId::derive_child(
                &workflow,
                &self.execution,
                &effect.step,
                effect.attempt,
            ),
        };
        let parent = Parent {
            execution: self.execution.clone(),
            step: effect.step.clone(),
            attempt: effect.attempt,
            waits: call.waits,
            depth,
        };
        self.ready.push(Accept {
            accepted: Accepted {
                event: event(&child, &input, now),
                execution: child.clone(),
                workflow,
                version: published.number,
                parent: Some(Box::new(parent)),
            },
            scope: ScopeSource::Event,
            // Of what was given: another version may fill in other defaults.
            content_digest: *blake3::hash(call.input.as_str().as_bytes()).as_bytes(),
            certificate: None,
            definition: Definition {
                source: published.source,
                digest: published.source_digest,
            },
            message_type: None,
            traceparent,
            deduplicate_until: now
                .saturating_add(nursery.deduplication_window)
                .unwrap_or(Timestamp::MAX),
        });
        Ok(child)
    }

    /// What `records`, which are about to be journalled, mean for those above and below.
    pub(super) fn along(&mut self, records: &[Record]) -> Along {
        let mut along = Along::default();
        for record in records {
            let RecordBody::Execution { fact, .. } = &record.body else {
                continue;
            };
            let mut left: Vec<ExecutionName> = self.follow(fact).into_iter().collect();
            match fact {
                Fact::ChildStarted { child, .. } => {
                    let is_it = |accept: &mut Accept| accept.accepted.execution == *child;
                    along.begins.extend(self.ready.extract_if(.., is_it));
                }
                Fact::Finished { .. } => {
                    left.extend(self.awaited.drain().map(|(_, child)| child));
                    along.tells.extend(self.end(fact, record));
                }
                _ => {}
            }
            let abandoned = |child| told(record, child, Fact::Abandoned);
            along.tells.extend(left.into_iter().map(abandoned));
        }
        along
    }

    /// What the parent is told of the end, if it waits for it.
    fn end(&self, fact: &Fact, record: &Record) -> Option<Record> {
        let Fact::Finished {
            state,
            output,
            error,
        } = fact
        else {
            return None;
        };
        let parent = self.parent.as_ref().filter(|parent| parent.waits)?;
        let end = ChildEnd {
            step: parent.step.clone(),
            number: parent.attempt,
            child: self.execution.clone(),
            state: *state,
            output: output.clone(),
            error: error.clone(),
        };
        let fact = Fact::ChildEnded(Box::new(end));
        Some(told(record, parent.execution.clone(), fact))
    }
}

/// A fact that `execution` is told when what `record` says happens.
fn told(record: &Record, execution: ExecutionName, fact: Fact) -> Record {
    Record {
        time: record.time,
        traceparent: record.traceparent.clone(),
        body: RecordBody::Execution { execution, fact },
    }
}

/// What the steps of the child read: checked, with the defaults that its trigger declares.
fn input_of(published: &PublishedVersion, call: &ChildCall) -> Result<JsonText, String> {
    let inputs = &published.front.inputs;
    if inputs.is_empty() {
        return Ok(call.input.clone());
    }
    let given = call.input.to_value();
    let accepted = inputs.accept("input", given);
    let accepted = accepted.map_err(|problems| problems.to_string())?;
    Ok(JsonText::from_value(&accepted))
}

fn event(child: &ExecutionName, input: &JsonText, now: Timestamp) -> Event {
    Event {
        trigger: TriggerKind::Workflow,
        api_key: None,
        scope: EventScope {
            message: input.as_str().to_owned(),
            message_id: child.execution.to_string(),
            timestamp: now.to_string(),
            ..EventScope::unread()
        },
        body: Bytes::copy_from_slice(input.as_str().as_bytes()),
        content_type: Some("application/json".to_owned()),
        source_address: None,
        signature: None,
        received_at: now,
    }
}
