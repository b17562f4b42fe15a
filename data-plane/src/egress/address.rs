//! Which addresses are public: the registries of special-purpose addresses
//! (<https://www.iana.org/assignments/iana-ipv4-special-registry>, `…ipv6-special-registry`; RFC 6890).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = a == 0
        || address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_documentation()
        || (a == 100 && (64..128).contains(&b)) // RFC 6598, carrier-grade NAT
        || (a == 192 && b == 0 && c == 0) // RFC 6890
        || (a == 198 && (18..20).contains(&b)) // RFC 2544, benchmarks
        || a >= 240; // RFC 1112, reserved
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        Ipv4Addr::new(a, b, c, d)
    };
    match segments {
        // RFC 6052: NAT64; RFC 3056: 6to4. What counts is the IPv4 address inside.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => is_public_v4(embedded(high, low)),
        [0x2002, high, low, ..] => is_public_v4(embedded(high, low)),
        // RFC 4291: IPv4-compatible, loopback, unspecified.
        [0, 0, 0, 0, 0, 0, ..] => false,
        [0, 0, 0, 0, 0, 0xffff, high, low] => is_public_v4(embedded(high, low)),
        [0x64, 0xff9b, 1, ..] => false,                  // RFC 8215
        [0x100, 0, 0, 0, ..] => false,                   // RFC 6666, discard
        [0x2001, 0xdb8, ..] => false,                    // RFC 3849, documentation
        [0x2001, second, ..] if second < 0x200 => false, // RFC 2928, Teredo and others
        [first, ..] => {
            let unique_local = first & 0xfe00 == 0xfc00;
            let link_local = first & 0xffc0 == 0xfe80;
            let site_local = first & 0xffc0 == 0xfec0;
            let multicast = first & 0xff00 == 0xff00;
            !(unique_local || link_local || site_local || multicast)
        }
    }
}
