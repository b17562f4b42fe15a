//! One message, one execution.

use std::sync::Arc;

use signalbox_model::record::Verdict;

use crate::{
    node::{Node, eventually},
    sns::{ORDERS, STRANGER, sign},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_copies_at_once_are_one_execution() {
    let node = Arc::new(Node::start().await);
    let message = sign(&node.origin.notification("m", "hello"));
    let started = std::time::Instant::now();
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
    // Copies are recorded without making their sender wait: 500, and then 20 a second. The others are only counted, so that who
    // caught one message cannot fill the spool with it.
    let deliveries = eventually("a record of 500 copies", || async {
        let deliveries = node.deliveries().await;
        (deliveries.len() > 500).then_some(deliveries)
    })
    .await;
    let since = usize::try_from(started.elapsed().as_millis() / 50).unwrap();
    let duplicates = deliveries
        .iter()
        .filter(|d| d.verdict == Verdict::Duplicate)
        .collect::<Vec<_>>();
    assert_eq!(deliveries.len(), duplicates.len() + 1);
    assert!(duplicates.len() <= 501 + since, "{}", duplicates.len());
    let accepted = node.accepted().await;
    for copy in duplicates {
        assert_eq!((copy.reason.as_str(), copy.http_status), ("duplicate", 200));
        assert_eq!(copy.execution.as_ref(), Some(&accepted[0].execution));
        assert_eq!(
            [&copy.message_type, &copy.message_id, &copy.topic_arn],
            ["Notification", "m", ORDERS]
        );
        assert_eq!(copy.source_address, "127.0.0.1");
    }
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
