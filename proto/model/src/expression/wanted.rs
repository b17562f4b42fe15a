//! What is needed of an expression where it stands.

use super::kinds::Kinds;

/// What an expression must give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Anything but a kind itself.
    Value,
    /// A decision.
    Boolean,
    /// What is gone through.
    List,
    /// The blocks of a message.
    Blocks,
    /// Members of an object, or nothing.
    Members,
    /// An address, a list of them, or nothing.
    Addresses,
    /// A time.
    Time,
    /// A URL.
    Url,
}

impl Wanted {
    pub(super) const fn kinds(self) -> Kinds {
        match self {
            Self::Value => Kinds::ANY.without(Kinds::TYPE),
            Self::Boolean => Kinds::BOOL,
            Self::List => Kinds::LIST,
            // JSON has what is in an optional in its place.
            Self::Blocks => Kinds::LIST.or(Kinds::OPTIONAL),
            Self::Members => Kinds::MAP.or(Kinds::NULL).or(Kinds::OPTIONAL),
            Self::Addresses => Kinds::STRING
                .or(Kinds::LIST)
                .or(Kinds::NULL)
                .or(Kinds::OPTIONAL),
            Self::Time => Kinds::STRING.or(Kinds::TIMESTAMP).or(Kinds::OPTIONAL),
            Self::Url => Kinds::STRING.or(Kinds::OPTIONAL),
        }
    }

    pub(super) const fn expected(self) -> &'static str {
        match self {
            Self::Value => "a value that JSON can hold",
            Self::Boolean => "true or false",
            Self::List => "a list",
            Self::Blocks => "a list of blocks",
            Self::Members => "a map of members",
            Self::Addresses => "an address or a list of addresses",
            Self::Time => "a time, as text (RFC 3339) or a timestamp",
            Self::Url => "a URL as text",
        }
    }
}
