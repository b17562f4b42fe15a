//! Sets of HTTP statuses, as `retryOn` and `successStatus` write them.

use std::{fmt, str::FromStr};

/// Statuses from one to another: `404`, `5xx` or `200-204`. Those below 200 are no answers, and none is above 599
/// (RFC 9110 §15).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatusRange {
    first: u16,
    last: u16,
}

/// Why a text is no [`StatusRange`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} names no HTTP statuses: expected a status such as 404, a class such as 2xx, or a range such as 200-204, from 200 to 599"
)]
pub struct StatusRangeError(String);

impl StatusRange {
    /// Those of a class: its first digit, 2 to 5.
    const fn class(digit: u16) -> Self {
        Self {
            first: digit * 100,
            last: digit * 100 + 99,
        }
    }

    /// Whether `status` is one of them.
    #[must_use]
    pub fn holds(self, status: u16) -> bool {
        (self.first..=self.last).contains(&status)
    }

    /// Whether all of them are 200 to 299.
    #[must_use]
    pub fn is_success(self) -> bool {
        Self::class(2).holds(self.first) && Self::class(2).holds(self.last)
    }
}

fn status(text: &str) -> Option<u16> {
    let is_number = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = is_number.then(|| text.parse().ok()).flatten();
    number.filter(|number| (200..600).contains(number))
}

impl FromStr for StatusRange {
    type Err = StatusRangeError;
    fn from_str(text: &str) -> Result<Self, StatusRangeError> {
        let wrong = || StatusRangeError(text.chars().take(64).collect());
        if let Some((first, last)) = text.split_once('-') {
            let bounds = status(first).zip(status(last));
            return match bounds {
                Some((first, last)) if first <= last => Ok(Self { first, last }),
                _ => Err(wrong()),
            };
        }
        match text {
            "2xx" => Ok(Self::class(2)),
            "3xx" => Ok(Self::class(3)),
            "4xx" => Ok(Self::class(4)),
            "5xx" => Ok(Self::class(5)),
            _ => match status(text) {
                Some(one) => Ok(Self {
                    first: one,
                    last: one,
                }),
                None => Err(wrong()),
            },
        }
    }
}

impl fmt::Display for StatusRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { first, last } = self;
        if first == last {
            write!(f, "{first}")
        } else {
            write!(f, "{first}-{last}")
        }
    }
}

/// The statuses that succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SuccessStatus(Vec<StatusRange>);

impl Default for SuccessStatus {
    /// 200 to 299.
    fn default() -> Self {
        Self(vec![StatusRange::class(2)])
    }
}

impl SuccessStatus {
    /// Those of `ranges`; without any, 200 to 299.
    #[must_use]
    pub fn new(ranges: Vec<StatusRange>) -> Self {
        if ranges.is_empty() {
            Self::default()
        } else {
            Self(ranges)
        }
    }

    /// Whether `status` is one of them.
    #[must_use]
    pub fn holds(&self, status: u16) -> bool {
        self.0.iter().any(|range| range.holds(status))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn statuses_classes_and_ranges_are_read() {
        let held = |text: &str| -> Vec<u16> {
            let range: StatusRange = text.parse().unwrap();
            (0..=999).filter(|status| range.holds(*status)).collect()
        };
        assert_eq!(held("404"), [404]);
        assert_eq!(held("200-202"), [200, 201, 202]);
        assert_eq!(held("2xx"), (200..300).collect::<Vec<_>>());
        assert_eq!(held("5xx"), (500..600).collect::<Vec<_>>());
        assert_eq!(held("299-300"), [299, 300]);
        for wrong in [
            "",
            "1xx",
            "6xx",
            "100",
            "199",
            "600",
            "2XX",
            "0200",
            "+200",
            "20",
            "2000",
            "-",
            "200-",
            "-204",
            "204-200",
            "200-600",
            "2xx-3xx",
            "200-202-204",
            "200 - 204",
            "OK",
            " 200",
        ] {
            let error = wrong.parse::<StatusRange>().unwrap_err().to_string();
            assert!(error.contains("expected a status such as 404"), "{error}");
        }
    }

    #[test]
    fn without_ranges_2xx_succeeds() {
        let success = SuccessStatus::new(Vec::new());
        assert!((0..=999).all(|status| success.holds(status) == (200..300).contains(&status)));
        let own = SuccessStatus::new(vec!["404".parse().unwrap(), "3xx".parse().unwrap()]);
        assert!(own.holds(404) && own.holds(302) && !own.holds(200) && !own.holds(405));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(first in 200_u16..600, last in 200_u16..600) {
            let text = format!("{first}-{last}");
            match text.parse::<StatusRange>() {
                Ok(range) => {
                    prop_assert!(first <= last);
                    prop_assert_eq!(range.to_string().parse::<StatusRange>(), Ok(range));
                    prop_assert_eq!(range.is_success(), last < 300);
                }
                Err(_) => prop_assert!(last < first),
            }
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,12}|[0-9x-]{0,8}") {
            if let Ok(range) = text.parse::<StatusRange>() {
                prop_assert!((0..=999).filter(|status| range.holds(*status)).all(|status| (200..600).contains(&status)));
            }
        }
    }
}
