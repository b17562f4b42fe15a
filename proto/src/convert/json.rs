//! The canonical protobuf JSON mapping (<https://protobuf.dev/programming-guides/json/>), also of YAML files.

use std::{fmt, sync::LazyLock};

use prost::{Message, Name};
use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, MessageDescriptor, SerializeOptions,
};
use serde_json::Value;
use signalbox_model::suggestion::suggestion;

use crate::DESCRIPTORS;

#[expect(
    clippy::expect_used,
    reason = "the descriptors are compiled in, and a test decodes them"
)]
static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(DESCRIPTORS).expect("the descriptors were written by the generator")
});

/// Why a text is not the message that it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct FormatError {
    /// Path of the field, such as `spec.steps[0].http`; empty when not known.
    pub path: String,
    /// Line, from 1, when known.
    pub line: Option<usize>,
    /// Column, from 1, when known.
    pub column: Option<usize>,
    /// What was found and what was expected.
    pub message: String,
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, "line {line}, column {column}: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

impl FormatError {
    /// A problem of the whole text.
    pub(super) fn whole(message: impl Into<String>) -> Self {
        Self {
            path: String::new(),
            line: None,
            column: None,
            message: message.into(),
        }
    }
}

#[expect(
    clippy::expect_used,
    reason = "a generated message is in its own descriptors"
)]
pub(super) fn descriptor<M: Name>() -> MessageDescriptor {
    POOL.get_message_by_name(&M::full_name())
        .expect("the message is in the descriptors")
}

/// The JSON of a message: camelCase, 64-bit integers as strings, defaults left out.
#[must_use]
pub fn to_value<M: Message + Name>(message: &M) -> Value {
    let mut dynamic = DynamicMessage::new(descriptor::<M>());
    // Encoding into the same descriptor cannot fail; an empty object would be the honest answer to a bug here.
    if dynamic.transcode_from(message).is_err() {
        return Value::Null;
    }
    dynamic
        .serialize_with_options(serde_json::value::Serializer, &SerializeOptions::new())
        .unwrap_or(Value::Null)
}

/// The JSON text of a message, indented.
#[must_use]
pub fn to_string_pretty<M: Message + Name>(message: &M) -> String {
    format!("{:#}", to_value(message))
}

/// A message from JSON. Unknown fields are errors.
///
/// # Errors
/// Where and why it is none.
pub fn from_json_str<M: Message + Name + Default>(text: &str) -> Result<M, FormatError> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let dynamic = tracked(descriptor::<M>(), &mut deserializer).map_err(
        |(path, error): (String, serde_json::Error)| FormatError {
            message: explain::<M>(&path, &one_line(&error.to_string())),
            path,
            line: Some(error.line()),
            column: Some(error.column()),
        },
    )?;
    deserializer.end().map_err(|error| FormatError {
        path: String::new(),
        line: Some(error.line()),
        column: Some(error.column()),
        message: "there is something after the JSON value".to_owned(),
    })?;
    finish(&dynamic)
}

/// A message from YAML, of which JSON is a part. Unknown fields are errors. [`super::yaml::read`] tells all problems, and
/// where everything stands.
///
/// # Errors
/// Where and why it is none: the first problem.
pub fn from_yaml_str<M: Message + Name + Default>(text: &str) -> Result<M, FormatError> {
    super::yaml::read(text)
        .map(|document| document.message)
        .map_err(|errors| {
            let first = errors.0.into_iter().next();
            first.unwrap_or_else(|| FormatError::whole("is no YAML"))
        })
}

pub(super) fn from_yaml_with_options<M: Message + Name + Default>(
    text: &str,
    options: serde_saphyr::Options,
) -> Result<M, FormatError> {
    let mut path_of_error = String::new();
    let dynamic =
        serde_saphyr::with_deserializer_from_str_with_options(text, options, |deserializer| {
            tracked(descriptor::<M>(), deserializer).map_err(|(path, error)| {
                path_of_error = path;
                error
            })
        })
        .map_err(|error: serde_saphyr::Error| {
            let location = error.location();
            FormatError {
                message: explain::<M>(&path_of_error, &one_line(&error.to_string())),
                path: path_of_error.clone(),
                line: location.and_then(|at| usize::try_from(at.line()).ok()),
                column: location.and_then(|at| usize::try_from(at.column()).ok()),
            }
        })?;
    finish(&dynamic)
}

/// A message from an already parsed JSON value.
///
/// # Errors
/// Where and why it is none.
pub fn from_value<M: Message + Name + Default>(value: &Value) -> Result<M, FormatError> {
    let dynamic = tracked(descriptor::<M>(), value).map_err(
        |(path, error): (String, serde_json::Error)| FormatError {
            message: explain::<M>(&path, &one_line(&error.to_string())),
            path,
            line: None,
            column: None,
        },
    )?;
    finish(&dynamic)
}

fn tracked<'de, D: serde::Deserializer<'de>>(
    descriptor: MessageDescriptor,
    deserializer: D,
) -> Result<DynamicMessage, (String, D::Error)> {
    let mut track = serde_path_to_error::Track::new();
    let result = DynamicMessage::deserialize_with_options(
        descriptor,
        serde_path_to_error::Deserializer::new(deserializer, &mut track),
        &DeserializeOptions::new().deny_unknown_fields(true),
    );
    result.map_err(|error| {
        let path = track.path().to_string();
        (if path == "." { String::new() } else { path }, error)
    })
}

fn finish<M: Message + Name + Default>(dynamic: &DynamicMessage) -> Result<M, FormatError> {
    // Every value of a dynamic message fits its descriptor; only protobuf's own limit of nesting is left to refuse it,
    // and its text names every level.
    dynamic
        .transcode_to()
        .map_err(|_| FormatError::whole("is nested too deep"))
}

/// The first line of a library's message, without the place, which is told apart.
pub(super) fn one_line(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let message = line.split(" at line ").next().unwrap_or_default();
    if message.contains("recursion limit") {
        "is nested too deep".to_owned()
    } else if message.contains("budget breached") {
        "is too large or nested too deep".to_owned()
    } else {
        message.to_owned()
    }
}

/// The error with the fields that were expected, for an unknown one.
fn explain<M: Name>(path: &str, message: &str) -> String {
    let Some(found) = message
        .split_once("unrecognized field name '")
        .and_then(|(_, rest)| rest.split_once('\''))
        .map(|(name, _)| name)
    else {
        return message.to_owned();
    };
    let mut names: Vec<String> = message_at(descriptor::<M>(), path, found)
        .map(|message| {
            message
                .fields()
                .map(|field| field.json_name().to_owned())
                .collect()
        })
        .unwrap_or_default();
    names.sort();
    let near = suggestion(found, names.iter().map(String::as_str));
    format!(
        "there is no field {found:?}{near} (expected one of: {})",
        names.join(", ")
    )
}

/// The message type that the object at `path` has; a last segment equal to the unknown field itself is left out.
fn message_at(root: MessageDescriptor, path: &str, found: &str) -> Option<MessageDescriptor> {
    let mut message = root;
    let mut segments: Vec<&str> = path
        .split(['.', '['])
        .filter(|segment| !segment.is_empty())
        .collect();
    if segments.last() == Some(&found) {
        segments.pop();
    }
    for segment in segments {
        if segment.ends_with(']') {
            continue;
        }
        let field = message
            .get_field_by_json_name(segment)
            .or_else(|| message.get_field_by_name(segment))?;
        message = field.kind().as_message()?.clone();
    }
    Some(message)
}
