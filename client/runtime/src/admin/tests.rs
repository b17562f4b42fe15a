#![allow(clippy::unwrap_used, clippy::expect_used)]
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinHandle;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

struct Server {
    addr: SocketAddr,
    spool_ok: Arc<AtomicBool>,
    shutdown: Shutdown,
    task: JoinHandle<()>,
}

async fn start() -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let spool_ok = Arc::new(AtomicBool::new(true));
    let spool = Arc::clone(&spool_ok);
    let readiness = move || {
        let spool = match spool.load(Ordering::SeqCst) {
            true => Check::ok("spool", "writable"),
            false => Check::failing("spool", "the disk is full"),
        };
        vec![Check::ok("synced", "revision 7"), spool]
    };
    let shutdown = Shutdown::new();
    let task = tokio::spawn(serve(listener, Arc::new(readiness), shutdown.clone()));
    Server {
        addr,
        spool_ok,
        shutdown,
        task,
    }
}

/// Sends raw bytes and reads to the end of the connection.
async fn send(addr: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    let read = stream.read_to_string(&mut answer);
    tokio::time::timeout(PATIENCE, read)
        .await
        .expect("an answer in time")
        .unwrap();
    answer
}

async fn get(addr: SocketAddr, path: &str) -> (u16, String) {
    let answer = send(addr, &format!("GET {path} HTTP/1.1\r\nHost: t\r\n\r\n")).await;
    let status = answer[9..12].parse().unwrap();
    let (_head, body) = answer.split_once("\r\n\r\n").unwrap();
    (status, body.to_owned())
}

#[tokio::test]
async fn alive_ready_and_metrics() {
    crate::metrics::install().unwrap();
    ::metrics::counter!("signalbox_admin_test_total").increment(3);
    let server = start().await;
    assert_eq!(get(server.addr, "/healthz").await, (200, "ok\n".to_owned()));

    let (status, body) = get(server.addr, "/readyz").await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &body["ready"]), (200, &Value::Bool(true)));
    assert_eq!(body["checks"][0]["detail"], "revision 7");

    let (status, body) = get(server.addr, "/metrics").await;
    assert_eq!(status, 200);
    assert!(body.contains("signalbox_admin_test_total 3"), "{body}");
}

#[tokio::test]
async fn a_failing_check_is_503_and_named() {
    let server = start().await;
    server.spool_ok.store(false, Ordering::SeqCst);
    let (status, body) = get(server.addr, "/readyz").await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &body["ready"]), (503, &Value::Bool(false)));
    assert_eq!(body["checks"][1]["name"], "spool");
    assert_eq!(body["checks"][1]["detail"], "the disk is full");
}

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let server = start().await;
    assert_eq!(get(server.addr, "/").await.0, 404);
    let post = "POST /healthz HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n";
    let answer = send(server.addr, post).await;
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
    assert!(answer.contains("allow: GET, HEAD"), "{answer}");
}

#[tokio::test]
async fn too_many_header_fields_are_refused() {
    let server = start().await;
    let fields = "x-a: b\r\n".repeat(HEADERS_MAX + 1);
    let answer = send(
        server.addr,
        &format!("GET /healthz HTTP/1.1\r\n{fields}\r\n"),
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn it_answers_while_draining_and_ends_when_forced() {
    let server = start().await;
    server.shutdown.stop();
    let (status, body) = get(server.addr, "/readyz").await;
    assert_eq!(status, 503);
    assert!(body.contains("shutting down"), "{body}");
    assert_eq!(get(server.addr, "/healthz").await.0, 200);

    server.shutdown.drain(PATIENCE).await;
    tokio::time::timeout(PATIENCE, server.task)
        .await
        .expect("the server ends with the drain")
        .unwrap();
}

#[tokio::test]
async fn silent_connections_do_not_keep_others_out() {
    let server = start().await;
    let mut silent = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        silent.push(TcpStream::connect(server.addr).await.unwrap());
    }
    // Every slot is taken until the head timeout frees them; the next caller is served then.
    assert_eq!(get(server.addr, "/healthz").await.0, 200);
}
