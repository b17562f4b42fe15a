//! `signalbox workflows apply`.

use signalbox_client::{Client, ClientError};
use signalbox_proto::v1;

use super::{call, file::WorkflowFile, find, once};
use crate::{CliError, Output};

/// Creates the workflow of a file, or brings it up to date.
pub(super) async fn apply(
    client: &Client,
    file: &WorkflowFile,
    publish: bool,
    output: &Output,
) -> Result<(), CliError> {
    let (done, what) = match write(client, file.workflow(), publish).await {
        Err(CliError::Client(ClientError::Api(error))) if !error.violations.is_empty() => {
            return Err(file.refused(&error.violations));
        }
        other => other?,
    };
    output.message(&done, |done| {
        let published = match done.published_version {
            0 => "nothing is published".to_owned(),
            version => format!("version {version} is published"),
        };
        format!(
            "{what} {} (latest version {}; {published})",
            done.name, done.latest_version
        )
    })
}

async fn write(
    client: &Client,
    workflow: &v1::Workflow,
    publish: bool,
) -> Result<(v1::Workflow, &'static str), CliError> {
    let found = match find(client, &workflow.name).await? {
        Some(deleted) if deleted.delete_time.is_some() => {
            let request = v1::UndeleteWorkflowRequest {
                name: deleted.name,
                etag: deleted.etag,
                // What its published version names may be gone; the new one is published right away.
                unpublished: publish,
            };
            let before = once!(client, workflows.undelete_workflow(request));
            Some((before, true))
        }
        found => found.map(|before| (before, false)),
    };
    match found {
        Some((before, was_deleted)) => {
            let mut workflow = workflow.clone();
            if workflow.etag.is_empty() || was_deleted {
                // Whoever changed it meanwhile is told, not overwritten.
                workflow.etag.clone_from(&before.etag);
            }
            let request = v1::UpdateWorkflowRequest {
                workflow: Some(workflow),
                publish,
                update_mask: None,
            };
            let after = once!(client, workflows.update_workflow(request));
            let what = match (was_deleted, after.etag == before.etag) {
                (true, _) => "undeleted",
                (false, true) => "unchanged",
                (false, false) => "updated",
            };
            Ok((after, what))
        }
        None => {
            let (parent, id) = workflow.name.split_once("/workflows/").unwrap_or_default();
            let request = v1::CreateWorkflowRequest {
                parent: parent.to_owned(),
                workflow_id: id.to_owned(),
                workflow: Some(workflow.clone()),
                publish,
                request_id: uuid::Uuid::new_v4().to_string(),
            };
            Ok((call!(client, workflows.create_workflow(request)), "created"))
        }
    }
}
