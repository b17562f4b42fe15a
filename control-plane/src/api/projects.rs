//! `ProjectService`.

use signalbox_model::{error::Error, ids::ProjectName};
use signalbox_proto::{
    convert::{status::to_status, time},
    v1::{self, project_service_server::ProjectService},
};
use tonic::{Request, Response, Status};

use super::{Api, map, name, required};
use crate::auth::Caller;

#[tonic::async_trait]
impl ProjectService for Api {
    async fn get_project(
        &self,
        request: Request<v1::GetProjectRequest>,
    ) -> Result<Response<v1::Project>, Status> {
        let get = async || {
            let ProjectName { project } = name("name", &request.get_ref().name)?;
            Caller::of(&request, &project)?;
            self.app.project(&project).await
        };
        let row = get().await.map_err(to_status)?;
        let effective = self.app.history_retention(&row);
        Ok(Response::new(map::project(row, effective)))
    }

    async fn update_project(
        &self,
        request: Request<v1::UpdateProjectRequest>,
    ) -> Result<Response<v1::Project>, Status> {
        let update = async || {
            let given = required("project", request.get_ref().project.as_ref())?;
            let ProjectName { project } = name("project.name", &given.name)?;
            let caller = Caller::of(&request, &project)?;
            let retention = given.history_retention.map(time::duration).transpose();
            let retention = retention
                .map_err(|problem| Error::invalid("project.history_retention", problem))?;
            self.app
                .set_history_retention(&caller.actor(""), &project, retention)
                .await
        };
        let row = update().await.map_err(to_status)?;
        let effective = self.app.history_retention(&row);
        Ok(Response::new(map::project(row, effective)))
    }
}
