#![allow(clippy::unwrap_used, clippy::expect_used)]

use reqwest::Method;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;

fn loopback() -> EgressPolicy {
    EgressPolicy {
        allow: vec!["127.0.0.0/8".parse().unwrap()],
        deny: Vec::new(),
    }
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
fn only_public_addresses_pass() {
    let policy = EgressPolicy::default();
    for public in [
        "1.1.1.1",
        "52.95.110.1",
        "100.63.255.255",
        "100.128.0.1",
        "172.15.0.1",
        "172.32.0.1",
        "2600:1f18::1",
        "2001:4860:4860::8888",
        "64:ff9b::1.1.1.1",
        "::ffff:1.1.1.1",
    ] {
        assert!(policy.check(public.parse().unwrap()).is_ok(), "{public}");
    }
    for special in [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::7f00:1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::127.0.0.1",
        "64:ff9b::169.254.169.254",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "2002:a9fe:a9fe::1",
        "3fff::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fec0::1",
        "ff02::1",
    ] {
        assert!(policy.check(special.parse().unwrap()).is_err(), "{special}");
    }
}

#[test]
fn allowed_networks_pass_in_every_spelling_and_no_others() {
    let policy = loopback();
    for allowed in ["127.0.0.1", "127.9.9.9", "::ffff:127.0.0.1"] {
        assert!(policy.check(allowed.parse().unwrap()).is_ok(), "{allowed}");
    }
    for blocked in ["10.0.0.1", "::1", "169.254.169.254"] {
        assert!(policy.check(blocked.parse().unwrap()).is_err(), "{blocked}");
    }
}

#[tokio::test]
async fn names_and_literals_are_both_looked_at_and_nothing_is_connected() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let egress = Egress::new(EgressPolicy::default()).unwrap();
    for literal in [
        "127.0.0.1",
        "0x7f.1",
        "0177.0.0.1",
        "2130706433",
        "127.1",
        "0.0.0.0",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
    ] {
        let url = format!("http://{literal}:{port}/").parse().unwrap();
        assert!(egress.request(Method::GET, url).is_err(), "{literal}");
    }
    for name in ["localhost", "LOCALHOST"] {
        let url = format!("http://{name}:{port}/").parse().unwrap();
        let request = egress.request(Method::GET, url).unwrap();
        let error = request.send().await.unwrap_err();
        assert!(denied(&error).is_some(), "{name}: {error:?}");
    }
    let connected = futures::FutureExt::now_or_never(listener.accept());
    assert!(connected.is_none(), "a connection was made");
}

#[tokio::test]
async fn redirects_are_answers() {
    let target = serve("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nno", false).await;
    let redirect =
        format!("HTTP/1.1 302 Found\r\nlocation: http://{target}/\r\ncontent-length: 0\r\n\r\n");
    let address = serve(redirect, false).await;
    let egress = Egress::new(loopback()).unwrap();
    let url = format!("http://{address}/").parse().unwrap();
    let answer = egress
        .request(Method::GET, url)
        .unwrap()
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 302);
}

#[tokio::test]
async fn bodies_are_bounded_announced_or_not() {
    let egress = Egress::new(loopback()).unwrap();
    let with_length = |bytes: usize| {
        format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n{}",
            "x".repeat(bytes)
        )
    };
    let chunk = format!("400\r\n{}\r\n", "x".repeat(1024));
    let chunked =
        format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n");
    for (answer, fits) in [
        (with_length(1024), true),
        (with_length(1025), false),
        (chunked, false),
    ] {
        let url = format!("http://{}/", serve(answer, false).await)
            .parse()
            .unwrap();
        let response = egress
            .request(Method::GET, url)
            .unwrap()
            .send()
            .await
            .unwrap();
        match read_body(response, 1024).await {
            Ok(body) => assert!(fits && body.len() == 1024),
            Err(error) => assert!(
                !fits && matches!(error, BodyError::TooLarge(1024)),
                "{error:?}"
            ),
        }
    }
}

#[tokio::test]
async fn the_beginning_of_a_body_is_what_came_of_it() {
    let egress = Egress::new(loopback()).unwrap();
    let text = "x".repeat(5000);
    // Longer than what is wanted, whole, and broken off.
    for (length, text, expected) in [(5000, text.as_str(), 1024), (3, "xxx", 3), (9, "xxx", 3)] {
        let answer = format!("HTTP/1.1 500 No\r\ncontent-length: {length}\r\n\r\n{text}");
        let url = format!("http://{}/", serve(answer, false).await)
            .parse()
            .unwrap();
        let request = egress.request(Method::GET, url).unwrap();
        let body = read_beginning(request.send().await.unwrap(), 1024).await;
        assert_eq!(body.len(), expected);
    }
}

#[tokio::test]
async fn a_drip_of_bytes_ends_at_the_timeout() {
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{}",
        "x".repeat(500)
    );
    let url = format!("http://{}/", serve(answer, true).await)
        .parse()
        .unwrap();
    let request = Egress::new(loopback())
        .unwrap()
        .request(Method::GET, url)
        .unwrap();
    let request = request.timeout(Duration::from_millis(400));
    let dripped = async { read_body(request.send().await.map_err(BodyError::Broken)?, 1024).await };
    match dripped.await {
        Err(BodyError::Broken(error)) => assert!(error.is_timeout(), "{error:?}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_denied_is_reached_in_no_spelling_whatever_allows_it() {
    let nets = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
    let policy = EgressPolicy {
        allow: nets(&["10.0.0.0/8"]),
        deny: nets(&["10.1.0.0/16", "1.1.1.0/24", "2600:1f18::/32"]),
    };
    for denied in [
        "10.1.2.3",
        "::ffff:10.1.2.3",
        "64:ff9b::10.1.2.3",
        "2002:a01:203::",
        "1.1.1.1",
        "::ffff:1.1.1.1",
        "2600:1f18::1",
    ] {
        let address = denied.parse().unwrap();
        for policy in [&policy, &policy.anywhere()] {
            assert_eq!(policy.check(address), Err(Denied::ByNetwork(address)));
        }
    }
    for allowed in ["10.2.0.1", "1.1.2.1", "2600:1f19::1"] {
        assert_eq!(policy.check(allowed.parse().unwrap()), Ok(()));
    }
    let inside = "192.168.1.1".parse().unwrap();
    assert_eq!(policy.check(inside), Err(Denied::NotPublic(inside)));
    assert_eq!(policy.anywhere().check(inside), Ok(()));
}

#[test]
fn each_way_has_one_client_and_only_so_many_are_kept() {
    let egress = Egress::new(loopback()).unwrap();
    let by = |proxy: &str| Route {
        ca_certificate: None,
        proxy: Some(proxy.parse().unwrap()),
    };
    egress.by(&Route::default()).unwrap();
    assert_eq!(egress.routes.count(), 0);
    for _ in 0..3 {
        egress.by(&by("http://127.0.0.1:1/")).unwrap();
        egress.by(&by("http://user:s3cret@127.0.0.1:1/")).unwrap();
    }
    assert_eq!(egress.routes.count(), 2);
    for port in 1..200 {
        egress
            .by(&by(&format!("http://127.0.0.1:{port}/")))
            .unwrap();
    }
    assert!(egress.routes.count() <= 64, "{}", egress.routes.count());
    let secret = by("http://user:s3cret@127.0.0.1:1/");
    assert!(!format!("{secret:?} {egress:?}").contains("s3cret"));
}

#[test]
fn wrong_ways_are_told_and_not_kept() {
    let egress = Egress::new(loopback()).unwrap();
    let trusting = |pem: &str| Route {
        ca_certificate: Some(pem.to_owned()),
        proxy: None,
    };
    let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    for (pem, expected) in [
        ("", "is none"),
        ("no PEM", "is none"),
        (
            "-----BEGIN CERTIFICATE-----\n§\n-----END CERTIFICATE-----\n",
            "not valid PEM",
        ),
        (junk, "cannot be trusted"),
    ] {
        let error = egress.by(&trusting(pem)).unwrap_err().to_string();
        assert!(error.contains(expected), "{pem:?}: {error}");
    }
    let proxied = Route {
        ca_certificate: None,
        proxy: Some("http://10.0.0.1:3128/".parse().unwrap()),
    };
    let error = egress.by(&proxied).unwrap_err();
    assert!(
        matches!(&*error, RouteError::Denied(Denied::NotPublic(_))),
        "{error}"
    );
    assert_eq!(egress.routes.count(), 0);
}
