//! The AWS Query protocol's form, and EC2's
//! (<https://smithy.io/2.0/aws/protocols/aws-query-protocol.html>, `…/aws-ec2-query-protocol.html`).

use serde_json::Value;
use signalbox_model::aws::{Flattening, ec2_name, query_map};
use url::form_urlencoded::Serializer;

/// The form of an operation.
pub(super) fn form(
    service: &str,
    flattening: Flattening,
    [action, version]: [&str; 2],
    input: &serde_json::Map<String, Value>,
) -> String {
    let mut form = Form {
        service,
        flattening,
        out: Serializer::new(String::new()),
    };
    form.out.append_pair("Action", action);
    form.out.append_pair("Version", version);
    form.members("", input);
    form.out.finish()
}

struct Form<'a> {
    service: &'a str,
    flattening: Flattening,
    out: Serializer<'a, String>,
}

impl Form<'_> {
    fn members(&mut self, prefix: &str, members: &serde_json::Map<String, Value>) {
        for (name, value) in members {
            let wire = match (self.flattening, value) {
                (Flattening::Ec2, Value::Array(_)) => ec2_name(name),
                _ => name,
            };
            let name = joined(prefix, wire);
            match (query_map(self.service, wire), value) {
                (Some(names), Value::Object(entries)) => self.entries(&name, names, entries),
                _ => self.value(&name, value),
            }
        }
    }

    fn value(&mut self, name: &str, value: &Value) {
        match value {
            Value::Null => {}
            Value::Bool(_) | Value::Number(_) => {
                self.out.append_pair(name, &value.to_string());
            }
            Value::String(text) => {
                self.out.append_pair(name, text);
            }
            Value::Array(values) if values.is_empty() => {
                // The one way to say "none of them"; EC2 knows no such way.
                if self.flattening == Flattening::Member {
                    self.out.append_pair(name, "");
                }
            }
            Value::Array(values) => {
                let member = match self.flattening {
                    Flattening::Member => ".member",
                    Flattening::Ec2 | Flattening::Plain => "",
                };
                for (number, value) in (1..).zip(values) {
                    self.value(&format!("{name}{member}.{number}"), value);
                }
            }
            Value::Object(members) => self.members(name, members),
        }
    }

    fn entries(
        &mut self,
        name: &str,
        [key, value]: [&str; 2],
        entries: &serde_json::Map<String, Value>,
    ) {
        for (number, (entry, content)) in (1..).zip(entries) {
            self.out
                .append_pair(&format!("{name}.entry.{number}.{key}"), entry);
            self.value(&format!("{name}.entry.{number}.{value}"), content);
        }
    }
}

fn joined(prefix: &str, name: &str) -> String {
    if prefix.is_empty() {
        name.to_owned()
    } else {
        format!("{prefix}.{name}")
    }
}
