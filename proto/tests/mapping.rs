//! The JSON and YAML mapping, and what a definition's problems read like.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use signalbox_model::ids::ProjectId;
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
        "line 9",
        "steps[0]",
        "\"timeot\"",
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
fn wrong_types_and_durations_are_told_with_place() {
    let error = refused(&YAML.replace("timeout: 60s", "timeout: soon"));
    assert!(
        error.contains("line 7") && error.contains("timeout"),
        "{error}"
    );
    let error = refused(&YAML.replace("steps:\n", "steps: 5\nx:\n"));
    assert!(error.contains("steps"), "{error}");
    assert!(
        refused("a: b\n---\nc: d\n").contains("document") || !refused("a: b\n---\n").is_empty()
    );
}

#[test]
fn all_problems_come_at_once() {
    let wrong = r#"
trigger:
  amazonSns:
    apiKeys: [Pager, projects/other/apiKeys/x]
    topicArns: [nonsense, "arn:aws:sns:us-east-1:123456789012:a.fifo"]
    minimumSignatureVersion: 3
steps:
  - id: Bad
    transform: {expression: "1 +"}
  - id: a
    http: {url: "https://user:pw@example.com", method: FETCH, headers: {"a b": c, Host: x}}
  - id: b
    retry: {maxAttempts: 99, multiplier: 0.5}
    fail: {code: bad, message: "${{ evnt }}"}
  - id: c
"#;
    let spec: v1::WorkflowSpec = json::from_yaml_str(wrong).unwrap();
    let violations = definition::workflow(&spec, &ProjectId::default_project()).unwrap_err();
    let mut fields: Vec<_> = violations.0.iter().map(|v| v.field.as_str()).collect();
    fields.sort_unstable();
    assert_eq!(
        fields,
        [
            "steps[0].id",
            "steps[0].transform.expression",
            "steps[1].http.headers.Host",
            "steps[1].http.headers.a b",
            "steps[1].http.method",
            "steps[1].http.url",
            "steps[2].fail.code",
            "steps[2].fail.message",
            "steps[2].retry.maxAttempts",
            "steps[2].retry.multiplier",
            "steps[3]",
            "trigger.amazonSns.minimumSignatureVersion",
            "trigger.amazonSns.topicArns[0]",
            "trigger.amazonSns.topicArns[1]",
        ]
    );
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
        event::{Event, EventScope, SignatureProof, TriggerKind},
        execution::{ExecutionState, Fact, Failure, JsonText, StepState},
        record::{
            Accepted, Certificate, Delivery, Record, RecordBody, SequencedRecord,
            SubscriptionChange, SubscriptionState, Verdict,
        },
    };
    let execution: signalbox_model::ids::ExecutionName =
        "projects/default/executions/x1".parse().unwrap();
    let workflow: signalbox_model::ids::WorkflowName =
        "projects/default/workflows/w".parse().unwrap();
    let time: jiff::Timestamp = "2026-11-24T10:00:00.123456789Z".parse().unwrap();
    let step: signalbox_model::ids::StepId = "a".parse().unwrap();
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
            step,
            state: StepState::Failed,
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
