//! `AuditService`.

use signalbox_proto::{
    convert::{audit, status::to_status},
    v1::{self, audit_service_server::AuditService},
};
use tonic::{Request, Response, Status};

use super::{Api, filter, parent_project};
use crate::{auth::Caller, store::Audited};

#[tonic::async_trait]
impl AuditService for Api {
    async fn list_audit_entries(
        &self,
        request: Request<v1::ListAuditEntriesRequest>,
    ) -> Result<Response<v1::ListAuditEntriesResponse>, Status> {
        let asked = request.get_ref();
        let of = ["auditEntries", asked.parent.as_str(), asked.filter.as_str()];
        let list = async || {
            let project = match asked.parent.as_str() {
                "" => {
                    Caller::everywhere(&request)?;
                    None
                }
                parent => {
                    let project = parent_project(parent)?;
                    Caller::of(&request, &project)?;
                    Some(project)
                }
            };
            let filter = filter::audits(&asked.filter)?;
            let page = self.page(&of, asked.page_size, &asked.page_token)?;
            self.app.audits(project.as_ref(), &filter, &page).await
        };
        let (head, page) = list().await.map_err(to_status)?;
        let show = |Audited { entry, hash }| Ok(audit::to_wire(entry, &hash));
        let answer = self.answer(&of, page, show);
        let (audit_entries, next_page_token) = answer.map_err(to_status)?;
        Ok(Response::new(v1::ListAuditEntriesResponse {
            audit_entries,
            next_page_token,
            head_sequence: i64::try_from(head.sequence).unwrap_or(i64::MAX),
            head_hash: head.hash.0.to_vec().into(),
        }))
    }
}
