//! Fetching certificates: what may be fetched, how often, and what its failure does to others.

use std::{sync::Arc, time::Duration};

use crate::{
    node::{Node, Options, eventually, self_signed},
    sns::{CERTIFICATE, Scripted, certificate, sign},
};

#[tokio::test]
async fn nothing_is_fetched_for_a_url_that_is_not_the_topics_own() {
    let node = Node::start().await;
    let host = "sns.us-east-1.amazonaws.com";
    let long = format!("https://{host}/{}.pem", "a".repeat(1024 * 1024));
    for url in [
        format!("http://{host}{CERTIFICATE}"),
        format!("https://{host}:444{CERTIFICATE}"),
        format!("https://{host}.evil.com{CERTIFICATE}"),
        format!("https://{host}@evil.com{CERTIFICATE}"),
        format!("https://evil.com/{host}/x.pem"),
        format!("https://sns.evil.amazonaws.com.{CERTIFICATE}"),
        format!("https://sns-us-east-1.s3.amazonaws.com{CERTIFICATE}"),
        format!("https://SNS.us-east-1.amazonaws.com{CERTIFICATE}"),
        format!("https://sns%2Eus-east-1.amazonaws.com{CERTIFICATE}"),
        format!("https://{host}.{CERTIFICATE}"),
        format!("https://127.0.0.1{CERTIFICATE}"),
        format!("https://[::1]{CERTIFICATE}"),
        format!("https://169.254.169.254{CERTIFICATE}"),
        format!("https:\\\\{host}{CERTIFICATE}"),
        format!("https://{host}\t{CERTIFICATE}"),
        format!("https://{host}/../x{CERTIFICATE}"),
        format!("https://{host}{CERTIFICATE}?a=b"),
        format!("https://{host}{CERTIFICATE}#a"),
        format!("https://sns.us-east-2.amazonaws.com{CERTIFICATE}"),
        format!("https://sns.us-east-1.amazonaws.com.cn{CERTIFICATE}"),
        format!("{}{CERTIFICATE}?x=.pem", node.origin.url),
        format!("{}/../x.pem", node.origin.url),
        format!(
            "http://user@{}{CERTIFICATE}",
            &node.origin.url["http://".len()..]
        ),
        long,
    ] {
        let mut draft = node.origin.notification("m", "hello");
        draft.signing_cert_url = url.clone();
        let answer = node.deliver("orders", sign(&draft)).await;
        let shown: String = url.chars().take(100).collect();
        assert!(
            matches!(answer.status.as_u16(), 400 | 403),
            "{shown}: {answer:?}"
        );
    }
    assert_eq!(node.origin.asked(), [""; 0]);
    assert_eq!(node.accepted().await, []);
}

#[tokio::test]
async fn a_certificate_is_fetched_once() {
    let node = Node::start().await;
    for number in 0..20 {
        let draft = node.origin.notification(&format!("m{number}"), "hello");
        assert_eq!(node.deliver("orders", sign(&draft)).await.status, 200);
    }
    assert_eq!(node.origin.asked(), [CERTIFICATE]);
}

#[tokio::test]
async fn what_cannot_be_fetched_now_is_retriable_and_is_soon_tried_again() {
    let node = Node::start().await;
    let elsewhere = format!("{}/elsewhere.pem", node.origin.url);
    let redirect = Scripted {
        headers: vec![("location", elsewhere)],
        ..Scripted::new(302, "")
    };
    let good = Scripted::new(200, certificate(10));
    node.origin.answer("/elsewhere.pem", [good.clone()]);
    for (number, failure) in [
        Scripted::new(500, "down"),
        Scripted::new(404, "not yet"),
        redirect,
        Scripted::new(200, vec![b'x'; 100 * 1024 * 1024]),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/cert{number}.pem");
        node.origin.answer(&path, [failure, good.clone()]);
        let mut draft = node.origin.notification(&format!("m{number}"), "hello");
        draft.signing_cert_url = format!("{}{path}", node.origin.url);
        let answer = node.deliver("orders", sign(&draft)).await;
        assert_eq!(
            (answer.status.as_u16(), answer.reason().as_str()),
            (503, "certificate-unavailable"),
            "{number}"
        );
        assert!(answer.headers.contains_key("retry-after"));
        // A copy right after it does not ask again, and other certificates are not held up.
        assert_eq!(
            node.deliver("orders", sign(&draft)).await.status,
            503,
            "{number}"
        );
        assert_eq!(node.origin.asked_for(&path), 1, "{number}");
        let other = node.origin.notification(&format!("other{number}"), "hello");
        assert_eq!(
            node.deliver("orders", sign(&other)).await.status,
            200,
            "{number}"
        );
        eventually("the next fetch", || async {
            (node.deliver("orders", sign(&draft)).await.status == 200).then_some(())
        })
        .await;
        assert_eq!(node.origin.asked_for(&path), 2, "{number}");
    }
    assert_eq!(
        node.origin.asked_for("/elsewhere.pem"),
        0,
        "redirects are not followed"
    );
}

#[tokio::test]
async fn what_tls_does_not_vouch_for_is_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let (tls, _) = self_signed(dir.path());
    let impostor = Node::with(Options {
        tls: Some(tls),
        ..Options::default()
    })
    .await;
    let origin = format!("https://localhost:{}", impostor.address.port());
    let node = Node::with(Options {
        trusted: vec![origin.clone()],
        ..Options::default()
    })
    .await;
    let mut draft = node.origin.notification("m", "hello");
    draft.signing_cert_url = format!("{origin}{CERTIFICATE}");
    let answer = node.deliver("orders", sign(&draft)).await;
    assert_eq!(answer.reason(), "certificate-unavailable");
    let detail = answer.json()["detail"].clone();
    assert!(
        detail.as_str().unwrap().contains("verified TLS"),
        "{detail}"
    );
}

#[tokio::test]
async fn what_is_no_certificate_of_sns_is_refused() {
    let node = Node::start().await;
    let two = format!("{}{}", certificate(10), certificate(10));
    for (number, (pem, reason)) in [
        (certificate(-3), "certificate-expired"),
        (two, "certificate-not-one-pem"),
        ("garbage".to_owned(), "certificate-not-one-pem"),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/bad{number}.pem");
        node.origin.answer(&path, [Scripted::new(200, pem)]);
        let mut draft = node.origin.notification("m", "hello");
        draft.signing_cert_url = format!("{}{path}", node.origin.url);
        let answer = node.deliver("orders", sign(&draft)).await;
        assert_eq!(
            (answer.status.as_u16(), answer.reason().as_str()),
            (403, reason)
        );
    }
    assert_eq!(node.accepted().await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_storm_of_urls_that_fail_holds_up_no_message_whose_certificate_is_known() {
    let node = Arc::new(Node::start().await);
    let good = node.origin.notification("first", "hello");
    assert_eq!(node.deliver("orders", sign(&good)).await.status, 200);
    let mut storm = tokio::task::JoinSet::new();
    for number in 0..500 {
        let path = format!("/storm{number}.pem");
        let slow = Scripted {
            delay: Duration::from_secs(2),
            ..Scripted::new(500, "")
        };
        node.origin.answer(&path, [slow]);
        let mut draft = node.origin.notification(&format!("s{number}"), "hello");
        draft.signing_cert_url = format!("{}{path}", node.origin.url);
        let node = node.clone();
        storm.spawn(async move { node.deliver("orders", sign(&draft)).await });
    }
    eventually("the storm", || async {
        (node.origin.asked_for("/storm") > 4).then_some(())
    })
    .await;
    // Were its certificate pushed out, a message would wait for its turn behind the storm, and be answered 503.
    for number in 0..50 {
        let draft = node.origin.notification(&format!("m{number}"), "hello");
        assert_eq!(node.deliver("orders", sign(&draft)).await.status, 200);
    }
    assert_eq!(node.origin.asked_for(CERTIFICATE), 1);
    while let Some(answer) = storm.join_next().await {
        assert_eq!(answer.unwrap().status, 503);
    }
    assert_eq!(node.accepted().await.len(), 51);
}
