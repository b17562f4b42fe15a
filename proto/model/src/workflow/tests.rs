#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::expression::Expression;

fn transform(id: &str, expression: &str) -> Step {
    Step {
        id: id.parse().unwrap(),
        condition: None,
        timeout: limits::STEP_TIMEOUT_DEFAULT,
        retry: RetryPolicy::default(),
        action: Action::Transform(TransformStep::Expression(
            Expression::parse(expression).unwrap(),
        )),
    }
}

fn end(id: &str) -> Step {
    Step {
        action: Action::Succeed(SucceedStep { output: None }),
        ..transform(id, "1")
    }
}

fn problems(steps: Vec<Step>) -> Vec<String> {
    match Workflow::new(Trigger::Manual, BTreeMap::new(), steps, None) {
        Ok(_) => Vec::new(),
        Err(violations) => violations.0.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn a_later_step_reads_an_earlier_one() {
    assert_eq!(
        problems(vec![transform("a", "1"), transform("b", "steps.a.output")]),
        Vec::<String>::new()
    );
}

#[test]
fn every_problem_is_reported_at_its_path() {
    let found = problems(vec![
        transform("first", "steps.fist.output"),
        transform("first", "steps.last.output + vars.none"),
        end("stop"),
        transform("last", "1"),
    ]);
    assert_eq!(
        found,
        [
            "steps[0].transform.expression: steps.fist: there is no step \"fist\"; did you mean \"first\"?",
            "steps[1].id: \"first\" names another step already; ids are unique in a workflow",
            "steps[1].transform.expression: steps.last: step \"last\" does not come before this one",
            "steps[1].transform.expression: vars.none: there is no such constant",
            "steps[3]: step \"last\" can never run: step \"stop\" before it ends the execution",
        ]
    );
}

#[test]
fn empty_definitions_and_triggers_without_keys_are_refused() {
    let trigger = Trigger::Webhook(WebhookTrigger { api_keys: vec![] });
    let violations = Workflow::new(trigger, BTreeMap::new(), vec![], None).unwrap_err();
    let fields: Vec<_> = violations.0.iter().map(|v| v.field.as_str()).collect();
    assert_eq!(fields, ["trigger.webhook.apiKeys", "steps"]);
}

#[test]
fn backoff_grows_to_its_cap() {
    let policy = RetryPolicy::WRITTEN_DEFAULT;
    assert_eq!(policy.pause(1, 0.0), Duration::from_secs(1));
    assert_eq!(policy.pause(3, 0.0), Duration::from_secs(4));
    assert_eq!(policy.pause(20, 0.0), Duration::from_secs(300));
    assert_eq!(policy.pause(1, 1.0), Duration::from_millis(500));
}
