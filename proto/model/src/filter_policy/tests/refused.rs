//! What no policy may say. Each is refused at its path.

use super::*;

fn problems(policy: &Value, scope: FilterPolicyScope) -> Vec<String> {
    match FilterPolicy::parse("f", policy, scope) {
        Ok(_) => Vec::new(),
        Err(problems) => problems.0.iter().map(ToString::to_string).collect(),
    }
}

fn refused(policy: &Value, scope: FilterPolicyScope, beginning: &str) {
    let problems = problems(policy, scope);
    assert!(
        matches!(&problems[..], [one] if one.starts_with(beginning)),
        "{policy}: {problems:?}; expected {beginning:?}"
    );
}

#[test]
fn what_has_another_form() {
    for (policy, beginning) in [
        (json!([]), "f: must be an object"),
        (json!({"a": "x"}), "f.a: must be a list of values"),
        (json!({"a": []}), "f.a: must hold at least one value"),
        (json!({"a": {}}), "f.a: must hold at least one key"),
        (json!({"a": [["x"]]}), "f.a[0]: is a list"),
        (
            json!({"a": [1, {}]}),
            "f.a[1]: must hold one operator: prefix,",
        ),
        (
            json!({"a": [{"prefix": "a", "suffix": "b"}]}),
            "f.a[0]: must hold one operator: prefix,",
        ),
        (
            json!({"a": [{"contains": "a"}]}),
            "f.a[0].contains: there is no such operator",
        ),
        (
            json!({"a": {"prefix": "a"}}),
            "f.a.prefix: must be a list of values",
        ),
        (
            json!({"a": [{"suffix": 1}]}),
            "f.a[0].suffix: must be a text",
        ),
        (
            json!({"a": [{"suffix": ["x"]}]}),
            "f.a[0].suffix: must be a text",
        ),
        (
            json!({"a": [{"prefix": ""}]}),
            "f.a[0].prefix: must not be empty",
        ),
        (
            json!({"a": [{"exists": "no"}]}),
            "f.a[0].exists: must be true or false",
        ),
        (
            json!({"a": [{"exists": null}]}),
            "f.a[0].exists: must be true or false",
        ),
        (
            json!({"a": [{"cidr": "10.0.0.0"}]}),
            "f.a[0].cidr: \"10.0.0.0\" is no block",
        ),
        (
            json!({"a": [{"cidr": "10.0.0.0/33"}]}),
            "f.a[0].cidr: \"10.0.0.0/33\" is no block",
        ),
        (json!({"a": [{"cidr": 10}]}), "f.a[0].cidr: must be a text"),
        (
            json!({"a": [{"anything-but": []}]}),
            "f.a[0].anything-but: must hold at least one value",
        ),
        (
            json!({"a": [{"anything-but": null}]}),
            "f.a[0].anything-but: must be a text or a number",
        ),
        (
            json!({"a": [{"anything-but": ["x", true]}]}),
            "f.a[0].anything-but[1]: must be a text or a number",
        ),
        (
            json!({"a": [{"anything-but": {"exists": false}}]}),
            "f.a[0].anything-but.exists: cannot stand in anything-but",
        ),
        (
            json!({"a": [{"anything-but": {"prefix": false}}]}),
            "f.a[0].anything-but.prefix: must be a text",
        ),
        (
            json!({"$or": [{"numeric": 123}, {"prefix": "abc"}]}),
            "f.$or[0].numeric: is of another form",
        ),
        (
            json!({"$or": [{"a": ["x"]}, {"b": []}]}),
            "f.$or[1].b: must hold at least one value",
        ),
        (
            json!({"$or": [{"a": ["x"]}, {}]}),
            "f.$or[1]: must hold at least one key",
        ),
        (
            json!({"a": [{"wildcard": "a**"}]}),
            "f.a[0].wildcard: has two wildcards side by side",
        ),
        (
            json!({"a": [{"wildcard": "*a*b*c*"}]}),
            "f.a[0].wildcard: has 4 wildcards",
        ),
        (
            json!({"a": [{"wildcard": "a\\b"}]}),
            "f.a[0].wildcard: has a backslash",
        ),
        (
            json!({"a": [{"wildcard": "a\\"}]}),
            "f.a[0].wildcard: has a backslash",
        ),
        (
            json!({"a": [1_000_000_001]}),
            "f.a[0]: is 1000000001; expected a number from",
        ),
        (
            json!({"a": [0.000_001]}),
            "f.a[0]: is 0.000001; expected at most five digits",
        ),
    ] {
        refused(&policy, FilterPolicyScope::MessageBody, beginning);
    }
}

#[test]
fn numeric_has_two_forms() {
    for operand in [
        json!([]),
        json!("="),
        json!(["operator"]),
        json!([1, "<="]),
        json!([">="]),
        json!(["<", 100, ">", 10]),
        json!([">=", 1, ">", 2]),
        json!(["=", 1, "<", 2]),
        json!([">", 20, "<="]),
        json!([">", 20, 30]),
        json!([">", 20, "test"]),
        json!([">", 20, "test", 30]),
        json!([">", 20, "<", 30, "<", 50]),
    ] {
        let policy = json!({"a": [{"numeric": operand}]});
        refused(
            &policy,
            FilterPolicyScope::MessageBody,
            "f.a[0].numeric: is of another form",
        );
    }
    for (operand, beginning) in [
        (json!(["=", "000"]), "f.a[0].numeric[1]: must be a number"),
        (
            json!([">", 20, "<", "30"]),
            "f.a[0].numeric[3]: must be a number",
        ),
        (
            json!([">", 3, "<", 1]),
            "f.a[0].numeric: its lower bound is not below",
        ),
        (
            json!([">", 1, "<", 1]),
            "f.a[0].numeric: its lower bound is not below",
        ),
        (
            json!(["<", -2e9]),
            "f.a[0].numeric[1]: is -2000000000; expected a number from",
        ),
    ] {
        let policy = json!({"a": [{"numeric": operand}]});
        refused(&policy, FilterPolicyScope::MessageBody, beginning);
    }
}

#[test]
fn every_problem_is_found() {
    let policy = json!({"a": ["x", [], {"suffix": 1}], "b": 1, "$or": [{"c": []}, {"d": {}}]});
    let problems = problems(&policy, FilterPolicyScope::MessageBody);
    let mut places: Vec<_> = problems
        .iter()
        .filter_map(|p| p.split(": ").next())
        .collect();
    places.sort_unstable();
    assert_eq!(
        places,
        ["f.$or[0].c", "f.$or[1].d", "f.a[1]", "f.a[2].suffix", "f.b"]
    );
}

#[test]
fn what_attributes_cannot_have() {
    let scope = FilterPolicyScope::MessageAttributes;
    refused(
        &json!({"a": {"b": ["x"]}}),
        scope,
        "f.a: is an object, and attributes hold no keys",
    );
    for text in ["say \"hi\"", "C:\\", "C:\\x"] {
        let policy = json!({"a": [text]});
        refused(
            &policy,
            scope,
            "f.a[0]: holds a quotation mark or backslash",
        );
        let policy = json!({"a": [{"anything-but": {"prefix": text}}]});
        refused(
            &policy,
            scope,
            "f.a[0].anything-but.prefix: holds a quotation mark or backslash",
        );
    }
}

fn texts(count: usize) -> Value {
    (0..count).map(|n| format!("v{n}")).collect()
}

#[test]
fn five_keys() {
    let scope = FilterPolicyScope::MessageBody;
    let keys = |n: usize| Value::Object((0..n).map(|n| (format!("k{n}"), json!(["x"]))).collect());
    assert!(problems(&keys(5), scope).is_empty());
    refused(
        &keys(6),
        scope,
        "f: has 6 keys; Amazon SNS allows at most 5",
    );
    // Only keys that have values count: here 5, and 6.
    let nested = |n: usize| json!({"a": {"b": keys(n)}, "c": [1]});
    assert!(
        problems(
            &json!({"a": {"b": {"c": ["x"], "d": ["x"], "e": {"f": ["x"], "g": ["x"]}}}}),
            scope
        )
        .is_empty()
    );
    let found = problems(&nested(5), scope);
    assert!(
        found
            .iter()
            .any(|p| p == "f: has 6 keys; Amazon SNS allows at most 5"),
        "{found:?}"
    );
    // A key that stands in several alternatives is one.
    let policy = json!({"$or": [keys(5), {"k0": [1], "k1": [2]}]});
    assert!(problems(&policy, scope).is_empty());
}

#[test]
fn combinations() {
    let attributes = FilterPolicyScope::MessageAttributes;
    let body = FilterPolicyScope::MessageBody;
    assert!(problems(&json!({"a": texts(150)}), attributes).is_empty());
    refused(
        &json!({"a": texts(151)}),
        attributes,
        "f: has 151 combinations of values",
    );
    refused(
        &json!({"a": texts(100), "b": texts(51)}),
        attributes,
        "f: has 5100 combinations",
    );
    // 3 levels × 4 values × 2 levels × 3 values, and with another key of 3.
    let nested = json!({"a": {"b": {"c": texts(4)}}, "d": {"e": texts(3)}});
    assert!(problems(&nested, body).is_empty());
    let nested = json!({"a": {"b": {"c": texts(4)}}, "d": {"e": texts(3)}, "f": texts(3)});
    refused(
        &nested,
        body,
        "f: has 216 combinations of values; Amazon SNS allows at most 150",
    );
    let or = |source, name, kind, id, space| {
        json!({
            "source": texts(source),
            "$or": [
                {"metricName": texts(name)},
                {"metricType": texts(kind), "$or": [{"metricId": texts(id)}, {"spaceId": texts(space)}]},
            ],
        })
    };
    assert!(
        problems(&or(3, 6, 4, 4, 7), attributes).is_empty(),
        "18 + 48 + 84 = 150"
    );
    refused(&or(4, 6, 4, 4, 4), attributes, "f: has 152 combinations");
    let or = |name, scope| {
        json!({
            "$or": [{"metricName": texts(name)}, {"namespace": texts(2)}],
            "detail": {"scope": texts(scope), "$or": [{"source": texts(1)}, {"type": texts(3)}]},
        })
    };
    assert!(problems(&or(2, 1), body).is_empty());
    refused(&or(3, 2), body, "f: has 160 combinations of values");
}

#[test]
fn wildcards_have_points() {
    let scope = FilterPolicyScope::MessageBody;
    let of = |pattern: Value, count: usize| json!({"a": vec![pattern; count]});
    // Each a point, times the number of them.
    assert!(problems(&of(json!({"wildcard": "*.txt"}), 10), scope).is_empty());
    refused(
        &of(json!({"wildcard": "*.txt"}), 11),
        scope,
        "f: has 121 points of wildcard complexity",
    );
    // Two wildcards are three points each.
    assert!(problems(&of(json!({"wildcard": "*x*"}), 4), scope).is_empty());
    refused(
        &of(json!({"wildcard": "*x*"}), 5),
        scope,
        "f: has 150 points of wildcard complexity",
    );
    // anything-but is one more; without wildcards beside it, it counts nothing.
    refused(
        &of(json!({"anything-but": {"wildcard": "*x"}}), 8),
        scope,
        "f: has 128 points",
    );
    assert!(problems(&of(json!({"anything-but": "x"}), 150), scope).is_empty());
    let page = json!({"greeting": [{"anything-but": {"prefix": "Hello"}}, {"wildcard": "H*"}]});
    assert!(problems(&page, scope).is_empty());
}

#[test]
fn size() {
    let long = "x".repeat(256 * 1024);
    refused(
        &json!({"a": [long]}),
        FilterPolicyScope::MessageBody,
        "f: has 262154 bytes",
    );
}
