//! Filter policies: what becomes of messages that are not wanted, and the same decisions as a real SNS (LocalStack) makes.

mod table;

use std::{collections::BTreeSet, process::Command, time::Duration};

use serde_json::{Value, json};
use signalbox_model::filter_policy::{FilterPolicy, FilterPolicyScope};
use signalbox_proto::v1::{DeliveryVerdict, SubscriptionState};
use signalbox_tests::{api::Api, localstack::Sdk, planes::install_crypto, process::binary, wait};

use self::table::{Case, POLICIES, Scope};
use crate::{
    attacks::support::{Letter, Post, Stage, TOPIC, exchange, stage::path},
    local_stack::{stage, synced},
};

const LIMIT: Duration = Duration::from_secs(240);

/// A workflow that takes `topic`, with more lines for its trigger.
fn spec(topic: &str, more: &str) -> String {
    format!(
        "trigger:\n  amazonSns:\n    apiKeys: [sender]\n    topicArns: [\"{topic}\"]\n{more}\
         steps:\n  - id: done\n    succeed: {{}}\n"
    )
}

fn with_policy(topic: &str, policy: &Value, scope: Scope) -> String {
    let scope = scope.of_signalbox();
    spec(
        topic,
        &format!("    filterPolicy: {policy}\n    filterPolicyScope: {scope}\n"),
    )
}

/// Ids of the messages of a workflow's deliveries with this verdict.
async fn delivered(
    api: &Api,
    workflow: &str,
    verdict: DeliveryVerdict,
) -> Result<BTreeSet<String>, String> {
    let all = api.all_deliveries(workflow).await;
    let all = all.map_err(|status| status.to_string())?;
    let notifications = all.into_iter().filter(|delivery| {
        delivery.message_type == "Notification" && delivery.verdict() == verdict
    });
    Ok(notifications.map(|delivery| delivery.message_id).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_wanted_is_answered_listed_counted_and_not_run() {
    const WORKFLOW: &str = "filtering";
    let stage = Stage::start().await;
    let policy = json!({"kind": ["wanted"]});
    let spec = with_policy(TOPIC, &policy, Scope::Body);
    stage.api.create_workflow(WORKFLOW, &spec).await;
    synced(&stage.api).await;
    let target = format!("{}?x-api-key={}", path(WORKFLOW), stage.key);
    let letter = |id: &str, kind: &str| {
        let message = json!({"kind": kind}).to_string();
        Letter::notification(id).with("Message", &message)
    };
    let flow = stage.flow().await;
    for n in 0..3 {
        for kind in ["wanted", "unwanted"] {
            let letter = stage.signing.sign(letter(&format!("{kind}-{n}"), kind));
            let answer = exchange(stage.addr(), Post::of(&target, &letter).bytes());
            let answer = answer.await.unwrap();
            assert_eq!(answer.status, 200, "{answer:?}");
            let body: Value = serde_json::from_str(&answer.body).unwrap();
            if kind == "wanted" {
                stage.know(&answer);
            } else {
                let nothing = json!({"execution": null, "duplicate": false, "filtered": true});
                assert_eq!(body, nothing);
            }
        }
    }
    // A forger does not learn what is filtered.
    let forged = stage.signing.sign(letter("forged", "wanted"));
    let forged = forged.with("Message", &json!({"kind": "unwanted"}).to_string());
    let answer = exchange(stage.addr(), Post::of(&target, &forged).bytes()).await;
    assert_eq!(answer.unwrap().reason(), "signature-invalid");

    let expected: BTreeSet<_> = (0..3).map(|n| format!("unwanted-{n}")).collect();
    wait::until("the filtered ones to be shown", LIMIT, || async {
        match delivered(&stage.api, WORKFLOW, DeliveryVerdict::Filtered).await? {
            shown if shown == expected => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    let all = stage.api.all_deliveries(WORKFLOW).await.unwrap();
    let filtered = all
        .iter()
        .filter(|delivery| delivery.verdict() == DeliveryVerdict::Filtered);
    for delivery in filtered {
        assert_eq!(delivery.reason, "filter-policy");
        assert!(delivery.detail.contains("filter policy"), "{delivery:?}");
        assert_eq!(
            (delivery.http_status, delivery.execution.as_str()),
            (200, "")
        );
        assert_eq!(delivery.topic_arn, TOPIC);
        assert!(!delivery.trace_id.is_empty());
    }
    let counted = stage
        .metric(
            "signalbox_ingest_requests_total",
            &["verdict=\"filtered\"", "reason=\"filter-policy\""],
        )
        .await;
    assert!((counted - 3.0).abs() < 0.1, "{counted}");
    let listed = Command::new(binary("signalbox"))
        .args(["deliveries", "list", WORKFLOW])
        .args(["--filter", "verdict == \"FILTERED\""])
        .args(["--endpoint", &stage.planes.control.endpoint])
        .args(["--token", &stage.planes.control.token("viewer")])
        .output()
        .unwrap();
    let table = String::from_utf8(listed.stdout).unwrap();
    assert_eq!(table.lines().count(), 4, "{table}");
    for id in &expected {
        let row = table
            .lines()
            .find(|line| line.contains(id.as_str()))
            .unwrap();
        assert!(
            row.contains("FILTERED") && row.contains("filter-policy"),
            "{table}"
        );
    }
    stage.only_ran(flow, std::iter::empty()).await;
    stage.kept_secret(&[]).await;
}

/// Each case's topic has two subscriptions: LocalStack filters for the one, Signalbox for the other.
#[tokio::test(flavor = "multi_thread")]
async fn signalbox_filters_as_a_real_sns_does() {
    install_crypto();
    let dir = tempfile::tempdir().unwrap();
    let (localstack, planes, api, key) = stage(dir.path()).await;
    let mut sdk = localstack.sdk();
    policies_are_refused_alike(&mut sdk);

    let cases = table::cases();
    let mut topics = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let topic = sdk.topic(&format!("topic-{number}"), "2");
        let (theirs, ours) = names(number);
        api.create_workflow(&theirs, &spec(&topic, "")).await;
        let filtering = with_policy(&topic, &case.policy, case.scope);
        api.create_workflow(&ours, &filtering).await;
        topics.push(topic);
    }
    synced(&api).await;
    for (number, (case, topic)) in cases.iter().zip(&topics).enumerate() {
        let (theirs, ours) = names(number);
        let endpoint = planes.endpoint(&theirs, "sns", &key);
        // In this order LocalStack sends a message: what has come to ours was decided on for theirs.
        sdk.subscribe(topic, &planes.endpoint(&ours, "sns", &key), false);
        sdk.subscribe_filtered(topic, &endpoint, &case.policy, case.scope.of_amazon());
    }
    for number in 0..cases.len() {
        let (theirs, ours) = names(number);
        for workflow in [theirs, ours] {
            wait::until("the subscription to be confirmed", LIMIT, || async {
                let listed = api.all_subscriptions(&workflow).await;
                match &listed.map_err(|status| status.to_string())?[..] {
                    [one] if one.state() == SubscriptionState::Confirmed => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            })
            .await;
        }
    }
    let mut wrong = Vec::new();
    for (number, (case, topic)) in cases.iter().zip(&topics).enumerate() {
        compare(&mut sdk, &api, number, case, topic, &mut wrong).await;
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn names(number: usize) -> (String, String) {
    (
        format!("localstack-{number}"),
        format!("signalbox-{number}"),
    )
}

/// Publishes a case's messages; notes where one of the two decides otherwise than the table says.
async fn compare(
    sdk: &mut Sdk,
    api: &Api,
    number: usize,
    case: &Case,
    topic: &str,
    wrong: &mut Vec<String>,
) {
    let (theirs, ours) = names(number);
    let messages: Vec<_> = case.inputs.iter().map(|input| input.message()).collect();
    let mut ids = sdk.publish(topic, &messages);
    let settled = async |ids: &[String]| {
        wait::until("all messages to arrive", LIMIT, || async {
            let wanted = delivered(api, &ours, DeliveryVerdict::Accepted).await?;
            let filtered = delivered(api, &ours, DeliveryVerdict::Filtered).await?;
            match wanted.len() + filtered.len() {
                all if all == ids.len() => Ok(wanted),
                other => Err(format!("{other} of {}", ids.len())),
            }
        })
        .await
    };
    settled(&ids).await;
    // What is wanted by both comes last: when it has come, whatever else LocalStack lets through has come, too.
    let last = case
        .inputs
        .iter()
        .find(|input| input.wanted && input.by_localstack);
    ids.extend(sdk.publish(topic, &[last.expect("one that both want").message()]));
    let wanted = settled(&ids).await;
    let last = ids.last().unwrap();
    let let_through = wait::until("the last to come from LocalStack", LIMIT, || async {
        let accepted = delivered(api, &theirs, DeliveryVerdict::Accepted).await?;
        if accepted.contains(last) {
            Ok(accepted)
        } else {
            Err(format!("{} came", accepted.len()))
        }
    })
    .await;
    for (id, input) in ids.iter().zip(&case.inputs) {
        let found = (wanted.contains(id), let_through.contains(id));
        if found != (input.wanted, input.by_localstack) {
            wrong.push(format!(
                "{} of {}: Signalbox, LocalStack: {found:?}; expected {:?}",
                case.policy,
                input.message(),
                (input.wanted, input.by_localstack)
            ));
        }
    }
}

fn policies_are_refused_alike(sdk: &mut Sdk) {
    let topic = sdk.topic("refused", "2");
    for (policy, scope, taken, by_localstack) in POLICIES {
        let policy: Value = serde_json::from_str(policy).unwrap();
        let ours = match scope {
            Scope::Attributes => FilterPolicyScope::MessageAttributes,
            Scope::Body => FilterPolicyScope::MessageBody,
        };
        let found = FilterPolicy::parse("", &policy, ours).is_ok();
        assert_eq!(found, *taken, "Signalbox takes {policy}");
        let refusal = sdk.filter_policy_refusal(&topic, &policy, scope.of_amazon());
        assert_eq!(
            refusal.is_none(),
            *by_localstack,
            "LocalStack takes {policy}: {refusal:?}"
        );
    }
}
