//! Bounds on bodies, requests and time.

use std::time::Duration;

use crate::node::{Answer, KEY, Node, Options, eventually};

#[tokio::test]
async fn bodies_are_bounded() {
    let node = Node::with(Options {
        body_max_bytes: 4096,
        ..Options::default()
    })
    .await;
    let url = format!("{}?x-api-key={KEY}", node.hook_url("hook"));
    let json = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    let post = |body: reqwest::Body| {
        node.request(&url)
            .header("content-type", "application/json")
            .body(body)
    };
    assert_eq!(node.send(post(json(4096).into())).await.status, 200);
    let answer = node.send(post(json(4097).into())).await;
    assert_eq!(
        (answer.status.as_u16(), answer.reason().as_str()),
        (413, "body-too-large")
    );
    // Chunked, so that nothing is announced.
    let chunks = (0..5).map(|_| Ok::<_, std::io::Error>(vec![b' '; 1024]));
    let body = reqwest::Body::wrap_stream(futures::stream::iter(chunks));
    let answer = node.send(post(body)).await;
    assert_eq!(
        (answer.status.as_u16(), answer.reason().as_str()),
        (413, "body-too-large")
    );
}

#[tokio::test]
async fn more_than_may_be_under_way_is_shed_and_what_takes_too_long_is_ended() {
    let node = Node::with(Options {
        in_flight_max: 1,
        request_timeout: Duration::from_millis(300),
        ..Options::default()
    })
    .await;
    let url = format!("{}?x-api-key={KEY}", node.hook_url("hook"));
    let (sender, body) = tokio::sync::mpsc::channel::<Result<&'static str, std::io::Error>>(1);
    let stream = futures::stream::unfold(body, |mut body| async {
        body.recv().await.map(|chunk| (chunk, body))
    });
    let slow = node
        .request(&url)
        .header("content-type", "application/json")
        .body(reqwest::Body::wrap_stream(stream));
    let slow = tokio::spawn(slow.send());
    sender.send(Ok("{")).await.unwrap();
    eventually("a request to be shed", || async {
        let answer = node.send(node.request(&url)).await;
        (answer.status == 503).then(|| {
            assert_eq!(answer.reason(), "overloaded");
            assert_eq!(answer.headers["retry-after"], "5");
        })
    })
    .await;
    let answer = Answer::of(slow.await.unwrap().unwrap()).await;
    assert_eq!(
        (answer.status.as_u16(), answer.reason().as_str()),
        (503, "timeout")
    );
    drop(sender);
    assert_eq!(
        node.send(node.request(&url)).await.status,
        415,
        "the slot is free again"
    );
}
