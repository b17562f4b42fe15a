//! Deliveries: what became of each inbound message. Of those that were not accepted, the newest are kept.

use sea_orm::{
    ColumnTrait as _, Condition, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, sea_query::Expr,
};
use signalbox_model::{
    error::Error,
    ids::{NodeId, ProjectId, WorkflowId},
    record::{Delivery as Reported, Verdict},
};

use super::{
    Page, PageOf, Store, Times, Tx, entity, internal,
    page::keyset,
    records::{trace_id, verdict_text},
    rows::Delivery,
};

/// Which rows the partial indices hold.
const NOT_ACCEPTED: &str = "verdict <> 'ACCEPTED'";

/// Which deliveries. Every field that is set must match.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeliveryFilter {
    /// Verdict, as it is stored.
    pub verdict: Option<String>,
    /// Reason.
    pub reason: Option<String>,
    /// Message.
    pub message_id: Option<String>,
    /// Topic.
    pub topic_arn: Option<String>,
    /// When it came.
    pub received: Times,
}

impl Store {
    /// The deliveries of a workflow, or of all of a project.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn deliveries(
        &self,
        project: &ProjectId,
        workflow: Option<&WorkflowId>,
        filter: &DeliveryFilter,
        page: &Page,
    ) -> Result<PageOf<Delivery>, Error> {
        use entity::delivery::{Column, Entity};
        let DeliveryFilter {
            verdict,
            reason,
            message_id,
            topic_arn,
            received,
        } = filter;
        let mut condition = Condition::all()
            .add(Column::Project.eq(project.as_str()))
            .add(received.condition(Column::ReceiveTimeUs))
            .add_option(workflow.map(|workflow| Column::Workflow.eq(workflow.as_str())));
        for (column, value) in [
            (Column::Verdict, verdict),
            (Column::Reason, reason),
            (Column::MessageId, message_id),
            (Column::TopicArn, topic_arn),
        ] {
            condition = condition.add_option(value.as_ref().map(|value| column.eq(value.as_str())));
        }
        // Said as the partial indices say it, for their sake.
        if verdict
            .as_ref()
            .is_some_and(|verdict| verdict != verdict_text(Verdict::Accepted))
        {
            condition = condition.add(Expr::cust(NOT_ACCEPTED));
        }
        let query = Entity::find().filter(condition);
        let query = |page: &Page| keyset!(query.clone(), page, Column::ReceiveTimeUs, Column::Id);
        page.read(&self.db, query).await
    }
}

impl Tx {
    /// The row of a delivery.
    pub(super) fn delivery(
        &mut self,
        node: &NodeId,
        delivery: &Reported,
        time_us: i64,
        traceparent: Option<&str>,
    ) -> Delivery {
        if delivery.verdict != Verdict::Accepted {
            self.grown
                .insert((delivery.workflow.clone(), verdict_text(delivery.verdict)));
        }
        Delivery {
            project: delivery.workflow.project.to_string(),
            workflow: delivery.workflow.workflow.to_string(),
            id: delivery.id.to_string(),
            verdict: verdict_text(delivery.verdict).to_owned(),
            reason: delivery.reason.clone(),
            detail: delivery.detail.clone(),
            http_status: i64::from(delivery.http_status),
            message_type: delivery.message_type.clone(),
            message_id: delivery.message_id.clone(),
            topic_arn: delivery.topic_arn.clone(),
            receive_time_us: time_us,
            source_address: delivery.source_address.clone(),
            execution: delivery
                .execution
                .as_ref()
                .map(|name| name.execution.to_string()),
            node: node.to_string(),
            trace_id: trace_id(traceparent),
        }
    }

    /// Keeps the newest `max` of each verdict but ACCEPTED, of the workflows that this transaction wrote such ones of
    /// (invariant I9): refusals and copies are for strangers to send.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn trim_deliveries(&mut self, max: u64) -> Result<(), Error> {
        use entity::delivery::{Column, Entity};
        for (workflow, verdict) in std::mem::take(&mut self.grown) {
            let of_them = Condition::all()
                .add(Column::Project.eq(workflow.project.as_str()))
                .add(Column::Workflow.eq(workflow.workflow.as_str()))
                .add(Column::Verdict.eq(verdict))
                .add(Expr::cust(NOT_ACCEPTED));
            let first_too_many = Entity::find()
                .filter(of_them.clone())
                .order_by_desc(Column::ReceiveTimeUs)
                .order_by_desc(Column::Id)
                .offset(max)
                .limit(1)
                .one(&self.inner)
                .await
                .map_err(|e| internal(&e))?;
            let Some(row) = first_too_many else { continue };
            let as_old = Condition::any()
                .add(Column::ReceiveTimeUs.lt(row.receive_time_us))
                .add(
                    Condition::all()
                        .add(Column::ReceiveTimeUs.eq(row.receive_time_us))
                        .add(Column::Id.lte(row.id)),
                );
            Entity::delete_many()
                .filter(of_them.add(as_old))
                .exec(&self.inner)
                .await
                .map_err(|e| internal(&e))?;
        }
        Ok(())
    }
}
