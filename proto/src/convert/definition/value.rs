//! `google.protobuf.Value` ↔ JSON.

use serde_json::Value;

/// The JSON of a `google.protobuf.Value`. Whole numbers become integers, which is what was written.
///
/// # Errors
/// When it is nested deeper than `depth_left`, or holds a number that JSON has not.
pub fn to_json(value: &prost_types::Value, depth_left: usize) -> Result<Value, &'static str> {
    use prost_types::value::Kind;
    let depth_left = depth_left.checked_sub(1).ok_or("is nested too deep")?;
    Ok(match &value.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(value)) => Value::Bool(*value),
        Some(Kind::NumberValue(number)) => number_to_json(*number)?,
        Some(Kind::StringValue(text)) => Value::String(text.clone()),
        Some(Kind::ListValue(list)) => Value::Array(
            list.values
                .iter()
                .map(|value| to_json(value, depth_left))
                .collect::<Result<_, _>>()?,
        ),
        Some(Kind::StructValue(fields)) => members(fields, depth_left)?,
    })
}

/// The same of a `google.protobuf.Struct`.
///
/// # Errors
/// As [`to_json`].
pub(super) fn struct_to_json(
    fields: &prost_types::Struct,
    depth_left: usize,
) -> Result<Value, &'static str> {
    let depth_left = depth_left.checked_sub(1).ok_or("is nested too deep")?;
    members(fields, depth_left)
}

fn members(fields: &prost_types::Struct, depth_left: usize) -> Result<Value, &'static str> {
    let members = fields
        .fields
        .iter()
        .map(|(name, value)| Ok((name.clone(), to_json(value, depth_left)?)));
    members
        .collect::<Result<_, &'static str>>()
        .map(Value::Object)
}

/// The `google.protobuf.Value` of JSON. Numbers become doubles, as that message has no others.
#[must_use]
pub fn from_json(value: &Value) -> prost_types::Value {
    use prost_types::value::Kind;
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(*value),
        Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or(f64::NAN)),
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(values) => Kind::ListValue(prost_types::ListValue {
            values: values.iter().map(from_json).collect(),
        }),
        Value::Object(fields) => Kind::StructValue(prost_types::Struct {
            fields: fields
                .iter()
                .map(|(name, value)| (name.clone(), from_json(value)))
                .collect(),
        }),
    };
    prost_types::Value { kind: Some(kind) }
}

/// Up to here every integer is a double.
const EXACT_MAX: f64 = 9_007_199_254_740_992.0;

fn number_to_json(number: f64) -> Result<Value, &'static str> {
    if number.fract() == 0.0 && number.abs() <= EXACT_MAX {
        #[expect(clippy::cast_possible_truncation, reason = "whole and within ±2^53")]
        return Ok(Value::from(number as i64));
    }
    serde_json::Number::from_f64(number)
        .map(Value::Number)
        .ok_or("holds a number that JSON has not")
}

/// The first integer in `value` that `google.protobuf.Value`, whose numbers are doubles, would change.
#[must_use]
pub fn inexact_number(value: &Value) -> Option<String> {
    match value {
        Value::Number(number) => {
            let magnitude = number
                .as_u64()
                .or_else(|| number.as_i64().map(i64::unsigned_abs))?;
            inexact_integer(magnitude.into()).then(|| number.to_string())
        }
        Value::Array(values) => values.iter().find_map(inexact_number),
        Value::Object(fields) => fields.values().find_map(inexact_number),
        Value::Null | Value::Bool(_) | Value::String(_) => None,
    }
}

/// Whether a double may not hold an integer of this magnitude.
pub(crate) fn inexact_integer(magnitude: u128) -> bool {
    magnitude > 1 << 53
}
