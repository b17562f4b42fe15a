//! What the documentation shows is valid.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{fs, path::Path};

use serde_json::{Value, json};
use signalbox_model::{
    event::EventScope,
    expression::Scope,
    ids::ProjectId,
    workflow::{Action, TransformStep},
};
use signalbox_proto::{
    convert::{definition, yaml},
    v1,
};

fn check(what: &str, spec: &v1::WorkflowSpec) {
    if let Err(violations) = definition::workflow(spec, &ProjectId::default_project()) {
        panic!("{what}: {violations}");
    }
}

#[test]
fn the_examples_are_workflows() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples");
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let document = yaml::read::<v1::Workflow>(&text);
        let document = document.unwrap_or_else(|wrong| panic!("{}: {wrong:?}", path.display()));
        check(&path.display().to_string(), &document.message.spec.unwrap());
        count += 1;
    }
    assert!(count >= 2);
}

/// The steps that the guide shows, each block within a workflow that has what they read.
#[test]
fn the_guide_shows_steps_that_are_valid() {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/workflows.md");
    let guide = fs::read_to_string(guide).unwrap();
    let mut count = 0;
    for block in guide.split("```yaml\n").skip(1) {
        let block = block.split("```").next().unwrap();
        if !block.starts_with("    - ") {
            continue;
        }
        let vars = "vars: {desk: 'https://d', pager: 'https://p', billing: 'https://b', shop: 'https://s', token: t, ca: c, slackToken: x, slackWebhook: 'https://h'}";
        let text =
            format!("name: w\nspec:\n  trigger: {{manual: {{}}}}\n  {vars}\n  steps:\n{block}");
        let document = yaml::read::<v1::Workflow>(&text);
        let document = document.unwrap_or_else(|wrong| panic!("{block}: {wrong:?}"));
        check(block, &document.message.spec.unwrap());
        count += 1;
    }
    assert!(count >= 3, "{count}");
}

/// What the example's transform `step` gives for an event with this message.
fn transformed(example: &str, step: &str, message: &Value) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples");
    let text = fs::read_to_string(path.join(example)).unwrap();
    let document = yaml::read::<v1::Workflow>(&text).unwrap();
    let project = ProjectId::default_project();
    let workflow = definition::workflow(&document.message.spec.unwrap(), &project).unwrap();
    let event = EventScope {
        message: message.to_string(),
        ..EventScope::unread()
    };
    let vars = serde_json::to_value(workflow.vars()).unwrap();
    let scope = Scope::new(&event.to_value(), &vars, &Value::Null);
    match &workflow.step(&step.parse().unwrap()).unwrap().action {
        Action::Transform(TransformStep::Template(template)) => template.render(&scope).unwrap(),
        Action::Transform(TransformStep::JsonPath(query)) => query.evaluate(&scope).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// <https://docs.aws.amazon.com/ses/latest/dg/notification-examples.html>.
#[test]
fn bounces_give_their_addresses() {
    let bounce = json!({
        "notificationType": "Bounce",
        "bounce": {
            "bounceType": "Permanent",
            "bouncedRecipients": [
                {"emailAddress": "jane@example.com", "status": "5.1.1", "action": "failed"},
                {"emailAddress": "richard@example.com"}
            ],
            "timestamp": "2026-01-27T14:59:38.237Z"
        },
        "mail": {"messageId": "00000138111222aa-33322211-cccc-cccc-cccc-ddddaaaa0680-000000"}
    });
    assert_eq!(
        transformed("ses-bounces.yaml", "addresses", &bounce),
        json!(["jane@example.com", "richard@example.com"])
    );
}

/// <https://docs.aws.amazon.com/guardduty/latest/ug/guardduty_findings_eventbridge.html>.
#[test]
fn findings_are_read_with_an_instance_and_without() {
    let finding = |resource: Value| {
        json!({
            "source": "aws.guardduty",
            "account": "111122223333",
            "region": "us-east-1",
            "time": "2026-11-24T10:00:00Z",
            "detail": {
                "id": "sample-finding",
                "type": "UnauthorizedAccess:EC2/SSHBruteForce",
                "severity": 7.5,
                "title": "SSH brute force",
                "resource": resource
            }
        })
    };
    let read = |resource| transformed("guardduty-triage.yaml", "finding", &finding(resource));
    let mut expected = json!({
        "id": "sample-finding",
        "type": "UnauthorizedAccess:EC2/SSHBruteForce",
        "purpose": "UnauthorizedAccess",
        "severity": 7.5,
        "instance": "i-99999999",
        "where": "111122223333/us-east-1",
        "when": "24.11.2026 11:00"
    });
    let instance = json!({"instanceDetails": {"instanceId": "i-99999999"}});
    assert_eq!(read(instance), expected);
    expected["instance"] = Value::Null;
    assert_eq!(read(json!({"resourceType": "AccessKey"})), expected);
}

/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html>.
#[test]
fn objects_that_were_made_are_told_from_those_that_were_removed() {
    let record = |event: &str, key: &str| {
        json!({
            "eventSource": "aws:s3",
            "eventName": event,
            "s3": {"bucket": {"name": "uploads"}, "object": {"key": key, "size": 1024}}
        })
    };
    let event = json!({"Records": [
        record("ObjectCreated:Put", "a.png"),
        record("ObjectRemoved:Delete", "b.png"),
        record("ObjectCreated:CompleteMultipartUpload", "c.png"),
    ]});
    let made = transformed("s3-to-lambda.yaml", "made", &event);
    let keys: Vec<&Value> = made
        .as_array()
        .unwrap()
        .iter()
        .map(|of| &of["object"]["key"])
        .collect();
    assert_eq!(keys, [&json!("a.png"), &json!("c.png")]);
}
