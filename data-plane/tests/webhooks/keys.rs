//! Where a key may stand.

use crate::{
    node::{KEY, Node, change, key},
    sns::sign,
};

#[tokio::test]
async fn each_place_will_do() {
    let node = Node::start().await;
    let url = node.hook_url("hook");
    let encoded: String = KEY.bytes().map(|byte| format!("%{byte:02x}")).collect();
    let post = |url: &str| {
        node.request(url)
            .header("content-type", "application/json")
            .body("{}")
    };
    for (name, request) in [
        ("header", post(&url).header("x-api-key", KEY)),
        ("query", post(&format!("{url}?a=b&x-api-key={KEY}&c"))),
        (
            "percent-encoded",
            post(&format!("{url}?x-api-key={encoded}")),
        ),
        ("basic", post(&url).basic_auth("aws", Some(KEY))),
        (
            "the same in all three",
            post(&format!("{url}?x-api-key={KEY}"))
                .header("x-api-key", KEY)
                .basic_auth("aws", Some(KEY)),
        ),
        (
            "beside another scheme",
            post(&format!("{url}?x-api-key={KEY}")).bearer_auth("of the proxy"),
        ),
    ] {
        let answer = node.send(request).await;
        assert_eq!(answer.status, 200, "{name}: {answer:?}");
    }
}

#[tokio::test]
async fn a_plus_in_the_query_is_a_plus() {
    let node = Node::start().await;
    let plus = key("projects/default/apiKeys/sender", "sbk_a+b/c=", false, None);
    node.store.apply(change(2, vec![plus])).unwrap();
    for value in ["sbk_a+b/c=", "sbk_a%2Bb%2Fc%3D"] {
        let url = format!("{}?x-api-key={value}", node.sns_url("orders"));
        let message = sign(&node.origin.notification(value, "hello"));
        let answer = node.send(node.request(&url).body(message.body)).await;
        assert_eq!(answer.status, 200, "{value}: {answer:?}");
    }
}

#[tokio::test]
async fn basic_credentials_come_after_the_challenge_as_amazon_sns_sends_them() {
    let node = Node::start().await;
    let message = sign(&node.origin.notification("m", "hello"));
    let url = node.sns_url("orders");
    let challenged = node
        .send(node.request(&url).body(message.body.clone()))
        .await;
    assert_eq!(challenged.status, 401);
    assert_eq!(
        challenged.headers["www-authenticate"],
        "Basic realm=\"signalbox\""
    );
    let answered = node
        .request(&url)
        .basic_auth("user", Some(KEY))
        .body(message.body);
    assert_eq!(node.send(answered).await.status, 200);
}

#[tokio::test]
async fn a_revoked_key_is_refused_at_once_also_for_a_replayed_confirmation() {
    let node = Node::start().await;
    let kind = signalbox_sns::MessageType::SubscriptionConfirmation;
    let confirmation = node
        .origin
        .confirmation(kind, crate::sns::ORDERS, crate::sns::TOKEN);
    assert_eq!(
        node.deliver("orders", sign(&confirmation)).await.status,
        200
    );
    let revoked = key("projects/default/apiKeys/sender", KEY, true, None);
    node.store.apply(change(2, vec![revoked])).unwrap();
    let answer = node.deliver("orders", sign(&confirmation)).await;
    assert_eq!(
        (answer.status.as_u16(), answer.reason().as_str()),
        (401, "key-revoked")
    );
}

#[tokio::test]
async fn a_key_of_a_megabyte_does_no_harm() {
    let node = Node::start().await;
    let long = "k".repeat(1024 * 1024);
    let sent = node
        .request(&node.hook_url("hook"))
        .header("x-api-key", long)
        .body("{}")
        .send()
        .await;
    // Answered 431, or cut off while it was still being sent.
    if let Ok(answer) = sent {
        assert_eq!(answer.status(), 431);
    }
    let medium = "k".repeat(4096);
    let request = node
        .request(&node.hook_url("hook"))
        .header("x-api-key", medium);
    assert_eq!(node.send(request).await.reason(), "key-unknown");
}
