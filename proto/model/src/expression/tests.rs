#![allow(clippy::unwrap_used, clippy::expect_used)]

mod secrets;

use serde_json::{Value, json};

use super::*;
use crate::execution::StepState;

mod fixed;
mod functions;
mod kinds;
mod patterns;
mod templates;
mod types;

fn scope() -> Scope {
    let event =
        json!({"message": "hi", "json": {"n": 3, "big": 9007199254740993_i64, "list": [1, 2, 3]}});
    let mut scope = Scope::new(&event, &json!({"limit": 2}), &json!({"id": "x1"}));
    scope.set_step(
        &"first".parse().unwrap(),
        &StepResult {
            error: None,
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
fn extensions_work_as_their_documents_say() {
    check("'a-b-a'.replace('a', 'xy')", json!("xy-b-xy"));
    check("'aaa'.replace('a', 'b', 2)", json!("bba"));
    check("'aaa'.replace('a', 'b', 0)", json!("aaa"));
    check("'aaa'.replace('a', 'b', -1)", json!("bbb"));
    check("'ab'.replace('', '-')", json!("-a-b-"));
    check("['a', 'b'].join()", json!("ab"));
    check("['a', 'b'].join(', ')", json!("a, b"));
    check("event.message.split('').join('.')", json!("h.i"));
    check("'tacocat'.indexOf('co')", json!(2));
    check("'tacocat'.lastIndexOf('a')", json!(5));
    check(
        "'%s has %d'.format([event.message, event.json.n])",
        json!("hi has 3"),
    );
    check("strings.quote('a\"b')", json!(r#""a\"b""#));
    check("math.greatest(event.json.n, 2)", json!(3));
    check("lists.range(3).map(i, i * 2)", json!([0, 2, 4]));
    check("base64.encode(b'hi')", json!("aGk="));
    check("event.json.list.sortBy(i, -i)", json!([3, 2, 1]));
    check("[1, 2, 1].distinct()", json!([1, 2]));
    check("[[1], [2]].flatten()", json!([1, 2]));
    check("event.message.matches('^h.$')", json!(true));
    check("event.json.list.exists_one(i, i == 2)", json!(true));
    check(
        "event.json.list.all(i, i > 0) && 2 in event.json.list",
        json!(true),
    );
    check("size(event.json.list) + size(event.message)", json!(5));
    check("{'k': event.json.list}.k[1]", json!(2));
}

#[test]
fn numbers_keep_their_kind_and_never_wrap() {
    check("event.json.n / 2", json!(1));
    check("double(event.json.n) / 2.0", json!(1.5));
    check("9223372036854775807", json!(i64::MAX));
    for broken in [
        "9223372036854775807 + 1",
        "-9223372036854775807 - 2",
        "9223372036854775807 * 2",
        "1 / 0",
        "1 % 0",
        "event.json.n + 1.0",
        "int(1e300)",
    ] {
        assert!(
            matches!(evaluate(broken), Err(EvaluationError::Failed { .. })),
            "{broken}: {:?}",
            evaluate(broken)
        );
    }
    // JSON knows no such numbers.
    for none in ["1.0 / 0.0", "0.0 / 0.0"] {
        assert!(
            !matches!(evaluate(none), Ok(Value::Number(_))),
            "{none}: {:?}",
            evaluate(none)
        );
    }
}

fn evaluate(expression: &str) -> Result<Value, EvaluationError> {
    Expression::parse(expression).unwrap().evaluate(&scope())
}

/// Evaluates it with a part of the budget: an unoptimised build takes its time for the whole.
fn evaluate_with(
    left_units: u64,
    expression: &str,
    scope: &Scope,
) -> Result<Value, EvaluationError> {
    let expression = Expression::parse(expression).unwrap();
    let gone = crate::limits::EVALUATION_MAX_UNITS - left_units;
    sharing_one_budget(|| {
        budget::within(|| budget::spend(usize::try_from(gone).unwrap())).unwrap();
        expression.evaluate(scope)
    })
}

/// A scope with as much in it as a message brings.
fn large() -> Scope {
    let text = "a".repeat(256 * 1024);
    let numbers: Vec<u32> = (0..100_000).collect();
    let event = json!({"message": text, "json": {"list": numbers}});
    Scope::new(&event, &Value::Null, &Value::Null)
}

#[test]
fn what_multiplies_is_stopped_before_it_happens() {
    let scope = large();
    let doubled = format!("[event.message]{}", ".map(x, x + x)".repeat(14));
    let copies = vec!["event.message"; 1000].join(",");
    let halves = vec!["event.message"; 30].join("+");
    for greedy in [
        "event.message.replace('a', event.message)",
        "event.message.replace('', event.message).size() > 0",
        "event.message.split('').join(event.message)",
        "event.json.list.map(x, event.message)",
        "event.json.list.map(x, event.json.list.map(y, x * y))",
        "event.json.list.all(x, event.json.list.all(y, x + y >= 0))",
        "event.json.list.exists(x, event.message.contains('b'))",
        "event.json.list.filter(x, event.json.list == [x]) == []",
        "event.json.list.exists(x, -x in event.json.list && x < 0)",
        "lists.range(1000000).map(x, lists.range(1000000))",
        "lists.range(1000).map(x, lists.range(10000))",
        "event.json.list.distinct()",
        "event.message.indexOf(event.message + 'b')",
        "event.json.list.exists(x, event.message.matches('b' + string(x)))",
        "event.json.list.map(x, {'a': event.json})",
        "event.json.list.sortBy(x, event.message)",
        "lists.range(400).map(x, event.message.split('').size())",
        &format!("[{copies}].size()"),
        &format!(
            "size([{halves}, {halves}, {halves}].map(x, x + x + x).map(x, x + x + x).map(x, x + x + x).map(x, x + x + x))"
        ),
        &doubled,
        // An error that the rest absorbs is one nevertheless.
        "event.json.list.map(x, event.message) == [] || true",
    ] {
        let Ok(greedy) = Expression::parse(greedy) else {
            panic!("{greedy}")
        };
        let started = std::time::Instant::now();
        let error = greedy.evaluate(&scope).unwrap_err();
        assert!(
            matches!(error, EvaluationError::TooExpensive { .. }),
            "{error}"
        );
        // Unoptimised builds on busy machines are slow; without the budget it would be hours, or the memory.
        assert!(started.elapsed().as_secs() < 20, "{error}");
        assert!(error.to_string().len() < 300, "{error}");
    }
}

/// Unheld, each of these would hold some hundred megabytes at most, so that this test is no danger itself.
#[test]
fn long_literals_and_keys_are_no_cheaper_than_other_texts() {
    let key = "k".repeat(200 * 1000);
    let event = json!({"json": {key: 1}, "attributes": {"list": [1, 2, 3], "half": 0.5}});
    let scope = Scope::new(&event, &Value::Null, &Value::Null);
    let long = "x".repeat(7_000);
    for greedy in [
        format!("size(lists.range(20000).map(i, '{long}'))"),
        format!("size(lists.range(20000).map(i, b'{long}'))"),
        format!("size(lists.range(20000).map(i, {{'{long}': i}}))"),
        format!("size(lists.range(20000).map(i, {{i: '{long}'}}))"),
        format!("size(lists.range(20000).map(i, i < 0 ? 'a' : '{long}'))"),
        format!("size(lists.range(20000).map(i, '{long}' + '{long}'.substring(1)))"),
        format!("lists.range(20000).exists(i, '{long}' == string(i))"),
        format!("lists.range(20000).exists(i, event.json['{long}'] == 1 || false)"),
        format!("lists.range(20000).exists(i, event.json.{long} == 1 || false)"),
        format!("lists.range(20000).exists(i, has(event.json.{long}))"),
        "size(lists.range(2000).map(i, event.json))".to_owned(),
        "size(lists.range(2000).map(i, event.json.map(k, k)))".to_owned(),
        "size(lists.range(2000).map(i, {'a': event.json}))".to_owned(),
        "lists.range(20000).exists(i, event.json == {'a': i})".to_owned(),
        "event.json.map(k, k).map(k, lists.range(20000).exists(i, k in event.json && i < 0))"
            .to_owned(),
    ] {
        let started = std::time::Instant::now();
        let error = evaluate_with(400_000, &greedy, &scope).unwrap_err();
        let shown = greedy.replace(&long, "…");
        assert!(
            matches!(error, EvaluationError::TooExpensive { .. }),
            "{shown}: {error}"
        );
        assert!(started.elapsed().as_secs() < 20, "{shown}");
    }
    // What is no place in a list would copy it, to say so.
    let error = Expression::parse("event.attributes.list[event.attributes.half]")
        .unwrap()
        .evaluate(&scope)
        .unwrap_err();
    assert!(error.to_string().contains("0.5 is no index"), "{error}");
    let large = Expression::parse("lists.range(20).map(i, event.json)").unwrap();
    let error = large.evaluate(&scope).unwrap_err();
    assert!(matches!(error, EvaluationError::TooLarge { .. }), "{error}");
}

#[test]
fn what_a_workflow_does_fits_the_budget() {
    let scope = large();
    for fair in [
        "event.json.list.filter(x, x % 2 == 0).size()",
        "event.json.list.map(x, x + 1).filter(x, x > 10).size()",
        "event.message.contains('b')",
        "event.message.replace('a', 'bc').size()",
        "event.message.split('').size()",
        "event.json.list.exists(x, x == 99999)",
        "event.json.list[99999]",
        "event.json.list.sort()[0]",
        "lists.range(10000).exists(i, event.json.list[i] == 9999)",
        "event.message",
        "event.message + event.message",
        "lists.range(10000).exists(x, string(x).matches('^9999[0-9]$'))",
        "event.message.matches('(?i)a\\\\w+@\\\\w+')",
        "lists.range(1000).map(i, 'a text of some length, as those that people read are in a message: ' + string(i)).size()",
    ] {
        let value = Expression::parse(fair).unwrap().evaluate(&scope);
        assert!(value.is_ok(), "{fair}: {:?}", value.unwrap_err());
    }
}

#[test]
fn the_expressions_of_a_template_share_a_budget() {
    let scope = large();
    let half = "event.json.list.filter(x, x < 0).size() + event.json.list.filter(x, x < 0).size()";
    assert!(Expression::parse(half).unwrap().evaluate(&scope).is_ok());
    let text = Template::parse(&format!("${{{{ {half} }}}} ").repeat(20)).unwrap();
    let fields = JsonTemplate::parse(&json!(vec![format!("${{{{ {half} }}}}"); 20])).unwrap();
    for error in [
        text.render_text(&scope).unwrap_err(),
        fields.render(&scope).unwrap_err(),
    ] {
        assert!(
            matches!(error, EvaluationError::TooExpensive { .. }),
            "{error}"
        );
    }
    // The next has its own again.
    assert!(Expression::parse(half).unwrap().evaluate(&scope).is_ok());
}

#[test]
fn results_are_bounded() {
    let scope = large();
    let error = Expression::parse("[event.message, event.message, event.message, event.message]")
        .unwrap()
        .evaluate(&scope)
        .unwrap_err();
    assert!(matches!(error, EvaluationError::TooLarge { .. }), "{error}");
    let template = Template::parse(&"${{ event.message }}".repeat(5)).unwrap();
    let error = template.render_text(&scope).unwrap_err();
    assert!(matches!(error, EvaluationError::TooLarge { .. }), "{error}");
    let fields = json!({"a": "${{ event.message }}", "b": ["${{ event.message + event.message + event.message }}"]});
    let error = JsonTemplate::parse(&fields)
        .unwrap()
        .render(&scope)
        .unwrap_err();
    assert!(matches!(error, EvaluationError::TooLarge { .. }), "{error}");
}

#[test]
fn errors_are_one_short_line_whatever_they_quote() {
    let scope = large();
    let long = format!(
        "event.message\n\n  +\n{}",
        vec!["event.json.list[0]"; 20].join(" + ")
    );
    for broken in [
        long.as_str(),
        "event.json.list[0] + event.message",
        "event.json.list['x']",
        "event.message.replace(event.json.list[0], event.message)",
        "[event.message, 1].join()",
        "event.json + event.json",
        "timestamp(event.message)",
    ] {
        let error = Expression::parse(broken)
            .unwrap()
            .evaluate(&scope)
            .unwrap_err()
            .to_string();
        assert!(!error.contains('\n') && !error.contains('@'), "{error}");
        assert!(error.chars().count() < 450, "{error}");
    }
    for broken in ["1 +\n\n2 +", "'\u{1b}[31m' +", "a\nb", "steps.x.\u{7}"] {
        let error = Expression::parse(broken).unwrap_err().to_string();
        assert!(
            !error.chars().any(char::is_control) && error.chars().count() < 400,
            "{error:?}"
        );
    }
}

#[test]
fn what_is_private_to_the_interpreter_cannot_be_called() {
    for private in [
        "@charge(1)",
        "@result",
        "[1].@join()",
        "math",
        "lists",
        "google.protobuf.Timestamp{}",
    ] {
        assert!(Expression::parse(private).is_err(), "{private}");
    }
}

#[test]
fn a_namespace_may_be_the_name_of_an_element() {
    check("[[1, 2]].map(lists, lists.size())", json!([2]));
    check("['a'].map(math, math)", json!(["a"]));
}

#[test]
fn a_scope_shows_nothing_of_what_it_holds() {
    assert_eq!(format!("{:?}", scope()), "Scope { .. }");
}

proptest::proptest! {
    /// Nothing that parses makes an evaluation panic or go on without end, and what it gives is JSON again.
    #[test]
    fn any_text_is_refused_or_evaluated(text in "[a-z0-9_.()\\[\\]{}?:+*/%&|!<>=' ,-]{0,40}") {
        if let Ok(expression) = Expression::parse(&text) {
            let _ = expression.evaluate(&scope());
        }
        if let Ok(template) = Template::parse(&text) {
            let _ = template.render(&scope());
        }
    }

    #[test]
    fn random_calls_end(
        calls in proptest::collection::vec(proptest::sample::select(vec![
            ".map(x, [x, x])", ".flatten()", ".reverse()", ".filter(x, true)", ".map(x, string(x))", ".join('ab')",
            ".replace('1', 'ab')", ".split('')", ".split('1')", ".distinct()", ".size()", "[0]", ".upperAscii()",
            ".map(x, event.json)", ".sortBy(x, x)", " + event.json.list", " + 'abc'", ".indexOf('a')",
        ]), 0..12)
    ) {
        let text = format!("event.json.list{}", calls.concat());
        if let Ok(expression) = Expression::parse(&text) {
            let _ = expression.evaluate(&scope());
        }
    }
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

/// What overflows a stack ends the process: that of an unoptimised build has the largest frames.
#[test]
fn nesting_is_stopped_before_the_stack_ends() {
    for opening in [
        "{",
        "[{",
        "{[",
        "{1:",
        "{1:[",
        "a{",
        "a{b:",
        "{?",
        "(",
        "({",
        "[",
        "f(",
        "a.f({",
        "a[{",
        "a?",
        "a?{",
        "!",
        "-",
        "-{",
        "a.",
        "[1].map(x,",
        "1+{",
        "1+",
        "1==",
    ] {
        for times in [50, 90, 96, 100, 1_000] {
            assert!(
                Expression::parse(&opening.repeat(times)).is_err(),
                "{opening}"
            );
        }
    }
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
        "${{ evnt }} reads \"evnt\"; expected event, steps, vars, secrets, approvals or execution, and item or index within a forEach; did you mean \"event\"?"
    );
}

#[test]
fn a_template_tells_what_is_wrong_with_each_of_its_expressions() {
    let told = |text: &str| {
        let wrong = Template::read(text).unwrap_err();
        let problems = wrong.problems.iter().map(ToString::to_string);
        (problems.collect::<Vec<_>>(), wrong.references)
    };
    // A map may end as a template does.
    let (problems, references) =
        told("${{ {'a': {'b': evnt}} }} ${{ 1 + }} ${{ event.mesage + vars.a }} ${{ vars.b }}");
    let beginnings = [
        "${{ {'a': {'b': evnt}} }} reads \"evnt\"",
        "${{ 1 + }} is not a CEL expression",
        "${{ event.mesage + vars.a }} reads event.mesage",
    ];
    assert_eq!(problems.len(), beginnings.len(), "{problems:#?}");
    for (problem, beginning) in problems.iter().zip(beginnings) {
        assert!(problem.starts_with(beginning), "{problem}");
    }
    let var = |name: &str| Reference::Var(name.to_owned());
    assert_eq!(references, [var("a"), var("b")]);
    let (problems, _) = told("$${{ ${{ evnt }} ${{ vars.a");
    assert_eq!(problems.len(), 2, "{problems:#?}");
    assert!(problems[1].contains("without"), "{problems:#?}");
}

#[test]
fn json_templates_render_every_string() {
    let template = json!({"a": ["${{ event.json.n }}", 1, null], "b": "x${{ vars.limit }}"});
    let template = JsonTemplate::parse(&template).unwrap();
    assert_eq!(
        template.render(&scope()).unwrap(),
        json!({"a": [3, 1, null], "b": "x2"})
    );
    let wrong = JsonTemplate::parse(&json!({"a": [1, "${{ }}"], "b": "${{ no }}"})).unwrap_err();
    let paths: Vec<_> = wrong
        .problems
        .iter()
        .map(|(path, _)| path.as_str())
        .collect();
    assert_eq!(paths, [".a[1]", ".b"]);
    let reads = template.expressions_at("x").into_iter();
    let reads: Vec<_> = reads
        .map(|(path, expression)| format!("{path} {}", expression.source()))
        .collect();
    assert_eq!(reads, ["x.a[0] event.json.n", "x.b vars.limit"]);
}
