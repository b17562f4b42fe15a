//! `NodeService`.

use signalbox_model::ids::NodeName;
use signalbox_proto::{
    convert::status::to_status,
    v1::{self, node_service_server::NodeService},
};
use tonic::{Request, Response, Status};

use super::{Api, map, name};
use crate::auth::Caller;

#[tonic::async_trait]
impl NodeService for Api {
    async fn get_node(
        &self,
        request: Request<v1::GetNodeRequest>,
    ) -> Result<Response<v1::Node>, Status> {
        let get = async || {
            let node: NodeName = name("name", &request.get_ref().name)?;
            Caller::anywhere(&request)?;
            self.app.node(&node.node).await
        };
        let row = get().await.map_err(to_status)?;
        let head = *self.app.store().revision().borrow();
        Ok(Response::new(map::node(row, head)))
    }

    async fn list_nodes(
        &self,
        request: Request<v1::ListNodesRequest>,
    ) -> Result<Response<v1::ListNodesResponse>, Status> {
        let of = ["nodes"];
        let list = async || {
            let asked = request.get_ref();
            Caller::anywhere(&request)?;
            self.app
                .nodes(&self.page(&of, asked.page_size, &asked.page_token)?)
                .await
        };
        let page = list().await.map_err(to_status)?;
        let head = *self.app.store().revision().borrow();
        Ok(Response::new(v1::ListNodesResponse {
            nodes: page
                .rows
                .into_iter()
                .map(|row| map::node(row, head))
                .collect(),
            next_page_token: self.next_page_token(&of, page.next),
        }))
    }
}
