//! `signalbox export`: keys and workflows as files for apply.

use std::path::Path;

use signalbox_client::Client;
use signalbox_proto::convert::json;

use super::apply::{
    self,
    resource::{KEYS, Resource, WORKFLOWS, find_key, find_workflow},
};
use crate::{
    CliError, Output,
    args::{ExportArgs, Global, selector},
};

pub(crate) async fn run(
    global: &Global,
    arguments: ExportArgs,
    output: &Output,
) -> Result<(), CliError> {
    let ExportArgs {
        names,
        selector: labels,
        dir,
    } = arguments;
    let client = global.client()?;
    let parent = global.parent()?;
    let mut resources = Vec::new();
    if names.is_empty() {
        let labels = selector(labels);
        for key in apply::keys(&client, &parent, &labels).await? {
            if key.revoke_time.is_none() {
                resources.push(Resource::of_key(&key));
            }
        }
        for workflow in apply::workflows(&client, &parent, &labels).await? {
            resources.push(named(&client, &workflow.name).await?);
        }
    } else {
        for name in names {
            let name = match name.starts_with("projects/") {
                true => name,
                false => format!("{parent}/{name}"),
            };
            resources.push(named(&client, &name).await?);
        }
    }
    // Files of the same are the same.
    resources.sort_by(|a, b| a.name().cmp(b.name()));
    match dir {
        Some(dir) => {
            for resource in &resources {
                output.line(&format!("wrote {}", write(&dir, resource)?))?;
            }
            Ok(())
        }
        None if output.is_json() => {
            let values: Vec<_> = resources
                .iter()
                .map(|resource| match resource {
                    Resource::Key(manifest) => json::to_value(manifest),
                    Resource::Workflow(manifest) => json::to_value(manifest),
                })
                .collect();
            output.raw(&format!("{:#}\n", serde_json::Value::Array(values)))
        }
        None => {
            let documents: Vec<_> = resources.iter().map(Resource::to_yaml).collect();
            output.raw(&documents.join("---\n"))
        }
    }
}

/// A key or a workflow by its full name.
async fn named(client: &Client, name: &str) -> Result<Resource, CliError> {
    let current = match name.split('/').nth(2) {
        Some(KEYS) => find_key(client, name).await?,
        Some(WORKFLOWS) => find_workflow(client, name).await?,
        _ => {
            let text = format!("{name} is neither {WORKFLOWS}/ID nor {KEYS}/ID");
            return Err(CliError::Usage(text));
        }
    };
    let current = current.ok_or_else(|| CliError::Failed(format!("{name} does not exist")))?;
    if current.is_deleted {
        return Err(CliError::Failed(format!("{name} is deleted")));
    }
    Ok(current.resource)
}

/// Writes the file of a resource; says where it is.
fn write(dir: &Path, resource: &Resource) -> Result<String, CliError> {
    let mut parts = resource.name().rsplit('/');
    let id = parts.next().unwrap_or_default();
    let folder = dir.join(parts.next().unwrap_or_default());
    std::fs::create_dir_all(&folder).map_err(|error| CliError::Write(folder.clone(), error))?;
    let path = folder.join(format!("{id}.yaml"));
    std::fs::write(&path, resource.to_yaml())
        .map_err(|error| CliError::Write(path.clone(), error))?;
    Ok(path.display().to_string())
}
