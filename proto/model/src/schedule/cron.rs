//! Times by the clock of a time zone.
//!
//! What a pattern means is the crate `croner`'s business, which is only asked about clocks that are never set. What becomes
//! of its times where clocks are set is decided here, from one change of a zone's offset to the next: in between, the clock
//! and the time go alike.

use std::{fmt, str::FromStr as _, sync::Arc};

use chrono::DateTime;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};

use crate::suggestion::suggestion;

/// How many changes of a zone's offset are looked through for the next time: a leap day is up to eight years away, in which
/// most zones change sixteen times.
const CHANGES_MAX: usize = 200;
/// Length of a pattern, in bytes.
const PATTERN_MAX_BYTES: usize = 256;

/// A cron pattern of five fields in a time zone.
#[derive(Clone)]
pub struct Cron {
    pattern: Arc<str>,
    times: Arc<croner::Cron>,
    zone: TimeZone,
    /// Whether its hours begin with `*`.
    any_hour: bool,
}

/// Why a pattern or a zone cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// Not five fields.
    #[error(
        "has {0} fields; expected five: minute, hour, day of the month, month, day of the week"
    )]
    Fields(usize),
    /// A field means nothing.
    #[error("is no cron pattern: {0}")]
    Pattern(String),
    /// No date is such.
    #[error("names days that never come")]
    Never,
    /// The zone is not known.
    #[error("{0:?} is no time zone of the IANA database, such as Europe/Berlin{hint}", hint = zone_meant(.0))]
    Zone(String),
}

impl Cron {
    /// A pattern by the clock of `zone` (empty: UTC).
    ///
    /// # Errors
    /// [`CronError`].
    pub fn new(pattern: &str, zone: &str) -> Result<Self, CronError> {
        let fields: Vec<&str> = pattern.split_whitespace().collect();
        let [_, hour, ..] = fields[..] else {
            return Err(CronError::Fields(fields.len()));
        };
        if fields.len() != 5 {
            return Err(CronError::Fields(fields.len()));
        }
        if pattern.len() > PATTERN_MAX_BYTES {
            let text = format!("it has more than {PATTERN_MAX_BYTES} bytes");
            return Err(CronError::Pattern(text));
        }
        let times = croner::Cron::from_str(&fields.join(" "))
            .map_err(|error| CronError::Pattern(error.to_string()))?;
        let cron = Self {
            pattern: pattern.into(),
            times: Arc::new(times),
            zone: zone_of(zone)?,
            any_hour: hour.starts_with('*'),
        };
        match cron.wall_after(SignedDuration::ZERO, true) {
            Some(_) => Ok(cron),
            None => Err(CronError::Never),
        }
    }

    /// The zone whose clock it goes by.
    #[must_use]
    pub fn time_zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The first time later than `time`.
    #[must_use]
    pub fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        let mut later_than = Edge {
            at: since_epoch(time),
            inclusive: false,
        };
        for _ in 0..CHANGES_MAX {
            let part = Part::at(&self.zone, later_than.at);
            if let Some(found) = self.next_in(&part, later_than) {
                return Timestamp::UNIX_EPOCH.checked_add(found).ok();
            }
            later_than = Edge {
                at: part.end?,
                inclusive: true,
            };
        }
        None
    }

    /// The first time in `part` that is beyond `edge`.
    fn next_in(&self, part: &Part, edge: Edge) -> Option<SignedDuration> {
        let by_clock = self.next_by_clock(part, edge);
        let left_out = self.next_left_out(part, edge);
        by_clock.into_iter().chain(left_out).min()
    }

    /// By the clock as it stands in `part`.
    fn next_by_clock(&self, part: &Part, edge: Edge) -> Option<SignedDuration> {
        let mut wall = edge.at.checked_add(part.offset)?;
        let mut inclusive = edge.inclusive;
        if let Some((start, before)) = part.start
            && !self.any_hour
            && before > part.offset
        {
            // These times came before the clock was put back, and do not count again.
            let repeated_until = start.checked_add(before)?;
            if wall < repeated_until {
                (wall, inclusive) = (repeated_until, true);
            }
        }
        let found = self.wall_after(wall, inclusive)?.checked_sub(part.offset)?;
        part.end.is_none_or(|end| found < end).then_some(found)
    }

    /// Of the times that were left out when the clock was put forward at the start of `part`: they come as much later.
    fn next_left_out(&self, part: &Part, edge: Edge) -> Option<SignedDuration> {
        let (start, before) = part.start.filter(|(_, before)| *before < part.offset)?;
        // As if the clock had not been put forward yet.
        let wall = edge.at.checked_add(before)?;
        let found = self.wall_after(wall, edge.inclusive)?.checked_sub(before)?;
        let gap = part.offset.checked_sub(before)?;
        (found < start.checked_add(gap)?).then_some(found)
    }

    /// The first time from `wall` on, or after it, that a clock which is never set shows. Clocks are told as the time
    /// since they showed 1970-01-01T00:00:00.
    fn wall_after(&self, wall: SignedDuration, inclusive: bool) -> Option<SignedDuration> {
        const SECOND: i128 = 1_000_000_000;
        let seconds = i64::try_from(wall.as_nanos().div_euclid(SECOND)).ok()?;
        // What is between two seconds has passed the first.
        let inclusive = inclusive && wall.as_nanos().rem_euclid(SECOND) == 0;
        let from = DateTime::from_timestamp(seconds, 0)?.naive_utc();
        let found = self.times.find_next_occurrence(&from, inclusive).ok()?;
        Some(SignedDuration::from_secs(found.and_utc().timestamp()))
    }
}

fn zone_of(name: &str) -> Result<TimeZone, CronError> {
    match name {
        "" => Ok(TimeZone::UTC),
        name => TimeZone::get(name).map_err(|_| CronError::Zone(name.chars().take(64).collect())),
    }
}

/// The zone whose name is close to `name`, as a suggestion.
fn zone_meant(name: &str) -> String {
    let all: Vec<_> = jiff::tz::db().available().collect();
    suggestion(name, all.iter().map(|zone| zone.as_str()))
}

/// Time since the Unix epoch.
fn since_epoch(time: Timestamp) -> SignedDuration {
    time.duration_since(Timestamp::UNIX_EPOCH)
}

/// Where a search begins.
#[derive(Clone, Copy)]
struct Edge {
    /// Since the Unix epoch.
    at: SignedDuration,
    /// Whether that itself may be found.
    inclusive: bool,
}

/// The time between two changes of a zone's offset, since the Unix epoch.
struct Part {
    /// When it began, and the offset before.
    start: Option<(SignedDuration, SignedDuration)>,
    offset: SignedDuration,
    /// When the next begins.
    end: Option<SignedDuration>,
}

impl Part {
    /// The one that holds `at`.
    fn at(zone: &TimeZone, at: SignedDuration) -> Self {
        let time = Timestamp::UNIX_EPOCH.saturating_add(at);
        let time = time.unwrap_or(Timestamp::MAX);
        let offset =
            |time: Timestamp| SignedDuration::from_secs(zone.to_offset(time).seconds().into());
        // `preceding` looks strictly before, and the part may begin here.
        let just_after = time
            .checked_add(SignedDuration::from_nanos(1))
            .unwrap_or(Timestamp::MAX);
        let start = zone.preceding(just_after).next().map(|change| {
            let start = change.timestamp();
            let before = start
                .checked_sub(SignedDuration::from_nanos(1))
                .unwrap_or(Timestamp::MIN);
            (since_epoch(start), offset(before))
        });
        let end = zone.following(time).next();
        Self {
            start,
            offset: offset(time),
            end: end.map(|change| since_epoch(change.timestamp())),
        }
    }
}

impl PartialEq for Cron {
    fn eq(&self, other: &Self) -> bool {
        (&self.pattern, &self.zone) == (&other.pattern, &other.zone)
    }
}

impl Eq for Cron {}

impl fmt::Debug for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Cron")
            .field(&self.pattern)
            .field(&self.zone)
            .finish()
    }
}
