//! Where secrets may be read.

use serde_json::Value;

use super::Walk;
use crate::{
    expression::{Reference, Template},
    violation::Collector,
};

impl Walk<'_> {
    /// What a field that `may` read secrets reads of one.
    pub(super) fn secret(&mut self, field: &str, name: &str, may: bool) {
        if !may {
            let text = format!(
                "secrets.{name}: secrets are for what is sent: the fields of steps with attempts, such as an http step's \
                 headers; nothing that is recorded or decided may depend on them"
            );
            self.problems.add(field, text);
            return;
        }
        match name.parse() {
            Ok(id) => self.names.secrets.push((field.to_owned(), id)),
            Err(error) => self.problems.add(field, format!("secrets.{name}: {error}")),
        }
    }
}

/// Constants hold no expressions: what looks like a secret, or a link, would be sent as it is written.
pub(super) fn in_constant(field: &str, value: &Value, problems: &mut Collector) {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
        Value::String(text) => {
            let references = Template::parse(text).map_or_else(|_| Vec::new(), |t| t.references());
            let hidden = references.iter().find_map(|reference| match reference {
                Reference::Secret(_) => Some("secrets"),
                Reference::Approval(_) => Some("approvals"),
                Reference::Step(_) | Reference::Var(_) | Reference::Iteration(_) => None,
            });
            if let Some(root) = hidden {
                let text = format!(
                    "holds ${{{{ {root}.… }}}}, but constants are not evaluated; write it where it is sent"
                );
                problems.add(field, text);
            }
        }
        Value::Array(values) => {
            for (index, value) in values.iter().enumerate() {
                in_constant(&format!("{field}[{index}]"), value, problems);
            }
        }
        Value::Object(fields) => {
            for (name, value) in fields {
                in_constant(&format!("{field}.{name}"), value, problems);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::{
        expression::{Expression, JsonTemplate},
        limits,
        workflow::{
            Action, ConditionRule, ConditionStep, FailStep, ForEachStep, HttpBody, HttpStep,
            OnError, RetryPolicy, Step, SucceedStep, TransformStep, Trigger, WaitStep, Workflow,
        },
    };

    const READS: &str = "secrets.token";

    fn cel(source: &str) -> Expression {
        Expression::parse(source).unwrap()
    }

    fn template() -> Template {
        Template::parse("${{ secrets.token }}").unwrap()
    }

    fn json_template() -> JsonTemplate {
        JsonTemplate::parse(&json!({"a": ["${{ secrets.token }}"]})).unwrap()
    }

    fn step(id: &str, action: Action) -> Step {
        Step {
            id: id.parse().unwrap(),
            condition: None,
            timeout: limits::STEP_TIMEOUT_DEFAULT,
            total_timeout: None,
            retry: RetryPolicy::default(),
            on_error: OnError::Fail,
            action,
        }
    }

    fn http(id: &str, header: &str) -> Step {
        let http = HttpStep {
            query: [("q".to_owned(), template())].into(),
            headers: [("x-a".to_owned(), Template::parse(header).unwrap())].into(),
            body: Some(HttpBody::Json(json_template())),
            ..HttpStep::to(template())
        };
        step(id, Action::Http(Box::new(http)))
    }

    fn workflow(vars: Value, steps: Vec<Step>) -> Result<Workflow, Vec<String>> {
        let vars = serde_json::from_value(vars).unwrap();
        Workflow::new(Trigger::Manual, vars, steps, None, None)
            .map_err(|problems| problems.0.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn steps_that_reach_the_world_read_them_wherever_they_stand() {
        let each = ForEachStep {
            items: cel("[1]"),
            concurrency: 1,
            fail_fast: true,
            steps: vec![http("inner", r#"${{ secrets["my-key"] }}"#)],
        };
        let workflow = workflow(
            json!({"a": "${{ vars.b }}"}),
            vec![http("call", "plain"), step("each", Action::ForEach(each))],
        );
        let workflow = workflow.unwrap();
        let read: Vec<_> = workflow
            .names()
            .secrets
            .iter()
            .map(|(path, id)| format!("{path} {id}"))
            .collect();
        assert_eq!(
            read,
            [
                "steps[0].http.url token",
                "steps[0].http.query.q token",
                "steps[0].http.json.a[0] token",
                "steps[1].forEach.steps[0].http.url token",
                "steps[1].forEach.steps[0].http.query.q token",
                "steps[1].forEach.steps[0].http.headers.x-a my-key",
                "steps[1].forEach.steps[0].http.json.a[0] token",
            ]
        );
    }

    #[test]
    fn nothing_else_reads_them() {
        let rule = ConditionRule {
            condition: cel("secrets.token == 'a'"),
            steps: vec![],
        };
        let condition = ConditionStep {
            rules: vec![rule],
            otherwise: vec![],
        };
        let each = ForEachStep {
            items: cel("[secrets.token]"),
            concurrency: 1,
            fail_fast: true,
            steps: vec![step(
                "inner",
                Action::Wait(WaitStep::Duration(Duration::from_secs(1))),
            )],
        };
        let guarded = Step {
            condition: Some(cel("secrets.token != ''")),
            ..step(
                "guarded",
                Action::Transform(TransformStep::Expression(cel("1"))),
            )
        };
        let output = Some(json_template());
        let problems = workflow(
            json!({}),
            vec![
                guarded,
                step(
                    "a",
                    Action::Transform(TransformStep::Expression(cel(READS))),
                ),
                step(
                    "b",
                    Action::Transform(TransformStep::Template(json_template())),
                ),
                step("c", Action::Condition(condition)),
                step("d", Action::ForEach(each)),
                step("e", Action::Wait(WaitStep::Until(template()))),
                Step {
                    condition: Some(cel("true")),
                    ..step("f", Action::Succeed(SucceedStep { output }))
                },
                step(
                    "g",
                    Action::Fail(FailStep {
                        code: "X".to_owned(),
                        message: template(),
                    }),
                ),
            ],
        );
        let problems = problems.unwrap_err();
        let fields: Vec<_> = problems
            .iter()
            .map(|problem| problem.split_once(": ").unwrap())
            .inspect(|(_, text)| {
                assert!(
                    text.starts_with("secrets.token: secrets are for what is sent"),
                    "{text}"
                );
            })
            .map(|(field, _)| field)
            .collect();
        assert_eq!(
            fields,
            [
                "steps[0].if",
                "steps[1].transform.expression",
                "steps[2].transform.template.a[0]",
                "steps[3].condition.rules[0].if",
                "steps[4].forEach.items",
                "steps[5].wait.until",
                "steps[6].succeed.output.a[0]",
                "steps[7].fail.message",
            ]
        );
    }

    #[test]
    fn constants_and_wrong_names_are_refused() {
        let problems = workflow(
            json!({"a": {"b": ["x", "${{ secrets.token }}"]}}),
            vec![http("call", "${{ secrets.My_Key }}")],
        );
        let problems = problems.unwrap_err();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(
            problems[0].starts_with("vars.a.b[1]: holds ${{ secrets"),
            "{problems:?}"
        );
        assert!(
            problems[1]
                .starts_with("steps[0].http.headers.x-a: secrets.My_Key: \"My_Key\" is not an id"),
            "{problems:?}"
        );
    }
}
