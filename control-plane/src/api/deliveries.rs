//! `DeliveryService`.

use signalbox_proto::{
    convert::status::to_status,
    v1::{self, delivery_service_server::DeliveryService},
};
use tonic::{Request, Response, Status};

use super::{Api, filter, map, order, parent_workflow};
use crate::auth::Caller;

#[tonic::async_trait]
impl DeliveryService for Api {
    async fn list_deliveries(
        &self,
        request: Request<v1::ListDeliveriesRequest>,
    ) -> Result<Response<v1::ListDeliveriesResponse>, Status> {
        let asked = request.get_ref();
        let of = ["deliveries", &asked.parent, &asked.filter, &asked.order_by];
        let list = async || {
            let (project, workflow) = parent_workflow(&asked.parent)?;
            Caller::of(&request, &project)?;
            let filter = filter::deliveries(&asked.filter)?;
            let mut page = self.page(&of, asked.page_size, &asked.page_token)?;
            page.order = order("receive_time", &asked.order_by)?;
            self.app
                .deliveries(&project, workflow.as_ref(), &filter, &page)
                .await
        };
        let page = list().await.map_err(to_status)?;
        let answer = self.answer(&of, page, |row| Ok(map::delivery(row)));
        let (deliveries, next_page_token) = answer.map_err(to_status)?;
        Ok(Response::new(v1::ListDeliveriesResponse {
            deliveries,
            next_page_token,
        }))
    }
}
