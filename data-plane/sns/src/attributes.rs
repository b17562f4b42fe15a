//! Message attributes: typed name-value pairs beside the message. No signature covers them: they may filter, never
//! authorise.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::envelope::object::{self, ObjectError};
use crate::{Refusal, RefusalKind};

/// Most attributes of one message.
pub const ATTRIBUTES_MAX: usize = 1024;
const NAME_MAX_BYTES: usize = 256;
const TYPE_MAX_BYTES: usize = 256;
const MEMBERS_MAX: usize = 8;
const DEPTH_MAX: usize = 8;

/// Why MessageAttributes were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttributeError {
    /// They, or one of them, are no object.
    #[error("not an object of objects")]
    NotAnObject,
    /// More than [`ATTRIBUTES_MAX`].
    #[error("more than {ATTRIBUTES_MAX} attributes")]
    TooMany,
    /// A name twice, or a key twice in one attribute.
    #[error("a name twice")]
    Duplicate,
    /// `Type` or `Value` absent, or spelled in another case.
    #[error("an attribute without a Type and a Value")]
    Incomplete,
    /// `Type` or `Value` is no string.
    #[error("an attribute whose Type or Value is no string")]
    WrongType,
    /// A name or type is empty or too long.
    #[error("a name or type that is empty or longer than {NAME_MAX_BYTES} bytes")]
    Length,
    /// Something in an attribute nests too deep.
    #[error("an attribute nests too deep")]
    TooDeep,
}

impl Refusal for AttributeError {
    fn reason(&self) -> &'static str {
        match self {
            Self::NotAnObject => "attributes-not-an-object",
            Self::TooMany => "attributes-too-many",
            Self::Duplicate => "attribute-duplicate",
            Self::Incomplete => "attribute-incomplete",
            Self::WrongType => "attribute-wrong-type",
            Self::Length => "attribute-length",
            Self::TooDeep => "attribute-too-deep",
        }
    }

    fn kind(&self) -> RefusalKind {
        RefusalKind::Malformed
    }
}

/// One attribute, as the publisher typed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MessageAttribute {
    /// `String`, `String.Array`, `Number`, `Binary`, or one of these with a label of the publisher's after a dot.
    #[serde(rename = "Type")]
    pub data_type: String,
    /// The value in SNS's text form: a Binary is base64, an array is JSON.
    #[serde(rename = "Value")]
    pub value: String,
}

impl MessageAttribute {
    /// The value as JSON for filters and expressions. A Number becomes a number where an `i64`, `u64` or `f64` holds
    /// it, a `String.Array` an array where it is one; everything else, and what does not keep its word, stays the
    /// string it is. A Binary stays base64.
    pub fn to_json(&self) -> Value {
        let text = || Value::String(self.value.clone());
        match self.data_type.as_str() {
            "String.Array" if !object::nests_deeper(&self.value, DEPTH_MAX) => {
                serde_json::from_str(&self.value)
                    .ok()
                    .filter(Value::is_array)
                    .unwrap_or_else(text)
            }
            kind if kind == "Number" || kind.starts_with("Number.") => {
                number(&self.value).unwrap_or_else(text)
            }
            _ => text(),
        }
    }
}

/// The attributes of one message, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageAttributes(BTreeMap<String, MessageAttribute>);

impl MessageAttributes {
    /// Parses the JSON object that MessageAttributes is in an envelope.
    ///
    /// # Errors
    /// The first rule that it breaks.
    pub fn parse(raw: &str) -> Result<Self, AttributeError> {
        let members = object::members(raw, ATTRIBUTES_MAX).map_err(|error| match error {
            ObjectError::TooManyMembers => AttributeError::TooMany,
            ObjectError::NotAnObject | ObjectError::Syntax | ObjectError::Trailing => {
                AttributeError::NotAnObject
            }
        })?;
        let mut attributes = BTreeMap::new();
        for member in members {
            if !(1..=NAME_MAX_BYTES).contains(&member.key.len()) {
                return Err(AttributeError::Length);
            }
            let attribute = parse_attribute(member.raw)?;
            if attributes
                .insert(member.key.into_owned(), attribute)
                .is_some()
            {
                return Err(AttributeError::Duplicate);
            }
        }
        Ok(Self(attributes))
    }

    /// The attribute of that name.
    pub fn get(&self, name: &str) -> Option<&MessageAttribute> {
        self.0.get(name)
    }

    /// Name and attribute, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &MessageAttribute)> {
        self.0
            .iter()
            .map(|(name, attribute)| (name.as_str(), attribute))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them as one JSON object of name to typed value: see [`MessageAttribute::to_json`].
    pub fn to_json(&self) -> Value {
        Value::Object(
            self.0
                .iter()
                .map(|(name, attribute)| (name.clone(), attribute.to_json()))
                .collect(),
        )
    }

    /// The map itself.
    pub fn into_inner(self) -> BTreeMap<String, MessageAttribute> {
        self.0
    }
}

impl From<BTreeMap<String, MessageAttribute>> for MessageAttributes {
    fn from(attributes: BTreeMap<String, MessageAttribute>) -> Self {
        Self(attributes)
    }
}

fn parse_attribute(raw: &str) -> Result<MessageAttribute, AttributeError> {
    if object::nests_deeper(raw, DEPTH_MAX) {
        return Err(AttributeError::TooDeep);
    }
    let members = object::members(raw, MEMBERS_MAX).map_err(|_| AttributeError::NotAnObject)?;
    let (mut data_type, mut value) = (None, None);
    for member in &members {
        let slot = match member.key.as_ref() {
            "Type" => &mut data_type,
            "Value" => &mut value,
            key if ["Type", "Value"]
                .iter()
                .any(|known| object::same_but_for_case(known, key)) =>
            {
                return Err(AttributeError::Incomplete);
            }
            _ => continue,
        };
        let text = object::string(member.raw).ok_or(AttributeError::WrongType)?;
        if slot.replace(text.into_owned()).is_some() {
            return Err(AttributeError::Duplicate);
        }
    }
    let (Some(data_type), Some(value)) = (data_type, value) else {
        return Err(AttributeError::Incomplete);
    };
    if !(1..=TYPE_MAX_BYTES).contains(&data_type.len()) {
        return Err(AttributeError::Length);
    }
    Ok(MessageAttribute { data_type, value })
}

fn number(text: &str) -> Option<Value> {
    if let Ok(whole) = text.parse::<i64>() {
        return Some(whole.into());
    }
    if let Ok(whole) = text.parse::<u64>() {
        return Some(whole.into());
    }
    // Rust also reads "inf" and "nan", which are no JSON numbers.
    text.parse()
        .ok()
        .and_then(serde_json::Number::from_f64)
        .map(Value::Number)
}
