//! What is refused before it runs, with what it says; and what is not, for it may work.

use std::collections::BTreeSet;

use serde_json::Value;

use super::super::{
    Expression, ExpressionError, Scope, StepResult,
    types::{EVENT, STEP},
};
use crate::{
    event::EventScope,
    execution::{Failure, StepState},
};

#[track_caller]
fn refused(source: &str, expected: &str) {
    match Expression::parse(source) {
        Ok(_) => panic!("{source} was taken"),
        Err(error) => assert_eq!(error.to_string(), expected, "{source}"),
    }
}

#[test]
fn what_always_fails_is_refused() {
    for (source, expected) in [
        (
            "event.subject + 1",
            "event.subject + 1 cannot work: event.subject is null or string, 1 is int; + takes two numbers of one kind, two texts, two lists, or times and durations",
        ),
        (
            "event.messageId > 3",
            "event.messageId > 3 cannot work: event.messageId is string, 3 is int; > takes two numbers, two texts, two times or two durations",
        ),
        (
            "event.mesage",
            "reads event.mesage, and there is no such field; did you mean \"message\"?; expected one of attributes, json, message, messageId, subject, timestamp, topicArn",
        ),
        (
            "event['topicARN']",
            "reads event.topicARN, and there is no such field; did you mean \"topicArn\"?; expected one of attributes, json, message, messageId, subject, timestamp, topicArn",
        ),
        (
            "execution.startedAt",
            "reads execution.startedAt, and there is no such field; expected one of id, name, workflow, version, startTime, parent, state, error",
        ),
        (
            "steps.call.ouput",
            "reads steps.call.ouput, and there is no such field; did you mean \"output\"?; expected one of state, output, error",
        ),
        (
            "steps['call'].error.cod",
            "reads steps['call'].error.cod, and there is no such field; did you mean \"code\"?; expected one of code, message",
        ),
        (
            "event.message.json",
            "event.message.json cannot work: event.message is string, which has no fields",
        ),
        (
            "event.message.startswith('a')",
            "calls startswith, and there is no such function; did you mean \"startsWith\"?",
        ),
        (
            "math.absolute(1)",
            "calls math.absolute, and there is no such function",
        ),
        (
            "lenght(event.message)",
            "calls lenght, and there is no such function",
        ),
        (
            "event.message.startsWith(1)",
            "event.message.startsWith(1) cannot work: event.message is string, 1 is int; expected (string).startsWith(string)",
        ),
        (
            "contains(event.message, 'a')",
            "contains(event.message, 'a') cannot work: event.message is string, 'a' is string; expected (string).contains(string)",
        ),
        (
            "event.message ? 1 : 2",
            "decides by event.message, which is string; expected bool",
        ),
        (
            "!event.subject",
            "!event.subject cannot work: event.subject is null or string; ! takes bool",
        ),
        (
            "event.timestamp - duration('1h')",
            "event.timestamp - duration('1h') cannot work: event.timestamp is string, duration('1h') is duration; - takes numbers of one kind, or times and durations",
        ),
        (
            "event.message.map(c, c)",
            "goes through event.message, which is string; expected list or map",
        ),
        (
            "event.json.list.filter(x, event.message)",
            "decides by event.message, which is string; expected bool",
        ),
        (
            "event.json.list.all(x, event.messageId > 3)",
            "event.messageId > 3 cannot work: event.messageId is string, 3 is int; > takes two numbers, two texts, two times or two durations",
        ),
        (
            "'a' in event.message",
            "'a' in event.message cannot work: 'a' is string, event.message is string; in takes a list at its right, or a map and a key of it",
        ),
        (
            "regex.extract(event.message, '(a')",
            "regex.extract has a wrong regular expression: unclosed group",
        ),
        (
            "event.message.matches('[')",
            "matches has a wrong regular expression: unclosed character class",
        ),
        (
            "type(event.json)",
            "gives type; expected a value that JSON can hold",
        ),
        (
            "${{ event.json.id }}",
            "holds ${{ }}, which marks an expression in a text; this is an expression already: leave the marks out",
        ),
        (
            "var.desk",
            "is not a CEL expression: reserved identifier: var at character 1; did you mean \"vars\"?",
        ),
        (
            "size(",
            "is not a CEL expression: mismatched input the end at character 6",
        ),
        (
            "1 +\n 2 2",
            "is not a CEL expression: extraneous input '2' at line 2, character 4",
        ),
        (
            "itme.x",
            "reads \"itme\"; expected event, steps, vars, secrets, approvals or execution, and item or index within a forEach; did you mean \"item\"?",
        ),
        (
            "index + 'a'",
            "index + 'a' cannot work: index is int, 'a' is string; + takes two numbers of one kind, two texts, two lists, or times and durations",
        ),
        (
            "steps.a.state + execution.version",
            "steps.a.state + execution.version cannot work: steps.a.state is string, execution.version is int; + takes two numbers of one kind, two texts, two lists, or times and durations",
        ),
    ] {
        refused(source, expected);
    }
}

#[test]
fn what_may_work_is_taken() {
    for source in [
        "event.subject + 'x'",
        "event.subject == null ? 'none' : event.subject",
        "event.subject == 3",
        "event.messageId != 3",
        "has(event.subject) && event.subject != null",
        "has(event.nothing)",
        "has(execution.state) ? execution.state : 'none'",
        "event.json + 1",
        "event.json > 'a'",
        "event.json.a.b.c[0][1].d",
        "event.attributes.count > 3",
        "event.attributes['x'] + 'y'",
        "event.json ? 1 : 2",
        "event.json.map(k, event.json[k])",
        "event.json.list.map(x, x > 2, x + 1)",
        "event.json.list.map(event, event.mesage)",
        "event.json.list.filter(x, x.on)",
        "event.json.list.exists_one(x, x == 2)",
        "event.json.list.sortBy(x, x.n)",
        "math.greatest(event.json.n, 2, 3) + 1",
        "math.least([1, 2]) + 1",
        "vars.a + vars.b",
        "steps[event.json.step].output + 1",
        "steps.a.error != null ? steps.a.error.code : 'none'",
        "event.?json.a.b.orValue('x')",
        "event.json[?'a'].orValue(1) + 1",
        "event.?subject.optMap(s, s + '!').orValue('none')",
        "optional.of(1).hasValue()",
        "timestamp(event.timestamp) - duration('1h')",
        "timestamp(event.timestamp).getHours('Europe/Berlin') + 1",
        "duration('1h').getMinutes()",
        "size(event.message) + event.message.size()",
        "1 + int(2.5) + int('3')",
        "1.5 + double(2)",
        "1 < 2.5",
        "dyn(event.message) + 1",
        "string(event.message) + string(1)",
        "type(event.json) == type('') ? event.json + 'x' : 'none'",
        "(event.subject == null ? 1 : 'a') == 'a'",
        "[1, 'a', null].map(x, x)",
        "{'a': 1, 2: 'b'}",
        "base64.encode(bytes(event.message))",
        "event.message.matches(event.json.pattern)",
        "event.message.matches('\\\\w{1000}')",
        "'%s'.format([event.message])",
    ] {
        let parsed = Expression::parse(source);
        assert!(parsed.is_ok(), "{source}: {}", parsed.unwrap_err());
    }
}

#[test]
fn conditions_give_a_boolean_and_items_a_list() {
    for (source, found) in [
        ("event.message", "string"),
        ("size(event.message)", "int"),
        ("event.subject", "null or string"),
    ] {
        let found = found.to_owned();
        let error = Expression::parse_condition(source).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("gives {found}; expected true or false")
        );
        let error = Expression::parse_list(source).unwrap_err();
        assert_eq!(
            error,
            ExpressionError::Gives {
                found,
                expected: "a list"
            }
        );
    }
    for source in [
        "event.json.on",
        "event.json.list.exists(x, x > 1)",
        "event.subject == 'a' || steps.a.output",
        "true",
    ] {
        assert!(Expression::parse_condition(source).is_ok(), "{source}");
    }
    for source in [
        "event.json.list",
        "event.json.list.map(x, x)",
        "event.message.split(',')",
        "event.json.on ? [1] : event.json.list",
    ] {
        assert!(Expression::parse_list(source).is_ok(), "{source}");
    }
    assert!(matches!(
        Expression::parse_list("{'a': 1}").unwrap_err(),
        ExpressionError::Gives { .. }
    ));
}

/// A field that is shown and not listed could not be read; one that is listed and not shown would fail at last.
#[test]
fn fields_are_those_that_there_are() {
    let event = EventScope::unread().to_value();
    let shown: Vec<_> = event
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let listed: Vec<_> = EVENT.iter().map(|(name, _)| *name).collect();
    assert_eq!(listed, shown);

    let mut scope = Scope::new(&event, &Value::Null, &Value::Null);
    let result = StepResult {
        state: StepState::Failed,
        output: Value::Null,
        error: Some(Failure::new("C", "m")),
    };
    scope.set_step(&"a".parse().unwrap(), &result);
    let fields = |source: &str| {
        let value = Expression::parse(source).unwrap().evaluate(&scope).unwrap();
        let names: BTreeSet<_> = value.as_object().unwrap().keys().cloned().collect();
        names
    };
    let listed: BTreeSet<_> = STEP.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(fields("steps.a"), listed);
    assert_eq!(
        fields("steps.a.error"),
        ["code", "message"].map(str::to_owned).into()
    );
}
