//! What a policy's key may be.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{
    number::{Decimal, Interval},
    values::Scalar,
    wildcard::Wildcard,
};

/// One of the things that a key's values may match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pattern {
    /// One of the values is like this.
    Value(ValuePattern),
    /// One of the values is like none of these.
    AnythingBut(Vec<ValuePattern>),
    /// Whether there is the key: with a value that is neither null nor empty, or not at all.
    Exists(bool),
}

/// What one value may be. Texts, numbers and the rest are never alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ValuePattern {
    Text(String),
    Number(Decimal),
    Bool(bool),
    Null,
    Prefix(String),
    Suffix(String),
    /// In lower case.
    EqualsIgnoreCase(String),
    Wildcard(Wildcard),
    Cidr(IpNet),
    Numeric(Interval),
}

impl Pattern {
    /// Of a key's values; [`None`] when there is no such key.
    pub(super) fn holds(&self, values: Option<&[Scalar<'_>]>) -> bool {
        let any = |test: &dyn Fn(&Scalar<'_>) -> bool| values.is_some_and(|v| v.iter().any(test));
        match self {
            Self::Value(pattern) => any(&|value| pattern.matches(value)),
            Self::AnythingBut(patterns) => {
                any(&|value| !patterns.iter().any(|pattern| pattern.matches(value)))
            }
            Self::Exists(true) => any(&|value| !value.is_null_or_empty()),
            Self::Exists(false) => values.is_none(),
        }
    }

    /// How much a wildcard or the lack of one counts ("Wildcard pattern usage guidelines").
    pub(super) fn wildcard_points(&self) -> u64 {
        match self {
            Self::Value(pattern) => pattern.wildcard_points(),
            Self::AnythingBut(patterns) => {
                1 + patterns
                    .iter()
                    .map(ValuePattern::wildcard_points)
                    .sum::<u64>()
            }
            Self::Exists(_) => 0,
        }
    }

    pub(super) fn has_wildcard(&self) -> bool {
        let wildcard = |pattern: &ValuePattern| matches!(pattern, ValuePattern::Wildcard(_));
        match self {
            Self::Value(pattern) => wildcard(pattern),
            Self::AnythingBut(patterns) => patterns.iter().any(wildcard),
            Self::Exists(_) => false,
        }
    }
}

impl ValuePattern {
    fn matches(&self, value: &Scalar<'_>) -> bool {
        match (self, value) {
            (Self::Text(text), Scalar::Text(value)) => text == value,
            (Self::Number(number), Scalar::Number(value)) => *value == Some(*number),
            (Self::Bool(flag), Scalar::Bool(value)) => flag == value,
            (Self::Null, Scalar::Null) => true,
            (Self::Prefix(prefix), Scalar::Text(value)) => value.starts_with(prefix.as_str()),
            (Self::Suffix(suffix), Scalar::Text(value)) => value.ends_with(suffix.as_str()),
            (Self::EqualsIgnoreCase(lower), Scalar::Text(value)) => {
                lower.chars().eq(lower_case(value))
            }
            (Self::Wildcard(wildcard), Scalar::Text(value)) => wildcard.matches(value),
            (Self::Cidr(net), Scalar::Text(value)) => value
                .parse::<IpAddr>()
                .is_ok_and(|address| net.contains(&address)),
            (Self::Numeric(interval), Scalar::Number(value)) => {
                value.is_some_and(|value| interval.contains(value))
            }
            _ => false,
        }
    }

    fn wildcard_points(&self) -> u64 {
        match self {
            Self::Wildcard(wildcard) => match wildcard.count() {
                one @ (0 | 1) => one as u64,
                more => 3 * more as u64,
            },
            _ => 0,
        }
    }
}

/// Character by character, so that it is the same for a text and for its parts.
pub(super) fn lower_case(text: &str) -> impl Iterator<Item = char> {
    text.chars().flat_map(char::to_lowercase)
}
