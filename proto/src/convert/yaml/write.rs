//! A message's JSON in the order in which people write it: fields by their numbers, entries of maps by their names.

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

/// A value, and the message that it is of, if it is one.
pub(super) struct Ordered<'v> {
    value: &'v Value,
    message: Option<MessageDescriptor>,
}

impl<'v> Ordered<'v> {
    /// The JSON `value` of a `message`.
    pub(super) fn new(value: &'v Value, message: MessageDescriptor) -> Self {
        // What has a form of its own in JSON has no fields there.
        let is_plain = !message.full_name().starts_with("google.protobuf.");
        Self {
            value,
            message: Some(message).filter(|_| is_plain),
        }
    }

    /// The value of a field.
    fn of_field(value: &'v Value, field: &FieldDescriptor) -> Self {
        match field.kind() {
            Kind::Message(message) if !field.is_map() => Self::new(value, message),
            _ => Self::plain(value),
        }
    }

    fn plain(value: &'v Value) -> Self {
        Self {
            value,
            message: None,
        }
    }

    fn entries(&self, fields: &'v Map<String, Value>) -> Vec<(&'v String, Self)> {
        let Some(message) = &self.message else {
            let mut entries: Vec<_> = fields
                .iter()
                .map(|(name, it)| (name, Self::plain(it)))
                .collect();
            entries.sort_by_key(|(name, _)| *name);
            return entries;
        };
        let mut found: Vec<_> = fields
            .iter()
            .filter_map(|(name, it)| Some((name, it, message.get_field_by_json_name(name)?)))
            .collect();
        found.sort_by_key(|(_, _, field)| field.number());
        let found = found.into_iter();
        found
            .map(|(name, it, field)| (name, Self::of_field(it, &field)))
            .collect()
    }
}

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self.value {
            Value::Object(fields) => to.collect_map(self.entries(fields)),
            Value::Array(values) => to.collect_seq(values.iter().map(|value| Self {
                value,
                message: self.message.clone(),
            })),
            other => other.serialize(to),
        }
    }
}
