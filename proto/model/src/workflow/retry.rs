//! Retry policies.

use std::time::Duration;

/// Exponential back-off with jitter between the attempts of one step.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Attempts in all, from 1.
    pub max_attempts: u32,
    /// Pause after the first attempt.
    pub initial_backoff: Duration,
    /// Longest pause.
    pub max_backoff: Duration,
    /// Growth of the pause, at least 1.
    pub multiplier: f64,
}

impl Default for RetryPolicy {
    /// One attempt.
    fn default() -> Self {
        Self {
            max_attempts: 1,
            ..Self::WRITTEN_DEFAULT
        }
    }
}

impl RetryPolicy {
    /// What an empty `retry: {}` means.
    pub const WRITTEN_DEFAULT: Self = Self {
        max_attempts: 3,
        initial_backoff: Duration::from_secs(1),
        max_backoff: Duration::from_secs(300),
        multiplier: 2.0,
    };

    /// The pause after attempt `number` (from 1), with `jitter` in 0..1 taking off up to half of it.
    #[must_use]
    pub fn pause(&self, number: u32, jitter: f64) -> Duration {
        let exponent = i32::try_from(number.saturating_sub(1)).unwrap_or(i32::MAX);
        let full = self.initial_backoff.as_secs_f64() * self.multiplier.powi(exponent);
        let capped = full.min(self.max_backoff.as_secs_f64());
        Duration::from_secs_f64(capped * (1.0 - jitter.clamp(0.0, 1.0) / 2.0))
    }
}
