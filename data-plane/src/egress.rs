//! Outbound HTTP: one factory of clients that follow no redirects, use no ambient proxy, and reach no address that the
//! policy does not allow.
//!
//! The policy looks at the address that is really connected to: at the resolver for names, and at the URL for literals
//! (which no resolver sees). That is what keeps a workflow, or whoever controls a name, from reaching the metadata
//! service or the inside of the network (server-side request forgery).

mod address;
mod resolve;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use signalbox_runtime::tls::{self, TlsError};

pub use resolve::ResolveError;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Idle connections kept for each host.
const IDLE_PER_HOST_MAX: usize = 8;

/// Which addresses may be reached: every public one, and those that are allowed by name.
#[derive(Clone, Debug, Default)]
pub struct EgressPolicy {
    /// Networks that may be reached although they are not public.
    pub allow: Vec<IpNet>,
}

impl EgressPolicy {
    /// Every address: for origins that the operator named.
    #[must_use]
    pub fn anywhere() -> Self {
        Self {
            allow: vec![
                IpNet::V4(ipnet::Ipv4Net::default()),
                IpNet::V6(ipnet::Ipv6Net::default()),
            ],
        }
    }

    /// Whether `address` may be connected to.
    #[must_use]
    pub fn permits(&self, address: IpAddr) -> bool {
        let destination = address::destination(address);
        address::is_public(destination)
            || self
                .allow
                .iter()
                .any(|net| net.contains(&address) || net.contains(&destination))
    }
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum EgressError {
    /// TLS cannot be set up.
    #[error("TLS of outbound requests cannot be set up")]
    Tls(#[from] TlsError),
    /// The HTTP client refuses its configuration.
    #[error("the outbound HTTP client cannot be made")]
    Client(#[source] reqwest::Error),
}

/// The address is not allowed. Found in the sources of a request's error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the address {0} is not public, and no --egress-allow network holds it")]
pub struct Denied(pub IpAddr);

/// An HTTP client under a policy. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Egress {
    client: reqwest::Client,
    policy: Arc<EgressPolicy>,
}

impl Egress {
    /// A client under `policy`.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(policy: EgressPolicy) -> Result<Self, EgressError> {
        let policy = Arc::new(policy);
        // The Mozilla roots, compiled in: a node must not depend on what its image has in /etc/ssl.
        let mut tls = (*tls::client_config(None)?).clone();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            // Who asks knows what may be asked twice.
            .retry(reqwest::retry::never())
            .referer(false)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
            .pool_idle_timeout(Duration::from_secs(30))
            .user_agent(concat!("signalbox/", env!("CARGO_PKG_VERSION")))
            .dns_resolver(Arc::new(Guarded(policy.clone())))
            .build()
            .map_err(EgressError::Client)?;
        Ok(Self { client, policy })
    }

    /// A request, to be given headers, a body and a timeout.
    ///
    /// # Errors
    /// [`Denied`] when the URL names an address that is not allowed.
    pub fn request(
        &self,
        method: reqwest::Method,
        url: url::Url,
    ) -> Result<reqwest::RequestBuilder, Denied> {
        let literal = match url.host() {
            Some(url::Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(url::Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(url::Host::Domain(_)) | None => None,
        };
        match literal {
            Some(address) if !self.policy.permits(address) => Err(Denied(address)),
            _ => Ok(self.client.request(method, url)),
        }
    }
}

/// Resolves names by the system, and keeps back what is not allowed.
struct Guarded(Arc<EgressPolicy>);

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = self.0.clone();
        Box::pin(async move {
            let found: Vec<SocketAddr> =
                tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let first = found.first().map(SocketAddr::ip);
            let allowed: Vec<SocketAddr> = found
                .into_iter()
                .filter(|address| policy.permits(address.ip()))
                .collect();
            match first {
                Some(address) if allowed.is_empty() => Err(Denied(address).into()),
                _ => Ok(Box::new(allowed.into_iter()) as Addrs),
            }
        })
    }
}

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// It is larger than allowed.
    #[error("the response has more than {0} bytes")]
    TooLarge(usize),
    /// The connection broke.
    #[error("the response broke off")]
    Broken(#[source] reqwest::Error),
}

/// The body of a response, of at most `max_bytes`.
///
/// # Errors
/// [`BodyError`].
pub async fn read_body(
    mut response: reqwest::Response,
    max_bytes: usize,
) -> Result<Bytes, BodyError> {
    if response
        .content_length()
        .is_some_and(|length| length > max_bytes as u64)
    {
        return Err(BodyError::TooLarge(max_bytes));
    }
    let mut body = BytesMut::new();
    while let Some(chunk) = response.chunk().await.map_err(BodyError::Broken)? {
        if body.len() + chunk.len() > max_bytes {
            return Err(BodyError::TooLarge(max_bytes));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body.freeze())
}

/// The [`Denied`] among the sources of `error`, if that is why it failed.
#[must_use]
pub fn denied(error: &(dyn std::error::Error + 'static)) -> Option<Denied> {
    let mut source = Some(error);
    while let Some(error) = source {
        if let Some(denied) = error.downcast_ref::<Denied>() {
            return Some(*denied);
        }
        source = error.source();
    }
    None
}

#[cfg(test)]
mod tests;
