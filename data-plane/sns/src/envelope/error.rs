//! Why a body is not an envelope.

use super::{ENVELOPE_MAX_BYTES, Field};
use crate::{ArnError, AttributeError, Refusal, RefusalKind};

/// Why a body is not an SNS envelope. No variant holds text of the sender's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Larger than [`ENVELOPE_MAX_BYTES`].
    #[error("body is larger than {ENVELOPE_MAX_BYTES} bytes")]
    TooLarge,
    /// Starts with a byte order mark.
    #[error("body starts with a byte order mark")]
    ByteOrderMark,
    /// Not UTF-8.
    #[error("body is not UTF-8")]
    NotUtf8,
    /// Not a JSON object: what a raw delivery looks like.
    #[error("body is not a JSON object")]
    NotAnObject,
    /// A JSON object that breaks off or breaks JSON's grammar.
    #[error("body is not valid JSON")]
    Syntax,
    /// Something follows the object.
    #[error("body holds something after the object")]
    Trailing,
    /// More members than an envelope has.
    #[error("body has too many fields")]
    TooManyFields,
    /// The same key twice.
    #[error("body has a key twice")]
    DuplicateKey,
    /// An unknown field nests too deep.
    #[error("body nests too deep")]
    TooDeep,
    /// A key that differs from a known one in case only.
    #[error("body spells {0} in another case")]
    Alias(Field),
    /// A required field is absent.
    #[error("{0} is missing")]
    Missing(Field),
    /// A field of the signature is absent: the message is unsigned.
    #[error("{0} is missing: the message is not signed")]
    Unsigned(Field),
    /// A field holds another JSON type, or a string that is no text.
    #[error("{0} is not of its type")]
    WrongType(Field),
    /// A required field is the empty string.
    #[error("{0} is empty")]
    Empty(Field),
    /// A field is longer than SNS writes it.
    #[error("{0} is too long")]
    TooLong(Field),
    /// A control character where it would let one signature be read in two ways.
    #[error("{0} holds a control character")]
    ControlCharacter(Field),
    /// Type is none of the three.
    #[error("Type is none that SNS sends")]
    UnknownType,
    /// Timestamp is not ISO 8601 in UTC.
    #[error("Timestamp is not ISO 8601 in UTC")]
    Timestamp,
    /// TopicArn is none.
    #[error("TopicArn: {0}")]
    TopicArn(#[from] ArnError),
    /// MessageAttributes break their form.
    #[error("MessageAttributes: {0}")]
    Attributes(#[from] AttributeError),
}

impl Refusal for EnvelopeError {
    fn reason(&self) -> &'static str {
        match self {
            Self::TooLarge => "body-too-large",
            Self::ByteOrderMark => "body-byte-order-mark",
            Self::NotUtf8 => "body-not-utf8",
            Self::NotAnObject => "body-not-json-object",
            Self::Syntax => "body-not-json",
            Self::Trailing => "body-trailing-data",
            Self::TooManyFields => "body-too-many-fields",
            Self::DuplicateKey => "field-duplicate",
            Self::TooDeep => "body-too-deep",
            Self::Alias(_) => "field-alias",
            Self::Missing(_) => "field-missing",
            Self::Unsigned(_) => "signature-missing",
            Self::WrongType(_) => "field-wrong-type",
            Self::Empty(_) => "field-empty",
            Self::TooLong(_) => "field-too-long",
            Self::ControlCharacter(_) => "field-control-character",
            Self::UnknownType => "message-type-unknown",
            Self::Timestamp => "timestamp-malformed",
            Self::TopicArn(error) => error.reason(),
            Self::Attributes(error) => error.reason(),
        }
    }

    fn kind(&self) -> RefusalKind {
        match self {
            Self::Unsigned(_) => RefusalKind::Forbidden,
            _ => RefusalKind::Malformed,
        }
    }
}
