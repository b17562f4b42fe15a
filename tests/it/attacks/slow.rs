//! Senders that take their time: each loses its connection, and nobody else's place.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use signalbox_tests::wait;

use super::support::{Post, Stage, Wire};

/// A little more than the longest of the node's own limits: a head may take 20 s, silence 30 s, the end 20 s more.
const LIMIT: Duration = Duration::from_secs(60);

/// Writes `first`, then a byte of `then` each half second, until the other side ends it; gives all that it said.
async fn trickle(addr: SocketAddr, first: Vec<u8>, then: Vec<u8>) -> String {
    let stream = TcpStream::connect(addr).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    write.write_all(&first).await.unwrap();
    let writing = async move {
        for byte in then.chunks(1) {
            tokio::time::sleep(Duration::from_millis(500)).await;
            if write.write_all(byte).await.is_err() {
                break;
            }
        }
        std::future::pending::<()>().await;
    };
    let mut said = Vec::new();
    let reading = tokio::time::timeout(LIMIT, read.read_to_end(&mut said));
    tokio::select! {
        ended = reading => { let _ = ended.expect("the node to end it"); }
        () = writing => {}
    }
    String::from_utf8_lossy(&said).into_owned()
}

fn without_body(post: &Post) -> Vec<u8> {
    let bytes = post.bytes();
    bytes[..bytes.len() - post.body.len()].to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_slow_are_ended_and_the_quick_are_served() {
    let stage = Stage::start().await;
    let flow = stage.flow().await;
    let addr = stage.addr();
    let post = stage.post(&stage.signing.notification("slow"));
    let head = without_body(&post);
    let endless: Vec<u8> = b"x-more: 1\r\n".repeat(20);

    let slow_heads = futures::future::join_all(
        (0..100).map(|_| trickle(addr, head[..head.len() - 2].to_vec(), endless.clone())),
    );
    let slow_first_byte = trickle(addr, Vec::new(), endless.clone());
    let silent = trickle(addr, Vec::new(), Vec::new());
    let slow_bodies =
        futures::future::join_all((0..100).map(|_| trickle(addr, head.clone(), post.body.clone())));
    // Who was answered and then says nothing more is ended, too.
    let unkeyed = post
        .clone()
        .target("/v1/projects/default/workflows/orders/sns");
    let kept_alive = trickle(addr, unkeyed.bytes(), Vec::new());
    let silent_http2 = trickle(
        addr,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        Vec::new(),
    );
    let (heads, bodies, kept_alive, ..) = tokio::join!(
        slow_heads,
        slow_bodies,
        kept_alive,
        slow_first_byte,
        silent,
        silent_http2,
        flow.goes_on(),
    );
    for said in heads {
        assert!(!said.contains("200 OK"), "{said}");
    }
    for said in bodies {
        assert!(said.starts_with("HTTP/1.1 503"), "{said}");
        assert!(said.contains("body-timeout"), "{said}");
    }
    assert!(kept_alive.starts_with("HTTP/1.1 401"), "{kept_alive}");
    flow.goes_on().await;

    let refused = stage.refusals().await;
    assert_eq!(refused.get("body-timeout"), Some(&100), "{refused:?}");
    let deliveries = wait::until("the slow bodies' entries", LIMIT, || async {
        let all: Vec<_> = stage.refused_deliveries().await.into_values().collect();
        let slow = all
            .into_iter()
            .filter(|found| found.reason == "body-timeout");
        match slow.collect::<Vec<_>>() {
            slow if slow.len() == 100 => Ok(slow),
            other => Err(other.len().to_string()),
        }
    })
    .await;
    for delivery in deliveries {
        stage.tells(&delivery, "a slow body", 503, "body-timeout");
        assert_eq!(delivery.message_id, "slow");
    }

    // The slow message itself is a good one: sent at once, it is taken.
    let mut wire = Wire::open(addr).await;
    wire.send(post.bytes()).await;
    let answer = wire.answer().await.unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(!answer.is_duplicate(), "not by the slow ones");
    stage.know(&answer);
    stage.only_ran(flow, std::iter::empty()).await;
    stage.kept_secret(&[]).await;
    // All of them are gone but for what the flow may have open.
    let open = stage.metric("signalbox_ingest_connections", &[]).await;
    assert!(open < 5.0, "{open} connections");
}
