//! Where services are found. Most are in each region; those that are in one place of a partition stand in a table.
//!
//! Source: the endpoint rules of the AWS SDKs (`botocore/data/*/endpoint-rule-set-1.json`), with which `tests/it/aws.rs` compares
//! them.

/// A service that is once in a partition.
struct Single {
    endpoint: &'static str,
    aws: Place,
    china: Option<Place>,
    us_gov: Option<Place>,
}

/// Where it is there.
#[derive(Clone, Copy)]
enum Place {
    /// The service's host of this region.
    In(&'static str),
    /// This host, with this region in signatures.
    At(&'static str, &'static str),
}

use Place::{At, In};

const fn single(
    endpoint: &'static str,
    aws: Place,
    china: Option<Place>,
    us_gov: Option<Place>,
) -> Single {
    Single {
        endpoint,
        aws,
        china,
        us_gov,
    }
}

/// In one region of each of the three partitions.
const fn in_regions(endpoint: &'static str, aws: &'static str) -> Single {
    let (china, us_gov) = (Some(In("cn-northwest-1")), Some(In("us-gov-west-1")));
    single(endpoint, In(aws), china, us_gov)
}

static SINGLES: [Single; 17] = [
    in_regions("account", "us-east-1"),
    in_regions("artifact", "us-east-1"),
    single("billingconductor", In("us-east-1"), None, None),
    single(
        "budgets",
        At("budgets.amazonaws.com", "us-east-1"),
        Some(At("budgets.amazonaws.com.cn", "cn-northwest-1")),
        Some(At("budgets.amazonaws.com", "us-gov-west-1")),
    ),
    in_regions("ce", "us-east-1"),
    single("chime", In("us-east-1"), None, None),
    single(
        "cloudfront",
        At("cloudfront.amazonaws.com", "us-east-1"),
        Some(In("cn-northwest-1")),
        Some(At("cloudfront.amazonaws.com", "us-gov-west-1")),
    ),
    single(
        "iam",
        At("iam.amazonaws.com", "us-east-1"),
        Some(In("cn-north-1")),
        Some(At("iam.us-gov.amazonaws.com", "us-gov-west-1")),
    ),
    in_regions("networkmanager", "us-west-2"),
    in_regions("organizations", "us-east-1"),
    single(
        "route53",
        At("route53.amazonaws.com", "us-east-1"),
        Some(At("route53.amazonaws.com.cn", "cn-northwest-1")),
        Some(At("route53.us-gov.amazonaws.com", "us-gov-west-1")),
    ),
    in_regions("route53-recovery-control-config", "us-west-2"),
    single(
        "savingsplans",
        At("savingsplans.amazonaws.com", "us-east-1"),
        None,
        None,
    ),
    single("shield", In("us-east-1"), None, None),
    single(
        "support",
        In("us-east-1"),
        Some(In("cn-north-1")),
        Some(In("us-gov-west-1")),
    ),
    in_regions("tax", "us-east-1"),
    single("waf", At("waf.amazonaws.com", "us-east-1"), None, None),
];

/// Host, and region in signatures, of the service whose hosts begin with `endpoint`, for whoever asks for it in `region`.
#[must_use]
pub fn host(endpoint: &str, region: &str) -> (String, String) {
    let partition = Partition::of(region);
    let single = SINGLES.iter().find(|single| single.endpoint == endpoint);
    let place = single.and_then(|single| match partition {
        Partition::Aws => Some(single.aws),
        Partition::China => single.china,
        Partition::UsGov => single.us_gov,
        Partition::Iso | Partition::IsoB | Partition::Europe => None,
    });
    let region = match place {
        Some(At(host, region)) => return (host.to_owned(), region.to_owned()),
        Some(In(region)) => region,
        None => region,
    };
    let suffix = partition.dns_suffix();
    (format!("{endpoint}.{region}.{suffix}"), region.to_owned())
}

/// A part of AWS that shares no accounts with the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Partition {
    Aws,
    China,
    UsGov,
    Iso,
    IsoB,
    Europe,
}

impl Partition {
    fn of(region: &str) -> Self {
        // The longer prefix first.
        match region {
            _ if region.starts_with("cn-") => Self::China,
            _ if region.starts_with("us-gov-") => Self::UsGov,
            _ if region.starts_with("us-isob-") => Self::IsoB,
            _ if region.starts_with("us-iso-") => Self::Iso,
            _ if region.starts_with("eusc-") => Self::Europe,
            _ => Self::Aws,
        }
    }

    fn dns_suffix(self) -> &'static str {
        match self {
            Self::Aws | Self::UsGov => "amazonaws.com",
            Self::China => "amazonaws.com.cn",
            Self::Iso => "c2s.ic.gov",
            Self::IsoB => "sc2s.sgov.gov",
            Self::Europe => "amazonaws.eu",
        }
    }
}
