//! Times as people write them: `timestamp.format` and `time.parse`. There is no `now`: an evaluation that is done again
//! gives the same again.

use std::fmt::Write as _;

use cel::{
    DeclarationError, Env, ExecutionError,
    common::{
        types::{CelTimestamp, STRING_TYPE, TIMESTAMP_TYPE},
        value::CowVal,
    },
};
use chrono::{
    DateTime, Datelike as _, FixedOffset, NaiveDate, NaiveDateTime, NaiveTime,
    format::StrftimeItems,
};
use chrono_tz::Tz;

use super::{
    super::{
        args::{Args, Given, text},
        budget::spend,
    },
    given_text,
};

pub(super) fn declare(env: &mut Env) -> Result<(), DeclarationError> {
    let stamp = || TIMESTAMP_TYPE;
    let texts = |count: usize| (0..count).map(|_| STRING_TYPE).collect::<Vec<_>>();
    env.add_member_overload("format", "timestamp.format", stamp(), texts(1), format)?;
    env.add_member_overload("format", "timestamp.format.tz", stamp(), texts(2), format)?;
    env.add_overload("time.parse", "time.parse(string,string)", texts(2), parse)
}

/// `timestamp.format(format)` and `timestamp.format(format, zone)`, where the format is that of `strftime`
/// (<https://docs.rs/chrono/latest/chrono/format/strftime>), in UTC unless a zone is given.
fn format<'b, 'v>(args: Args<'b, 'v>) -> Given<'b, 'v> {
    let failed = |problem: String| ExecutionError::function_error("format", problem);
    let time = args
        .first()
        .and_then(|time| time.downcast_ref::<CelTimestamp>())
        .ok_or_else(ExecutionError::missing_argument_or_target)?
        .inner();
    let pattern = text(&args, 1)?;
    // Two characters make forty at most.
    spend(pattern.len());
    let items = StrftimeItems::new(pattern)
        .parse()
        .map_err(|_| failed(format!("{pattern:?} is no strftime format")))?;
    let mut written = String::new();
    let result = match zone(args.get(2).map(|_| text(&args, 2)).transpose()?)? {
        Zone::Named(zone) => {
            let shown = time.with_timezone(&zone);
            write!(written, "{}", shown.format_with_items(items.iter()))
        }
        Zone::Fixed(offset) => {
            let shown = time.with_timezone(&offset);
            write!(written, "{}", shown.format_with_items(items.iter()))
        }
    };
    result.map_err(|_| failed(format!("{pattern:?} asks for what a time has not")))?;
    given_text(written)
}

enum Zone {
    /// Of the IANA database that is compiled in, so that all nodes have the same.
    Named(Tz),
    Fixed(FixedOffset),
}

/// `Europe/Berlin`, or an offset such as `+02:00`.
fn zone(name: Option<&str>) -> Result<Zone, ExecutionError> {
    let Some(name) = name else {
        return Ok(Zone::Named(Tz::UTC));
    };
    if let Ok(zone) = name.parse() {
        return Ok(Zone::Named(zone));
    }
    if let Ok(offset) = name.parse() {
        return Ok(Zone::Fixed(offset));
    }
    let problem = format!("{name:?} is no time zone such as Europe/Berlin or +02:00");
    Err(ExecutionError::function_error("format", problem))
}

/// `time.parse(text, format)`, by the same formats. Without an offset in the text it is UTC, without a time midnight.
fn parse<'b, 'v>(args: Args<'b, 'v>) -> Given<'b, 'v> {
    let (written, pattern) = (text(&args, 0)?, text(&args, 1)?);
    spend(pattern.len());
    let naive = |time: NaiveDateTime| time.and_utc().fixed_offset();
    let time = DateTime::parse_from_str(written, pattern)
        .or_else(|_| NaiveDateTime::parse_from_str(written, pattern).map(naive))
        .or_else(|_| {
            NaiveDate::parse_from_str(written, pattern)
                .map(|date| naive(date.and_time(NaiveTime::MIN)))
        });
    let time = time.ok().filter(|time| {
        // CEL's timestamps.
        (1..=9999).contains(&time.to_utc().year())
    });
    match time {
        Some(time) => Ok(CowVal::owned(CelTimestamp::from(time))),
        None => Err(ExecutionError::function_error(
            "time.parse",
            "the text is no time of this format",
        )),
    }
}
