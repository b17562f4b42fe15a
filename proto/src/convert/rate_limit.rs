//! Rate limits.

use signalbox_model::rate_limit::{RateLimit, RateLimitError};

use crate::v1;

/// For the wire.
#[must_use]
pub fn to_wire(limit: &RateLimit) -> v1::RateLimit {
    // Both are far below what an int32 holds.
    let number = |number: std::num::NonZeroU32| i32::try_from(number.get()).unwrap_or(i32::MAX);
    v1::RateLimit {
        events_per_second: number(limit.events_per_second()),
        burst: number(limit.burst()),
    }
}

/// From the wire.
///
/// # Errors
/// All that is wrong with it.
pub fn from_wire(limit: &v1::RateLimit) -> Result<RateLimit, Vec<RateLimitError>> {
    let v1::RateLimit {
        events_per_second,
        burst,
    } = limit;
    RateLimit::new((*events_per_second).into(), (*burst).into())
}
