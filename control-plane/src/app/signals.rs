//! Telling executions what they wait for.

use std::collections::HashMap;

use signalbox_model::{
    audit::Change,
    error::Error,
    execution::JsonText,
    ids::{ExecutionName, NodeId, SignalId, SignalName, StepInstance},
    limits,
    secret::Masks,
    signal::{ApprovalDecision, Signal},
};

use super::{App, check_length, check_request_id};
use crate::store::{
    Actor, Awaited, NewSignal, Target, read_signal,
    rows::{Execution, Signal as Row},
};

/// What an execution is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Telling {
    /// A signal.
    Named {
        /// Its name.
        name: SignalName,
        /// What comes with it.
        payload: JsonText,
    },
    /// A decision.
    Decision {
        /// The run of the approval; the one that waits, when it is not said.
        step: Option<StepInstance>,
        /// What was decided.
        decision: ApprovalDecision,
        /// Why, for people.
        comment: String,
    },
}

impl App {
    /// Tells an execution something, but for the secrets that its definition names; gives what was told, the same for a repeated
    /// request.
    ///
    /// # Errors
    /// `NotFound`; `Precondition` when the execution has ended or no approval waits for the decision; `Exhausted`;
    /// `Invalid`.
    pub async fn signal_execution(
        &self,
        actor: &Actor,
        name: &ExecutionName,
        telling: Telling,
        request_id: &str,
        traceparent: Option<String>,
    ) -> Result<Row, Error> {
        let id = signal_id(check_request_id(request_id)?)?;
        let target = target(telling)?;
        let masks = self.masks_of(name).await?;
        let new = NewSignal {
            id,
            target: masked(target, &masks),
            traceparent,
        };
        self.store
            .write(async |tx| {
                let (row, is_new) = tx.signal(actor, name, new).await?;
                if is_new {
                    tx.audit(actor, "SignalExecution", &name.to_string(), told(&row));
                }
                Ok(row)
            })
            .await
    }

    /// What an approval of an execution asks, when it may be decided: `step`, or the only one that waits.
    ///
    /// # Errors
    /// `NotFound`; `Precondition` when the execution has ended or no approval waits for a decision; `Invalid` when several
    /// do.
    pub async fn approval(
        &self,
        name: &ExecutionName,
        step: Option<&StepInstance>,
    ) -> Result<Awaited, Error> {
        self.store
            .write(async |tx| tx.approval(name, step).await)
            .await
    }

    /// Notes that links for an approval, the run `step`, were made for `label`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn links_made(
        &self,
        actor: &Actor,
        name: &ExecutionName,
        step: &str,
        label: &str,
    ) -> Result<(), Error> {
        let changes = vec![
            Change::new_field("label", label),
            Change::new_field("step", step),
        ];
        self.store
            .write(async |tx| {
                tx.audit(actor, "CreateApprovalLinks", &name.to_string(), changes);
                Ok(())
            })
            .await
    }

    /// What the executions of a node are to be told, at most `max`: where, what, and by which call.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn signals_for(
        &self,
        node: &NodeId,
        max: u64,
    ) -> Result<Vec<(String, Signal, Option<String>)>, Error> {
        let rows = self.store.signals_to_tell(node, max).await?;
        let signals = rows.into_iter().filter_map(|row| {
            let execution = format!("projects/{}/executions/{}", row.project, row.execution);
            // One that cannot be read keeps the others from nothing.
            let signal = read_signal(&row).ok()?;
            Some((execution, signal, row.traceparent))
        });
        Ok(signals.collect())
    }

    /// What executions of one project wait for from outside, by their ids.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn awaited(
        &self,
        executions: &[Execution],
    ) -> Result<HashMap<String, Vec<Awaited>>, Error> {
        let waiting = self.store.waiting(executions).await?;
        let awaited = waiting.into_iter().map(|(id, runs)| {
            let awaited = runs.iter().filter_map(Awaited::of).collect();
            (id, awaited)
        });
        Ok(awaited.collect())
    }
}

fn masked(target: Target, masks: &Masks) -> Target {
    match target {
        Target::Named(name, payload) => Target::Named(name, masks.json_text(payload)),
        Target::Approval {
            step,
            decision,
            comment,
        } => Target::Approval {
            step,
            decision,
            comment: masks.text(&comment).unwrap_or(comment),
        },
    }
}

/// What the audit log says of what was told: not what came with it.
fn told(row: &Row) -> Vec<Change> {
    let fields = [
        ("decision", &row.decision),
        ("signal", &row.name),
        ("step", &row.step),
    ];
    let told = fields.into_iter();
    told.filter_map(|(field, value)| Some(Change::new_field(field, value.as_deref()?)))
        .collect()
}

/// One id for one request.
fn signal_id(request_id: Option<&str>) -> Result<SignalId, Error> {
    let uuid = request_id.map(uuid::Uuid::try_parse);
    let uuid = uuid
        .transpose()
        .map_err(|_| Error::invalid("request_id", "is not a UUID"))?;
    let uuid = uuid.unwrap_or_else(uuid::Uuid::new_v4);
    let text = format!("s{}", uuid.simple());
    text.parse().map_err(|_| Error::Internal {
        message: "no signal id".to_owned(),
    })
}

fn target(telling: Telling) -> Result<Target, Error> {
    match telling {
        Telling::Named { name, payload } => {
            let size_bytes = payload.as_str().len();
            if size_bytes > limits::SIGNAL_PAYLOAD_MAX_BYTES {
                let max = limits::SIGNAL_PAYLOAD_MAX_BYTES;
                let text = format!("has {size_bytes} bytes; at most {max} are allowed");
                return Err(Error::invalid("signal.payload_json", text));
            }
            Ok(Target::Named(name, payload))
        }
        Telling::Decision {
            step,
            decision,
            comment,
        } => {
            check_length(
                "decision.comment",
                &comment,
                limits::APPROVAL_TEXT_MAX_CHARS,
            )?;
            Ok(Target::Approval {
                step,
                decision,
                comment,
            })
        }
    }
}
