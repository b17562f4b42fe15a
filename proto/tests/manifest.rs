//! Files with several documents, and messages as YAML.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use proptest::prelude::*;
use signalbox_proto::{
    convert::{
        manifest::{self, Manifest},
        yaml,
    },
    v1,
};

const FILE: &str = "\
# What the desk has.
---
kind: ApiKey
name: pager
labels: {team: desk}
spec:
  rateLimit: {eventsPerSecond: 5}
--- # the other
kind: Workflow
name: hello
spec:
  trigger: {webhook: {apiKeys: [pager]}}
  steps:
    - id: say
      transform:
        expression: |
          '--- '
           + 'x'
---
# nothing
...
";

#[test]
fn documents_are_told_apart_and_their_lines_are_those_of_the_file() {
    let manifests = manifest::read(FILE).unwrap();
    let [Manifest::ApiKey(key), Manifest::Workflow(workflow)] = &manifests[..] else {
        panic!("{manifests:?}")
    };
    assert_eq!(key.message.labels["team"], "desk");
    let at = workflow.position("spec.steps[0].transform.expression");
    assert_eq!((at.line, at.column), (16, 9));
    assert_eq!(key.position("spec.rateLimit.eventsPerSecond").line, 7);
    assert_eq!(key.position("spec.nothing").line, 6);
    assert!(manifest::read("").unwrap().is_empty());
    assert!(manifest::read("---\n---\n# x\n").unwrap().is_empty());
    let json = r#"{"kind": "ApiKey", "name": "k"}"#;
    assert_eq!(manifest::read(json).unwrap().len(), 1);
    let windows = "kind: ApiKey\r\nname: a\r\n---\r\nkind: ApiKey\r\nname: b\r\n";
    assert_eq!(manifest::read(windows).unwrap().len(), 2);
}

#[test]
fn every_document_s_problems_are_told_at_their_lines() {
    let text = "kind: ApiKey\nname: k\nspc: {}\n---\nname: x\n---\nkind: workflow\n---\nkind: Workflow\nname: [\n---\nkind: ApiKey\netag: x\n";
    let error = manifest::read(text).unwrap_err().to_string();
    for expected in [
        "line 3, column 1: spc: there is no such field; did you mean \"spec\"?",
        "line 5, column 1: kind: is missing; expected Workflow or ApiKey",
        "line 7, column 1: kind: is \"workflow\"; expected Workflow or ApiKey; did you mean \"Workflow\"?",
        "line 10",
        "line 13, column 1: etag: there is no such field",
    ] {
        assert!(error.contains(expected), "{expected:?} in {error}");
    }
}

#[test]
fn what_is_written_is_as_people_write_it() {
    let manifests = manifest::read(FILE).unwrap();
    let Manifest::Workflow(workflow) = &manifests[1] else {
        panic!()
    };
    let text = yaml::write(&workflow.message);
    assert!(
        text.starts_with("kind: Workflow\nname: hello\nspec:\n"),
        "{text}"
    );
    assert!(text.contains("expression: |"), "{text}");
    // Equal messages are equal texts: maps have an order, and fields that of their numbers.
    let labels = ["z", "y", "x", "w", "v", "u"].map(|name| (name.to_owned(), "1".to_owned()));
    let key = v1::ApiKeyManifest {
        kind: manifest::API_KEY.to_owned(),
        name: "k".to_owned(),
        labels: labels.into_iter().collect(),
        spec: Some(v1::ApiKeySpec {
            rate_limit: Some(v1::RateLimit {
                events_per_second: 2,
                burst: 3,
            }),
            ..Default::default()
        }),
        ..Default::default()
    };
    let labels: String = ["u", "v", "w", "x", "y", "z"]
        .map(|name| format!("  {name}: \"1\"\n"))
        .concat();
    let limit = "spec:\n  rateLimit:\n    eventsPerSecond: 2\n    burst: 3\n";
    let expected = format!("kind: ApiKey\nname: k\nlabels:\n{labels}{limit}")
        .replace("  y: \"1\"", "  \"y\": \"1\"");
    assert_eq!(yaml::write(&key), expected);
}

/// Texts that readers of YAML take for something else, or that its writers find hard.
fn texts() -> impl Strategy<Value = String> {
    let hard = [
        "",
        " ",
        "~",
        "null",
        "true",
        "yes",
        "on",
        "0123",
        "1_000",
        "1e3",
        "-",
        "---",
        "# x",
        "a: b",
        "[",
        "{}",
        "&a",
        "*a",
        "!t",
        "%",
        "@",
        "`",
        "'",
        "\"",
        "a\nb",
        "\na",
        "a\n",
        "a\n\n",
        " a\nb",
        "\t",
        "a\tb",
        "a \n b",
        "\u{85}",
        "\u{2028}",
        "\u{feff}",
        "\r\n",
        "${{ event.json.x }}",
        "a # b",
        "x:",
        "2026-01-01",
        "0x10",
        "1:30",
        ".inf",
        "=",
        "<<",
        "\u{0}",
    ];
    let all = proptest::sample::select(hard.to_vec()).prop_map(str::to_owned);
    prop_oneof![all, any::<String>(), "[a-z \n]{0,200}"]
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_it_was(
        display_name in texts(),
        description in texts(),
        labels in proptest::collection::btree_map(texts(), texts(), 0..4),
        values in proptest::collection::btree_map(texts(), texts(), 0..4),
        number in any::<f64>().prop_filter("JSON has no other", |number| number.is_finite()),
    ) {
        let mut vars: std::collections::BTreeMap<_, _> = values
            .into_iter()
            .map(|(name, value)| (name, signalbox_proto::Value::from(value)))
            .collect();
        vars.insert("number".to_owned(), number.into());
        let manifest = v1::WorkflowManifest {
            kind: manifest::WORKFLOW.to_owned(),
            name: "w".to_owned(),
            labels,
            display_name,
            description,
            spec: Some(v1::WorkflowSpec { vars, ..Default::default() }),
        };
        let text = yaml::write(&manifest);
        let document = yaml::read::<v1::WorkflowManifest>(&text);
        prop_assert_eq!(document.map(|it| it.message), Ok(manifest), "{}", text);
    }
}
