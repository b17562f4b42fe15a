//! Retrying executions that have ended.

use std::collections::BTreeSet;

use jiff::Timestamp;
use signalbox_model::{
    audit::Change,
    error::Error,
    event::{Event, SignatureProof},
    execution::{Fact, Failure, JsonText, StepState},
    ids::{ExecutionId, ExecutionName, StepId, WorkflowName},
    limits,
    record::Accepted,
    retry::{Kept, StepRecord},
    violation::Violations,
    workflow::Workflow as Valid,
};

use super::{App, check_request_id, deleted::live_workflow, runs};
use crate::store::{
    Actor, ExecutionDetail, OpenCommand, Tx,
    rows::{Execution, StepRun, Workflow},
    trigger_of,
};

const RETRY: &str = "RetryExecution";

/// What RetryExecution is asked for.
#[derive(Clone, Debug)]
pub struct RetryRequest<'a> {
    /// What is done again.
    pub mode: RetryMode,
    /// Which version runs.
    pub version: RetryVersion,
    /// Whether that may be one that is not published yet, and did not run.
    pub may_run_unpublished: bool,
    /// Empty, or a UUID.
    pub request_id: &'a str,
    /// W3C traceparent of the call.
    pub traceparent: Option<String>,
}

/// What of an execution is done again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryMode {
    /// What failed, and what did not run.
    FromFailed,
    /// All of it.
    Whole,
}

/// Which version a retry runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryVersion {
    /// The one that ran.
    Same,
    /// This one.
    Number(i64),
    /// The published one, which is the latest that operators may run.
    Latest,
}

/// What a node needs for a retry.
#[derive(Clone, Debug)]
pub struct RetryOrder {
    /// The execution and its event.
    pub accepted: Accepted,
    /// The encoded spec that it runs.
    pub source: Vec<u8>,
    /// What its journal begins with.
    pub facts: Vec<Fact>,
}

impl App {
    /// Starts an execution for the event of one that has ended. `decode` reads a version's source; `changed` tells which of
    /// these steps the second source has otherwise than the first.
    ///
    /// # Errors
    /// `NotFound`; `Invalid`; `Quota`; `Denied` of a version that the caller may not run; `Precondition` with the reasons that
    /// `RetryExecution` names.
    pub async fn retry_execution(
        &self,
        actor: &Actor,
        name: &ExecutionName,
        request: RetryRequest<'_>,
        decode: impl Fn(&[u8]) -> Result<Valid, Violations>,
        changed: impl Fn(&[u8], &[u8], &BTreeSet<StepId>) -> Result<Vec<StepId>, Violations>,
    ) -> Result<ExecutionDetail, Error> {
        let request_id = check_request_id(request.request_id)?;
        let nonce = runs::nonce(request_id);
        let traceparent = request.traceparent.as_deref();
        let made = self
            .store
            .write(async |tx| {
                let failed = tx.execution(name).await?;
                let workflow = workflow_of(&failed)?;
                let execution = ExecutionName {
                    project: name.project.clone(),
                    execution: ExecutionId::derive(&workflow, "retry", &failed.id, Some(&nonce)),
                };
                let text = execution.to_string();
                if let Some(request_id) = request_id
                    && let Some(before) = tx.request(&name.project, RETRY, request_id).await?
                {
                    if before != text {
                        let problem = "was used for another execution";
                        return Err(Error::invalid("request_id", problem));
                    }
                    return Ok(execution);
                }
                check_ended(&failed, name)?;
                let row = live_workflow(tx, &workflow).await?;
                runs::check_enabled(&row, &workflow)?;
                let version = version_of(&request, &failed, (&workflow, &row), name)?;
                let source = tx.workflow_version(&workflow, version).await?.source;
                let facts = match request.mode {
                    RetryMode::Whole => {
                        decode(&source)?;
                        Vec::new()
                    }
                    RetryMode::FromFailed => {
                        let ran = tx.workflow_version(&workflow, failed.version).await?.source;
                        let kept = kept(tx, name, &failed, &decode(&ran)?).await?;
                        let kept = if ran == source {
                            kept
                        } else {
                            carried(&kept, name, (&ran, &source), &decode, &changed)?
                        };
                        kept.into_facts()
                    }
                };
                self.require_room(tx, &name.project, Some(&failed.id))
                    .await?;
                if !tx.copy_event(name, &execution.execution).await? {
                    return refuse(name, "NO_EVENT", "the execution's event is not kept");
                }
                let row = Execution {
                    workflow: failed.workflow.clone(),
                    version,
                    trigger_kind: failed.trigger_kind.clone(),
                    message_id: failed.message_id.clone(),
                    topic_arn: failed.topic_arn.clone(),
                    is_unsigned: failed.is_unsigned,
                    api_key: failed.api_key.clone(),
                    retry_of: Some(failed.id.clone()),
                    ..runs::queued(tx, &execution, traceparent)
                };
                let command = OpenCommand {
                    id: format!("retry-{}", execution.execution),
                    retry_of: Some(failed.id.clone()),
                    ..runs::command(tx, &row, traceparent)
                };
                tx.insert_execution(row).await?;
                tx.insert_retry(&execution, &facts).await?;
                tx.insert_command(command).await?;
                if let Some(request_id) = request_id {
                    tx.note_request(&name.project, RETRY, request_id, &text)
                        .await?;
                }
                let changes = vec![
                    Change::new_field("retryOf", name.to_string()),
                    Change::new_field("workflowVersion", version),
                ];
                tx.audit(actor, RETRY, &text, changes);
                Ok(execution)
            })
            .await?;
        self.store.execution(&made).await
    }

    /// What a node needs for a retry; none when it is not needed any more: the node has it already.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn retry_order(&self, command: &OpenCommand) -> Result<Option<RetryOrder>, Error> {
        let name: ExecutionName = parse(&format!(
            "projects/{}/executions/{}",
            command.project, command.execution
        ))?;
        let Some(facts) = self.store.retry(&name).await? else {
            return Ok(None);
        };
        let (row, event, _) = self.store.event(&name).await?;
        let workflow = workflow_of(&row)?;
        let version = self.store.workflow_version(&workflow, row.version).await?;
        let api_key = row
            .api_key
            .map(|key| parse(&format!("projects/{}/apiKeys/{key}", row.project)));
        let signature = event.signature_version.map(|version| SignatureProof {
            version: u8::try_from(version).unwrap_or_default(),
            signing_cert_url: event.signing_cert_url.unwrap_or_default(),
            certificate_sha256: event.certificate_sha256.unwrap_or_default(),
        });
        let event = Event {
            trigger: trigger_of(&row.trigger_kind).ok_or_else(|| broken(&name))?,
            api_key: api_key.transpose()?,
            scope: serde_json::from_str(&event.scope_json).map_err(|_| broken(&name))?,
            body: event.body.into(),
            content_type: event.content_type,
            source_address: event.source_address,
            signature,
            received_at: Timestamp::from_microsecond(event.receive_time_us)
                .map_err(|_| broken(&name))?,
        };
        Ok(Some(RetryOrder {
            accepted: Accepted {
                execution: name,
                workflow,
                version: u64::try_from(row.version).unwrap_or_default(),
                event,
                // Nobody waits for it.
                parent: None,
            },
            source: version.source,
            facts,
        }))
    }

    /// The source of the version that a command starts, when it is not the published one any more.
    ///
    /// # Errors
    /// `NotFound` when the workflow was deleted.
    pub async fn superseded_source(&self, command: &OpenCommand) -> Result<Option<Vec<u8>>, Error> {
        let workflow: WorkflowName = parse(&format!(
            "projects/{}/workflows/{}",
            command.project, command.workflow
        ))?;
        if self.store.workflow(&workflow).await?.published_version == command.version {
            return Ok(None);
        }
        let version = self
            .store
            .workflow_version(&workflow, command.version)
            .await?;
        Ok(Some(version.source))
    }
}

fn refuse<T>(
    name: &ExecutionName,
    reason: &'static str,
    message: impl Into<String>,
) -> Result<T, Error> {
    Err(Error::Precondition {
        subject: name.to_string(),
        reason,
        message: message.into(),
    })
}

fn broken(name: &ExecutionName) -> Error {
    Error::Internal {
        message: format!("the stored event of {name} cannot be read"),
    }
}

fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, Error> {
    text.parse().map_err(|error: T::Err| Error::Internal {
        message: format!("a stored name cannot be read: {error}"),
    })
}

fn workflow_of(row: &Execution) -> Result<WorkflowName, Error> {
    parse(&format!(
        "projects/{}/workflows/{}",
        row.project, row.workflow
    ))
}

fn check_ended(row: &Execution, name: &ExecutionName) -> Result<(), Error> {
    if row.end_time_us.is_none() {
        let message = format!(
            "the execution is {}: only one that has ended can be retried; cancel it first",
            row.state
        );
        return refuse(name, "EXECUTION_RUNNING", message);
    }
    Ok(())
}

/// The number of the version that is to run.
fn version_of(
    request: &RetryRequest<'_>,
    failed: &Execution,
    (workflow, row): (&WorkflowName, &Workflow),
    name: &ExecutionName,
) -> Result<i64, Error> {
    let version = match request.version {
        RetryVersion::Same => failed.version,
        RetryVersion::Number(version) if version < 1 => {
            return Err(Error::invalid("workflow_version", "must be positive"));
        }
        RetryVersion::Number(version) => version,
        RetryVersion::Latest => {
            runs::check_published(row, workflow)?;
            row.published_version
        }
    };
    // A workflow that was made anew counts its versions anew.
    let is_another = row.create_time_us > failed.create_time_us;
    if is_another && (request.mode, request.version) != (RetryMode::Whole, RetryVersion::Latest) {
        return refuse(
            name,
            "VERSION_GONE",
            "the workflow was deleted and made anew since, so that the version that ran is gone; retry the execution whole, \
             with the latest version",
        );
    }
    // Whoever may not publish a version does not run it for the first time either.
    let is_new = version > row.published_version && version != failed.version;
    if is_new && !request.may_run_unpublished {
        return Err(Error::Denied {
            reason: "ROLE_TOO_LOW",
            message: format!(
                "version {version} of {workflow} is not published: running it needs role editor or higher in projects/{}",
                name.project
            ),
        });
    }
    Ok(version)
}

/// What is kept of an execution that ran `workflow`.
async fn kept(
    tx: &mut Tx,
    name: &ExecutionName,
    failed: &Execution,
    workflow: &Valid,
) -> Result<Kept, Error> {
    if failed.state == "SUCCEEDED" {
        return refuse(
            name,
            "NOTHING_FAILED",
            "the execution has succeeded; it can be retried whole",
        );
    }
    let rows = tx.step_runs(name).await?;
    let records = rows.into_iter().map(record).collect::<Option<Vec<_>>>();
    let records = records.ok_or_else(|| Error::Internal {
        message: format!("the stored steps of {name} cannot be read"),
    })?;
    let kept = Kept::of(workflow, &records);
    if kept.size_bytes() > limits::RETRY_KEPT_MAX_BYTES {
        let message = format!(
            "the results that would be kept have {} bytes; at most {} can be kept. It can be retried whole",
            kept.size_bytes(),
            limits::RETRY_KEPT_MAX_BYTES
        );
        return refuse(name, "TOO_LARGE", message);
    }
    Ok(kept)
}

/// The same for the version that is to run.
fn carried(
    kept: &Kept,
    name: &ExecutionName,
    (ran, source): (&[u8], &[u8]),
    decode: impl Fn(&[u8]) -> Result<Valid, Violations>,
    changed: impl Fn(&[u8], &[u8], &BTreeSet<StepId>) -> Result<Vec<StepId>, Violations>,
) -> Result<Kept, Error> {
    let steps = kept.steps().map(|run| run.step.clone()).collect();
    let changed = changed(ran, source, &steps)?;
    if !changed.is_empty() {
        let all: Vec<_> = changed.iter().map(StepId::as_str).collect();
        let message = format!(
            "the results of steps are to be kept that the version does not have, or has otherwise: {}. It can be retried \
             whole",
            all.join(", ")
        );
        return refuse(name, "STEPS_CHANGED", message);
    }
    kept.carried_to(&decode(source)?).or_else(|error| {
        refuse(
            name,
            "STEPS_CHANGED",
            format!("{error}. It can be retried whole"),
        )
    })
}

/// What a row says of a step's run; none when it says nothing.
fn record(row: StepRun) -> Option<StepRecord> {
    let text = |text: String| JsonText::try_from(text).ok();
    let input = if row.input_json.is_empty() {
        "null".to_owned()
    } else {
        row.input_json
    };
    Some(StepRecord {
        step: row.step.parse().ok()?,
        kind: row.kind,
        state: StepState::from_text(&row.state)?,
        input: text(input)?,
        output: match row.output_json {
            Some(output) => Some(text(output)?),
            None => None,
        },
        error: row
            .error_code
            .map(|code| Failure::new(code, row.error_message.unwrap_or_default())),
    })
}
