//! A real SNS (LocalStack) and the AWS SDK: a thousand messages, each one execution with the right input.

use std::{collections::HashMap, path::Path, time::Duration};

use serde_json::{Value, json};
use signalbox_proto::v1::{ExecutionState, GetExecutionEventRequest, SubscriptionState};
use signalbox_tests::{
    api::Api,
    localstack::LocalStack,
    planes::{Options, Planes, install_crypto},
    wait,
};

const MESSAGES: usize = 1000;
const LIMIT: Duration = Duration::from_secs(240);

fn spec(topic: &str) -> String {
    format!(
        r#"
trigger:
  amazonSns:
    apiKeys: [sender]
    topicArns: ["{topic}"]
steps:
  - id: echo
    transform:
      template:
        message: ${{{{ event.message }}}}
        subject: ${{{{ event.subject }}}}
        attributes: ${{{{ event.attributes }}}}
  - id: done
    succeed:
      output: ${{{{ steps.echo.output }}}}
"#
    )
}

/// Messages of many shapes; each is unlike all others.
fn message(number: usize) -> Value {
    let text = match number % 5 {
        0 => format!("plain {number}"),
        1 => format!("grüße ☃ 😀 \"{number}\" \\ / <&>\n\ttabs and\r\nlines"),
        2 => json!({"number": number, "nested": {"list": [1, 2.5, null, "x"]}}).to_string(),
        3 => format!("{{not json {number}"),
        _ if number % 100 == 4 => {
            // As large as Amazon SNS takes: 256 KiB with everything, half of it to be escaped in JSON.
            let unit = format!("{number}\"\\é");
            unit.repeat((250 * 1024) / unit.len())
        }
        _ => format!("\u{1}control {number}"),
    };
    let mut message = json!({"message": text});
    if number.is_multiple_of(3) {
        message["subject"] = json!(format!("Subject {number}"));
    }
    if number.is_multiple_of(4) {
        message["attributes"] = json!({
            "tenant": {"DataType": "String", "StringValue": format!("t{number}")},
            "count": {"DataType": "Number", "StringValue": number.to_string()},
            "tags": {"DataType": "String.Array", "StringValue": "[\"a\",\"b\"]"},
        });
    }
    message
}

fn expected_attributes(number: usize) -> Value {
    if number.is_multiple_of(4) {
        json!({"tenant": format!("t{number}"), "count": number, "tags": ["a", "b"]})
    } else {
        json!({})
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_messages_of_a_real_sns_are_a_thousand_executions() {
    install_crypto();
    let dir = tempfile::tempdir().unwrap();
    let (localstack, planes, api, key) = stage(dir.path()).await;

    let mut sdk = localstack.sdk();
    let mut expected = HashMap::new();
    let per_topic = MESSAGES / 2;
    for version in ["1", "2"] {
        let workflow = format!("echo-v{version}");
        let topic = sdk.topic(&format!("orders-v{version}"), version);
        api.create_workflow(&workflow, &spec(&topic)).await;
        let endpoint = planes.endpoint(&workflow, "sns", &key);
        synced(&api).await;
        sdk.subscribe(&topic, &endpoint, false);

        // Nobody lays a hand on it.
        wait::until("the subscription to confirm itself", LIMIT, || {
            let api = api.clone();
            let workflow = workflow.clone();
            async move {
                let listed = api
                    .all_subscriptions(&workflow)
                    .await
                    .map_err(|status| status.to_string())?;
                match &listed[..] {
                    [one] if one.state() == SubscriptionState::Confirmed => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            }
        })
        .await;
        assert_eq!(sdk.confirmed(&topic).len(), 1, "SNS agrees");

        let offset = if version == "1" { 0 } else { per_topic };
        let messages: Vec<_> = (offset..offset + per_topic).map(message).collect();
        for (number, id) in (offset..).zip(sdk.publish(&topic, &messages)) {
            expected.insert(id, (number, topic.clone(), workflow.clone()));
        }
    }
    assert_eq!(expected.len(), MESSAGES);

    let executions = wait::until("all executions to succeed", LIMIT, || {
        let api = api.clone();
        async move {
            let all = api.all_executions("").await.map_err(|s| s.to_string())?;
            let succeeded = all
                .iter()
                .filter(|execution| execution.state() == ExecutionState::Succeeded)
                .count();
            if succeeded >= MESSAGES {
                Ok(all)
            } else {
                Err(format!("{succeeded} of {} succeeded", all.len()))
            }
        }
    })
    .await;
    assert_eq!(executions.len(), MESSAGES, "exactly one execution each");

    for execution in &executions {
        let (number, topic, workflow) = expected
            .remove(&execution.message_id)
            .expect("an execution for a message that was published, and one only");
        assert_eq!(&execution.topic_arn, &topic);
        assert!(execution.workflow.ends_with(&workflow));
        assert!(!execution.unsigned);
        let sent = message(number);
        let output: Value = serde_json::from_str(&execution.output_json).unwrap();
        assert_eq!(output["message"], sent["message"], "message {number}");
        assert_eq!(
            output["subject"],
            sent.get("subject").cloned().unwrap_or_default()
        );
        assert_eq!(output["attributes"], expected_attributes(number));
    }

    // Each keeps the proof of where it came from (I10), and not the capability to unsubscribe.
    let sample = &executions[0];
    let event = api
        .executions()
        .get_execution_event(GetExecutionEventRequest {
            name: format!("{}/event", sample.name),
        })
        .await
        .unwrap()
        .into_inner();
    let proof = event.signature.expect("a signed message keeps its proof");
    assert!(proof.certificate_pem.contains("BEGIN CERTIFICATE"));
    let body = String::from_utf8(event.body.to_vec()).unwrap();
    assert!(body.contains("\"Signature\""));
    assert!(!body.contains("Action=Unsubscribe"), "{body}");

    // The key went through two planes and a thousand requests; no log has it.
    let mut planes = planes;
    for output in [planes.control.log(), planes.data.process().output()] {
        assert!(!output.contains(&key), "a log holds the key");
    }
}

/// A real SNS, both planes that trust it, and a key.
pub(crate) async fn stage(dir: &Path) -> (LocalStack, Planes, Api, String) {
    let localstack = LocalStack::start(dir).await;
    let (planes, api) = Planes::start(Options {
        // What is looked at is the whole of what came.
        control_plane: vec!["--history-value-max-bytes".into(), "1048576".into()],
        data_plane: vec!["--sns-trusted-origin".into(), localstack.origin.clone()],
        ..Options::default()
    })
    .await;
    let key = api.create_key("sender").await;
    (localstack, planes, api, key)
}

/// Waits until the node uses the newest configuration.
pub(crate) async fn synced(api: &Api) {
    api.synced(Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_delivery_runs_only_where_the_workflow_says_so() {
    install_crypto();
    let dir = tempfile::tempdir().unwrap();
    let (localstack, planes, api, key) = stage(dir.path()).await;
    let mut sdk = localstack.sdk();
    let topic = sdk.topic("raw", "2");
    api.create_workflow("strict", &spec(&topic)).await;
    let allowing = spec(&topic).replace(
        "apiKeys: [sender]",
        "apiKeys: [sender]\n    allowRawDelivery: true",
    );
    api.create_workflow("allowing", &allowing).await;
    synced(&api).await;
    for workflow in ["strict", "allowing"] {
        sdk.subscribe(&topic, &planes.endpoint(workflow, "sns", &key), true);
    }
    wait::until("both subscriptions", LIMIT, || {
        let confirmed = sdk.confirmed(&topic).len();
        async move {
            if confirmed == 2 {
                Ok(())
            } else {
                Err(format!("{confirmed} confirmed"))
            }
        }
    })
    .await;
    let ids = sdk.publish(&topic, &[json!({"message": "bare ☃"})]);

    let refused = wait::until("both verdicts", LIMIT, || {
        let api = api.clone();
        async move {
            let ran = api
                .all_executions(r#"state == "SUCCEEDED""#)
                .await
                .map_err(|s| s.to_string())?;
            let strict = api
                .all_deliveries("strict")
                .await
                .map_err(|s| s.to_string())?;
            let refused = strict
                .into_iter()
                .find(|delivery| delivery.reason == "raw-delivery-not-allowed");
            match (&ran[..], refused) {
                ([one], Some(refused)) => Ok((one.clone(), refused)),
                other => Err(format!("{other:?}")),
            }
        }
    })
    .await;
    let (ran, refused) = refused;
    assert!(ran.unsigned);
    assert!(ran.workflow.ends_with("/allowing"));
    assert_eq!(ran.message_id, ids[0]);
    let output: Value = serde_json::from_str(&ran.output_json).unwrap();
    assert_eq!(output["message"], "bare ☃");
    assert_eq!(refused.http_status, 403);
}
