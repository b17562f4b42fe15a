//! The judge of outgoing requests: of literal hosts before the request, of names when they are resolved.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use signalbox_sns::TrustedOrigin;
use url::{Host, Origin, Url};

use super::{EgressError, EgressPolicy, address};

pub(super) struct Guard {
    policy: Arc<EgressPolicy>,
    /// Origins that may be reached wherever they are.
    origins: Vec<Origin>,
    /// Their names, for the resolver, which sees no scheme and no port.
    names: Arc<[String]>,
}

/// The refusal as it travels through the HTTP client's errors.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Blocked {
    #[error("the addresses of {0} are not allowed")]
    Address(String),
    #[error("{0} has no address")]
    Unknown(String),
}

impl From<Blocked> for EgressError {
    fn from(blocked: Blocked) -> Self {
        match blocked {
            Blocked::Address(host) => Self::Blocked { host },
            Blocked::Unknown(host) => Self::Resolve { host },
        }
    }
}

impl EgressPolicy {
    /// Whether `ip` may be connected to.
    #[must_use]
    pub fn permits(&self, ip: IpAddr) -> bool {
        let destination = address::destination(ip);
        address::is_public(ip)
            || self
                .allow
                .iter()
                .any(|network| network.contains(&ip) || network.contains(&destination))
    }
}

impl Guard {
    pub(super) fn new(policy: EgressPolicy, origins: &[TrustedOrigin]) -> Self {
        let urls: Vec<Url> = origins
            .iter()
            .filter_map(|origin| Url::parse(&origin.to_string()).ok())
            .collect();
        Self {
            policy: Arc::new(policy),
            origins: urls.iter().map(Url::origin).collect(),
            names: urls
                .iter()
                .filter_map(|url| url.domain().map(str::to_owned))
                .collect(),
        }
    }

    /// What can be said before a name is resolved. `Url` has read every spelling of an address (`0x7f.1`,
    /// `2130706433`, `[::ffff:7f00:1]`) as the address it is.
    pub(super) fn check(&self, url: &Url) -> Result<(), EgressError> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(EgressError::Url);
        }
        let host = url.host().ok_or(EgressError::Url)?;
        if self.origins.contains(&url.origin()) {
            return Ok(());
        }
        let allowed = match &host {
            Host::Ipv4(ip) => self.policy.permits(IpAddr::V4(*ip)),
            Host::Ipv6(ip) => self.policy.permits(IpAddr::V6(*ip)),
            // The resolver lets these names pass anywhere, so they pass here only with their port.
            Host::Domain(name) => !self.names.iter().any(|trusted| trusted == name),
        };
        if allowed {
            Ok(())
        } else {
            Err(EgressError::Blocked {
                host: host.to_string(),
            })
        }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let (policy, names) = (Arc::clone(&self.policy), Arc::clone(&self.names));
        Box::pin(async move {
            let name = name.as_str().to_owned();
            let found = tokio::net::lookup_host((name.as_str(), 0))
                .await
                .map_err(|_| Blocked::Unknown(name.clone()))?;
            let trusted = names.contains(&name);
            let found: Vec<SocketAddr> = found.collect();
            let none_found = found.is_empty();
            let allowed: Vec<SocketAddr> = found
                .into_iter()
                .filter(|address| trusted || policy.permits(address.ip()))
                .collect();
            if !allowed.is_empty() {
                Ok(Box::new(allowed.into_iter()) as Addrs)
            } else if none_found {
                Err(Blocked::Unknown(name).into())
            } else {
                Err(Blocked::Address(name).into())
            }
        })
    }
}
