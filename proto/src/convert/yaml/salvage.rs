//! What of a document can be read although other parts of it are wrong.

use std::collections::BTreeSet;

use prost::{Message, Name};
use prost_reflect::{Cardinality, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value};

use super::{
    check::{field_of, join},
    tree::{Content, Entry, Node},
};
use crate::convert::json::{self, FormatError};

/// The parts of a document that are not in its message.
#[derive(Clone, Debug, Default)]
pub(super) struct Lost {
    /// Paths of what is wrong.
    wrong: BTreeSet<String>,
    /// Whether names may be gone with it that others read.
    has_names: bool,
}

/// The message without what is `wrong`.
pub(super) fn salvage<M: Message + Name + Default>(
    root: &Node,
    wrong: &[FormatError],
) -> Option<(M, Lost)> {
    let mut lost = Lost {
        wrong: wrong.iter().map(|error| error.path.clone()).collect(),
        has_names: false,
    };
    let value = lost.message(&json::descriptor::<M>(), "", root)?;
    Some((json::from_value(&value).ok()?, lost))
}

impl Lost {
    /// Whether what is told of `path` may be so only because of what is gone: it stands within that or holds it, or it is not
    /// there while its neighbour is gone, which may have been meant for it.
    pub(super) fn explains(&self, root: &Node, path: &str) -> bool {
        self.has_names
            || self.wrong.iter().any(|wrong| {
                let within = path.strip_prefix(wrong.as_str());
                let within =
                    within.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
                let holds = parent(wrong) == path;
                let beside = parent(wrong) == parent(path) && !root.has(path);
                within || holds || beside
            })
    }

    fn is_wrong(&self, path: &str) -> bool {
        self.wrong.contains(path)
    }

    /// Notes that `node` is gone.
    fn gone(&mut self, path: &str, node: &Node) {
        let is_constant = path.split('.').any(|part| part == "vars");
        // Constants or steps by another name, or none that can be read.
        let is_section = path == "spec"
            || path.strip_prefix("spec.").is_some_and(|name| {
                let holds_others = matches!(node.content, Content::Map(_) | Content::List(_));
                holds_others && !name.contains(['.', '['])
            });
        self.has_names |= is_constant || is_section || holds_steps(node);
    }

    fn message(&mut self, message: &MessageDescriptor, path: &str, node: &Node) -> Option<Value> {
        let is_wrong = self.is_wrong(path);
        let entries = match &node.content {
            _ if is_wrong => {
                self.gone(path, node);
                return None;
            }
            _ if message.full_name().starts_with("google.protobuf.") => {
                return self.plain(path, node);
            }
            Content::Map(entries) => entries,
            _ => return Some(Value::Object(Map::new())),
        };
        let mut fields = Map::new();
        for Entry { key, value, .. } in entries {
            let at = join(path, key);
            match field_of(message, key) {
                Some(field) if !self.is_wrong(&at) => {
                    if let Some(value) = self.field(&field, &at, value) {
                        fields.insert(key.clone(), value);
                    }
                }
                _ => self.gone(&at, value),
            }
        }
        Some(Value::Object(fields))
    }

    fn field(&mut self, field: &FieldDescriptor, path: &str, node: &Node) -> Option<Value> {
        match &node.content {
            Content::Null => Some(Value::Null),
            Content::Map(entries) if field.is_map() => {
                let kind = field.kind();
                let value = kind.as_message()?.map_entry_value_field();
                let mut fields = Map::new();
                for entry in entries {
                    let read = self.single(&value, &join(path, &entry.key), &entry.value);
                    fields.extend(read.map(|read| (entry.key.clone(), read)));
                }
                Some(Value::Object(fields))
            }
            Content::List(values) if field.cardinality() == Cardinality::Repeated => {
                let values = values.iter().enumerate();
                // Those after one that is gone would be told of at its place.
                let read = values.map(|(index, value)| {
                    self.single(field, &format!("{path}[{index}]"), value)
                        .unwrap_or_else(|| nothing(field))
                });
                Some(Value::Array(read.collect()))
            }
            _ => self.single(field, path, node),
        }
    }

    fn single(&mut self, field: &FieldDescriptor, path: &str, node: &Node) -> Option<Value> {
        match (field.kind(), &node.content) {
            (Kind::Message(message), _) => self.message(&message, path, node),
            _ if self.is_wrong(path) => {
                self.gone(path, node);
                None
            }
            // A number where a text is meant is taken as it is written.
            (Kind::String, Content::Bool(value)) => Some(value.to_string().into()),
            (Kind::String, Content::Integer(number)) => Some(number.to_string().into()),
            (Kind::String, Content::Float(number)) => Some(number.to_string().into()),
            _ => self.plain(path, node),
        }
    }

    /// What has no descriptor.
    fn plain(&mut self, path: &str, node: &Node) -> Option<Value> {
        if self.is_wrong(path) {
            self.gone(path, node);
            return None;
        }
        Some(match &node.content {
            Content::Null => Value::Null,
            Content::Bool(value) => Value::Bool(*value),
            Content::Integer(number) => match i64::try_from(*number) {
                Ok(number) => number.into(),
                Err(_) => number.to_string().into(),
            },
            Content::Float(number) => match serde_json::Number::from_f64(*number) {
                Some(number) => number.into(),
                None => number.to_string().into(),
            },
            Content::Text(text) => Value::String(text.clone()),
            Content::List(values) => {
                let values = values.iter().enumerate();
                let read = values.map(|(index, value)| {
                    let at = format!("{path}[{index}]");
                    self.plain(&at, value).unwrap_or(Value::Null)
                });
                Value::Array(read.collect())
            }
            Content::Map(entries) => {
                let mut fields = Map::new();
                for entry in entries {
                    let read = self.plain(&join(path, &entry.key), &entry.value);
                    fields.extend(read.map(|read| (entry.key.clone(), read)));
                }
                Value::Object(fields)
            }
        })
    }
}

/// What stands in the place of an element that is gone.
fn nothing(field: &FieldDescriptor) -> Value {
    match field.kind() {
        Kind::Message(message) if message.full_name() == "google.protobuf.Value" => Value::Null,
        Kind::Message(_) => Value::Object(Map::new()),
        Kind::String | Kind::Bytes => String::new().into(),
        Kind::Bool => false.into(),
        _ => 0.into(),
    }
}

/// Whether steps stand in it, whose ids others read.
fn holds_steps(node: &Node) -> bool {
    match &node.content {
        Content::Map(entries) => {
            let held = |entry: &Entry| entry.key == "id" || holds_steps(&entry.value);
            entries.iter().any(held)
        }
        Content::List(values) => values.iter().any(holds_steps),
        _ => false,
    }
}

/// The path of what holds `path`.
fn parent(path: &str) -> &str {
    let end = path.rfind(['.', '[']).unwrap_or_default();
    &path[..end]
}
