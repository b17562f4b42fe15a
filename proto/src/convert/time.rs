//! Times and durations.

use std::time::Duration;

use jiff::Timestamp;

use super::WireError;

/// A time for the wire.
#[must_use]
pub fn to_wire(time: Timestamp) -> prost_types::Timestamp {
    // google.protobuf.Timestamp counts nanoseconds forward, also before 1970.
    let nanos = time.as_nanosecond();
    prost_types::Timestamp {
        seconds: i64::try_from(nanos.div_euclid(1_000_000_000)).unwrap_or_default(),
        nanos: i32::try_from(nanos.rem_euclid(1_000_000_000)).unwrap_or_default(),
    }
}

/// A time from the wire.
///
/// # Errors
/// When it is beyond what [`Timestamp`] holds.
pub fn from_wire(
    field: &'static str,
    time: prost_types::Timestamp,
) -> Result<Timestamp, WireError> {
    Timestamp::new(time.seconds, time.nanos).map_err(|error| WireError::invalid(field, error))
}

/// A time from the wire that must be there.
///
/// # Errors
/// When it is not, or as [`from_wire`].
pub fn required(
    field: &'static str,
    time: Option<prost_types::Timestamp>,
) -> Result<Timestamp, WireError> {
    from_wire(field, time.ok_or(WireError::Missing(field))?)
}

/// A duration from the wire.
///
/// # Errors
/// When it is negative or malformed.
pub fn duration(duration: prost_types::Duration) -> Result<Duration, &'static str> {
    Duration::try_from(duration).map_err(|_| "must not be negative")
}

/// A duration for the wire.
#[must_use]
pub fn duration_to_wire(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).unwrap_or_default(),
    }
}
