//! Whom to believe beside AWS: nobody, unless the operator names an origin (LocalStack, the simulator).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use url::Url;

/// Which senders' certificates are believed. The default is AWS alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustPolicy {
    /// Origins that serve an SNS of their own.
    pub trusted_origins: Vec<TrustedOrigin>,
}

/// Why a text is not an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a trusted origin is http:// or https://, a host, and optionally a port: http://127.0.0.1:4566"
)]
pub struct TrustedOriginError;

/// Scheme, host and port of an SNS that the operator trusts beside AWS.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TrustedOrigin {
    scheme: Scheme,
    host: String,
    port: u16,
}

/// The two schemes that an origin may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        match name {
            "http" => Some(Self::Http),
            "https" => Some(Self::Https),
            _ => None,
        }
    }

    pub(crate) fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

impl TrustedOrigin {
    /// Parses `http://127.0.0.1:4566` and its like.
    ///
    /// # Errors
    /// When it is no origin: another scheme, user info, a path, a query or a fragment.
    pub fn parse(text: &str) -> Result<Self, TrustedOriginError> {
        let url = Url::parse(text).map_err(|_| TrustedOriginError)?;
        let scheme = Scheme::from_name(url.scheme()).ok_or(TrustedOriginError)?;
        let bare = url.username().is_empty()
            && url.password().is_none()
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none();
        match (bare, url.host_str()) {
            (true, Some(host)) => Ok(Self {
                scheme,
                host: host.to_owned(),
                port: url.port().unwrap_or(scheme.default_port()),
            }),
            _ => Err(TrustedOriginError),
        }
    }

    /// Whether the parts of a URL name this origin. A loopback is one host under its three usual names: LocalStack
    /// writes `localhost` wherever it was reached.
    pub(crate) fn is(&self, scheme: Scheme, host: &str, port: u16) -> bool {
        self.scheme == scheme
            && self.port == port
            && (self.host == host || (is_loopback(&self.host) && is_loopback(host)))
    }

    /// The URL of `path` (which starts with a slash) at this origin.
    pub(crate) fn at(&self, path: &str) -> String {
        format!("{self}{path}")
    }
}

fn is_loopback(host: &str) -> bool {
    matches!(host, "localhost" | "127.0.0.1" | "[::1]")
}

impl fmt::Display for TrustedOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.name(), self.host)?;
        if self.port != self.scheme.default_port() {
            write!(f, ":{}", self.port)?;
        }
        Ok(())
    }
}

impl FromStr for TrustedOrigin {
    type Err = TrustedOriginError;

    fn from_str(text: &str) -> Result<Self, TrustedOriginError> {
        Self::parse(text)
    }
}

impl Serialize for TrustedOrigin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TrustedOrigin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(de::Error::custom)
    }
}

/// Whose word a certificate is: kept with what it proved, and where a confirmation goes. The text `aws`, or the origin.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CertOrigin {
    /// The SNS endpoint of the topic's own region.
    Aws,
    /// An origin that the operator named.
    Trusted(TrustedOrigin),
}

impl fmt::Display for CertOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aws => f.write_str("aws"),
            Self::Trusted(origin) => origin.fmt(f),
        }
    }
}

impl FromStr for CertOrigin {
    type Err = TrustedOriginError;

    fn from_str(text: &str) -> Result<Self, TrustedOriginError> {
        if text == "aws" {
            return Ok(Self::Aws);
        }
        TrustedOrigin::parse(text).map(Self::Trusted)
    }
}

impl Serialize for CertOrigin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for CertOrigin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}
