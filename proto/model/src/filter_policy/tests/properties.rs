//! Whatever is written and whatever comes.

use proptest::prelude::*;

use super::*;
use crate::filter_policy::wildcard::Wildcard;

/// Names that meet often, those of operators among them.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[ab]{1,2}",
        1 => "[ab]\\.[ab]",
        2 => proptest::sample::select(vec![
            "$or", "prefix", "suffix", "anything-but", "exists", "numeric", "cidr", "wildcard", "equals-ignore-case", "",
        ]).prop_map(str::to_owned),
    ]
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-3_i64..3).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[ab*\\\\\"]{0,4}".prop_map(Value::from),
        proptest::sample::select(vec![
            "=",
            "<",
            ">=",
            "10.0.0.0/8",
            "10.1.1.1",
            "::1/3",
            "☃",
            "İ"
        ])
        .prop_map(Value::from),
    ]
}

fn document() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(5, 40, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name(), inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Patterns that are valid and look at texts of a and b, and at small numbers.
fn pattern() -> impl Strategy<Value = Value> {
    prop_oneof![
        "[ab]{0,2}".prop_map(Value::from),
        (-2_i64..3).prop_map(Value::from),
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        "[ab]{1,2}".prop_map(|text| json!({"prefix": text})),
        "[abAB]{1,2}".prop_map(|text| json!({"equals-ignore-case": text})),
        (-2_i64..3).prop_map(|n| json!({"numeric": [">", n, "<=", n + 1]})),
    ]
}

/// The texts, numbers and so on at a path, by parsing the whole: what the reader must find without that.
fn flattened(value: &Value, path: &str, into: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                flattened(value, &format!("{path}.{name}"), into);
            }
        }
        Value::Array(values) => values.iter().for_each(|value| flattened(value, path, into)),
        scalar => into.push((path.to_owned(), scalar.clone())),
    }
}

/// The slow way.
fn glob(pattern: &[char], text: &[char]) -> bool {
    match (pattern, text) {
        ([], text) => text.is_empty(),
        (['*', rest @ ..], _) => (0..=text.len()).any(|n| glob(rest, &text[n..])),
        ([first, rest @ ..], [same, text @ ..]) if first == same => glob(rest, text),
        _ => false,
    }
}

fn violations_stand_in_the_policy(
    policy: &Value,
    scope: FilterPolicyScope,
) -> Option<FilterPolicy> {
    match FilterPolicy::parse("at.f", policy, scope) {
        Ok(policy) => policy,
        Err(problems) => {
            assert!(!problems.0.is_empty());
            for problem in problems.0 {
                assert!(problem.field.starts_with("at.f"), "{problem}");
                assert!(!problem.description.is_empty());
            }
            None
        }
    }
}

proptest! {
    #[test]
    fn no_document_is_too_strange(policy in document(), message in document(), other in ".{0,40}", kind in "String|Number|String\\.Array|x") {
        for scope in [FilterPolicyScope::MessageAttributes, FilterPolicyScope::MessageBody] {
            let Some(policy) = violations_stand_in_the_policy(&policy, scope) else { continue };
            let text = message.to_string();
            let attribute = |name| Attribute { name, data_type: &kind, value: &text };
            let wanted = policy.wants(&text, ["a", "b"].map(attribute));
            prop_assert_eq!(wanted, policy.wants(&text, ["b", "a"].map(attribute)));
            let _ = policy.wants(&other, [Attribute { name: "a", data_type: &kind, value: &other }]);
        }
    }

    #[test]
    fn a_value_matches_a_pattern_or_anything_but_that(text in "[ab]{0,3}", operand in "[ab]{1,2}") {
        for operand in [json!(operand), json!({"prefix": operand}), json!({"suffix": operand}), json!({"wildcard": format!("*{operand}")})] {
            let body = json!({"k": text});
            let plain = wants_body(&json!({"k": [operand]}), &body);
            let but = wants_body(&json!({"k": [{"anything-but": operand}]}), &body);
            prop_assert!(plain != but, "{operand} of {text:?}");
        }
    }

    #[test]
    fn wildcards_match_as_the_slow_way_does(pattern in "[ab]{0,2}(\\*[ab]{1,2}){0,2}\\*?", text in "[ab]{0,8}") {
        let slow = glob(&pattern.chars().collect::<Vec<_>>(), &text.chars().collect::<Vec<_>>());
        prop_assert_eq!(Wildcard::parse(&pattern).unwrap().matches(&text), slow);
    }

    #[test]
    fn a_body_is_read_as_if_it_were_parsed_whole(body in document(), pattern in pattern(), key in "[ab]{1,2}(\\.[ab]{1,2})?") {
        let mut values = Vec::new();
        flattened(&body, "", &mut values);
        let values: Vec<_> = values.into_iter().filter(|(path, _)| path.strip_prefix('.') == Some(key.as_str())).map(|(_, value)| value).collect();
        let is_policy_of = |policy: Value, body: &Value| wants_body(&policy, body);
        let expected = values.iter().any(|value| is_policy_of(json!({"k": [pattern]}), &json!({"k": value})));
        if body.is_object() {
            prop_assert_eq!(is_policy_of(json!({key.clone(): [pattern]}), &body), expected, "{:?} of {}", values, body);
            let some = body.as_object().is_some_and(|members| !members.is_empty());
            prop_assert_eq!(is_policy_of(json!({key: [{"exists": false}]}), &body), values.is_empty() && some);
        } else {
            prop_assert!(!is_policy_of(json!({key: [pattern]}), &body), "no object");
        }
    }

    #[test]
    fn keys_are_all_needed_and_alternatives_are_not(first in pattern(), second in pattern(), body in prop::collection::btree_map("[ab]", scalar(), 1..3)) {
        let body = json!(body);
        let a = wants_body(&json!({"a": [first]}), &body);
        let b = wants_body(&json!({"b": [second]}), &body);
        prop_assert_eq!(wants_body(&json!({"a": [first], "b": [second]}), &body), a && b);
        prop_assert_eq!(wants_body(&json!({"$or": [{"a": [first]}, {"b": [second]}]}), &body), a || b);
        let same = wants_body(&json!({"a": [first, second]}), &body);
        prop_assert_eq!(same, a || wants_body(&json!({"a": [second]}), &body));
    }

    #[test]
    fn an_attribute_is_as_a_property_of_its_type(pattern in pattern(), value in scalar()) {
        let (kind, text) = match &value {
            Value::String(text) => ("String", text.clone()),
            Value::Number(number) => ("Number", number.to_string()),
            other => ("String.Array", json!([other]).to_string()),
        };
        let policy = json!({"k": [pattern]});
        prop_assert_eq!(wants_attributes(&policy, &json!({"k": [kind, text]})), wants_body(&policy, &json!({"k": value})));
    }
}
