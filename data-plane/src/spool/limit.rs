//! How large a spool may be.

use std::{fmt, str::FromStr};

use signalbox_log::LogConfig;

/// Size on disk beyond which a spool takes no more events, in bytes. Never less than it can live with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpoolMax(u64);

/// Why there is no [`SpoolMax`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpoolMaxError {
    /// No number of bytes.
    #[error("expected a number of bytes, at least {}", SpoolMax::MIN)]
    NotANumber,
    /// One that would soon be reached, and stay so.
    #[error("it is at least {} ({} MiB: two segments of the intake log)", SpoolMax::MIN, SpoolMax::MIN.0 >> 20)]
    TooSmall,
}

impl SpoolMax {
    /// Two segments of the intake log. What is written of the last one counts until a next one is begun, whatever is done of
    /// it: a limit that one segment reaches would leave no event in that could begin the next.
    pub const MIN: Self = Self(2 * LogConfig::SEGMENT_BYTES);
    /// Unless an operator says otherwise: 8 GiB.
    pub const DEFAULT: Self = Self(8 * 1024 * 1024 * 1024);

    /// So many bytes.
    ///
    /// # Errors
    /// [`SpoolMaxError::TooSmall`].
    pub const fn new(bytes: u64) -> Result<Self, SpoolMaxError> {
        if bytes < Self::MIN.0 {
            return Err(SpoolMaxError::TooSmall);
        }
        Ok(Self(bytes))
    }

    /// In bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl fmt::Display for SpoolMax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for SpoolMax {
    type Err = SpoolMaxError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text.parse().map_err(|_| SpoolMaxError::NotANumber)?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn less_than_two_segments_is_refused_with_the_least_that_is_not() {
        assert_eq!("134217728".parse::<SpoolMax>(), Ok(SpoolMax::MIN));
        for small in ["0", "134217727"] {
            let said = small.parse::<SpoolMax>().unwrap_err().to_string();
            assert!(said.contains("at least 134217728 (128 MiB"), "{said}");
        }
        for other in ["", "-1", "8GiB", "18446744073709551616"] {
            assert_eq!(other.parse::<SpoolMax>(), Err(SpoolMaxError::NotANumber));
        }
    }
}
