//! Spans of time as people write them on a command line.

use std::time::Duration;

const EXPECTED: &str = "expected a duration such as 500ms, 15m, 1h or 30d";

/// A span of time of more than nothing: `500ms`, `15m`, `1h`, `30d`.
///
/// # Errors
/// What was expected instead.
pub fn parse(text: &str) -> Result<Duration, String> {
    // Days are no fixed time in general, but they are here.
    let days = text
        .strip_suffix('d')
        .and_then(|days| days.parse::<u32>().ok());
    let span = match days {
        Some(days) => Duration::from_secs(u64::from(days) * 86_400),
        None => text
            .parse::<jiff::SignedDuration>()
            .ok()
            .and_then(|span| Duration::try_from(span).ok())
            .ok_or(EXPECTED)?,
    };
    if span.is_zero() {
        return Err("must be more than nothing".to_owned());
    }
    Ok(span)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn spans_are_what_people_mean() {
        for (text, seconds) in [("1s", 1), ("15m", 900), ("12h", 43_200), ("30d", 2_592_000)] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        for wrong in [
            "",
            "d",
            "5",
            "-1h",
            "0s",
            "0d",
            "1.5d",
            "forever",
            "99999999999d",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
