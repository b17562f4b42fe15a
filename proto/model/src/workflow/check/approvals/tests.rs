#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::time::Duration;

use serde_json::json;

use super::*;
use crate::{
    expression::{Expression, JsonTemplate, Template},
    limits,
    violation::Collector,
    workflow::{
        ApprovalStep, ApprovalTimeout, ConditionRule, ConditionStep, Finally, ForEachStep,
        HttpBody, HttpStep, OnError, ParallelBranch, ParallelStep, Parts, RetryPolicy, SlackStep,
        SlackTarget, SucceedStep, TransformStep, Trigger, WaitStep,
    },
};

const READS: &str = "approvals.ask.approveUrl";

fn cel(source: &str) -> Expression {
    Expression::parse(source).unwrap()
}

fn template(source: &str) -> Template {
    Template::parse(source).unwrap()
}

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

/// A step that sends the links of `ask`.
fn tell(id: &str) -> Step {
    let body = json!({
        "no": r#"${{ approvals["ask"].rejectUrl }}"#,
        "yes": "${{ approvals.ask.approveUrl }}",
    });
    let http = HttpStep {
        body: Some(HttpBody::Json(JsonTemplate::parse(&body).unwrap())),
        ..HttpStep::to(template("http://h.test/"))
    };
    step(id, Action::Http(Box::new(http)))
}

fn approval(id: &str) -> Step {
    let approval = ApprovalStep {
        message: template("sure?"),
        approvers: Vec::new(),
        timeout: None,
        on_timeout: ApprovalTimeout::Fail,
        rejected_is_output: false,
    };
    step(id, Action::Approval(approval))
}

fn other(id: &str) -> Step {
    step(id, Action::Transform(TransformStep::Expression(cel("1"))))
}

fn choose(id: &str, rules: Vec<Vec<Step>>) -> Step {
    let rules = rules.into_iter().map(|steps| ConditionRule {
        condition: cel("event.json.n == 1"),
        steps,
    });
    let condition = ConditionStep {
        rules: rules.collect(),
        otherwise: Vec::new(),
    };
    step(id, Action::Condition(condition))
}

fn beside(id: &str, branches: Vec<Vec<Step>>) -> Step {
    let branches = branches.into_iter().enumerate();
    let branches = branches.map(|(number, steps)| ParallelBranch {
        name: format!("b{number}").parse().unwrap(),
        steps,
    });
    let parallel = ParallelStep {
        branches: branches.collect(),
        fail_fast: true,
    };
    step(id, Action::Parallel(parallel))
}

fn each(id: &str, steps: Vec<Step>) -> Step {
    let each = ForEachStep {
        items: cel("[1]"),
        concurrency: 1,
        fail_fast: true,
        steps,
    };
    step(id, Action::ForEach(each))
}

fn check(steps: Vec<Step>, finally: Vec<Step>, problems: Collector) -> Vec<String> {
    let finally = (!finally.is_empty()).then(|| Finally {
        steps: finally,
        timeout: Duration::from_secs(60),
    });
    let parts = Parts {
        front: Some(Trigger::Manual.into()),
        vars: Default::default(),
        steps,
        timeout: None,
        finally,
    };
    match parts.check(problems).workflow {
        Ok(_) => Vec::new(),
        Err(problems) => problems.0.iter().map(ToString::to_string).collect(),
    }
}

fn written(steps: Vec<Step>) -> Vec<String> {
    check(steps, Vec::new(), Collector::of_written())
}

#[test]
fn those_to_come_in_the_same_list_around_it_and_beside_it_are_read() {
    let handled = Step {
        on_error: OnError::Steps(vec![tell("tell")]),
        ..other("risky")
    };
    for steps in [
        vec![tell("tell"), other("between"), approval("ask")],
        vec![choose("pick", vec![vec![tell("tell")]]), approval("ask")],
        vec![handled, approval("ask")],
        vec![beside(
            "both",
            vec![vec![tell("tell")], vec![approval("ask")]],
        )],
        vec![beside(
            "both",
            vec![vec![other("first"), approval("ask")], vec![tell("tell")]],
        )],
        vec![beside(
            "both",
            vec![
                vec![each("each", vec![tell("tell")])],
                vec![approval("ask")],
            ],
        )],
        vec![each("each", vec![tell("tell"), approval("ask")])],
        vec![each("each", vec![tell("tell")]), approval("ask")],
        vec![each(
            "outer",
            vec![each("inner", vec![tell("tell")]), approval("ask")],
        )],
    ] {
        let shown = format!("{steps:?}");
        assert_eq!(written(steps), [""; 0], "{shown}");
    }
    let finally = vec![tell("tell"), approval("ask")];
    let finally = check(vec![other("first")], finally, Collector::of_written());
    // What an approval of a finally has to do with its time is said elsewhere.
    assert!(
        !finally.iter().any(|problem| problem.contains("approvals.")),
        "{finally:?}"
    );
}

#[test]
fn those_of_other_lists_are_not() {
    let nested = "stands in a list that this step is not in; expected an approval of the same list, of one around it, or of a branch beside it";
    for (steps, field) in [
        (
            vec![tell("tell"), choose("pick", vec![vec![approval("ask")]])],
            "steps[0]",
        ),
        (
            vec![choose(
                "pick",
                vec![vec![tell("tell")], vec![approval("ask")]],
            )],
            "steps[0].condition.rules[0].steps[0]",
        ),
        (
            vec![tell("tell"), each("each", vec![approval("ask")])],
            "steps[0]",
        ),
        (
            vec![each("each", vec![approval("ask")]), tell("tell")],
            "steps[1]",
        ),
        (
            vec![tell("tell"), beside("both", vec![vec![approval("ask")]])],
            "steps[0]",
        ),
        (
            vec![beside(
                "both",
                vec![
                    vec![tell("tell")],
                    vec![each("each", vec![approval("ask")])],
                ],
            )],
            "steps[0].parallel.branches[0].steps[0]",
        ),
    ] {
        let expected = ["no", "yes"]
            .map(|name| format!("{field}.http.json.{name}: approvals.ask: step \"ask\" {nested}"));
        // Also of what is stored: there is no telling which run is meant.
        assert_eq!(written(steps.clone()), expected);
        assert_eq!(check(steps, Vec::new(), Collector::default()), expected);
    }
    let problems = check(
        vec![approval("ask")],
        vec![tell("tell")],
        Collector::default(),
    );
    assert!(
        problems[0]
            .starts_with("finally.steps[0].http.json.no: approvals.ask: step \"ask\" stands in")
    );
}

#[test]
fn those_that_have_ended_are_refused_when_it_is_written() {
    let handled = Step {
        on_error: OnError::Steps(vec![tell("tell")]),
        ..approval("ask")
    };
    for steps in [
        vec![approval("ask"), tell("tell")],
        vec![approval("ask"), each("each", vec![tell("tell")])],
        vec![beside(
            "both",
            vec![vec![approval("ask"), tell("tell")], vec![other("first")]],
        )],
        vec![handled],
    ] {
        let problems = written(steps.clone());
        assert_eq!(problems.len(), 2, "{problems:?}");
        let text = "approvals.ask: step \"ask\" has ended when this one begins: its links would decide nothing; put this step before it";
        assert!(
            problems.iter().all(|problem| problem.ends_with(text)),
            "{problems:?}"
        );
        assert_eq!(check(steps, Vec::new(), Collector::default()), [""; 0]);
    }
}

#[test]
fn what_is_no_approval_is_refused_with_what_may_be_meant() {
    for (id, other_id, expected) in [
        (
            "asks",
            "first",
            "approvals.ask: there is no step \"ask\"; did you mean \"asks\"?",
        ),
        ("decide", "first", "approvals.ask: there is no step \"ask\""),
        (
            "asked",
            "ask",
            "approvals.ask: step \"ask\" is no approval; did you mean \"asked\"?",
        ),
    ] {
        let problems = written(vec![tell("tell"), other(other_id), approval(id)]);
        let expected = ["no", "yes"].map(|name| format!("steps[0].http.json.{name}: {expected}"));
        assert_eq!(problems, expected);
    }
}

#[test]
fn a_field_that_there_is_not_is_no_link() {
    let problems = Template::read("${{ approvals.ask.aproveUrl }}")
        .unwrap_err()
        .problems;
    assert_eq!(
        problems[0].to_string(),
        "${{ approvals.ask.aproveUrl }} reads approvals.ask.aproveUrl, and there is no such field; did you mean \"approveUrl\"?; \
         expected one of approveUrl, rejectUrl"
    );
    for source in [
        "approvals",
        "approvals[vars.a].approveUrl",
        "size(approvals)",
    ] {
        let error = Expression::parse(source).unwrap_err().to_string();
        assert!(
            error.starts_with("reads approvals; expected approvals.step.approveUrl"),
            "{error}"
        );
    }
}

#[test]
fn only_what_is_sent_may_read_them() {
    let sent = SlackStep {
        target: SlackTarget::Webhook {
            url: template("https://hooks.test/"),
        },
        text: Some(template("<${{ approvals.ask.approveUrl }}|Approve>")),
        blocks: None,
        thread_ts: None,
    };
    let slack = step("slack", Action::Slack(Box::new(sent)));
    assert_eq!(written(vec![slack, approval("ask")]), [""; 0]);

    let guarded = Step {
        condition: Some(cel("approvals.ask.approveUrl != ''")),
        ..other("guarded")
    };
    let until = WaitStep::Until(template("${{ approvals.ask.approveUrl }}"));
    let rule = ConditionRule {
        condition: cel("approvals.ask.approveUrl == 'a'"),
        steps: Vec::new(),
    };
    let condition = ConditionStep {
        rules: vec![rule],
        otherwise: Vec::new(),
    };
    let asks = Action::Approval(ApprovalStep {
        message: template("by ${{ approvals.ask.approveUrl }}"),
        approvers: Vec::new(),
        timeout: None,
        on_timeout: ApprovalTimeout::Fail,
        rejected_is_output: false,
    });
    let ends = Step {
        condition: Some(cel("event.json.n == 1")),
        ..step(
            "ends",
            Action::Succeed(SucceedStep {
                output: Some(
                    JsonTemplate::parse(&json!("${{ approvals.ask.approveUrl }}")).unwrap(),
                ),
            }),
        )
    };
    let steps = vec![
        guarded,
        step(
            "a",
            Action::Transform(TransformStep::Expression(cel(READS))),
        ),
        step("b", Action::Condition(condition)),
        step("c", Action::Wait(until)),
        step("d", asks),
        ends,
        approval("ask"),
    ];
    let problems = written(steps);
    let fields: Vec<_> = problems
        .iter()
        .map(|problem| problem.split_once(": ").unwrap())
        .inspect(|(_, text)| {
            assert!(
                text.starts_with("approvals.ask: links are for what is sent"),
                "{text}"
            );
        })
        .map(|(field, _)| field)
        .collect();
    assert_eq!(
        fields,
        [
            "steps[0].if",
            "steps[1].transform.expression",
            "steps[2].condition.rules[0].if",
            "steps[3].wait.until",
            "steps[4].approval.message",
            "steps[5].succeed.output",
        ]
    );
}

#[test]
fn constants_hold_none() {
    let vars = serde_json::from_value(json!({"a": "see ${{ approvals.ask.approveUrl }}"})).unwrap();
    let problems = Workflow::new(Trigger::Manual, vars, vec![approval("ask")], None, None);
    let problems = problems.unwrap_err().to_string();
    assert!(
        problems.starts_with("vars.a: holds ${{ approvals.… }}"),
        "{problems}"
    );
}
