//! A document against the message that it should be: all problems, each with what was found and what was expected.

use prost_reflect::{Cardinality, FieldDescriptor, Kind, MessageDescriptor};
use signalbox_model::suggestion::suggestion;

use super::{
    Position,
    tree::{Content, Entry, Node},
};
use crate::convert::{definition::inexact_integer, json::FormatError};

/// Every problem of the document at `root`.
pub(super) fn document(message: &MessageDescriptor, root: &Node) -> Vec<FormatError> {
    let mut check = Check::default();
    match &root.content {
        // An empty file says nothing, which is for its reader to judge.
        Content::Null => {}
        _ => check.message(message, "", root),
    }
    check.problems
}

#[derive(Default)]
struct Check {
    problems: Vec<FormatError>,
}

impl Check {
    fn add(&mut self, path: &str, at: Position, message: String) {
        self.problems.push(FormatError {
            path: path.to_owned(),
            line: Some(at.line),
            column: Some(at.column),
            message,
        });
    }

    fn wrong(&mut self, path: &str, node: &Node, expected: &str) {
        let message = format!("is {}; expected {expected}", shown(&node.content));
        self.add(path, node.at, message);
    }

    fn message(&mut self, message: &MessageDescriptor, path: &str, node: &Node) {
        match message.full_name() {
            "google.protobuf.Value" => return self.value(path, node),
            "google.protobuf.Struct" => return self.members(path, node),
            "google.protobuf.Duration" => return self.duration(path, node),
            "google.protobuf.Timestamp" => return self.timestamp(path, node),
            _ => {}
        }
        let Content::Map(entries) = &node.content else {
            let expected = format!("fields: {}", names(message).join(", "));
            return self.wrong(path, node, &expected);
        };
        // The member of each choice that was seen first.
        let mut chosen: Vec<(String, &str)> = Vec::new();
        for entry in entries {
            let at = join(path, &entry.key);
            let Some(field) = field_of(message, &entry.key) else {
                self.unknown(message, &at, entry);
                continue;
            };
            if let Some(choice) = field.containing_oneof() {
                let members: Vec<_> = choice.fields().map(|f| f.json_name().to_owned()).collect();
                if matches!(entry.value.content, Content::Null) && is_plain_message(&field) {
                    let text = "is null, which means not set; write {} for one without fields";
                    self.add(&at, entry.at, text.to_owned());
                }
                match chosen.iter().find(|(name, _)| name == choice.name()) {
                    Some((_, first)) => {
                        let text = format!(
                            "stands beside {first:?}; expected only one of {}",
                            members.join(", ")
                        );
                        self.add(&at, entry.at, text);
                    }
                    None => chosen.push((choice.name().to_owned(), &entry.key)),
                }
            }
            self.field(&field, &at, &entry.value);
        }
    }

    fn unknown(&mut self, message: &MessageDescriptor, path: &str, entry: &Entry) {
        let names = names(message);
        let hint = suggestion(&entry.key, names.iter().map(String::as_str));
        let text = format!(
            "there is no such field{hint} (expected one of: {})",
            names.join(", ")
        );
        self.add(path, entry.at, text);
    }

    fn field(&mut self, field: &FieldDescriptor, path: &str, node: &Node) {
        if matches!(node.content, Content::Null) {
            return;
        }
        if field.is_map() {
            let Content::Map(entries) = &node.content else {
                return self.wrong(path, node, "a mapping of names to values");
            };
            let Some(value) = field
                .kind()
                .as_message()
                .map(MessageDescriptor::map_entry_value_field)
            else {
                return;
            };
            for entry in entries {
                self.single(&value, &join(path, &entry.key), &entry.value);
            }
        } else if field.cardinality() == Cardinality::Repeated {
            let Content::List(values) = &node.content else {
                return self.wrong(path, node, "a list");
            };
            for (index, value) in values.iter().enumerate() {
                self.single(field, &format!("{path}[{index}]"), value);
            }
        } else {
            self.single(field, path, node);
        }
    }

    fn single(&mut self, field: &FieldDescriptor, path: &str, node: &Node) {
        match (field.kind(), &node.content) {
            (Kind::Message(message), _) => self.message(&message, path, node),
            (Kind::Bool, Content::Bool(_)) => {}
            (Kind::Bool, _) => self.wrong(path, node, "true or false"),
            // A number where a text is meant is taken as it is written.
            (
                Kind::String,
                Content::Text(_) | Content::Bool(_) | Content::Integer(_) | Content::Float(_),
            ) => {}
            (Kind::String, _) => self.wrong(path, node, "text"),
            // Whether it is base64, who decodes it says.
            (Kind::Bytes, Content::Text(_)) => {}
            (Kind::Bytes, _) => self.wrong(path, node, "base64 as text"),
            (Kind::Float | Kind::Double, Content::Integer(_) | Content::Float(_)) => {}
            (Kind::Float | Kind::Double, Content::Text(text)) if text.parse::<f64>().is_ok() => {}
            (Kind::Float | Kind::Double, _) => self.wrong(path, node, "a number"),
            (Kind::Enum(kind), Content::Text(text)) => {
                if kind.get_value_by_name(text).is_none() {
                    let values: Vec<_> = kind.values().map(|v| v.name().to_owned()).collect();
                    let hint = meant(text, &values);
                    self.wrong(path, node, &format!("one of {}{hint}", values.join(", ")));
                }
            }
            (Kind::Enum(_), Content::Integer(_)) => {}
            (Kind::Enum(_), _) => self.wrong(path, node, "the name of a value"),
            // What remains are the integers.
            (_, Content::Integer(_)) => {}
            (_, Content::Float(float)) if float.fract() == 0.0 => {}
            (_, Content::Text(text)) if text.parse::<i64>().is_ok() => {}
            _ => self.wrong(path, node, "a whole number"),
        }
    }

    fn value(&mut self, path: &str, node: &Node) {
        match &node.content {
            Content::Null | Content::Bool(_) | Content::Text(_) => {}
            Content::Float(number) if number.is_finite() => {}
            Content::Float(_) => self.wrong(path, node, "a number that JSON has"),
            Content::Integer(number) if inexact_integer(number.unsigned_abs()) => self.add(
                path,
                node.at,
                format!("{number} is beyond ±2^53, where numbers lose digits; write it as text"),
            ),
            Content::Integer(_) => {}
            Content::List(values) => {
                for (index, value) in values.iter().enumerate() {
                    self.value(&format!("{path}[{index}]"), value);
                }
            }
            Content::Map(entries) => {
                for entry in entries {
                    self.value(&join(path, &entry.key), &entry.value);
                }
            }
        }
    }

    fn members(&mut self, path: &str, node: &Node) {
        match &node.content {
            Content::Map(_) => self.value(path, node),
            _ => self.wrong(path, node, "a mapping of names to values"),
        }
    }

    fn duration(&mut self, path: &str, node: &Node) {
        const EXPECTED: &str = "seconds such as 30s or 0.5s";
        let Content::Text(text) = &node.content else {
            return self.wrong(path, node, EXPECTED);
        };
        if text.parse::<prost_types::Duration>().is_ok() {
            return;
        }
        // 5m and 1h30m are what people write.
        let seconds = text
            .parse::<jiff::SignedDuration>()
            .ok()
            .filter(|duration| duration.subsec_nanos() == 0)
            .map(|duration| format!("; did you mean {}s?", duration.as_secs()));
        let expected = format!("{EXPECTED}{}", seconds.unwrap_or_default());
        self.wrong(path, node, &expected);
    }

    fn timestamp(&mut self, path: &str, node: &Node) {
        match &node.content {
            Content::Text(text) if text.parse::<jiff::Timestamp>().is_ok() => {}
            _ => self.wrong(path, node, "a time such as 2026-11-24T10:00:00Z (RFC 3339)"),
        }
    }
}

/// The value of an enum that was meant: most leave out what all begin with.
fn meant(text: &str, values: &[String]) -> String {
    let end = format!("_{}", text.to_ascii_uppercase());
    match values.iter().find(|value| value.ends_with(&end)) {
        Some(value) => format!("; did you mean {value:?}?"),
        None => suggestion(text, values.iter().map(String::as_str)),
    }
}

fn is_plain_message(field: &FieldDescriptor) -> bool {
    matches!(field.kind(), Kind::Message(message) if message.full_name() != "google.protobuf.Value")
}

/// The field of this JSON name or, as the mapping allows, of this name in the .proto file.
pub(super) fn field_of(message: &MessageDescriptor, key: &str) -> Option<FieldDescriptor> {
    message
        .get_field_by_json_name(key)
        .or_else(|| message.get_field_by_name(key))
}

fn names(message: &MessageDescriptor) -> Vec<String> {
    message
        .fields()
        .map(|field| field.json_name().to_owned())
        .collect()
}

pub(super) fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}.{name}")
    }
}

/// A value in a few words.
fn shown(content: &Content) -> String {
    match content {
        Content::Null => "empty".to_owned(),
        Content::Bool(value) => value.to_string(),
        Content::Integer(number) => format!("the number {number}"),
        Content::Float(number) => format!("the number {number}"),
        Content::Text(text) => {
            let text: String = text.chars().take(64).collect();
            format!("{text:?}")
        }
        Content::List(_) => "a list".to_owned(),
        Content::Map(_) => "a mapping".to_owned(),
    }
}
