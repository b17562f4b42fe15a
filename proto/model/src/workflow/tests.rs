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

#[test]
fn pauses_stay_in_their_bounds_whatever_the_policy() {
    let policy = RetryPolicy {
        max_attempts: limits::ATTEMPTS_MAX,
        initial_backoff: limits::BACKOFF_MAX,
        max_backoff: limits::BACKOFF_MAX,
        multiplier: 10.0,
    };
    for number in [0, 1, limits::ATTEMPTS_MAX, u32::MAX] {
        for jitter in [-1.0, 0.0, 0.5, 1.0, 7.0] {
            let pause = policy.pause(number, jitter);
            assert!(
                pause <= limits::BACKOFF_MAX && pause >= limits::BACKOFF_MAX / 20,
                "{pause:?}"
            );
        }
    }
}

/// The paths of the problems.
fn paths(workflow: Result<Workflow, Violations>) -> Vec<String> {
    let violations = workflow.unwrap_err().0.into_iter();
    violations.map(|violation| violation.field).collect()
}

fn choice(id: &str, rules: usize, steps: Vec<Step>) -> Step {
    let rule = |index| ConditionRule {
        condition: Expression::parse("true").unwrap(),
        steps: if index == 0 { steps.clone() } else { vec![] },
    };
    let condition = ConditionStep {
        rules: (0..rules).map(rule).collect(),
        otherwise: vec![],
    };
    Step {
        action: Action::Condition(condition),
        ..transform(id, "1")
    }
}

#[test]
fn definitions_have_limits() {
    let build = |steps| Workflow::new(Trigger::Manual, BTreeMap::new(), steps, None);
    let many = |count| {
        (0..count)
            .map(|n| transform(&format!("s{n}"), "1"))
            .collect()
    };
    assert!(build(many(limits::STEPS_MAX)).is_ok());
    assert_eq!(paths(build(many(limits::STEPS_MAX + 1))), ["steps"]);

    let nested = |depth| {
        (1..depth).fold(vec![transform("leaf", "1")], |steps, level| {
            vec![choice(&format!("c{level}"), 1, steps)]
        })
    };
    assert!(build(nested(limits::STEP_DEPTH_MAX)).is_ok());
    let deep = paths(build(nested(limits::STEP_DEPTH_MAX + 1)));
    assert!(
        deep.iter().all(|path| path.contains("condition")),
        "{deep:?}"
    );
    assert!(!deep.is_empty());

    assert!(build(vec![choice("c", limits::CONDITION_RULES_MAX, vec![])]).is_ok());
    let field = "steps[0].condition.rules";
    assert_eq!(
        paths(build(vec![choice(
            "c",
            limits::CONDITION_RULES_MAX + 1,
            vec![]
        )])),
        [field]
    );
    assert_eq!(paths(build(vec![choice("c", 0, vec![])])), [field]);
}

#[test]
fn timeouts_vars_and_triggers_have_limits() {
    let steps = || vec![transform("a", "1")];
    for timeout in [
        Duration::ZERO,
        limits::WORKFLOW_TIMEOUT_MAX + Duration::from_nanos(1),
    ] {
        let workflow = Workflow::new(Trigger::Manual, BTreeMap::new(), steps(), Some(timeout));
        assert_eq!(paths(workflow), ["timeout"]);
    }
    for name in ["", "1a", "a-b", "a b", "é"] {
        let vars = [(name.to_owned(), Value::Null)].into();
        let workflow = Workflow::new(Trigger::Manual, vars, steps(), None);
        assert_eq!(paths(workflow), [format!("vars.{name}")]);
    }
    let vars = (0..=limits::VARS_MAX).map(|n| (format!("v{n}"), Value::Null));
    let workflow = Workflow::new(Trigger::Manual, vars.collect(), steps(), None);
    assert_eq!(paths(workflow), ["vars"]);

    let key: crate::ids::ApiKeyName = "projects/p/apiKeys/k".parse().unwrap();
    let topic: TopicArn = "arn:aws:sns:eu-central-1:123456789012:t".parse().unwrap();
    let trigger = Trigger::AmazonSns(AmazonSnsTrigger {
        api_keys: vec![key; limits::TRIGGER_NAMES_MAX + 1],
        topic_arns: vec![topic; limits::TRIGGER_NAMES_MAX + 1],
        allow_raw_delivery: false,
        minimum_signature_version: 1,
        max_message_age: None,
        filter_policy: None,
    });
    let workflow = Workflow::new(trigger, BTreeMap::new(), steps(), None);
    assert_eq!(
        paths(workflow),
        ["trigger.amazonSns.topicArns", "trigger.amazonSns.apiKeys"]
    );
}

#[test]
fn raw_messages_cannot_be_filtered_by_attributes() {
    use crate::filter_policy::{FilterPolicy, FilterPolicyScope};
    let workflow = |scope, allow_raw_delivery| {
        let policy = serde_json::json!({"store": ["x"]});
        let trigger = Trigger::AmazonSns(AmazonSnsTrigger {
            api_keys: vec!["projects/p/apiKeys/k".parse().unwrap()],
            topic_arns: vec![],
            allow_raw_delivery,
            minimum_signature_version: 1,
            max_message_age: None,
            filter_policy: FilterPolicy::parse("", &policy, scope).unwrap(),
        });
        Workflow::new(trigger, BTreeMap::new(), vec![transform("a", "1")], None)
    };
    let attributes = FilterPolicyScope::MessageAttributes;
    assert_eq!(
        paths(workflow(attributes, true)),
        ["trigger.amazonSns.filterPolicy"]
    );
    assert!(workflow(attributes, false).is_ok());
    assert!(workflow(FilterPolicyScope::MessageBody, true).is_ok());
}

#[test]
fn steps_are_found_and_read_at_any_depth() {
    let inner = vec![transform("inner", "steps.first.output")];
    let workflow = Workflow::new(
        Trigger::Manual,
        BTreeMap::new(),
        vec![transform("first", "1"), choice("pick", 1, inner)],
        None,
    )
    .unwrap();
    let find = |id: &str| {
        workflow
            .step(&id.parse().unwrap())
            .map(|step| step.action.kind())
    };
    assert_eq!(find("inner"), Some("transform"));
    assert_eq!(find("pick"), Some("condition"));
    assert_eq!(find("none"), None);
    // What stands inside reports its own path.
    let broken = vec![
        choice("pick", 1, vec![transform("inner", "steps.later.output")]),
        transform("later", "1"),
    ];
    assert_eq!(
        problems(broken),
        [
            "steps[0].condition.rules[0].steps[0].transform.expression: steps.later: step \"later\" does not come before this one"
        ]
    );
}
