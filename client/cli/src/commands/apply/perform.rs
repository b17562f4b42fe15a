//! What a plan says is done, one after the other, until something is refused.

use prost_types::FieldMask;
use signalbox_client::{Client, ClientError};
use signalbox_model::{error::RESOURCE_DELETED, violation::Violation};
use signalbox_proto::v1;
use tonic::Code;

use super::{
    files::{Wanted, refused},
    narrow::meanwhile,
    plan::{Change, Plan},
    resource::{Current, Resource},
};
use crate::{
    CliError, Output,
    commands::{call, once},
};

pub(super) async fn perform(client: &Client, plan: &Plan, output: &Output) -> Result<(), CliError> {
    let mut done = 0;
    let failed = |error: CliError, change: &Change, done: usize| {
        if done > 0 && !output.is_json() {
            let left = plan.changes.len() - done;
            // What was done stays done: the next apply goes on from there.
            let _ = output.line(&format!("{done} done, {left} left"));
        }
        told(error, change)
    };
    let mut late = Vec::new();
    for change in &plan.changes {
        if let Change::Update(wanted, current) = change
            && let Some(both) = meanwhile(&wanted.resource, &current.resource)
        {
            let etag = widen(client, &both, current).await;
            let etag = etag.map_err(|error| failed(error, change, done))?;
            late.push((change, &wanted.resource, etag));
            continue;
        }
        let said = match change {
            Change::Create(wanted) => create(client, &wanted.resource).await,
            Change::Update(wanted, current) => {
                update(client, &wanted.resource, &current.etag).await
            }
            Change::Undelete(wanted, current) => undelete(client, wanted, current).await,
            Change::Delete(current) => delete(client, current).await,
        };
        let said = said.map_err(|error| failed(error, change, done))?;
        output.line(&format!("{said} {}", change.name()))?;
        done += 1;
    }
    for (change, wanted, etag) in late {
        let said = update(client, wanted, &etag).await;
        let said = said.map_err(|error| failed(error, change, done))?;
        output.line(&format!("{said} {}", change.name()))?;
        done += 1;
    }
    Ok(())
}

/// Makes a key what it is to be meanwhile, if it is not; gives its etag.
async fn widen(client: &Client, both: &Resource, current: &Current) -> Result<String, CliError> {
    match both {
        Resource::Key(manifest) if *both != current.resource => {
            update_key(client, manifest, &current.etag).await
        }
        _ => Ok(current.etag.clone()),
    }
}

/// Gives the new etag.
async fn update_key(
    client: &Client,
    manifest: &v1::ApiKeyManifest,
    etag: &str,
) -> Result<String, CliError> {
    let paths = [
        "display_name",
        "rate_limit",
        "expire_time",
        "workflows",
        "source_networks",
        "labels",
    ];
    let request = v1::UpdateApiKeyRequest {
        api_key: Some(key_of(manifest, etag)),
        update_mask: Some(FieldMask {
            paths: paths.map(str::to_owned).to_vec(),
        }),
    };
    Ok(once!(client, keys.update_api_key(request)).etag)
}

/// The error as it concerns whoever applies files.
fn told(error: CliError, change: &Change) -> CliError {
    let CliError::Client(ClientError::Api(api)) = &error else {
        return error;
    };
    let is_overtaken = match change {
        Change::Create(_) => api.code == Code::AlreadyExists,
        Change::Update(..) | Change::Delete(_) => {
            matches!(api.code, Code::Aborted | Code::NotFound)
                || api.reason.as_deref() == Some(RESOURCE_DELETED)
        }
        Change::Undelete(..) => matches!(
            api.code,
            Code::Aborted | Code::NotFound | Code::AlreadyExists
        ),
    };
    if is_overtaken {
        let text = "was changed by somebody else since the plan was made; apply again";
        return CliError::Failed(format!("{} {text}", change.name()));
    }
    match change {
        Change::Create(wanted) | Change::Update(wanted, _) | Change::Undelete(wanted, _)
            if !api.violations.is_empty() =>
        {
            let problems = api.violations.iter();
            refused(problems.map(|problem| at_file(wanted, problem)).collect())
        }
        _ => error,
    }
}

/// A problem of the request at its place in the file.
fn at_file(wanted: &Wanted, Violation { field, description }: &Violation) -> String {
    let field = match field.split_once('.') {
        Some(("workflow" | "api_key", field)) => field,
        _ => field,
    };
    let field = field
        .replace("display_name", "displayName")
        .replace("expire_time", "spec.expireTime")
        .replace("rate_limit", "spec.rateLimit")
        .replace("source_networks", "spec.sourceNetworks")
        .replace("workflows", "spec.workflows");
    wanted.problem(&Violation::new(field, description.clone()))
}

/// The project of a resource, and its id in there.
fn parts<'n>(name: &'n str, collection: &str) -> (&'n str, &'n str) {
    let parts = name.split_once(collection).unwrap_or_default();
    (
        parts.0.trim_end_matches('/'),
        parts.1.trim_start_matches('/'),
    )
}

fn key_of(manifest: &v1::ApiKeyManifest, etag: &str) -> v1::ApiKey {
    let spec = manifest.spec.clone().unwrap_or_default();
    v1::ApiKey {
        name: manifest.name.clone(),
        display_name: manifest.display_name.clone(),
        labels: manifest.labels.clone(),
        expire_time: spec.expire_time,
        rate_limit: spec.rate_limit,
        workflows: spec.workflows,
        source_networks: spec.source_networks,
        etag: etag.to_owned(),
        ..Default::default()
    }
}

fn workflow_of(manifest: &v1::WorkflowManifest, etag: &str) -> v1::Workflow {
    v1::Workflow {
        name: manifest.name.clone(),
        display_name: manifest.display_name.clone(),
        description: manifest.description.clone(),
        labels: manifest.labels.clone(),
        spec: manifest.spec.clone(),
        etag: etag.to_owned(),
        ..Default::default()
    }
}

async fn create(client: &Client, resource: &Resource) -> Result<&'static str, CliError> {
    let request_id = uuid::Uuid::new_v4().to_string();
    match resource {
        Resource::Key(manifest) => {
            let (parent, id) = parts(&manifest.name, "/apiKeys/");
            let request = v1::CreateApiKeyRequest {
                parent: parent.to_owned(),
                api_key_id: id.to_owned(),
                api_key: Some(key_of(manifest, "")),
                request_id,
            };
            call!(client, keys.create_api_key(request));
        }
        Resource::Workflow(manifest) => {
            let (parent, id) = parts(&manifest.name, "/workflows/");
            let request = v1::CreateWorkflowRequest {
                parent: parent.to_owned(),
                workflow_id: id.to_owned(),
                workflow: Some(workflow_of(manifest, "")),
                publish: true,
                request_id,
            };
            call!(client, workflows.create_workflow(request));
        }
    }
    Ok("created")
}

async fn update(
    client: &Client,
    resource: &Resource,
    etag: &str,
) -> Result<&'static str, CliError> {
    match resource {
        Resource::Key(manifest) => {
            update_key(client, manifest, etag).await?;
        }
        Resource::Workflow(manifest) => {
            let request = v1::UpdateWorkflowRequest {
                workflow: Some(workflow_of(manifest, etag)),
                publish: true,
                update_mask: None,
            };
            once!(client, workflows.update_workflow(request));
        }
    }
    Ok("updated")
}

/// Brings it back, and makes it what is wanted.
async fn undelete(
    client: &Client,
    wanted: &Wanted,
    current: &Current,
) -> Result<&'static str, CliError> {
    let (name, etag) = (current.resource.name().to_owned(), current.etag.clone());
    let etag = match &current.resource {
        Resource::Key(_) => {
            let request = v1::UndeleteApiKeyRequest { name, etag };
            once!(client, keys.undelete_api_key(request)).etag
        }
        Resource::Workflow(_) => {
            // What its published version names may be gone; it is published when it is what is wanted.
            let unpublished = current.resource != wanted.resource;
            let request = v1::UndeleteWorkflowRequest {
                name,
                etag,
                unpublished,
            };
            once!(client, workflows.undelete_workflow(request)).etag
        }
    };
    if !current.is_live || current.resource != wanted.resource {
        update(client, &wanted.resource, &etag).await?;
    }
    Ok("undeleted")
}

async fn delete(client: &Client, current: &Current) -> Result<&'static str, CliError> {
    let (name, etag) = (current.resource.name().to_owned(), current.etag.clone());
    match &current.resource {
        Resource::Key(_) => {
            once!(
                client,
                keys.delete_api_key(v1::DeleteApiKeyRequest {
                    name,
                    etag,
                    purge: false
                })
            );
        }
        Resource::Workflow(_) => {
            let request = v1::DeleteWorkflowRequest {
                name,
                etag,
                purge: false,
            };
            once!(client, workflows.delete_workflow(request));
        }
    }
    Ok("deleted")
}
