//! Numbers as policies compare them: from -10⁹ to 10⁹, with five digits after the decimal point ("Filter policy
//! constraints").

use std::ops::RangeInclusive;

const DIGITS: f64 = 1e5;
const MAX: f64 = 1e9;

/// A number in hundred-thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Decimal(i64);

/// Why a number cannot stand in a policy.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub(super) enum DecimalError {
    #[error("is {0}; expected a number from -1000000000 to 1000000000")]
    Range(f64),
    #[error("is {0}; expected at most five digits after the decimal point")]
    Digits(f64),
}

impl Decimal {
    /// A message's number, rounded; [`None`] when it is out of range.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "whole and within ±10¹⁴, each of which a double holds"
    )]
    pub(super) fn rounded(number: f64) -> Option<Self> {
        (number.abs() <= MAX).then(|| Self((number * DIGITS).round() as i64))
    }

    /// A policy's number.
    pub(super) fn exact(number: f64) -> Result<Self, DecimalError> {
        let decimal = Self::rounded(number).ok_or(DecimalError::Range(number))?;
        // The division of whole numbers gives the double that is closest to the decimal number, which is how it was read.
        if (number * DIGITS).round() / DIGITS == number {
            Ok(decimal)
        } else {
            Err(DecimalError::Digits(number))
        }
    }
}

/// An operator of `numeric`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    Less,
    LessOrEqual,
    More,
    MoreOrEqual,
}

impl Comparison {
    pub(super) fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "=" => Self::Equal,
            "<" => Self::Less,
            "<=" => Self::LessOrEqual,
            ">" => Self::More,
            ">=" => Self::MoreOrEqual,
            _ => return None,
        })
    }
}

/// The numbers that a `numeric` takes; none, where two bounds leave none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interval(RangeInclusive<i64>);

impl Interval {
    pub(super) fn one_sided(comparison: Comparison, bound: Decimal) -> Self {
        let Decimal(bound) = bound;
        Self(match comparison {
            Comparison::Equal => bound..=bound,
            Comparison::Less => i64::MIN..=bound - 1,
            Comparison::LessOrEqual => i64::MIN..=bound,
            Comparison::More => bound + 1..=i64::MAX,
            Comparison::MoreOrEqual => bound..=i64::MAX,
        })
    }

    /// What both take.
    pub(super) fn and(&self, other: &Self) -> Self {
        Self(*self.0.start().max(other.0.start())..=*self.0.end().min(other.0.end()))
    }

    pub(super) fn contains(&self, number: Decimal) -> bool {
        self.0.contains(&number.0)
    }
}
