//! `WorkflowService`.

use std::sync::Arc;

use jiff::Timestamp;
use prost_types::FieldMask;
use signalbox_model::{
    error::Error,
    execution::JsonText,
    ids::{ProjectId, WorkflowId, WorkflowName},
    labels::Labels,
    limits,
    violation::{Violation, Violations},
    workflow::{Reading, Trigger, Workflow as Valid},
};
use signalbox_proto::{
    convert::{definition, status::to_status, time},
    v1::{self, workflow_service_server::WorkflowService},
};
use signalbox_runtime::telemetry::context;
use tonic::{Request, Response, Status};

use super::{Api, filter, map, mask, name, parent_project, required, shown, subscribe_kit};
use crate::{
    app::{Definition, NewWorkflow, RunRequest, Upcoming},
    auth::Caller,
    store::rows::Workflow,
};

/// Ticks that are listed unless a number is given, and at most.
const UPCOMING_DEFAULT: usize = 10;
const UPCOMING_MAX: usize = 1000;

fn under(field: &str, violations: Violations) -> Violations {
    let moved = violations.0.into_iter().map(
        |Violation {
             field: inner,
             description,
         }| {
            let separator = if inner.is_empty() { "" } else { "." };
            Violation::new(format!("{field}{separator}{inner}"), description)
        },
    );
    Violations(moved.collect())
}

fn decoder(project: ProjectId) -> impl Fn(&[u8]) -> Result<Valid, Violations> {
    move |source| definition::decode(source, &project)
}

/// Reads a definition beside what is served: it may take as long as an evaluation.
async fn read(spec: &v1::WorkflowSpec, project: &ProjectId) -> Result<Reading, Error> {
    let (spec, project) = (spec.clone(), project.clone());
    let reading = tokio::task::spawn_blocking(move || definition::read(&spec, &project)).await;
    reading.map_err(|_| Error::Internal {
        message: "the definition could not be read".to_owned(),
    })
}

impl Api {
    /// What a workflow is written with; all problems are told at their place in the request, those of what it names too.
    /// `own` is its id.
    async fn new_workflow(
        &self,
        given: &v1::Workflow,
        project: &ProjectId,
        own: &WorkflowId,
    ) -> Result<NewWorkflow, Error> {
        let spec = required("workflow.spec", given.spec.as_ref())?;
        let Reading { names, workflow } = read(spec, project).await?;
        let workflow = match workflow {
            Ok(workflow) => workflow,
            Err(violations) => {
                let missing = self.app.missing(project, Some(own), &names).await?;
                let mut all = under("workflow.spec", violations);
                all.0.extend(under("workflow", Violations(missing)).0);
                return Err(all.into());
            }
        };
        Ok(NewWorkflow {
            display_name: given.display_name.clone(),
            description: given.description.clone(),
            labels: Labels::new("workflow.labels", given.labels.clone())?,
            definition: Definition {
                workflow: Arc::new(workflow),
                source: definition::encode(spec).to_vec(),
            },
        })
    }

    /// What is to be written: of `given` what `mask` names, and the rest as it is. The etag is then that of what it was made from, so
    /// that nothing that changes meanwhile is written over.
    async fn masked(
        &self,
        given: &v1::Workflow,
        name: &WorkflowName,
        mask: Option<&FieldMask>,
    ) -> Result<v1::Workflow, Error> {
        const ALL: [&str; 4] = ["display_name", "description", "labels", "spec"];
        let paths = mask::paths(mask, &ALL)?.unwrap_or(ALL.to_vec());
        if paths.len() == ALL.len() {
            return Ok(given.clone());
        }
        let row = self.app.live_workflow(name).await?;
        let mut whole = self.with_spec(row).await?.into_inner();
        for path in paths {
            match path {
                "display_name" => given.display_name.clone_into(&mut whole.display_name),
                "description" => given.description.clone_into(&mut whole.description),
                "labels" => given.labels.clone_into(&mut whole.labels),
                _ => given.spec.clone_into(&mut whole.spec),
            }
        }
        if !given.etag.is_empty() {
            given.etag.clone_into(&mut whole.etag);
        }
        Ok(whole)
    }

    /// All that is wrong with a definition, and with what it names.
    async fn problems(
        &self,
        spec: &v1::WorkflowSpec,
        project: &ProjectId,
        own: Option<&WorkflowId>,
    ) -> Result<Vec<Violation>, Error> {
        let Reading { names, workflow } = read(spec, project).await?;
        let (mut problems, missing) = match workflow {
            Ok(workflow) => {
                let missing = self.app.validate(project, own, &workflow).await?;
                (Vec::new(), missing)
            }
            Err(violations) => {
                let missing = self.app.missing(project, own, &names).await?;
                (violations.0, missing)
            }
        };
        // Those of what it names are told of the whole workflow.
        problems.extend(missing.into_iter().map(|Violation { field, description }| {
            let field = field.strip_prefix("spec.").unwrap_or(&field);
            Violation::new(field, description)
        }));
        Ok(problems)
    }

    async fn with_spec(&self, row: Workflow) -> Result<Response<v1::Workflow>, Error> {
        let workflow = WorkflowName {
            project: name("project", &row.project)?,
            workflow: name("workflow", &row.id)?,
        };
        let version = self
            .app
            .store()
            .workflow_version(&workflow, row.latest_version)
            .await?;
        map::workflow(row, Some(&version.source)).map(Response::new)
    }
}

#[tonic::async_trait]
impl WorkflowService for Api {
    async fn create_workflow(
        &self,
        request: Request<v1::CreateWorkflowRequest>,
    ) -> Result<Response<v1::Workflow>, Status> {
        let create = async || {
            let asked = request.get_ref();
            let project = parent_project(&asked.parent)?;
            let caller = Caller::of(&request, &project)?;
            let id = name("workflow_id", &asked.workflow_id)?;
            let given = required("workflow", asked.workflow.as_ref())?;
            let new = self.new_workflow(given, &project, &id).await?;
            let actor = caller.actor(&asked.request_id);
            let row = self
                .app
                .create_workflow(&actor, &project, &id, new, asked.publish, &asked.request_id)
                .await?;
            self.with_spec(row).await
        };
        create().await.map_err(to_status)
    }

    async fn get_workflow(
        &self,
        request: Request<v1::GetWorkflowRequest>,
    ) -> Result<Response<v1::Workflow>, Status> {
        let get = async || {
            let workflow: WorkflowName = name("name", &request.get_ref().name)?;
            Caller::of(&request, &workflow.project)?;
            let (found, source) = self.app.workflow(&workflow).await?;
            map::found_workflow(found, Some(&source)).map(Response::new)
        };
        get().await.map_err(to_status)
    }

    async fn list_workflows(
        &self,
        request: Request<v1::ListWorkflowsRequest>,
    ) -> Result<Response<v1::ListWorkflowsResponse>, Status> {
        let list = async || {
            let asked = request.get_ref();
            let project = parent_project(&asked.parent)?;
            Caller::of(&request, &project)?;
            let labels = filter::labels(&asked.filter)?;
            let of = [
                "workflows",
                asked.parent.as_str(),
                asked.filter.as_str(),
                shown(asked.show_deleted),
            ];
            let page = self.page(&of, asked.page_size, &asked.page_token)?;
            let with_deleted = asked.show_deleted;
            let page = self
                .app
                .workflows(&project, &labels, with_deleted, &page)
                .await?;
            let show = |found| map::found_workflow(found, None);
            let (workflows, next_page_token) = self.answer(&of, page, show)?;
            Ok::<_, Error>(v1::ListWorkflowsResponse {
                workflows,
                next_page_token,
            })
        };
        list().await.map(Response::new).map_err(to_status)
    }

    async fn update_workflow(
        &self,
        request: Request<v1::UpdateWorkflowRequest>,
    ) -> Result<Response<v1::Workflow>, Status> {
        let update = async || {
            let asked = request.get_ref();
            let given = required("workflow", asked.workflow.as_ref())?;
            let workflow: WorkflowName = name("workflow.name", &given.name)?;
            let caller = Caller::of(&request, &workflow.project)?;
            let given = self
                .masked(given, &workflow, asked.update_mask.as_ref())
                .await?;
            let new = self
                .new_workflow(&given, &workflow.project, &workflow.workflow)
                .await?;
            let row = self
                .app
                .update_workflow(
                    &caller.actor(""),
                    &workflow,
                    new,
                    asked.publish,
                    &given.etag,
                )
                .await?;
            self.with_spec(row).await
        };
        update().await.map_err(to_status)
    }

    async fn publish_workflow(
        &self,
        request: Request<v1::PublishWorkflowRequest>,
    ) -> Result<Response<v1::Workflow>, Status> {
        let publish = async || {
            let asked = request.get_ref();
            let workflow: WorkflowName = name("name", &asked.name)?;
            let caller = Caller::of(&request, &workflow.project)?;
            if asked.version < 0 {
                return Err(Error::invalid("version", "must not be negative"));
            }
            let decode = decoder(workflow.project.clone());
            let row = self
                .app
                .publish_workflow(
                    &caller.actor(""),
                    &workflow,
                    asked.version,
                    &asked.etag,
                    decode,
                )
                .await?;
            self.with_spec(row).await
        };
        publish().await.map_err(to_status)
    }

    async fn disable_workflow(
        &self,
        request: Request<v1::DisableWorkflowRequest>,
    ) -> Result<Response<v1::Workflow>, Status> {
        let disable = async || {
            let asked = request.get_ref();
            let workflow: WorkflowName = name("name", &asked.name)?;
            let caller = Caller::of(&request, &workflow.project)?;
            let row = self
                .app
                .set_workflow_enabled(&caller.actor(""), &workflow, false, &asked.etag)
                .await?;
            self.with_spec(row).await
        };
        disable().await.map_err(to_status)
    }

    async fn enable_workflow(
        &self,
        request: Request<v1::EnableWorkflowRequest>,
    ) -> Result<Response<v1::Workflow>, Status> {
        let enable = async || {
            let asked = request.get_ref();
            let workflow: WorkflowName = name("name", &asked.name)?;
            let caller = Caller::of(&request, &workflow.project)?;
            let row = self
                .app
                .set_workflow_enabled(&caller.actor(""), &workflow, true, &asked.etag)
                .await?;
            self.with_spec(row).await
        };
        enable().await.map_err(to_status)
    }

    async fn delete_workflow(
        &self,
        request: Request<v1::DeleteWorkflowRequest>,
    ) -> Result<Response<()>, Status> {
        let delete = async || {
            let asked = request.get_ref();
            let workflow: WorkflowName = name("name", &asked.name)?;
            let caller = Caller::of(&request, &workflow.project)?;
            let actor = caller.actor("");
            match asked.purge {
                true => {
                    self.app
                        .purge_workflow(&actor, &workflow, &asked.etag)
                        .await
                }
                false => {
                    self.app
                        .delete_workflow(&actor, &workflow, &asked.etag)
                        .await
                }
            }
        };
        delete().await.map(Response::new).map_err(to_status)
    }

    async fn undelete_workflow(
        &self,
        request: Request<v1::UndeleteWorkflowRequest>,
    ) -> Result<Response<v1::Workflow>, Status> {
        let undelete = async || {
            let asked = request.get_ref();
            let workflow: WorkflowName = name("name", &asked.name)?;
            let caller = Caller::of(&request, &workflow.project)?;
            let row = self
                .app
                .undelete_workflow(&caller.actor(""), &workflow, asked.unpublished, &asked.etag)
                .await?;
            self.with_spec(row).await
        };
        undelete().await.map_err(to_status)
    }

    async fn list_workflow_versions(
        &self,
        request: Request<v1::ListWorkflowVersionsRequest>,
    ) -> Result<Response<v1::ListWorkflowVersionsResponse>, Status> {
        let list = async || {
            let asked = request.get_ref();
            let workflow: WorkflowName = name("parent", &asked.parent)?;
            Caller::of(&request, &workflow.project)?;
            let of = ["versions", asked.parent.as_str()];
            let page = self.page(&of, asked.page_size, &asked.page_token)?;
            let page = self.app.versions(&workflow, &page).await?;
            let (versions, next_page_token) = self.answer(&of, page, map::workflow_version)?;
            Ok::<_, Error>(v1::ListWorkflowVersionsResponse {
                versions,
                next_page_token,
            })
        };
        list().await.map(Response::new).map_err(to_status)
    }

    async fn validate_workflow(
        &self,
        request: Request<v1::ValidateWorkflowRequest>,
    ) -> Result<Response<v1::ValidateWorkflowResponse>, Status> {
        let validate = async || {
            let asked = request.get_ref();
            let project = parent_project(&asked.parent)?;
            Caller::of(&request, &project)?;
            let spec = required("spec", asked.spec.as_ref())?;
            let own = match asked.workflow_id.as_str() {
                "" => None,
                id => Some(name("workflow_id", id)?),
            };
            self.problems(spec, &project, own.as_ref()).await
        };
        let violations = validate().await.map_err(to_status)?;
        let violations = violations
            .into_iter()
            .map(|Violation { field, description }| v1::Violation { field, description })
            .collect();
        Ok(Response::new(v1::ValidateWorkflowResponse { violations }))
    }

    async fn run_workflow(
        &self,
        request: Request<v1::RunWorkflowRequest>,
    ) -> Result<Response<v1::Execution>, Status> {
        let run = async || {
            let asked = request.get_ref();
            let workflow: WorkflowName = name("name", &asked.name)?;
            let caller = Caller::of(&request, &workflow.project)?;
            let input = asked.input.clone().unwrap_or_default();
            let input = definition::to_json(&input, limits::JSON_DEPTH_MAX)
                .map_err(|problem| Error::invalid("input", problem))?;
            let run = RunRequest {
                input: JsonText::from_value(&input),
                request_id: &asked.request_id,
                traceparent: context::current_traceparent(),
            };
            let actor = caller.actor(&asked.request_id);
            self.app
                .run_workflow(&actor, &workflow, run, decoder(workflow.project.clone()))
                .await
        };
        run()
            .await
            .map(|row| Response::new(map::execution(row, Vec::new())))
            .map_err(to_status)
    }

    async fn list_upcoming_runs(
        &self,
        request: Request<v1::ListUpcomingRunsRequest>,
    ) -> Result<Response<v1::ListUpcomingRunsResponse>, Status> {
        let list = async || {
            let asked = request.get_ref();
            let workflow: WorkflowName = name("name", &asked.name)?;
            Caller::of(&request, &workflow.project)?;
            let count = match usize::try_from(asked.count) {
                Ok(0) => UPCOMING_DEFAULT,
                Ok(count) if count <= UPCOMING_MAX => count,
                _ => {
                    let problem = format!("is {}; expected 1 to {UPCOMING_MAX}", asked.count);
                    return Err(Error::invalid("count", problem));
                }
            };
            let after = match asked.after {
                Some(after) => time::from_wire("after", after)
                    .map_err(|error| Error::invalid("after", error.to_string()))?,
                None => Timestamp::now(),
            };
            let decode = decoder(workflow.project.clone());
            self.app.upcoming(&workflow, after, count, decode).await
        };
        let Upcoming { version, ticks } = list().await.map_err(to_status)?;
        let runs = ticks.into_iter().map(|(tick, local_time)| v1::UpcomingRun {
            time: Some(time::to_wire(tick)),
            local_time,
        });
        Ok(Response::new(v1::ListUpcomingRunsResponse {
            runs: runs.collect(),
            workflow_version: version,
        }))
    }

    async fn get_webhook(
        &self,
        request: Request<v1::GetWebhookRequest>,
    ) -> Result<Response<v1::Webhook>, Status> {
        let get = async || {
            let workflow: WorkflowName = name("name", &request.get_ref().name)?;
            Caller::of(&request, &workflow.project)?;
            self.app
                .webhook(&workflow, decoder(workflow.project.clone()))
                .await
        };
        let access = get().await.map_err(to_status)?;
        let is_sns = matches!(access.trigger, Trigger::AmazonSns(_));
        let keys = access
            .trigger
            .api_keys()
            .iter()
            .map(ToString::to_string)
            .collect();
        Ok(Response::new(subscribe_kit::webhook(
            access.url, keys, is_sns,
        )))
    }
}
