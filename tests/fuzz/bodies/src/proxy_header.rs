//! The PROXY protocol's header.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use signalbox_data_plane::fuzzing::proxy_source;

use crate::Target;

/// The target.
pub const TARGET: Target = Target {
    name: "proxy_header",
    body,
    mutations: 20_000,
    tokens: &[
        "PROXY ",
        "TCP4 ",
        "TCP6 ",
        "UNKNOWN",
        "203.0.113.9 ",
        "::ffff:203.0.113.9 ",
        "2001:db8::7 ",
        "65535",
        "\r\n",
        "\n",
        "\r",
        "\r\n\r\n\0\r\nQUIT\n",
        "\x21\x11\0\x0c",
        "\x20\0\0\0",
    ],
};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// The bytes as the beginning of a connection.
pub fn body(bytes: &[u8]) {
    let mut stream = bytes;
    let found = futures::executor::block_on(proxy_source(&mut stream));
    let taken = bytes.len() - stream.len();
    // A version 1 line has 107 bytes at most, a version 2 header as many as we take: 16 and 4,096.
    assert!(taken <= 16 + 4096, "{taken} bytes were taken");
    let expected = if bytes.starts_with(SIGNATURE) {
        version_2(bytes)
    } else {
        version_1(bytes)
    };
    match (found, expected) {
        (Ok(found), Some((source, length))) => {
            assert_eq!(found, source.map(|address| address.to_canonical()));
            assert_eq!(taken, length, "what follows the header is not ours");
        }
        (Err(_), None) => {}
        // The parser is stricter than the specification with what nobody reads.
        (Err(_), Some((None, _))) if bytes.starts_with(b"PROXY UNKNOWN ") => {}
        (found, expected) => panic!("{expected:?} was expected, not {found:?}"),
    }
}

type Expected = Option<(Option<IpAddr>, usize)>;

/// Section 2.1: the source, if it names one, and the length.
fn version_1(bytes: &[u8]) -> Expected {
    let end = bytes.iter().take(107).position(|byte| *byte == b'\n')?;
    let line = std::str::from_utf8(&bytes[..end])
        .ok()?
        .strip_suffix('\r')?;
    // Nothing is said of a lone one. Who passes others' lines on should not be believed.
    if line.contains('\r') {
        return None;
    }
    let rest = line.strip_prefix("PROXY ")?;
    if rest == "UNKNOWN" || rest.starts_with("UNKNOWN ") {
        return Some((None, end + 1));
    }
    let fields: Vec<&str> = rest.split(' ').collect();
    let [family, source, destination, source_port, destination_port] = fields[..] else {
        return None;
    };
    for port in [source_port, destination_port] {
        // The parser takes a plus as well; ports are of no use to us.
        let read = port.parse::<u16>().ok()?;
        if !port.starts_with('+') && read.to_string() != port {
            return None;
        }
    }
    let source: IpAddr = match family {
        "TCP4" => {
            destination.parse::<Ipv4Addr>().ok()?;
            source.parse::<Ipv4Addr>().ok()?.into()
        }
        "TCP6" => {
            destination.parse::<Ipv6Addr>().ok()?;
            source.parse::<Ipv6Addr>().ok()?.into()
        }
        _ => return None,
    };
    Some((Some(source), end + 1))
}

/// Section 2.2.
fn version_2(bytes: &[u8]) -> Expected {
    let fixed: &[u8; 16] = bytes.first_chunk()?;
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    let rest = bytes.get(16..16 + length).filter(|_| length <= 4096)?;
    let (command, family) = (fixed[12], fixed[13]);
    // Version 2, LOCAL or PROXY; unspecified, IPv4, IPv6 or UNIX; unspecified, stream or datagram.
    if !matches!(command, 0x20 | 0x21) || family >> 4 > 3 || family & 15 > 2 {
        return None;
    }
    let source: Option<IpAddr> = match family >> 4 {
        1 => {
            let addresses: &[u8; 12] = rest.first_chunk()?;
            Some(<[u8; 4]>::try_from(&addresses[..4]).ok()?.into())
        }
        2 => {
            let addresses: &[u8; 36] = rest.first_chunk()?;
            Some(<[u8; 16]>::try_from(&addresses[..16]).ok()?.into())
        }
        3 => rest.first_chunk::<216>().map(|_| None)?,
        _ => None,
    };
    Some((source.filter(|_| command == 0x21), 16 + length))
}
