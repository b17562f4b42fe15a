//! Which addresses are public: the registries of special-purpose addresses
//! (<https://www.iana.org/assignments/iana-ipv4-special-registry>, `…ipv6-special-registry`; RFC 6890).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where packets to `address` end: an IPv6 address that carries an IPv4 address leads there (RFC 4291 mapped, RFC 6052
/// NAT64, RFC 3056 6to4).
pub(super) fn destination(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else {
        return address;
    };
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    };
    match v6.segments() {
        [0, 0, 0, 0, 0, 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            embedded(high, low)
        }
        [0x2002, high, low, ..] => embedded(high, low),
        _ => address,
    }
}

pub(super) fn is_public(destination: IpAddr) -> bool {
    match destination {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, d] = address.octets();
    let special = a == 0
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_documentation()
        || (a == 100 && (64..128).contains(&b)) // RFC 6598, carrier-grade NAT
        || (a == 192 && b == 0 && c == 0) // RFC 6890
        || (a == 192 && b == 88 && c == 99) // RFC 7526, 6to4 relays
        || (a == 198 && (18..20).contains(&b)) // RFC 2544, benchmarks
        || [a, b, c, d] == [168, 63, 129, 16] // Azure's metadata service stands on a public address
        || a >= 240; // RFC 1112, reserved
    !special
}

/// Global unicast is 2000::/3 (RFC 4291 §2.4): everything outside is loopback, unique local, link-local, multicast,
/// discard or reserved.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    // RFC 2928 (Teredo and others) and RFC 3849 (documentation), then RFC 9637 (documentation).
    let special = (first == 0x2001 && (second < 0x200 || second == 0xdb8))
        || (first == 0x3fff && second < 0x1000);
    (0x2000..0x4000).contains(&first) && !special
}
