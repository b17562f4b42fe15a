//! What facts of one execution mean for others: executions that they start, and what executions are told by them. All of it is
//! one commit with the facts.

use signalbox_engine::codes;
use signalbox_model::{
    child::{ChildEnd, Parent},
    execution::{ExecutionState, Fact, Failure},
    ids::ExecutionName,
    record::{Accepted, Record, RecordBody},
};

use super::batch::{Batch, NewExecution, Sql, encode};
use crate::spool::{Accept, Acceptance, Along, ReadScope, SpoolError, Told};

/// An [`Along`], encoded.
#[derive(Default)]
pub(in crate::spool) struct Encoded {
    begins: Vec<(NewExecution, Option<Telling>)>,
    tells: Vec<Telling>,
    pub(super) only_repeats: bool,
}

/// A fact for the journal of an execution.
struct Telling {
    execution: ExecutionName,
    record: Vec<u8>,
}

impl Encoded {
    pub(super) fn new(along: Along, read_scope: ReadScope) -> Result<Self, SpoolError> {
        let Along {
            begins,
            tells,
            only_repeats,
        } = along;
        let begins = begins.into_iter().map(|accept| {
            let lost = lost(&accept).map(Telling::new).transpose()?;
            Ok((NewExecution::encode(accept, read_scope)?, lost))
        });
        Ok(Self {
            begins: begins.collect::<Result<_, SpoolError>>()?,
            tells: tells
                .into_iter()
                .map(Telling::new)
                .collect::<Result<_, _>>()?,
            only_repeats,
        })
    }
}

impl Telling {
    fn new(record: Record) -> Result<Self, SpoolError> {
        let encoded = encode(&record)?;
        match record.body {
            RecordBody::Execution { execution, .. } => Ok(Self {
                execution,
                record: encoded,
            }),
            _ => Err(SpoolError::Failed(
                "only facts of executions can be told".to_owned(),
            )),
        }
    }
}

/// What the parent is told when an execution of this name is known to have ended, or to be another.
fn lost(accept: &Accept) -> Option<Record> {
    let Accepted {
        execution,
        event,
        parent,
        ..
    } = &accept.accepted;
    let Parent {
        execution: parent,
        step,
        attempt,
        waits,
        depth: _,
    } = parent.as_deref()?;
    let message = format!(
        "{execution} ran here before, for an earlier copy of the event, and nothing is known of it any more"
    );
    waits.then(|| Record {
        time: event.received_at,
        traceparent: accept.traceparent.clone(),
        body: RecordBody::Execution {
            execution: parent.clone(),
            fact: Fact::ChildEnded(Box::new(ChildEnd {
                step: step.clone(),
                number: *attempt,
                child: execution.clone(),
                state: ExecutionState::Failed,
                output: None,
                error: Some(Failure::new(codes::CHILD_FAILED, message)),
            })),
        },
    })
}

impl Batch<'_> {
    /// Does it; gives those who were told something and are claimed.
    pub(super) fn along(&mut self, along: Encoded) -> Sql<Vec<ExecutionName>> {
        let Encoded {
            begins, mut tells, ..
        } = along;
        for (new, lost) in begins {
            let name = new.name().to_owned();
            let is_under_way = match self.accept(new)? {
                Acceptance::New => true,
                Acceptance::Duplicate => self.open_of(&name)?.is_some(),
                Acceptance::Conflict => false,
            };
            if !is_under_way {
                tells.extend(lost);
            }
        }
        let mut unheard = Vec::new();
        for Telling { execution, record } in tells {
            if self.tell_fact(&execution.to_string(), &record)? == Told::Claimed {
                unheard.push(execution);
            }
        }
        Ok(unheard)
    }
}
