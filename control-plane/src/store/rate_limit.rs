//! The rate limit of a key's row.

use signalbox_model::rate_limit::RateLimit;

use super::rows::ApiKey;

/// The limit that two columns hold; [`None`] also for what is stored damaged.
pub(super) fn read(events_per_second: Option<i64>, burst: Option<i64>) -> Option<RateLimit> {
    RateLimit::new(events_per_second?, burst?).ok()
}

impl ApiKey {
    /// How many requests are taken with it; [`None`] also for what is stored damaged.
    #[must_use]
    pub fn rate_limit(&self) -> Option<RateLimit> {
        read(self.rate_limit_events_per_second, self.rate_limit_burst)
    }

    /// The same with another limit.
    #[must_use]
    pub fn with_rate_limit(mut self, limit: Option<RateLimit>) -> Self {
        self.rate_limit_events_per_second = limit.map(|it| it.events_per_second().get().into());
        self.rate_limit_burst = limit.map(|it| it.burst().get().into());
        self
    }
}
