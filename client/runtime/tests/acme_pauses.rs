//! How long an order that failed is waited with: as long as the authority asks, else until the operator does.
#![cfg(unix)]
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use signalbox_runtime::data_dir::DataDir;
use signalbox_runtime::shutdown::Shutdown;
use signalbox_runtime::tls::acme::{Acme, AcmeConfig, Domains};
use signalbox_runtime::{metrics, tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

const TOO_MANY: &str =
    r#"{"type":"urn:ietf:params:acme:error:rateLimited","detail":"too many orders"}"#;

/// An authority that has had enough; counts who asks.
struct Tired {
    directory: String,
    ca_file: PathBuf,
    asked: Arc<AtomicUsize>,
}

async fn tired(dir: &Path) -> Tired {
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (ca_file, key_file) = (dir.join("tls.pem"), dir.join("tls.key"));
    fs::write(&ca_file, made.cert.pem()).unwrap();
    fs::write(&key_file, made.signing_key.serialize_pem()).unwrap();
    let mut config = (*tls::server_config(&ca_file, &key_file).unwrap()).clone();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let directory = format!("https://{}/directory", listener.local_addr().unwrap());
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = asked.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else {
                continue;
            };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            counted.fetch_add(1, Ordering::SeqCst);
            let answer = format!(
                "HTTP/1.1 429 Too Many Requests\r\nretry-after: 1800\r\nconnection: close\r\n\
                 content-type: application/problem+json\r\ncontent-length: {}\r\n\r\n{TOO_MANY}",
                TOO_MANY.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
        }
    });
    Tired {
        directory,
        ca_file,
        asked,
    }
}

fn open(dir: &Path, directory: &str, ca_file: Option<PathBuf>) -> Arc<Acme> {
    let config = AcmeConfig {
        domains: Domains::new(["hooks.example.com".parse().unwrap()]).unwrap(),
        contacts: Vec::new(),
        directory: directory.parse().unwrap(),
        ca_file,
        external_account: None,
        retry_min: Duration::from_secs(600),
    };
    Acme::open(config, Arc::new(DataDir::open(dir).unwrap())).unwrap()
}

async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}\n{}", metrics::render());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn counted(outcome: &str, times: usize) -> bool {
    let line = format!("signalbox_acme_orders_total{{outcome=\"{outcome}\"}} {times}\n");
    metrics::render().contains(&line)
}

#[tokio::test]
async fn the_operator_may_end_a_pause_but_not_one_that_the_authority_asked_for() {
    metrics::install().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let tired = tired(dir.path()).await;
    // Nobody listens at port 1.
    let alone = open(&dir.path().join("a"), "https://127.0.0.1:1/directory", None);
    let limited = open(
        &dir.path().join("b"),
        &tired.directory,
        Some(tired.ca_file.clone()),
    );
    let shutdown = Shutdown::new();
    shutdown.spawn(alone.clone().run(shutdown.clone()));
    shutdown.spawn(limited.clone().run(shutdown.clone()));
    eventually("one failure of each", || {
        counted("failed", 1) && counted("rate-limited", 1)
    })
    .await;
    let told = limited.check();
    assert!(
        !told.ok && told.detail.contains("too many orders"),
        "{told:?}"
    );

    let kill = format!("kill -HUP {}", std::process::id());
    let status = Command::new("sh").args(["-c", &kill]).status().unwrap();
    assert!(status.success());
    eventually("another attempt", || counted("failed", 2)).await;
    assert!(counted("rate-limited", 1));
    assert_eq!(tired.asked.load(Ordering::SeqCst), 1);

    // Both pauses end with the process.
    let begin = Instant::now();
    shutdown.drain(Duration::from_secs(10)).await;
    assert!(begin.elapsed() < Duration::from_secs(5));
}
