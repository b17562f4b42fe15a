//! `signalbox workflows`.

mod apply;
mod file;
mod next;
mod run_input;

use signalbox_client::Client;
use signalbox_proto::{
    convert::{json, schema},
    v1,
};

use self::file::WorkflowFile;
use super::{PAGE_SIZE, call, executions, if_found, once, pages};
use crate::{
    CliError, Output,
    args::{Global, Kit, WorkflowsCommand},
    output::{short, table, time, value},
};

const COLLECTION: &str = "workflows";
const HEADER: [&str; 6] = [
    "WORKFLOW",
    "STATE",
    "PUBLISHED",
    "LATEST",
    "DISPLAY NAME",
    "UPDATED",
];

fn row(workflow: &v1::Workflow) -> [String; 6] {
    let published = match workflow.published_version {
        0 => "none".to_owned(),
        version => version.to_string(),
    };
    [
        short(&workflow.name),
        value(workflow.state().as_str_name(), "WORKFLOW_STATE_"),
        published,
        workflow.latest_version.to_string(),
        workflow.display_name.clone(),
        time(workflow.update_time.as_ref()),
    ]
}

/// The spec of the published version; of a workflow without one, of the latest.
pub(crate) async fn published_spec(
    client: &Client,
    workflow: &v1::Workflow,
) -> Result<Option<v1::WorkflowSpec>, CliError> {
    if [0, workflow.latest_version].contains(&workflow.published_version) {
        return Ok(workflow.spec.clone());
    }
    let mut page_token = String::new();
    loop {
        let request = v1::ListWorkflowVersionsRequest {
            parent: workflow.name.clone(),
            page_size: PAGE_SIZE,
            page_token,
        };
        let page = call!(client, workflows.list_workflow_versions(request));
        // The newest come first.
        let mut versions = page.versions.into_iter();
        let reached = versions.find(|version| version.version <= workflow.published_version);
        if let Some(version) = reached {
            let is_it = version.version == workflow.published_version;
            return Ok(version.spec.filter(|_| is_it));
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(None);
        }
    }
}

/// The workflow, if there is one.
pub(crate) async fn find(client: &Client, name: &str) -> Result<Option<v1::Workflow>, CliError> {
    let get = v1::GetWorkflowRequest {
        name: name.to_owned(),
    };
    let found = client
        .idempotent(|| {
            let (mut workflows, get) = (client.workflows(), get.clone());
            async move { workflows.get_workflow(get).await }
        })
        .await;
    if_found(found)
}

pub(crate) async fn run(
    global: &Global,
    command: WorkflowsCommand,
    output: &Output,
) -> Result<(), CliError> {
    match &command {
        WorkflowsCommand::Schema => return output.raw(&format!("{:#}\n", schema::workflow())),
        WorkflowsCommand::Validate { file } => {
            let file = WorkflowFile::read(global, file)?;
            return output.message(file.workflow(), |workflow| {
                format!("{} is valid", workflow.name)
            });
        }
        _ => {}
    }
    if let WorkflowsCommand::Next {
        file: Some(file),
        count,
        ..
    } = &command
    {
        return next::of_file(&WorkflowFile::read(global, file)?, *count, output);
    }
    let client = global.client()?;
    let name = |id: &str| global.name(COLLECTION, id);
    let etag = String::new;
    match command {
        WorkflowsCommand::Validate { .. } | WorkflowsCommand::Schema => Ok(()),
        WorkflowsCommand::Apply { file, no_publish } => {
            let file = WorkflowFile::read(global, &file)?;
            apply::apply(&client, &file, !no_publish, output).await
        }
        WorkflowsCommand::Get { id } => {
            let workflow = call!(
                client,
                workflows.get_workflow(v1::GetWorkflowRequest { name: name(&id)? })
            );
            output.message(&workflow, |workflow| {
                let spec = workflow
                    .spec
                    .as_ref()
                    .map(json::to_string_pretty)
                    .unwrap_or_default();
                format!("{}\n\n{spec}", table(HEADER, [row(workflow)]))
            })
        }
        WorkflowsCommand::List { show_deleted } => {
            let parent = global.parent()?;
            let request = || v1::ListWorkflowsRequest {
                parent: parent.clone(),
                show_deleted,
                ..Default::default()
            };
            let all = pages!(
                client,
                usize::MAX,
                workflows.list_workflows(request()).workflows
            );
            output.list(&all, HEADER, row)
        }
        WorkflowsCommand::Versions { id } => {
            let parent = name(&id)?;
            let request = || v1::ListWorkflowVersionsRequest {
                parent: parent.clone(),
                ..Default::default()
            };
            let all = pages!(
                client,
                usize::MAX,
                workflows.list_workflow_versions(request()).versions
            );
            output.list(&all, ["VERSION", "CREATED", "CREATOR"], |version| {
                [
                    version.version.to_string(),
                    time(version.create_time.as_ref()),
                    version.creator.clone(),
                ]
            })
        }
        WorkflowsCommand::Publish { id, version } => {
            let request = v1::PublishWorkflowRequest {
                name: name(&id)?,
                version,
                etag: etag(),
            };
            let workflow = call!(client, workflows.publish_workflow(request));
            output.message(&workflow, |w| {
                format!("published {} version {}", w.name, w.published_version)
            })
        }
        WorkflowsCommand::Disable { id } => {
            let request = v1::DisableWorkflowRequest {
                name: name(&id)?,
                etag: etag(),
            };
            let workflow = call!(client, workflows.disable_workflow(request));
            output.message(&workflow, |w| format!("disabled {}", w.name))
        }
        WorkflowsCommand::Enable { id } => {
            let request = v1::EnableWorkflowRequest {
                name: name(&id)?,
                etag: etag(),
            };
            let workflow = call!(client, workflows.enable_workflow(request));
            output.message(&workflow, |w| format!("enabled {}", w.name))
        }
        WorkflowsCommand::Delete { id, purge } => {
            let name = name(&id)?;
            let request = v1::DeleteWorkflowRequest {
                name: name.clone(),
                etag: etag(),
                purge,
            };
            once!(client, workflows.delete_workflow(request));
            let done = if purge { "purged" } else { "deleted" };
            output.line(&format!("{done} {name}"))
        }
        WorkflowsCommand::Undelete { id, unpublished } => {
            let request = v1::UndeleteWorkflowRequest {
                name: name(&id)?,
                etag: etag(),
                unpublished,
            };
            let workflow = once!(client, workflows.undelete_workflow(request));
            output.message(&workflow, |w| format!("undeleted {}", w.name))
        }
        WorkflowsCommand::Run {
            id,
            input,
            input_file,
            watch,
        } => {
            let name = name(&id)?;
            let input = run_input::read(&client, &name, &input, input_file.as_deref()).await?;
            let request = v1::RunWorkflowRequest {
                name,
                input: Some(input),
                request_id: uuid::Uuid::new_v4().to_string(),
            };
            let execution = call!(client, workflows.run_workflow(request));
            if watch {
                return executions::watch(&client, &execution.name, output).await;
            }
            output.message(&execution, |execution| {
                format!("started {}", execution.name)
            })
        }
        WorkflowsCommand::Next { id, count, .. } => {
            let request = v1::ListUpcomingRunsRequest {
                name: name(&id.unwrap_or_default())?,
                count,
                after: None,
            };
            let answer = call!(client, workflows.list_upcoming_runs(request));
            next::show(&answer.runs, output)
        }
        WorkflowsCommand::Webhook { id, kit } => {
            let webhook = call!(
                client,
                workflows.get_webhook(v1::GetWebhookRequest { name: name(&id)? })
            );
            output.message(&webhook, |webhook| shown_webhook(webhook, kit))
        }
    }
}

fn shown_webhook(webhook: &v1::Webhook, kit: Option<Kit>) -> String {
    match kit {
        Some(Kit::Console) => webhook.console_steps.clone(),
        Some(Kit::AwsCli) => webhook.aws_cli.clone(),
        Some(Kit::Cloudformation) => webhook.cloudformation.clone(),
        Some(Kit::Terraform) => webhook.terraform.clone(),
        None => {
            let keys: Vec<String> = webhook.api_keys.iter().map(|key| short(key)).collect();
            let mut text = format!(
                "url       {}\nkeys      {}\nendpoint  {}\n",
                webhook.url,
                keys.join(", "),
                webhook.endpoint_template
            );
            if !webhook.console_steps.is_empty() {
                text.push_str("\nTo subscribe it to an Amazon SNS topic:\n");
                text.push_str(&webhook.console_steps);
                text.push_str("\nAs commands: --kit aws-cli, cloudformation or terraform.\n");
            }
            text
        }
    }
}
