//! Confirming subscriptions: durable, retried, and of the signed topic only.

use jiff::{SignedDuration, Timestamp};
use signalbox_data_plane::spool::{Handshake, Spool as _};
use signalbox_model::record::{Delivery, SubscriptionChange, SubscriptionState, Verdict};
use signalbox_sns::MessageType;

use crate::{
    node::{Node, SEGMENT_BYTES, changes, eventually, open_spool, run_confirmer},
    sns::{ORDERS, STRANGER, Scripted, TOKEN, confirmation_of, sign},
};

const CONFIRM: &str = "/?Action=ConfirmSubscription";

async fn subscribe(node: &Node, workflow: &str) {
    let kind = MessageType::SubscriptionConfirmation;
    let draft = node.origin.confirmation(kind, ORDERS, TOKEN);
    let answer = node.deliver(workflow, sign(&draft)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

async fn last_change(node: &Node, state: SubscriptionState) -> SubscriptionChange {
    eventually("a change of the subscription", || async {
        let last = node.subscription_changes().await.pop()?;
        (last.state == state).then_some(last)
    })
    .await
}

#[tokio::test]
async fn a_subscription_confirms_itself_by_the_signed_fields() {
    let node = Node::start().await;
    let confirmer = node.confirm();
    subscribe(&node, "unbound").await;
    let change = last_change(&node, SubscriptionState::Confirmed).await;
    assert_eq!(change.topic_arn, ORDERS);
    assert_eq!(
        change.workflow.to_string(),
        "projects/default/workflows/unbound"
    );
    assert!(
        change
            .subscription_arn
            .unwrap()
            .starts_with(&format!("{ORDERS}:"))
    );
    assert_eq!((change.confirm_attempts, change.last_error), (1, None));
    let asked = node.origin.asked();
    let confirmations: Vec<_> = asked.iter().filter(|t| t.starts_with(CONFIRM)).collect();
    assert_eq!(confirmations.len(), 1);
    assert!(confirmations[0].contains(&format!("Token={TOKEN}")));

    // A copy of the message changes nothing.
    subscribe(&node, "unbound").await;
    subscribe(&node, "unbound").await;
    assert_eq!(
        node.subscription_changes().await.len(),
        2,
        "pending, confirmed"
    );
    confirmer.stop();
}

#[tokio::test]
async fn failures_are_retried_until_it_is_confirmed() {
    let node = Node::start().await;
    let redirect = Scripted {
        headers: vec![("location", "/elsewhere".to_owned())],
        ..Scripted::new(302, "")
    };
    node.origin.answer(
        "/",
        [
            Scripted::new(
                500,
                "<ErrorResponse><Error><Code>InternalError</Code></Error></ErrorResponse>",
            ),
            Scripted::new(200, "what?"),
            redirect,
            Scripted::new(200, vec![b' '; 1024 * 1024]),
            Scripted::new(200, confirmation_of(ORDERS)),
        ],
    );
    let confirmer = node.confirm();
    subscribe(&node, "orders").await;
    let change = last_change(&node, SubscriptionState::Confirmed).await;
    assert_eq!(change.confirm_attempts, 5);
    let changes = node.subscription_changes().await;
    let errors: Vec<_> = changes
        .iter()
        .filter_map(|change| change.last_error.clone())
        .collect();
    assert_eq!(errors.len(), 4);
    assert!(
        errors.iter().all(|error| !error.contains(TOKEN)),
        "{errors:?}"
    );
    assert_eq!(node.origin.asked_for("/elsewhere"), 0);
    confirmer.stop();
}

#[tokio::test]
async fn an_answer_for_another_topic_or_a_dead_token_ends_it() {
    let refused = "<ErrorResponse><Error><Type>Sender</Type><Code>InvalidParameter</Code></Error></ErrorResponse>";
    for answer in [
        Scripted::new(200, confirmation_of(STRANGER)),
        Scripted::new(400, refused),
    ] {
        let node = Node::start().await;
        node.origin.answer("/", [answer]);
        let confirmer = node.confirm();
        subscribe(&node, "orders").await;
        let change = last_change(&node, SubscriptionState::Failed).await;
        assert_eq!(change.confirm_attempts, 1);
        assert!(change.last_error.is_some());
        assert_eq!(change.subscription_arn, None);
        confirmer.stop();
    }
}

#[tokio::test]
async fn it_is_given_up_when_amazon_has() {
    let node = Node::start().await;
    node.origin.answer("/", [Scripted::new(500, "")]);
    let handshake = Handshake {
        workflow: "projects/default/workflows/orders".parse().unwrap(),
        topic_arn: ORDERS.to_owned(),
        token: TOKEN.to_owned(),
        certificate_origin: node.origin.url.clone(),
        received_at: Timestamp::now() - SignedDuration::from_hours(48),
        attempts: 7,
    };
    let delivery = Delivery {
        id: "d1".parse().unwrap(),
        workflow: handshake.workflow.clone(),
        verdict: Verdict::Accepted,
        reason: String::new(),
        detail: String::new(),
        http_status: 200,
        message_type: "SubscriptionConfirmation".to_owned(),
        message_id: "m".to_owned(),
        topic_arn: ORDERS.to_owned(),
        source_address: String::new(),
        execution: None,
    };
    node.spool
        .accept_handshake(handshake, delivery, None)
        .await
        .unwrap();
    let confirmer = node.confirm();
    let change = last_change(&node, SubscriptionState::Failed).await;
    assert_eq!(change.confirm_attempts, 8);
    assert_eq!(node.origin.asked_for(CONFIRM), 1);
    confirmer.stop();
}

#[tokio::test]
async fn a_restart_goes_on_where_the_process_ended() {
    let node = Node::start().await;
    node.origin.answer("/", [Scripted::new(503, "")]);
    let confirmer = node.confirm();
    subscribe(&node, "orders").await;
    eventually("a failed attempt", || async {
        let changes = node.subscription_changes().await;
        changes
            .iter()
            .any(|change| change.last_error.is_some())
            .then_some(())
    })
    .await;
    confirmer.drain(std::time::Duration::from_secs(10)).await;
    node.shutdown
        .drain(std::time::Duration::from_secs(10))
        .await;
    let Node {
        spool,
        origin,
        dir,
        certificates,
        trust,
        ..
    } = node;
    // The server's tasks hold the spool until they are dropped.
    eventually("the spool to be let go", || async {
        (std::sync::Arc::strong_count(&spool) == 1).then_some(())
    })
    .await;
    drop(spool);

    origin.answer("/", [Scripted::new(200, confirmation_of(ORDERS))]);
    let spool = open_spool(dir.path(), 1 << 30, SEGMENT_BYTES);
    let confirmer = run_confirmer(spool.clone(), &certificates, &trust);
    let confirmed = eventually("the confirmation", || async {
        let last = changes(&*spool).await.pop()?;
        (last.state == SubscriptionState::Confirmed).then_some(last)
    })
    .await;
    assert!(confirmed.confirm_attempts >= 2, "{confirmed:?}");
    confirmer.stop();
}

#[tokio::test]
async fn an_origin_that_is_trusted_no_longer_is_not_called() {
    let node = Node::start().await;
    subscribe(&node, "orders").await;
    let trust = signalbox_sns::TrustPolicy::default();
    let confirmer = run_confirmer(node.spool.clone(), &node.certificates, &trust);
    eventually("a failed attempt", || async {
        let changes = node.subscription_changes().await;
        changes
            .iter()
            .any(|change| change.last_error.is_some())
            .then_some(())
    })
    .await;
    assert_eq!(node.origin.asked_for(CONFIRM), 0);
    confirmer.stop();
}
