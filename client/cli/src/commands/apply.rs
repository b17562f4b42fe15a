//! `signalbox apply`: makes keys and workflows be what files say.

mod files;
mod narrow;
mod perform;
mod plan;
pub(crate) mod resource;
mod show;

use signalbox_client::Client;
use signalbox_model::labels::LabelSelector;
use signalbox_proto::v1;

use self::plan::Plan;
use super::pages;
use crate::{
    CliError, Output,
    args::{ApplyArgs, Global, selector},
};

pub(crate) async fn run(
    global: &Global,
    arguments: ApplyArgs,
    output: &Output,
) -> Result<(), CliError> {
    let ApplyArgs {
        files,
        dry_run,
        prune,
        selector: labels,
    } = arguments;
    let labels = prune.then(|| selector(labels));
    let wanted = files::read(global, &files, labels.as_ref())?;
    let client = global.client()?;
    let plan = Plan::make(&client, &global.parent()?, wanted, labels.as_ref()).await?;
    if output.is_json() {
        // One value, whatever happens later: what was done is told by the exit code.
        output.raw(&show::json(&plan))?;
    } else {
        output.raw(&show::text(&plan, output.has_colour()))?;
    }
    if plan.is_empty() {
        return Ok(());
    }
    if dry_run {
        return Err(CliError::Drift);
    }
    perform::perform(&client, &plan, output).await
}

/// What lists are asked for to have these labels.
fn filter(labels: &LabelSelector) -> String {
    // CEL's texts are written as those of JSON.
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let labels = labels.iter();
    let compared: Vec<_> = labels
        .map(|(name, value)| format!("labels[{}] == {}", quoted(name), quoted(value)))
        .collect();
    compared.join(" && ")
}

/// The keys of `parent` with these labels.
pub(crate) async fn keys(
    client: &Client,
    parent: &str,
    labels: &LabelSelector,
) -> Result<Vec<v1::ApiKey>, CliError> {
    let request = || v1::ListApiKeysRequest {
        parent: parent.to_owned(),
        filter: filter(labels),
        ..Default::default()
    };
    Ok(pages!(
        client,
        usize::MAX,
        keys.list_api_keys(request()).api_keys
    ))
}

/// The workflows of `parent` with these labels, without specs.
pub(crate) async fn workflows(
    client: &Client,
    parent: &str,
    labels: &LabelSelector,
) -> Result<Vec<v1::Workflow>, CliError> {
    let request = || v1::ListWorkflowsRequest {
        parent: parent.to_owned(),
        filter: filter(labels),
        ..Default::default()
    };
    Ok(pages!(
        client,
        usize::MAX,
        workflows.list_workflows(request()).workflows
    ))
}

#[cfg(test)]
mod tests;
