//! Filters of lists: a subset of CEL, comparisons `field == "value"` joined by `&&`, read by CEL's own parser.

use cel::{
    common::ast::{Expr, IdedExpr, LiteralValue},
    parser::Parser,
};
use signalbox_model::{
    error::Error, expression::with_parser_stack, ids::WorkflowName, labels::LabelSelector,
};

use crate::store::{AuditFilter, DeliveryFilter, ExecutionFilter};

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
            (field, Expr::Literal(LiteralValue::String(value))) => {
                let field = path(field).ok_or_else(|| wrong(EXPECTED))?;
                found.push((field, value.inner().to_owned()));
                Ok(())
            }
            _ => Err(wrong(EXPECTED)),
        },
        _ => Err(wrong(EXPECTED)),
    }
}

/// `field`, `field.name` or `field["name"]`, the latter as the second.
fn path(expression: &Expr) -> Option<String> {
    match expression {
        Expr::Ident(field) => Some(field.clone()),
        Expr::Select(select) if !select.test => match &select.operand.expr {
            Expr::Ident(field) => Some(format!("{field}.{}", select.field)),
            _ => None,
        },
        Expr::Call(call) if call.func_name == "_[_]" => match call.args.as_slice() {
            [of, name] => match (&of.expr, &name.expr) {
                (Expr::Ident(field), Expr::Literal(LiteralValue::String(name))) => {
                    Some(format!("{field}.{}", name.inner()))
                }
                _ => None,
            },
            _ => None,
        },
        _ => None,
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
                let triggers = ["AMAZON_SNS", "WEBHOOK", "MANUAL", "SCHEDULE"];
                set(
                    &mut filter.trigger,
                    &field,
                    one_of(&field, value, &triggers)?,
                )?;
            }
            "topic_arn" => set(&mut filter.topic_arn, &field, value)?,
            "message_id" => set(&mut filter.message_id, &field, value)?,
            other => {
                return Err(wrong(format!(
                    "there is no field {other:?}; expected workflow, state, trigger, topic_arn or message_id"
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

/// A filter by labels.
///
/// # Errors
/// `Invalid` at `filter`, with what was expected.
pub(super) fn labels(text: &str) -> Result<LabelSelector, Error> {
    let mut selector = LabelSelector::new();
    for (field, value) in comparisons(text)? {
        let name = field.strip_prefix("labels.").ok_or_else(|| {
            wrong(format!(
                "there is no field {field:?}; expected labels.name, or labels[\"name\"]"
            ))
        })?;
        if selector.insert(name.to_owned(), value).is_some() {
            return Err(wrong(format!("compares {field} twice")));
        }
    }
    Ok(selector)
}

/// A filter of the audit log.
///
/// # Errors
/// `Invalid` at `filter`, with what was expected.
pub(super) fn audits(text: &str) -> Result<AuditFilter, Error> {
    let mut filter = AuditFilter::default();
    for (field, value) in comparisons(text)? {
        let slot = match field.as_str() {
            "actor" => &mut filter.actor,
            "action" => &mut filter.action,
            "resource" => &mut filter.resource,
            "request_id" => &mut filter.request_id,
            "trace_id" => &mut filter.trace_id,
            other => {
                return Err(wrong(format!(
                    "there is no field {other:?}; expected actor, action, resource, request_id or trace_id"
                )));
            }
        };
        set(slot, &field, value)?;
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
        assert_eq!(executions("  ").unwrap(), ExecutionFilter::default());
    }

    #[test]
    fn labels_are_compared_by_either_form_of_their_names() {
        let selector = labels(r#"labels.team == "desk" && labels["a/b"] == "1""#).unwrap();
        let expected = [("a/b", "1"), ("team", "desk")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(selector.into_iter().collect::<Vec<_>>(), expected);
        for wrong in [
            r#"team == "desk""#,
            r#"labels == "desk""#,
            r#"labels.a.b == "c""#,
            r#"labels.a == "1" && labels["a"] == "2""#,
            r#"has(labels.a)"#,
            "labels.a",
        ] {
            assert!(labels(wrong).is_err(), "{wrong}");
        }
        assert!(executions(r#"state.x == "FAILED""#).is_err());
        assert!(audits(r#"actor == "ann" && trace_id == "t""#).is_ok());
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
