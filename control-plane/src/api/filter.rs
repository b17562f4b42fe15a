//! Filters of lists: a subset of CEL, comparisons `field == "value"` joined by `&&`, read by CEL's own parser.

use cel::{
    common::ast::{Expr, IdedExpr, LiteralValue},
    parser::Parser,
};
use signalbox_model::{
    error::Error,
    expression::with_parser_stack,
    ids::{ExecutionName, WorkflowName},
};

use crate::store::{DeliveryFilter, ExecutionFilter};

const FILTER_MAX_BYTES: usize = 2048;
const EXPECTED: &str = "expected comparisons field == \"value\" joined by &&";

fn wrong(description: impl Into<String>) -> Error {
    Error::invalid("filter", description)
}

/// The comparisons of `text`.
fn comparisons(text: &str) -> Result<Vec<(String, String)>, Error> {
    if text.trim().is_empty() {
        return Ok(Vec::new());
    }
    if text.len() > FILTER_MAX_BYTES {
        return Err(wrong(format!("has more than {FILTER_MAX_BYTES} bytes")));
    }
    let parsed = with_parser_stack(|| Parser::new().max_recursion_depth(16).parse(text))
        .map_err(|_| wrong(format!("is not CEL: {EXPECTED}")))?;
    let mut found = Vec::new();
    gather(&parsed, &mut found)?;
    Ok(found)
}

fn gather(expression: &IdedExpr, found: &mut Vec<(String, String)>) -> Result<(), Error> {
    let Expr::Call(call) = &expression.expr else {
        return Err(wrong(EXPECTED));
    };
    match (call.func_name.as_str(), call.args.as_slice()) {
        ("_&&_", parts) => parts.iter().try_for_each(|part| gather(part, found)),
        ("_==_", [left, right]) => match (&left.expr, &right.expr) {
            (Expr::Ident(field), Expr::Literal(LiteralValue::String(value))) => {
                found.push((field.clone(), value.inner().to_owned()));
                Ok(())
            }
            _ => Err(wrong(EXPECTED)),
        },
        _ => Err(wrong(EXPECTED)),
    }
}

fn set(slot: &mut Option<String>, field: &str, value: String) -> Result<(), Error> {
    if slot.replace(value).is_some() {
        return Err(wrong(format!("compares {field} twice")));
    }
    Ok(())
}

/// `value` when it is one of `allowed`.
fn one_of(field: &str, value: String, allowed: &[&str]) -> Result<String, Error> {
    if allowed.contains(&value.as_str()) {
        return Ok(value);
    }
    Err(wrong(format!(
        "{field} is {value:?}; expected one of {}",
        allowed.join(", ")
    )))
}

/// A filter of executions.
///
/// # Errors
/// `Invalid` at `filter`, with what was expected.
pub(super) fn executions(text: &str) -> Result<ExecutionFilter, Error> {
    let mut filter = ExecutionFilter::default();
    for (field, value) in comparisons(text)? {
        match field.as_str() {
            "workflow" => {
                let id = match value.parse::<WorkflowName>() {
                    Ok(name) => name.workflow.to_string(),
                    Err(_) => value,
                };
                set(&mut filter.workflow, &field, id)?;
            }
            "state" => {
                let states = [
                    "QUEUED",
                    "RUNNING",
                    "WAITING",
                    "SUCCEEDED",
                    "FAILED",
                    "CANCELLED",
                    "TIMED_OUT",
                ];
                set(&mut filter.state, &field, one_of(&field, value, &states)?)?;
            }
            "trigger" => {
                let triggers = ["AMAZON_SNS", "WEBHOOK", "MANUAL", "SCHEDULE", "WORKFLOW"];
                set(
                    &mut filter.trigger,
                    &field,
                    one_of(&field, value, &triggers)?,
                )?;
            }
            "topic_arn" => set(&mut filter.topic_arn, &field, value)?,
            "message_id" => set(&mut filter.message_id, &field, value)?,
            "parent" => {
                let id = match value.parse::<ExecutionName>() {
                    Ok(name) => name.execution.to_string(),
                    Err(_) => value,
                };
                set(&mut filter.parent, &field, id)?;
            }
            other => {
                return Err(wrong(format!(
                    "there is no field {other:?}; expected workflow, state, trigger, topic_arn, message_id or parent"
                )));
            }
        }
    }
    Ok(filter)
}

/// A filter of deliveries.
///
/// # Errors
/// `Invalid` at `filter`, with what was expected.
pub(super) fn deliveries(text: &str) -> Result<DeliveryFilter, Error> {
    let mut filter = DeliveryFilter::default();
    for (field, value) in comparisons(text)? {
        match field.as_str() {
            "verdict" => {
                let verdicts = ["ACCEPTED", "DUPLICATE", "FILTERED", "REJECTED"];
                set(
                    &mut filter.verdict,
                    &field,
                    one_of(&field, value, &verdicts)?,
                )?;
            }
            "reason" => set(&mut filter.reason, &field, value)?,
            "message_id" => set(&mut filter.message_id, &field, value)?,
            "topic_arn" => set(&mut filter.topic_arn, &field, value)?,
            other => {
                return Err(wrong(format!(
                    "there is no field {other:?}; expected verdict, reason, message_id or topic_arn"
                )));
            }
        }
    }
    Ok(filter)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;

    #[test]
    fn comparisons_are_read() {
        let filter = executions(
            r#"workflow == "projects/p/workflows/w" && state == "FAILED" && message_id == "a\"b""#,
        )
        .unwrap();
        assert_eq!(filter.workflow.as_deref(), Some("w"));
        assert_eq!(filter.state.as_deref(), Some("FAILED"));
        assert_eq!(filter.message_id.as_deref(), Some("a\"b"));
        let filter = executions(r#"parent == "projects/p/executions/x1""#).unwrap();
        assert_eq!(filter.parent.as_deref(), Some("x1"));
        let filter = executions(r#"parent == "x2" && trigger == "WORKFLOW""#).unwrap();
        assert_eq!(filter.parent.as_deref(), Some("x2"));
        assert_eq!(executions("  ").unwrap(), ExecutionFilter::default());
    }

    #[test]
    fn everything_else_is_refused_with_what_was_expected() {
        for wrong in [
            "state",
            "state ==",
            r#"state = "FAILED""#,
            r#"state == "WRONG""#,
            r#"state == "FAILED" || state == "QUEUED""#,
            r#"state == "FAILED" && state == "QUEUED""#,
            r#"color == "red""#,
            "state == 1",
            r#""FAILED" == state"#,
            &"(".repeat(500),
        ] {
            assert!(executions(wrong).is_err(), "{wrong}");
        }
        let error = deliveries(r#"state == "FAILED""#).unwrap_err().to_string();
        assert!(error.contains("expected verdict, reason"), "{error}");
    }
}
