#![allow(clippy::unwrap_used, clippy::expect_used)]
use ppp::v2::{Builder, Command, Protocol, Type, Version};
use proptest::prelude::*;

use super::*;

/// What is read of `bytes`, and what is left for the connection itself.
async fn reading(bytes: &[u8]) -> (Result<Option<IpAddr>, ProxyError>, Vec<u8>) {
    let mut rest = bytes;
    let found = read(&mut rest).await;
    (found, rest.to_vec())
}

fn version2(command: Command, source: &str, destination: &str) -> Vec<u8> {
    let (source, destination): (std::net::SocketAddr, std::net::SocketAddr) =
        (source.parse().unwrap(), destination.parse().unwrap());
    Builder::with_addresses(
        Version::Two | command,
        Protocol::Stream,
        (source, destination),
    )
    .write_tlv(Type::NoOp, b"whatever an endpoint is called")
    .unwrap()
    .build()
    .unwrap()
}

const TARGET: &str = "192.0.2.1:443";

#[tokio::test]
async fn both_versions_name_the_source_and_leave_what_follows() {
    let six = version2(Command::Proxy, "[2001:db8::7]:4711", "[2001:db8::1]:443");
    let mapped = version2(
        Command::Proxy,
        "[::ffff:203.0.113.9]:1",
        "[2001:db8::1]:443",
    );
    let local = version2(Command::Local, "203.0.113.9:4711", TARGET);
    for (header, expected) in [
        (
            version2(Command::Proxy, "203.0.113.9:4711", TARGET),
            Some("203.0.113.9"),
        ),
        (six, Some("2001:db8::7")),
        (mapped, Some("203.0.113.9")),
        (local, None),
        (b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00".to_vec(), None),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x00\x00\x00".to_vec(), None),
        (
            b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\r\n".to_vec(),
            Some("203.0.113.9"),
        ),
        (
            b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 443\r\n".to_vec(),
            Some("2001:db8::7"),
        ),
        (b"PROXY UNKNOWN\r\n".to_vec(), None),
        (b"PROXY UNKNOWN ffff:f...f:ffff 1 2 3\r\n".to_vec(), None),
    ] {
        let after = b"\x16\x03\x01 a handshake\r\n";
        let (found, rest) = reading(&[&header[..], after].concat()).await;
        let expected = expected.map(|address| address.parse().unwrap());
        assert_eq!(
            found.unwrap(),
            expected,
            "{:?}",
            String::from_utf8_lossy(&header)
        );
        assert_eq!(rest, after);
    }
}

#[tokio::test]
async fn anything_else_is_refused_within_bounds() {
    let long = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 200]].concat();
    let mut huge = version2(Command::Proxy, "203.0.113.9:4711", TARGET);
    huge[14..16].copy_from_slice(&u16::MAX.to_be_bytes());
    huge.resize(V2_FIXED_BYTES + usize::from(u16::MAX), 0);
    for (bytes, expected) in [
        (b"POST /v1/projects HTTP/1.1\r\n".to_vec(), "does not begin"),
        (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00\x00".to_vec(),
            "does not begin",
        ),
        (b"PROXY".to_vec(), "within"),
        (b"PROXY TCP4 203.0.113.9".to_vec(), "within"),
        (
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c\x00".to_vec(),
            "within",
        ),
        (
            b"PROXY TCP4 203.0.113.999 192.0.2.1 1 2\r\n".to_vec(),
            "malformed",
        ),
        (
            b"PROXY TCP4 203.0.113.9 192.0.2.1 1 65536\r\n".to_vec(),
            "malformed",
        ),
        (
            b"PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n".to_vec(),
            "malformed",
        ),
        (
            b"PROXY TCP4 203.0.113.9 192.0.2.1 1 2\n".to_vec(),
            "malformed",
        ),
        (
            b"PROXY UNKNOWN 203.0.113.9 \n 2 3\r\n".to_vec(),
            "malformed",
        ),
        (
            b"PROXY UDP4 203.0.113.9 192.0.2.1 1 2\r\n".to_vec(),
            "malformed",
        ),
        (b"PROXYING IS NO HEADER\r\n".to_vec(), "malformed"),
        (
            b"\r\n\r\n\0\r\nQUIT\n\x31\x11\x00\x00".to_vec(),
            "malformed",
        ),
        (
            b"\r\n\r\n\0\r\nQUIT\n\x22\x11\x00\x00".to_vec(),
            "malformed",
        ),
        (
            b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x04\x01\x02\x03\x04".to_vec(),
            "malformed",
        ),
        (long, "malformed"),
        (huge, "longer"),
    ] {
        let (found, _) = reading(&bytes).await;
        let error = found.unwrap_err().to_string();
        assert!(
            error.contains(expected),
            "{:?}: {error}",
            String::from_utf8_lossy(&bytes)
        );
    }
}

proptest! {
    #[test]
    fn anything_may_be_sent(
        version in prop_oneof![Just(&b"PROXY "[..]), Just(v2::PROTOCOL_PREFIX), Just(&b""[..])],
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let all = [version, &bytes].concat();
        let (_, rest) = runtime.block_on(reading(&all));
        prop_assert!(all.ends_with(&rest));
    }
}
