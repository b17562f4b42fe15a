//! `ProjectService`.

use std::time::Duration;

use prost_types::FieldMask;
use signalbox_model::{error::Error, ids::ProjectName, labels::Labels};
use signalbox_proto::{
    convert::{status::to_status, time},
    v1::{self, project_service_server::ProjectService},
};
use tonic::{Request, Response, Status};

use super::{Api, filter, map, mask, name, order, required};
use crate::{
    app::{ProjectChange, Quotas},
    auth::Caller,
};

fn retention_of(given: &v1::Project) -> Result<Option<Duration>, Error> {
    let retention = given.history_retention.map(time::duration).transpose();
    retention.map_err(|problem| Error::invalid("project.history_retention", problem))
}

fn labels_of(given: &v1::Project) -> Result<Labels, Error> {
    Ok(Labels::new("project.labels", given.labels.clone())?)
}

/// What is set.
fn set_of(given: &v1::Project) -> Result<ProjectChange, Error> {
    let labels = labels_of(given)?;
    let quotas = given.quotas.unwrap_or_default();
    Ok(ProjectChange {
        display_name: Some(given.display_name.clone()).filter(|name| !name.is_empty()),
        labels: Some(labels).filter(|labels| !labels.get().is_empty()),
        history_retention: retention_of(given)?.map(Some),
        quotas: Quotas {
            workflows: quotas.workflows.map(Some),
            api_keys: quotas.api_keys.map(Some),
            events_per_second: quotas.events_per_second.map(Some),
            history_bytes: quotas.history_bytes.map(Some),
        },
    })
}

/// What of a project can be changed. What names a part stands after the whole.
const CHANGEABLE: [&str; 8] = [
    "display_name",
    "labels",
    "history_retention",
    "quotas",
    "quotas.workflows",
    "quotas.api_keys",
    "quotas.events_per_second",
    "quotas.history_bytes",
];

/// What `mask` names; without one what is set (AIP-134), and how long the history is kept in any case.
fn change_of(given: &v1::Project, mask: Option<&FieldMask>) -> Result<ProjectChange, Error> {
    let set = set_of(given)?;
    let Some(paths) = mask::paths(mask, &CHANGEABLE)? else {
        return Ok(ProjectChange {
            history_retention: Some(set.history_retention.flatten()),
            ..set
        });
    };
    let quotas = given.quotas.unwrap_or_default();
    let mut change = ProjectChange::default();
    for path in paths {
        let to = &mut change.quotas;
        match path {
            "display_name" => change.display_name = Some(given.display_name.clone()),
            "labels" => change.labels = Some(labels_of(given)?),
            "history_retention" => change.history_retention = Some(retention_of(given)?),
            "quotas" => {
                *to = Quotas {
                    workflows: Some(quotas.workflows),
                    api_keys: Some(quotas.api_keys),
                    events_per_second: Some(quotas.events_per_second),
                    history_bytes: Some(quotas.history_bytes),
                };
            }
            "quotas.workflows" => to.workflows = Some(quotas.workflows),
            "quotas.api_keys" => to.api_keys = Some(quotas.api_keys),
            "quotas.events_per_second" => to.events_per_second = Some(quotas.events_per_second),
            _ => to.history_bytes = Some(quotas.history_bytes),
        }
    }
    Ok(change)
}

#[tonic::async_trait]
impl ProjectService for Api {
    async fn create_project(
        &self,
        request: Request<v1::CreateProjectRequest>,
    ) -> Result<Response<v1::Project>, Status> {
        let create = async || {
            let caller = Caller::everywhere(&request)?;
            let asked = request.get_ref();
            let project = name("project_id", &asked.project_id)?;
            let new = set_of(&asked.project.clone().unwrap_or_default())?;
            let actor = caller.actor(&asked.request_id);
            let request_id = asked.request_id.as_str();
            self.app
                .create_project(&actor, &project, &new, request_id)
                .await?;
            self.app.project(&project).await
        };
        let shown = create().await.map_err(to_status)?;
        Ok(Response::new(map::project(shown)))
    }

    async fn get_project(
        &self,
        request: Request<v1::GetProjectRequest>,
    ) -> Result<Response<v1::Project>, Status> {
        let get = async || {
            let ProjectName { project } = name("name", &request.get_ref().name)?;
            Caller::of(&request, &project)?;
            self.app.project(&project).await
        };
        let shown = get().await.map_err(to_status)?;
        Ok(Response::new(map::project(shown)))
    }

    async fn list_projects(
        &self,
        request: Request<v1::ListProjectsRequest>,
    ) -> Result<Response<v1::ListProjectsResponse>, Status> {
        let asked = request.get_ref();
        let of = ["projects", asked.filter.as_str(), asked.order_by.as_str()];
        let list = async || {
            let asked = request.get_ref();
            let among = Caller::projects(&request)?;
            let labels = filter::labels(&asked.filter)?;
            let mut page = self.page(&of, asked.page_size, &asked.page_token)?;
            page.order = order("create_time", &asked.order_by)?;
            self.app.projects(among.as_ref(), &labels, &page).await
        };
        let page = list().await.map_err(to_status)?;
        let answer = self.answer(&of, page, |row| Ok(map::project(self.app.shown(row))));
        let (projects, next_page_token) = answer.map_err(to_status)?;
        Ok(Response::new(v1::ListProjectsResponse {
            projects,
            next_page_token,
        }))
    }

    async fn update_project(
        &self,
        request: Request<v1::UpdateProjectRequest>,
    ) -> Result<Response<v1::Project>, Status> {
        let update = async || {
            let asked = request.get_ref();
            let given = required("project", asked.project.as_ref())?;
            let ProjectName { project } = name("project.name", &given.name)?;
            let caller = Caller::of(&request, &project)?;
            let change = change_of(given, asked.update_mask.as_ref())?;
            // Whoever is bounded by them must not set them.
            if change.has_quotas() {
                Caller::everywhere(&request)?;
            }
            self.app
                .update_project(&caller.actor(""), &project, &change, &given.etag)
                .await?;
            self.app.project(&project).await
        };
        let shown = update().await.map_err(to_status)?;
        Ok(Response::new(map::project(shown)))
    }

    async fn delete_project(
        &self,
        request: Request<v1::DeleteProjectRequest>,
    ) -> Result<Response<()>, Status> {
        let delete = async || {
            let caller = Caller::everywhere(&request)?;
            let asked = request.get_ref();
            let ProjectName { project } = name("name", &asked.name)?;
            self.app
                .delete_project(&caller.actor(""), &project, &asked.etag, asked.force)
                .await
        };
        delete().await.map(Response::new).map_err(to_status)
    }
}
