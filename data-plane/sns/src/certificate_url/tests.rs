#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;

const FILE: &str = "/SimpleNotificationService-7506a1e35b36ef5a444dd1a8e7cc3ed8.pem";

fn parse(url: &str, region: &str, policy: &TrustPolicy) -> Result<CertLocation, CertUrlError> {
    let partition = match region {
        _ if region.starts_with("cn-") => "aws-cn",
        _ if region.starts_with("us-gov-") => "aws-us-gov",
        _ if region.starts_with("us-iso-") => "aws-iso",
        _ if region.starts_with("us-isob-") => "aws-iso-b",
        _ if region.starts_with("us-isof-") => "aws-iso-f",
        _ if region.starts_with("eu-isoe-") => "aws-iso-e",
        _ if region.starts_with("eusc-") => "aws-eusc",
        _ => "aws",
    };
    let topic = TopicArn::parse(&format!("arn:{partition}:sns:{region}:123456789012:t")).unwrap();
    SigningCertUrl::parse(url, &topic, policy)
}

#[test]
fn each_region_has_its_host_and_its_name() {
    let cases = [
        (
            "us-east-1",
            "sns.us-east-1.amazonaws.com",
            "sns.amazonaws.com",
        ),
        (
            "ap-northeast-3",
            "sns.ap-northeast-3.amazonaws.com",
            "sns.amazonaws.com",
        ),
        (
            "af-south-1",
            "sns.af-south-1.amazonaws.com",
            "sns-signing.af-south-1.amazonaws.com",
        ),
        (
            "me-central-1",
            "sns.me-central-1.amazonaws.com",
            "sns-signing.me-central-1.amazonaws.com",
        ),
        (
            "mx-central-1",
            "sns.mx-central-1.amazonaws.com",
            "sns-signing.mx-central-1.amazonaws.com",
        ),
        (
            "cn-north-1",
            "sns.cn-north-1.amazonaws.com.cn",
            "sns-cn-north-1.amazonaws.com.cn",
        ),
        (
            "cn-northwest-1",
            "sns.cn-northwest-1.amazonaws.com.cn",
            "sns-cn-northwest-1.amazonaws.com.cn",
        ),
        (
            "us-gov-east-1",
            "sns.us-gov-east-1.amazonaws.com",
            "sns-us-gov-west-1.amazonaws.com",
        ),
        (
            "us-iso-east-1",
            "sns.us-iso-east-1.c2s.ic.gov",
            "sns-us-iso-east-1.c2s.ic.gov",
        ),
        (
            "us-isob-east-1",
            "sns.us-isob-east-1.sc2s.sgov.gov",
            "sns-us-isob-east-1.sc2s.sgov.gov",
        ),
        (
            "eu-isoe-west-1",
            "sns.eu-isoe-west-1.cloud.adc-e.uk",
            "sns-signing.eu-isoe-west-1.cloud.adc-e.uk",
        ),
        (
            "us-isof-south-1",
            "sns.us-isof-south-1.csp.hci.ic.gov",
            "sns-signing.us-isof-south-1.csp.hci.ic.gov",
        ),
        (
            "eusc-de-east-1",
            "sns.eusc-de-east-1.amazonaws.eu",
            "sns-signing.eusc-de-east-1.amazonaws.eu",
        ),
    ];
    for (region, host, name) in cases {
        let url = format!("https://{host}{FILE}");
        let location = parse(&url, region, &TrustPolicy::default()).expect(region);
        assert_eq!(location.url(), url);
        let ExpectedName::OneOf { names, .. } = location.expected_name() else {
            panic!("{region} is AWS's")
        };
        assert_eq!(names, &[name], "{region}");
    }
}

#[test]
fn a_region_that_is_newer_than_the_list_may_have_either_name() {
    let location = parse(
        &format!("https://sns.ap-west-9.amazonaws.com{FILE}"),
        "ap-west-9",
        &TrustPolicy::default(),
    )
    .unwrap();
    let ExpectedName::OneOf { names, .. } = location.expected_name() else {
        panic!("it is AWS's")
    };
    assert_eq!(
        names,
        &["sns-signing.ap-west-9.amazonaws.com", "sns.amazonaws.com"]
    );
}

#[test]
fn hostile_urls_are_refused_by_the_rule_they_break() {
    let aws = "https://sns.us-east-1.amazonaws.com";
    let hex = "7506a1e35b36ef5a444dd1a8e7cc3ed8";
    let cases = [
        (
            format!("http://sns.us-east-1.amazonaws.com{FILE}"),
            CertUrlError::Scheme,
        ),
        (
            format!("HTTPS://sns.us-east-1.amazonaws.com{FILE}"),
            CertUrlError::Scheme,
        ),
        (
            format!("ftp://sns.us-east-1.amazonaws.com{FILE}"),
            CertUrlError::Scheme,
        ),
        (
            format!("//sns.us-east-1.amazonaws.com{FILE}"),
            CertUrlError::Scheme,
        ),
        (
            format!("sns.us-east-1.amazonaws.com{FILE}"),
            CertUrlError::Scheme,
        ),
        (String::new(), CertUrlError::Scheme),
        ("file:///etc/passwd.pem".into(), CertUrlError::Scheme),
        (format!("{aws}:443{FILE}"), CertUrlError::Port),
        (format!("{aws}:8443{FILE}"), CertUrlError::Port),
        (format!("{aws}:{FILE}"), CertUrlError::Port),
        (format!("{aws}.evil.com{FILE}"), CertUrlError::Host),
        (format!("{aws}.{FILE}"), CertUrlError::Host),
        (format!("{aws}@evil.com{FILE}"), CertUrlError::UserInfo),
        (
            format!("https://user:pass@sns.us-east-1.amazonaws.com{FILE}"),
            CertUrlError::UserInfo,
        ),
        (
            format!("https://evil.com/sns.us-east-1.amazonaws.com{FILE}"),
            CertUrlError::Host,
        ),
        (
            "https://evil.com/sns.us-east-1.amazonaws.com/x.pem".into(),
            CertUrlError::Host,
        ),
        (
            format!("https://sns.evil.amazonaws.com.{FILE}"),
            CertUrlError::Host,
        ),
        (
            format!("https://sns-us-east-1.s3.amazonaws.com{FILE}"),
            CertUrlError::Host,
        ),
        (
            format!("https://sns.us-east-1.s3.amazonaws.com{FILE}"),
            CertUrlError::Host,
        ),
        (
            format!("https://abc.execute-api.us-east-1.amazonaws.com{FILE}"),
            CertUrlError::Host,
        ),
        (
            format!("https://abc.lambda-url.us-east-1.on.aws{FILE}"),
            CertUrlError::Host,
        ),
        (
            format!("https://s3.amazonaws.com{FILE}"),
            CertUrlError::Host,
        ),
        (
            format!("https://SNS.us-east-1.amazonaws.com{FILE}"),
            CertUrlError::Host,
        ),
        (
            format!("https://sns.US-EAST-1.amazonaws.com{FILE}"),
            CertUrlError::Host,
        ),
        (
            format!("https://xn--sns-8la.us-east-1.amazonaws.com{FILE}"),
            CertUrlError::Host,
        ),
        (
            format!("https://sns.us-east-1.amaz\u{43e}naws.com{FILE}"),
            CertUrlError::Characters,
        ),
        (
            format!("https://sns%2eus-east-1%2eamazonaws%2ecom{FILE}"),
            CertUrlError::Characters,
        ),
        (format!("https://52.94.1.1{FILE}"), CertUrlError::Host),
        (format!("https://169.254.169.254{FILE}"), CertUrlError::Host),
        (format!("https://[::1]{FILE}"), CertUrlError::Host),
        (
            format!("https://[::ffff:169.254.169.254]{FILE}"),
            CertUrlError::Host,
        ),
        (format!("https://localhost{FILE}"), CertUrlError::Host),
        (
            format!("https:\\\\sns.us-east-1.amazonaws.com{FILE}"),
            CertUrlError::Characters,
        ),
        (format!("{aws}\\@evil.com{FILE}"), CertUrlError::Characters),
        (format!("{aws}\t{FILE}"), CertUrlError::Characters),
        (format!("{aws}\n{FILE}"), CertUrlError::Characters),
        (format!("{aws}\0{FILE}"), CertUrlError::Characters),
        (format!(" {aws}{FILE}"), CertUrlError::Characters),
        (format!("{aws}{FILE} "), CertUrlError::Characters),
        (format!("{aws}/..{FILE}"), CertUrlError::Path),
        (format!("{aws}/a/..{FILE}"), CertUrlError::Path),
        (format!("{aws}/{FILE}"), CertUrlError::Path),
        (format!("{aws}/%2e%2e{FILE}"), CertUrlError::Characters),
        (format!("{aws}/x.pem"), CertUrlError::Path),
        (
            format!("{aws}/simplenotificationservice-{hex}.pem"),
            CertUrlError::Path,
        ),
        (
            format!("{aws}/SimpleNotificationService-{}.pem", &hex[1..]),
            CertUrlError::Path,
        ),
        (
            format!("{aws}/SimpleNotificationService-{hex}0.pem"),
            CertUrlError::Path,
        ),
        (
            format!("{aws}/SimpleNotificationService-{}g.pem", &hex[1..]),
            CertUrlError::Path,
        ),
        (
            format!("{aws}/SimpleNotificationService-{hex}.pem.exe"),
            CertUrlError::Path,
        ),
        (
            format!("{aws}/SimpleNotificationService-{hex}.PEM"),
            CertUrlError::Path,
        ),
        (aws.into(), CertUrlError::Path),
        (format!("{aws}{FILE}?"), CertUrlError::Query),
        (format!("{aws}{FILE}?x=y"), CertUrlError::Query),
        (
            format!("{aws}/?url=http://evil.com{FILE}"),
            CertUrlError::Query,
        ),
        (format!("{aws}{FILE}#"), CertUrlError::Fragment),
        (format!("{aws}#{FILE}"), CertUrlError::Fragment),
        (
            format!("https://sns.us-east-2.amazonaws.com{FILE}"),
            CertUrlError::Host,
        ),
        (
            format!("https://sns.us-east-1.amazonaws.com.cn{FILE}"),
            CertUrlError::Host,
        ),
        (
            format!("https://sns.cn-north-1.amazonaws.com.cn{FILE}"),
            CertUrlError::Host,
        ),
        (
            format!("https://sns.us-gov-west-1.amazonaws.com{FILE}"),
            CertUrlError::Host,
        ),
        (
            format!("{aws}/{}", "a".repeat(1 << 20)),
            CertUrlError::TooLong,
        ),
    ];
    let trusting = TrustPolicy {
        trusted_origins: vec!["http://127.0.0.1:4566".parse().unwrap()],
    };
    for (url, expected) in cases {
        for policy in [TrustPolicy::default(), trusting.clone()] {
            assert_eq!(
                parse(&url, "us-east-1", &policy),
                Err(expected),
                "{url:.120}"
            );
        }
    }
}

#[test]
fn a_topic_of_another_partition_has_another_host() {
    let commercial = format!("https://sns.us-east-1.amazonaws.com{FILE}");
    for region in ["cn-north-1", "us-gov-west-1", "eusc-de-east-1", "eu-west-1"] {
        assert_eq!(
            parse(&commercial, region, &TrustPolicy::default()),
            Err(CertUrlError::Host),
            "{region}"
        );
    }
}

#[test]
fn a_trusted_origin_is_believed_under_its_loopback_names_and_fetched_as_configured() {
    let path = "/_aws/sns/SimpleNotificationService-6c6f63616c737461636b69736e696365.pem";
    let origin: TrustedOrigin = "http://127.0.0.1:4566".parse().unwrap();
    let policy = TrustPolicy {
        trusted_origins: vec!["https://sns.example.org".parse().unwrap(), origin.clone()],
    };
    for host in ["127.0.0.1:4566", "localhost:4566", "[::1]:4566"] {
        let location = parse(&format!("http://{host}{path}"), "us-east-1", &policy).expect(host);
        assert_eq!(location.url(), format!("http://127.0.0.1:4566{path}"));
        assert_eq!(
            location.expected_name(),
            &ExpectedName::Any {
                origin: origin.clone()
            }
        );
        assert_eq!(
            location.expected_name().origin().to_string(),
            "http://127.0.0.1:4566"
        );
    }
    for url in [
        "https://sns.example.org/a.pem",
        "https://sns.example.org:443/a.pem",
    ] {
        assert_eq!(
            parse(url, "eu-west-1", &policy).unwrap().url(),
            "https://sns.example.org/a.pem"
        );
    }
    let aws = format!("https://sns.us-east-1.amazonaws.com{FILE}");
    assert_eq!(
        parse(&aws, "us-east-1", &policy)
            .unwrap()
            .expected_name()
            .origin(),
        CertOrigin::Aws
    );
}

#[test]
fn a_trusted_origin_widens_nothing_but_itself() {
    let policy = TrustPolicy {
        trusted_origins: vec!["http://127.0.0.1:4566".parse().unwrap()],
    };
    let cases = [
        ("http://127.0.0.1:4567/a.pem", CertUrlError::Scheme),
        ("http://127.0.0.1/a.pem", CertUrlError::Scheme),
        ("http://127.0.0.1:04566/a.pem", CertUrlError::Scheme),
        ("http://127.0.0.1:+4566/a.pem", CertUrlError::Characters),
        ("https://127.0.0.1:4566/a.pem", CertUrlError::Host),
        ("http://127.0.0.2:4566/a.pem", CertUrlError::Scheme),
        ("http://2130706433:4566/a.pem", CertUrlError::Scheme),
        ("http://LOCALHOST:4566/a.pem", CertUrlError::Scheme),
        ("http://localhost.:4566/a.pem", CertUrlError::Scheme),
        ("http://evil@127.0.0.1:4566/a.pem", CertUrlError::UserInfo),
        ("http://127.0.0.1:4566/a.pem?x", CertUrlError::Query),
        ("http://127.0.0.1:4566/a.pem#x", CertUrlError::Fragment),
        ("http://127.0.0.1:4566/../a.pem", CertUrlError::Path),
        ("http://127.0.0.1:4566//evil.com/a.pem", CertUrlError::Path),
        ("http://127.0.0.1:4566/a:b.pem", CertUrlError::Path),
        ("http://127.0.0.1:4566/a.txt", CertUrlError::Path),
        ("http://127.0.0.1:4566", CertUrlError::Path),
    ];
    for (url, expected) in cases {
        assert_eq!(parse(url, "us-east-1", &policy), Err(expected), "{url}");
    }
    let local = "http://127.0.0.1:4566/a.pem";
    assert_eq!(
        parse(local, "us-east-1", &TrustPolicy::default()),
        Err(CertUrlError::Scheme)
    );
}

#[test]
fn origins_are_origins() {
    for (text, printed) in [
        ("http://127.0.0.1:4566", "http://127.0.0.1:4566"),
        ("http://127.0.0.1:4566/", "http://127.0.0.1:4566"),
        (
            "https://LocalStack.Example:443",
            "https://localstack.example",
        ),
        ("http://[::1]:4566", "http://[::1]:4566"),
    ] {
        assert_eq!(TrustedOrigin::parse(text).unwrap().to_string(), printed);
    }
    for bad in [
        "",
        "127.0.0.1:4566",
        "ftp://a",
        "http://",
        "http://u@a",
        "http://u:p@a",
        "http://a/b",
        "http://a?b",
        "http://a#b",
    ] {
        assert!(TrustedOrigin::parse(bad).is_err(), "{bad}");
    }
    let origins: Vec<CertOrigin> =
        serde_json::from_str(r#"["aws","http://127.0.0.1:4566"]"#).unwrap();
    assert_eq!(
        serde_json::to_string(&origins).unwrap(),
        r#"["aws","http://127.0.0.1:4566"]"#
    );
}
