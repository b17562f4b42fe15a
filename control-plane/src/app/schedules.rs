//! The ticks of schedules.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use signalbox_model::{
    error::Error,
    ids::{ExecutionId, ExecutionName, ProjectId, WorkflowName},
    limits,
    schedule::Schedule,
    violation::Violations,
    workflow::{ScheduleTrigger, Trigger, Workflow as Valid},
};

use super::{App, runs::Start};
use crate::store::{NEVER_US, ScheduleRow, Tx};

/// Schedules that are seen to in one look.
const LOOK_MAX: u64 = 10_000;
/// Schedules that are seen to in one transaction.
const TOGETHER_MAX: usize = 50;
/// How long a schedule is left alone that cannot be read.
const BROKEN_PAUSE_US: i64 = 60_000_000;

/// What was looked at before: what comes late only because there was so much to do is not missed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Looks(Option<Covered>);

#[derive(Clone, Copy, Debug)]
struct Covered {
    /// All that was due until then has been seen to.
    until: Timestamp,
    /// When the last look ended.
    ended: Timestamp,
}

impl Looks {
    /// What is not later than this is missed, in a look at `now`.
    fn late(self, now: Timestamp) -> Timestamp {
        let before = |time: Timestamp, by| time.checked_sub(by).unwrap_or(Timestamp::MIN);
        let late = before(now, limits::SCHEDULE_GRACE);
        match self.0 {
            // Nobody looked for a time: it was not for want of time.
            Some(Covered { ended, .. }) if ended < late => late,
            Some(Covered { until, .. }) => {
                late.min(until.max(before(late, limits::SCHEDULE_BUSY_MAX)))
            }
            None => late,
        }
    }

    /// A look at `now` has ended after `took`. It saw to all that was due (`is_whole`), or to some.
    pub(crate) fn ended(&mut self, now: Timestamp, took: Duration, is_whole: bool) {
        let until = if is_whole { now } else { self.late(now) };
        let ended = now.checked_add(took).unwrap_or(now);
        self.0 = Some(Covered { until, ended });
    }
}

/// Ticks to come.
#[derive(Clone, Debug)]
pub struct Upcoming {
    /// Of which version.
    pub version: i64,
    /// Each, and what the clock shows then that the schedule goes by.
    pub ticks: Vec<(Timestamp, String)>,
}

impl App {
    /// Makes the ticks that are due at `now`; says when the next is, if one is known. `looks` are those before, of this process;
    /// `decode` reads a version's source.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn tick(
        &self,
        now: Timestamp,
        looks: &mut Looks,
        decode: impl Fn(&[u8], &ProjectId) -> Result<Valid, Violations>,
    ) -> Result<Option<Timestamp>, Error> {
        let started = Instant::now();
        // Where the database fails, what is late is so for that.
        let before = std::mem::take(looks);
        let times = (before.late(now), now);
        let due = self.store.due_schedules(now.as_microsecond(), LOOK_MAX);
        let due = due.await?;
        for rows in due.chunks(TOGETHER_MAX) {
            if self.tick_all(rows, times, &decode).await.is_ok() {
                continue;
            }
            // One that fails keeps none of the others from ticking.
            for row in rows {
                if let Err(error) = self
                    .tick_all(std::slice::from_ref(row), times, &decode)
                    .await
                {
                    let (project, workflow) = (&row.project, &row.workflow);
                    tracing::warn!(project, workflow, %error, "a schedule could not be seen to");
                }
            }
        }
        let next = self.store.next_tick_us().await?;
        *looks = before;
        looks.ended(now, started.elapsed(), (due.len() as u64) < LOOK_MAX);
        Ok(next.and_then(|next| Timestamp::from_microsecond(next).ok()))
    }

    /// Sees to some schedules in one transaction.
    async fn tick_all(
        &self,
        rows: &[ScheduleRow],
        times: (Timestamp, Timestamp),
        decode: impl Fn(&[u8], &ProjectId) -> Result<Valid, Violations>,
    ) -> Result<(), Error> {
        let made = self
            .store
            .write(async |tx| {
                let mut made = 0;
                for row in rows {
                    made += make_ticks(tx, &workflow_of(row)?, row, times, &decode).await?;
                }
                Ok(made)
            })
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

/// Moves one schedule on to `now`, and starts what that brings; says how many. What is not later than `late` was missed.
async fn make_ticks(
    tx: &mut Tx,
    name: &WorkflowName,
    row: &ScheduleRow,
    (late, now): (Timestamp, Timestamp),
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
    let due = schedule.due_since(after, late, now);
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
