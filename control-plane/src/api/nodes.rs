//! `NodeService`.

use std::collections::BTreeSet;

use signalbox_model::{
    error::Error,
    ids::{EnrollmentTokenName, NodeId, NodeName},
};
use signalbox_proto::{
    convert::{status::to_status, time},
    v1::{self, node_service_server::NodeService},
};
use tonic::{Request, Response, Status};

use super::{Api, map, name};
use crate::auth::{Caller, NewEnrollmentToken};

impl Api {
    /// A node, for who sees the projects with these ids; none: all.
    async fn shown_node(
        &self,
        node: &NodeId,
        projects: Option<&BTreeSet<String>>,
    ) -> Result<v1::Node, Error> {
        let row = self.app.node(node).await?;
        let identity = self.app.store().node_identity(node).await?;
        let head = *self.app.store().revision().borrow();
        Ok(map::node(row, identity, head, projects))
    }

    async fn create_token(
        &self,
        request: &Request<v1::CreateEnrollmentTokenRequest>,
    ) -> Result<v1::CreateEnrollmentTokenResponse, Error> {
        let caller = Caller::everywhere(request)?;
        let asked = request.get_ref();
        let node = match asked.node.as_str() {
            "" => None,
            text => Some(name::<NodeName>("node", text)?.node),
        };
        let ttl = asked.ttl.map(time::duration).transpose();
        let new = NewEnrollmentToken {
            node,
            display_name: asked.display_name.clone(),
            ttl: ttl.map_err(|error| Error::invalid("ttl", error))?,
        };
        let (row, secret) = self
            .own_tokens
            .create_enrollment_token(&caller.actor(""), new)
            .await?;
        Ok(v1::CreateEnrollmentTokenResponse {
            enrollment_token: Some(map::enrollment_token(row)),
            secret: secret.expose().to_owned(),
        })
    }
}

#[tonic::async_trait]
impl NodeService for Api {
    async fn get_node(
        &self,
        request: Request<v1::GetNodeRequest>,
    ) -> Result<Response<v1::Node>, Status> {
        let get = async || {
            let node: NodeName = name("name", &request.get_ref().name)?;
            let projects = Caller::projects(&request)?;
            self.shown_node(&node.node, projects.as_ref()).await
        };
        get().await.map(Response::new).map_err(to_status)
    }

    async fn list_nodes(
        &self,
        request: Request<v1::ListNodesRequest>,
    ) -> Result<Response<v1::ListNodesResponse>, Status> {
        let of = ["nodes"];
        let list = async || {
            let asked = request.get_ref();
            let projects = Caller::projects(&request)?;
            let page = self.page(&of, asked.page_size, &asked.page_token)?;
            let page = self.app.nodes(&page).await?;
            let identities = self.app.store().node_identities(&page.rows).await?;
            Ok((page, identities, projects))
        };
        let (page, mut identities, projects) = list().await.map_err(to_status)?;
        let head = *self.app.store().revision().borrow();
        let answer = self.answer(&of, page, |row| {
            let identity = identities.remove(&row.id);
            Ok(map::node(row, identity, head, projects.as_ref()))
        });
        let (nodes, next_page_token) = answer.map_err(to_status)?;
        Ok(Response::new(v1::ListNodesResponse {
            nodes,
            next_page_token,
        }))
    }

    async fn revoke_node(
        &self,
        request: Request<v1::RevokeNodeRequest>,
    ) -> Result<Response<v1::Node>, Status> {
        let revoke = async || {
            let node: NodeName = name("name", &request.get_ref().name)?;
            let caller = Caller::everywhere(&request)?;
            self.own_tokens
                .revoke_node(&caller.actor(""), &node.node)
                .await?;
            self.shown_node(&node.node, None).await
        };
        revoke().await.map(Response::new).map_err(to_status)
    }

    async fn create_enrollment_token(
        &self,
        request: Request<v1::CreateEnrollmentTokenRequest>,
    ) -> Result<Response<v1::CreateEnrollmentTokenResponse>, Status> {
        self.create_token(&request)
            .await
            .map(Response::new)
            .map_err(to_status)
    }

    async fn list_enrollment_tokens(
        &self,
        request: Request<v1::ListEnrollmentTokensRequest>,
    ) -> Result<Response<v1::ListEnrollmentTokensResponse>, Status> {
        let of = ["enrollmentTokens"];
        let list = async || {
            Caller::everywhere(&request)?;
            let asked = request.get_ref();
            let page = self.page(&of, asked.page_size, &asked.page_token)?;
            self.own_tokens.enrollment_tokens(&page).await
        };
        let page = list().await.map_err(to_status)?;
        let answer = self.answer(&of, page, |row| Ok(map::enrollment_token(row)));
        let (enrollment_tokens, next_page_token) = answer.map_err(to_status)?;
        Ok(Response::new(v1::ListEnrollmentTokensResponse {
            enrollment_tokens,
            next_page_token,
        }))
    }

    async fn delete_enrollment_token(
        &self,
        request: Request<v1::DeleteEnrollmentTokenRequest>,
    ) -> Result<Response<()>, Status> {
        let delete = async || {
            let token: EnrollmentTokenName = name("name", &request.get_ref().name)?;
            let caller = Caller::everywhere(&request)?;
            self.own_tokens
                .delete_enrollment_token(&caller.actor(""), &token.enrollment_token)
                .await
        };
        delete().await.map(Response::new).map_err(to_status)
    }
}
