//! Workflow files: `validate`, which is what `apply` does first.

use std::path::{Path, PathBuf};

use crate::support::{json, run, run_with_input};

fn hello() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples/hello.yaml")
}

fn validate(text: &str) -> String {
    run_with_input(&["workflows", "validate", "-f", "-"], text.as_bytes()).fails(65)
}

#[test]
fn a_valid_file_is_told_so() {
    let file = hello();
    let file = file.to_str().unwrap();
    let told = run(&["workflows", "validate", "-f", file]).ok();
    assert_eq!(told, "projects/default/workflows/hello is valid\n");
    let told = run(&["workflows", "validate", "-f", file, "--project", "other"]).ok();
    assert_eq!(told, "projects/other/workflows/hello is valid\n");

    // What is shown as JSON is a file again.
    let shown = run(&["workflows", "validate", "-f", file, "-o", "json"]).ok();
    assert_eq!(json(&shown)["spec"]["vars"]["greeting"], "Hello");
    let again = run_with_input(
        &["workflows", "validate", "-f", "-", "-o", "json"],
        shown.as_bytes(),
    );
    assert_eq!(again.ok(), shown);
}

#[test]
fn every_problem_is_told_at_its_line() {
    let error = validate(
        r#"name: wrong
spec:
  trigger:
    webhook:
      apiKeys: [caller, projects/other/apiKeys/x]
  steps:
    - id: a
      http:
        url: ftp://example.com/
        method: FETCH
    - id: b
      transform:
        expression: steps.c.output
    - id: a
      fail:
        code: lower
"#,
    );
    let lines: Vec<_> = error
        .lines()
        .map(|line| line.split(": ").take(2).collect::<Vec<_>>().join(": "))
        .collect();
    assert_eq!(
        lines,
        [
            "error: - is no valid workflow",
            "  line 5, column 25: spec.trigger.webhook.apiKeys[1]",
            "  line 9, column 9: spec.steps[0].http.url",
            "  line 10, column 9: spec.steps[0].http.method",
            "  line 13, column 9: spec.steps[1].transform.expression",
            "  line 14, column 7: spec.steps[2].id",
            "  line 15, column 7: spec.steps[2].fail.message",
            "  line 16, column 9: spec.steps[2].fail.code",
        ],
        "{error}"
    );
    assert!(
        error.contains("expected one of GET, HEAD, POST, PUT"),
        "{error}"
    );
}

#[test]
fn unknown_fields_are_told_with_what_was_meant() {
    let error = validate("name: w\nspc: {}\nspec:\n  trigger: {manual: {}}\n  stps: []\n");
    assert_eq!(error.lines().count(), 3, "{error}");
    assert!(
        error.contains("line 2, column 1: spc: there is no such field; did you mean \"spec\"?"),
        "{error}"
    );
    assert!(
        error.contains(
            "line 5, column 3: spec.stps: there is no such field; did you mean \"steps\"?"
        ),
        "{error}"
    );
}

#[test]
fn what_cannot_be_read_hides_nothing_else() {
    let told = |text: &str| {
        let error = validate(text);
        let lines = error.lines().skip(1);
        let places = lines.map(|line| line.split(": ").take(2).collect::<Vec<_>>().join(": "));
        places.collect::<Vec<_>>()
    };
    let text = r#"name: w
spec:
  trigger: {manual: {}}
  timeot: 60s
  steps:
    - id: a
      totalTimout: 5s
      http: {ulr: "https://x"}
    - id: b
      transform: {expression: steps.nope.output}
    - id: c
      retry: {retryOn: [429, 5xy]}
      http: {url: "https://x", headers: [a]}
    - id: d
      transfrm: {expression: "1"}
"#;
    assert_eq!(
        told(text),
        [
            "  line 4, column 3: spec.timeot",
            "  line 7, column 7: spec.steps[0].totalTimout",
            // That there is no url is what this says.
            "  line 8, column 14: spec.steps[0].http.ulr",
            "  line 10, column 19: spec.steps[1].transform.expression",
            "  line 12, column 30: spec.steps[2].retry.retryOn[1]",
            "  line 13, column 41: spec.steps[2].http.headers",
            // Nor what the step does.
            "  line 15, column 7: spec.steps[3].transfrm",
        ]
    );
    // What others may read is gone: nothing is said of them.
    for gone in [
        "name: w\nspec:\n  trigger: {manual: {}}\n  vras: {desk: x}\n  steps: [{id: a, transform: {expression: vars.desk}}]\n",
        "name: w\nspec:\n  trigger: {manual: {}}\n  steps: [{id: a, paralel: {branches: [{name: b, steps: [{id: c, succeed: {}}]}]}}, {id: d, transform: {expression: steps.c.output}}]\n",
    ] {
        assert_eq!(told(gone).len(), 1, "{gone}");
    }
}

#[test]
fn what_is_no_workflow_file_is_told() {
    let spec = "spec: {trigger: {manual: {}}, steps: [{id: a, succeed: {}}]}\n";
    for (text, expected) in [
        ("", "name: is missing"),
        (spec, "name: is missing"),
        ("name: w\n", "spec: is missing"),
        (&format!("name: Upper\n{spec}"), "line 1, column 1: name:"),
        (
            &format!("name: projects/p/apiKeys/k\n{spec}"),
            "is not a workflow name",
        ),
        (
            &format!("name: a\n{spec}---\nname: b\n{spec}"),
            "line 4, column 1: a second YAML document begins",
        ),
        ("name: [\n", "line "),
        ("hello\n", "expected fields: name"),
    ] {
        let error = validate(text);
        assert!(error.contains(expected), "{expected:?} in {error}");
        assert!(
            error.starts_with("error: - is no valid workflow\n"),
            "{error}"
        );
    }
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };
    for (path, expected) in [
        (
            "/no/such/file.yaml".to_owned(),
            "cannot be read: No such file",
        ),
        (dir.path().to_str().unwrap().to_owned(), "cannot be read"),
        (file("latin", b"name: \xff"), "is not UTF-8"),
        (file("large", &[b'#'; 17 * 1024 * 1024]), "has more than"),
    ] {
        let error = run(&["workflows", "validate", "-f", &path]).fails(65);
        assert!(error.contains(&path) && error.contains(expected), "{error}");
    }
}

#[test]
fn the_schema_is_the_published_one() {
    let file =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto/schema/workflow.schema.json");
    let published = std::fs::read_to_string(file).unwrap();
    assert_eq!(run(&["workflows", "schema"]).ok(), published);
    assert_eq!(run(&["workflows", "schema", "-o", "json"]).ok(), published);
}
