//! Filter policies at the door: what is answered and recorded, of signed messages and raw ones.

use std::collections::BTreeMap;

use serde_json::json;
use signalbox_model::record::Verdict;
use signalbox_sns::{
    MessageAttribute, MessageType,
    signer::{Corruption, Draft},
};

use crate::{
    node::{Node, change, eventually, workflow},
    sns::{ORDERS, SIGNER, TOKEN, sign},
};

const ON_ATTRIBUTES: &str =
    "filterPolicy: {store: [{prefix: 'fans'}], price: [{numeric: ['>', 100]}]}";
const ON_BODY: &str = "filterPolicy: {order: {state: [paid]}}, filterPolicyScope: FILTER_POLICY_SCOPE_MESSAGE_BODY, \
                       allowRawDelivery: true";

async fn node() -> Node {
    let node = Node::start().await;
    let trigger = |more: &str| {
        format!("{{amazonSns: {{apiKeys: [sender], topicArns: ['{ORDERS}'], {more}}}}}")
    };
    let workflows = [("attributes", ON_ATTRIBUTES), ("body", ON_BODY)];
    let upserts = workflows.map(|(id, more)| workflow(id, true, Some(&trigger(more)), None));
    node.store.apply(change(2, upserts.into())).unwrap();
    node
}

fn with(draft: Draft, attributes: &[(&str, &str, &str)]) -> Draft {
    let attributes = attributes.iter().map(|(name, data_type, value)| {
        let attribute = MessageAttribute {
            data_type: (*data_type).to_owned(),
            value: (*value).to_owned(),
        };
        ((*name).to_owned(), attribute)
    });
    Draft {
        attributes: attributes.collect::<BTreeMap<_, _>>().into(),
        ..draft
    }
}

/// Waits until so many filtered deliveries are recorded; gives their message ids in order.
async fn filtered(node: &Node, count: usize) -> Vec<String> {
    eventually("the filtered deliveries", || async {
        let all = node.deliveries().await.into_iter();
        let filtered: Vec<_> = all.filter(|d| d.verdict == Verdict::Filtered).collect();
        for delivery in &filtered {
            assert_eq!(delivery.http_status, 200);
            assert_eq!(delivery.reason, "filter-policy");
            assert_eq!(delivery.message_type, "Notification");
            assert_eq!(delivery.topic_arn, ORDERS);
            assert_eq!(delivery.execution, None);
        }
        let ids: Vec<_> = filtered.into_iter().map(|d| d.message_id).collect();
        (ids.len() == count).then_some(ids)
    })
    .await
}

#[tokio::test]
async fn only_wanted_messages_are_accepted() {
    let node = node().await;
    let nothing = json!({"execution": null, "duplicate": false, "filtered": true});
    let fans = ("store", "String", "fans-of-tea");
    for (id, attributes, wanted) in [
        ("both", vec![fans, ("price", "Number", "100.5")], true),
        ("cheap", vec![fans, ("price", "Number", "100")], false),
        ("text", vec![fans, ("price", "String", "200")], false),
        ("no-store", vec![("price", "Number", "200")], false),
        ("none", vec![], false),
    ] {
        let draft = with(node.origin.notification(id, "hello"), &attributes);
        let answer = node.deliver("attributes", sign(&draft)).await;
        assert_eq!(answer.status, 200, "{id}: {answer:?}");
        assert_eq!(answer.json() != nothing, wanted, "{id}: {answer:?}");
    }
    assert_eq!(
        filtered(&node, 4).await,
        ["cheap", "text", "no-store", "none"]
    );
    let accepted = node.accepted().await;
    assert_eq!(accepted.len(), 1);
    assert_eq!(accepted[0].event.scope.message_id, "both");
}

#[tokio::test]
async fn bodies_decide_also_of_raw_messages() {
    let node = node().await;
    let paid = r#"{"order": {"state": "paid", "n": 1}}"#;
    for (id, message, wanted) in [
        ("paid", paid, true),
        ("open", r#"{"order": {"state": "open"}}"#, false),
        ("text", "paid", false),
    ] {
        for raw in [false, true] {
            let draft = node.origin.notification(&format!("{id}-{raw}"), message);
            let message = if raw { draft.raw() } else { sign(&draft) };
            let answer = node.deliver("body", message).await;
            assert_eq!(answer.status, 200, "{id}: {answer:?}");
            assert_eq!(
                answer.json()["execution"].is_string(),
                wanted,
                "{id}: {answer:?}"
            );
        }
    }
    let left_out = ["open-false", "open-true", "text-false", "text-true"];
    assert_eq!(filtered(&node, 4).await, left_out);
    assert_eq!(node.accepted().await.len(), 2);
}

#[tokio::test]
async fn what_is_not_genuine_is_refused_before_it_is_filtered() {
    let node = node().await;
    let draft = node.origin.notification("forged", "not wanted");
    for workflow in ["attributes", "body"] {
        let forged = draft.sign_corrupted(&SIGNER, Corruption::Message).unwrap();
        let answer = node.deliver(workflow, forged).await;
        assert_eq!(answer.reason(), "signature-invalid", "{answer:?}");
    }
    node.refused("signature-invalid").await;
    // A handshake is none of a policy's business.
    let confirmation = MessageType::SubscriptionConfirmation;
    let draft = node.origin.confirmation(confirmation, ORDERS, TOKEN);
    let answer = node.deliver("attributes", sign(&draft)).await;
    assert_eq!(
        answer.json(),
        json!({"execution": null, "duplicate": false})
    );
    assert!(filtered(&node, 0).await.is_empty());
}
