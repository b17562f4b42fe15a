//! `signalbox workflows next`.

use jiff::Timestamp;
use signalbox_model::{
    ids::WorkflowName,
    workflow::{ScheduleTrigger, Trigger},
};
use signalbox_proto::{
    convert::{definition, time as wire_time},
    v1,
};

use super::file::WorkflowFile;
use crate::{CliError, Output, output::time};

/// Shows the next runs of a file's schedule.
pub(super) fn of_file(file: &WorkflowFile, count: i32, output: &Output) -> Result<(), CliError> {
    let no_schedule = || CliError::Failed("the workflow's trigger is no schedule".to_owned());
    let workflow = file.workflow();
    // It was read as valid.
    let name: WorkflowName = workflow.name.parse().map_err(CliError::start)?;
    let spec = workflow.spec.as_ref().ok_or_else(no_schedule)?;
    let valid = definition::stored(spec, &name.project).map_err(CliError::start)?;
    let Trigger::Schedule(ScheduleTrigger { schedule, .. }) = valid.trigger() else {
        return Err(no_schedule());
    };
    let count = usize::try_from(count).unwrap_or_default();
    let ticks = schedule.after(Timestamp::now()).take(count);
    let runs: Vec<_> = ticks
        .map(|tick| v1::UpcomingRun {
            time: Some(wire_time::to_wire(tick)),
            local_time: schedule.local(tick).to_string(),
        })
        .collect();
    show(&runs, output)
}

/// Shows runs.
pub(super) fn show(runs: &[v1::UpcomingRun], output: &Output) -> Result<(), CliError> {
    output.list(runs, ["TIME", "LOCAL TIME"], |run| {
        [time(run.time.as_ref()), run.local_time.clone()]
    })
}
