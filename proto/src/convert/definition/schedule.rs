//! `schedule`: starts the workflow at times.

use jiff::Timestamp;
use serde_json::Value;
use signalbox_model::{
    execution::JsonText,
    limits,
    schedule::{Cron, CronError, Misfire, Rate, Schedule, ScheduleError, When},
    violation::Collector,
    workflow::ScheduleTrigger,
};

use super::{texts::json, time};
use crate::v1;

const FIELD: &str = "trigger.schedule";

pub(super) fn schedule_of(
    schedule: &v1::ScheduleTrigger,
    problems: &mut Collector,
) -> Option<ScheduleTrigger> {
    let v1::ScheduleTrigger {
        when,
        time_zone,
        misfire,
        misfire_max,
        start_time,
        end_time,
        input,
    } = schedule;
    let when = when_of(when.as_ref(), time_zone, problems);
    let misfire = misfire_of(*misfire, *misfire_max, problems);
    let start = time_of("startTime", start_time.as_ref(), problems);
    let end = time_of("endTime", end_time.as_ref(), problems);
    let input = match input {
        Some(input) => json(&format!("{FIELD}.input"), input, problems),
        None => Some(Value::Null),
    };
    let input = JsonText::from_value(&input?);
    if input.as_str().len() > limits::RUN_INPUT_MAX_BYTES {
        let text = format!("has more than {} bytes", limits::RUN_INPUT_MAX_BYTES);
        problems.add(format!("{FIELD}.input"), text);
        return None;
    }
    match Schedule::new(when?, misfire?, start?, end?) {
        Ok(schedule) => Some(ScheduleTrigger { schedule, input }),
        Err(error) => {
            let part = match error {
                ScheduleError::Fine => "startTime",
                ScheduleError::EndsFirst | ScheduleError::Never => "endTime",
            };
            problems.add(format!("{FIELD}.{part}"), error.to_string());
            None
        }
    }
}

fn when_of(
    when: Option<&v1::schedule_trigger::When>,
    time_zone: &str,
    problems: &mut Collector,
) -> Option<When> {
    match when {
        None => {
            problems.add(FIELD, "says not when: expected one of rate, cron");
            None
        }
        Some(v1::schedule_trigger::When::Rate(rate)) => {
            let field = format!("{FIELD}.rate");
            if !time_zone.is_empty() {
                let text = "is of no use beside rate, which counts seconds, not days";
                problems.add(format!("{FIELD}.timeZone"), text);
                return None;
            }
            let rate = problems.check(field.clone(), time::duration(*rate))?;
            problems.check(field, Rate::try_from(rate)).map(When::Rate)
        }
        Some(v1::schedule_trigger::When::Cron(pattern)) => match Cron::new(pattern, time_zone) {
            Ok(cron) => Some(When::Cron(cron)),
            Err(error) => {
                let part = match error {
                    CronError::Zone(_) => "timeZone",
                    CronError::Fields(_) | CronError::Pattern(_) | CronError::Never => "cron",
                };
                problems.add(format!("{FIELD}.{part}"), error.to_string());
                None
            }
        },
    }
}

fn misfire_of(policy: i32, max: i32, problems: &mut Collector) -> Option<Misfire> {
    let field = format!("{FIELD}.misfireMax");
    let policy = match v1::MisfirePolicy::try_from(policy) {
        Ok(policy) => policy,
        Err(_) => {
            problems.add(
                format!("{FIELD}.misfire"),
                format!("{policy} is no such policy"),
            );
            return None;
        }
    };
    let misfire = match policy {
        v1::MisfirePolicy::Unspecified | v1::MisfirePolicy::Skip => Misfire::Skip,
        v1::MisfirePolicy::RunOnce => Misfire::RunOnce,
        v1::MisfirePolicy::RunAll => {
            let number = match max {
                0 => Some(limits::SCHEDULE_MISFIRES_MAX),
                max => usize::try_from(max)
                    .ok()
                    .filter(|max| *max <= limits::SCHEDULE_MISFIRES_MAX),
            };
            let Some(number) = number else {
                let most = limits::SCHEDULE_MISFIRES_MAX;
                problems.add(field, format!("is {max}; expected 1 to {most}"));
                return None;
            };
            return Some(Misfire::RunAll(number));
        }
    };
    if max != 0 {
        problems.add(field, "is set, and misfire is not MISFIRE_POLICY_RUN_ALL");
        return None;
    }
    Some(misfire)
}

/// A time that may be absent; none when it is wrong.
fn time_of(
    name: &'static str,
    time: Option<&prost_types::Timestamp>,
    problems: &mut Collector,
) -> Option<Option<Timestamp>> {
    let Some(time) = time else {
        return Some(None);
    };
    let time = super::time::from_wire(name, *time);
    problems.check(format!("{FIELD}.{name}"), time).map(Some)
}
