#![allow(clippy::unwrap_used, clippy::expect_used)]
use std::fs;
use std::path::PathBuf;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ProtocolVersion;
use rustls_pki_types::ServerName;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

struct Files {
    folder: TempDir,
    chain: PathBuf,
    key: PathBuf,
    ca: PathBuf,
}

/// A CA and a certificate for `localhost` that it issued, as PEM files.
fn files() -> Files {
    let folder = tempfile::tempdir().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["localhost".to_owned()])
        .unwrap()
        .signed_by(&key, &ca)
        .unwrap();
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let chain = write("chain.pem", leaf.pem());
    let key = write("key.pem", key.serialize_pem());
    let ca = write("ca.pem", ca.pem());
    Files {
        folder,
        chain,
        key,
        ca,
    }
}

#[tokio::test]
async fn a_client_that_trusts_the_ca_speaks_h2_over_tls13() {
    let files = files();
    let acceptor = TlsAcceptor::from(server_config(&files.chain, &files.key).unwrap());
    let mut client = (*client_config(Some(&files.ca)).unwrap()).clone();
    client.alpn_protocols = vec![b"h2".to_vec()];
    let connector = TlsConnector::from(Arc::new(client));
    let (near, far) = tokio::io::duplex(16 * 1024);
    let server = tokio::spawn(async move {
        let mut stream = acceptor.accept(far).await.unwrap();
        let session = stream.get_ref().1;
        let alpn = session.alpn_protocol().unwrap().to_vec();
        let version = session.protocol_version();
        stream.write_all(b"hello").await.unwrap();
        stream.shutdown().await.unwrap();
        (alpn, version)
    });
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = connector.connect(name, near).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "hello");
    let (alpn, version) = server.await.unwrap();
    assert_eq!(alpn, b"h2");
    assert_eq!(version, Some(ProtocolVersion::TLSv1_3));
}

#[tokio::test]
async fn a_client_without_the_ca_refuses() {
    let files = files();
    let acceptor = TlsAcceptor::from(server_config(&files.chain, &files.key).unwrap());
    let connector = TlsConnector::from(client_config(None).unwrap());
    let (near, far) = tokio::io::duplex(16 * 1024);
    let server = tokio::spawn(async move { acceptor.accept(far).await.is_err() });
    let name = ServerName::try_from("localhost").unwrap();
    let error = connector.connect(name, near).await.unwrap_err();
    assert!(error.to_string().contains("UnknownIssuer"), "{error}");
    assert!(server.await.unwrap());
}

#[test]
fn each_fault_names_its_file() {
    let (one, other) = (files(), files());
    let missing = one.folder.path().join("missing.pem");
    let empty = one.folder.path().join("empty.pem");
    fs::write(&empty, "").unwrap();
    let broken = one.folder.path().join("broken.pem");
    fs::write(&broken, "-----BEGIN CERTIFICATE-----\n!\n").unwrap();
    let large = one.folder.path().join("large.pem");
    fs::write(
        &large,
        vec![b'\n'; usize::try_from(PEM_MAX_BYTES).unwrap() + 1],
    )
    .unwrap();

    let server = |chain: &Path, key: &Path| server_config(chain, key).unwrap_err();
    for (error, file) in [
        (server(&missing, &one.key), &missing),
        (server(&one.chain, &missing), &missing),
        (server(&empty, &one.key), &empty),
        (server(&one.chain, &empty), &empty),
        (server(&broken, &one.key), &broken),
        (server(&large, &one.key), &large),
        (server(&one.chain, &other.key), &other.key),
        (root_store(Some(&empty)).unwrap_err(), &empty),
        (root_store(Some(&missing)).unwrap_err(), &missing),
    ] {
        let line = crate::exit::chain(&error);
        assert!(line.contains(file.to_str().unwrap()), "{line}");
        assert!(!line.contains("BEGIN"), "{line}");
    }
}

#[test]
fn installing_the_provider_twice_is_harmless() {
    install_crypto_provider();
    install_crypto_provider();
    assert!(CryptoProvider::get_default().is_some());
}
