//! One message, one execution.

use std::sync::Arc;

use signalbox_model::record::Verdict;

use crate::{
    node::{Node, eventually},
    sns::{STRANGER, sign},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_copies_at_once_are_one_execution() {
    let node = Arc::new(Node::start().await);
    let message = sign(&node.origin.notification("m", "hello"));
    let mut copies = tokio::task::JoinSet::new();
    for _ in 0..1000 {
        let (node, message) = (node.clone(), message.clone());
        copies.spawn(async move { node.deliver("orders", message).await });
    }
    let mut new = 0;
    while let Some(answer) = copies.join_next().await {
        let answer = answer.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        new += usize::from(answer.json()["duplicate"] == false);
    }
    assert_eq!(new, 1);
    assert_eq!(node.accepted().await.len(), 1);
    assert_eq!(node.origin.asked().len(), 1, "one fetch for all");
    // Copies are recorded without making their sender wait.
    let deliveries = eventually("a record of each copy", || async {
        let deliveries = node.deliveries().await;
        (deliveries.len() >= 1000).then_some(deliveries)
    })
    .await;
    let duplicates = deliveries
        .iter()
        .filter(|d| d.verdict == Verdict::Duplicate)
        .count();
    assert_eq!((deliveries.len(), duplicates), (1000, 999));
}

#[tokio::test]
async fn the_id_decides_within_its_topic_and_workflow_and_other_content_is_refused() {
    let node = Node::start().await;
    let first = node.origin.notification("m", "hello");
    let answer = node.deliver("orders", sign(&first)).await.json();

    let mut other = first.clone();
    other.message = "another".to_owned();
    let refused = node.deliver("orders", sign(&other)).await;
    assert_eq!(
        (refused.status.as_u16(), refused.reason().as_str()),
        (403, "message-id-reused")
    );

    // The same bytes for another workflow are another execution.
    let elsewhere = node.deliver("bound", sign(&first)).await.json();
    assert_eq!(elsewhere["duplicate"], false);
    assert_ne!(elsewhere["execution"], answer["execution"]);

    // What is not signed does not make it another message.
    let mut relabelled = first.clone();
    relabelled.attributes = std::collections::BTreeMap::from([(
        "a".to_owned(),
        signalbox_sns::MessageAttribute {
            data_type: "String".to_owned(),
            value: "b".to_owned(),
        },
    )])
    .into();
    assert_eq!(
        node.deliver("orders", sign(&relabelled)).await.json()["duplicate"],
        true
    );
    assert_eq!(node.accepted().await.len(), 2);
    let stranger = node.origin.of_topic(STRANGER, "m", "hello");
    assert_eq!(node.deliver("orders", sign(&stranger)).await.status, 403);
}
