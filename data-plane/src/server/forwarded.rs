//! Who sent a request that came through proxies: `Forwarded` (RFC 7239) and `X-Forwarded-For`.
//!
//! Each proxy appends the address that it was connected from, so a list is believed from its right end, as far as those who
//! wrote it are trusted; what stands further left is whatever the sender wrote. Most proxies keep one of the two headers
//! and pass the other on as it came: the operator says which ([`ForwardedHeader`]), and the other is not looked at. Where nobody
//! said, and both are there, they must name the same sender, or neither is believed: a sender may hide behind its proxy then,
//! but not pose as another. Who hides is not let in where it matters who it is: the sender is not clear then
//! ([`Peer::is_clear`]).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::{HeaderMap, HeaderName, header::FORWARDED};
use ipnet::IpNet;

use super::Peer;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Which header the trusted proxies write, and do not pass on as a sender wrote it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ForwardedHeader {
    /// Either, or both: where both are there, they must name the same sender.
    #[default]
    Both,
    /// X-Forwarded-For, with X-Forwarded-Proto (AWS ALB; nginx, as it is mostly set up).
    XForwardedFor,
    /// Forwarded (RFC 7239).
    Forwarded,
}

/// Networks of addresses.
#[derive(Clone, Debug, Default)]
pub struct Networks(Vec<IpNet>);

impl From<Vec<IpNet>> for Networks {
    fn from(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }
}

impl Networks {
    /// Whether one of them holds `address`; an IPv4 address counts as itself when it is written as an IPv6 one, too.
    #[must_use]
    pub fn contain(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }
}

/// One proxy's word about who connected to it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Hop {
    /// Where it does not say, or hides it: none.
    address: Option<IpAddr>,
    tls: Option<bool>,
    /// Whether somebody who is trusted knows who came before it, or did, and does not say.
    is_end_hidden: bool,
}

/// A part of a header that somebody who is trusted wrote, and wrote wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Malformed;

/// The sender of a request with these headers that came from `peer`: `peer` itself unless it is one of the `trusted` and
/// says clearly, in a `header` that it writes, who was before it.
pub(super) fn sender(
    trusted: &Networks,
    header: ForwardedHeader,
    peer: Peer,
    headers: &HeaderMap,
) -> Peer {
    if !trusted.contain(peer.address) {
        return peer;
    }
    let has = |other, name| header != other && headers.contains_key(name);
    let standard = has(ForwardedHeader::XForwardedFor, FORWARDED)
        .then(|| first_untrusted(trusted, peer.address, standard_hops(headers)));
    let customary = has(ForwardedHeader::Forwarded, X_FORWARDED_FOR)
        .then(|| first_untrusted(trusted, peer.address, customary_hops(headers)));
    let (hop, is_clear) = match (standard, customary) {
        (Some(Ok(one)), Some(Ok(other))) if one.address == other.address => {
            (one, !one.is_end_hidden && !other.is_end_hidden)
        }
        (Some(Ok(one)), None) | (None, Some(Ok(one))) => (one, !one.is_end_hidden),
        (None, None) => (Hop::default(), true),
        _ => {
            return Peer {
                is_clear: false,
                ..peer
            };
        }
    };
    let by_customary = || match header {
        ForwardedHeader::Forwarded => None,
        ForwardedHeader::Both | ForwardedHeader::XForwardedFor => customary_proto(headers),
    };
    let tls = hop.tls.or_else(by_customary);
    Peer {
        address: hop.address.unwrap_or(peer.address),
        tls: tls.unwrap_or(peer.tls),
        is_clear,
        ..peer
    }
}

/// The first of `hops`, which go from here outwards, whose address is not trusted; where all are, the outermost.
fn first_untrusted(
    trusted: &Networks,
    nearest: IpAddr,
    hops: impl Iterator<Item = Result<Hop, Malformed>>,
) -> Result<Hop, Malformed> {
    let mut found = Hop {
        address: Some(nearest),
        ..Hop::default()
    };
    for hop in hops {
        let hop = hop?;
        let Some(address) = hop.address else {
            found.is_end_hidden = true;
            return Ok(found);
        };
        found = Hop {
            address: Some(address),
            ..hop
        };
        if !trusted.contain(address) {
            break;
        }
    }
    Ok(found)
}

fn customary_hops(headers: &HeaderMap) -> impl Iterator<Item = Result<Hop, Malformed>> {
    let lines = headers.get_all(X_FORWARDED_FOR).iter().rev();
    lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b',').map(customary))
}

fn customary(element: &[u8]) -> Result<Hop, Malformed> {
    let text = std::str::from_utf8(element).map_err(|_| Malformed)?.trim();
    Ok(Hop {
        address: node(text)?,
        ..Hop::default()
    })
}

/// What the nearest proxy says of the protocol, where it says it in a header of its own.
fn customary_proto(headers: &HeaderMap) -> Option<bool> {
    let line = headers.get_all(X_FORWARDED_PROTO).iter().next_back()?;
    let last = line.to_str().ok()?.rsplit(',').next()?;
    proto(last.trim())
}

fn proto(name: &str) -> Option<bool> {
    match name {
        _ if name.eq_ignore_ascii_case("https") => Some(true),
        _ if name.eq_ignore_ascii_case("http") => Some(false),
        _ => None,
    }
}

fn standard_hops(headers: &HeaderMap) -> impl Iterator<Item = Result<Hop, Malformed>> {
    // A line is read from its left because of its quotes; what is wrong in one does not touch those right of it.
    let lines = headers.get_all(FORWARDED).iter().rev();
    lines.flat_map(
        |line| match line.to_str().map_err(|_| Malformed).and_then(elements) {
            Ok(hops) => hops.into_iter().rev().map(Ok).collect(),
            Err(malformed) => vec![Err(malformed)],
        },
    )
}

/// The elements of one line (RFC 7239 §4), from left to right. Addresses that lack their quotes are taken as well.
fn elements(line: &str) -> Result<Vec<Hop>, Malformed> {
    let mut hops = Vec::new();
    let mut rest = line;
    loop {
        let (hop, after) = element(rest)?;
        hops.extend(hop);
        match after {
            Some(after) => rest = after,
            None => return Ok(hops),
        }
    }
}

/// One element, none where it is empty, and what follows its comma.
fn element(text: &str) -> Result<(Option<Hop>, Option<&str>), Malformed> {
    let (mut address, mut tls, mut pairs) = (None, None, 0_usize);
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t']);
        if !rest.starts_with([';', ',']) && !rest.is_empty() {
            let (name, after) = rest.split_once('=').ok_or(Malformed)?;
            if name.is_empty() || !name.bytes().all(is_token) {
                return Err(Malformed);
            }
            let (value, after) = value(after)?;
            pairs += 1;
            rest = after.trim_start_matches([' ', '\t']);
            let twice = if name.eq_ignore_ascii_case("for") {
                address.replace(node(&value)?).is_some()
            } else if name.eq_ignore_ascii_case("proto") {
                tls.replace(proto(&value)).is_some()
            } else {
                false
            };
            if twice {
                return Err(Malformed);
            }
        }
        let hop = || {
            (pairs > 0).then(|| Hop {
                address: address.flatten(),
                tls: tls.flatten(),
                is_end_hidden: false,
            })
        };
        match rest.as_bytes().first() {
            None => return Ok((hop(), None)),
            Some(b',') => return Ok((hop(), Some(&rest[1..]))),
            Some(b';') => rest = &rest[1..],
            Some(_) => return Err(Malformed),
        }
    }
}

/// A token or quoted string at the beginning of `text`, and what follows it.
fn value(text: &str) -> Result<(String, &str), Malformed> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ';', ' ', '\t']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        let plain = |byte: u8| is_token(byte) || matches!(byte, b':' | b'[' | b']');
        if value.is_empty() || !value.bytes().all(plain) {
            return Err(Malformed);
        }
        return Ok((value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => return Ok((value, &quoted[at + 1..])),
            '\\' => value.push(chars.next().ok_or(Malformed)?.1),
            char => value.push(char),
        }
    }
    Err(Malformed)
}

/// RFC 9110 §5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// An address, with or without its port (RFC 7239 §6); none: it is unknown or hidden on purpose.
fn node(text: &str) -> Result<Option<IpAddr>, Malformed> {
    if text.eq_ignore_ascii_case("unknown") || text.starts_with('_') {
        return Ok(None);
    }
    let address = if let Ok(address) = text.parse::<IpAddr>() {
        address
    } else if let Some((inside, port)) =
        text.strip_prefix('[').and_then(|text| text.split_once(']'))
    {
        check_port(port)?;
        IpAddr::V6(inside.parse::<Ipv6Addr>().map_err(|_| Malformed)?)
    } else {
        let (address, port) = text.split_at(text.find(':').ok_or(Malformed)?);
        check_port(port)?;
        IpAddr::V4(address.parse::<Ipv4Addr>().map_err(|_| Malformed)?)
    };
    Ok(Some(address.to_canonical()))
}

/// Nothing, `:80`, or `:_hidden`.
fn check_port(text: &str) -> Result<(), Malformed> {
    if text.is_empty() {
        return Ok(());
    }
    let port = text.strip_prefix(':').ok_or(Malformed)?;
    let hidden = port.strip_prefix('_').is_some_and(|name| !name.is_empty());
    if hidden || port.parse::<u16>().is_ok() {
        Ok(())
    } else {
        Err(Malformed)
    }
}

#[cfg(test)]
mod tests;
