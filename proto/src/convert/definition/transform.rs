//! The `transform` step.

use signalbox_model::{
    expression::{JsonPath, Wanted},
    violation::Collector,
    workflow::{JsonPathTransform, TransformStep},
};

use super::texts::{expression, json_template};
use crate::v1::{self, transform_step::Value};

pub(super) fn transform_step(
    path: &str,
    step: &v1::TransformStep,
    problems: &mut Collector,
) -> Option<TransformStep> {
    let v1::TransformStep { value } = step;
    match value {
        None => {
            problems.add(
                path,
                "computes nothing: expected expression, template or jsonPath",
            );
            None
        }
        Some(Value::Expression(source)) => {
            let field = format!("{path}.expression");
            expression(&field, source, Wanted::Value, problems).map(TransformStep::Expression)
        }
        Some(Value::Template(value)) => {
            json_template(&format!("{path}.template"), value, problems).map(TransformStep::Template)
        }
        Some(Value::JsonPath(query)) => {
            json_path(&format!("{path}.jsonPath"), query, problems).map(TransformStep::JsonPath)
        }
    }
}

fn json_path(
    field: &str,
    query: &v1::JsonPathTransform,
    problems: &mut Collector,
) -> Option<JsonPathTransform> {
    let v1::JsonPathTransform { path, from, first } = query;
    let from = if from.is_empty() {
        JsonPathTransform::FROM_DEFAULT
    } else {
        from
    };
    let path = problems.check(format!("{field}.path"), JsonPath::parse(path));
    let from = expression(&format!("{field}.from"), from, Wanted::Value, problems);
    Some(JsonPathTransform {
        path: path?,
        from: from?,
        first: *first,
    })
}
