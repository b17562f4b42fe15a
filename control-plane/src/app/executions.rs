//! Reading the history, and cancelling what has not ended.

use signalbox_model::{
    audit::Change,
    error::Error,
    ids::{ExecutionName, NodeId, ProjectId, SubscriptionName, WorkflowId},
};

use super::App;
use crate::store::{
    Actor, Cancel, CancelPlace, DeliveryFilter, ExecutionDetail, ExecutionFilter, Page, PageOf,
    rows::{Delivery, Event, Execution, Subscription},
};

impl App {
    /// An execution with its steps.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn execution(&self, name: &ExecutionName) -> Result<ExecutionDetail, Error> {
        self.store.execution(name).await
    }

    /// Asks for the end of an execution, or ends it without its node.
    ///
    /// # Errors
    /// `NotFound`; `Precondition` when it has ended, or when its node is connected and it is to end by force.
    pub async fn cancel_execution(
        &self,
        actor: &Actor,
        name: &ExecutionName,
        how: Cancel,
    ) -> Result<ExecutionDetail, Error> {
        self.store
            .write(async |tx| {
                tx.cancel_execution(name, how).await?;
                let changes = match how {
                    Cancel::Ask => Vec::new(),
                    Cancel::Force => vec![Change::new_field("force", true)],
                };
                tx.audit(actor, "CancelExecution", &name.to_string(), changes);
                Ok(())
            })
            .await?;
        self.store.execution(name).await
    }

    /// Notes that a node knows nothing of an execution that it was asked to end.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn unknown_at_node(&self, node: &NodeId, name: &ExecutionName) -> Result<(), Error> {
        let ended = self
            .store
            .write(async |tx| tx.unknown_at_node(node, name).await)
            .await?;
        if ended {
            tracing::warn!(execution = %name, %node, "its node knows nothing of it: what became of it is lost");
            metrics::counter!("signalbox_executions_lost_total").increment(1);
        }
        Ok(())
    }

    /// The executions of a node that it is to cancel, after a place among them, at most `max`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn cancellations_for(
        &self,
        node: &NodeId,
        after: Option<&CancelPlace>,
        max: u64,
    ) -> Result<Vec<Execution>, Error> {
        self.store.cancellations(node, after, max).await
    }

    /// The executions of a project.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn executions(
        &self,
        project: &ProjectId,
        filter: &ExecutionFilter,
        page: &Page,
    ) -> Result<PageOf<Execution>, Error> {
        self.store.executions(project, filter, page).await
    }

    /// An execution's event, and the certificate that verified it.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn event(
        &self,
        name: &ExecutionName,
    ) -> Result<(Execution, Event, Option<String>), Error> {
        self.store.event(name).await
    }

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
        self.store.deliveries(project, workflow, filter, page).await
    }

    /// A subscription.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn subscription(&self, name: &SubscriptionName) -> Result<Subscription, Error> {
        self.store.subscription(name).await
    }

    /// The subscriptions of a workflow, or of all of a project.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn subscriptions(
        &self,
        project: &ProjectId,
        workflow: Option<&WorkflowId>,
        page: &Page,
    ) -> Result<PageOf<Subscription>, Error> {
        self.store.subscriptions(project, workflow, page).await
    }
}
