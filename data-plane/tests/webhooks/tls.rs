//! What is spoken below HTTP, by real handshakes.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, ProtocolVersion, SupportedProtocolVersion,
    pki_types::ServerName,
    version::{TLS12, TLS13},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::node::{Node, Options, self_signed};

async fn node(dir: &Path) -> (Node, std::path::PathBuf) {
    let (tls, chain) = self_signed(dir);
    let node = Node::with(Options {
        tls: Some(tls),
        ..Options::default()
    })
    .await;
    (node, chain)
}

fn client(
    chain: &Path,
    versions: &[&'static SupportedProtocolVersion],
    protocols: &[&[u8]],
) -> Arc<ClientConfig> {
    let roots = signalbox_runtime::tls::root_store(Some(chain)).unwrap();
    let mut config = ClientConfig::builder_with_protocol_versions(versions)
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
    Arc::new(config)
}

async fn handshake(
    node: &Node,
    config: Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(node.address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(config).connect(name, stream).await
}

#[tokio::test]
async fn both_versions_choose_h2_before_http11() {
    let dir = tempfile::tempdir().unwrap();
    let (node, chain) = node(dir.path()).await;
    let (h2, http11): (&[u8], &[u8]) = (b"h2", b"http/1.1");
    for (version, expected) in [
        (&TLS12, ProtocolVersion::TLSv1_2),
        (&TLS13, ProtocolVersion::TLSv1_3),
    ] {
        for (offered, chosen) in [
            (&[h2, http11][..], Some(h2)),
            (&[http11, h2], Some(h2)),
            (&[http11], Some(http11)),
            (&[b"spdy/3", http11], Some(http11)),
            // Amazon SNS need not know of ALPN at all.
            (&[], None),
        ] {
            let stream = handshake(&node, client(&chain, &[version], offered))
                .await
                .unwrap();
            let session = stream.get_ref().1;
            assert_eq!(session.protocol_version(), Some(expected));
            assert_eq!(session.alpn_protocol(), chosen, "{offered:?}");
        }
        // RFC 7301 §3.2: who offers only what is not spoken is told so.
        for unknown in [&b"spdy/3"[..], b"acme-tls/1"] {
            let error = handshake(&node, client(&chain, &[version], &[unknown]))
                .await
                .unwrap_err();
            assert!(
                error.to_string().contains("NoApplicationProtocol"),
                "{error}"
            );
        }
    }
}

#[tokio::test]
async fn without_alpn_http11_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let (node, chain) = node(dir.path()).await;
    let mut stream = handshake(&node, client(&chain, &[&TLS12], &[]))
        .await
        .unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
}

/// A hello of a version that ends at `minor` (1 is TLS 1.0), with suites of its time, and the curves and signatures that
/// make its version the only thing wrong with it.
fn old_hello(minor: u8) -> Vec<u8> {
    let mut body = vec![3, minor];
    body.extend([7; 32]);
    // No session; AES128-SHA and ECDHE-RSA-AES128-SHA; no compression.
    body.extend([0, 0, 4, 0x00, 0x2f, 0xc0, 0x13, 1, 0]);
    let extensions = [0, 10, 0, 4, 0, 2, 0, 23, 0, 13, 0, 4, 0, 2, 4, 3];
    body.extend([0, u8::try_from(extensions.len()).unwrap()]);
    body.extend(extensions);
    let length = u8::try_from(body.len()).unwrap();
    [&[22, 3, 1, 0, length + 4, 1, 0, 0, length], &body[..]].concat()
}

#[tokio::test]
async fn older_versions_are_refused_by_name() {
    const FATAL: u8 = 2;
    const PROTOCOL_VERSION: u8 = 70;
    let dir = tempfile::tempdir().unwrap();
    let (node, _) = node(dir.path()).await;
    for minor in [0, 1, 2] {
        let mut stream = TcpStream::connect(node.address).await.unwrap();
        stream.write_all(&old_hello(minor)).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert_eq!(answer[0], 21, "an alert: {answer:?}");
        assert_eq!(answer[5..], [FATAL, PROTOCOL_VERSION], "{answer:?}");
    }
}
