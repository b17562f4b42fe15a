//! More connections than there is room for.

use std::{sync::Arc, time::Duration};

use signalbox_data_plane::server::Proxies;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    node::{Node, Options, eventually, self_signed},
    sns::sign,
};

const SLOTS: usize = 300;

async fn crowded(tls: Option<Arc<rustls::ServerConfig>>) -> Node {
    let mut options = Options {
        tls,
        ..Options::default()
    };
    options.limits.connections_max = SLOTS;
    // None of these limits may be what helps.
    options.limits.header_timeout = Duration::from_secs(3600);
    options.limits.idle_timeout = Duration::from_secs(3600);
    options.limits.end_timeout = Duration::from_secs(3600);
    Node::with(options).await
}

/// As many connections as there are slots, and more in the queue, each having said `beginning` and then nothing.
async fn crowd(node: &Node, beginning: &[u8]) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for _ in 0..SLOTS + 50 {
        let mut stream = TcpStream::connect(node.address).await.unwrap();
        stream.write_all(beginning).await.unwrap();
        streams.push(stream);
    }
    streams
}

#[tokio::test]
async fn idle_connections_do_not_lock_out_good_senders() {
    for beginning in [
        &b""[..],
        b"POST /v1/projects/default/wor",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
        b"GET / HTTP/1.1\r\nhost: h\r\n\r\n",
    ] {
        let node = crowded(None).await;
        let crowd = crowd(&node, beginning).await;
        for id in ["one", "two", "three"] {
            let message = sign(&node.origin.notification(id, "hello"));
            let sent =
                tokio::time::timeout(Duration::from_secs(10), node.deliver("orders", message));
            let answer = sent.await.expect("room for a good sender");
            assert_eq!(answer.status, 200, "{beginning:?}");
        }
        drop(crowd);
    }
}

#[tokio::test]
async fn handshakes_that_never_go_on_do_not_lock_out_good_senders() {
    let dir = tempfile::tempdir().unwrap();
    let (tls, chain) = self_signed(dir.path());
    let node = crowded(Some(tls)).await;
    let crowd = crowd(&node, b"\x16\x03\x01\x02\x00\x01").await;
    let trusting = (*signalbox_runtime::tls::client_config(Some(&chain)).unwrap()).clone();
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(trusting)
        .resolve("localhost", node.address)
        // Below the ten seconds that a handshake may take.
        .timeout(Duration::from_secs(8))
        .build()
        .unwrap();
    let url = format!("https://localhost:{}/", node.address.port());
    assert_eq!(client.get(url).send().await.unwrap().status(), 404);
    drop(crowd);
}

#[tokio::test]
async fn who_has_a_request_under_way_keeps_its_place() {
    let mut options = Options::default();
    options.limits.connections_max = 2;
    let node = Node::with(options).await;
    let mut busy = TcpStream::connect(node.address).await.unwrap();
    let head = format!(
        "POST /v1/projects/default/workflows/hook/webhook HTTP/1.1\r\nhost: h\r\nx-api-key: {}\r\n\
         content-type: application/json\r\ncontent-length: 2\r\nexpect: 100-continue\r\n\r\n",
        crate::node::KEY
    );
    busy.write_all(head.as_bytes()).await.unwrap();
    let mut buffer = [0; 1024];
    let read = busy.read(&mut buffer).await.unwrap();
    assert!(buffer[..read].starts_with(b"HTTP/1.1 100"));
    // The other place changes hands, again and again.
    let mut others = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(node.address).await.unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n")
            .await
            .unwrap();
        let read = stream.read(&mut buffer).await.unwrap();
        assert!(buffer[..read].starts_with(b"HTTP/1.1 404"));
        others.push(stream);
    }
    busy.write_all(b"{}").await.unwrap();
    let read = busy.read(&mut buffer).await.unwrap();
    assert!(buffer[..read].starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn one_address_has_its_share_of_connections() {
    let share = |proxies| async {
        let mut options = Options {
            proxies,
            ..Options::default()
        };
        options.limits.connections_per_address_max = 3;
        Node::with(options).await
    };
    let ended = |mut stream: TcpStream| async move {
        let mut byte = [0; 1];
        let read = stream.read(&mut byte);
        tokio::time::timeout(Duration::from_millis(300), read)
            .await
            .is_ok()
    };
    let node = share(Proxies::default()).await;
    let mut first = Vec::new();
    for _ in 0..3 {
        first.push(TcpStream::connect(node.address).await.unwrap());
    }
    assert!(ended(TcpStream::connect(node.address).await.unwrap()).await);
    // A place that is given back can be had again.
    drop(first.pop());
    eventually("a place", || async {
        let stream = TcpStream::connect(node.address).await.unwrap();
        (!ended(stream).await).then_some(())
    })
    .await;
    for mut stream in first {
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    }

    // The connections of a proxy are those of many senders.
    let loopback = vec!["127.0.0.0/8".parse().unwrap()];
    let node = share(Proxies {
        trusted: loopback.into(),
        ..Proxies::default()
    })
    .await;
    let mut all = Vec::new();
    for _ in 0..6 {
        all.push(TcpStream::connect(node.address).await.unwrap());
    }
    for stream in all {
        assert!(!ended(stream).await);
    }
}
