#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;

use super::*;
use crate::{
    expression::Expression,
    limits,
    workflow::{
        ConditionRule, ConditionStep, ForEachStep, ParallelBranch, ParallelStep, RetryPolicy,
        SucceedStep, TransformStep, Trigger,
    },
};

fn step(id: &str, action: Action) -> Step {
    Step {
        id: id.parse().unwrap(),
        condition: None,
        timeout: limits::STEP_TIMEOUT_DEFAULT,
        total_timeout: None,
        retry: RetryPolicy::default(),
        on_error: OnError::Fail,
        action,
    }
}

fn expression(text: &str) -> Expression {
    Expression::parse(text).unwrap()
}

fn plain(id: &str) -> Step {
    step(
        id,
        Action::Transform(TransformStep::Expression(expression("1"))),
    )
}

fn handled(step: Step, steps: Vec<Step>) -> Step {
    let on_error = OnError::Steps(steps);
    Step { on_error, ..step }
}

fn parallel(id: &str, branches: Vec<Vec<Step>>) -> Step {
    let branches = branches.into_iter().enumerate();
    let branches = branches.map(|(number, steps)| ParallelBranch {
        name: format!("b{number}").parse().unwrap(),
        steps,
    });
    let action = Action::Parallel(ParallelStep {
        branches: branches.collect(),
        fail_fast: true,
    });
    step(id, action)
}

fn each(id: &str, steps: Vec<Step>) -> Step {
    let action = Action::ForEach(ForEachStep {
        items: expression("[1, 2, 3]"),
        concurrency: 1,
        fail_fast: false,
        steps,
    });
    step(id, action)
}

fn choice(id: &str, first: Vec<Step>, otherwise: Vec<Step>) -> Step {
    let rule = ConditionRule {
        condition: expression("true"),
        steps: first,
    };
    let action = Action::Condition(ConditionStep {
        rules: vec![rule],
        otherwise,
    });
    step(id, action)
}

fn workflow(steps: Vec<Step>) -> Workflow {
    Workflow::new(Trigger::Manual, BTreeMap::new(), steps, None, None).unwrap()
}

/// `run state`, with the input or the output that matter.
fn record(workflow: &Workflow, text: &str) -> StepRecord {
    let (run, rest) = text.split_once(' ').unwrap();
    let (state, json) = rest.split_once(' ').unwrap_or((rest, "null"));
    let run: StepInstance = run.parse().unwrap();
    let state = StepState::from_text(state).unwrap();
    let text = JsonText::try_from(json.to_owned()).unwrap();
    let failure = || Failure::new("HTTP_STATUS", "no");
    StepRecord {
        kind: workflow.step(&run.step).unwrap().action.kind().to_owned(),
        step: run,
        state,
        input: text.clone(),
        output: (state == StepState::Succeeded).then_some(text),
        error: matches!(state, StepState::Failed | StepState::Cancelled).then(failure),
    }
}

/// What is kept: `+` before what only begins.
fn kept(workflow: &Workflow, records: &[&str]) -> Vec<String> {
    shown(Kept::of(workflow, &all(workflow, records)))
}

fn all(workflow: &Workflow, records: &[&str]) -> Vec<StepRecord> {
    records.iter().map(|text| record(workflow, text)).collect()
}

fn shown(kept: Kept) -> Vec<String> {
    let facts = kept.into_facts();
    assert_eq!(facts[0], Fact::Started);
    let shown = facts[1..].iter().map(|fact| match fact {
        Fact::StepKept { step, .. } => step.to_string(),
        Fact::StepStarted { step, .. } => format!("+{step}"),
        other => panic!("{other:?}"),
    });
    shown.collect()
}

#[test]
fn what_comes_before_the_failure_is_kept() {
    let steps = workflow(vec![plain("a"), plain("b"), plain("c"), plain("d")]);
    let found = kept(&steps, &["a SUCCEEDED", "b SKIPPED", "c FAILED"]);
    assert_eq!(found, ["a", "b"]);
    assert_eq!(kept(&steps, &["a SUCCEEDED", "b CANCELLED"]), ["a"]);
    assert_eq!(kept(&steps, &["a WAITING"]), [""; 0]);
    assert_eq!(kept(&steps, &[]), [""; 0]);
    // Of a row that tells of another kind nothing is believed.
    let mut records = all(&steps, &["a SUCCEEDED"]);
    records[0].kind = "http".to_owned();
    assert_eq!(shown(Kept::of(&steps, &records)), [""; 0]);
}

#[test]
fn a_failure_that_was_handled_is_kept() {
    let go_on = Step {
        on_error: OnError::Continue,
        ..plain("a")
    };
    let steps = workflow(vec![go_on, plain("b")]);
    assert_eq!(kept(&steps, &["a FAILED", "b FAILED"]), ["a"]);
    let mut records = all(&steps, &["a FAILED"]);
    for code in [Failure::EXECUTION_TIMEOUT, Failure::HISTORY_FULL] {
        records[0].error = Some(Failure::new(code, "it ended all"));
        assert_eq!(shown(Kept::of(&steps, &records)), [""; 0], "{code}");
    }

    let tidy = choice("tidy", vec![plain("undo")], vec![plain("tell")]);
    let steps = workflow(vec![handled(plain("a"), vec![tidy]), plain("b")]);
    let chosen = r#"tidy SUCCEEDED {"branch":0}"#;
    assert_eq!(
        kept(&steps, &["a FAILED", chosen, "undo SUCCEEDED", "b FAILED"]),
        ["a", "tidy", "undo"]
    );
    // What the handler did not mend is done again, and so is the handler.
    assert_eq!(kept(&steps, &["a FAILED", chosen, "undo FAILED"]), [""; 0]);
    assert_eq!(
        kept(&steps, &["a FAILED", chosen, "undo CANCELLED"]),
        [""; 0]
    );
    // It was stopped between two of its steps.
    assert_eq!(kept(&steps, &["a FAILED", chosen]), ["a", "tidy"]);
}

#[test]
fn the_chosen_branch_is_followed_and_an_end_ends() {
    let end = || step("end", Action::Succeed(SucceedStep { output: None }));
    let steps = workflow(vec![
        choice("which", vec![plain("a")], vec![plain("b"), end()]),
        plain("c"),
    ]);
    let first = r#"which SUCCEEDED {"branch":0}"#;
    let other = r#"which SUCCEEDED {"branch":-1}"#;
    assert_eq!(
        kept(&steps, &[first, "a SUCCEEDED", "c SUCCEEDED"]),
        ["which", "a", "c"]
    );
    assert_eq!(
        kept(&steps, &[other, "b SUCCEEDED", "end SUCCEEDED"]),
        ["which", "b", "end"]
    );
    assert_eq!(kept(&steps, &[other, "b FAILED"]), ["which"]);
}

#[test]
fn branches_and_iterations_are_kept_each_on_their_own() {
    let inner = parallel("p", vec![vec![plain("a"), plain("b")], vec![plain("c")]]);
    let steps = workflow(vec![each("e", vec![inner, plain("d")]), plain("f")]);
    let items = r#"e FAILED {"items":[1,2,3]}"#;
    let found = kept(
        &steps,
        &[
            items,
            "p[0] FAILED {}",
            "a[0] SUCCEEDED",
            "b[0] FAILED",
            "c[0] SUCCEEDED",
            "p[1] SUCCEEDED {}",
            "a[1] SUCCEEDED",
            "d[1] SUCCEEDED",
            "p[2] SUCCEEDED {}",
            "d[2] FAILED",
        ],
    );
    assert_eq!(
        found,
        ["+e", "+p[0]", "a[0]", "c[0]", "p[1]", "d[1]", "p[2]"]
    );
    // It failed before it had items.
    assert_eq!(kept(&steps, &["e FAILED"]), [""; 0]);
    assert_eq!(
        kept(&steps, &[r#"e SUCCEEDED {"items":[]}"#, "f FAILED"]),
        ["e"]
    );
}

#[test]
fn another_version_must_come_to_what_is_kept_as_the_one_that_ran() {
    let before = workflow(vec![plain("a"), plain("b"), plain("c")]);
    let records = all(&before, &["a SUCCEEDED", "b SUCCEEDED", "c FAILED"]);
    let kept = Kept::of(&before, &records);
    let carried = |steps| kept.carried_to(&workflow(steps));
    let later = carried(vec![plain("a"), plain("b"), plain("d")]).unwrap();
    assert_eq!(shown(later), ["a", "b"]);
    for (steps, missing) in [
        (vec![plain("a"), plain("d"), plain("b")], "b"),
        (vec![plain("b"), plain("a")], "b"),
        (vec![plain("a"), each("b", vec![plain("c")])], "b"),
        (vec![plain("x")], "a"),
    ] {
        let error = carried(steps).unwrap_err();
        assert_eq!(error.0.to_string(), missing, "{error}");
    }
    // What failed runs again, though the other version would have gone on.
    let go_on = Step {
        on_error: OnError::Continue,
        ..plain("c")
    };
    assert_eq!(
        shown(carried(vec![plain("a"), plain("b"), go_on]).unwrap()),
        ["a", "b"]
    );
}

#[test]
fn what_is_kept_has_a_size() {
    let steps = workflow(vec![plain("a"), plain("b")]);
    let records = all(&steps, &[r#"a SUCCEEDED "12345678""#, "b FAILED"]);
    assert_eq!(Kept::of(&steps, &records).size_bytes(), 20);
}
