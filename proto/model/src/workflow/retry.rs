//! Retry policies.

use std::{str::FromStr, time::Duration};

use super::StatusRange;
use crate::suggestion::suggestion;

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
    /// What is retried; empty for what the kind of step holds to be retriable.
    pub retry_on: Vec<RetryOn>,
}

/// Errors of attempts that a policy may name: those of them that say something of the world, not of the definition.
const CODES: [&str; 12] = [
    "AWS_ERROR",
    "CHILD_CANCELLED",
    "CHILD_FAILED",
    "CHILD_TIMED_OUT",
    "CHILD_UNAVAILABLE",
    "CONNECTION",
    "EGRESS_BLOCKED",
    "HTTP_STATUS",
    "RESPONSE_TOO_LARGE",
    "SLACK_ERROR",
    "SMTP_ERROR",
    "TIMEOUT",
];

/// A class of failed attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryOn {
    /// Those with this code.
    Code(&'static str),
    /// Those with one of these HTTP statuses.
    Status(StatusRange),
}

/// Why a text is no [`RetryOn`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no error to retry on: expected {codes}, a status such as 429, a class such as 5xx, or a range such as 500-503{hint}",
    codes = CODES.join(", "),
    hint = suggestion(.0, CODES)
)]
pub struct RetryOnError(String);

impl FromStr for RetryOn {
    type Err = RetryOnError;
    fn from_str(text: &str) -> Result<Self, RetryOnError> {
        if let Some(code) = CODES.iter().find(|code| **code == text) {
            return Ok(Self::Code(code));
        }
        let range = text.parse().map(Self::Status);
        range.map_err(|_| RetryOnError(text.chars().take(64).collect()))
    }
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

impl RetryOn {
    fn holds(self, code: &str, status: Option<u16>) -> bool {
        match self {
            Self::Code(expected) => code == expected,
            Self::Status(expected) => status.is_some_and(|status| expected.holds(status)),
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
        retry_on: Vec::new(),
    };

    /// Whether an attempt may follow one that failed with `code`, and `status` if there was an answer.
    #[must_use]
    pub fn retries(&self, code: &str, status: Option<u16>, by_default: bool) -> bool {
        if self.retry_on.is_empty() {
            by_default
        } else {
            self.retry_on.iter().any(|on| on.holds(code, status))
        }
    }

    /// The pause after attempt `number` (from 1), with `jitter` in 0..1 taking off up to half of it.
    #[must_use]
    pub fn pause(&self, number: u32, jitter: f64) -> Duration {
        let exponent = i32::try_from(number.saturating_sub(1)).unwrap_or(i32::MAX);
        let full = self.initial_backoff.as_secs_f64() * self.multiplier.powi(exponent);
        let capped = full.min(self.max_backoff.as_secs_f64());
        Duration::from_secs_f64(capped * (1.0 - jitter.clamp(0.0, 1.0) / 2.0))
    }
}
