#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::expression::Expression;

mod many;

fn transform(id: &str, expression: &str) -> Step {
    Step {
        id: id.parse().unwrap(),
        condition: None,
        timeout: limits::STEP_TIMEOUT_DEFAULT,
        total_timeout: None,
        retry: RetryPolicy::default(),
        on_error: OnError::Fail,
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
    match Workflow::new(Trigger::Manual, BTreeMap::new(), steps, None, None) {
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
            "steps[3]: step \"last\" can never run: step \"stop\" before it lets nothing follow",
        ]
    );
}

#[test]
fn empty_definitions_and_triggers_without_keys_are_refused() {
    let trigger = Trigger::Webhook(WebhookTrigger { api_keys: vec![] });
    let violations = Workflow::new(trigger, BTreeMap::new(), vec![], None, None).unwrap_err();
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
        retry_on: Vec::new(),
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
    let build = |steps| Workflow::new(Trigger::Manual, BTreeMap::new(), steps, None, None);
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
        let workflow = Workflow::new(
            Trigger::Manual,
            BTreeMap::new(),
            steps(),
            Some(timeout),
            None,
        );
        assert_eq!(paths(workflow), ["timeout"]);
    }
    for name in ["", "1a", "a-b", "a b", "é"] {
        let vars = [(name.to_owned(), Value::Null)].into();
        let workflow = Workflow::new(Trigger::Manual, vars, steps(), None, None);
        assert_eq!(paths(workflow), [format!("vars.{name}")]);
    }
    let vars = (0..=limits::VARS_MAX).map(|n| (format!("v{n}"), Value::Null));
    let workflow = Workflow::new(Trigger::Manual, vars.collect(), steps(), None, None);
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
    let workflow = Workflow::new(trigger, BTreeMap::new(), steps(), None, None);
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
        Workflow::new(
            trigger,
            BTreeMap::new(),
            vec![transform("a", "1")],
            None,
            None,
        )
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

fn parallel(id: &str, branches: Vec<Vec<Step>>) -> Step {
    let branches = ('a'..).zip(branches).map(|(name, steps)| ParallelBranch {
        name: name.to_string().parse().unwrap(),
        steps,
    });
    let action = ParallelStep {
        branches: branches.collect(),
        fail_fast: true,
    };
    Step {
        action: Action::Parallel(action),
        ..transform(id, "1")
    }
}

fn for_each(id: &str, items: &str, concurrency: u32, steps: Vec<Step>) -> Step {
    let action = ForEachStep {
        items: Expression::parse(items).unwrap(),
        concurrency,
        fail_fast: true,
        steps,
    };
    Step {
        action: Action::ForEach(action),
        ..transform(id, "1")
    }
}

#[test]
fn a_step_reads_its_own_frame_and_those_around_it() {
    let good = vec![
        transform("before", "1"),
        parallel(
            "both",
            vec![
                vec![
                    transform("one", "steps.before.output"),
                    for_each(
                        "each",
                        "[steps.one.output]",
                        2,
                        vec![transform("leaf", "[item, index, steps.one, steps.before]")],
                    ),
                ],
                vec![transform("two", "steps.before.output")],
            ],
        ),
        transform("after", "steps.both.output.a"),
    ];
    assert_eq!(problems(good), Vec::<String>::new());
    let bad = vec![
        parallel(
            "both",
            vec![
                vec![transform("one", "item")],
                vec![transform("two", "steps.one.output + steps.three.output")],
            ],
        ),
        for_each("each", "[index]", 2, vec![transform("three", "item")]),
        transform("after", "[steps.one, steps.three, item]"),
        transform("local", "[1].map(item, item + 1)"),
    ];
    let other = "stands in a branch or an iteration that this step is not in; read the output of the step around it";
    assert_eq!(
        problems(bad),
        [
            "steps[0].parallel.branches[0].steps[0].transform.expression: item: there is one only for the steps of a forEach".to_owned(),
            format!("steps[0].parallel.branches[1].steps[0].transform.expression: steps.one: step \"one\" {other}"),
            "steps[0].parallel.branches[1].steps[0].transform.expression: steps.three: step \"three\" does not come before this one".to_owned(),
            "steps[1].forEach.items: index: there is one only for the steps of a forEach".to_owned(),
            format!("steps[2].transform.expression: steps.one: step \"one\" {other}"),
            format!("steps[2].transform.expression: steps.three: step \"three\" {other}"),
            "steps[2].transform.expression: item: there is one only for the steps of a forEach".to_owned(),
        ]
    );
}

#[test]
fn handlers_and_finally_read_what_may_have_run() {
    let handled = Step {
        on_error: OnError::Steps(vec![transform("told", "steps.call.error.code")]),
        ..transform("call", "1 / 0")
    };
    let finally = Finally {
        steps: vec![transform(
            "tidy",
            "[steps.call, steps.told, execution.state]",
        )],
        timeout: limits::FINALLY_TIMEOUT_DEFAULT,
    };
    let steps = vec![handled, transform("after", "steps.told")];
    let workflow = Workflow::new(Trigger::Manual, BTreeMap::new(), steps, None, Some(finally));
    let workflow = workflow.unwrap();
    for id in ["told", "tidy"] {
        assert!(workflow.step(&id.parse().unwrap()).is_some(), "{id}");
    }

    let late = Step {
        on_error: OnError::Steps(vec![]),
        ..transform("late", "steps.tidy")
    };
    let ended = Step {
        on_error: OnError::Continue,
        ..end("ended")
    };
    let finally = Finally {
        steps: vec![transform("tidy", "1"), transform("late", "1")],
        timeout: Duration::from_secs(3601),
    };
    let workflow = Workflow::new(
        Trigger::Manual,
        BTreeMap::new(),
        vec![late, ended],
        None,
        Some(finally),
    );
    assert_eq!(
        paths(workflow),
        [
            "steps[0].transform.expression",
            "steps[0].onError.steps",
            "steps[1].onError",
            "finally.timeout",
            "finally.steps[1].id",
        ]
    );
}

#[test]
fn frames_have_limits() {
    let leaf = |id: String| vec![transform(&id, "1")];
    let branches = |count: usize| (0..count).map(|n| leaf(format!("s{n}"))).collect();
    let found = |step| problems(vec![step]);
    assert_eq!(found(parallel("p", branches(20))), Vec::<String>::new());
    assert_eq!(
        found(parallel("p", branches(21))),
        ["steps[0].parallel.branches: at most 20 branches are allowed"]
    );
    assert_eq!(
        found(parallel("p", vec![])),
        ["steps[0].parallel.branches: must hold at least one branch"]
    );
    assert_eq!(
        found(for_each("e", "[]", 1, vec![])),
        ["steps[0].forEach.steps: must hold at least one step"]
    );
    let nested = |outer, inner| {
        let inside = for_each("inner", "[]", inner, leaf("leaf".to_owned()));
        for_each("outer", "[]", outer, vec![inside])
    };
    assert_eq!(found(nested(10, 10)), Vec::<String>::new());
    let too_many = found(nested(10, 11));
    assert_eq!(too_many.len(), 1, "{too_many:?}");
    assert!(too_many[0].starts_with("steps: lets 110 steps be under way at once"));
}

#[test]
fn errors_to_retry_on_are_named() {
    for good in ["TIMEOUT", "SLACK_ERROR", "429", "202", "2xx", "500-503"] {
        assert!(good.parse::<RetryOn>().is_ok(), "{good}");
    }
    for wrong in [
        "",
        "timeout",
        "EXPRESSION",
        "199",
        "600",
        "0429",
        "+429",
        "1xx",
        "xxx",
    ] {
        assert!(wrong.parse::<RetryOn>().is_err(), "{wrong}");
    }
    let policy = |on: &[&str]| RetryPolicy {
        retry_on: on.iter().map(|on| on.parse().unwrap()).collect(),
        ..RetryPolicy::WRITTEN_DEFAULT
    };
    assert!(policy(&[]).retries("CONNECTION", None, true));
    assert!(!policy(&[]).retries("HTTP_STATUS", Some(404), false));
    assert!(policy(&["4xx"]).retries("HTTP_STATUS", Some(404), false));
    assert!(!policy(&["4xx"]).retries("HTTP_STATUS", Some(503), true));
    assert!(!policy(&["4xx"]).retries("CONNECTION", None, true));
    assert!(policy(&["400-410"]).retries("HTTP_STATUS", Some(404), false));
    assert!(!policy(&["400-410"]).retries("HTTP_STATUS", Some(411), true));
}

#[test]
fn what_waits_for_others_may_take_long_and_not_longer_than_the_workflow() {
    use crate::expression::Template;
    let text = |text: &str| Template::parse(text).unwrap();
    let hour = Duration::from_secs(3600);
    let approval = |timeout| Step {
        action: Action::Approval(ApprovalStep {
            message: text("go on with ${{ steps.a.output }}?"),
            approvers: Vec::new(),
            timeout,
            on_timeout: ApprovalTimeout::Fail,
            rejected_is_output: false,
        }),
        ..transform("ask", "1")
    };
    let signal = |timeout| Step {
        action: Action::Wait(WaitStep::Signal(SignalWait {
            name: text("paid-${{ steps.a.output }}"),
            timeout,
            on_timeout: SignalTimeout::Continue,
        })),
        ..transform("paid", "1")
    };
    let workflow = |steps, timeout| {
        let steps = [vec![transform("a", "1")], steps].concat();
        Workflow::new(Trigger::Manual, BTreeMap::new(), steps, timeout, None)
    };
    let timeout = |steps| workflow(steps, None).unwrap().timeout();
    assert_eq!(timeout(vec![]), limits::WORKFLOW_TIMEOUT_DEFAULT);
    let days = limits::WORKFLOW_TIMEOUT_MAX;
    assert_eq!(timeout(vec![approval(None)]), days);
    let inside = choice("pick", 1, vec![signal(None)]);
    assert_eq!(timeout(vec![inside]), days);
    // What nobody wrote is bounded, and what someone wrote is a mistake.
    let bounded = workflow(vec![approval(None), signal(None)], Some(hour));
    assert_eq!(bounded.unwrap().timeout(), hour);
    let longer = Some(2 * hour);
    assert_eq!(
        paths(workflow(vec![approval(longer), signal(longer)], Some(hour))),
        ["steps[1].approval.timeout", "steps[2].wait.signal.timeout"]
    );
    assert!(workflow(vec![approval(longer), signal(longer)], longer).is_ok());
    assert_eq!(
        problems(vec![approval(None), signal(None)]).len(),
        2,
        "their templates read what is not there"
    );
}
