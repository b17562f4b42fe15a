//! What is said of a file that is no workflow: every problem, its line, what was found and what was expected.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use signalbox_proto::{convert::yaml, v1};

#[track_caller]
fn problems(text: &str) -> Vec<String> {
    match yaml::read::<v1::WorkflowSpec>(text) {
        Ok(document) => panic!("was taken: {:?}", document.message),
        Err(errors) => errors.0.iter().map(ToString::to_string).collect(),
    }
}

#[track_caller]
fn only(text: &str) -> String {
    let mut found = problems(text);
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[test]
fn all_problems_are_told_each_at_its_place() {
    let found = problems(
        r#"
triger: {manual: {}}
timeout: 5m
vars:
  big: 9007199254740993
steps:
  - id: [a]
    http:
      ur: https://example.com
      query: [a]
  - id: b
    retry: {maxAttempts: many, multiplier: fast}
    succeed: {}
    fail: {message: x}
  - {id: c, succeed: }
  - 5
"#,
    );
    assert_eq!(
        found,
        [
            "line 2, column 1: triger: there is no such field; did you mean \"trigger\"? (expected one of: trigger, vars, steps, timeout, rateLimit, finally, concurrency)",
            "line 3, column 10: timeout: is \"5m\"; expected seconds such as 30s or 0.5s; did you mean 300s?",
            "line 5, column 8: vars.big: 9007199254740993 is beyond ±2^53, where numbers lose digits; write it as text",
            "line 7, column 9: steps[0].id: is a list; expected text",
            "line 9, column 7: steps[0].http.ur: there is no such field; did you mean \"url\"? (expected one of: method, url, query, headers, json, text, form, binary, auth, successStatus, redirects, maxResponseBytes, caCertificate, proxy)",
            "line 10, column 14: steps[0].http.query: is a list; expected a mapping of names to values",
            "line 12, column 26: steps[1].retry.maxAttempts: is \"many\"; expected a whole number",
            "line 12, column 44: steps[1].retry.multiplier: is \"fast\"; expected a number",
            "line 14, column 5: steps[1].fail: stands beside \"succeed\"; expected only one of http, transform, condition, succeed, fail, wait, parallel, forEach, aws, email, slack, approval, runWorkflow, script",
            "line 15, column 13: steps[2].succeed: is null, which means not set; write {} for one without fields",
            "line 16, column 5: steps[3]: is the number 5; expected fields: id, if, timeout, retry, onError, totalTimeout, http, transform, condition, succeed, fail, wait, parallel, forEach, aws, email, slack, approval, runWorkflow, script",
        ]
    );
}

#[test]
fn what_is_no_yaml_is_told_with_its_place() {
    assert_eq!(
        only("trigger: {manual: {}}\n---\nvars: {}\n"),
        "line 3, column 1: a second YAML document begins; expected one in a file"
    );
    assert_eq!(
        only("vars: {a: 1}\nvars: {b: 2}\n").split(':').next(),
        Some("line 2, column 1")
    );
    assert!(only("steps: [a, b\n").starts_with("line "));
    assert!(only("hello\n").contains("is \"hello\"; expected fields: trigger"));
    assert!(only("- a\n").contains("is a list; expected fields: trigger"));
}

#[test]
fn structs_are_mappings_of_any_names() {
    let text = |policy: &str| {
        format!(
            "trigger:\n  amazonSns:\n    filterPolicy: {policy}\n    filterPolicyScope: MESSAGE_BODY\n"
        )
    };
    let scope = "line 4, column 24: trigger.amazonSns.filterPolicyScope: is \"MESSAGE_BODY\"; expected one of \
                 FILTER_POLICY_SCOPE_UNSPECIFIED, FILTER_POLICY_SCOPE_MESSAGE_ATTRIBUTES, FILTER_POLICY_SCOPE_MESSAGE_BODY; did you mean \"FILTER_POLICY_SCOPE_MESSAGE_BODY\"?";
    assert_eq!(problems(&text("{a: [1, null], $or: [{b: x}]}")), [scope]);
    assert_eq!(
        problems(&text("[a]")),
        [
            "line 3, column 19: trigger.amazonSns.filterPolicy: is a list; expected a mapping of names to values",
            scope
        ]
    );
    assert_eq!(
        problems(&text("{a: [9007199254740993]}")),
        [
            "line 3, column 24: trigger.amazonSns.filterPolicy.a[0]: 9007199254740993 is beyond ±2^53, where numbers lose digits; write it as text",
            scope
        ]
    );
}

#[test]
fn files_that_grow_are_refused() {
    let mut bomb = "vars:\n  a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        let before = vec![format!("*a{}", n - 1); 10].join(", ");
        bomb.push_str(&format!("  a{n}: &a{n} [{before}]\n"));
    }
    assert!(only(&bomb).contains("too large"), "{}", only(&bomb));
    assert!(only(&format!("vars: {{a: {}}}", "[".repeat(5000))).starts_with("line 1"));
    assert!(only(&"#".repeat(5 * 1024 * 1024)).contains("bytes"));
}

#[test]
fn yaml_means_what_it_looks_like() {
    let text =
        "vars: {a: on, b: no, c: 0123, d: 1_000, e: true, f: 12, g: 1.5, h: ~, i: 2026-01-01}\n";
    let document = yaml::read::<v1::WorkflowSpec>(text).unwrap();
    let vars = signalbox_proto::convert::json::to_value(&document.message)["vars"].clone();
    assert_eq!(
        vars,
        serde_json::json!({
            "a": "on", "b": "no", "c": "0123", "d": "1_000", "e": true, "f": 12.0, "g": 1.5, "h": null, "i": "2026-01-01"
        })
    );
}

#[test]
fn everything_has_a_position() {
    let text = "name: w\nspec:\n  trigger: {amazon_sns: {api_keys: [a]}}\n  steps:\n    - id: x\n      http:\n        headers:\n          a.b: c\n";
    let document = yaml::read::<v1::Workflow>(text).unwrap();
    let at = |path: &str| {
        let at = document.position(path);
        (at.line, at.column)
    };
    assert_eq!(at("name"), (1, 1));
    assert_eq!(at("spec.trigger.amazonSns.apiKeys[0]"), (3, 37));
    assert_eq!(at("spec.steps[0].http.headers.a.b"), (8, 11));
    // What is not there is told at what should hold it.
    assert_eq!(at("spec.steps[0].http.url"), (6, 7));
    assert_eq!(at("spec.steps[7]"), (4, 3));
    assert_eq!(at(""), (1, 1));
}
