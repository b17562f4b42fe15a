//! Where a key may stand.

use signalbox_data_plane::server::{ForwardedHeader, Proxies};

use crate::{
    node::{KEY, Node, Options, change, key, with_previous, with_scope},
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

/// The status and the reason of a webhook with the key.
async fn called(node: &Node, workflow: &str, source: Option<&str>) -> (u16, String) {
    let headers = source.map(|source| ("x-forwarded-for", source));
    called_with(node, workflow, headers.as_slice()).await
}

/// The same with these headers.
async fn called_with(node: &Node, workflow: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let mut request = node
        .request(&node.hook_url(workflow))
        .header("content-type", "application/json")
        .header("x-api-key", KEY)
        .body("{}");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = node.send(request).await;
    (answer.status.as_u16(), answer.reason())
}

#[tokio::test]
async fn a_key_for_other_workflows_learns_nothing_of_this_one() {
    let node = Node::start().await;
    let set = |revision, workflows: &[&str]| {
        let sender = key("projects/default/apiKeys/sender", KEY, false, None);
        let sender = with_scope(sender, workflows, &[]);
        node.store.apply(change(revision, vec![sender])).unwrap();
    };
    set(2, &["hook", "absent"]);
    assert_eq!(called(&node, "hook", None).await.0, 200);
    // What its scope names is answered as ever.
    let absent = called(&node, "absent", None).await;
    assert_eq!(absent, (404, "workflow-unknown".to_owned()));
    set(3, &["orders"]);
    let refused = (403, "key-not-allowed".to_owned());
    for workflow in ["hook", "hook-disabled", "unpublished", "manual", "nowhere"] {
        assert_eq!(called(&node, workflow, None).await, refused, "{workflow}");
    }
    let delivery = node.refused("key-not-allowed").await;
    assert_eq!(delivery.http_status, 403);
    set(4, &[]);
    assert_eq!(called(&node, "hook", None).await.0, 200);
}

#[tokio::test]
async fn a_key_counts_from_its_networks_only_by_the_address_that_is_trusted() {
    let proxies = Proxies {
        trusted: vec!["127.0.0.0/8".parse().unwrap()].into(),
        ..Proxies::default()
    };
    let node = Node::with(Options {
        proxies,
        ..Options::default()
    })
    .await;
    let sender = key("projects/default/apiKeys/sender", KEY, false, None);
    let sender = with_scope(sender, &[], &["203.0.113.0/24", "2001:db8::/32"]);
    node.store.apply(change(2, vec![sender])).unwrap();
    for source in ["203.0.113.9", "::ffff:203.0.113.200", "2001:db8:7::1"] {
        assert_eq!(called(&node, "hook", Some(source)).await.0, 200, "{source}");
    }
    let refused = (403, "source-not-allowed".to_owned());
    // The last is the proxy's own address; and whatever exists, nothing is told from elsewhere.
    for source in [Some("203.0.114.1"), Some("2001:db9::1"), None] {
        for workflow in ["hook", "hook-disabled", "nowhere"] {
            assert_eq!(called(&node, workflow, source).await, refused, "{source:?}");
        }
    }
    let delivery = node.refused("source-not-allowed").await;
    assert_eq!(delivery.http_status, 403);
    assert_eq!(delivery.source_address, "203.0.114.1");

    // Nobody else is believed.
    let alone = Node::start().await;
    let sender = key("projects/default/apiKeys/sender", KEY, false, None);
    let sender = with_scope(sender, &[], &["203.0.113.0/24"]);
    alone.store.apply(change(2, vec![sender])).unwrap();
    assert_eq!(called(&alone, "hook", Some("203.0.113.9")).await, refused);
}

#[tokio::test]
async fn who_hides_behind_its_proxy_is_let_in_by_no_key_that_asks_who_it_is() {
    // A proxy inside the key's network that writes X-Forwarded-For and passes on Forwarded as it came.
    let forged = [
        ("forwarded", "for=127.0.0.1"),
        ("x-forwarded-for", "203.0.113.9"),
    ];
    let behind = async |header| {
        let proxies = Proxies {
            trusted: vec!["127.0.0.0/8".parse().unwrap()].into(),
            header,
            ..Proxies::default()
        };
        let node = Node::with(Options {
            proxies,
            ..Options::default()
        })
        .await;
        let sender = key("projects/default/apiKeys/sender", KEY, false, None);
        let sender = with_scope(sender, &[], &["127.0.0.0/8"]);
        node.store.apply(change(2, vec![sender])).unwrap();
        node
    };
    let node = behind(ForwardedHeader::Both).await;
    assert_eq!(called(&node, "hook", None).await.0, 200, "the proxy itself");
    let unclear = (403, "source-unclear".to_owned());
    for workflow in ["hook", "hook-disabled", "nowhere"] {
        assert_eq!(called_with(&node, workflow, &forged).await, unclear);
    }
    for headers in [
        [("forwarded", "rubbish")],
        [("x-forwarded-for", "rubbish")],
        [("x-forwarded-for", "unknown")],
    ] {
        assert_eq!(called_with(&node, "hook", &headers).await, unclear);
    }
    let delivery = node.refused("source-unclear").await;
    assert_eq!(delivery.http_status, 403);
    assert_eq!(delivery.source_address, "127.0.0.1", "the proxy's");
    // A key that counts from anywhere does not ask.
    let sender = key("projects/default/apiKeys/sender", KEY, false, None);
    node.store.apply(change(3, vec![sender])).unwrap();
    assert_eq!(called_with(&node, "hook", &forged).await.0, 200);

    // Who says which header counts is not led astray by the other.
    let node = behind(ForwardedHeader::XForwardedFor).await;
    let refused = (403, "source-not-allowed".to_owned());
    assert_eq!(called_with(&node, "hook", &forged).await, refused);
    let delivery = node.refused("source-not-allowed").await;
    assert_eq!(delivery.source_address, "203.0.113.9");
    let good = [("forwarded", "rubbish"), ("x-forwarded-for", "127.0.0.9")];
    assert_eq!(called_with(&node, "hook", &good).await.0, 200);
    let sender = key("projects/default/apiKeys/sender", KEY, false, None);
    let sender = with_scope(sender, &[], &["203.0.113.0/24"]);
    node.store.apply(change(3, vec![sender])).unwrap();
    assert_eq!(called_with(&node, "hook", &forged).await.0, 200);
}

#[tokio::test]
async fn the_value_before_counts_for_the_overlap_and_ends_with_the_key() {
    let node = Node::start().await;
    let new = |revoked, expires_at| {
        let new = key("projects/default/apiKeys/sender", "sbk_new", revoked, None);
        with_previous(new, KEY, expires_at)
    };
    let set = |revision, upsert| node.store.apply(change(revision, vec![upsert])).unwrap();
    let call = async |value: &str| {
        let request = node.request(&node.hook_url("hook"));
        let request = request.header("content-type", "application/json");
        let answer = node
            .send(request.header("x-api-key", value).body("{}"))
            .await;
        (answer.status.as_u16(), answer.reason())
    };
    let hour = std::time::Duration::from_secs(3600);
    set(2, new(false, jiff::Timestamp::now() + hour));
    assert_eq!(call(KEY).await.0, 200);
    assert_eq!(call("sbk_new").await.0, 200);
    set(3, new(false, jiff::Timestamp::now() - hour));
    assert_eq!(call(KEY).await, (401, "key-rotated".to_owned()));
    assert_eq!(call("sbk_new").await.0, 200);
    set(4, new(true, jiff::Timestamp::now() + hour));
    for value in [KEY, "sbk_new"] {
        assert_eq!(call(value).await, (401, "key-revoked".to_owned()));
    }
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
