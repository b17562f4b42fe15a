//! The control plane's API as a test uses it: generated clients with a token, nothing else of ours between.

use std::time::Duration;

use signalbox_proto::v1::{
    self, api_key_service_client::ApiKeyServiceClient, audit_service_client::AuditServiceClient,
    delivery_service_client::DeliveryServiceClient,
    execution_service_client::ExecutionServiceClient, node_service_client::NodeServiceClient,
    project_service_client::ProjectServiceClient, secret_service_client::SecretServiceClient,
    subscription_service_client::SubscriptionServiceClient,
    token_service_client::TokenServiceClient, workflow_service_client::WorkflowServiceClient,
};
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Channel, Endpoint},
};

use crate::wait;

/// Adds a token to every call.
#[derive(Clone)]
pub struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request
            .metadata_mut()
            .insert("authorization", self.0.clone());
        Ok(request)
    }
}

type Authed = InterceptedService<Channel, Bearer>;

/// The API with a token.
#[derive(Clone)]
pub struct Api {
    channel: Channel,
    bearer: Bearer,
}

const PARENT: &str = "projects/default";
const MESSAGE_MAX_BYTES: usize = 64 * 1024 * 1024;

impl Api {
    /// Of the control plane at `endpoint` (connected when first used, and anew when it is gone).
    #[must_use]
    pub fn new(endpoint: &str, token: &str) -> Self {
        let channel = Endpoint::from_shared(endpoint.to_owned())
            .unwrap()
            .connect_lazy();
        let bearer = Bearer(format!("Bearer {token}").parse().unwrap());
        Self { channel, bearer }
    }

    fn authed(&self) -> Authed {
        InterceptedService::new(self.channel.clone(), self.bearer.clone())
    }

    /// ApiKeyService.
    #[must_use]
    pub fn keys(&self) -> ApiKeyServiceClient<Authed> {
        ApiKeyServiceClient::new(self.authed())
    }

    /// WorkflowService.
    #[must_use]
    pub fn workflows(&self) -> WorkflowServiceClient<Authed> {
        WorkflowServiceClient::new(self.authed())
    }

    /// ExecutionService.
    #[must_use]
    pub fn executions(&self) -> ExecutionServiceClient<Authed> {
        ExecutionServiceClient::new(self.authed()).max_decoding_message_size(MESSAGE_MAX_BYTES)
    }

    /// DeliveryService.
    #[must_use]
    pub fn deliveries(&self) -> DeliveryServiceClient<Authed> {
        DeliveryServiceClient::new(self.authed())
    }

    /// SubscriptionService.
    #[must_use]
    pub fn subscriptions(&self) -> SubscriptionServiceClient<Authed> {
        SubscriptionServiceClient::new(self.authed())
    }

    /// SecretService.
    #[must_use]
    pub fn secrets(&self) -> SecretServiceClient<Authed> {
        SecretServiceClient::new(self.authed())
    }

    /// ProjectService.
    #[must_use]
    pub fn projects(&self) -> ProjectServiceClient<Authed> {
        ProjectServiceClient::new(self.authed())
    }

    /// NodeService.
    #[must_use]
    pub fn nodes(&self) -> NodeServiceClient<Authed> {
        NodeServiceClient::new(self.authed())
    }

    /// AuditService.
    #[must_use]
    pub fn audit(&self) -> AuditServiceClient<Authed> {
        AuditServiceClient::new(self.authed())
    }

    /// TokenService.
    #[must_use]
    pub fn tokens(&self) -> TokenServiceClient<Authed> {
        TokenServiceClient::new(self.authed())
    }

    /// Creates the key `id` and gives its value.
    pub async fn create_key(&self, id: &str) -> String {
        self.keys()
            .create_api_key(v1::CreateApiKeyRequest {
                parent: PARENT.to_owned(),
                api_key_id: id.to_owned(),
                ..Default::default()
            })
            .await
            .unwrap()
            .into_inner()
            .value
    }

    /// Creates and publishes the workflow `id` from the YAML of its spec.
    pub async fn create_workflow(&self, id: &str, spec_yaml: &str) -> v1::Workflow {
        let spec: v1::WorkflowSpec = signalbox_proto::convert::json::from_yaml_str(spec_yaml)
            .unwrap_or_else(|error| panic!("{error}"));
        self.workflows()
            .create_workflow(v1::CreateWorkflowRequest {
                parent: PARENT.to_owned(),
                workflow_id: id.to_owned(),
                workflow: Some(v1::Workflow {
                    spec: Some(spec),
                    ..Default::default()
                }),
                publish: true,
                ..Default::default()
            })
            .await
            .unwrap_or_else(|status| panic!("{status:?}"))
            .into_inner()
    }

    /// All executions that `filter` lets through.
    pub async fn all_executions(&self, filter: &str) -> Result<Vec<v1::Execution>, Status> {
        let mut all = Vec::new();
        let mut page_token = String::new();
        loop {
            let page = self
                .executions()
                .list_executions(v1::ListExecutionsRequest {
                    parent: PARENT.to_owned(),
                    page_size: 1000,
                    page_token,
                    filter: filter.to_owned(),
                    ..Default::default()
                })
                .await?
                .into_inner();
            all.extend(page.executions);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(all);
            }
        }
    }

    /// Waits until an execution is in a state, and gives it.
    ///
    /// # Panics
    /// When it is not within 20 seconds.
    pub async fn execution_in(&self, name: &str, state: v1::ExecutionState) -> v1::Execution {
        wait::until("the execution", Duration::from_secs(20), || async {
            let execution = self.execution(name).await.map_err(|s| s.to_string())?;
            if execution.state() == state {
                Ok(execution)
            } else {
                Err(format!("{execution:?}"))
            }
        })
        .await
    }

    /// Waits until the only node uses the newest configuration.
    ///
    /// # Panics
    /// When it does not within `limit`.
    pub async fn synced(&self, limit: Duration) {
        wait::until("the node to be in sync", limit, || async {
            let request = v1::ListNodesRequest::default();
            let listed = self.nodes().list_nodes(request).await;
            let nodes = listed.map_err(|s| s.to_string())?.into_inner().nodes;
            match &nodes[..] {
                [node] if node.applied_revision == node.head_revision => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })
        .await;
    }

    /// One execution with its steps.
    pub async fn execution(&self, name: &str) -> Result<v1::Execution, Status> {
        let request = v1::GetExecutionRequest {
            name: name.to_owned(),
        };
        Ok(self.executions().get_execution(request).await?.into_inner())
    }

    /// All deliveries of a workflow.
    pub async fn all_deliveries(&self, workflow: &str) -> Result<Vec<v1::Delivery>, Status> {
        let mut all = Vec::new();
        let mut page_token = String::new();
        loop {
            let page = self
                .deliveries()
                .list_deliveries(v1::ListDeliveriesRequest {
                    parent: format!("{PARENT}/workflows/{workflow}"),
                    page_size: 1000,
                    page_token,
                    ..Default::default()
                })
                .await?
                .into_inner();
            all.extend(page.deliveries);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(all);
            }
        }
    }

    /// The subscriptions of a workflow.
    pub async fn all_subscriptions(&self, workflow: &str) -> Result<Vec<v1::Subscription>, Status> {
        let request = v1::ListSubscriptionsRequest {
            parent: format!("{PARENT}/workflows/{workflow}"),
            page_size: 1000,
            ..Default::default()
        };
        Ok(self
            .subscriptions()
            .list_subscriptions(request)
            .await?
            .into_inner()
            .subscriptions)
    }
}
