#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;

const TIMEOUT: Duration = Duration::from_secs(5);

fn loopback() -> EgressPolicy {
    EgressPolicy {
        allow: vec!["127.0.0.0/8".parse().unwrap()],
    }
}

fn get(url: &str) -> EgressRequest {
    EgressRequest::get(url.parse().unwrap(), TIMEOUT, 1024)
}

/// Answers every connection with `answer`, verbatim; with `slowly`, a byte each 20 ms.
async fn serve(answer: impl Into<Vec<u8>>, slowly: bool) -> SocketAddr {
    let answer = answer.into();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let answer = answer.clone();
            tokio::spawn(async move {
                let mut head = [0; 4096];
                let _ = stream.read(&mut head).await;
                if !slowly {
                    let _ = stream.write_all(&answer).await;
                    return;
                }
                for byte in answer {
                    if stream.write_all(&[byte]).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
        }
    });
    address
}

#[test]
fn only_public_addresses_are_permitted() {
    let policy = EgressPolicy::default();
    for blocked in [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "100.64.0.1",
        "100.100.100.200",
        "127.0.0.1",
        "127.255.255.254",
        "168.63.129.16",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "3fff::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ] {
        assert!(!policy.permits(blocked.parse().unwrap()), "{blocked}");
    }
    for public in [
        "1.1.1.1",
        "100.63.255.255",
        "100.128.0.1",
        "172.15.0.1",
        "172.32.0.1",
        "54.239.28.85",
        "2600:1f14::1",
        "2001:4860:4860::8888",
        "64:ff9b::101:101",
        "::ffff:1.1.1.1",
    ] {
        assert!(policy.permits(public.parse().unwrap()), "{public}");
    }
}

#[test]
fn what_is_allowed_is_allowed_in_every_spelling_and_nothing_else_is() {
    let policy = loopback();
    for allowed in ["127.0.0.1", "127.9.9.9", "::ffff:127.0.0.1"] {
        assert!(policy.permits(allowed.parse().unwrap()), "{allowed}");
    }
    for blocked in ["10.0.0.1", "::1", "169.254.169.254"] {
        assert!(!policy.permits(blocked.parse().unwrap()), "{blocked}");
    }
}

#[tokio::test]
async fn every_spelling_of_an_inner_address_is_refused_and_nothing_is_connected() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let egress = Egress::new(EgressPolicy::default()).unwrap();
    for host in [
        "127.0.0.1",
        "0x7f.1",
        "0177.0.0.1",
        "2130706433",
        "127.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "0.0.0.0",
        "localhost",
        "LOCALHOST",
    ] {
        let refusal = egress.send(get(&format!("http://{host}:{port}/"))).await;
        let error = refusal.expect_err(host);
        assert!(
            matches!(error, EgressError::Blocked { .. }),
            "{host}: {error:?}"
        );
    }
    assert!(
        futures::FutureExt::now_or_never(listener.accept()).is_none(),
        "a connection was made"
    );
}

#[tokio::test]
async fn other_schemes_are_refused() {
    let egress = Egress::new(loopback()).unwrap();
    for url in [
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "data:text/plain,x",
    ] {
        assert_eq!(
            egress.send(get(url)).await.unwrap_err(),
            EgressError::Url,
            "{url}"
        );
    }
}

#[tokio::test]
async fn a_trusted_origin_is_reached_at_its_port_only() {
    let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    let address = serve(answer, false).await;
    let other = serve(answer, false).await;
    for host in ["127.0.0.1", "localhost"] {
        let origin = format!("http://{host}:{}", address.port()).parse().unwrap();
        let egress = Egress::for_sns(EgressPolicy::default(), &[origin]).unwrap();
        let url = format!("http://{host}:{}/x.pem", address.port());
        assert_eq!(egress.send(get(&url)).await.unwrap().body, "ok");
        let url = format!("http://{host}:{}/x.pem", other.port());
        let error = egress.send(get(&url)).await.unwrap_err();
        assert!(matches!(error, EgressError::Blocked { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn redirects_are_answers() {
    let target = serve("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno", false).await;
    let address = serve(
        format!("HTTP/1.1 302 Found\r\nlocation: http://{target}/\r\ncontent-length: 0\r\n\r\n"),
        false,
    )
    .await;
    let egress = Egress::new(loopback()).unwrap();
    let answer = egress
        .send(get(&format!("http://{address}/")))
        .await
        .unwrap();
    assert_eq!(answer.status, 302);
    assert!(answer.body.is_empty());
}

#[tokio::test]
async fn answers_are_bounded_in_size_announced_or_not() {
    let egress = Egress::new(loopback()).unwrap();
    let announced = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: 1025\r\n\r\n{}",
        "x".repeat(1025)
    );
    let chunk = format!("400\r\n{}\r\n", "x".repeat(1024));
    let chunked =
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n");
    for answer in [announced, chunked] {
        let address = serve(answer, false).await;
        let error = egress
            .send(get(&format!("http://{address}/")))
            .await
            .unwrap_err();
        assert_eq!(error, EgressError::TooLarge(1024));
    }
    let exact = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: 1024\r\n\r\n{}",
        "x".repeat(1024)
    );
    let address = serve(exact, false).await;
    let answer = egress
        .send(get(&format!("http://{address}/")))
        .await
        .unwrap();
    assert_eq!(answer.body.len(), 1024);
}

#[tokio::test]
async fn a_drip_of_bytes_ends_at_the_timeout() {
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{}",
        "x".repeat(500)
    );
    let address = serve(answer, true).await;
    let egress = Egress::new(loopback()).unwrap();
    let timeout = Duration::from_millis(300);
    let request = EgressRequest {
        timeout,
        ..get(&format!("http://{address}/"))
    };
    let error = egress.send(request).await.unwrap_err();
    assert_eq!(error, EgressError::Timeout(timeout));
}

#[tokio::test]
async fn errors_and_debug_show_no_url() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let request = get(&format!("http://u:p4ss@{address}/path?token=s3cret"));
    let shown = format!("{request:?}");
    let egress = Egress::new(loopback()).unwrap();
    let error = egress.send(request).await.unwrap_err();
    assert!(matches!(error, EgressError::Connect(_)), "{error:?}");
    for text in [shown, error.to_string(), format!("{error:?}")] {
        assert!(
            !text.contains("s3cret") && !text.contains("p4ss") && !text.contains("path"),
            "{text}"
        );
    }
}
