//! Folding the nodes' records into rows. Idempotent: the cursor moves in the same transaction.

use sea_orm::{
    ActiveModelTrait as _, ActiveValue::Set, ColumnTrait as _, EntityTrait as _,
    IntoActiveModel as _, QueryFilter as _, sea_query::Expr,
};
use signalbox_model::{
    error::Error,
    execution::{ExecutionState, Fact, Failure, StepState},
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

/// States as they are stored.
pub(crate) fn state_text(state: ExecutionState) -> &'static str {
    match state {
        ExecutionState::Queued => "QUEUED",
        ExecutionState::Running => "RUNNING",
        ExecutionState::Waiting => "WAITING",
        ExecutionState::Succeeded => "SUCCEEDED",
        ExecutionState::Failed => "FAILED",
        ExecutionState::Cancelled => "CANCELLED",
        ExecutionState::TimedOut => "TIMED_OUT",
    }
}

fn step_text(state: StepState) -> &'static str {
    match state {
        StepState::Running => "RUNNING",
        StepState::Waiting => "WAITING",
        StepState::Succeeded => "SUCCEEDED",
        StepState::Failed => "FAILED",
        StepState::Skipped => "SKIPPED",
    }
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

fn trigger_text(trigger: signalbox_model::event::TriggerKind) -> &'static str {
    use signalbox_model::event::TriggerKind;
    match trigger {
        TriggerKind::AmazonSns => "AMAZON_SNS",
        TriggerKind::Webhook => "WEBHOOK",
        TriggerKind::Manual => "MANUAL",
    }
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
                self.fact(node, execution, fact, time_us).await
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

    async fn find_execution(&self, name: &ExecutionName) -> Result<Option<Execution>, Error> {
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
            state: state_text(ExecutionState::Queued).to_owned(),
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
        };
        let active = row.into_active_model().reset_all();
        let written = if existing.is_some() {
            active.update(&self.inner).await
        } else {
            active.insert(&self.inner).await
        };
        written.map_err(|e| internal(&e))?;
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
        time_us: i64,
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
                let insert = NewStep {
                    step: step.as_str(),
                    kind,
                    state: StepState::Running,
                    input_json: input.as_str(),
                    end_time_us: None,
                };
                self.insert_step(name, insert, time_us).await?;
            }
            Fact::AttemptStarted {
                step,
                number,
                repeated,
            } => {
                self.attempt_started(name, step.as_str(), *number, *repeated, time_us)
                    .await?;
                if row.state != state_text(ExecutionState::Running) {
                    self.update_execution(row, ExecutionState::Running, |_| {})
                        .await?;
                }
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
                    step.as_str(),
                    Some(*number),
                    Some(error),
                    time_us,
                    retry_us,
                )
                .await?;
                self.step_state(name, step.as_str(), StepState::Waiting)
                    .await?;
                self.update_execution(row, ExecutionState::Waiting, |_| {})
                    .await?;
            }
            Fact::StepFinished {
                step,
                state,
                output,
                error,
            } => {
                self.attempt_ended(name, step.as_str(), None, error.as_ref(), time_us, None)
                    .await?;
                let output = output.as_ref().map(|text| text.as_str());
                self.step_finished(name, step.as_str(), *state, output, error.as_ref(), time_us)
                    .await?;
            }
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

    async fn update_execution(
        &mut self,
        mut row: Execution,
        state: ExecutionState,
        change: impl FnOnce(&mut Execution),
    ) -> Result<(), Error> {
        change(&mut row);
        state_text(state).clone_into(&mut row.state);
        row.history = self.next_history().await?;
        row.into_active_model()
            .reset_all()
            .update(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        Ok(())
    }

    async fn insert_step(
        &self,
        name: &ExecutionName,
        step: NewStep<'_>,
        time_us: i64,
    ) -> Result<(), Error> {
        use entity::step_run::{ActiveModel, Column, Entity};
        use sea_orm::PaginatorTrait as _;
        let position = Entity::find()
            .filter(Column::Project.eq(name.project.as_str()))
            .filter(Column::Execution.eq(name.execution.as_str()))
            .count(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        let row = ActiveModel {
            project: Set(name.project.to_string()),
            execution: Set(name.execution.to_string()),
            step: Set(step.step.to_owned()),
            position: Set(i64::try_from(position).unwrap_or(i64::MAX)),
            kind: Set(step.kind.to_owned()),
            state: Set(step_text(step.state).to_owned()),
            input_json: Set(step.input_json.to_owned()),
            output_json: Set(None),
            error_code: Set(None),
            error_message: Set(None),
            start_time_us: Set(time_us),
            end_time_us: Set(step.end_time_us),
        };
        row.insert(&self.inner).await.map_err(|e| internal(&e))?;
        Ok(())
    }

    async fn step_state(
        &self,
        name: &ExecutionName,
        step: &str,
        state: StepState,
    ) -> Result<(), Error> {
        use entity::step_run::{Column, Entity};
        Entity::update_many()
            .col_expr(Column::State, Expr::value(step_text(state)))
            .filter(Column::Project.eq(name.project.as_str()))
            .filter(Column::Execution.eq(name.execution.as_str()))
            .filter(Column::Step.eq(step))
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        Ok(())
    }

    async fn step_finished(
        &self,
        name: &ExecutionName,
        step: &str,
        state: StepState,
        output: Option<&str>,
        error: Option<&Failure>,
        time_us: i64,
    ) -> Result<(), Error> {
        use entity::step_run::{Column, Entity};
        let updated = Entity::update_many()
            .col_expr(Column::State, Expr::value(step_text(state)))
            .col_expr(Column::OutputJson, Expr::value(output.map(str::to_owned)))
            .col_expr(
                Column::ErrorCode,
                Expr::value(error.map(|error| error.code.clone())),
            )
            .col_expr(
                Column::ErrorMessage,
                Expr::value(error.map(|error| error.message.clone())),
            )
            .col_expr(Column::EndTimeUs, Expr::value(time_us))
            .filter(Column::Project.eq(name.project.as_str()))
            .filter(Column::Execution.eq(name.execution.as_str()))
            .filter(Column::Step.eq(step))
            .exec(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        if updated.rows_affected == 0 {
            // A skipped step never started.
            let skipped = NewStep {
                step,
                kind: "",
                state,
                input_json: "",
                end_time_us: Some(time_us),
            };
            self.insert_step(name, skipped, time_us).await?;
        }
        Ok(())
    }

    async fn attempt_started(
        &self,
        name: &ExecutionName,
        step: &str,
        number: u32,
        repeated: bool,
        time_us: i64,
    ) -> Result<(), Error> {
        use entity::attempt::{ActiveModel, Column, Entity};
        if repeated {
            Entity::update_many()
                .col_expr(Column::Repeated, Expr::value(true))
                .filter(Column::Project.eq(name.project.as_str()))
                .filter(Column::Execution.eq(name.execution.as_str()))
                .filter(Column::Step.eq(step))
                .filter(Column::Number.eq(i64::from(number)))
                .exec(&self.inner)
                .await
                .map_err(|e| internal(&e))?;
        } else {
            let row = ActiveModel {
                project: Set(name.project.to_string()),
                execution: Set(name.execution.to_string()),
                step: Set(step.to_owned()),
                number: Set(i64::from(number)),
                start_time_us: Set(time_us),
                end_time_us: Set(None),
                error_code: Set(None),
                error_message: Set(None),
                repeated: Set(false),
                retry_time_us: Set(None),
            };
            row.insert(&self.inner).await.map_err(|e| internal(&e))?;
        }
        self.step_state(name, step, StepState::Running).await
    }

    /// Ends the attempt `number`, or whichever is open.
    async fn attempt_ended(
        &self,
        name: &ExecutionName,
        step: &str,
        number: Option<u32>,
        error: Option<&Failure>,
        time_us: i64,
        retry_us: Option<i64>,
    ) -> Result<(), Error> {
        use entity::attempt::{Column, Entity};
        let mut update = Entity::update_many()
            .col_expr(Column::EndTimeUs, Expr::value(time_us))
            .col_expr(
                Column::ErrorCode,
                Expr::value(error.map(|error| error.code.clone())),
            )
            .col_expr(
                Column::ErrorMessage,
                Expr::value(error.map(|error| error.message.clone())),
            )
            .col_expr(Column::RetryTimeUs, Expr::value(retry_us))
            .filter(Column::Project.eq(name.project.as_str()))
            .filter(Column::Execution.eq(name.execution.as_str()))
            .filter(Column::Step.eq(step));
        update = match number {
            Some(number) => update.filter(Column::Number.eq(i64::from(number))),
            None => update.filter(Column::EndTimeUs.is_null()),
        };
        update.exec(&self.inner).await.map_err(|e| internal(&e))?;
        Ok(())
    }
}

struct NewStep<'a> {
    step: &'a str,
    kind: &'a str,
    state: StepState,
    input_json: &'a str,
    end_time_us: Option<i64>,
}
