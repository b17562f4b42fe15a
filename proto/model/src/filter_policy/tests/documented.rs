//! What the pages of AWS say, example by example, and what follows from their words.

use super::*;

/// A policy on one attribute, values of it that match (`[type, value]`), and others that do not.
fn attribute(policy: &Value, wanted: &[[&str; 2]], unwanted: &[[&str; 2]]) {
    for (values, expected) in [(wanted, true), (unwanted, false)] {
        for value in values {
            let name = policy.as_object().unwrap().keys().next().unwrap();
            let attributes = json!({name.clone(): value, "other": ["String", "x"]});
            assert_eq!(
                wants_attributes(policy, &attributes),
                expected,
                "{policy} of {attributes}"
            );
        }
    }
}

fn bodies(policy: &Value, wanted: &[Value], unwanted: &[Value]) {
    for (bodies, expected) in [(wanted, true), (unwanted, false)] {
        for body in bodies {
            assert_eq!(wants_body(policy, body), expected, "{policy} of {body}");
        }
    }
}

#[test]
fn string_value_matching() {
    let interests = |pattern: Value| json!({"customer_interests": pattern});
    let rugby = ["String", "rugby"];
    let baseball = ["String", "baseball"];
    attribute(
        &interests(json!(["rugby", "tennis"])),
        &[
            rugby,
            ["String", "tennis"],
            ["String.Array", r#"["rugby", "tennis"]"#],
        ],
        &[
            baseball,
            ["String.Array", r#"["baseball"]"#],
            ["String", "Rugby"],
        ],
    );
    attribute(
        &interests(json!([{"anything-but": ["rugby", "tennis"]}])),
        &[
            baseball,
            ["String", "football"],
            ["String.Array", r#"["rugby", "baseball"]"#],
        ],
        &[rugby, ["String.Array", r#"["rugby"]"#]],
    );
    attribute(
        &json!({"event": [{"anything-but": {"prefix": "order-"}}]}),
        &[["String", "data-entry"], ["String", "order_number"]],
        &[["String", "order-cancelled"]],
    );
    for not_ball in [json!({"wildcard": "*ball"}), json!({"suffix": "ball"})] {
        attribute(
            &interests(json!([{"anything-but": not_ball}])),
            &[["String.Array", r#"["hockey", "rugby", "soccer"]"#]],
            &[["String.Array", r#"["baseball", "basketball"]"#]],
        );
    }
    attribute(
        &interests(json!([{"equals-ignore-case": "tennis"}])),
        &[
            ["String", "TENNIS"],
            ["String", "Tennis"],
            ["String", "teNnis"],
        ],
        &[["String", "tennis "]],
    );
    attribute(
        &json!({"source_ip": [{"cidr": "10.0.0.0/24"}]}),
        &[["String", "10.0.0.0"], ["String", "10.0.0.255"]],
        &[
            ["String", "10.1.1.0"],
            ["String", "10.0.0.0/24"],
            ["String", "::1"],
        ],
    );
    attribute(
        &interests(json!([{"prefix": "bas"}])),
        &[baseball, ["String", "basketball"]],
        &[rugby],
    );
    attribute(
        &interests(json!([{"suffix": "ball"}])),
        &[baseball, ["String", "basketball"]],
        &[rugby],
    );
    attribute(
        &interests(json!([{"wildcard": "*ball"}])),
        &[
            ["String.Array", r#"["baseball", "basketball"]"#],
            ["String", "ball"],
        ],
        &[rugby, ["String", "ballet"]],
    );
    bodies(
        &interests(json!([{"anything-but": ["rugby", "tennis"]}])),
        &[
            json!({"customer_interests": "baseball"}),
            json!({"customer_interests": ["rugby", "baseball"]}),
        ],
        &[
            json!({"customer_interests": ["rugby"]}),
            json!({"other": "baseball"}),
        ],
    );
}

#[test]
fn numeric_value_matching() {
    attribute(
        &json!({"price_usd": [{"numeric": ["=", 301.5]}]}),
        &[["Number", "301.5"], ["Number", "3.015e2"]],
        &[["Number", "301.51"], ["Number", "no number"]],
    );
    bodies(
        &json!({"price_usd": [{"numeric": ["=", 301.5]}]}),
        &[
            json!({"price_usd": 301.5}),
            json!({"price_usd": [1, 301.5]}),
        ],
        &[
            json!({"price_usd": "301.5"}),
            json!({"price_usd": [301.50001]}),
        ],
    );
    attribute(
        &json!({"price": [{"anything-but": [100, 500]}]}),
        &[
            ["Number", "101"],
            ["Number", "100.1"],
            ["Number.Array", "[100, 50]"],
        ],
        &[
            ["Number", "100"],
            ["Number", "1e2"],
            ["Number.Array", "[100, 500]"],
        ],
    );
    attribute(
        &json!({"price_usd": [{"numeric": ["<", 0]}]}),
        &[["Number", "-1"], ["Number", "-0.00001"]],
        &[["Number", "0"], ["Number", "1"]],
    );
    attribute(
        &json!({"price_usd": [{"numeric": [">", 0, "<=", 150]}]}),
        &[["Number", "0.00001"], ["Number", "150"]],
        &[["Number", "0"], ["Number", "150.00001"], ["Number", "-3"]],
    );
    attribute(
        &json!({"n": [{"numeric": [">=", 1, "<", 2]}, 7]}),
        &[["Number", "1"], ["Number", "1.99999"], ["Number", "7.0"]],
        &[["Number", "0.99999"], ["Number", "2"]],
    );
}

#[test]
fn key_matching() {
    let there = json!({"store": [{"exists": true}]});
    let absent = json!({"store": [{"exists": false}]});
    let fans = json!({"store": ["String", "fans"], "x": ["String.Array", r#"["a"]"#]});
    let without = json!({"x": ["String.Array", r#"["a", "b"]"#]});
    assert!(wants_attributes(&there, &fans) && !wants_attributes(&there, &without));
    assert!(!wants_attributes(&absent, &fans) && wants_attributes(&absent, &without));
    // "The key must have a non-null and non-empty value."
    let empty = json!({"store": ["String.Array", "[null]"]});
    assert!(!wants_attributes(&there, &empty) && !wants_attributes(&absent, &empty));
    // "An empty set of attributes results in the filter not matching."
    assert!(!wants_attributes(&absent, &json!({})));
    bodies(
        &there,
        &[
            json!({"store": "fans"}),
            json!({"store": 0}),
            json!({"store": [null, false]}),
        ],
        &[
            json!({"store": null}),
            json!({"store": ""}),
            json!({"store": []}),
            json!({"x": 1}),
        ],
    );
    bodies(
        &absent,
        &[
            json!({"x": 1}),
            json!({"store": []}),
            json!({"x": {"store": 1}}),
        ],
        &[json!({"store": null}), json!({"store": "fans"}), json!({})],
    );
    // "exists works only on leaf nodes … It does not apply to intermediate nodes."
    bodies(&there, &[], &[json!({"store": {"name": "fans"}})]);
    bodies(&absent, &[json!({"store": {"name": "fans"}})], &[]);
}

#[test]
fn and_or_logic() {
    let and = json!({"customer_interests": ["rugby"], "price_usd": [{"numeric": [">", 100]}]});
    let both = json!({"customer_interests": ["String", "rugby"], "price_usd": ["Number", "101"]});
    assert!(wants_attributes(&and, &both));
    let one = json!({"customer_interests": ["String", "rugby"], "price_usd": ["Number", "99"]});
    assert!(!wants_attributes(&and, &one));
    let or = json!({
        "source": ["aws.cloudwatch"],
        "$or": [{"metricName": ["CPUUtilization"]}, {"namespace": ["AWS/EC2"]}],
    });
    bodies(
        &or,
        &[
            json!({"source": "aws.cloudwatch", "metricName": "CPUUtilization"}),
            json!({"source": "aws.cloudwatch", "namespace": "AWS/EC2"}),
        ],
        &[
            json!({"source": "aws.cloudwatch"}),
            json!({"metricName": "CPUUtilization", "namespace": "AWS/EC2"}),
            json!({"source": "aws.cloudwatch", "metricName": "AWS/EC2"}),
        ],
    );
    let nested = json!({
        "$or": [
            {"metricName": ["CPUUtilization", "ReadLatency"]},
            {"namespace": ["AWS/EC2", "AWS/ES"]},
        ],
        "detail": {
            "scope": ["Service"],
            "$or": [{"source": ["aws.cloudwatch"]}, {"type": ["CloudWatch Alarm State Change"]}],
        },
    });
    bodies(
        &nested,
        &[
            json!({"metricName": "ReadLatency", "detail": {"scope": "Service", "source": "aws.cloudwatch"}}),
            json!({"namespace": "AWS/ES", "detail": {"scope": "Service", "type": "CloudWatch Alarm State Change"}}),
        ],
        &[
            json!({"metricName": "ReadLatency", "detail": {"scope": "Service"}}),
            json!({"detail": {"scope": "Service", "source": "aws.cloudwatch"}}),
            json!({"metricName": "ReadLatency", "scope": "Service", "source": "aws.cloudwatch"}),
        ],
    );
}

#[test]
fn an_or_that_is_none_is_a_name() {
    for policy in [
        json!({"$or": ["a", "b"]}),
        json!({"$or": [{"prefix": "a"}]}),
        json!({"$or": [{"prefix": "a"}, {"suffix": "z"}]}),
    ] {
        attribute(&policy, &[["String", "a"]], &[["String", "c"]]);
    }
}

#[test]
fn only_some_types_of_attributes_are_compared() {
    let there = json!({"store": [{"exists": true}]});
    let absent = json!({"store": [{"exists": false}]});
    for other in ["Binary", "String.label", "Number.int", "Whatever"] {
        attribute(&there, &[], &[[other, "eA=="]]);
        attribute(&absent, &[[other, "eA=="]], &[]);
        assert!(!wants_attributes(&absent, &json!({"x": [other, "eA=="]})));
    }
    // Texts, numbers, booleans and null are never alike.
    attribute(
        &json!({"n": ["100"]}),
        &[["String", "100"]],
        &[["Number", "100"]],
    );
    attribute(
        &json!({"n": [100]}),
        &[["Number", "100"]],
        &[["String", "100"]],
    );
    attribute(
        &json!({"n": [{"prefix": "1"}]}),
        &[["String", "100"]],
        &[["Number", "100"]],
    );
    attribute(
        &json!({"n": [{"numeric": [">", 1]}]}),
        &[["Number", "2"]],
        &[["String", "2"]],
    );
    attribute(
        &json!({"n": [true, null]}),
        &[["String.Array", "[true]"], ["String.Array", "[0, null]"]],
        &[
            ["String", "true"],
            ["String.Array", r#"[false, 1, "null", [null]]"#],
            ["String.Array", "true"],
        ],
    );
}

#[test]
fn numbers_have_a_range_and_five_digits() {
    let positive = json!({"n": [{"numeric": [">", 0]}]});
    bodies(
        &positive,
        &[json!({"n": 1_000_000_000}), json!({"n": 0.000_009})],
        &[
            json!({"n": 1_000_000_000.1}),
            json!({"n": 1e300}),
            json!({"n": 0.000_004}),
        ],
    );
    // What is out of range is a number still.
    bodies(
        &json!({"n": [{"anything-but": 7}]}),
        &[json!({"n": 1e300})],
        &[json!({"n": 7.000_001})],
    );
    bodies(
        &json!({"n": [{"exists": true}]}),
        &[json!({"n": 1e300})],
        &[],
    );
    bodies(
        &json!({"n": [-0.00001]}),
        &[json!({"n": -1e-5})],
        &[json!({"n": 0})],
    );
}

#[test]
fn bodies_are_objects_however_they_nest() {
    let policy = json!({"object": {"key": [{"prefix": "auto-"}]}});
    bodies(
        &policy,
        &[
            json!({"object": {"key": "auto-test"}}),
            json!({"object.key": "auto-test"}),
            json!({"object": [[{"key": "auto-test"}], {"key": 1}]}),
        ],
        &[
            json!({"object": {"key": "test-auto"}}),
            json!({"key": "auto-test"}),
            json!({"object": "auto-test"}),
            json!({"": {"object": {"key": "auto-test"}}}),
            json!(["auto-test"]),
            json!("auto-test"),
        ],
    );
    for message in [
        "",
        "{",
        "auto-test",
        r#"{"object": {"key": "auto-test"}} x"#,
        "null",
    ] {
        assert!(!on_body(&policy).wants(message, []), "{message}");
    }
    bodies(
        &json!({"object.nested.test": ["v"]}),
        &[
            json!({"object": {"nested": {"test": "v"}}}),
            json!({"object.nested": {"test": "v"}}),
            json!({"object": {"nested.test": "v"}}),
        ],
        &[json!({"object": {"nested": {"test": {"v": "v"}}}})],
    );
    // Each property is looked at alone, whichever element of an array it stands in.
    bodies(
        &json!({"r": {"a": [1], "b": [{"exists": false}]}}),
        &[json!({"r": [{"a": 1}, {"a": 2}]})],
        &[json!({"r": [{"a": 1}, {"b": 2}]})],
    );
    // The signed message decides, never the attributes.
    let attributes = [Attribute {
        name: "object.key",
        data_type: "String",
        value: "auto-test",
    }];
    assert!(!on_body(&policy).wants("{}", attributes));
}

#[test]
fn attributes_are_compared_in_their_escaped_form() {
    let policy = json!({"quote": [r#"say \"hi\" to C:\\"#]});
    attribute(
        &policy,
        &[["String", r#"say "hi" to C:\"#]],
        &[["String", r#"say \"hi\" to C:\\"#]],
    );
    attribute(
        &json!({"stars": [{"wildcard": r"\\**"}]}),
        &[["String", "*"], ["String", "*x"]],
        &[["String", "x"], ["String", r"\*"]],
    );
    bodies(
        &json!({"quote": [r#"say "hi""#]}),
        &[json!({"quote": r#"say "hi""#})],
        &[],
    );
}

#[test]
fn null_and_booleans_are_values_like_others() {
    let policy = json!({"a": [null, true]});
    bodies(
        &policy,
        &[
            json!({"a": null}),
            json!({"a": true}),
            json!({"a": [1, null]}),
        ],
        &[
            json!({"a": false}),
            json!({"a": "null"}),
            json!({"b": null}),
        ],
    );
    bodies(
        &json!({"a": [{"anything-but": "x"}]}),
        &[json!({"a": null}), json!({"a": false}), json!({"a": 1})],
        &[json!({"a": "x"}), json!({"b": 1})],
    );
    // As the page says: anything-but together with the lack of the key.
    bodies(
        &json!({"a": [{"anything-but": "x"}, {"exists": false}]}),
        &[json!({"b": 1}), json!({"a": "y"})],
        &[json!({"a": "x"})],
    );
}

#[test]
fn addresses_of_both_versions() {
    bodies(
        &json!({"ip": [{"cidr": "2001:db8::7/32"}, {"cidr": "10.1.2.3/32"}]}),
        &[json!({"ip": "2001:0db8:0::9"}), json!({"ip": "10.1.2.3"})],
        &[
            json!({"ip": "2001:db9::"}),
            json!({"ip": "10.1.2.4"}),
            json!({"ip": "10.1.2"}),
            json!({"ip": 1}),
        ],
    );
}
