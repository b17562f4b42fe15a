//! Folding the nodes' records into rows. Idempotent: the cursor moves in the same transaction.

use sea_orm::{
    ActiveModelTrait as _, ActiveValue::Set, ColumnTrait as _, EntityTrait as _,
    IntoActiveModel as _, QueryFilter as _,
};
use signalbox_model::{
    error::Error,
    event::TriggerKind,
    execution::{ExecutionState, Fact, StepState},
    ids::{ExecutionName, NodeId, SubscriptionId, WorkflowName},
    record::{
        Accepted, Certificate, Delivery, Record, RecordBody, SequencedRecord, SubscriptionChange,
        SubscriptionState, Verdict,
    },
};

use super::{
    Tx, entity, internal,
    rows::{Execution, Workflow},
};

mod steps;

use steps::{NewStep, StepEnd};

/// What applying a record changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Applied {
    /// Rows.
    Written,
    /// Nothing: another node owns the execution, or it is not known.
    Ignored,
    /// A topic became a workflow's first confirmed one.
    ConfirmedTopic(WorkflowName, String),
}

pub(super) fn verdict_text(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Accepted => "ACCEPTED",
        Verdict::Duplicate => "DUPLICATE",
        Verdict::Filtered => "FILTERED",
        Verdict::Rejected => "REJECTED",
    }
}

fn subscription_text(state: SubscriptionState) -> &'static str {
    match state {
        SubscriptionState::Pending => "PENDING",
        SubscriptionState::Confirmed => "CONFIRMED",
        SubscriptionState::Unsubscribed => "UNSUBSCRIBED",
        SubscriptionState::Failed => "FAILED",
    }
}

fn trigger_text(trigger: TriggerKind) -> &'static str {
    match trigger {
        TriggerKind::AmazonSns => "AMAZON_SNS",
        TriggerKind::Webhook => "WEBHOOK",
        TriggerKind::Manual => "MANUAL",
        TriggerKind::Schedule => "SCHEDULE",
    }
}

/// The kind of trigger that a row names.
#[must_use]
pub fn trigger_of(text: &str) -> Option<TriggerKind> {
    [
        TriggerKind::AmazonSns,
        TriggerKind::Webhook,
        TriggerKind::Manual,
        TriggerKind::Schedule,
    ]
    .into_iter()
    .find(|kind| trigger_text(*kind) == text)
}

/// The trace id of a W3C traceparent.
pub(super) fn trace_id(traceparent: Option<&str>) -> Option<String> {
    traceparent?.split('-').nth(1).map(str::to_owned)
}

impl Tx {
    /// Folds one record of `node` into the rows.
    ///
    /// # Errors
    /// When the database fails: the whole batch is tried again.
    pub async fn apply_record(
        &mut self,
        node: &NodeId,
        record: &SequencedRecord,
    ) -> Result<Applied, Error> {
        let Record {
            time,
            traceparent,
            body,
        } = &record.record;
        let time_us = time.as_microsecond();
        match body {
            RecordBody::Accepted(accepted) => {
                self.accepted(node, accepted, time_us, traceparent.as_deref())
                    .await
            }
            RecordBody::Execution { execution, fact } => {
                let at = (record.sequence, time_us);
                self.fact(node, execution, fact, at).await
            }
            RecordBody::Delivery(delivery) => {
                self.delivery(node, delivery, time_us, traceparent.as_deref())
                    .await?;
                Ok(Applied::Written)
            }
            RecordBody::Subscription(change) => self.subscription(node, change, time_us).await,
            RecordBody::Certificate(certificate) => self.certificate(certificate).await,
        }
    }

    /// An execution, if it is known.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find_execution(
        &self,
        name: &ExecutionName,
    ) -> Result<Option<Execution>, Error> {
        entity::execution::Entity::find_by_id((
            name.project.to_string(),
            name.execution.to_string(),
        ))
        .one(&self.inner)
        .await
        .map_err(|e| internal(&e))
    }

    /// Writes the row of an execution that no node has yet.
    ///
    /// # Errors
    /// `AlreadyExists`.
    pub async fn insert_execution(&mut self, mut row: Execution) -> Result<Execution, Error> {
        row.history = self.next_history().await?;
        let name = format!("projects/{}/executions/{}", row.project, row.id);
        row.into_active_model()
            .reset_all()
            .insert(&self.inner)
            .await
            .map_err(|e| super::inserting(&e, &name))
    }

    async fn accepted(
        &mut self,
        node: &NodeId,
        accepted: &Accepted,
        time_us: i64,
        traceparent: Option<&str>,
    ) -> Result<Applied, Error> {
        let Accepted {
            execution,
            workflow,
            version,
            event,
        } = accepted;
        let existing = self.find_execution(execution).await?;
        let owned_by_other = existing
            .as_ref()
            .and_then(|row| row.node.as_deref())
            .is_some_and(|owner| owner != node.as_str());
        if owned_by_other {
            tracing::warn!(%execution, %node, "accepted at another node before: its reports of it are ignored");
            self.accepted_elsewhere(node, accepted, time_us, traceparent)
                .await?;
            return Ok(Applied::Ignored);
        }
        if let Some(row) = existing.clone().filter(|row| row.node.is_some()) {
            return self.accepted_again(execution, row).await;
        }
        let history = self.next_history().await?;
        let row = Execution {
            project: execution.project.to_string(),
            id: execution.execution.to_string(),
            workflow: workflow.workflow.to_string(),
            version: i64::try_from(*version).unwrap_or(i64::MAX),
            state: ExecutionState::Queued.as_str().to_owned(),
            trigger_kind: trigger_text(event.trigger).to_owned(),
            message_id: event.scope.message_id.clone(),
            topic_arn: event.scope.topic_arn.clone(),
            is_unsigned: event.signature.is_none() && event.scope.topic_arn.is_some(),
            api_key: event.api_key.as_ref().map(|key| key.api_key.to_string()),
            node: Some(node.to_string()),
            create_time_us: existing
                .as_ref()
                .map_or(event.received_at.as_microsecond(), |row| row.create_time_us),
            start_time_us: None,
            end_time_us: None,
            output_json: None,
            error_code: None,
            error_message: None,
            trace_id: trace_id(traceparent),
            history,
            cancel_time_us: existing.as_ref().and_then(|row| row.cancel_time_us),
            retry_of: existing.as_ref().and_then(|row| row.retry_of.clone()),
        };
        let is_retry = row.retry_of.is_some();
        let active = row.into_active_model().reset_all();
        let written = if existing.is_some() {
            active.update(&self.inner).await
        } else {
            active.insert(&self.inner).await
        };
        written.map_err(|e| internal(&e))?;
        if is_retry {
            // Its event came with the request; what it begins with is the node's from here on.
            self.delete_retry(execution).await?;
            return Ok(Applied::Written);
        }
        let signature = event.signature.as_ref();
        let event = entity::event::ActiveModel {
            project: Set(execution.project.to_string()),
            execution: Set(execution.execution.to_string()),
            body: Set(event.body.to_vec()),
            content_type: Set(event.content_type.clone()),
            source_address: Set(event.source_address.clone()),
            receive_time_us: Set(event.received_at.as_microsecond()),
            scope_json: Set(serde_json::to_string(&event.scope).unwrap_or_default()),
            signature_version: Set(signature.map(|proof| i64::from(proof.version))),
            signing_cert_url: Set(signature.map(|proof| proof.signing_cert_url.clone())),
            certificate_sha256: Set(signature.map(|proof| proof.certificate_sha256.clone())),
        };
        event.insert(&self.inner).await.map_err(|e| internal(&e))?;
        Ok(Applied::Written)
    }

    /// The same node again: its memory of copies was shorter than ours, or its store was lost. What has ended stays as it is;
    /// the rest begins anew there, by the same id and with the same Idempotency-Keys.
    async fn accepted_again(
        &mut self,
        name: &ExecutionName,
        row: Execution,
    ) -> Result<Applied, Error> {
        use entity::{attempt, step_run};
        if row.end_time_us.is_some() {
            return Ok(Applied::Ignored);
        }
        attempt::Entity::delete_many()
            .filter(attempt::Column::Project.eq(name.project.as_str()))
            .filter(attempt::Column::Execution.eq(name.execution.as_str()))
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        step_run::Entity::delete_many()
            .filter(step_run::Column::Project.eq(name.project.as_str()))
            .filter(step_run::Column::Execution.eq(name.execution.as_str()))
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        let queued = |row: &mut Execution| row.start_time_us = None;
        self.update_execution(row, ExecutionState::Queued, queued)
            .await?;
        Ok(Applied::Written)
    }

    async fn accepted_elsewhere(
        &mut self,
        node: &NodeId,
        accepted: &Accepted,
        time_us: i64,
        traceparent: Option<&str>,
    ) -> Result<(), Error> {
        let delivery = Delivery {
            id: format!("d{}", uuid::Uuid::now_v7().simple())
                .parse()
                .map_err(|_| Error::Internal {
                    message: "no delivery id".to_owned(),
                })?,
            workflow: accepted.workflow.clone(),
            verdict: Verdict::Duplicate,
            reason: "accepted-at-another-node".to_owned(),
            detail: "another node accepted this message before; this copy's execution is not shown"
                .to_owned(),
            http_status: 200,
            message_type: String::new(),
            message_id: accepted.event.scope.message_id.clone(),
            topic_arn: accepted.event.scope.topic_arn.clone().unwrap_or_default(),
            source_address: accepted.event.source_address.clone().unwrap_or_default(),
            execution: Some(accepted.execution.clone()),
        };
        self.delivery(node, &delivery, time_us, traceparent).await
    }

    async fn certificate(&self, certificate: &Certificate) -> Result<Applied, Error> {
        use entity::certificate::{ActiveModel, Entity};
        let known = Entity::find_by_id(certificate.sha256.clone())
            .one(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        if known.is_some() {
            return Ok(Applied::Ignored);
        }
        let row = ActiveModel {
            sha256: Set(certificate.sha256.clone()),
            pem: Set(certificate.pem.clone()),
        };
        row.insert(&self.inner).await.map_err(|e| internal(&e))?;
        Ok(Applied::Written)
    }

    async fn subscription(
        &self,
        node: &NodeId,
        change: &SubscriptionChange,
        time_us: i64,
    ) -> Result<Applied, Error> {
        use entity::subscription::{ActiveModel, Entity};
        let id = SubscriptionId::derive(&change.workflow, &change.topic_arn);
        let key = (
            change.workflow.project.to_string(),
            change.workflow.workflow.to_string(),
            id.to_string(),
        );
        let existing = Entity::find_by_id(key.clone())
            .one(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        let subscription_arn = change.subscription_arn.clone().or_else(|| {
            existing
                .as_ref()
                .and_then(|row| row.subscription_arn.clone())
        });
        let row = ActiveModel {
            project: Set(key.0),
            workflow: Set(key.1),
            id: Set(key.2),
            topic_arn: Set(change.topic_arn.clone()),
            subscription_arn: Set(subscription_arn),
            state: Set(subscription_text(change.state).to_owned()),
            confirm_attempts: Set(i64::from(change.confirm_attempts)),
            last_error: Set(change.last_error.clone()),
            create_time_us: Set(existing.as_ref().map_or(time_us, |row| row.create_time_us)),
            update_time_us: Set(time_us),
            node: Set(node.to_string()),
        };
        let written = if existing.is_some() {
            row.update(&self.inner).await
        } else {
            row.insert(&self.inner).await
        };
        written.map_err(|e| internal(&e))?;
        Ok(match change.state {
            SubscriptionState::Confirmed => {
                Applied::ConfirmedTopic(change.workflow.clone(), change.topic_arn.clone())
            }
            _ => Applied::Written,
        })
    }

    /// Binds a topic to a workflow that has none.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn bind_topic(&mut self, row: Workflow, topic: &str) -> Result<(), Error> {
        let bound = Workflow {
            bound_topic: Some(topic.to_owned()),
            update_time_us: self.now_us(),
            ..row
        };
        self.update_workflow(bound).await?;
        Ok(())
    }

    async fn fact(
        &mut self,
        node: &NodeId,
        name: &ExecutionName,
        fact: &Fact,
        (sequence, time_us): (u64, i64),
    ) -> Result<Applied, Error> {
        let Some(row) = self.find_execution(name).await? else {
            tracing::warn!(execution = %name, %node, "a fact of an execution that is not known");
            return Ok(Applied::Ignored);
        };
        // Its node may begin anew what has ended here ([`Tx::accepted_again`]).
        if row.node.as_deref() != Some(node.as_str()) || row.end_time_us.is_some() {
            return Ok(Applied::Ignored);
        }
        match fact {
            Fact::Started => {
                let started = |row: &mut Execution| row.start_time_us = Some(time_us);
                self.update_execution(row, ExecutionState::Running, started)
                    .await?;
            }
            Fact::StepStarted { step, kind, input } => {
                // A wait that came to wait says until when.
                let waits = kind == "wait" && input.as_str() != "null";
                let insert = NewStep {
                    step: &step.to_string(),
                    sequence,
                    kind,
                    state: if waits {
                        StepState::Waiting
                    } else {
                        StepState::Running
                    },
                    input_json: input.as_str(),
                    end_time_us: None,
                    is_kept: false,
                };
                self.insert_step(name, insert, time_us).await?;
                if !waits && steps::runs_itself(kind) {
                    self.show_running(row).await?;
                } else {
                    self.show_activity(name, row).await?;
                }
            }
            Fact::AttemptStarted {
                step,
                number,
                repeated,
            } => {
                self.attempt_started(name, &step.to_string(), *number, *repeated, time_us)
                    .await?;
                self.show_running(row).await?;
            }
            Fact::AttemptFailed {
                step,
                number,
                error,
                retry_at,
            } => {
                let retry_us = Some(retry_at.as_microsecond());
                self.attempt_ended(
                    name,
                    &step.to_string(),
                    Some(*number),
                    Some(error),
                    time_us,
                    retry_us,
                )
                .await?;
                self.step_state(name, &step.to_string(), StepState::Waiting)
                    .await?;
                self.show_activity(name, row).await?;
            }
            Fact::StepFinished {
                step,
                state,
                output,
                error,
            } => {
                let step = step.to_string();
                self.attempt_ended(name, &step, None, error.as_ref(), time_us, None)
                    .await?;
                let output = output.as_ref().map(|text| text.as_str());
                let end = StepEnd {
                    state: *state,
                    output,
                    error: error.as_ref(),
                };
                self.step_finished(name, &step, end, (sequence, time_us))
                    .await?;
                self.show_activity(name, row).await?;
            }
            Fact::StepKept {
                step,
                kind,
                input,
                state,
                output,
                error,
            } => {
                let step = step.to_string();
                let insert = NewStep {
                    step: &step,
                    sequence,
                    kind,
                    state: *state,
                    input_json: input.as_str(),
                    end_time_us: Some(time_us),
                    is_kept: true,
                };
                self.insert_step(name, insert, time_us).await?;
                let end = StepEnd {
                    state: *state,
                    output: output.as_ref().map(|text| text.as_str()),
                    error: error.as_ref(),
                };
                self.step_finished(name, &step, end, (sequence, time_us))
                    .await?;
            }
            // They are shown when it has ended.
            Fact::Cancelling | Fact::Ending { .. } => {}
            Fact::Finished {
                state,
                output,
                error,
            } => {
                let ended = |row: &mut Execution| {
                    row.end_time_us = Some(time_us);
                    row.output_json = output.as_ref().map(|text| text.as_str().to_owned());
                    row.error_code = error.as_ref().map(|error| error.code.clone());
                    row.error_message = error.as_ref().map(|error| error.message.clone());
                };
                self.update_execution(row, *state, ended).await?;
            }
        }
        Ok(Applied::Written)
    }

    pub(super) async fn update_execution(
        &mut self,
        mut row: Execution,
        state: ExecutionState,
        change: impl FnOnce(&mut Execution),
    ) -> Result<(), Error> {
        change(&mut row);
        state.as_str().clone_into(&mut row.state);
        self.write_execution(row).await
    }

    /// Writes a row that has changed.
    pub(super) async fn write_execution(&mut self, mut row: Execution) -> Result<(), Error> {
        row.history = self.next_history().await?;
        row.into_active_model()
            .reset_all()
            .update(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        Ok(())
    }
}
