//! Bounds on bodies, requests and time.

use std::time::Duration;

use prost::Message as _;
use signalbox_log::LogConfig;
use signalbox_model::{
    limits::{BODY_MAX_BYTES, REPORT_MESSAGE_MAX_BYTES},
    record::RecordBody,
};
use signalbox_proto::{
    convert,
    dataplane::v1::{self as wire, report_request},
};
use signalbox_sns::signer::{Draft, SignedMessage};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    node::{Answer, KEY, Node, OTHER_KEY, Options, change, eventually, key, with_rate, workflow},
    sns::{ORDERS, sign},
};

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

/// A message of Amazon SNS whose body has `bytes`, most of them its message; what is redacted of it gets longer.
fn redacted_longer(node: &Node, bytes: usize) -> SignedMessage {
    let draft = Draft {
        subscription_arn: None,
        ..node.origin.notification("redacted", "")
    };
    let signed = |message: String| {
        let draft = Draft {
            message,
            ..draft.clone()
        };
        let mut signed = sign(&draft);
        assert_eq!(signed.body.pop(), Some(b'}'));
        let more = br#","SubscribeURL":1,"Token":1,"UnsubscribeURL":""}"#;
        signed.body.extend_from_slice(more);
        signed
    };
    let envelope = signed(String::new()).body.len();
    signed("x".repeat(bytes - envelope))
}

#[tokio::test]
async fn the_largest_body_fits_whatever_it_becomes_on_its_way() {
    let node = Node::with(Options {
        body_max_bytes: BODY_MAX_BYTES,
        segment_bytes: LogConfig::SEGMENT_BYTES,
        ..Options::default()
    })
    .await;
    let message = redacted_longer(&node, BODY_MAX_BYTES);
    assert_eq!(message.body.len(), BODY_MAX_BYTES);
    let answer = node.deliver("orders", message).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    // Of each of its bytes, JSON makes six.
    let mut raw = node.origin.notification("raw", "").raw();
    raw.body = vec![1; BODY_MAX_BYTES];
    let answer = node.deliver("raw", raw).await;
    assert_eq!(answer.status, 200, "{answer:?}");

    // Both get as far as the store, and no message of a report is too large.
    eventually("the intake log to be taken in", || async {
        (node.spool.pending() == 0).then_some(())
    })
    .await;
    let mut events = Vec::new();
    for sequenced in node.records().await {
        if let RecordBody::Accepted(accepted) = &sequenced.record.body {
            events.push(accepted.event.body.len());
        }
        let records = vec![convert::record::to_wire(sequenced)];
        let batch = report_request::Message::Batch(wire::RecordBatch { records });
        let message = Some(batch);
        let bytes = wire::ReportRequest { message }.encoded_len();
        assert!(bytes <= REPORT_MESSAGE_MAX_BYTES, "{bytes}");
    }
    assert_eq!(events, [BODY_MAX_BYTES + 32, BODY_MAX_BYTES]);
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

/// What `count` posts of JSON came to, one after the other: how many were taken, and every refusal.
async fn posted(node: &Node, workflow: &str, key: &str, count: usize) -> (usize, Vec<Answer>) {
    let url = format!("{}?x-api-key={key}", node.hook_url(workflow));
    let mut answers = Vec::new();
    for _ in 0..count {
        let post = node
            .request(&url)
            .header("content-type", "application/json");
        answers.push(node.send(post.body("{}")).await);
    }
    let (taken, refused): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|answer| answer.status == 200);
    (taken.len(), refused)
}

/// The trigger of a workflow, and its limit.
fn rated(trigger: &str, burst: u32) -> String {
    format!("{trigger}\nrateLimit: {{eventsPerSecond: 1, burst: {burst}}}")
}

#[tokio::test]
async fn a_rate_is_kept_and_says_when_to_come_again() {
    let node = Node::start().await;
    let keys = "apiKeys: [sender, other]";
    let hook = rated(&format!("{{webhook: {{{keys}}}}}"), 40);
    let orders = rated(
        &format!("{{amazonSns: {{{keys}, topicArns: ['{ORDERS}']}}}}"),
        1,
    );
    let free = format!("{{webhook: {{{keys}}}}}");
    let sender = key("projects/default/apiKeys/sender", KEY, false, None);
    let upserts = vec![
        workflow("rated", true, Some(&hook), None),
        workflow("rated-orders", true, Some(&orders), None),
        workflow("free", true, Some(&free), None),
        with_rate(sender.clone(), 1, 30),
    ];
    node.store.apply(change(2, upserts)).unwrap();

    // The key's own limit is the lower one, whatever it is used for; a second or two may go by.
    let (taken, refused) = posted(&node, "free", KEY, 50).await;
    assert!((30..40).contains(&taken), "{taken}");
    for answer in &refused {
        assert_eq!(answer.status, 429);
        assert_eq!(answer.reason(), "key-rate-limited");
        assert_eq!(answer.headers["retry-after"], "1");
    }
    // What it sends too much uses up nothing of the workflow's.
    let (taken, _) = posted(&node, "rated", KEY, 20).await;
    assert!(taken < 10, "{taken}");
    let (taken, refused) = posted(&node, "rated", OTHER_KEY, 60).await;
    assert!((25..50).contains(&taken), "{taken}");
    for answer in &refused {
        assert_eq!(
            (answer.status.as_u16(), answer.reason().as_str()),
            (429, "workflow-rate-limited")
        );
    }
    let (taken, _) = posted(&node, "free", OTHER_KEY, 60).await;
    assert_eq!(taken, 60, "another workflow, and a key without a limit");

    // Amazon SNS gets an answer that it surely tries again after; a copy counts like any request.
    node.store.apply(change(3, vec![sender])).unwrap();
    let copy = || sign(&node.origin.notification("copy", "hello"));
    let mut reasons = Vec::new();
    for _ in 0..10 {
        let answer = node.deliver("rated-orders", copy()).await;
        if answer.status != 200 {
            assert_eq!(answer.status, 503);
            assert_eq!(answer.headers["retry-after"], "1");
            reasons.push(answer.reason());
        }
    }
    assert!(!reasons.is_empty());
    assert!(
        reasons
            .iter()
            .all(|reason| reason == "workflow-rate-limited")
    );

    // A workflow without a limit again, at once.
    let free_again = workflow("rated", true, Some(&free), None);
    node.store.apply(change(4, vec![free_again])).unwrap();
    let (taken, _) = posted(&node, "rated", KEY, 60).await;
    assert_eq!(taken, 60);
}

#[tokio::test]
async fn what_is_over_a_rate_is_refused_before_its_body_is_read() {
    let node = Node::start().await;
    let sender = key("projects/default/apiKeys/sender", KEY, false, None);
    node.store
        .apply(change(2, vec![with_rate(sender, 1, 1)]))
        .unwrap();
    let url = format!("{}?x-api-key={KEY}", node.hook_url("hook"));
    let mut held = Vec::new();
    eventually("an answer to a request without a body", || {
        // Never more than its first byte.
        let (sender, body) = tokio::sync::mpsc::channel::<Result<&'static str, std::io::Error>>(1);
        sender.try_send(Ok("{")).unwrap();
        held.push(sender);
        let stream = tokio_stream::wrappers::ReceiverStream::new(body);
        let request = node
            .request(&url)
            .timeout(Duration::from_millis(500))
            .header("content-type", "application/json")
            .body(reqwest::Body::wrap_stream(stream));
        async move {
            let answer = Answer::of(request.send().await.ok()?).await;
            assert_eq!(
                (answer.status.as_u16(), answer.reason().as_str()),
                (429, "key-rate-limited")
            );
            Some(())
        }
    })
    .await;
}

/// A request with a JSON body of `bytes` bytes whose body the node has begun to read, and has none of.
async fn held(node: &Node, key: &str, bytes: usize) -> TcpStream {
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    let head = format!(
        "POST /v1/projects/default/workflows/shared/webhook HTTP/1.1\r\nhost: h\r\nx-api-key: {key}\r\n\
         content-type: application/json\r\ncontent-length: {bytes}\r\nexpect: 100-continue\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let said = said(&mut stream).await;
    assert!(said.starts_with("HTTP/1.1 100"), "{said}");
    stream
}

async fn said(stream: &mut TcpStream) -> String {
    let mut buffer = [0; 2048];
    let read = stream.read(&mut buffer).await.unwrap();
    String::from_utf8_lossy(&buffer[..read]).into_owned()
}

fn json(bytes: usize) -> String {
    format!("\"{}\"", "x".repeat(bytes - 2))
}

/// The status and the reason of a request with a whole body.
async fn whole(node: &Node, key: &str, bytes: usize) -> (u16, String) {
    let url = format!("{}?x-api-key={key}", node.hook_url("shared"));
    let request = node
        .request(&url)
        .header("content-type", "application/json");
    let answer = node.send(request.body(json(bytes))).await;
    (answer.status.as_u16(), answer.reason())
}

/// A node with a workflow of two keys.
async fn shared(options: Options) -> Node {
    let node = Node::with(options).await;
    let shared = workflow(
        "shared",
        true,
        Some("{webhook: {apiKeys: [sender, other]}}"),
        None,
    );
    node.store.apply(change(2, vec![shared])).unwrap();
    node
}

#[tokio::test]
async fn who_sends_slowly_keeps_nobody_else_out() {
    let node = shared(Options {
        in_flight_max: 12,
        ..Options::default()
    })
    .await;
    let overloaded = (503, "overloaded".to_owned());
    let mut slow = Vec::new();
    for _ in 0..3 {
        slow.push(held(&node, KEY, 10).await);
    }
    for _ in 0..20 {
        assert_eq!(whole(&node, KEY, 10).await, overloaded);
        assert_eq!(whole(&node, OTHER_KEY, 10).await.0, 200);
    }
    let delivery = node.refused("overloaded").await;
    assert!(delivery.detail.contains("API key"), "{delivery:?}");
    // What it has begun is taken, and gives its place back; so does what is broken off.
    let mut first = slow.pop().unwrap();
    first.write_all(json(10).as_bytes()).await.unwrap();
    let answer = said(&mut first).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(whole(&node, KEY, 10).await.0, 200);
    slow.push(held(&node, KEY, 10).await);
    assert_eq!(whole(&node, KEY, 10).await, overloaded);
    drop(slow);
    eventually("the places of those who left", || async {
        (whole(&node, KEY, 10).await.0 == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn bodies_take_no_more_memory_than_they_may() {
    let node = shared(Options {
        bodies_max_bytes: 40_000,
        ..Options::default()
    })
    .await;
    let keys: Vec<String> = (0..5).map(|n| format!("sbk_number-{n}")).collect();
    let mut upserts: Vec<_> = (0..5)
        .map(|n| {
            key(
                &format!("projects/default/apiKeys/k{n}"),
                &keys[n],
                false,
                None,
            )
        })
        .collect();
    let trigger = "{webhook: {apiKeys: [sender, other, k0, k1, k2, k3, k4]}}";
    upserts.push(workflow("shared", true, Some(trigger), None));
    node.store.apply(change(3, upserts)).unwrap();
    let overloaded = (503, "overloaded".to_owned());

    // A key has a quarter, of what it announces, though it sends nothing, and of what it sends unannounced.
    let first = held(&node, &keys[0], 9000).await;
    assert_eq!(whole(&node, &keys[0], 1001).await, overloaded);
    assert_eq!(whole(&node, &keys[0], 1000).await.0, 200);
    assert_eq!(whole(&node, &keys[1], 10_001).await, overloaded);
    assert_eq!(whole(&node, &keys[1], 10_000).await.0, 200);
    let url = format!("{}?x-api-key={}", node.hook_url("shared"), keys[1]);
    let chunked = |bytes: usize| {
        let text = json(bytes).into_bytes();
        let parts: Vec<_> = text.chunks(1000).map(<[u8]>::to_vec).collect();
        let parts = parts.into_iter().map(Ok::<_, std::io::Error>);
        let body = reqwest::Body::wrap_stream(futures::stream::iter(parts));
        let request = node
            .request(&url)
            .header("content-type", "application/json");
        node.send(request.body(body))
    };
    assert_eq!(chunked(10_000).await.status, 200);
    let answer = chunked(10_500).await;
    assert_eq!((answer.status.as_u16(), answer.reason()), overloaded);
    let delivery = node.refused("overloaded").await;
    assert!(delivery.detail.contains("memory"), "{delivery:?}");

    // All of them have no more than there is.
    let mut others = Vec::new();
    for key in &keys[1..4] {
        others.push(held(&node, key, 10_000).await);
    }
    assert_eq!(whole(&node, &keys[4], 1001).await, overloaded);
    assert_eq!(whole(&node, &keys[4], 1000).await.0, 200);
    drop(first);
    eventually("the memory of who left", || async {
        (whole(&node, &keys[4], 10_000).await.0 == 200).then_some(())
    })
    .await;
    drop(others);
    // Nothing is kept of what was refused, or taken.
    eventually("all of it", || async {
        let mut all = Vec::new();
        for key in &keys {
            all.push(whole(&node, key, 10_000).await.0);
        }
        all.iter().all(|status| *status == 200).then_some(())
    })
    .await;
}
