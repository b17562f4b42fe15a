//! The ticks of schedules.

use jiff::Timestamp;
use signalbox_model::{
    error::Error,
    ids::{ExecutionId, ExecutionName, ProjectId, WorkflowName},
    schedule::Schedule,
    violation::Violations,
    workflow::{ScheduleTrigger, Trigger, Workflow as Valid},
};

use super::{App, runs::Start};
use crate::store::{NEVER_US, ScheduleRow, Tx};

/// Schedules that are seen to in one look.
const LOOK_MAX: u64 = 500;
/// How long a schedule is left alone that cannot be read.
const BROKEN_PAUSE_US: i64 = 60_000_000;

/// Ticks to come.
#[derive(Clone, Debug)]
pub struct Upcoming {
    /// Of which version.
    pub version: i64,
    /// Each, and what the clock shows then that the schedule goes by.
    pub ticks: Vec<(Timestamp, String)>,
}

impl App {
    /// Makes the ticks that are due at `now`; says when the next is, if one is known. `decode` reads a version's source.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tick(
        &self,
        now: Timestamp,
        decode: impl Fn(&[u8], &ProjectId) -> Result<Valid, Violations>,
    ) -> Result<Option<Timestamp>, Error> {
        let due = self.store.due_schedules(now.as_microsecond(), LOOK_MAX);
        for row in due.await? {
            // One that fails keeps none of the others from ticking.
            if let Err(error) = self.tick_one(&row, now, &decode).await {
                let (project, workflow) = (&row.project, &row.workflow);
                tracing::warn!(project, workflow, %error, "a schedule could not be seen to");
            }
        }
        let next = self.store.next_tick_us().await?;
        Ok(next.and_then(|next| Timestamp::from_microsecond(next).ok()))
    }

    async fn tick_one(
        &self,
        row: &ScheduleRow,
        now: Timestamp,
        decode: impl Fn(&[u8], &ProjectId) -> Result<Valid, Violations>,
    ) -> Result<(), Error> {
        let name = workflow_of(row)?;
        let made = self
            .store
            .write(async |tx| make_ticks(tx, &name, row, now, &decode).await)
            .await?;
        if made > 0 {
            metrics::counter!("signalbox_schedule_ticks_total").increment(made);
        }
        Ok(())
    }

    /// The next ticks of a workflow after `after`, at most `max`, by its published version, or else its latest.
    ///
    /// # Errors
    /// `NotFound`; `Precondition` when its trigger is no schedule.
    pub async fn upcoming(
        &self,
        name: &WorkflowName,
        after: Timestamp,
        max: usize,
        decode: impl Fn(&[u8]) -> Result<Valid, Violations>,
    ) -> Result<Upcoming, Error> {
        let row = self.live_workflow(name).await?;
        let version = match row.published_version {
            0 => row.latest_version,
            published => published,
        };
        let source = self.store.workflow_version(name, version).await?.source;
        let workflow = decode(&source)?;
        let Trigger::Schedule(ScheduleTrigger { schedule, .. }) = workflow.trigger() else {
            return Err(Error::Precondition {
                subject: name.to_string(),
                reason: "NO_SCHEDULE",
                message: "the workflow's trigger is no schedule".to_owned(),
            });
        };
        let ticks = schedule.after(after).take(max);
        Ok(Upcoming {
            version,
            ticks: ticks.map(|tick| shown(schedule, tick)).collect(),
        })
    }
}

fn shown(schedule: &Schedule, tick: Timestamp) -> (Timestamp, String) {
    (tick, schedule.local(tick).to_string())
}

fn workflow_of(row: &ScheduleRow) -> Result<WorkflowName, Error> {
    let text = format!("projects/{}/workflows/{}", row.project, row.workflow);
    text.parse().map_err(|error| Error::Internal {
        message: format!("a stored name cannot be read: {error}"),
    })
}

/// Moves one schedule on to `now`, and starts what that brings; says how many.
async fn make_ticks(
    tx: &mut Tx,
    name: &WorkflowName,
    row: &ScheduleRow,
    now: Timestamp,
    decode: impl Fn(&[u8], &ProjectId) -> Result<Valid, Violations>,
) -> Result<u64, Error> {
    let now_us = now.as_microsecond();
    let workflow = match tx.workflow(name).await {
        Ok(workflow) => workflow,
        Err(Error::NotFound { .. }) => {
            tx.delete_schedule(name).await?;
            return Ok(0);
        }
        Err(error) => return Err(error),
    };
    let source = tx
        .workflow_version(name, workflow.published_version)
        .await?;
    let definition = match decode(&source.source, &name.project) {
        Ok(definition) => definition,
        Err(error) => {
            tracing::error!(workflow = %name, %error, "a published definition cannot be read: its schedule waits");
            tx.move_schedule(row, row.after_us, now_us + BROKEN_PAUSE_US)
                .await?;
            return Ok(0);
        }
    };
    let Trigger::Schedule(ScheduleTrigger { schedule, input }) = definition.trigger() else {
        tx.delete_schedule(name).await?;
        return Ok(0);
    };
    let after = Timestamp::from_microsecond(row.after_us).unwrap_or(now);
    let due = schedule.due(after, now);
    let after_us = due.last.map_or(row.after_us, Timestamp::as_microsecond);
    let next_us = due.next.map_or(NEVER_US, Timestamp::as_microsecond);
    if !tx.move_schedule(row, after_us, next_us).await? {
        return Ok(0);
    }
    if due.skipped {
        tracing::warn!(workflow = %name, "ticks were missed, and do not run");
        metrics::counter!("signalbox_schedule_misfires_total").increment(1);
    }
    let mut made = 0;
    for tick in due.run {
        let time = tick.to_string();
        let execution = ExecutionName {
            project: name.project.clone(),
            execution: ExecutionId::derive(name, "schedule", &time, None),
        };
        if tx.find_execution(&execution).await?.is_some() {
            continue;
        }
        let start = Start {
            workflow: &workflow,
            execution: &execution,
            input,
            traceparent: None,
            schedule_time_us: Some((tick.as_microsecond(), &time)),
        };
        start.insert(tx).await?;
        made += 1;
    }
    Ok(made)
}
