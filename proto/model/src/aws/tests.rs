#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;

#[test]
fn services_are_told_by_their_names_once() {
    let mut names: Vec<_> = Service::names().collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
    for name in names {
        let service = Service::find(name).unwrap();
        assert!(is_service(service.endpoint), "{name}");
        assert!(
            is_service(&service.signing_name.to_ascii_lowercase()),
            "{name}"
        );
        let is_rest = matches!(service.protocol, Protocol::RestJson | Protocol::RestXml);
        assert!(is_rest || rest_operations(service).count() == 0, "{name}");
    }
    // By the command line's name and by that of the host.
    for (name, host) in [("emr", "elasticmapreduce"), ("efs", "elasticfilesystem")] {
        let (named, hosted) = (Service::find(name).unwrap(), Service::find(host).unwrap());
        assert_eq!(named.protocol, hosted.protocol);
        assert_eq!((named.endpoint, hosted.endpoint), (host, host));
    }
    for (name, target) in [
        ("comprehend", "Comprehend_20171127"),
        ("dms", "AmazonDMSv20160101"),
    ] {
        let version = "1.1";
        let json = Protocol::Json { version, target };
        assert_eq!(Service::find(name).unwrap().protocol, json);
    }
}

#[test]
fn hosts_are_those_of_the_partition() {
    let host = |name: &str, region: &str| match Service::find(name) {
        Some(service) => service.host(region),
        None => host(name, region),
    };
    for (name, region, expected, signed) in [
        (
            "ec2",
            "eu-central-1",
            "ec2.eu-central-1.amazonaws.com",
            "eu-central-1",
        ),
        (
            "cloudwatch",
            "us-east-1",
            "monitoring.us-east-1.amazonaws.com",
            "us-east-1",
        ),
        (
            "ecr",
            "us-east-1",
            "api.ecr.us-east-1.amazonaws.com",
            "us-east-1",
        ),
        (
            "sqs",
            "cn-north-1",
            "sqs.cn-north-1.amazonaws.com.cn",
            "cn-north-1",
        ),
        ("iam", "eu-west-1", "iam.amazonaws.com", "us-east-1"),
        (
            "iam",
            "cn-northwest-1",
            "iam.cn-north-1.amazonaws.com.cn",
            "cn-north-1",
        ),
        (
            "iam",
            "us-gov-east-1",
            "iam.us-gov.amazonaws.com",
            "us-gov-west-1",
        ),
        ("ce", "eu-west-1", "ce.us-east-1.amazonaws.com", "us-east-1"),
        (
            "route53",
            "eu-central-1",
            "route53.amazonaws.com",
            "us-east-1",
        ),
        (
            "cloudfront",
            "eu-central-1",
            "cloudfront.amazonaws.com",
            "us-east-1",
        ),
        (
            "route53",
            "cn-north-1",
            "route53.amazonaws.com.cn",
            "cn-northwest-1",
        ),
        (
            "budgets",
            "eu-central-1",
            "budgets.amazonaws.com",
            "us-east-1",
        ),
        (
            "organizations",
            "us-gov-east-1",
            "organizations.us-gov-west-1.amazonaws.com",
            "us-gov-west-1",
        ),
        (
            "support",
            "eu-central-1",
            "support.us-east-1.amazonaws.com",
            "us-east-1",
        ),
        (
            "sts",
            "eu-central-1",
            "sts.eu-central-1.amazonaws.com",
            "eu-central-1",
        ),
        // Of no line of the table, by `rest` alone.
        (
            "networkmanager",
            "eu-central-1",
            "networkmanager.us-west-2.amazonaws.com",
            "us-west-2",
        ),
        (
            "guardduty",
            "eu-central-1",
            "guardduty.eu-central-1.amazonaws.com",
            "eu-central-1",
        ),
        (
            "s3",
            "us-isob-east-1",
            "s3.us-isob-east-1.sc2s.sgov.gov",
            "us-isob-east-1",
        ),
        (
            "sns",
            "eusc-de-east-1",
            "sns.eusc-de-east-1.amazonaws.eu",
            "eusc-de-east-1",
        ),
    ] {
        let found = host(name, region);
        assert_eq!(found, (expected.to_owned(), signed.to_owned()), "{name}");
    }
}

#[test]
fn what_becomes_a_part_of_a_host_can_be_nothing_else() {
    for region in ["us-east-1", "eusc-de-east-1", "local"] {
        assert!(is_region(region), "{region}");
    }
    for region in [
        "",
        "us-east-1.evil.com",
        "a/b",
        "US-EAST-1",
        "-a",
        "a-",
        "a@b",
        "a:1",
    ] {
        assert!(!is_region(region), "{region}");
    }
    for service in ["execute-api", "api.ecr", "a4b"] {
        assert!(is_service(service), "{service}");
    }
    for service in ["", ".a", "a..b", "a/b", "A", "a.-b", "a@b"] {
        assert!(!is_service(service), "{service}");
    }
}
