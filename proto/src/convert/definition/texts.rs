//! Templates and expressions: all that is wrong with each is told, and what each mentions is noted, for it may be lost with the
//! step that holds it.

use serde_json::Value;
use signalbox_model::{
    expression::{Expression, JsonTemplate, Reference, Template, Wanted},
    limits,
    violation::{Collector, Mention},
};

use super::to_json;

pub(super) fn template(field: &str, text: &str, problems: &mut Collector) -> Option<Template> {
    match Template::read(text) {
        Ok(template) => {
            mention(field, template.references(), problems);
            Some(template)
        }
        Err(wrong) => {
            for problem in wrong.problems {
                problems.add(field, problem.to_string());
            }
            lost(field, wrong.references, problems);
            None
        }
    }
}

pub(super) fn expression(
    field: &str,
    source: &str,
    wanted: Wanted,
    problems: &mut Collector,
) -> Option<Expression> {
    match Expression::read(source, wanted) {
        Ok(expression) => {
            mention(field, expression.references(), problems);
            Some(expression)
        }
        Err(wrong) => {
            for problem in wrong.problems {
                problems.add(field, problem.to_string());
            }
            lost(field, wrong.references, problems);
            None
        }
    }
}

pub(super) fn json_template(
    field: &str,
    value: &prost_types::Value,
    problems: &mut Collector,
) -> Option<JsonTemplate> {
    let value = json(field, value, problems)?;
    match JsonTemplate::parse(&value) {
        Ok(template) => {
            for (field, expression) in template.expressions_at(field) {
                mention(&field, expression.references(), problems);
            }
            Some(template)
        }
        Err(wrong) => {
            for (path, problem) in wrong.problems {
                problems.add(format!("{field}{path}"), problem.to_string());
            }
            for (path, reference) in wrong.references {
                lost(&format!("{field}{path}"), [reference], problems);
            }
            None
        }
    }
}

pub(super) fn json(
    field: &str,
    value: &prost_types::Value,
    problems: &mut Collector,
) -> Option<Value> {
    to_json(value, limits::JSON_DEPTH_MAX)
        .map_err(|problem| problems.add(field, problem))
        .ok()
}

fn mention(field: &str, references: impl IntoIterator<Item = Reference>, problems: &mut Collector) {
    for reference in references {
        problems.mention(field, Mention::Read(reference));
    }
}

fn lost(field: &str, references: impl IntoIterator<Item = Reference>, problems: &mut Collector) {
    for reference in references {
        problems.mention_lost(field, Mention::Read(reference));
    }
}
