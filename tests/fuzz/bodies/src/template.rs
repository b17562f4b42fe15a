//! Templates with expressions, over an event that a stranger wrote.

use serde_json::{Value, json};
use signalbox_model::{
    expression::{Scope, Template},
    limits,
};

use crate::Target;

/// The target.
pub const TARGET: Target = Target {
    name: "template",
    body,
    mutations: 1_500,
    tokens: &[
        "${{ ",
        " }}",
        "$${{",
        "event.json",
        "event.message",
        "vars.n",
        "steps.a.output",
        ".map(x, ",
        ".filter(x, ",
        ".matches('",
        ".replace('a', event.message)",
        ".split('')",
        ".join(',')",
        "size(",
        "string(",
        " + ",
        " * ",
        "[",
        "]",
        "{",
        "}",
        "event.json.list",
        "9223372036854775807",
        "has(",
        "1.0 / 0.0",
        "b'\\xff'",
        "timestamp('",
        "duration('",
        "? 1 : 2",
        "regex.replace(event.message, '",
        "regex.extractAll(event.message, '",
        "json.parse(event.message)",
        "json.encode(",
        "hash.sha256(",
        "hex.decode(",
        "url.decode(event.message)",
        ".format('%F %T', '",
        "time.parse(event.message, '",
        ".orValue(",
    ],
};

/// The first line is the message, the rest the template.
pub fn body(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let (message, source) = text.split_once('\n').unwrap_or(("", text));
    let Ok(template) = Template::parse(source) else {
        return;
    };
    let json: Value = serde_json::from_str(message).unwrap_or(Value::Null);
    let event = json!({"message": message, "json": json, "attributes": {}, "topicArn": null});
    let scope = Scope::new(&event, &json!({"n": 3}), &json!({"id": "e"}));
    let rendered = template.render(&scope);
    assert_eq!(rendered, template.render(&scope), "it has no memory");
    if let Some(literal) = template.as_literal() {
        assert_eq!(rendered, Ok(Value::from(literal)));
    }
    if let Ok(value) = rendered {
        let size = match &value {
            Value::String(text) => text.len(),
            value => value.to_string().len(),
        };
        assert!(size <= limits::VALUE_MAX_BYTES, "{size} bytes");
    }
}
