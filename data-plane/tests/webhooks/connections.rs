//! What happens below the requests: time, limits, protocols, the end.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    node::{KEY, Node, Options, eventually, self_signed},
    sns::sign,
};

async fn connect(node: &Node) -> TcpStream {
    TcpStream::connect(node.address).await.unwrap()
}

/// A whole request at `…/webhook` as text.
fn request(head: &str, body: &str) -> String {
    format!(
        "POST /v1/projects/default/workflows/hook/webhook HTTP/1.1\r\nhost: h\r\nx-api-key: {KEY}\r\n\
         content-type: application/json\r\n{head}\r\n{body}"
    )
}

/// Whatever comes until the end of the connection, which must come.
async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_to_end(&mut bytes));
    // Cut off is an end, too.
    let _ = read.await.expect("the connection to end");
    String::from_utf8_lossy(&bytes).into_owned()
}

async fn exchange(node: &Node, text: &str) -> String {
    let mut stream = connect(node).await;
    stream.write_all(text.as_bytes()).await.unwrap();
    read_to_end(&mut stream).await
}

fn impatient() -> Options {
    let mut options = Options::default();
    options.limits.header_timeout = Duration::from_millis(200);
    options.limits.idle_timeout = Duration::from_millis(200);
    options.limits.end_timeout = Duration::from_millis(200);
    options.body_timeout = Duration::from_millis(200);
    options
}

#[tokio::test]
async fn silence_and_slowness_end_a_connection() {
    let node = Node::with(impatient()).await;
    let mut silent = connect(&node).await;
    let mut half = connect(&node).await;
    half.write_all(b"POST /v1/pro").await.unwrap();
    let mut preface = connect(&node).await;
    preface.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap();
    let mut idle = connect(&node).await;
    idle.write_all(request("content-length: 2\r\n", "{}").as_bytes())
        .await
        .unwrap();
    for stream in [&mut silent, &mut half, &mut preface] {
        let answer = read_to_end(stream).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 408"),
            "{answer}"
        );
    }
    let answer = read_to_end(&mut idle).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_answered_retriably() {
    let node = Node::with(impatient()).await;
    let mut stream = connect(&node).await;
    stream
        .write_all(request("content-length: 9\r\n", "{").as_bytes())
        .await
        .unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("body-timeout"), "{answer}");
    assert_eq!(node.accepted().await, []);

    // Broken off.
    let mut stream = connect(&node).await;
    stream
        .write_all(request("content-length: 9\r\n", "{}").as_bytes())
        .await
        .unwrap();
    stream.shutdown().await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(!answer.contains("200 OK"), "{answer}");
    assert_eq!(node.accepted().await, []);
}

#[tokio::test]
async fn lengths_that_lie_or_contradict_are_not_believed() {
    let node = Node::with(impatient()).await;
    let announced = request("content-length: 99999999999\r\n", "{}");
    let answer = exchange(&node, &announced).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    for head in [
        "content-length: 2\r\ncontent-length: 3\r\n",
        "content-length: -1\r\n",
        "content-length: 2x\r\n",
        "transfer-encoding: gzip\r\n",
        "transfer-encoding: chunked, identity\r\n",
    ] {
        let answer = exchange(&node, &request(head, "{}")).await;
        assert!(!answer.contains("200 OK"), "{head}: {answer}");
    }
    // What follows the first request must not be read as a second one that a proxy in front did not see.
    let smuggled = request("content-length: 1\r\n", "{}").replace("{}", "12");
    let answer = exchange(&node, &smuggled).await;
    assert_eq!(answer.matches("200 OK").count(), 1, "{answer}");
    let both = request(
        "content-length: 2\r\ntransfer-encoding: chunked\r\n",
        "2\r\n{}\r\n0\r\n\r\n",
    );
    let answer = exchange(&node, &both).await;
    assert!(answer.matches("HTTP/1.1").count() <= 1, "{answer}");
    let extended = request(
        "transfer-encoding: chunked\r\n",
        "2;a=b;c\r\n{}\r\n0\r\n\r\n",
    );
    let answer = exchange(&node, &extended).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn heads_are_bounded() {
    let node = Node::start().await;
    let many: String = (0..200).map(|n| format!("x-{n}: 1\r\n")).collect();
    let long = format!("x-long: {}\r\n", "x".repeat(100 * 1024));
    for head in [many, long] {
        let mut stream = connect(&node).await;
        let text = request(&head, "");
        // The other side may end the connection while this is being written.
        let _ = stream.write_all(text.as_bytes()).await;
        let answer = read_to_end(&mut stream).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 431"),
            "{answer}"
        );
    }
}

#[tokio::test]
async fn continue_is_said_only_to_who_may_send() {
    let node = Node::start().await;
    let expecting = request("content-length: 2\r\nexpect: 100-continue\r\n", "");
    let mut stream = connect(&node).await;
    stream.write_all(expecting.as_bytes()).await.unwrap();
    let mut buffer = [0; 1024];
    let read = stream.read(&mut buffer).await.unwrap();
    assert!(buffer[..read].starts_with(b"HTTP/1.1 100"));
    stream.write_all(b"{}").await.unwrap();
    let read = stream.read(&mut buffer).await.unwrap();
    assert!(buffer[..read].starts_with(b"HTTP/1.1 200"));

    let mut stream = connect(&node).await;
    stream
        .write_all(expecting.replace(KEY, "sbk_wrong").as_bytes())
        .await
        .unwrap();
    let read = stream.read(&mut buffer).await.unwrap();
    assert!(buffer[..read].starts_with(b"HTTP/1.1 401"));
}

#[tokio::test]
async fn pipelined_requests_and_absolute_targets_are_served() {
    let node = Node::start().await;
    let one = request("content-length: 2\r\n", "{}");
    let last = request("content-length: 2\r\nconnection: close\r\n", "{}");
    let absolute = one.replace("POST /", "POST http://user:pass@elsewhere/");
    let answer = exchange(&node, &format!("{one}{absolute}{last}")).await;
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 3, "{answer}");
    assert_eq!(node.accepted().await.len(), 3);
}

#[tokio::test]
async fn a_client_that_vanishes_takes_nobody_along() {
    let node = Node::start().await;
    for _ in 0..50 {
        let mut stream = connect(&node).await;
        stream
            .write_all(request("content-length: 2\r\n", "{}").as_bytes())
            .await
            .unwrap();
        drop(stream);
    }
    let message = sign(&node.origin.notification("m", "hello"));
    assert_eq!(node.deliver("orders", message).await.status, 200);
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_their_turn() {
    let mut options = Options::default();
    options.limits.connections_max = 1;
    let node = Node::with(options).await;
    let first = connect(&node).await;
    let mut second = connect(&node).await;
    let whole = request("content-length: 2\r\nconnection: close\r\n", "{}");
    second.write_all(whole.as_bytes()).await.unwrap();
    let mut buffer = [0; 1];
    let early = tokio::time::timeout(Duration::from_millis(200), second.read(&mut buffer)).await;
    assert!(early.is_err(), "the only slot is taken");
    drop(first);
    let answer = read_to_end(&mut second).await;
    assert!(answer.contains("200 OK"), "{answer}");
}

#[tokio::test]
async fn http2_is_spoken_in_the_clear_and_over_tls() {
    let node = Node::start().await;
    let client = reqwest::Client::builder()
        .http2_prior_knowledge()
        .build()
        .unwrap();
    let answer = client
        .post(format!("{}?x-api-key={KEY}", node.hook_url("hook")))
        .header("content-type", "application/json")
        .body("{}")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (answer.version(), answer.status().as_u16()),
        (http::Version::HTTP_2, 200)
    );

    let dir = tempfile::tempdir().unwrap();
    let (tls, chain) = self_signed(dir.path());
    let node = Node::with(Options {
        tls: Some(tls),
        ..Options::default()
    })
    .await;
    for (alpn, version) in [
        (&[&b"h2"[..], b"http/1.1"][..], http::Version::HTTP_2),
        (&[b"http/1.1"], http::Version::HTTP_11),
    ] {
        let mut tls = (*signalbox_runtime::tls::client_config(Some(&chain)).unwrap()).clone();
        tls.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .resolve("localhost", node.address)
            .build()
            .unwrap();
        let port = node.address.port();
        let url = format!(
            "https://localhost:{port}/v1/projects/default/workflows/hook/webhook?x-api-key={KEY}"
        );
        let request = client
            .post(url)
            .header("content-type", "application/json")
            .body("{}");
        let answer = request.send().await.unwrap();
        assert_eq!((answer.version(), answer.status().as_u16()), (version, 200));
    }
    // Plain HTTP at the TLS port, and a handshake that never goes on, end as connections.
    assert!(
        !exchange(&node, &request("content-length: 2\r\n", "{}"))
            .await
            .contains("200")
    );
}

#[tokio::test]
async fn draining_finishes_what_is_under_way_and_refuses_what_is_new() {
    let node = Arc::new(Node::start().await);
    // Under way: authorised, its body still coming.
    let mut under_way = connect(&node).await;
    let expecting = request("content-length: 2\r\nexpect: 100-continue\r\n", "");
    under_way.write_all(expecting.as_bytes()).await.unwrap();
    let mut buffer = [0; 1024];
    let read = under_way.read(&mut buffer).await.unwrap();
    assert!(buffer[..read].starts_with(b"HTTP/1.1 100"));
    // New: its head began before the end, and ends after it.
    let mut new = connect(&node).await;
    let text = request("content-length: 2\r\n", "{}");
    new.write_all(&text.as_bytes()[..20]).await.unwrap();
    let mut idle = connect(&node).await;
    let head_is_read = || async {
        // The server has read what was sent when it no longer stands in the socket's queue: tell it by a later answer.
        let message = sign(&node.origin.notification("probe", "hello"));
        (node.deliver("orders", message).await.status == 200).then_some(())
    };
    eventually("the server", head_is_read).await;

    node.shutdown.stop();
    assert_eq!(read_to_end(&mut idle).await, "");
    new.write_all(&text.as_bytes()[20..]).await.unwrap();
    let refused = read_to_end(&mut new).await;
    // Not a byte, when the server had not read the beginning of the head by then.
    if !refused.is_empty() {
        assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
        assert!(
            refused.contains("draining") && refused.contains("connection: close"),
            "{refused}"
        );
    }
    under_way.write_all(b"{}").await.unwrap();
    let finished = read_to_end(&mut under_way).await;
    assert!(finished.starts_with("HTTP/1.1 200"), "{finished}");
    let outcome = node.shutdown.drain(Duration::from_secs(10)).await;
    assert_eq!(outcome, signalbox_runtime::shutdown::DrainOutcome::Drained);
    assert!(
        TcpStream::connect(node.address).await.is_err(),
        "nobody listens any more"
    );
}
