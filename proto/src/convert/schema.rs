//! The JSON Schema (draft 2020-12) of workflow files, for editors: what the descriptors say, with the comments of the
//! .proto files. It takes what [`super::yaml`] takes: both names of a field, numbers as texts, texts as numbers, null for
//! what is not set.
//!
//! A field that is added to the .proto files needs nothing here; [`rules`] has what descriptors cannot say.

mod rules;

use std::collections::BTreeMap;

use prost_reflect::{
    Cardinality, EnumDescriptor, FieldDescriptor, FileDescriptor, Kind, MessageDescriptor,
    OneofDescriptor,
};
use serde_json::{Map, Value, json};

use super::json::descriptor;
use crate::v1;

/// The schema of a file with one `signalbox.v1.Workflow`.
#[must_use]
pub fn workflow() -> Value {
    let root = descriptor::<v1::Workflow>();
    let mut schemas = Schemas::default();
    let reference = schemas.message(&root);
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Signalbox workflow",
        "description": "A workflow file of Signalbox, YAML or JSON.",
        "$defs": schemas.0,
    });
    extend(&mut schema, reference);
    schema
}

/// Definitions of messages, by their short names.
#[derive(Default)]
struct Schemas(BTreeMap<String, Value>);

impl Schemas {
    /// A reference to the definition of `message`, which is made unless it is there.
    fn message(&mut self, message: &MessageDescriptor) -> Value {
        let name = message.name().to_owned();
        if !self.0.contains_key(&name) {
            // Messages nest in themselves.
            self.0.insert(name.clone(), Value::Null);
            let schema = self.fields(message);
            self.0.insert(name.clone(), schema);
        }
        json!({"$ref": format!("#/$defs/{name}")})
    }

    fn fields(&mut self, message: &MessageDescriptor) -> Value {
        let mut properties = Map::new();
        let mut others = Map::new();
        let mut required = Vec::new();
        let mut all = Vec::new();
        for field in message.fields() {
            let name = field.json_name().to_owned();
            if field.name() != name {
                let path = format!("#/$defs/{}/properties/{name}", message.name());
                others.insert(format!("^{}$", field.name()), json!({"$ref": path}));
            }
            if rules::is_required(&field) {
                if field.name() == name {
                    required.push(name.clone());
                } else {
                    all.push(present(&field));
                }
            }
            properties.insert(name, self.field(&field));
        }
        all.extend(
            message
                .oneofs()
                .filter(is_choice)
                .map(|choice| one_of(&choice)),
        );
        all.extend(rules::needs(message));
        let mut schema = json!({
            "type": "object",
            "properties": properties,
            "additionalProperties": false,
        });
        describe(&mut schema, &message.parent_file(), message.path());
        for (key, value) in [
            ("patternProperties", Value::Object(others)),
            ("required", required.into()),
            ("allOf", all.into()),
        ] {
            let is_empty = match &value {
                Value::Array(values) => values.is_empty(),
                value => value.as_object().is_some_and(Map::is_empty),
            };
            if !is_empty {
                schema[key] = value;
            }
        }
        schema
    }

    fn field(&mut self, field: &FieldDescriptor) -> Value {
        let schema = match field.kind() {
            Kind::Message(entry) if field.is_map() => {
                let values = self.single(&entry.map_entry_value_field());
                json!({"type": "object", "additionalProperties": values})
            }
            _ if field.cardinality() == Cardinality::Repeated => {
                json!({"type": "array", "items": self.single(field)})
            }
            _ => self.single(field),
        };
        // An empty choice says nothing: the reader asks for {}.
        let is_chosen = matches!(field.kind(), Kind::Message(_))
            && field
                .containing_oneof()
                .is_some_and(|choice| is_choice(&choice));
        let mut schema = if is_chosen || rules::is_required(field) {
            schema
        } else {
            or_null(schema)
        };
        extend(&mut schema, rules::of(field));
        describe(
            &mut schema,
            &field.parent_message().parent_file(),
            field.path(),
        );
        schema
    }

    /// One value of a field.
    fn single(&mut self, field: &FieldDescriptor) -> Value {
        match field.kind() {
            Kind::Message(message) => match message.full_name() {
                "google.protobuf.Value" => json!({}),
                "google.protobuf.Struct" => json!({"type": "object"}),
                "google.protobuf.Duration" => json!({
                    "type": "string",
                    "pattern": r"^[0-9]+(\.[0-9]{1,9})?s$",
                    "examples": ["30s"],
                }),
                "google.protobuf.Timestamp" => json!({"type": "string", "format": "date-time"}),
                _ => self.message(&message),
            },
            Kind::Enum(kind) => names_of(&kind),
            Kind::Bool => json!({"type": "boolean"}),
            Kind::String => json!({"type": ["string", "number", "boolean"]}),
            Kind::Bytes => json!({"type": "string", "contentEncoding": "base64"}),
            Kind::Float | Kind::Double => json!({
                "type": ["number", "string"],
                "pattern": r"^-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?$",
            }),
            // What remains are the integers.
            _ => json!({"type": ["integer", "string"], "pattern": "^-?[0-9]+$"}),
        }
    }
}

/// The value of an enum by its name, or by its number.
fn names_of(kind: &EnumDescriptor) -> Value {
    let names: Vec<_> = kind.values().map(|value| value.name().to_owned()).collect();
    let numbers: Vec<_> = kind.values().map(|value| value.number()).collect();
    json!({"anyOf": [{"enum": names}, {"enum": numbers}]})
}

fn or_null(mut schema: Value) -> Value {
    if schema.get("$ref").is_some() {
        return json!({"anyOf": [schema, {"type": "null"}]});
    }
    if let Some(Value::Array(ways)) = schema.get_mut("anyOf") {
        ways.push(json!({"type": "null"}));
    }
    match schema.get_mut("type") {
        Some(Value::Array(types)) => types.push("null".into()),
        Some(only) => *only = json!([only, "null"]),
        // What takes anything takes null.
        None => {}
    }
    schema
}

/// Whether a choice was written as one: an `optional` field is one of its own.
fn is_choice(choice: &OneofDescriptor) -> bool {
    !choice.is_synthetic()
}

/// One of the members, or none unless one is required.
fn one_of(choice: &OneofDescriptor) -> Value {
    let mut ways: Vec<_> = choice.fields().map(|field| present(&field)).collect();
    if !rules::is_choice_required(choice) {
        ways.push(json!({"not": {"anyOf": ways}}));
    }
    json!({"oneOf": ways})
}

/// That a field is there, by one of its names.
fn present(field: &FieldDescriptor) -> Value {
    if field.name() == field.json_name() {
        return json!({"required": [field.name()]});
    }
    json!({"anyOf": [{"required": [field.json_name()]}, {"required": [field.name()]}]})
}

/// The comment at `path` in the .proto file as the schema's description.
fn describe(schema: &mut Value, file: &FileDescriptor, path: &[i32]) {
    let info = file.file_descriptor_proto().source_code_info.as_ref();
    let comment = info
        .and_then(|info| info.location.iter().find(|location| location.path == path))
        .map(|location| location.leading_comments().trim())
        .filter(|comment| !comment.is_empty());
    if let Some(comment) = comment {
        let words: Vec<_> = comment.split_whitespace().collect();
        schema["description"] = words.join(" ").into();
        if comment.ends_with("Output only.") {
            schema["readOnly"] = true.into();
        }
    }
}

/// Adds the members of `more`.
fn extend(schema: &mut Value, more: Value) {
    if let (Value::Object(schema), Value::Object(more)) = (schema, more) {
        schema.extend(more);
    }
}
