//! Filters of lists: a subset of CEL, comparisons `field == "value"` and `time >= timestamp("…")` joined by `&&`, read by
//! CEL's own parser.

use std::str::FromStr;

use cel::{
    common::ast::{Expr, IdedExpr, LiteralValue},
    parser::Parser,
};
use jiff::Timestamp;
use signalbox_model::{
    error::Error,
    expression::with_parser_stack,
    ids::{ApiKeyName, ExecutionName, ProjectId, WorkflowName},
    labels::LabelSelector,
};

use crate::store::{AuditFilter, DeliveryFilter, ExecutionFilter, Times};

const FILTER_MAX_BYTES: usize = 2048;
const EXPECTED: &str =
    "expected comparisons field == \"value\", or time >= timestamp(\"…\"), joined by &&";

fn wrong(description: impl Into<String>) -> Error {
    Error::invalid("filter", description)
}

/// One comparison of a field.
struct Comparison {
    field: String,
    operator: Operator,
    value: Operand,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

enum Operand {
    Text(String),
    Time(Timestamp),
}

impl Comparison {
    /// Sets `slot` to the text that the field must be.
    fn equals(self, slot: &mut Option<String>) -> Result<(), Error> {
        let Self { field, value, .. } = &self;
        if self.operator != Operator::Equal {
            return Err(wrong(format!("compares {field} otherwise than by ==")));
        }
        let Operand::Text(value) = value else {
            return Err(wrong(format!("compares {field} with a time")));
        };
        if slot.replace(value.clone()).is_some() {
            return Err(wrong(format!("compares {field} twice")));
        }
        Ok(())
    }

    /// [`Comparison::equals`] of one of `allowed`.
    fn equals_one_of(self, slot: &mut Option<String>, allowed: &[&str]) -> Result<(), Error> {
        if let Operand::Text(value) = &self.value
            && !allowed.contains(&value.as_str())
        {
            return Err(wrong(format!(
                "{} is {value:?}; expected one of {}",
                self.field,
                allowed.join(", ")
            )));
        }
        self.equals(slot)
    }

    /// Narrows `times` to what the field must be. Times are known to the microsecond.
    fn within(self, times: &mut Times) -> Result<(), Error> {
        let Self { field, value, .. } = &self;
        let time = match value {
            Operand::Time(time) => *time,
            Operand::Text(text) => text.parse().map_err(|_| {
                wrong(format!(
                    "compares {field} with {text:?}; expected a time as 2026-11-26T12:00:00Z"
                ))
            })?,
        };
        let time = time.as_microsecond();
        let (from, until) = match self.operator {
            Operator::Equal => (Some(time), Some(time + 1)),
            Operator::Less => (None, Some(time)),
            Operator::LessOrEqual => (None, Some(time + 1)),
            Operator::Greater => (Some(time + 1), None),
            Operator::GreaterOrEqual => (Some(time), None),
        };
        for (slot, bound) in [(&mut times.from, from), (&mut times.until, until)] {
            if bound.is_some() && slot.replace(bound.unwrap_or_default()).is_some() {
                return Err(wrong(format!("bounds {field} twice on one side")));
            }
        }
        Ok(())
    }
}

/// The comparisons of `text`.
fn comparisons(text: &str) -> Result<Vec<Comparison>, Error> {
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

fn gather(expression: &IdedExpr, found: &mut Vec<Comparison>) -> Result<(), Error> {
    let Expr::Call(call) = &expression.expr else {
        return Err(wrong(EXPECTED));
    };
    let operator = match call.func_name.as_str() {
        "_&&_" => return call.args.iter().try_for_each(|part| gather(part, found)),
        "_==_" => Operator::Equal,
        "_<_" => Operator::Less,
        "_<=_" => Operator::LessOrEqual,
        "_>_" => Operator::Greater,
        "_>=_" => Operator::GreaterOrEqual,
        _ => return Err(wrong(EXPECTED)),
    };
    let [left, right] = call.args.as_slice() else {
        return Err(wrong(EXPECTED));
    };
    found.push(Comparison {
        field: path(&left.expr).ok_or_else(|| wrong(EXPECTED))?,
        operator,
        value: operand(&right.expr)?,
    });
    Ok(())
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

/// `"text"` or `timestamp("text")`.
fn operand(expression: &Expr) -> Result<Operand, Error> {
    match expression {
        Expr::Literal(LiteralValue::String(value)) => Ok(Operand::Text(value.inner().to_owned())),
        Expr::Call(call) if call.func_name == "timestamp" && call.target.is_none() => {
            let [
                IdedExpr {
                    expr: Expr::Literal(LiteralValue::String(value)),
                    ..
                },
            ] = call.args.as_slice()
            else {
                return Err(wrong(EXPECTED));
            };
            let time = value.inner().parse();
            let time = time.map_err(|_| wrong(format!("{:?} is no time", value.inner())))?;
            Ok(Operand::Time(time))
        }
        _ => Err(wrong(EXPECTED)),
    }
}

/// A filter of the executions of a project.
///
/// # Errors
/// `Invalid` at `filter`, with what was expected.
pub(super) fn executions(text: &str, project: &ProjectId) -> Result<ExecutionFilter, Error> {
    const STATES: [&str; 7] = [
        "QUEUED",
        "RUNNING",
        "WAITING",
        "SUCCEEDED",
        "FAILED",
        "CANCELLED",
        "TIMED_OUT",
    ];
    const TRIGGERS: [&str; 5] = ["AMAZON_SNS", "WEBHOOK", "MANUAL", "SCHEDULE", "WORKFLOW"];
    let mut filter = ExecutionFilter::default();
    for comparison in comparisons(text)? {
        match comparison.field.as_str() {
            "workflow" => {
                comparison.equals(&mut filter.workflow)?;
                to_id(&mut filter.workflow, project, |name: WorkflowName| {
                    (name.project, name.workflow.to_string())
                })?;
            }
            "api_key" => {
                comparison.equals(&mut filter.api_key)?;
                to_id(&mut filter.api_key, project, |name: ApiKeyName| {
                    (name.project, name.api_key.to_string())
                })?;
            }
            "state" => comparison.equals_one_of(&mut filter.state, &STATES)?,
            "trigger" => comparison.equals_one_of(&mut filter.trigger, &TRIGGERS)?,
            "topic_arn" => comparison.equals(&mut filter.topic_arn)?,
            "message_id" => comparison.equals(&mut filter.message_id)?,
            "parent" => {
                comparison.equals(&mut filter.parent)?;
                to_id(&mut filter.parent, project, |name: ExecutionName| {
                    (name.project, name.execution.to_string())
                })?;
            }
            "create_time" => comparison.within(&mut filter.created)?,
            other => {
                return Err(wrong(format!(
                    "there is no field {other:?}; expected workflow, state, trigger, topic_arn, message_id, api_key \
                     or create_time"
                )));
            }
        }
    }
    Ok(filter)
}

/// A resource name that was given becomes its id, which is what is stored.
///
/// # Errors
/// `Invalid` when it is of another project: there is nothing to be found.
fn to_id<T: FromStr>(
    slot: &mut Option<String>,
    project: &ProjectId,
    parts: impl FnOnce(T) -> (ProjectId, String),
) -> Result<(), Error> {
    let Some(name) = slot.as_ref().and_then(|name| name.parse().ok()) else {
        return Ok(());
    };
    let (of, id) = parts(name);
    if of != *project {
        return Err(wrong(format!(
            "names something of project {of}; what is listed is of project {project}"
        )));
    }
    *slot = Some(id);
    Ok(())
}

/// A filter of deliveries.
///
/// # Errors
/// `Invalid` at `filter`, with what was expected.
pub(super) fn deliveries(text: &str) -> Result<DeliveryFilter, Error> {
    const VERDICTS: [&str; 4] = ["ACCEPTED", "DUPLICATE", "FILTERED", "REJECTED"];
    let mut filter = DeliveryFilter::default();
    for comparison in comparisons(text)? {
        match comparison.field.as_str() {
            "verdict" => comparison.equals_one_of(&mut filter.verdict, &VERDICTS)?,
            "reason" => comparison.equals(&mut filter.reason)?,
            "message_id" => comparison.equals(&mut filter.message_id)?,
            "topic_arn" => comparison.equals(&mut filter.topic_arn)?,
            "receive_time" => comparison.within(&mut filter.received)?,
            other => {
                return Err(wrong(format!(
                    "there is no field {other:?}; expected verdict, reason, message_id, topic_arn or receive_time"
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
    for comparison in comparisons(text)? {
        let field = comparison.field.clone();
        let name = field.strip_prefix("labels.").ok_or_else(|| {
            wrong(format!(
                "there is no field {field:?}; expected labels.name, or labels[\"name\"]"
            ))
        })?;
        let mut value = selector.remove(name);
        comparison.equals(&mut value)?;
        selector.insert(name.to_owned(), value.unwrap_or_default());
    }
    Ok(selector)
}

/// A filter of the audit log.
///
/// # Errors
/// `Invalid` at `filter`, with what was expected.
pub(super) fn audits(text: &str) -> Result<AuditFilter, Error> {
    let mut filter = AuditFilter::default();
    for comparison in comparisons(text)? {
        match comparison.field.as_str() {
            "actor" => comparison.equals(&mut filter.actor)?,
            "action" => comparison.equals(&mut filter.action)?,
            "resource" => comparison.equals(&mut filter.resource)?,
            "request_id" => comparison.equals(&mut filter.request_id)?,
            "trace_id" => comparison.equals(&mut filter.trace_id)?,
            "time" => comparison.within(&mut filter.times)?,
            other => {
                return Err(wrong(format!(
                    "there is no field {other:?}; expected actor, action, resource, request_id, trace_id or time"
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

    fn executions(text: &str) -> Result<ExecutionFilter, Error> {
        super::executions(text, &"p".parse().unwrap())
    }

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
        let filter = executions(
            r#"api_key == "projects/p/apiKeys/k" && create_time >= timestamp("2026-11-26T12:00:00Z")
               && create_time < "2026-11-26T12:00:01Z""#,
        )
        .unwrap();
        assert_eq!(filter.api_key.as_deref(), Some("k"));
        let from = filter.created.from.unwrap();
        assert_eq!(filter.created.until, Some(from + 1_000_000));
    }

    #[test]
    fn bounds_of_times_are_to_the_microsecond() {
        for (operator, from, until) in [
            ("==", Some(5), Some(6)),
            (">=", Some(5), None),
            (">", Some(6), None),
            ("<=", None, Some(6)),
            ("<", None, Some(5)),
        ] {
            let filter = format!(r#"receive_time {operator} "1970-01-01T00:00:00.000005Z""#);
            let received = deliveries(&filter).unwrap().received;
            assert_eq!((received.from, received.until), (from, until), "{operator}");
        }
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
            r#"state >= "FAILED""#,
            r#"state == timestamp("2026-11-26T12:00:00Z")"#,
            r#"workflow == "projects/other/workflows/w""#,
            r#"create_time > "yesterday""#,
            r#"create_time > timestamp(1)"#,
            r#"create_time >= "2026-11-26T12:00:00Z" && create_time > "2026-11-26T12:00:00Z""#,
            r#"create_time == "2026-11-26T12:00:00Z" && create_time < "2026-11-27T12:00:00Z""#,
            &"(".repeat(500),
        ] {
            assert!(executions(wrong).is_err(), "{wrong}");
        }
        let error = deliveries(r#"state == "FAILED""#).unwrap_err().to_string();
        assert!(error.contains("expected verdict, reason"), "{error}");
    }
}
