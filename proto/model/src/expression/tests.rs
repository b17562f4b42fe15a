#![allow(clippy::unwrap_used, clippy::expect_used)]

use serde_json::{Value, json};

use super::*;
use crate::execution::StepState;

fn scope() -> Scope {
    let event =
        json!({"message": "hi", "json": {"n": 3, "big": 9007199254740993_i64, "list": [1, 2, 3]}});
    let mut scope = Scope::new(&event, &json!({"limit": 2}), &json!({"id": "x1"}));
    scope.set_step(
        &"first".parse().unwrap(),
        &StepResult {
            state: StepState::Succeeded,
            output: json!({"ok": true}),
        },
    );
    scope
}

#[track_caller]
fn check(expression: &str, expected: Value) {
    let found = Expression::parse(expression)
        .unwrap()
        .evaluate(&scope())
        .unwrap();
    assert_eq!(found, expected, "{expression}");
}

#[test]
fn expressions_give_json() {
    check("event.json.n > vars.limit", json!(true));
    check("event.json.big", json!(9007199254740993_i64));
    check("event.json.list.filter(i, i > 1)", json!([2, 3]));
    check("steps.first.output.ok", json!(true));
    check("steps['first'].state", json!("SUCCEEDED"));
    check("{'a': event.message}", json!({"a": "hi"}));
    check("execution.id + '!'", json!("x1!"));
    check("has(event.json.none) ? 1 : 2", json!(2));
}

#[test]
fn what_an_expression_reads_is_known() {
    let expression =
        Expression::parse("steps.a.output + steps['b'].output + [1].map(steps, steps)[0] + vars.c")
            .unwrap();
    let found: Vec<_> = expression.references().collect();
    assert_eq!(
        found,
        [
            Reference::Step("a".into()),
            Reference::Step("b".into()),
            Reference::Var("c".into())
        ]
    );
}

#[test]
fn wrong_expressions_are_refused() {
    assert_eq!(Expression::parse(" ").unwrap_err(), ExpressionError::Empty);
    assert!(matches!(
        Expression::parse("1 +").unwrap_err(),
        ExpressionError::Syntax(_)
    ));
    assert_eq!(
        Expression::parse("evnt.message").unwrap_err(),
        ExpressionError::UnknownVariable("evnt".into())
    );
    let deep = "event.json.list.map(a, event.json.list.map(b, event.json.list.map(c, c)))";
    assert!(matches!(
        Expression::parse(deep).unwrap_err(),
        ExpressionError::TooDeep(_)
    ));
    assert!(Expression::parse(&"(".repeat(5000)).is_err());
    assert!(Expression::parse(&"1+".repeat(limits_bytes())).is_err());
}

fn limits_bytes() -> usize {
    crate::limits::EXPRESSION_MAX_BYTES
}

#[test]
fn failed_evaluations_say_which_expression() {
    let error = Expression::parse("event.json.none.more")
        .unwrap()
        .evaluate(&scope())
        .unwrap_err();
    assert!(
        error.to_string().starts_with("event.json.none.more: "),
        "{error}"
    );
    let error = Expression::parse("event.json.n")
        .unwrap()
        .evaluate_bool(&scope())
        .unwrap_err();
    assert!(matches!(error, EvaluationError::NotBool { .. }));
}

#[test]
fn templates_keep_types_and_join_text() {
    let render = |text: &str| Template::parse(text).unwrap().render(&scope()).unwrap();
    assert_eq!(render("${{ event.json.n }}"), json!(3));
    assert_eq!(
        render("n=${{ event.json.n }}, ${{event.message}}"),
        json!("n=3, hi")
    );
    assert_eq!(render("${{ {'a': {'b': 1}} }}"), json!({"a": {"b": 1}}));
    assert_eq!(render("cost $${{ 5 }}"), json!("cost ${{ 5 }}"));
    assert_eq!(render(""), json!(""));
    assert!(matches!(
        Template::parse("${{ event").unwrap_err(),
        TemplateError::Unclosed
    ));
    let error = Template::parse("${{ evnt }}").unwrap_err().to_string();
    assert_eq!(
        error,
        "${{ evnt }} reads \"evnt\"; expected event, steps, vars or execution"
    );
}

#[test]
fn json_templates_render_every_string() {
    let template = json!({"a": ["${{ event.json.n }}", 1, null], "b": "x${{ vars.limit }}"});
    let template = JsonTemplate::parse(&template).unwrap();
    assert_eq!(
        template.render(&scope()).unwrap(),
        json!({"a": [3, 1, null], "b": "x2"})
    );
    let (path, _) = JsonTemplate::parse(&json!({"a": [1, "${{ }}"]})).unwrap_err();
    assert_eq!(path, ".a[1]");
}
