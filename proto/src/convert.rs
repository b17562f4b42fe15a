//! Wire ↔ model.

pub mod audit;
mod child;
pub mod config;
pub mod definition;
pub mod enums;
pub mod json;
pub mod key_use;
pub mod manifest;
pub mod rate_limit;
pub mod record;
pub mod schema;
pub mod signal;
pub mod status;
pub mod time;
pub mod yaml;

/// Why a message from the other plane means nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A field that must be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A field holds what it cannot.
    #[error("{field}: {problem}")]
    Invalid {
        /// Which.
        field: &'static str,
        /// Why.
        problem: String,
    },
}

impl WireError {
    pub(crate) fn invalid(field: &'static str, problem: impl ToString) -> Self {
        Self::Invalid {
            field,
            problem: problem.to_string(),
        }
    }
}

/// `text` parsed, or what is wrong with `field`.
pub(crate) fn parse<T: std::str::FromStr<Err: ToString>>(
    field: &'static str,
    text: &str,
) -> Result<T, WireError> {
    text.parse()
        .map_err(|error: T::Err| WireError::invalid(field, error.to_string()))
}

/// Like [`parse`]; an empty text is [`None`].
pub(crate) fn parse_optional<T: std::str::FromStr<Err: ToString>>(
    field: &'static str,
    text: &str,
) -> Result<Option<T>, WireError> {
    if text.is_empty() {
        Ok(None)
    } else {
        parse(field, text).map(Some)
    }
}

/// An empty text is [`None`].
pub(crate) fn non_empty(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}
