//! Examples that call servers by HTTP.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicBool, Ordering},
};

use serde_json::{Value, json};
use signalbox_proto::{
    convert::definition::from_json,
    v1::{ExecutionState, RunWorkflowRequest, StepState},
};
use signalbox_tests::target::{Reply, Target};

use super::{Stage, body, leading_to, requests, states, text};

/// The first topic whose subscription is confirmed binds.
pub(super) async fn hello(stage: &Stage) {
    const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:greetings";
    let example = stage.apply("hello", "pager", &text("hello")).await;
    example.subscribe(TOPIC).await;
    for (subject, count) in [(Some("Hi"), 1), (None, 0)] {
        let execution = example.publish(TOPIC, subject, "world").await;
        let (execution, output) = stage.succeeded(&execution).await;
        assert_eq!(output, json!({"text": "Hello, world", "topic": TOPIC}));
        let found = states(&execution, "withSubject");
        assert_eq!(found, vec![StepState::Succeeded; count], "{execution:?}");
    }
}

/// One of three hosts is not there, one is busy at first.
pub(super) async fn fan_out(stage: &Stage) {
    const TOPIC: &str = "arn:aws:sns:eu-central-1:123456789012:hosts";
    let was_busy = AtomicBool::new(false);
    let target = Target::start(move |_, call| match call.target.as_str() {
        "/restart/hosts/db1/restart" => 404,
        "/restart/hosts/web2/restart" if !was_busy.swap(true, Ordering::Relaxed) => 503,
        _ => 200,
    })
    .await;
    let yaml = leading_to(text("fan-out"), &target, &["restart", "desk"]);
    let example = stage.apply("fan-out", "pager", &yaml).await;
    let message = json!({"AlarmName": "hosts", "hosts": ["web1", "db1", "web2"]});
    example.subscribe(TOPIC).await;
    let execution = example
        .publish(TOPIC, Some("ALARM"), &message.to_string())
        .await;
    let (execution, output) = stage.succeeded(&execution).await;
    assert_eq!(output, json!({"hosts": ["web1", null, "web2"]}));
    assert_eq!(states(&execution, "settle").len(), 2, "{execution:?}");

    let restarts: Vec<_> = target
        .calls()
        .into_iter()
        .filter(|call| call.target.starts_with("/restart"))
        .collect();
    assert_eq!(restarts.len(), 4, "{restarts:?}");
    let keys: BTreeSet<_> = restarts
        .iter()
        .map(|call| (&call.target, &call.headers["idempotency-key"]))
        .collect();
    assert_eq!(
        keys.len(),
        3,
        "both attempts at web2 have one key: {restarts:?}"
    );
    let tickets = requests(&target, "/desk/tickets");
    let ticket: Value = serde_json::from_str(&tickets.first().unwrap().2).unwrap();
    assert_eq!(ticket["hosts"], json!(["web1", null, "web2"]));
    assert!(ticket["why"].is_string(), "{ticket}");
    let reports = requests(&target, "/desk/reports");
    let report: Value = serde_json::from_str(&reports.first().unwrap().2).unwrap();
    assert_eq!(report, json!({"state": "SUCCEEDED", "error": null}));
    assert_eq!((tickets.len(), reports.len()), (1, 1));
}

/// <https://docs.aws.amazon.com/guardduty/latest/ug/guardduty_findings_eventbridge.html>.
pub(super) fn finding(id: &str, severity: f64, resource: &Value) -> Value {
    json!({
        "version": "0",
        "id": "c8c4daa7-a20c-2f03-0070-b7393dd542ad",
        "detail-type": "GuardDuty Finding",
        "source": "aws.guardduty",
        "account": "123456789012",
        "time": "2026-11-24T10:00:00Z",
        "region": "eu-central-1",
        "resources": [],
        "detail": {
            "schemaVersion": "2.0",
            "accountId": "123456789012",
            "region": "eu-central-1",
            "partition": "aws",
            "id": id,
            "arn": format!("arn:aws:guardduty:eu-central-1:123456789012:detector/123456789012/finding/{id}"),
            "type": "UnauthorizedAccess:EC2/SSHBruteForce",
            "resource": resource,
            "service": {"serviceName": "guardduty", "detectorId": "3caf4e0aaa46ce4ccbcef949a8785353", "archived": false, "count": 5},
            "severity": severity,
            "createdAt": "2026-11-24T09:58:00.000Z",
            "updatedAt": "2026-11-24T09:58:00.000Z",
            "title": "SSH brute force attacks against an instance.",
            "description": "198.51.100.0 is performing SSH brute force attacks."
        }
    })
}

pub(super) async fn guardduty_triage(stage: &Stage) {
    const TOPIC: &str = "arn:aws:sns:eu-central-1:123456789012:all-findings";
    let target = Target::start(|_, _| 200).await;
    let yaml = leading_to(text("guardduty-triage"), &target, &["pager", "desk"]);
    let example = stage.apply("guardduty-triage", "security", &yaml).await;
    example.subscribe(TOPIC).await;
    let instance =
        json!({"resourceType": "Instance", "instanceDetails": {"instanceId": "i-99999999"}});
    let key = json!({"resourceType": "AccessKey"});
    let mut ended = Vec::new();
    for (id, severity, resource) in [
        ("a/1", 8.0, &instance),
        ("a/2", 5.0, &key),
        ("a/3", 2.0, &key),
    ] {
        let message = finding(id, severity, resource).to_string();
        ended.push(example.publish(TOPIC, None, &message).await);
    }
    for execution in &ended {
        stage.succeeded(execution).await;
    }
    let read = |id: &str, severity: f64, instance: Value| {
        json!({
            "id": id,
            "type": "UnauthorizedAccess:EC2/SSHBruteForce",
            "purpose": "UnauthorizedAccess",
            "severity": severity,
            "instance": instance,
            "where": "123456789012/eu-central-1",
            "when": "24.11.2026 11:00",
        })
    };
    let found: Vec<_> = target
        .calls()
        .iter()
        .map(|call| (call.method.clone(), call.target.clone(), body(call)))
        .collect();
    let severe = read("a/1", 8.0, json!("i-99999999"));
    let title = "SSH brute force attacks against an instance.";
    for (method, path, json) in [
        (
            "POST",
            "/pager/incidents",
            json!({"title": title, "finding": severe}),
        ),
        (
            "POST",
            "/desk/tickets",
            json!({"priority": "urgent", "finding": severe}),
        ),
        (
            "POST",
            "/desk/tickets",
            json!({"priority": "normal", "finding": read("a/2", 5.0, Value::Null)}),
        ),
        (
            "PUT",
            "/desk/reports/weekly/a%2F3",
            read("a/3", 2.0, Value::Null),
        ),
    ] {
        let wanted = (method.to_owned(), path.to_owned(), json);
        assert!(found.contains(&wanted), "{wanted:?} is not in {found:?}");
    }
    assert_eq!(found.len(), 4, "{found:?}");
}

/// <https://docs.aws.amazon.com/ses/latest/dg/notification-examples.html>.
fn bounce(kind: &str) -> Value {
    json!({
        "notificationType": "Bounce",
        "bounce": {
            "bounceType": kind,
            "reportingMTA": "dns; email.example.com",
            "bouncedRecipients": [
                {
                    "emailAddress": "Jane@example.com", "status": "5.1.1", "action": "failed",
                    "diagnosticCode": "smtp; 550 5.1.1 <jane@example.com>... User",
                },
                {"emailAddress": "richard@example.com"},
            ],
            "bounceSubType": "General",
            "timestamp": "2026-01-27T14:59:38.237Z",
            "feedbackId": "00000138111222aa-33322211-cccc-cccc-cccc-ddddaaaa068a-000000",
            "remoteMtaIp": "127.0.2.0",
        },
        "mail": {
            "timestamp": "2026-01-27T14:59:38.237Z",
            "source": "john@example.com",
            "sourceArn": "arn:aws:ses:us-east-1:888888888888:identity/example.com",
            "sendingAccountId": "123456789012",
            "messageId": "00000138111222aa-33322211-cccc-cccc-cccc-ddddaaaa0680-000000",
            "destination": ["jane@example.com", "mary@example.com", "richard@example.com"],
        },
    })
}

/// SHA-256 of jane@example.com, and of richard@example.com.
const JANE: &str = "8c87b489ce35cf2e2f39f80e282cb2e804932a56a213983eeeb428407d43b52d";
const RICHARD: &str = "11dab2f998ab44d06004ed64038fdfd241b2a3ff4598439ba425efc4efff1325";

pub(super) async fn ses_bounces(stage: &Stage) {
    const TOPIC: &str = "arn:aws:sns:us-east-1:123456789012:mail";
    // One of them cannot be struck off.
    let target = Target::start(|_, call| {
        if call.target.ends_with(JANE) {
            409
        } else {
            200
        }
    })
    .await;
    let yaml = leading_to(text("ses-bounces"), &target, &["lists", "desk"]);
    let example = stage.apply("ses-bounces", "mail", &yaml).await;
    example.subscribe(TOPIC).await;
    let transient = example
        .post(TOPIC, None, &bounce("Transient").to_string())
        .await;
    assert!(transient["execution"].is_null(), "{transient}");
    let execution = example
        .publish(TOPIC, None, &bounce("Permanent").to_string())
        .await;
    let (_, output) = stage.succeeded(&execution).await;
    assert_eq!(output, json!({"removed": [null, "richard@example.com"]}));
    let struck: BTreeSet<_> = requests(&target, "/lists")
        .into_iter()
        .map(|(method, path, _)| format!("{method} {path}"))
        .collect();
    let wanted = [JANE, RICHARD].map(|digest| format!("DELETE /lists/subscribers/{digest}"));
    assert_eq!(struck, BTreeSet::from(wanted));
    let tickets = requests(&target, "/desk/tickets");
    let ticket: Value = serde_json::from_str(&tickets.first().unwrap().2).unwrap();
    assert_eq!(ticket["message"], bounce("Permanent")["mail"]["messageId"]);
}

/// Run by hand: its next tick is at half past two.
pub(super) async fn nightly(stage: &Stage) {
    let target = Target::start(|_, _| 200).await;
    let yaml = leading_to(text("nightly"), &target, &["desk"]);
    stage.apply("nightly", "pager", &yaml).await;
    let next = stage.signalbox(&["workflows", "next", "nightly"]);
    assert_eq!(
        next.matches("T02:30:00").count() + next.matches(" 02:30:00").count(),
        10,
        "{next}"
    );
    let request = RunWorkflowRequest {
        name: "projects/default/workflows/nightly".into(),
        input: Some(from_json(&json!({"report": "daily"}))),
        request_id: uuid::Uuid::new_v4().to_string(),
    };
    let run = stage.api.workflows().run_workflow(request).await.unwrap();
    let (execution, _) = stage.succeeded(&run.into_inner().name).await;
    let calls = target.calls();
    assert_eq!(calls.len(), 1, "{execution:?}");
    assert_eq!(
        (calls[0].method.as_str(), calls[0].target.as_str()),
        ("POST", "/desk/reports")
    );
    assert_eq!(body(&calls[0])["kind"], "daily");
    assert!(body(&calls[0])["scheduledFor"].is_string());
}

/// Each order goes where the CRC-32 of its JSON says: a string's has its quotes.
pub(super) async fn shard(stage: &Stage) {
    const TOPIC: &str = "arn:aws:sns:eu-central-1:123456789012:orders";
    let target = Target::start(|_, _| 200).await;
    let yaml = leading_to(text("shard"), &target, &["orders"]);
    let example = stage.apply("shard", "shop", &yaml).await;
    example.subscribe(TOPIC).await;
    let mut wanted = BTreeSet::new();
    for (order, service) in ORDERS {
        let message = json!({"order": order}).to_string();
        let execution = example.publish(TOPIC, None, &message).await;
        stage.succeeded(&execution).await;
        let path = format!("/orders/{service}/orders");
        wanted.insert(("POST".to_owned(), path, message));
    }
    assert_eq!(requests(&target, "/orders"), wanted);
}

/// Orders, and `zlib.crc32` of Python of their JSON, modulo 4.
const ORDERS: [(&str, u32); 4] = [("x-4711", 1), ("x-4712", 2), ("y-1", 2), ("z-9", 0)];

/// <https://docs.aws.amazon.com/health/latest/ug/aws-health-events-eventbridge-schema.html>.
fn health(category: &str, instances: &[&str]) -> Value {
    let entities = instances.iter().map(|instance| {
        json!({
            "entityValue": instance, "lastUpdatedTime": "Thu, 26 Nov 2026 10:00:00 GMT", "status": "IMPAIRED",
        })
    });
    json!({
        "version": "0",
        "id": "7bf73129-1428-4cd3-a780-95db273d1602",
        "detail-type": "AWS Health Event",
        "source": "aws.health",
        "account": "123456789012",
        "time": "2026-11-26T10:00:00Z",
        "region": "eu-central-1",
        "resources": instances,
        "detail": {
            "eventArn": "arn:aws:health:eu-central-1::event/EC2/AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED/x",
            "service": "EC2",
            "eventTypeCode": "AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED",
            "eventTypeCategory": category,
            "eventScopeCode": "ACCOUNT_SPECIFIC",
            "communicationId": "1234abc",
            "startTime": "Thu, 10 Dec 2026 10:00:00 GMT",
            "lastUpdatedTime": "Thu, 26 Nov 2026 10:00:00 GMT",
            "statusCode": "upcoming",
            "eventRegion": "eu-central-1",
            "eventDescription": [{"language": "en_US", "latestDescription": "A description of the event"}],
            "affectedEntities": entities.collect::<Vec<_>>(),
            "page": "1",
            "totalPages": "1",
            "affectedAccount": "123456789012"
        }
    })
}

/// One of three instances is not the fleet's.
pub(super) async fn retire_hosts(stage: &Stage) {
    const TOPIC: &str = "arn:aws:sns:eu-central-1:123456789012:health";
    const REASON: &str = "AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED";
    let target = Target::answering(|_, call| match call.target.as_str() {
        "/fleet/instances/i-0b/replacement" => Reply::json(404, "{}"),
        _ => Reply::json(200, r#"{"replacement": "i-new"}"#),
    })
    .await;
    let child = leading_to(text("replace-host"), &target, &["fleet"]);
    stage.apply("replace-host", "pager", &child).await;
    let yaml = leading_to(text("retire-hosts"), &target, &["desk"]);
    let example = stage.apply("retire-hosts", "pager", &yaml).await;
    example.subscribe(TOPIC).await;
    let issue = health("issue", &["i-0a"]).to_string();
    let filtered = example.post(TOPIC, None, &issue).await;
    assert!(filtered["execution"].is_null(), "{filtered}");
    let planned = health("scheduledChange", &["i-0a", "i-0b", "i-0c"]).to_string();
    let execution = example.publish(TOPIC, None, &planned).await;
    let (execution, output) = stage.succeeded(&execution).await;
    assert_eq!(output, json!({"replaced": ["i-new", null, "i-new"]}));

    let mut children = execution.children.clone();
    children.sort_by(|one, other| one.step.cmp(&other.step));
    let found: Vec<_> = children
        .iter()
        .map(|child| (child.step.as_str(), child.state()))
        .collect();
    let wanted = [
        ("replace[0]", ExecutionState::Succeeded),
        ("replace[1]", ExecutionState::Failed),
        ("replace[2]", ExecutionState::Succeeded),
    ];
    assert_eq!(found, wanted);
    let (child, output) = stage.succeeded(&children[0].name).await;
    assert_eq!(child.parent, execution.name);
    assert_eq!(output, json!({"instance": "i-0a", "by": "i-new"}));

    let mut wanted: BTreeSet<_> = ["i-0a", "i-0b", "i-0c"]
        .map(|instance| {
            let path = format!("/fleet/instances/{instance}/replacement");
            let body = json!({"reason": REASON}).to_string();
            ("POST".to_owned(), path, body)
        })
        .into();
    wanted.extend(["i-0a", "i-0c"].map(|instance| {
        let path = format!("/fleet/instances/{instance}");
        ("DELETE".to_owned(), path, String::new())
    }));
    assert_eq!(requests(&target, "/fleet"), wanted);
    let tickets = requests(&target, "/desk/tickets");
    assert_eq!(tickets.len(), 1, "{tickets:?}");
    let ticket: Value = serde_json::from_str(&tickets.first().unwrap().2).unwrap();
    let title = "1 instances could not be replaced before Thu, 10 Dec 2026 10:00:00 GMT";
    assert_eq!(ticket["title"], title);
    assert_eq!(ticket["left"][0]["instance"], "i-0b");
    let error = ticket["left"][0]["error"].as_str().unwrap();
    assert!(error.contains(&children[1].name), "{error}");
}
