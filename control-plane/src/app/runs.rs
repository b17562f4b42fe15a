//! Starting executions without a message: by hand, and as ticks of a schedule.

use signalbox_model::{
    audit::Change,
    error::Error,
    execution::{ExecutionState, JsonText},
    ids::{ExecutionId, ExecutionName, WorkflowName},
    limits,
    violation::Violations,
    workflow::Workflow as Valid,
};

use super::{App, check_request_id, deleted::live_workflow};
use crate::store::{
    Actor, OpenCommand, Tx,
    rows::{Execution, Workflow},
};

const RUN: &str = "RunWorkflow";

/// What RunWorkflow is asked for.
#[derive(Clone, Debug)]
pub struct RunRequest<'a> {
    /// What steps are to read.
    pub input: JsonText,
    /// Empty, or a UUID.
    pub request_id: &'a str,
    /// W3C traceparent of the call.
    pub traceparent: Option<String>,
}

impl App {
    /// Starts an execution of the published version: its row, and a command for a node. `decode` reads its source.
    ///
    /// # Errors
    /// `NotFound`; `Precondition` when nothing is published or the workflow is disabled; `Quota`; `Invalid`.
    pub async fn run_workflow(
        &self,
        actor: &Actor,
        name: &WorkflowName,
        request: RunRequest<'_>,
        decode: impl Fn(&[u8]) -> Result<Valid, Violations>,
    ) -> Result<Execution, Error> {
        let RunRequest {
            input,
            request_id,
            traceparent,
        } = request;
        if input.as_str().len() > limits::RUN_INPUT_MAX_BYTES {
            return Err(Error::invalid(
                "input",
                format!("has more than {} bytes", limits::RUN_INPUT_MAX_BYTES),
            ));
        }
        let request_id = check_request_id(request_id)?;
        let nonce = nonce(request_id);
        let execution = ExecutionName {
            project: name.project.clone(),
            execution: ExecutionId::derive(name, "", "", Some(&nonce)),
        };
        let text = execution.to_string();
        let made = self
            .store
            .write(async |tx| {
                let row = live_workflow(tx, name).await?;
                if let Some(request_id) = request_id
                    && tx.request(&name.project, RUN, request_id).await?.is_some()
                {
                    return Ok(None);
                }
                check_enabled(&row, name)?;
                check_published(&row, name)?;
                let source = tx.workflow_version(name, row.published_version).await?;
                let workflow = decode(&source.source)?;
                let input = match workflow.inputs() {
                    inputs if inputs.is_empty() => input.clone(),
                    inputs => JsonText::from_value(&inputs.accept("input", input.to_value())?),
                };
                self.require_room(tx, &name.project, None).await?;
                let start = Start {
                    workflow: &row,
                    execution: &execution,
                    input: &input,
                    traceparent: traceparent.as_deref(),
                    schedule_time_us: None,
                };
                let inserted = start.insert(tx).await?;
                if let Some(request_id) = request_id {
                    tx.note_request(&name.project, RUN, request_id, &text)
                        .await?;
                }
                let changes = vec![
                    Change::new_field("workflow", name.to_string()),
                    Change::new_field("workflowVersion", row.published_version),
                ];
                tx.audit(actor, RUN, &text, changes);
                Ok(Some(inserted))
            })
            .await?;
        match made {
            Some(row) => Ok(row),
            None => Ok(self.store.execution(&execution).await?.execution),
        }
    }
}

/// What tells one request from another.
pub(super) fn nonce(request_id: Option<&str>) -> String {
    request_id.map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned)
}

/// An execution of the published version of a workflow that is to start.
pub(super) struct Start<'a> {
    pub(super) workflow: &'a Workflow,
    pub(super) execution: &'a ExecutionName,
    pub(super) input: &'a JsonText,
    pub(super) traceparent: Option<&'a str>,
    /// Of a schedule's tick.
    pub(super) schedule_time_us: Option<(i64, &'a str)>,
}

impl Start<'_> {
    /// Writes its row, and the command that starts it.
    pub(super) async fn insert(self, tx: &mut Tx) -> Result<Execution, Error> {
        let Self {
            workflow,
            execution,
            input,
            traceparent,
            schedule_time_us,
        } = self;
        let (trigger_kind, message_id) = match schedule_time_us {
            Some((_, time)) => ("SCHEDULE", time),
            None => ("MANUAL", execution.execution.as_str()),
        };
        let row = Execution {
            workflow: workflow.id.clone(),
            version: workflow.published_version,
            trigger_kind: trigger_kind.to_owned(),
            message_id: message_id.to_owned(),
            ..queued(tx, execution, traceparent)
        };
        let command = OpenCommand {
            id: format!("run-{}", execution.execution),
            input_json: input.as_str().to_owned(),
            schedule_time_us: schedule_time_us.map(|(time_us, _)| time_us),
            ..command(tx, &row, traceparent)
        };
        let inserted = tx.insert_execution(row).await?;
        tx.insert_command(command).await?;
        Ok(inserted)
    }
}

/// The row of an execution that no node has, but for what it is of.
pub(super) fn queued(tx: &Tx, execution: &ExecutionName, traceparent: Option<&str>) -> Execution {
    Execution {
        project: execution.project.to_string(),
        id: execution.execution.to_string(),
        workflow: String::new(),
        version: 0,
        state: ExecutionState::Queued.as_str().to_owned(),
        trigger_kind: String::new(),
        message_id: String::new(),
        topic_arn: None,
        is_unsigned: false,
        api_key: None,
        node: None,
        create_time_us: tx.now_us(),
        start_time_us: None,
        end_time_us: None,
        output_json: None,
        error_code: None,
        error_message: None,
        trace_id: traceparent
            .and_then(|parent| parent.split('-').nth(1))
            .map(str::to_owned),
        history: 0,
        cancel_time_us: None,
        retry_of: None,
        output_truncated_bytes: None,
        has_whole_values: false,
        parent: None,
        parent_step: None,
        is_left_at_node: false,
        late_report_us: None,
    }
}

/// A command about the execution of `row` that no node has, but for what it says.
pub(super) fn command(tx: &Tx, row: &Execution, traceparent: Option<&str>) -> OpenCommand {
    OpenCommand {
        id: String::new(),
        project: row.project.clone(),
        execution: row.id.clone(),
        workflow: row.workflow.clone(),
        version: row.version,
        input_json: String::new(),
        traceparent: traceparent.map(str::to_owned),
        request_time_us: tx.now_us(),
        node: None,
        done: false,
        retry_of: None,
        schedule_time_us: None,
    }
}

pub(super) fn check_published(row: &Workflow, name: &WorkflowName) -> Result<(), Error> {
    if row.published_version == 0 {
        return Err(Error::Precondition {
            subject: name.to_string(),
            reason: "NOT_PUBLISHED",
            message: "the workflow has no published version".to_owned(),
        });
    }
    Ok(())
}

pub(super) fn check_enabled(row: &Workflow, name: &WorkflowName) -> Result<(), Error> {
    if !row.enabled {
        return Err(Error::Precondition {
            subject: name.to_string(),
            reason: "DISABLED",
            message: "the workflow is disabled".to_owned(),
        });
    }
    Ok(())
}
