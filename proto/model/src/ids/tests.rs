#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;

#[test]
fn names_round_trip() {
    for text in [
        "projects/default/workflows/stop-instance",
        "projects/a/workflows/b1",
    ] {
        assert_eq!(text.parse::<WorkflowName>().unwrap().to_string(), text);
    }
    let version: WorkflowVersionName = "projects/a/workflows/b/versions/3".parse().unwrap();
    assert_eq!(version.version, 3);
}

#[test]
fn other_texts_are_refused() {
    for text in [
        "",
        "projects/default/workflows/",
        "projects/default/workflows/Upper",
        "projects/default/workflows/-x",
        "projects/default/workflows/x-",
        "projects/default/workflows/a/b",
        "projects//workflows/a",
        "/projects/default/workflows/a",
        "projects/default/apiKeys/a",
    ] {
        assert!(text.parse::<WorkflowName>().is_err(), "{text}");
    }
    assert!("a".repeat(64).parse::<WorkflowId>().is_err());
}

#[test]
fn names_of_signals_may_hold_what_ids_do() {
    for text in ["paid", "order:4711.paid", "9F-a_b", &"x".repeat(128)] {
        assert_eq!(text.parse::<SignalName>().unwrap().as_str(), text);
    }
    for text in ["", "-a", "a b", "a/b", "é", "${{ x }}", &"x".repeat(129)] {
        assert!(text.parse::<SignalName>().is_err(), "{text}");
    }
}

#[test]
fn key_references_stay_in_the_project() {
    let project = ProjectId::default_project();
    let expected = "projects/default/apiKeys/pager";
    for reference in ["pager", expected] {
        let name = ApiKeyName::from_reference(reference, &project).unwrap();
        assert_eq!(name.to_string(), expected);
    }
    assert!(ApiKeyName::from_reference("projects/other/apiKeys/pager", &project).is_err());
}

#[test]
fn each_attempt_has_a_child_of_its_own() {
    let (a, b) = ("projects/p/workflows/a", "projects/p/workflows/b");
    let child = |workflow: &str, parent: &str, step: &str, attempt| {
        let parent = format!("projects/p/executions/{parent}").parse().unwrap();
        let step = step.parse().unwrap();
        ExecutionId::derive_child(&workflow.parse().unwrap(), &parent, &step, attempt)
    };
    let id = child(a, "x", "call", 1);
    assert_eq!(child(a, "x", "call", 1), id);
    // It stays across versions: a node that is upgraded while one runs finds it again.
    assert_eq!(id.as_str(), "xoehq4wfkprxinpvtdryov6d575uwbjzg");
    for other in [
        child(b, "x", "call", 1),
        child(a, "y", "call", 1),
        child(a, "x", "call[0]", 1),
        child(a, "x", "call", 2),
        ExecutionId::derive(&a.parse().unwrap(), "x", "call", Some("1")),
    ] {
        assert_ne!(other, id);
    }
}

#[test]
fn derived_ids_depend_on_every_part_and_on_nothing_else() {
    let a: WorkflowName = "projects/p/workflows/a".parse().unwrap();
    let b: WorkflowName = "projects/p/workflows/b".parse().unwrap();
    let id = ExecutionId::derive(&a, "arn:t", "m", None);
    assert_eq!(id, ExecutionId::derive(&a, "arn:t", "m", None));
    assert!(id.as_str().parse::<ExecutionId>().is_ok());
    for other in [
        ExecutionId::derive(&b, "arn:t", "m", None),
        ExecutionId::derive(&a, "arn:", "tm", None),
        ExecutionId::derive(&a, "arn:t", "n", None),
        ExecutionId::derive(&a, "arn:t", "m", Some("1")),
    ] {
        assert_ne!(id, other);
    }
}

#[test]
fn patterns_say_what_the_code_checks() {
    let whole = |pattern: &str| regex::Regex::new(&format!("^{pattern}$")).unwrap();
    let (resource, step) = (whole(RESOURCE_ID_PATTERN), whole(STEP_ID_PATTERN));
    let long = "a".repeat(63);
    let pieces = ["a", "z9", "-", "_", "A", "0", "é", "", " ", &long];
    for a in pieces {
        for b in pieces {
            for c in pieces {
                let text = format!("{a}{b}{c}");
                assert_eq!(resource.is_match(&text), is_resource_id(&text), "{text:?}");
                assert_eq!(step.is_match(&text), is_step_id(&text), "{text:?}");
            }
        }
    }
}
