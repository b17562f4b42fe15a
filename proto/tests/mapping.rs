//! The JSON and YAML mapping, and what a definition's problems read like.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::num::NonZeroU32;

use signalbox_model::{ids::ProjectId, rate_limit::RateLimit};
use signalbox_proto::{
    convert::{definition, json, record},
    v1,
};

const YAML: &str = r#"
trigger:
  amazonSns:
    apiKeys: [pager]
    topicArns: ["arn:aws:sns:us-east-1:123456789012:alarms"]
vars: {desk: "https://desk.example.com", n: 3}
timeout: 60s
rateLimit: {eventsPerSecond: 50, burst: 100}
concurrency: {maxExecutions: 3}
steps:
  - id: call
    if: event.json.n > vars.n
    timeout: 5s
    retry: {maxAttempts: 5, initialBackoff: 0.5s}
    http:
      url: ${{ vars.desk }}/incidents
      headers: {X-Source: signalbox}
      json: {title: "${{ event.subject }}", n: 3}
  - id: done
    succeed: {output: "${{ steps.call.output }}"}
"#;

#[test]
fn a_definition_is_the_same_by_every_road() {
    let spec: v1::WorkflowSpec = json::from_yaml_str(YAML).unwrap();
    let again: v1::WorkflowSpec = json::from_json_str(&json::to_string_pretty(&spec)).unwrap();
    assert_eq!(spec, again);
    let project = ProjectId::default_project();
    let workflow = definition::decode(&definition::encode(&spec), &project).unwrap();
    assert_eq!(workflow.steps().len(), 2);
    assert_eq!(workflow.vars()["n"], 3);
    assert_eq!(workflow.steps()[0].retry.max_attempts, 5);
    assert_eq!(workflow.front().rate_limit, RateLimit::new(50, 100).ok());
    assert_eq!(workflow.front().executions_max, NonZeroU32::new(3));
}

#[track_caller]
fn refused(yaml: &str) -> String {
    json::from_yaml_str::<v1::WorkflowSpec>(yaml)
        .unwrap_err()
        .to_string()
}

#[test]
fn unknown_fields_are_told_with_place_and_expectation() {
    let error = refused(&YAML.replace("timeout: 5s", "timeot: 5s"));
    for part in [
        "line 13",
        "steps[0].timeot",
        "did you mean \"timeout\"?",
        "retry",
    ] {
        assert!(error.contains(part), "{part:?} in {error}");
    }
    let text = r#"{"steps": [{"id": "a", "transfrm": {}}]}"#;
    let error = json::from_json_str::<v1::WorkflowSpec>(text)
        .unwrap_err()
        .to_string();
    assert!(error.contains("did you mean \"transform\"?"), "{error}");
}

#[test]
fn all_problems_come_at_once() {
    let wrong = r#"
trigger:
  amazonSns:
    apiKeys: [Pager, projects/other/apiKeys/x]
    topicArns: [nonsense, "arn:aws:sns:us-east-1:123456789012:a.fifo"]
    minimumSignatureVersion: 3
rateLimit: {burst: -1}
concurrency: {}
steps:
  - id: Bad
    transform: {expression: "1 +"}
  - id: a
    http: {url: "https://user:pw@example.com", method: FETCH, headers: {"a b": c, Host: x}}
  - id: b
    fail: {code: bad, message: "${{ evnt }}"}
  - id: c
  - id: d
    retry: {maxAttempts: 99, multiplier: 0.5}
    slack: {webhookUrl: "https://x", text: x}
"#;
    let spec: v1::WorkflowSpec = json::from_yaml_str(wrong).unwrap();
    let violations = definition::workflow(&spec, &ProjectId::default_project()).unwrap_err();
    let mut fields: Vec<_> = violations.0.iter().map(|v| v.field.as_str()).collect();
    fields.sort_unstable();
    assert_eq!(
        fields,
        [
            "concurrency.maxExecutions",
            "rateLimit.burst",
            "rateLimit.eventsPerSecond",
            "steps[0].id",
            "steps[0].transform.expression",
            "steps[1].http.headers.Host",
            "steps[1].http.headers.a b",
            "steps[1].http.method",
            "steps[1].http.url",
            "steps[2].fail.code",
            "steps[2].fail.message",
            "steps[3]",
            "steps[4].retry.maxAttempts",
            "steps[4].retry.multiplier",
            "trigger.amazonSns.apiKeys[0]",
            "trigger.amazonSns.apiKeys[1]",
            "trigger.amazonSns.minimumSignatureVersion",
            "trigger.amazonSns.topicArns[0]",
            "trigger.amazonSns.topicArns[1]",
        ]
    );
}

/// The problems of an amazonSns trigger that says this, too.
#[track_caller]
fn problems_of_trigger(more: &str) -> Vec<String> {
    let text = format!(
        "trigger:\n  amazonSns:\n    apiKeys: [k]\n{more}steps: [{{id: a, succeed: {{}}}}]\n"
    );
    let spec: v1::WorkflowSpec = json::from_yaml_str(&text).unwrap();
    let again: v1::WorkflowSpec = json::from_json_str(&json::to_string_pretty(&spec)).unwrap();
    assert_eq!(spec, again);
    match definition::workflow(&spec, &ProjectId::default_project()) {
        Ok(_) => Vec::new(),
        Err(violations) => violations.0.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn filter_policies_are_those_of_amazon_sns() {
    use signalbox_model::{filter_policy::FilterPolicyScope, workflow::Trigger};
    let scope_of = |more: &str| {
        assert_eq!(problems_of_trigger(more), Vec::<String>::new());
        let text = format!(
            "trigger:\n  amazonSns:\n    apiKeys: [k]\n{more}steps: [{{id: a, succeed: {{}}}}]\n"
        );
        let spec: v1::WorkflowSpec = json::from_yaml_str(&text).unwrap();
        let workflow = definition::workflow(&spec, &ProjectId::default_project()).unwrap();
        let Trigger::AmazonSns(sns) = workflow.trigger() else {
            panic!("{workflow:?}");
        };
        sns.filter_policy.as_ref().map(|policy| policy.scope())
    };
    let policy = "    filterPolicy: {a: [x, 1.5, true, null, {numeric: ['>', 0]}]}\n";
    let body = "    filterPolicyScope: FILTER_POLICY_SCOPE_MESSAGE_BODY\n";
    let attributes = "    filterPolicyScope: FILTER_POLICY_SCOPE_MESSAGE_ATTRIBUTES\n";
    let both = |one: &str| scope_of(&format!("{policy}{one}"));
    assert_eq!(scope_of(policy), Some(FilterPolicyScope::MessageAttributes));
    assert_eq!(both(attributes), Some(FilterPolicyScope::MessageAttributes));
    assert_eq!(both(body), Some(FilterPolicyScope::MessageBody));
    assert_eq!(scope_of(&format!("    filterPolicy: {{}}\n{body}")), None);
    assert_eq!(scope_of(""), None);
}

#[test]
fn wrong_filter_policies_are_refused_at_their_place() {
    for (more, beginning) in [
        (
            "    filterPolicy: {a: x}\n",
            "trigger.amazonSns.filterPolicy.a: must be a list of values",
        ),
        (
            "    filterPolicy: {a: [x, {prefix: 1}]}\n",
            "trigger.amazonSns.filterPolicy.a[1].prefix: must be a text",
        ),
        (
            "    filterPolicy: {a: {b: [x]}}\n",
            "trigger.amazonSns.filterPolicy.a: is an object, and attributes hold no keys",
        ),
        (
            "    filterPolicy: {a: [x]}\n    filterPolicyScope: 7\n",
            "trigger.amazonSns.filterPolicyScope: 7 is no such scope",
        ),
        (
            "    filterPolicyScope: FILTER_POLICY_SCOPE_MESSAGE_BODY\n",
            "trigger.amazonSns.filterPolicyScope: is set, and there is no filterPolicy",
        ),
        (
            "    filterPolicy: {a: [x]}\n    allowRawDelivery: true\n",
            "trigger.amazonSns.filterPolicy: looks at attributes, which raw messages come without",
        ),
    ] {
        let problems = problems_of_trigger(more);
        assert!(
            matches!(&problems[..], [one] if one.starts_with(beginning)),
            "{more}: {problems:?}"
        );
    }
}

#[track_caller]
fn problems_of(steps: &str) -> Vec<String> {
    let text = format!("trigger: {{manual: {{}}}}\nvars: {{v: 1}}\nsteps:\n{steps}");
    let spec: v1::WorkflowSpec = json::from_yaml_str(&text).unwrap();
    match definition::workflow(&spec, &ProjectId::default_project()) {
        Ok(_) => Vec::new(),
        Err(violations) => violations.0.iter().map(ToString::to_string).collect(),
    }
}

#[test]
fn a_wrong_step_neither_moves_nor_hides_the_others() {
    let found = problems_of(
        r#"
  - id: a
    http: {url: "ftp://x"}
  - id: b
    transform: {expression: "steps.a.output.status + steps.c.output"}
  - id: c
    condition:
      rules:
        - if: "1 +"
          steps: [{id: inner, succeed: {}}]
  - id: b
    transform: {expression: steps.inner.output}
"#,
    );
    let fields: Vec<_> = found
        .iter()
        .map(|p| p.split_once(": ").unwrap().0)
        .collect();
    assert_eq!(
        fields,
        [
            "steps[0].http.url",
            "steps[2].condition.rules[0].if",
            "steps[1].transform.expression",
            "steps[3].id",
        ],
        "{found:?}"
    );
}

#[test]
fn urls_are_checked_as_far_as_they_are_known() {
    let url = |url: &str| problems_of(&format!("  - id: a\n    http: {{url: {url:?}}}\n"));
    for good in [
        "https://example.com/a?b=c",
        "HTTPS://example.com",
        "${{ event.json.url }}",
        "${{ event.json.base }}/path",
        "http${{ event.json.s }}://example.com",
        "https://${{ event.json.host }}:${{ event.json.port }}/x",
        "https://example.com/${{ event.json.mail }}/a@b",
        "http://[::1]:8080/",
    ] {
        assert_eq!(url(good), Vec::<String>::new(), "{good}");
    }
    for (bad, expected) in [
        ("", "is missing"),
        ("example.com", "expected http://"),
        ("ftp://${{ event.json.host }}", "expected http://"),
        ("file:///etc/passwd", "expected http://"),
        ("https://", "is no URL"),
        ("https://exa mple.com/", "is no URL"),
        ("https://u:p@example.com/", "user information"),
        ("https://u@example.com/", "user information"),
        (
            "https://${{ vars.v }}:${{ vars.v }}@example.com/",
            "user information",
        ),
    ] {
        let found = url(bad);
        assert_eq!(found.len(), 1, "{bad}: {found:?}");
        assert!(found[0].contains(expected), "{bad}: {found:?}");
    }
}

#[test]
fn headers_are_those_that_http_knows_and_we_do_not_set() {
    for (headers, expected) in [
        ("{X-A: '1', x-a: '2'}", "is there twice"),
        ("{Transfer-Encoding: chunked}", "set by Signalbox"),
        ("{X-A: \"a\\nb\"}", "control characters"),
        ("{'a:b': x}", "is not a header name"),
    ] {
        let found = problems_of(&format!(
            "  - id: a\n    http: {{url: 'http://x', headers: {headers}}}\n"
        ));
        assert_eq!(found.len(), 1, "{headers}: {found:?}");
        assert!(found[0].contains(expected), "{headers}: {found:?}");
    }
}

#[test]
fn bounds_are_told() {
    for (step, expected) in [
        (
            "{id: a, timeout: 0s, http: {url: 'http://x'}}",
            "steps[0].timeout: must be more than 0",
        ),
        (
            "{id: a, timeout: 3601s, http: {url: 'http://x'}}",
            "at most 3600 seconds",
        ),
        (
            "{id: a, timeout: -1s, http: {url: 'http://x'}}",
            "must not be negative",
        ),
        (
            "{id: a, retry: {maxAttempts: 21}, http: {url: 'http://x'}}",
            "expected 1 to 20",
        ),
        (
            "{id: a, retry: {maxBackoff: 3601s}, http: {url: 'http://x'}}",
            "steps[0].retry.maxBackoff",
        ),
        (
            "{id: a, fail: {code: lower, message: x}}",
            "[A-Z][A-Z0-9_]{0,63}",
        ),
        ("{id: a, fail: {}}", "steps[0].fail.message: is missing"),
        (
            "{id: a, transform: {}}",
            "expected expression, template or jsonPath",
        ),
        (
            "{id: a, transform: {jsonPath: {}}}",
            "steps[0].transform.jsonPath.path: is empty",
        ),
        (
            "{id: a, transform: {jsonPath: {path: '$.a['}}}",
            "steps[0].transform.jsonPath.path: is no JSONPath query (RFC 9535): at position",
        ),
        (
            "{id: a, transform: {jsonPath: {path: '$', from: steps.b.output}}}",
            "steps[0].transform.jsonPath.from: steps.b: there is no step",
        ),
        (
            "{id: a, if: event.message, succeed: {}}",
            "steps[0].if: gives string; expected true or false",
        ),
        (
            "{id: a, condition: {rules: [{if: 'size(event.message)', steps: []}]}}",
            "steps[0].condition.rules[0].if: gives int; expected true or false",
        ),
        (
            "{id: a, forEach: {items: event.message, steps: [{id: b, succeed: {}}]}}",
            "steps[0].forEach.items: gives string; expected a list",
        ),
        (
            "{id: a, succeed: {output: {x: [1, '${{ event.mesage }}']}}}",
            "steps[0].succeed.output.x[1]: ${{ event.mesage }} reads event.mesage, and there is no such field; did you mean \"message\"?",
        ),
        (
            "{id: a, succeed: {output: {x: ['${{ steps.b.output }}']}}}",
            "steps[0].succeed.output.x[0]: steps.b: there is no step \"b\"",
        ),
        ("{id: a, wait: {}}", "expected duration, until or signal"),
        (
            "{id: a, wait: {signal: {}}}",
            "steps[0].wait.signal.name: is missing",
        ),
        (
            "{id: a, wait: {signal: {name: a b}}}",
            "steps[0].wait.signal.name: \"a b\" is not a signal's name",
        ),
        (
            "{id: a, wait: {signal: {name: x, timeout: 2592001s}}}",
            "steps[0].wait.signal.timeout: must be more than 0 and at most 2592000 seconds",
        ),
        (
            "{id: a, wait: {signal: {name: x, onTimeout: approve}}}",
            "steps[0].wait.signal.onTimeout: \"approve\" is none of fail, continue",
        ),
        (
            "{id: a, approval: {}}",
            "steps[0].approval.message: is missing",
        ),
        (
            "{id: a, approval: {message: x, onTimeout: Approve}}",
            "steps[0].approval.onTimeout: \"Approve\" is none of fail, approve, reject",
        ),
        (
            "{id: a, approval: {message: x, approvers: ['']}}",
            "steps[0].approval.approvers[0]: has 0 characters; expected 1 to 128",
        ),
        (
            "{id: a, timeout: 1s, approval: {message: x}}",
            "steps[0].timeout: is for steps that have attempts",
        ),
        (
            "{id: a, wait: {duration: 2592001s}}",
            "at most 2592000 seconds",
        ),
        (
            "{id: a, wait: {until: tomorrow}}",
            "\"tomorrow\" is no time such as",
        ),
        (
            "{id: a, timeout: 1s, wait: {duration: 1s}}",
            "steps[0].timeout: is for steps that have attempts",
        ),
        (
            "{id: a, retry: {}, parallel: {branches: [{name: a, steps: [{id: b, succeed: {}}]}]}}",
            "steps[0].retry: is for steps that have attempts",
        ),
        (
            "{id: a, totalTimeout: 2592001s, wait: {duration: 1s}}",
            "steps[0].totalTimeout: must be more than 0",
        ),
        (
            "{id: a, retry: {retryOn: [TIMEOUT, 5xx, 600]}, http: {url: 'http://x'}}",
            "steps[0].retry.retryOn[2]: \"600\" is no error to retry on",
        ),
        (
            "{id: a, onError: {continue: true, steps: [{id: b, succeed: {}}]}, wait: {duration: 1s}}",
            "steps[0].onError: holds both",
        ),
        (
            "{id: a, parallel: {branches: [{steps: [{id: b, succeed: {}}]}]}}",
            "steps[0].parallel.branches[0].name: is missing",
        ),
        (
            "{id: a, forEach: {items: '[1]', concurrency: 101, steps: [{id: b, succeed: {}}]}}",
            "steps[0].forEach.concurrency: is 101; expected 1 to 100",
        ),
        (
            "{id: a, forEach: {steps: [{id: b, transform: {expression: item}}]}}",
            "steps[0].forEach.items: is empty",
        ),
    ] {
        let found = problems_of(&format!("  - {step}\n"));
        assert_eq!(found.len(), 1, "{step}: {found:?}");
        assert!(found[0].contains(expected), "{step}: {found:?}");
    }
    let deep = format!("{}{}", "[".repeat(70), "]".repeat(70));
    let deep = json::from_yaml_str::<v1::WorkflowSpec>(&format!("vars: {{a: {deep}}}\n"));
    assert_eq!(
        deep.unwrap_err().to_string(),
        "line 1, column 11: vars.a: is nested too deep"
    );
}

#[test]
fn what_can_never_run_is_told() {
    let ends = "condition: {rules: [{if: 'event.json.a', steps: [{id: b, succeed: {}}]}], otherwise: [{id: c, fail: {message: m}}]}";
    let after = "{id: z, succeed: {}}";
    let never = problems_of(&format!("  - {{id: a, {ends}}}\n  - {after}\n"));
    assert_eq!(
        never,
        ["steps[1]: step \"z\" can never run: step \"a\" before it lets nothing follow"]
    );
    // It can where the condition is skipped, or has a way that goes on.
    for goes_on in [
        format!("{{id: a, if: 'event.json.b', {ends}}}"),
        format!(
            "{{id: a, {}}}",
            ends.replace("id: c", "id: c, if: 'event.json.c'")
        ),
        format!(
            "{{id: a, {}}}",
            ends.replace(", otherwise: [{id: c, fail: {message: m}}]", "")
        ),
    ] {
        let text = format!("  - {goes_on}\n  - {after}\n");
        assert_eq!(problems_of(&text), Vec::<String>::new(), "{text}");
    }
}

#[test]
fn an_equal_definition_is_an_equal_encoding() {
    let headers: String = (0..50).map(|n| format!("X-{n}: a, ")).collect();
    let text = format!("steps: [{{id: a, http: {{headers: {{{headers}}}}}}}]\n");
    let read = || json::from_yaml_str::<v1::WorkflowSpec>(&text).unwrap();
    assert_eq!(definition::encode(&read()), definition::encode(&read()));
}

#[test]
fn values_of_keys_and_secrets_are_not_in_debug_output() {
    let response = v1::CreateApiKeyResponse {
        api_key: None,
        value: "sbk_value".into(),
    };
    let secret = v1::Secret {
        value: "hunter2".into(),
        ..Default::default()
    };
    let shown = format!("{response:?} {secret:?}");
    assert!(
        !shown.contains("sbk_value") && !shown.contains("hunter2"),
        "{shown}"
    );
}

#[test]
fn records_round_trip() {
    use signalbox_model::{
        child::{ChildEnd, Parent},
        event::{Event, EventScope, SignatureProof, TriggerKind},
        execution::{ExecutionState, Fact, Failure, JsonText, StepState},
        record::{
            Accepted, Certificate, Delivery, Record, RecordBody, SequencedRecord,
            SubscriptionChange, SubscriptionState, Verdict,
        },
        signal::{Signal, SignalKind},
    };
    let execution: signalbox_model::ids::ExecutionName =
        "projects/default/executions/x1".parse().unwrap();
    let workflow: signalbox_model::ids::WorkflowName =
        "projects/default/workflows/w".parse().unwrap();
    let time: jiff::Timestamp = "2026-11-24T10:00:00.123456789Z".parse().unwrap();
    let step: signalbox_model::ids::StepInstance = "a[1][0]".parse().unwrap();
    let child: signalbox_model::ids::ExecutionName =
        "projects/default/executions/x2".parse().unwrap();
    let child_step: signalbox_model::ids::StepInstance = "each[2]".parse().unwrap();
    let json = |text: &str| JsonText::try_from(text.to_owned()).unwrap();
    let fact = |fact| RecordBody::Execution {
        execution: execution.clone(),
        fact,
    };
    let bodies = vec![
        RecordBody::Accepted(Box::new(Accepted {
            execution: execution.clone(),
            workflow: workflow.clone(),
            version: 3,
            event: Event {
                trigger: TriggerKind::AmazonSns,
                api_key: Some("projects/default/apiKeys/k".parse().unwrap()),
                scope: EventScope {
                    message: "m ☃".into(),
                    subject: None,
                    attributes: [("a".to_owned(), serde_json::json!([1, "x"]))].into(),
                    topic_arn: Some("arn:t".into()),
                    message_id: "id".into(),
                    timestamp: "2026-11-24T10:00:00Z".into(),
                },
                body: bytes::Bytes::from_static(b"{}"),
                content_type: Some("text/plain".into()),
                source_address: Some("127.0.0.1".into()),
                signature: Some(SignatureProof {
                    version: 2,
                    signing_cert_url: "https://x".into(),
                    certificate_sha256: "ab".into(),
                }),
                received_at: time,
            },
            parent: Some(Box::new(Parent {
                execution: child.clone(),
                step: child_step.clone(),
                attempt: 3,
                waits: true,
                depth: 2,
            })),
        })),
        fact(Fact::Started),
        fact(Fact::StepStarted {
            step: step.clone(),
            kind: "http".into(),
            input: json("9007199254740993"),
        }),
        fact(Fact::AttemptStarted {
            step: step.clone(),
            number: 2,
            repeated: true,
        }),
        fact(Fact::AttemptFailed {
            step: step.clone(),
            number: 1,
            error: Failure::new("TIMEOUT", "late"),
            retry_at: time,
        }),
        fact(Fact::StepFinished {
            step: step.clone(),
            state: StepState::Failed,
            output: None,
            error: Some(Failure::new("X", "y")),
        }),
        fact(Fact::SignalReceived(Box::new(Signal {
            id: "s1".parse().unwrap(),
            kind: SignalKind::Named {
                name: "order:1.paid".parse().unwrap(),
                payload: json("3"),
            },
            by: "ann".into(),
            at: time,
        }))),
        fact(Fact::StepKept {
            step,
            kind: "http".into(),
            input: json("null"),
            state: StepState::Failed,
            output: Some(json("[null]")),
            error: Some(Failure::new("HTTP_STATUS", "no")),
        }),
        fact(Fact::ChildStarted {
            step: child_step.clone(),
            number: 2,
            child: child.clone(),
            waits: true,
        }),
        fact(Fact::ChildEnded(Box::new(ChildEnd {
            step: child_step.clone(),
            number: 2,
            child: child.clone(),
            state: ExecutionState::Failed,
            output: Some(json("[1]")),
            error: Some(Failure::new("X", "y")),
        }))),
        fact(Fact::Abandoned),
        fact(Fact::Cancelling),
        fact(Fact::Ending {
            state: ExecutionState::TimedOut,
            output: None,
            error: Some(Failure::new("X", "y")),
        }),
        fact(Fact::Finished {
            state: ExecutionState::Succeeded,
            output: Some(json("{\"a\":1}")),
            error: None,
        }),
        RecordBody::Delivery(Box::new(Delivery {
            id: "d1".parse().unwrap(),
            workflow: workflow.clone(),
            verdict: Verdict::Rejected,
            reason: "signature-invalid".into(),
            detail: "d".into(),
            http_status: 403,
            message_type: "Notification".into(),
            message_id: "m".into(),
            topic_arn: "t".into(),
            source_address: "s".into(),
            execution: None,
        })),
        RecordBody::Subscription(Box::new(SubscriptionChange {
            workflow,
            topic_arn: "t".into(),
            subscription_arn: Some("t:1".into()),
            state: SubscriptionState::Confirmed,
            confirm_attempts: 1,
            last_error: None,
        })),
        RecordBody::Certificate(Certificate {
            sha256: "ab".into(),
            pem: "PEM".into(),
        }),
    ];
    for (sequence, body) in (1..).zip(bodies) {
        let sequenced = SequencedRecord {
            sequence,
            record: Record {
                time,
                traceparent: Some("00-1-2-01".into()),
                body,
            },
        };
        let again = record::from_wire(record::to_wire(sequenced.clone())).unwrap();
        assert_eq!(again, sequenced);
    }
}

/// PostgreSQL's text has no U+0000, and whoever sends an event decides what a failure quotes of it.
#[test]
fn texts_of_records_hold_what_every_database_keeps() {
    use signalbox_proto::dataplane::v1 as wire;
    let finished = wire::ExecutionFinished {
        state: v1::ExecutionState::Failed.into(),
        error: Some(v1::ExecutionError {
            code: "X\0".into(),
            message: "a\0b\0".into(),
        }),
        ..Default::default()
    };
    let fact = record::fact_from_wire(wire::execution_fact::Fact::Finished(finished)).unwrap();
    let signalbox_model::execution::Fact::Finished { error, .. } = fact else {
        panic!("{fact:?}")
    };
    assert_eq!(error.unwrap().to_string(), "X\u{fffd}: a\u{fffd}b\u{fffd}");
}

#[test]
fn control_flow_is_read_as_it_is_written() {
    use signalbox_model::workflow::{Action, OnError, RetryOn, WaitStep};
    use std::time::Duration;
    let text = r#"
trigger: {manual: {}}
steps:
  - id: call
    totalTimeout: 60s
    retry: {retryOn: [429, CONNECTION]}
    onError: {continue: true}
    http: {url: "https://example.com/"}
  - id: both
    parallel:
      failFast: false
      branches:
        - name: left
          steps: [{id: pause, wait: {duration: 1.5s}}]
        - name: right
          steps:
            - id: each
              onError: {steps: [{id: told, transform: {expression: steps.each.error.code}}]}
              forEach:
                items: event.json.list
                steps: [{id: until, wait: {until: "${{ item.at }}"}}]
finally:
  steps: [{id: tidy, transform: {expression: execution.state}}]
"#;
    let spec: v1::WorkflowSpec = json::from_yaml_str(text).unwrap();
    // It goes over the wire and comes back.
    let workflow =
        definition::decode(&definition::encode(&spec), &ProjectId::default_project()).unwrap();
    let step = |id: &str| workflow.step(&id.parse().unwrap()).unwrap();
    let call = step("call");
    assert_eq!(call.total_timeout, Some(Duration::from_secs(60)));
    assert_eq!(
        call.retry.retry_on,
        [
            RetryOn::Status("429".parse().unwrap()),
            RetryOn::Code("CONNECTION")
        ]
    );
    assert!(matches!(call.on_error, OnError::Continue));
    let Action::Parallel(parallel) = &step("both").action else {
        panic!()
    };
    assert!(!parallel.fail_fast);
    assert_eq!(parallel.branches[1].name.as_str(), "right");
    let Action::ForEach(each) = &step("each").action else {
        panic!()
    };
    assert_eq!((each.concurrency, each.fail_fast), (10, true));
    assert_eq!(step("each").handler().unwrap()[0].id.as_str(), "told");
    let pause = Duration::from_millis(1500);
    assert!(
        matches!(step("pause").action, Action::Wait(WaitStep::Duration(wait)) if wait == pause)
    );
    assert!(matches!(
        step("until").action,
        Action::Wait(WaitStep::Until(_))
    ));
    let finally = workflow.finally().unwrap();
    assert_eq!(finally.timeout, Duration::from_secs(300));
    assert_eq!(finally.steps[0].id.as_str(), "tidy");
}
