//! The rate limit of a key's row.

use signalbox_model::rate_limit::RateLimit;

use super::rows::ApiKey;

impl ApiKey {
    /// How many requests are taken with it; [`None`] also for what is stored damaged.
    #[must_use]
    pub fn rate_limit(&self) -> Option<RateLimit> {
        let (rate, burst) = (self.rate_limit_events_per_second?, self.rate_limit_burst?);
        RateLimit::new(rate, burst).ok()
    }

    /// The same with another limit.
    #[must_use]
    pub fn with_rate_limit(mut self, limit: Option<RateLimit>) -> Self {
        self.rate_limit_events_per_second = limit.map(|it| it.events_per_second().get().into());
        self.rate_limit_burst = limit.map(|it| it.burst().get().into());
        self
    }
}
