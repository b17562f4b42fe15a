//! The body of an `http` step.

use serde_json::Value;
use signalbox_model::{expression::Template, limits, violation::Collector, workflow::HttpBody};

use super::{header_value, optional, written};
use crate::{
    convert::definition::{
        struct_to_json,
        texts::{json_template, template},
    },
    v1,
};

pub(super) fn body_of(
    path: &str,
    body: &v1::http_step::Body,
    problems: &mut Collector,
) -> Option<HttpBody> {
    use v1::http_step::Body;
    match body {
        Body::Json(value) => {
            json_template(&format!("{path}.json"), value, problems).map(HttpBody::Json)
        }
        Body::Text(text) => template(&format!("{path}.text"), text, problems).map(HttpBody::Text),
        Body::Form(fields) => form_of(&format!("{path}.form"), fields, problems),
        Body::Binary(binary) => binary_of(&format!("{path}.binary"), binary, problems),
    }
}

fn form_of(path: &str, fields: &prost_types::Struct, problems: &mut Collector) -> Option<HttpBody> {
    let fields = struct_to_json(fields, limits::JSON_DEPTH_MAX)
        .map_err(|problem| problems.add(path, problem))
        .ok()?;
    let Value::Object(fields) = fields else {
        return None;
    };
    let mut form = Some(Vec::new());
    for (name, value) in &fields {
        let path = format!("{path}.{name}");
        let values = match value {
            Value::Array(values) => {
                let path = |index| format!("{path}[{index}]");
                let values = values.iter().enumerate();
                values.map(|(n, value)| (path(n), value)).collect()
            }
            value => vec![(path, value)],
        };
        for (path, value) in values {
            let template = field_of(&path, value, problems);
            form = form.zip(template).map(|(mut form, template)| {
                form.push((name.clone(), template));
                form
            });
        }
    }
    form.map(HttpBody::Form)
}

fn field_of(path: &str, value: &Value, problems: &mut Collector) -> Option<Template> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(_) | Value::Bool(_) => value.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            problems.add(
                path,
                "is no value of a form: expected a text, a number, a boolean, or a list of these",
            );
            return None;
        }
    };
    template(path, &text, problems)
}

fn binary_of(
    path: &str,
    binary: &v1::HttpBinaryBody,
    problems: &mut Collector,
) -> Option<HttpBody> {
    let v1::HttpBinaryBody {
        base64,
        content_type,
    } = binary;
    let field = format!("{path}.contentType");
    header_value(&field, content_type, problems);
    let content_type = optional(written(content_type), |text| {
        template(&field, text, problems)
    });
    let field = format!("{path}.base64");
    let base64 = template(&field, base64, problems)?;
    // What is no template is known already.
    if let Some(text) = base64.as_literal()
        && let Err(error) = HttpBody::decode(text)
    {
        problems.add(field, format!("is no base64: {error}"));
        return None;
    }
    Some(HttpBody::Binary {
        base64,
        content_type: content_type?,
    })
}
