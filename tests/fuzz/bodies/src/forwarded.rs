//! `Forwarded` and `X-Forwarded-For`.

use std::net::IpAddr;

use http::{HeaderMap, HeaderValue};
use ipnet::IpNet;
use signalbox_data_plane::{
    fuzzing::sender,
    server::{ForwardedHeader, Networks, Peer},
};

use crate::Target;

/// The target.
pub const TARGET: Target = Target {
    name: "forwarded",
    body,
    mutations: 20_000,
    tokens: &[
        "\nf",
        "\nx",
        "\np",
        "for=",
        "For=",
        ";proto=https",
        "proto=http",
        ";by=",
        ",",
        ", ",
        "\"",
        "\\\"",
        "[2001:db8::7]",
        "\"[2001:db8::7]:4711\"",
        "203.0.113.9",
        "10.0.0.1",
        "10.1.2.3",
        "unknown",
        "_hidden",
        ":443",
        "::ffff:10.0.0.1",
        "https",
    ],
};

const TRUSTED: &str = "10.0.0.0/8";
const PROXY: &str = "10.0.0.1";
const STRANGER: &str = "198.51.100.1";

/// Lines: one that begins with `f` is a header `forwarded`, with `x` an `x-forwarded-for`, with `p` an
/// `x-forwarded-proto`.
pub fn body(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let Some((name, value)) = line.split_first() else {
            continue;
        };
        let name = match name {
            b'f' => "forwarded",
            b'x' => "x-forwarded-for",
            b'p' => "x-forwarded-proto",
            _ => continue,
        };
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(name, value);
        }
    }
    let trusted = Networks::from(vec![TRUSTED.parse::<IpNet>().unwrap()]);
    let who = |address: &str, headers: &HeaderMap| {
        let address: IpAddr = address.parse().unwrap();
        let peer = Peer {
            address,
            is_clear: true,
            network: address,
            tls: false,
        };
        let found = sender(&trusted, ForwardedHeader::Both, peer, headers);
        assert_eq!(found.network, address);
        assert!(found.is_clear || trusted.contain(found.address));
        // Of a header that does not count, nothing does.
        for (header, other) in [
            (ForwardedHeader::XForwardedFor, "forwarded"),
            (ForwardedHeader::Forwarded, "x-forwarded-for"),
        ] {
            let mut without = headers.clone();
            without.remove(other);
            let [with, without] = [headers, &without].map(|headers| {
                let found = sender(&trusted, header, peer, headers);
                (found.address, found.tls, found.is_clear)
            });
            assert_eq!(with, without);
        }
        (found.address, found.tls)
    };
    let (stranger, proxy): (IpAddr, IpAddr) = (STRANGER.parse().unwrap(), PROXY.parse().unwrap());
    assert_eq!(
        who(STRANGER, &headers),
        (stranger, false),
        "a stranger's word counts"
    );

    let found = who(PROXY, &headers);
    if found.0 != proxy {
        assert_eq!(found.0, found.0.to_canonical());
        assert!(
            is_written(&headers, found.0),
            "{} is nobody's word",
            found.0
        );
    }
    if !headers.contains_key("forwarded") && headers.contains_key("x-forwarded-for") {
        assert_eq!(found.0, by_x_forwarded_for(&headers).unwrap_or(proxy));
    }
    cannot_pose(&headers, &found, |headers| who(PROXY, headers));
}

/// Whether an address stands in one of the headers, in whatever spelling.
fn is_written(headers: &HeaderMap, address: IpAddr) -> bool {
    let words = ["forwarded", "x-forwarded-for"];
    let lines = words.iter().flat_map(|name| headers.get_all(*name));
    lines
        .map(|line| String::from_utf8_lossy(line.as_bytes()))
        .any(|line| {
            // A quoted-pair may stand for any character (RFC 9110 §5.6.4).
            let line = line.replace('\\', "");
            let is_part = |char: char| char.is_ascii_hexdigit() || char == ':' || char == '.';
            line.split(|char: char| !is_part(char)).any(|word| {
                let without_port = word.split_once(':').map_or(word, |(address, _)| address);
                [word, without_port].iter().any(|word| {
                    let read = word.parse::<IpAddr>();
                    read.is_ok_and(|read| read.to_canonical() == address)
                })
            })
        })
}

/// From the right, the first address that is not a proxy's; the outermost when all are; none when a proxy wrote nonsense.
fn by_x_forwarded_for(headers: &HeaderMap) -> Option<IpAddr> {
    let lines = headers.get_all("x-forwarded-for");
    let joined: Vec<&[u8]> = lines.iter().map(HeaderValue::as_bytes).collect();
    let joined = joined.join(&b',');
    let mut found: IpAddr = PROXY.parse().ok()?;
    let trusted: IpNet = TRUSTED.parse().ok()?;
    for element in joined.rsplit(|byte| *byte == b',') {
        let text = std::str::from_utf8(element).ok()?.trim();
        if text.eq_ignore_ascii_case("unknown") || text.starts_with('_') {
            break;
        }
        found = bare(text)?.to_canonical();
        if !trusted.contains(&found) {
            break;
        }
    }
    Some(found)
}

/// An address without the port that may follow it.
fn bare(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let (address, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            (IpAddr::V6(address.parse().ok()?), port)
        }
        None => {
            let at = text.find(':')?;
            (IpAddr::V4(text[..at].parse().ok()?), &text[at..])
        }
    };
    let fits = match port.strip_prefix(':') {
        None => port.is_empty(),
        Some(port) => {
            port.parse::<u16>().is_ok()
                || port.strip_prefix('_').is_some_and(|name| !name.is_empty())
        }
    };
    fits.then_some(address)
}

/// Whatever a sender writes before what its proxy appends: it is told by its proxy, or the proxy itself is, never another.
fn cannot_pose(
    headers: &HeaderMap,
    found: &(IpAddr, bool),
    who: impl Fn(&HeaderMap) -> (IpAddr, bool),
) {
    let proxy: IpAddr = PROXY.parse().unwrap();
    let trusted: IpNet = TRUSTED.parse().unwrap();
    if trusted.contains(&found.0) {
        return;
    }
    for forged in [
        "192.0.2.66",
        "for=192.0.2.66",
        "for=\"",
        "\"",
        "unknown",
        ",,;=",
    ] {
        let mut more = HeaderMap::new();
        for name in ["forwarded", "x-forwarded-for"] {
            let mut lines = headers.get_all(name).iter();
            let Some(first) = lines.next() else {
                continue;
            };
            let first = [forged.as_bytes(), b", ", first.as_bytes()].concat();
            more.append(name, HeaderValue::from_bytes(&first).unwrap());
            for line in lines {
                more.append(name, line.clone());
            }
        }
        let told = who(&more).0;
        assert!(
            told == found.0 || told == proxy,
            "{forged}: {told}, not {}",
            found.0
        );
    }
}
