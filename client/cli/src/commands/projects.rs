//! `signalbox projects`.

use signalbox_proto::v1;

use super::call;
use crate::{
    CliError, Output,
    args::{Global, ProjectsCommand},
};

pub(crate) async fn run(
    global: &Global,
    command: ProjectsCommand,
    output: &Output,
) -> Result<(), CliError> {
    let client = global.client()?;
    let name = global.parent()?;
    let project = match command {
        ProjectsCommand::Get => {
            call!(client, projects.get_project(v1::GetProjectRequest { name }))
        }
        ProjectsCommand::Update {
            history_retention,
            no_history_retention: _, // what is left when there is none
        } => {
            let retention = history_retention.map(signalbox_proto::convert::time::duration_to_wire);
            let request = v1::UpdateProjectRequest {
                project: Some(v1::Project {
                    name,
                    history_retention: retention,
                    ..Default::default()
                }),
            };
            call!(client, projects.update_project(request))
        }
    };
    output.message(&project, shown)
}

fn shown(project: &v1::Project) -> String {
    let kept = project.effective_history_retention.unwrap_or_default();
    let whose = match &project.history_retention {
        Some(_) => "its own",
        None => "the control plane's",
    };
    format!(
        "project    {}\nhistory    kept for {} ({whose})\n",
        project.name,
        span(kept.seconds)
    )
}

/// So many seconds, in the largest unit that they are a number of.
fn span(seconds: i64) -> String {
    let units = [(86_400, "d"), (3_600, "h"), (60, "m")];
    let unit = units.into_iter().find(|(unit, _)| seconds % unit == 0);
    let (unit, name) = unit.unwrap_or((1, "s"));
    format!("{}{name}", seconds / unit)
}
