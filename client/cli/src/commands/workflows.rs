//! `signalbox workflows`.

use std::path::Path;

use signalbox_client::{Client, ClientError};
use signalbox_model::ids::{ProjectId, ProjectName, WorkflowName};
use signalbox_proto::{
    convert::{definition, json},
    v1,
};
use tonic::Code;

use super::{call, executions, pages, read_text};
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

pub(crate) async fn run(
    global: &Global,
    command: WorkflowsCommand,
    output: &Output,
) -> Result<(), CliError> {
    if let WorkflowsCommand::Validate { file } = &command {
        let workflow = from_file(global, file)?;
        return output.line(&format!("{} is valid", workflow.name));
    }
    let client = global.client()?;
    let name = |id: &str| global.name(COLLECTION, id);
    let etag = String::new;
    match command {
        WorkflowsCommand::Validate { .. } => Ok(()),
        WorkflowsCommand::Apply { file, no_publish } => {
            apply(&client, from_file(global, &file)?, !no_publish, output).await
        }
        WorkflowsCommand::Get { id } => {
            let workflow = call!(
                client,
                workflows.get_workflow(v1::GetWorkflowRequest { name: name(&id) })
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
        WorkflowsCommand::List => {
            let request = || v1::ListWorkflowsRequest {
                parent: global.parent(),
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
            let request = || v1::ListWorkflowVersionsRequest {
                parent: name(&id),
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
                name: name(&id),
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
                name: name(&id),
                etag: etag(),
            };
            let workflow = call!(client, workflows.disable_workflow(request));
            output.message(&workflow, |w| format!("disabled {}", w.name))
        }
        WorkflowsCommand::Enable { id } => {
            let request = v1::EnableWorkflowRequest {
                name: name(&id),
                etag: etag(),
            };
            let workflow = call!(client, workflows.enable_workflow(request));
            output.message(&workflow, |w| format!("enabled {}", w.name))
        }
        WorkflowsCommand::Delete { id } => {
            let request = v1::DeleteWorkflowRequest {
                name: name(&id),
                etag: etag(),
            };
            call!(client, workflows.delete_workflow(request));
            output.line(&format!("deleted {}", name(&id)))
        }
        WorkflowsCommand::Run { id, input, watch } => {
            let input: serde_json::Value =
                serde_json::from_str(&input).map_err(|error| CliError::Data {
                    what: "--input is no JSON".to_owned(),
                    problems: vec![error.to_string()],
                })?;
            let request = v1::RunWorkflowRequest {
                name: name(&id),
                input: Some(definition::from_json(&input)),
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
        WorkflowsCommand::Webhook { id, kit } => {
            let webhook = call!(
                client,
                workflows.get_webhook(v1::GetWebhookRequest { name: name(&id) })
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

/// The workflow of a file: read, and checked as the control plane checks it.
fn from_file(global: &Global, file: &Path) -> Result<v1::Workflow, CliError> {
    let wrong = |problems| CliError::Data {
        what: format!("{} is no valid workflow", file.display()),
        problems,
    };
    let text = read_text(file)?;
    let mut workflow: v1::Workflow =
        json::from_yaml_str(&text).map_err(|error| wrong(vec![error.to_string()]))?;
    if workflow.name.is_empty() {
        return Err(wrong(vec!["name: is missing".to_owned()]));
    }
    workflow.name = global.name(COLLECTION, &workflow.name);
    let mut problems = Vec::new();
    let project = match workflow.name.parse::<WorkflowName>() {
        Ok(name) => name.project,
        Err(error) => {
            problems.push(format!("name: {error}"));
            let parent = global.parent().parse::<ProjectName>();
            parent.map_or_else(|_| ProjectId::default_project(), |parent| parent.project)
        }
    };
    match &workflow.spec {
        None => problems.push("spec: is missing".to_owned()),
        Some(spec) => {
            if let Err(violations) = definition::workflow(spec, &project) {
                problems.extend(
                    violations
                        .0
                        .iter()
                        .map(|violation| format!("spec.{violation}")),
                );
            }
        }
    }
    if problems.is_empty() {
        Ok(workflow)
    } else {
        Err(wrong(problems))
    }
}

/// Creates the workflow, or brings it up to date.
async fn apply(
    client: &Client,
    workflow: v1::Workflow,
    publish: bool,
    output: &Output,
) -> Result<(), CliError> {
    let get = v1::GetWorkflowRequest {
        name: workflow.name.clone(),
    };
    let found = client
        .idempotent(|| {
            let (mut workflows, get) = (client.workflows(), get.clone());
            async move { workflows.get_workflow(get).await }
        })
        .await;
    let (done, what) = match found {
        Ok(before) => {
            let request = v1::UpdateWorkflowRequest {
                workflow: Some(v1::Workflow {
                    // Whoever changed it meanwhile is told, not overwritten.
                    etag: before.etag.clone(),
                    ..workflow
                }),
                publish,
            };
            let after = call!(client, workflows.update_workflow(request));
            let what = if after.etag == before.etag {
                "unchanged"
            } else {
                "updated"
            };
            (after, what)
        }
        Err(ClientError::Api(error)) if error.code == Code::NotFound => {
            let (parent, id) = workflow.name.split_once("/workflows/").unwrap_or_default();
            let request = v1::CreateWorkflowRequest {
                parent: parent.to_owned(),
                workflow_id: id.to_owned(),
                workflow: Some(workflow.clone()),
                publish,
                request_id: uuid::Uuid::new_v4().to_string(),
            };
            (call!(client, workflows.create_workflow(request)), "created")
        }
        Err(error) => return Err(error.into()),
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
