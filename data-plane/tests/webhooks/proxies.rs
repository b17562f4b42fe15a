//! Whose address a request counts as: load balancers that speak the PROXY protocol, proxies that add headers.

use std::sync::{Arc, Mutex};

use ppp::v2::{Builder, Command, Protocol, Version};
use signalbox_data_plane::server::Proxies;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::node::{Node, Options, eventually, self_signed};

const SENDER: &str = "203.0.113.9";

fn loopback() -> signalbox_data_plane::server::Networks {
    vec!["127.0.0.0/8".parse().unwrap()].into()
}

fn elsewhere() -> signalbox_data_plane::server::Networks {
    vec!["10.0.0.0/8".parse().unwrap()].into()
}

async fn behind(proxies: Proxies) -> Node {
    Node::with(Options {
        proxies,
        ..Options::default()
    })
    .await
}

/// A request without a key, so that a delivery names where it came from; `head` is more of its headers.
fn keyless(head: &str) -> String {
    format!(
        "POST /v1/projects/default/workflows/hook/webhook HTTP/1.1\r\nhost: h\r\n{head}connection: close\r\n\
         content-length: 0\r\n\r\n"
    )
}

fn header(command: Command) -> Vec<u8> {
    let addresses: (std::net::SocketAddr, std::net::SocketAddr) = (
        format!("{SENDER}:4711").parse().unwrap(),
        "192.0.2.1:443".parse().unwrap(),
    );
    Builder::with_addresses(Version::Two | command, Protocol::Stream, addresses)
        .build()
        .unwrap()
}

/// What the node answers to `bytes`, or none when it ends the connection.
async fn say(node: &Node, bytes: &[u8]) -> Option<String> {
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    let mut answer = Vec::new();
    // The other side may end the connection while this is being written.
    let _ = stream.write_all(bytes).await;
    let _ = stream.read_to_end(&mut answer).await;
    (!answer.is_empty()).then(|| String::from_utf8_lossy(&answer).into_owned())
}

/// The addresses of all deliveries, when there are `count`.
async fn sources(node: &Node, count: usize) -> Vec<String> {
    eventually("the deliveries", || async {
        let deliveries = node.deliveries().await;
        (deliveries.len() == count).then(|| {
            let sources = deliveries.into_iter();
            sources.map(|delivery| delivery.source_address).collect()
        })
    })
    .await
}

#[tokio::test]
async fn a_load_balancer_says_whose_connection_it_is() {
    let node = behind(Proxies {
        proxy_protocol: loopback(),
        ..Proxies::default()
    })
    .await;
    let request = keyless("");
    let version1 = format!("PROXY TCP4 {SENDER} 192.0.2.1 4711 443\r\n{request}");
    let version2 = [&header(Command::Proxy)[..], request.as_bytes()].concat();
    let check = [&header(Command::Local)[..], request.as_bytes()].concat();
    for (bytes, count) in [(version1.as_bytes(), 1), (&version2, 2), (&check, 3)] {
        let answer = say(&node, bytes).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
        sources(&node, count).await;
    }
    assert_eq!(sources(&node, 3).await, [SENDER, SENDER, "127.0.0.1"]);
    // Without a header, or with a broken one, there is no answer, and nothing happened.
    for bytes in [
        request.as_bytes(),
        b"PROXY TCP4 nobody 192.0.2.1 1 2\r\nPOST / HTTP/1.1\r\n\r\n",
        b"PROXY TCP4 203.0.113.9 192.0.2.1 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31\r\n",
    ] {
        assert_eq!(say(&node, bytes).await, None);
    }
    assert_eq!(node.deliveries().await.len(), 3);
}

#[tokio::test]
async fn the_header_comes_before_tls() {
    let dir = tempfile::tempdir().unwrap();
    let (tls, chain) = self_signed(dir.path());
    let node = Node::with(Options {
        tls: Some(tls),
        proxies: Proxies {
            proxy_protocol: loopback(),
            ..Proxies::default()
        },
        ..Options::default()
    })
    .await;
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    stream.write_all(&header(Command::Proxy)).await.unwrap();
    let client = signalbox_runtime::tls::client_config(Some(&chain)).unwrap();
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let mut stream = tokio_rustls::TlsConnector::from(client)
        .connect(name, stream)
        .await
        .unwrap();
    stream.write_all(keyless("").as_bytes()).await.unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    assert_eq!(sources(&node, 1).await, [SENDER]);
}

#[tokio::test]
async fn a_header_that_does_not_come_ends_the_connection() {
    let node = behind(Proxies {
        proxy_protocol: loopback(),
        ..Proxies::default()
    })
    .await;
    // Bounded by its own limit, which is shorter than that of idle connections.
    let address = node.address;
    let ends = |beginning: Vec<u8>| async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&beginning).await.unwrap();
        let mut rest = Vec::new();
        let read = stream.read_to_end(&mut rest);
        let ended = tokio::time::timeout(std::time::Duration::from_secs(9), read).await;
        ended.is_ok() && rest.is_empty()
    };
    let version2 = header(Command::Proxy)[..20].to_vec();
    let all = tokio::join!(
        ends(Vec::new()),
        ends(b"PROXY TCP4 203.0.".to_vec()),
        ends(version2)
    );
    assert_eq!(all, (true, true, true));
}

#[tokio::test]
async fn nobody_else_may_name_an_address() {
    let node = behind(Proxies {
        proxy_protocol: elsewhere(),
        trusted: elsewhere(),
        ..Proxies::default()
    })
    .await;
    let version1 = format!("PROXY TCP4 {SENDER} 192.0.2.1 4711 443\r\n{}", keyless(""));
    let answer = say(&node, version1.as_bytes()).await.unwrap_or_default();
    assert!(
        !answer.contains("401"),
        "the header is no request: {answer}"
    );
    let forged = keyless(&format!(
        "x-forwarded-for: {SENDER}\r\nforwarded: for={SENDER}\r\n"
    ));
    assert!(say(&node, forged.as_bytes()).await.unwrap().contains("401"));
    assert_eq!(sources(&node, 1).await, ["127.0.0.1"]);
}

#[tokio::test]
async fn a_trusted_proxy_names_the_sender_of_each_request() {
    let node = behind(Proxies {
        trusted: loopback(),
        ..Proxies::default()
    })
    .await;
    let heads = [
        ("x-forwarded-for: 1.1.1.1, 203.0.113.9\r\n", SENDER),
        ("x-forwarded-for: 203.0.113.9, 127.0.0.5\r\n", SENDER),
        (
            "forwarded: for=\"[2001:db8::7]:80\";proto=https\r\n",
            "2001:db8::7",
        ),
        (
            "forwarded: for=1.1.1.1\r\nx-forwarded-for: 203.0.113.9\r\n",
            "127.0.0.1",
        ),
        ("forwarded: rubbish\r\n", "127.0.0.1"),
        ("", "127.0.0.1"),
    ];
    for (at, (head, _)) in heads.iter().enumerate() {
        say(&node, keyless(head).as_bytes()).await.unwrap();
        sources(&node, at + 1).await;
    }
    let expected: Vec<_> = heads.iter().map(|(_, source)| *source).collect();
    assert_eq!(sources(&node, heads.len()).await, expected);
}

#[tokio::test]
async fn one_in_front_of_the_other_are_read_one_after_the_other() {
    // A network load balancer before an HTTP proxy: the one names the other, which names the sender.
    let node = behind(Proxies {
        proxy_protocol: loopback(),
        trusted: vec![format!("{SENDER}/32").parse().unwrap()].into(),
        ..Proxies::default()
    })
    .await;
    let request = keyless("x-forwarded-for: 198.51.100.7\r\n");
    say(
        &node,
        &[&header(Command::Proxy)[..], request.as_bytes()].concat(),
    )
    .await
    .unwrap();
    assert_eq!(sources(&node, 1).await, ["198.51.100.7"]);
}

/// What is written of spans.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

// One thread, so that the whole node runs under this test's subscriber.
#[tokio::test(flavor = "current_thread")]
async fn spans_name_sender_proxy_and_the_senders_protocol() {
    let written = Written::default();
    let writer = written.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        // A request's span is at this level: it is made only where somebody wants it.
        .with_max_level(tracing::Level::DEBUG)
        .with_span_events(tracing_subscriber::fmt::format::FmtSpan::NEW)
        .with_writer(move || writer.clone())
        .finish();
    let _traced = tracing::subscriber::set_default(subscriber);
    let node = behind(Proxies {
        trusted: loopback(),
        ..Proxies::default()
    })
    .await;
    for (head, fields) in [
        (
            "x-forwarded-for: 203.0.113.9\r\nx-forwarded-proto: https\r\n",
            [
                "client.address=203.0.113.9",
                "network.peer.address=127.0.0.1",
                "url.scheme=\"https\"",
            ],
        ),
        (
            "",
            [
                "client.address=127.0.0.1",
                "network.peer.address=127.0.0.1",
                "url.scheme=\"http\"",
            ],
        ),
    ] {
        written.0.lock().unwrap().clear();
        say(&node, keyless(head).as_bytes()).await.unwrap();
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        for field in fields {
            assert!(text.contains(field), "{field} is not in {text}");
        }
    }
}
