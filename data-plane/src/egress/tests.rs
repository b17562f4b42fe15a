#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;

#[test]
fn only_public_addresses_pass() {
    let policy = EgressPolicy::default();
    for public in ["1.1.1.1", "52.95.110.1", "2600:1f18::1", "64:ff9b::1.1.1.1"] {
        assert!(policy.permits(public.parse().unwrap()), "{public}");
    }
    for special in [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "240.0.0.1",
        "192.0.0.8",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "fe80::1",
        "fc00::1",
        "fd00:ec2::254",
        "ff02::1",
        "64:ff9b::169.254.169.254",
        "2002:a9fe:a9fe::1",
        "::7f00:1",
        "fec0::1",
        "2001:db8::1",
    ] {
        assert!(!policy.permits(special.parse().unwrap()), "{special}");
    }
}

#[test]
fn allowed_networks_pass_and_no_others() {
    let policy = EgressPolicy {
        allow: vec!["127.0.0.0/8".parse().unwrap()],
    };
    assert!(policy.permits("127.0.0.1".parse().unwrap()));
    assert!(policy.permits("::ffff:127.0.0.1".parse().unwrap()));
    assert!(!policy.permits("10.0.0.1".parse().unwrap()));
    assert!(!policy.permits("::1".parse().unwrap()));
}

#[tokio::test]
async fn names_and_literals_are_both_looked_at() {
    let egress = Egress::new(EgressPolicy::default()).unwrap();
    for literal in [
        "http://127.0.0.1:1/",
        "http://[::1]:1/",
        "http://0x7f.1:1/",
        "http://2130706433:1/",
    ] {
        let refused = egress.request(reqwest::Method::GET, literal.parse().unwrap());
        assert!(refused.is_err(), "{literal}");
    }
    let error = egress
        .request(reqwest::Method::GET, "http://localhost:1/".parse().unwrap())
        .unwrap()
        .send()
        .await
        .unwrap_err();
    assert!(denied(&error).is_some(), "{error:?}");
}
