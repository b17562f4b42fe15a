//! Reading the history, and cancelling what has not ended.

use signalbox_model::{
    error::Error,
    ids::{ExecutionName, NodeId, ProjectId, SubscriptionName, WorkflowId},
};

use super::App;
use crate::store::{
    Actor, DeliveryFilter, ExecutionDetail, ExecutionFilter, Page, PageOf,
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

    /// Asks for the end of an execution.
    ///
    /// # Errors
    /// `NotFound`; `Precondition` when it has ended.
    pub async fn cancel_execution(
        &self,
        actor: &Actor,
        name: &ExecutionName,
    ) -> Result<ExecutionDetail, Error> {
        self.store
            .write(async |tx| {
                tx.cancel_execution(name).await?;
                tx.audit(actor, "CancelExecution", &name.to_string(), Vec::new());
                Ok(())
            })
            .await?;
        self.store.execution(name).await
    }

    /// The executions of a node that it is to cancel, at most `max`.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn cancellations_for(
        &self,
        node: &NodeId,
        max: u64,
    ) -> Result<Vec<Execution>, Error> {
        self.store.cancellations(node, max).await
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
