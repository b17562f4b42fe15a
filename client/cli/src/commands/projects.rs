//! `signalbox projects`.

use std::{fmt::Write as _, time::Duration};

use prost_types::FieldMask;
use signalbox_proto::{convert::time::duration_to_wire, v1};

use super::{call, once, pages};
use crate::{
    CliError, Output,
    args::{Global, ProjectsCommand, Quota, QuotaArgs},
    output::{short, time, value},
};

const HEADER: [&str; 5] = ["PROJECT", "STATE", "DISPLAY NAME", "CREATED", "HISTORY"];

fn row(project: &v1::Project) -> [String; 5] {
    [
        short(&project.name),
        state(project),
        project.display_name.clone(),
        time(project.create_time.as_ref()),
        history(project),
    ]
}

fn state(project: &v1::Project) -> String {
    value(project.state().as_str_name(), "PROJECT_STATE_")
}

/// The name of a project: of an id that may be short, or that of `--project`.
fn name(global: &Global, id: Option<String>) -> Result<String, CliError> {
    match id {
        None => global.parent(),
        Some(id) if id.contains('/') => Ok(id),
        Some(id) => Ok(format!("projects/{id}")),
    }
}

pub(crate) async fn run(
    global: &Global,
    command: ProjectsCommand,
    output: &Output,
) -> Result<(), CliError> {
    let client = global.client()?;
    match command {
        ProjectsCommand::Create {
            id,
            display_name,
            history_retention,
            quotas,
        } => {
            let request = v1::CreateProjectRequest {
                project_id: id,
                project: Some(v1::Project {
                    display_name,
                    history_retention: history_retention.map(duration_to_wire),
                    quotas: Some(quotas_of(&quotas)),
                    ..Default::default()
                }),
                request_id: uuid::Uuid::new_v4().to_string(),
            };
            let project = call!(client, projects.create_project(request));
            output.message(&project, |project| format!("created {}", project.name))
        }
        ProjectsCommand::List { filter } => {
            let request = || v1::ListProjectsRequest {
                filter: filter.clone(),
                ..Default::default()
            };
            let all = pages!(
                client,
                usize::MAX,
                projects.list_projects(request()).projects
            );
            output.list(&all, HEADER, row)
        }
        ProjectsCommand::Get { id } => {
            let name = name(global, id)?;
            let request = v1::GetProjectRequest { name };
            let project = call!(client, projects.get_project(request));
            output.message(&project, shown)
        }
        ProjectsCommand::Update {
            id,
            display_name,
            history_retention,
            no_history_retention,
            quotas,
        } => {
            let change = (display_name, history_retention, no_history_retention);
            let request = update(name(global, id)?, change, &quotas);
            let project = call!(client, projects.update_project(request));
            output.message(&project, shown)
        }
        ProjectsCommand::Delete { id, force } => {
            let name = name(global, Some(id))?;
            let request = v1::DeleteProjectRequest {
                name: name.clone(),
                etag: String::new(),
                force,
            };
            once!(client, projects.delete_project(request));
            output.line(&format!("deleted {name}"))
        }
    }
}

fn quotas_of(given: &QuotaArgs) -> v1::ProjectQuotas {
    let number = |quota: Option<Quota>| quota.and_then(|quota| quota.0);
    v1::ProjectQuotas {
        workflows: number(given.quota_workflows),
        api_keys: number(given.quota_api_keys),
        events_per_second: number(given.quota_events_per_second),
        history_bytes: number(given.quota_history_bytes),
    }
}

fn update(
    name: String,
    (display_name, history_retention, no_history_retention): (
        Option<String>,
        Option<Duration>,
        bool,
    ),
    quotas: &QuotaArgs,
) -> v1::UpdateProjectRequest {
    let changes = [
        ("display_name", display_name.is_some()),
        (
            "history_retention",
            history_retention.is_some() || no_history_retention,
        ),
        ("quotas.workflows", quotas.quota_workflows.is_some()),
        ("quotas.api_keys", quotas.quota_api_keys.is_some()),
        (
            "quotas.events_per_second",
            quotas.quota_events_per_second.is_some(),
        ),
        ("quotas.history_bytes", quotas.quota_history_bytes.is_some()),
    ];
    let changed = changes.into_iter().filter(|(_, is_changed)| *is_changed);
    let paths = changed.map(|(path, _)| path.to_owned()).collect();
    v1::UpdateProjectRequest {
        project: Some(v1::Project {
            name,
            display_name: display_name.unwrap_or_default(),
            history_retention: history_retention.map(duration_to_wire),
            quotas: Some(quotas_of(quotas)),
            ..Default::default()
        }),
        update_mask: Some(FieldMask { paths }),
    }
}

fn history(project: &v1::Project) -> String {
    let kept = project.effective_history_retention.unwrap_or_default();
    let whose = match &project.history_retention {
        Some(_) => "its own",
        None => "the control plane's",
    };
    format!("kept for {} ({whose})", span(kept.seconds))
}

fn shown(project: &v1::Project) -> String {
    let mut text = format!("project    {}\n", project.name);
    let mut line = |name: &str, value: &str| {
        if !value.is_empty() {
            let _ = writeln!(text, "{name:<10} {value}");
        }
    };
    line("name", &project.display_name);
    if let Some(at) = &project.delete_time {
        let since = format!("{}, since {}", state(project), time(Some(at)));
        line("state", &since);
    }
    line("history", &history(project));
    let usage = project.usage.unwrap_or_default();
    let limits = project.effective_quotas.unwrap_or_default();
    let of = |used: i64, limit: Option<i64>| match limit.unwrap_or_default() {
        0 => used.to_string(),
        limit => format!("{used} of {limit}"),
    };
    if let Some(bytes) = usage.history_bytes {
        let bytes = format!("{} bytes", of(bytes, limits.history_bytes));
        line("", &bytes);
    }
    line("workflows", &of(usage.workflows, limits.workflows));
    line("keys", &of(usage.api_keys, limits.api_keys));
    if let Some(events @ 1..) = limits.events_per_second {
        let events = format!("at most {events} a second at each node");
        line("events", &events);
    }
    text
}

/// So many seconds, in the largest unit that they are a number of.
fn span(seconds: i64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "m")];
    let unit = units.into_iter().find(|(unit, _)| seconds % unit == 0);
    let (unit, name) = unit.unwrap_or((1, "s"));
    format!("{}{name}", seconds / unit)
}
