//! Folding the nodes' records into rows, a batch at a time. Idempotent: the cursor moves in the same transaction.

use std::collections::BTreeSet;

use sea_orm::{
    ActiveModelTrait as _, ActiveValue::Set, EntityTrait as _, QuerySelect as _,
    sea_query::OnConflict,
};
use signalbox_model::{
    error::Error,
    ids::{ExecutionName, NodeId, SubscriptionId, WorkflowName},
    record::{
        Accepted, Certificate, Delivery, RecordBody, SequencedRecord, SubscriptionChange,
        SubscriptionState, Verdict,
    },
};

use super::{
    Tx, entity, internal,
    rows::{Execution, Workflow},
    usage::Weight as _,
};

mod batch;
mod fold;
mod values;

use batch::Histories;
use fold::{At, Claim, History};

pub(in crate::store) use batch::insert_all;
pub use fold::trigger_of;

/// A topic whose subscription to a workflow was confirmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfirmedTopic {
    /// Which workflow.
    pub workflow: WorkflowName,
    /// ARN of the topic.
    pub topic_arn: String,
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

/// The trace id of a W3C traceparent.
pub(super) fn trace_id(traceparent: Option<&str>) -> Option<String> {
    traceparent?.split('-').nth(1).map(str::to_owned)
}

impl Tx {
    /// Folds records of `node`, in their order, into the rows; of inputs and outputs of more than `value_max_bytes` they have
    /// the beginning. Gives the topics whose subscriptions were confirmed.
    ///
    /// # Errors
    /// When the database fails: the whole batch is tried again.
    pub async fn apply_records(
        &mut self,
        node: &NodeId,
        records: &[&SequencedRecord],
        value_max_bytes: usize,
    ) -> Result<Vec<ConfirmedTopic>, Error> {
        let records = &self.of_known_projects(node, records).await?[..];
        let mut histories = self.histories(node, records).await?;
        let mut deliveries = Vec::new();
        let mut confirmed = Vec::new();
        for SequencedRecord { sequence, record } in records {
            let traceparent = record.traceparent.as_deref();
            let at = At {
                sequence: *sequence,
                time_us: record.time.as_microsecond(),
            };
            match &record.body {
                RecordBody::Accepted(accepted) => {
                    if accept(&mut histories, node, accepted, traceparent) == Claim::OwnedByOther {
                        let delivery = accepted_elsewhere(node, accepted)?;
                        deliveries.push(self.delivery(node, &delivery, at.time_us, traceparent));
                    }
                }
                RecordBody::Execution { execution, fact } => match histories.get_mut(execution) {
                    Some(history) if history.goes_on_at(node) => {
                        history.fold(fact, at);
                        history.reported_at(self.now_us());
                    }
                    Some(history) => history.after_end(node, fact),
                    None => {
                        tracing::warn!(%execution, %node, "a fact of an execution that is not known");
                    }
                },
                RecordBody::Delivery(delivery) => {
                    deliveries.push(self.delivery(node, delivery, at.time_us, traceparent));
                }
                RecordBody::Subscription(change) => {
                    confirmed.extend(self.subscription(node, change, at.time_us).await?);
                }
                RecordBody::Certificate(certificate) => self.certificate(certificate).await?,
            }
        }
        self.write_histories(histories, value_max_bytes).await?;
        insert_all::<entity::delivery::Entity>(&self.inner, deliveries).await?;
        Ok(confirmed)
    }

    /// Those that are not of a project that was deleted, and is gone. Until the commit none goes.
    async fn of_known_projects<'r>(
        &self,
        node: &NodeId,
        records: &[&'r SequencedRecord],
    ) -> Result<Vec<&'r SequencedRecord>, Error> {
        let project = |record: &&'r SequencedRecord| batch::project_of(&record.record.body);
        let all: BTreeSet<&str> = records.iter().filter_map(project).collect();
        let known = self.known_projects(&all).await?;
        let is_known =
            |record: &&'r SequencedRecord| project(record).is_none_or(|of| known.contains(of));
        let kept: Vec<_> = records.iter().copied().filter(is_known).collect();
        let dropped = records.len() - kept.len();
        if dropped > 0 {
            tracing::warn!(%node, dropped, "records of projects that are deleted are passed over");
        }
        Ok(kept)
    }

    /// An execution's row, locked until the commit; none when it is not known.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn find_execution(&self, name: &ExecutionName) -> Result<Option<Execution>, Error> {
        entity::execution::Entity::find_by_id((
            name.project.to_string(),
            name.execution.to_string(),
        ))
        .lock_exclusive()
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
        self.grows(&row.project, row.weight());
        let name = format!("projects/{}/executions/{}", row.project, row.id);
        self.insert_row::<entity::execution::Entity>(row, &name)
            .await
    }

    async fn certificate(&self, certificate: &Certificate) -> Result<(), Error> {
        use entity::certificate::{ActiveModel, Column, Entity};
        let row = ActiveModel {
            sha256: Set(certificate.sha256.clone()),
            pem: Set(certificate.pem.clone()),
        };
        // Each node reports it, some at once.
        let known = OnConflict::column(Column::Sha256).do_nothing().to_owned();
        Entity::insert_many([row])
            .on_conflict(known)
            .exec_without_returning(&self.inner)
            .await
            .map_err(|e| internal(&e))?;
        Ok(())
    }

    async fn subscription(
        &self,
        node: &NodeId,
        change: &SubscriptionChange,
        time_us: i64,
    ) -> Result<Option<ConfirmedTopic>, Error> {
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
        let confirmed = ConfirmedTopic {
            workflow: change.workflow.clone(),
            topic_arn: change.topic_arn.clone(),
        };
        Ok((change.state == SubscriptionState::Confirmed).then_some(confirmed))
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

    /// Writes a row that has changed.
    pub(super) async fn write_execution(&mut self, mut row: Execution) -> Result<(), Error> {
        row.history = self.next_history().await?;
        self.update_row::<entity::execution::Entity>(row).await?;
        Ok(())
    }
}

/// Notes that `node` has accepted an event.
fn accept(
    histories: &mut Histories,
    node: &NodeId,
    accepted: &Accepted,
    traceparent: Option<&str>,
) -> Claim {
    match histories.get_mut(&accepted.execution) {
        Some(history) => history.claim(node, accepted, traceparent),
        None => {
            let history = History::accepted(node, accepted, traceparent);
            histories.insert(accepted.execution.clone(), history);
            Claim::Owned
        }
    }
}

fn accepted_elsewhere(node: &NodeId, accepted: &Accepted) -> Result<Delivery, Error> {
    let Accepted {
        execution,
        workflow,
        event,
        ..
    } = accepted;
    tracing::warn!(%execution, %node, "accepted at another node before: its reports of it are ignored");
    Ok(Delivery {
        id: format!("d{}", uuid::Uuid::now_v7().simple())
            .parse()
            .map_err(|_| Error::Internal {
                message: "no delivery id".to_owned(),
            })?,
        workflow: workflow.clone(),
        verdict: Verdict::Duplicate,
        reason: "accepted-at-another-node".to_owned(),
        detail: "another node accepted this message before; this copy's execution is not shown"
            .to_owned(),
        http_status: 200,
        message_type: String::new(),
        message_id: event.scope.message_id.clone(),
        topic_arn: event.scope.topic_arn.clone().unwrap_or_default(),
        source_address: event.source_address.clone().unwrap_or_default(),
        execution: Some(execution.clone()),
    })
}
