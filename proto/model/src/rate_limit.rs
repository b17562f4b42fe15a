//! Rate limits of workflows and API keys.

use std::num::NonZeroU32;

use crate::limits::RATE_MAX;

/// How many requests are taken: `events_per_second` in the long run, and after a pause `burst` at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RateLimit {
    events_per_second: NonZeroU32,
    burst: NonZeroU32,
}

/// What is wrong with a rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RateLimitError {
    /// The rate.
    #[error("is {0}; expected 1 to {RATE_MAX}")]
    EventsPerSecond(i64),
    /// The burst.
    #[error("is {0}; expected 1 to {RATE_MAX}, or none: as many as events a second")]
    Burst(i64),
}

impl RateLimit {
    /// The one door; a `burst` of 0 stands for none given, which means as many as a second's.
    ///
    /// # Errors
    /// All problems: either number is out of its range, 1 to [`RATE_MAX`].
    pub fn new(events_per_second: i64, burst: i64) -> Result<Self, Vec<RateLimitError>> {
        let rate = count(events_per_second);
        let at_once = if burst == 0 { rate } else { count(burst) };
        if let (Some(events_per_second), Some(burst)) = (rate, at_once) {
            return Ok(Self {
                events_per_second,
                burst,
            });
        }
        let mut problems = Vec::with_capacity(2);
        if rate.is_none() {
            problems.push(RateLimitError::EventsPerSecond(events_per_second));
        }
        if at_once.is_none() && burst != 0 {
            problems.push(RateLimitError::Burst(burst));
        }
        Err(problems)
    }

    /// Requests a second in the long run.
    #[must_use]
    pub fn events_per_second(&self) -> NonZeroU32 {
        self.events_per_second
    }

    /// Requests at once after a pause.
    #[must_use]
    pub fn burst(&self) -> NonZeroU32 {
        self.burst
    }
}

fn count(given: i64) -> Option<NonZeroU32> {
    let given = u32::try_from(given).ok().filter(|given| *given <= RATE_MAX);
    given.and_then(NonZeroU32::new)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn both_numbers_are_checked_at_once() {
        use RateLimitError::{Burst, EventsPerSecond};
        let limit = RateLimit::new(50, 0).unwrap();
        assert_eq!(
            (limit.events_per_second().get(), limit.burst().get()),
            (50, 50)
        );
        let limit = RateLimit::new(1, 1_000_000).unwrap();
        assert_eq!(limit.burst().get(), RATE_MAX);
        assert_eq!(RateLimit::new(0, 0), Err(vec![EventsPerSecond(0)]));
        assert_eq!(RateLimit::new(1, -1), Err(vec![Burst(-1)]));
        let wrong = RateLimit::new(1_000_001, i64::MAX);
        assert_eq!(
            wrong,
            Err(vec![EventsPerSecond(1_000_001), Burst(i64::MAX)])
        );
    }
}
