//! The rule for SigningCertURL: what is believed is exactly what the topic's own region would send.

use signalbox_sns::{SigningCertUrl, TopicArn, TrustPolicy};
use url::Url;

use crate::Target;

/// The target.
pub const TARGET: Target = Target {
    name: "certificate_url",
    body,
    mutations: 20_000,
    tokens: &[
        "https://",
        "http://",
        "sns.us-east-1.amazonaws.com",
        "sns.cn-north-1.amazonaws.com.cn",
        "/SimpleNotificationService-",
        "5555555555555555555555555555555a",
        ".pem",
        ":443",
        ":4566",
        "localhost",
        "[::1]",
        "127.0.0.1",
        "@evil.example",
        "..",
        "%2e",
        "arn:aws:sns:",
        "arn:aws-cn:sns:",
        "us-gov-west-1",
        "123456789012",
    ],
};

/// The suffixes of AWS's `partitions.json`.
const PARTITIONS: [(&str, &str); 8] = [
    ("aws", "amazonaws.com"),
    ("aws-cn", "amazonaws.com.cn"),
    ("aws-us-gov", "amazonaws.com"),
    ("aws-iso", "c2s.ic.gov"),
    ("aws-iso-b", "sc2s.sgov.gov"),
    ("aws-iso-e", "cloud.adc-e.uk"),
    ("aws-iso-f", "csp.hci.ic.gov"),
    ("aws-eusc", "amazonaws.eu"),
];

/// The first line is a topic, the rest the URL.
pub fn body(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let (arn, url) = text.split_once('\n').unwrap_or((text, ""));
    let Ok(topic) = TopicArn::parse(arn) else {
        return;
    };
    let (region, host) = own_host(arn);
    assert_eq!(topic.region().as_str(), region);
    let own = is_own(url, &host);

    let policy = TrustPolicy::default();
    let believed = SigningCertUrl::parse(url, &topic, &policy);
    assert_eq!(believed.is_ok(), own, "{url:?} for {arn}");
    if let Ok(location) = believed {
        assert_eq!(location.url(), url, "what is fetched is rebuilt");
        // Whoever fetches it reads the same of it.
        let read = Url::parse(url).unwrap();
        assert_eq!(read.as_str(), url);
        assert_eq!(
            (read.scheme(), read.host_str(), read.port()),
            ("https", Some(host.as_str()), None)
        );
        assert!(read.username().is_empty() && read.password().is_none());
        assert!(read.query().is_none() && read.fragment().is_none());
    }

    // Trust in one more origin adds that origin and nothing else.
    for origin in ["http://127.0.0.1:4566", "https://sns.example"] {
        let policy = TrustPolicy {
            trusted_origins: vec![origin.parse().unwrap()],
        };
        let Ok(location) = SigningCertUrl::parse(url, &topic, &policy) else {
            assert!(!own, "{url:?} for {arn}, with {origin}");
            continue;
        };
        let read = Url::parse(location.url()).unwrap();
        assert_eq!(read.as_str(), location.url());
        assert!(
            own || read.origin() == Url::parse(origin).unwrap().origin(),
            "{url:?} leads to {read}"
        );
    }
}

/// The region of a topic, and the host of its SNS.
fn own_host(arn: &str) -> (&str, String) {
    let parts: Vec<&str> = arn.split(':').collect();
    assert_eq!(parts.len(), 6);
    let suffix = PARTITIONS.iter().find(|(name, _)| *name == parts[1]);
    let (_, suffix) = suffix.expect("the topic names a partition");
    (parts[3], format!("sns.{}.{suffix}", parts[3]))
}

/// `https://<host>/SimpleNotificationService-<32 hex>.pem`.
fn is_own(url: &str, host: &str) -> bool {
    let Some(rest) = url.strip_prefix(&format!("https://{host}/SimpleNotificationService-")) else {
        return false;
    };
    rest.len() == 36
        && rest.ends_with(".pem")
        && rest[..32].chars().all(|digit| digit.is_ascii_hexdigit())
}
