//! Where a signing certificate may come from.
//!
//! The URL in a message is unsigned and hostile. It is compared, byte for byte, with what the signed topic allows; what
//! is fetched is built anew from the parts that passed.

use crate::trust::Scheme;
use crate::{
    CertOrigin, Partition, Refusal, RefusalKind, Region, TopicArn, TrustPolicy, TrustedOrigin,
};

#[cfg(test)]
mod tests;

/// Longest SigningCertURL looked at, in bytes.
pub const SIGNING_CERT_URL_MAX_BYTES: usize = 512;
const FILE_PREFIX: &str = "/SimpleNotificationService-";
const FILE_SUFFIX: &str = ".pem";
const FILE_HEX_BYTES: usize = 32;

/// Why a SigningCertURL is not believed. Nothing is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertUrlError {
    /// Longer than [`SIGNING_CERT_URL_MAX_BYTES`].
    #[error("SigningCertURL is longer than {SIGNING_CERT_URL_MAX_BYTES} bytes")]
    TooLong,
    /// Holds a character that no such URL needs: percent, backslash, blank, control, non-ASCII.
    #[error("SigningCertURL holds a character that none has")]
    Characters,
    /// Not `https://`.
    #[error("SigningCertURL is not https")]
    Scheme,
    /// User info before the host.
    #[error("SigningCertURL holds user information")]
    UserInfo,
    /// A port that is written out.
    #[error("SigningCertURL names a port")]
    Port,
    /// Not the SNS endpoint of the topic's region and partition.
    #[error("SigningCertURL's host is not the SNS endpoint of the topic's region")]
    Host,
    /// Not `/SimpleNotificationService-<32 hex>.pem`.
    #[error("SigningCertURL's path is not a signing certificate's")]
    Path,
    /// A query.
    #[error("SigningCertURL has a query")]
    Query,
    /// A fragment.
    #[error("SigningCertURL has a fragment")]
    Fragment,
}

impl Refusal for CertUrlError {
    fn reason(&self) -> &'static str {
        match self {
            Self::TooLong => "certificate-url-too-long",
            Self::Characters => "certificate-url-characters",
            Self::Scheme => "certificate-url-scheme",
            Self::UserInfo => "certificate-url-userinfo",
            Self::Port => "certificate-url-port",
            Self::Host => "certificate-url-host",
            Self::Path => "certificate-url-path",
            Self::Query => "certificate-url-query",
            Self::Fragment => "certificate-url-fragment",
        }
    }

    fn kind(&self) -> RefusalKind {
        RefusalKind::Forbidden
    }
}

/// Whose certificate is expected at a location.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpectedName {
    /// AWS's: the certificate must be issued for one of these DNS names, and proves only topics of this region.
    OneOf {
        /// The region whose endpoint serves it.
        region: Region,
        /// The names, in lower case.
        names: Vec<String>,
    },
    /// A trusted origin's: any name will do.
    Any {
        /// The origin that serves it.
        origin: TrustedOrigin,
    },
}

impl ExpectedName {
    /// The names that AWS signs with in `region` (`SnsHostProvider` of the AWS SDK for Java v2).
    ///
    /// A commercial region that is newer than this list gets both the opt-in and the classic name: a certificate that
    /// AWS itself serves there over TLS must not stop deliveries because of its choice between the two.
    pub fn for_region(region: &Region) -> Self {
        let name = region.as_str();
        let suffix = region.partition().dns_suffix();
        let opt_in = format!("sns-signing.{name}.{suffix}");
        let names = match region.partition() {
            Partition::Aws if CLASSIC_REGIONS.contains(&name) => {
                vec!["sns.amazonaws.com".to_owned()]
            }
            Partition::Aws if is_opt_in(name) => vec![opt_in],
            Partition::Aws => vec![opt_in, "sns.amazonaws.com".to_owned()],
            // One certificate serves both GovCloud regions.
            Partition::AwsUsGov => vec!["sns-us-gov-west-1.amazonaws.com".to_owned()],
            Partition::AwsCn | Partition::AwsIso | Partition::AwsIsoB => {
                vec![format!("sns-{name}.{suffix}")]
            }
            Partition::AwsIsoE | Partition::AwsIsoF | Partition::AwsEusc => vec![opt_in],
        };
        Self::OneOf {
            region: region.clone(),
            names,
        }
    }

    /// Whose word it is.
    pub fn origin(&self) -> CertOrigin {
        match self {
            Self::OneOf { .. } => CertOrigin::Aws,
            Self::Any { origin } => CertOrigin::Trusted(origin.clone()),
        }
    }
}

/// The regions that were there before regions became opt-in (2019).
const CLASSIC_REGIONS: [&str; 17] = [
    "us-east-1",
    "us-east-2",
    "us-west-1",
    "us-west-2",
    "ca-central-1",
    "sa-east-1",
    "eu-central-1",
    "eu-north-1",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-southeast-1",
    "ap-southeast-2",
];

const OPT_IN_REGIONS: [&str; 15] = [
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-south-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ca-west-1",
    "eu-central-2",
    "eu-south-1",
    "eu-south-2",
    "il-central-1",
    "mx-central-1",
];

fn is_opt_in(region: &str) -> bool {
    OPT_IN_REGIONS.contains(&region) || region.starts_with("me-")
}

/// A place that a signing certificate may be fetched from: over verified TLS where it is https, without following
/// redirects, bounded in size and time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertLocation {
    url: String,
    expected: ExpectedName,
}

impl CertLocation {
    /// The URL to fetch, rebuilt from parts that were checked.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What to cache the certificate by. Two URLs for the same certificate have the same key.
    pub fn cache_key(&self) -> &str {
        &self.url
    }

    /// Whom the certificate must be issued to.
    pub fn expected_name(&self) -> &ExpectedName {
        &self.expected
    }
}

/// The rules for the SigningCertURL of a message.
pub struct SigningCertUrl;

impl SigningCertUrl {
    /// Decides whether a certificate at `url` could prove messages of `topic`.
    ///
    /// # Errors
    /// The first rule that the URL breaks.
    pub fn parse(
        url: &str,
        topic: &TopicArn,
        policy: &TrustPolicy,
    ) -> Result<CertLocation, CertUrlError> {
        if url.len() > SIGNING_CERT_URL_MAX_BYTES {
            return Err(CertUrlError::TooLong);
        }
        if !url
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._:/?#[]@=&".contains(&byte))
        {
            return Err(CertUrlError::Characters);
        }
        let parts = Parts::split(url)?;
        match parts.trusted_origin(policy) {
            Some(origin) => at_trusted_origin(&parts, origin),
            None => at_aws(&parts, topic.region()),
        }
    }
}

fn at_aws(parts: &Parts<'_>, region: &Region) -> Result<CertLocation, CertUrlError> {
    if parts.scheme != Scheme::Https {
        return Err(CertUrlError::Scheme);
    }
    let host = region.sns_host();
    if parts.host != host {
        return Err(CertUrlError::Host);
    }
    if parts.port.is_some() {
        return Err(CertUrlError::Port);
    }
    let hex = parts
        .path
        .strip_prefix(FILE_PREFIX)
        .and_then(|rest| rest.strip_suffix(FILE_SUFFIX))
        .filter(|hex| {
            hex.len() == FILE_HEX_BYTES && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
        .ok_or(CertUrlError::Path)?;
    Ok(CertLocation {
        url: format!("https://{host}{FILE_PREFIX}{hex}{FILE_SUFFIX}"),
        expected: ExpectedName::for_region(region),
    })
}

fn at_trusted_origin(
    parts: &Parts<'_>,
    origin: &TrustedOrigin,
) -> Result<CertLocation, CertUrlError> {
    let plain = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
    };
    let segments = parts.path.strip_prefix('/').ok_or(CertUrlError::Path)?;
    if !parts.path.ends_with(FILE_SUFFIX) || !segments.split('/').all(plain) {
        return Err(CertUrlError::Path);
    }
    Ok(CertLocation {
        url: origin.at(parts.path),
        expected: ExpectedName::Any {
            origin: origin.clone(),
        },
    })
}

/// A URL cut at its delimiters, nothing decoded and nothing normalised.
struct Parts<'a> {
    scheme: Scheme,
    host: &'a str,
    port: Option<&'a str>,
    path: &'a str,
}

impl<'a> Parts<'a> {
    fn split(url: &'a str) -> Result<Self, CertUrlError> {
        let (scheme, rest) = url.split_once("://").ok_or(CertUrlError::Scheme)?;
        let scheme = Scheme::from_name(scheme).ok_or(CertUrlError::Scheme)?;
        if rest.contains('#') {
            return Err(CertUrlError::Fragment);
        }
        if rest.contains('?') {
            return Err(CertUrlError::Query);
        }
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(CertUrlError::UserInfo);
        }
        // The colons of an IPv6 literal stand inside its brackets.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, Some(port)),
            _ => (authority, None),
        };
        Ok(Self {
            scheme,
            host,
            port,
            path,
        })
    }

    fn trusted_origin<'p>(&self, policy: &'p TrustPolicy) -> Option<&'p TrustedOrigin> {
        let port = match self.port {
            None => self.scheme.default_port(),
            // Only the canonical spelling: no sign, no leading zero.
            Some(text) => text
                .parse::<u16>()
                .ok()
                .filter(|port| port.to_string() == text)?,
        };
        policy
            .trusted_origins
            .iter()
            .find(|origin| origin.is(self.scheme, self.host, port))
    }
}
