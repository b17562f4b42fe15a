//! Schedules: at which times a workflow ticks, and what becomes of ticks that were missed.
//!
//! Ticks follow from the schedule alone, never from when a process was started, so that every replica, and whoever only
//! asks for the next ones, comes to the same.

use std::{collections::VecDeque, time::Duration};

use jiff::{SignedDuration, Timestamp, ZonedDateTime, tz::TimeZone};

use crate::limits;

mod cron;

pub use cron::{Cron, CronError};

/// At which times a workflow ticks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    when: When,
    misfire: Misfire,
    start: Option<Timestamp>,
    end: Option<Timestamp>,
}

/// The rule of a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    /// At the start and every so long after it; without a start, at the multiples of it since the Unix epoch.
    Rate(Rate),
    /// By the clock of a time zone.
    Cron(Cron),
}

/// A distance between ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(SignedDuration);

/// Why a duration is no [`Rate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RateError {
    /// Too short or too long.
    #[error("must be from 1 second to 366 days")]
    Range,
    /// Finer than a millisecond.
    #[error("must be whole milliseconds")]
    Fine,
}

impl TryFrom<Duration> for Rate {
    type Error = RateError;
    fn try_from(rate: Duration) -> Result<Self, RateError> {
        if !(limits::SCHEDULE_RATE_MIN..=limits::SCHEDULE_RATE_MAX).contains(&rate) {
            return Err(RateError::Range);
        }
        if !rate.subsec_nanos().is_multiple_of(1_000_000) {
            return Err(RateError::Fine);
        }
        SignedDuration::try_from(rate)
            .map(Self)
            .map_err(|_| RateError::Range)
    }
}

/// What becomes of ticks that were missed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Misfire {
    /// Nothing.
    #[default]
    Skip,
    /// The newest runs.
    RunOnce,
    /// The newest of them run, at most so many.
    RunAll(usize),
}

/// Why a schedule cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScheduleError {
    /// It ends before it starts.
    #[error("must be later than startTime")]
    EndsFirst,
    /// It starts at a fraction of a millisecond.
    #[error("must be whole milliseconds")]
    Fine,
    /// It never ticks.
    #[error("lets the schedule end before its first tick")]
    Never,
}

/// The ticks that are to be made at a time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Due {
    /// Those to run, oldest first.
    pub run: Vec<Timestamp>,
    /// Whether there were missed ones that are not.
    pub skipped: bool,
    /// The newest tick that has passed, whatever became of it.
    pub last: Option<Timestamp>,
    /// The first to come.
    pub next: Option<Timestamp>,
}

impl Schedule {
    /// A schedule.
    ///
    /// # Errors
    /// [`ScheduleError`].
    pub fn new(
        when: When,
        misfire: Misfire,
        start: Option<Timestamp>,
        end: Option<Timestamp>,
    ) -> Result<Self, ScheduleError> {
        if let (Some(start), Some(end)) = (start, end)
            && end <= start
        {
            return Err(ScheduleError::EndsFirst);
        }
        if start.is_some_and(|start| start.subsec_nanosecond() % 1_000_000 != 0) {
            return Err(ScheduleError::Fine);
        }
        let schedule = Self {
            when,
            misfire,
            start,
            end,
        };
        match schedule.next_after(Timestamp::UNIX_EPOCH) {
            Some(_) => Ok(schedule),
            None => Err(ScheduleError::Never),
        }
    }

    /// The first tick later than `time`; none after the last.
    #[must_use]
    pub fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        const INSTANT: SignedDuration = SignedDuration::from_nanos(1);
        let time = match self.start {
            Some(start) if start > time => start.checked_sub(INSTANT).unwrap_or(Timestamp::MIN),
            _ => time,
        };
        let next = match &self.when {
            When::Rate(Rate(rate)) => {
                let anchor = self.start.unwrap_or(Timestamp::UNIX_EPOCH);
                let rate = rate.as_nanos();
                let passed = time.duration_since(anchor).as_nanos();
                let next = (passed.div_euclid(rate) + 1).checked_mul(rate)?;
                Timestamp::from_nanosecond(anchor.as_nanosecond().checked_add(next)?).ok()?
            }
            When::Cron(cron) => cron.next_after(time)?,
        };
        match self.end {
            Some(end) if next > end => None,
            _ => Some(next),
        }
    }

    /// The ticks later than `time`, in order.
    pub fn after(&self, time: Timestamp) -> impl Iterator<Item = Timestamp> {
        std::iter::successors(self.next_after(time), |time| self.next_after(*time))
    }

    /// What is to be done at `now` about the ticks later than `after`: those of the last
    /// [`limits::SCHEDULE_GRACE`] run, and those before them are missed.
    #[must_use]
    pub fn due(&self, after: Timestamp, now: Timestamp) -> Due {
        let late = now.checked_sub(limits::SCHEDULE_GRACE);
        self.due_since(after, late.unwrap_or(Timestamp::MIN), now)
    }

    /// The same where those until `late` are missed.
    #[must_use]
    pub fn due_since(&self, after: Timestamp, late: Timestamp, now: Timestamp) -> Due {
        let wanted = match self.misfire {
            Misfire::Skip => 0,
            Misfire::RunOnce => 1,
            Misfire::RunAll(max) => max,
        };
        // One more than wanted tells whether there are others.
        let mut missed = self.newest(after, late, wanted + 1);
        let last_missed = missed.back().copied();
        let skipped = missed.len() > wanted;
        missed.drain(..missed.len().saturating_sub(wanted));
        let mut run = Vec::from(missed);
        let mut next = None;
        for tick in self.after(after.max(late)) {
            if tick > now {
                next = Some(tick);
                break;
            }
            run.push(tick);
        }
        Due {
            skipped,
            last: run.last().copied().or(last_missed),
            run,
            next,
        }
    }

    /// The newest ticks in (`after`, `until`], at most `max`, oldest first. It looks no further back than it must.
    fn newest(&self, after: Timestamp, until: Timestamp, max: usize) -> VecDeque<Timestamp> {
        /// How much further back each next look goes.
        const FURTHER: i32 = 8;
        let shortest = match &self.when {
            When::Rate(Rate(rate)) => *rate,
            When::Cron(_) => SignedDuration::from_mins(1),
        };
        let mut span = shortest.saturating_mul(i32::try_from(max).unwrap_or(i32::MAX));
        loop {
            let from = until
                .checked_sub(span)
                .map_or(after, |from| from.max(after));
            let mut found = VecDeque::with_capacity(max + 1);
            for tick in self.after(from).take_while(|tick| *tick <= until) {
                if found.len() == max {
                    found.pop_front();
                }
                found.push_back(tick);
            }
            if found.len() >= max || from <= after {
                return found;
            }
            span = span.saturating_mul(FURTHER);
        }
    }

    /// `time` as the clock shows it that the schedule goes by.
    #[must_use]
    pub fn local(&self, time: Timestamp) -> ZonedDateTime {
        match &self.when {
            When::Rate(_) => time.to_zoned_datetime(TimeZone::UTC),
            When::Cron(cron) => time.to_zoned_datetime(cron.time_zone().clone()),
        }
    }
}

#[cfg(test)]
mod tests;
