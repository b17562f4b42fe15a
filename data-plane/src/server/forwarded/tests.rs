#![allow(clippy::unwrap_used, clippy::expect_used)]
use http::HeaderValue;
use proptest::prelude::*;

use super::*;

const PROXY: &str = "10.0.0.1";

fn trusted() -> Networks {
    let networks = ["10.0.0.0/8", "2001:db8:aaaa::/48"];
    Networks::from(networks.map(|text| text.parse().unwrap()).to_vec())
}

fn peer(address: &str) -> Peer {
    let address = address.parse().unwrap();
    Peer {
        address,
        is_clear: true,
        network: address,
        tls: false,
    }
}

fn headers(lines: &[(&str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let name: HeaderName = name.parse().unwrap();
        headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    headers
}

/// Where nobody said which header counts.
fn sender(trusted: &Networks, peer: Peer, headers: &HeaderMap) -> Peer {
    super::sender(trusted, ForwardedHeader::Both, peer, headers)
}

fn from_proxy(lines: &[(&str, &str)]) -> (String, bool) {
    let sender = sender(&trusted(), peer(PROXY), &headers(lines));
    assert_eq!(sender.network.to_string(), PROXY, "that is the socket's");
    (sender.address.to_string(), sender.tls)
}

#[test]
fn who_is_not_trusted_is_not_believed() {
    for name in ["forwarded", "x-forwarded-for"] {
        let stranger = peer("198.51.100.7");
        let headers = headers(&[
            (name, "for=203.0.113.9;proto=https"),
            (name, "203.0.113.9"),
            ("x-forwarded-proto", "https"),
        ]);
        let found = sender(&trusted(), stranger, &headers);
        assert_eq!((found.address, found.tls), (stranger.address, false));
    }
}

#[test]
fn x_forwarded_for_is_read_from_its_right_end() {
    for (lines, expected) in [
        (&["203.0.113.9"][..], "203.0.113.9"),
        (&["1.1.1.1, 203.0.113.9"], "203.0.113.9"),
        (&["1.1.1.1, 203.0.113.9, 10.1.1.1,10.2.2.2"], "203.0.113.9"),
        (&["1.1.1.1", "203.0.113.9", "10.1.1.1"], "203.0.113.9"),
        (&["10.3.3.3, 10.1.1.1"], "10.3.3.3"),
        (&["203.0.113.9:4711"], "203.0.113.9"),
        (&["2001:db8::7"], "2001:db8::7"),
        (&["[2001:db8::7]:443"], "2001:db8::7"),
        (&["2001:db8::7, 2001:db8:aaaa::1"], "2001:db8::7"),
        (&["::ffff:203.0.113.9"], "203.0.113.9"),
        (&["203.0.113.9, ::ffff:10.1.1.1"], "203.0.113.9"),
        (&["not an address, 203.0.113.9"], "203.0.113.9"),
        (&["203.0.113.9, unknown"], PROXY),
        (&["203.0.113.9, unknown, 10.1.1.1"], "10.1.1.1"),
        (&["203.0.113.9, not an address, 10.1.1.1"], PROXY),
        (&[""], PROXY),
        (&["203.0.113.9,"], PROXY),
        (&["203.0.113.9:port"], PROXY),
        (&["203.0.113.9:99999"], PROXY),
        (&["[203.0.113.9]"], PROXY),
        (&["fe80::1%eth0"], PROXY),
        (&["0x7f.1"], PROXY),
        (&["203.0.113.009"], PROXY),
    ] {
        let lines: Vec<_> = lines
            .iter()
            .map(|line| ("x-forwarded-for", *line))
            .collect();
        assert_eq!(from_proxy(&lines).0, expected, "{lines:?}");
    }
}

#[test]
fn forwarded_is_read_by_its_grammar() {
    for (lines, expected, tls) in [
        (&["for=203.0.113.9"][..], "203.0.113.9", false),
        (
            &["For=\"203.0.113.9:80\";Proto=HTTPS;by=10.0.0.1"],
            "203.0.113.9",
            true,
        ),
        (
            &["for=\"[2001:db8:cafe::17]:4711\""],
            "2001:db8:cafe::17",
            false,
        ),
        (
            &["for=\"[2001:db8:cafe::17]:_hidden\""],
            "2001:db8:cafe::17",
            false,
        ),
        (&["for=[2001:db8::7]"], "2001:db8::7", false),
        (&["for=\"203.0.113.\\9\""], "203.0.113.9", false),
        (
            &["for=1.1.1.1;proto=http, for=203.0.113.9;proto=https, for=10.1.1.1"],
            "203.0.113.9",
            true,
        ),
        (
            &[
                "for=1.1.1.1",
                "for=203.0.113.9 ; host=\"a,b;c\\\"=\"",
                "for=10.1.1.1;proto=https",
            ],
            "203.0.113.9",
            false,
        ),
        (&["broken \"", "for=203.0.113.9"], "203.0.113.9", false),
        (&["for=203.0.113.9,,"], "203.0.113.9", false),
        (&[";for=203.0.113.9;;"], "203.0.113.9", false),
        (&["for=_hidden, for=10.1.1.1"], "10.1.1.1", false),
        (&["for=203.0.113.9, for=unknown"], PROXY, false),
        (&["for=203.0.113.9, proto=https"], PROXY, false),
        (&["for=203.0.113.9;for=203.0.113.9"], PROXY, false),
        (&["for=203.0.113.9;proto=https;proto=http"], PROXY, false),
        (&["for=\"203.0.113.9"], PROXY, false),
        (&["for=\"203.0.113.9\\"], PROXY, false),
        (&["for=\"203.0.113.9\"x"], PROXY, false),
        (&["for= 203.0.113.9"], PROXY, false),
        (&["for"], PROXY, false),
        (&["=203.0.113.9"], PROXY, false),
        (&["203.0.113.9"], PROXY, false),
        (&["for=2001:db8::7:port"], PROXY, false),
        (&[""], PROXY, false),
    ] {
        let lines: Vec<_> = lines.iter().map(|line| ("forwarded", *line)).collect();
        assert_eq!(from_proxy(&lines), (expected.to_owned(), tls), "{lines:?}");
    }
}

#[test]
fn both_headers_must_agree() {
    let both = |standard, customary| {
        from_proxy(&[
            ("forwarded", standard),
            ("x-forwarded-for", customary),
            ("x-forwarded-proto", "https"),
        ])
    };
    let agreed = both("for=203.0.113.9;proto=http", "1.1.1.1, 203.0.113.9");
    assert_eq!(agreed, ("203.0.113.9".to_owned(), false));
    // One of them is what the sender wrote, and a proxy passed on.
    assert_eq!(both("for=1.1.1.1", "203.0.113.9").0, PROXY);
    assert_eq!(both("for=203.0.113.9", "rubbish").0, PROXY);
    assert_eq!(both("rubbish", "203.0.113.9").0, PROXY);
}

#[test]
fn of_two_headers_the_one_counts_that_the_proxies_write() {
    let by = |header, lines: &[(&str, &str)]| {
        let found = super::sender(&trusted(), header, peer(PROXY), &headers(lines));
        (found.address.to_string(), found.tls, found.is_clear)
    };
    for (header, written, other) in [
        (
            ForwardedHeader::XForwardedFor,
            "x-forwarded-for",
            "forwarded",
        ),
        (ForwardedHeader::Forwarded, "forwarded", "x-forwarded-for"),
    ] {
        let value = |name: &str| match name {
            "forwarded" => "for=203.0.113.9",
            _ => "203.0.113.9",
        };
        let sent = (written, value(written));
        let expected = ("203.0.113.9".to_owned(), false, true);
        assert_eq!(by(header, &[sent]), expected);
        for forged in [
            "for=198.51.100.1;proto=https",
            "198.51.100.1",
            "rubbish",
            "",
        ] {
            assert_eq!(by(header, &[(other, forged), sent]), expected, "{forged}");
        }
        // Not even alone.
        let alone = by(header, &[(other, value(other))]);
        assert_eq!(alone, (PROXY.to_owned(), false, true));
    }
    // The protocol is told by who tells the address.
    let proto = ("x-forwarded-proto", "https");
    for (header, tls) in [
        (ForwardedHeader::XForwardedFor, true),
        (ForwardedHeader::Forwarded, false),
    ] {
        let address = match header {
            ForwardedHeader::Forwarded => ("forwarded", "for=203.0.113.9"),
            _ => ("x-forwarded-for", "203.0.113.9"),
        };
        assert_eq!(by(header, &[address, proto]).1, tls);
    }
}

#[test]
fn who_is_hidden_or_contradicted_is_not_clear() {
    for (lines, is_clear) in [
        (&[][..], true),
        (&[("forwarded", "for=203.0.113.9")], true),
        (&[("x-forwarded-for", "203.0.113.9, 10.1.1.1")], true),
        // All of them are trusted: the outermost is the sender.
        (&[("x-forwarded-for", "10.3.3.3, 10.1.1.1")], true),
        (
            &[
                ("forwarded", "for=203.0.113.9"),
                ("x-forwarded-for", "203.0.113.9"),
            ],
            true,
        ),
        // What the sender wrote of those before it does not matter.
        (
            &[("x-forwarded-for", "unknown, rubbish, 203.0.113.9")],
            true,
        ),
        (
            &[
                ("forwarded", "for=203.0.113.1"),
                ("x-forwarded-for", "203.0.113.9"),
            ],
            false,
        ),
        (
            &[
                ("forwarded", "for=10.0.0.1"),
                ("x-forwarded-for", "203.0.113.9"),
            ],
            false,
        ),
        (
            &[
                ("forwarded", "for=unknown"),
                ("x-forwarded-for", "203.0.113.9"),
            ],
            false,
        ),
        (
            &[("forwarded", "for=unknown"), ("x-forwarded-for", PROXY)],
            false,
        ),
        (
            &[("forwarded", "rubbish"), ("x-forwarded-for", "203.0.113.9")],
            false,
        ),
        (&[("forwarded", "rubbish")], false),
        (&[("forwarded", "for=_hidden")], false),
        (&[("forwarded", "proto=https")], false),
        (
            &[("x-forwarded-for", "203.0.113.9, unknown, 10.1.1.1")],
            false,
        ),
        (&[("x-forwarded-for", "")], false),
    ] {
        let found = sender(&trusted(), peer(PROXY), &headers(lines));
        assert_eq!(found.is_clear, is_clear, "{lines:?}");
        let stranger = sender(&trusted(), peer("198.51.100.7"), &headers(lines));
        assert!(stranger.is_clear, "nobody was asked: {lines:?}");
    }
}

#[test]
fn the_protocol_may_stand_alone() {
    let with = |proto| {
        from_proxy(&[
            ("x-forwarded-for", "203.0.113.9"),
            ("x-forwarded-proto", proto),
        ])
        .1
    };
    assert!(with("https") && with("http, HTTPS"));
    assert!(!with("http") && !with("https, http") && !with("gopher"));
    assert!(from_proxy(&[("x-forwarded-proto", "https")]).1);
}

fn addresses() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        any::<u32>().prop_map(|bits| IpAddr::V4(bits.into())),
        any::<u128>().prop_map(|bits| IpAddr::V6(bits.into())),
        any::<u8>().prop_map(|last| IpAddr::from([192, 168, 0, last])),
    ]
}

fn standard(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("for={address}"),
        IpAddr::V6(address) => format!("for=\"[{address}]:80\""),
    }
}

proptest! {
    /// The one property that matters: what a sender writes before its proxies add theirs changes nothing.
    #[test]
    fn a_sender_cannot_choose_its_address(
        forged in "[ -~]{0,60}",
        client in addresses(),
        proxies in proptest::collection::vec(any::<[u8; 3]>(), 0..4),
    ) {
        let trusted = trusted();
        prop_assume!(!trusted.contain(client));
        let proxies = proxies.into_iter().map(|[a, b, c]| IpAddr::from([10, a, b, c]));
        let chain: Vec<IpAddr> = std::iter::once(client).chain(proxies).collect();
        let customary: Vec<String> = chain.iter().map(ToString::to_string).collect();
        let standard: Vec<String> = chain.iter().copied().map(standard).collect();
        let proxy = peer(PROXY);
        let seen = |lines: &[(&str, &str)]| sender(&trusted, proxy, &headers(lines)).address;
        let client = client.to_canonical();

        let customary = customary.join(", ");
        prop_assert_eq!(seen(&[("x-forwarded-for", &format!("{forged}, {customary}"))]), client);
        prop_assert_eq!(seen(&[("x-forwarded-for", &forged), ("x-forwarded-for", &customary)]), client);
        let standard = standard.join(",");
        prop_assert_eq!(seen(&[("forwarded", &forged), ("forwarded", &standard)]), client);
        // An open quote may swallow what follows it in its line: then nothing is believed, or the truth.
        let one_line = seen(&[("forwarded", &format!("{forged}, {standard}"))]);
        prop_assert!(one_line == client || one_line == proxy.address, "{}", one_line);
        // A header that the proxies do not know, beside the one that they do.
        for (name, forged) in [("forwarded", &forged), ("forwarded", &format!("for={forged}"))] {
            let found = seen(&[(name, forged), ("x-forwarded-for", &customary)]);
            prop_assert!(found == client || found == proxy.address, "{}", found);
        }
    }

    #[test]
    fn anything_may_be_sent(line in proptest::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(value) = HeaderValue::from_bytes(&line) {
            for name in ["forwarded", "x-forwarded-for", "x-forwarded-proto"] {
                let mut headers = HeaderMap::new();
                headers.append(name, value.clone());
                let _ = sender(&trusted(), peer(PROXY), &headers);
            }
        }
    }
}
