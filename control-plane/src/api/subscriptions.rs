//! `SubscriptionService`.

use signalbox_model::ids::SubscriptionName;
use signalbox_proto::{
    convert::status::to_status,
    v1::{self, subscription_service_server::SubscriptionService},
};
use tonic::{Request, Response, Status};

use super::{Api, map, name, parent_workflow};
use crate::auth::Caller;

#[tonic::async_trait]
impl SubscriptionService for Api {
    async fn get_subscription(
        &self,
        request: Request<v1::GetSubscriptionRequest>,
    ) -> Result<Response<v1::Subscription>, Status> {
        let get = async || {
            let subscription: SubscriptionName = name("name", &request.get_ref().name)?;
            Caller::of(&request, &subscription.project)?;
            self.app.subscription(&subscription).await
        };
        get()
            .await
            .map(|row| Response::new(map::subscription(row)))
            .map_err(to_status)
    }

    async fn list_subscriptions(
        &self,
        request: Request<v1::ListSubscriptionsRequest>,
    ) -> Result<Response<v1::ListSubscriptionsResponse>, Status> {
        let of = ["subscriptions", request.get_ref().parent.as_str()];
        let list = async || {
            let asked = request.get_ref();
            let (project, workflow) = parent_workflow(&asked.parent)?;
            Caller::of(&request, &project)?;
            let page = self.page(&of, asked.page_size, &asked.page_token)?;
            self.app
                .subscriptions(&project, workflow.as_ref(), &page)
                .await
        };
        let page = list().await.map_err(to_status)?;
        let answer = self.answer(&of, page, |row| Ok(map::subscription(row)));
        let (subscriptions, next_page_token) = answer.map_err(to_status)?;
        Ok(Response::new(v1::ListSubscriptionsResponse {
            subscriptions,
            next_page_token,
        }))
    }
}
